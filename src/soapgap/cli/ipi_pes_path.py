"""`soapgap ipi-pes-path`: the file for i-PI's <ffdirect>."""


def ipi_pes_path() -> None:
    """Print the file that <pes_path> of i-PI's <ffdirect> must name, to run soapgap inside i-PI without sockets."""
    from soapgap.ipi import pes_path

    print(pes_path())
