"""`python -m soapgap` is the `soapgap` program."""

from soapgap.cli import main

main()
