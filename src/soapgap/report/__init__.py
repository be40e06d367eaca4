"""What a fit tells at its end: the table of errors, and the report as HTML and JSON."""
