"""The command line: one module for each command of `soapgap`; nothing else knows typer."""
