"""soapgap: SOAP-GAP interatomic potentials, trained in Python, run in LAMMPS, i-PI and ASE.

Importing this package imports nothing but the standard library: LAMMPS looks up the plugin's folder through it at every
start. Public names are loaded on first use.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("soapgap")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

_PUBLIC = {
    "Evaluator": "soapgap._evaluator",
    "GapModel": "soapgap.fitting.estimator",
    "HostError": "soapgap.errors",
    "InputError": "soapgap.errors",
    "Model": "soapgap.model",
    "ModelFileError": "soapgap.errors",
    "Potential": "soapgap.potential",
    "SoapGAP": "soapgap.calculator",
    "SoapGAPError": "soapgap.errors",
    "fit": "soapgap.fitting",
    "neighbour_arrays": "soapgap.neighbours.arrays",
    "read_quip": "soapgap.quip",
    "write_quip": "soapgap.quip",
}

__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name):
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'soapgap' has no attribute {name!r}")


def __dir__():
    return __all__
