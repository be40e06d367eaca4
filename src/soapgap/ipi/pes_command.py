"""The command `soapgap ipi-pes-path`."""

from pathlib import Path


def ipi_pes_path() -> None:
    """Print the file that <pes_path> of i-PI's <ffdirect> must name, to run soapgap inside i-PI without sockets."""
    print(Path(__file__).with_name("soapgap_ipi_pes.py"))
