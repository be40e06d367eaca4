"""A model made ready to compute: what the ASE and i-PI hosts share."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from soapgap.errors import InputError
from soapgap.external import External
from soapgap.model import Model
from soapgap.neighbours import NeighbourCache
from soapgap.ranks import under_launcher

__all__ = ["Potential", "Result", "default_threads"]


def default_threads() -> int:
    """OMP_NUM_THREADS if set; 1 under an MPI launcher; otherwise all cores this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    if under_launcher():
        return 1
    return len(os.sched_getaffinity(0))


@dataclass
class Result:
    """Energy (eV), energies of the atoms (eV), forces (eV/Angstrom) and virial W = -dE/dstrain (eV, 3 x 3).

    `energies` or `virial` is None if an external potential of the model does not tell its part.
    """

    energy: float
    energies: np.ndarray | None
    forces: np.ndarray
    virial: np.ndarray | None


class Potential:
    """Energy, forces and virial of structures.

    Parameters
    ----------
    model : Model, str or Path
    n_threads : int, optional
        Default: see `default_threads`.
    skin : float
        Angstrom. With a skin the neighbour list of the last structure is kept until it must be renewed.
    allow_external : bool
        Whether an external potential of the model may run code of its own; the message of its error says which.
    """

    def __init__(self, model, n_threads: int | None = None, skin: float = 0.0, allow_external: bool = False):
        folders = []
        if not isinstance(model, Model):
            folders = [Path(model).resolve().parent]
            model = Model.load(Path(model))
        if not (np.isfinite(skin) and skin >= 0.0):
            raise InputError(f"skin = {skin}, expected a length of 0 Angstrom or more")
        self.model = model
        self.external = External(model.external, model.species, allow_external, folders)
        self.evaluator = model.evaluator(n_threads or default_threads())
        self.species, self.cutoff = self.evaluator.species, self.evaluator.cutoff
        self.neighbours = NeighbourCache(self.cutoff, self.species, skin, self.evaluator.needs_order)

    def compute(self, atoms: Atoms) -> Result:
        """Evaluate one structure.

        Raises
        ------
        InputError
            For elements that the model does not know, positions that are not finite, a periodic direction without a
            cell vector, a structure that an external potential of the model cannot compute.
        """
        pairs = self.neighbours.update(atoms)
        shares = np.empty(len(pairs.neighbour_atom)) if self.evaluator.shares_energy else None
        energies, gradients = self.evaluator.evaluate(pairs, shares=shares)
        if shares is not None:
            energies = energies + np.bincount(pairs.neighbour_atom, weights=shares, minlength=pairs.n_atoms)
        forces, virial = self.evaluator.forces_and_virial(pairs, gradients)
        result = Result(float(energies.sum()), energies, forces, virial)
        return _added(result, self.external.compute(atoms)) if self.external else result


def _added(own: Result, other) -> Result:
    """The sum of two results; what one of them does not tell is None."""
    return Result(own.energy + other.energy, None if other.energies is None else own.energies + other.energies,
                  own.forces + other.forces, None if other.virial is None else own.virial + other.virial)
