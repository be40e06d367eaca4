"""A fit from beginning to end: extended XYZ data in, a potential and its report out."""

from soapgap.fitting.pipeline import fit
from soapgap.fitting.result import FitResult

__all__ = ["FitResult", "fit"]
