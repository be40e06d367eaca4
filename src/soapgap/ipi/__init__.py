"""The i-PI host: a socket driver that computes energies, forces and virials for i-PI.

`drive` is the whole of it: it reads a structure (species and their order), loads the model, connects to the socket that
i-PI has opened, and answers until i-PI says EXIT. It needs no i-PI installation, only a socket.
"""

from importlib import import_module
from pathlib import Path

_PUBLIC = {"ComputeDied": "soapgap.ipi.supervise", "DriveReport": "soapgap.ipi.driver",
           "LostConnection": "soapgap.ipi.connection", "drive": "soapgap.ipi.driver"}

__all__ = ["ComputeDied", "DriveReport", "LostConnection", "drive", "pes_path"]


def pes_path() -> Path:
    """The file that <pes_path> of i-PI's <ffdirect> must name: soapgap within i-PI, without sockets."""
    return Path(__file__).resolve().with_name("soapgap_ipi_pes.py")


def __getattr__(name):
    # On first use: the command line imports this package for its options, long before anything is driven.
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'soapgap.ipi' has no attribute {name!r}")
