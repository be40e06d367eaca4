"""What a fit gives."""

from __future__ import annotations

from dataclasses import dataclass, field

from soapgap.learn.conditions import Conditions
from soapgap.model import Model
from soapgap.model.companions import OutputFiles

__all__ = ["FitResult"]


@dataclass
class FitResult:
    """What a fit gives.

    Attributes
    ----------
    model : Model
        The fitted model, as saved.
    errors : dict
        {"train": ..., "test": ...}: by "all" and config_type, by the name of the observable: n, rmse, mae in its `error_unit`
        (energy meV/atom, local_energy meV, force eV/A, virial meV/atom, curvature eV/A^2).
    files : OutputFiles
        Where the model and its companions are.
    warnings : list of str
        What the user should have read.
    conditions : Conditions
        Condition numbers of the linear system, and the jitter.
    seconds : dict of str to float
        Wall time by step.
    planned_seconds, planned_bytes, peak_bytes : float
        Time of the design matrix and its factorisation, and memory of this process, as estimated before and as used.
    """

    model: Model
    errors: dict[str, dict]
    files: OutputFiles
    warnings: list[str]
    conditions: Conditions
    seconds: dict[str, float] = field(default_factory=dict)
    planned_seconds: float = 0.0
    planned_bytes: int = 0
    peak_bytes: int = 0
