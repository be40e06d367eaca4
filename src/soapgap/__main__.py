"""`python -m soapgap` is the `soapgap` program."""

from soapgap.cli.main import main

main()
