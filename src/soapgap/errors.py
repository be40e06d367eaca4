"""Errors that soapgap raises on purpose.

Every message names what is wrong, what was got, what was expected, and what to do about it. The command line prints
the message alone and exits with status 2; everything else that escapes is a defect.
"""


class SoapGAPError(Exception):
    """Base class of all errors that soapgap raises on purpose."""


class InputError(SoapGAPError, ValueError):
    """Input from the user (data, configuration, structure, argument) that cannot be used as it is."""


class ModelFileError(SoapGAPError):
    """A model file that is missing, damaged, from a newer soapgap, or not a model file at all."""


class HostError(SoapGAPError):
    """A host program (LAMMPS, i-PI) that cannot be reached or does not fit this build."""
