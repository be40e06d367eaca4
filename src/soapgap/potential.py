"""A model made ready to compute: what the ASE and i-PI hosts share."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import numpy as np
from ase import Atoms

from soapgap._evaluator import Evaluator
from soapgap.errors import InputError
from soapgap.locks import OwnLock
from soapgap.model import Model
from soapgap.model.external import External
from soapgap.neighbours.arrays import NeighbourArrays, concatenate
from soapgap.neighbours.cache import NeighbourCache
from soapgap.ranks import under_launcher

__all__ = ["Potential", "Result", "check_finite", "check_skin", "default_threads", "open_model"]

TOGETHER = 256  # atoms for each thread, two batches; beyond it products gain nothing, and pairs of all leave the caches


def default_threads() -> int:
    """OMP_NUM_THREADS if set; 1 under an MPI launcher; otherwise all cores this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    if under_launcher():
        return 1
    return len(os.sched_getaffinity(0))


def open_model(model: Model | str | Path, n_threads: int) -> tuple[Model, Evaluator, list[Path]]:
    """A model, its evaluator, and the folders where files that belong to it are looked for; a file is read once.

    Raises
    ------
    ModelFileError
        As `Model.load`.
    """
    if isinstance(model, Model):
        return model, model.evaluator(n_threads), []
    path = Path(model)
    return *Model.load_with_evaluator(path, n_threads), [path.resolve().parent]


@dataclass
class Result:
    """Energy (eV), energies of the atoms (eV), forces (eV/Angstrom) and virial W = -dE/dstrain (eV, 3 x 3).

    `energies` or `virial` is None if an external potential of the model does not give its part. `virials` (eV, n x 3 x 3) are
    shares of the atoms in the virial (its symmetric part), if asked for and the model has no external potentials.
    """

    energy: float
    energies: np.ndarray | None
    forces: np.ndarray
    virial: np.ndarray | None
    virials: np.ndarray | None = None


def check_finite(*results: np.ndarray) -> None:
    """No host goes on with numbers that mean nothing.

    Parameters
    ----------
    *results : ndarray
        Energies, forces, virials, in any shape.

    Raises
    ------
    InputError
        One of them is not finite.
    """
    if not all(np.isfinite(numbers).all() for numbers in results):
        raise InputError("the energy or forces of the model are not finite (got infinity or NaN, expected numbers in eV and "
                         "eV/Angstrom): look for atoms on one site or far closer than in the training data; if there are none, "
                         "the model's numbers are too large: fit it again")


class Potential:
    """Energy, forces and virial of structures.

    Any number of Python threads may use one: they take turns. Copies (`copy.deepcopy`, `pickle`) compute side by side.

    Parameters
    ----------
    model : Model, str or Path
    n_threads : int, optional
        Default: see `default_threads`.
    skin : float
        Angstrom. With a skin neighbour lists are kept until they must be renewed.
    n_lists : int
        How many of them: one for each of the structures that take turns (the beads of a ring polymer).
    allow_external : bool
        Whether an external potential of the model may run code of its own; the message of its error says which.
    """

    def __init__(self, model, n_threads: int | None = None, skin: float = 0.0, allow_external: bool = False,
                 n_lists: int = 1):
        if not (np.isfinite(skin) and skin >= 0.0):
            raise InputError(f"skin = {skin}, expected a length of 0 Angstrom or more")
        self.model, self.evaluator, folders = open_model(model, n_threads or default_threads())
        self.external = External(self.model.external, self.model.species, allow_external, folders)
        self.species, self.cutoff = self.evaluator.species, self.evaluator.cutoff
        self.neighbours = NeighbourCache(self.cutoff, self.species, skin, n_lists)
        self._lock = OwnLock()

    def adjust(self, skin: float, n_threads: int | None) -> None:
        """Take another skin (Angstrom) and another number of threads; results do not depend on them."""
        check_skin(skin)
        with self._lock:
            self.evaluator = self.evaluator.clone(n_threads or default_threads())
            self.neighbours = NeighbourCache(self.cutoff, self.species, skin, self.neighbours.n_lists)

    def compute(self, atoms: Atoms, virials: bool = False) -> Result:
        """Evaluate one structure.

        Parameters
        ----------
        atoms : ase.Atoms
        virials : bool
            Whether the shares of the atoms in the virial are wanted too.

        Raises
        ------
        InputError
            For elements that the model does not know, positions that are not finite, a periodic direction without a
            cell vector, a structure that an external potential of the model cannot compute.
        """
        return self.compute_batch([atoms], virials)[0]

    def compute_batch(self, frames: Sequence[Atoms], virials: bool = False) -> list[Result]:
        """Evaluate several structures at once, as `compute` does each.

        Small ones go through the evaluator together: its threads share them out, and its matrix products are larger.
        """
        results: list[Result] = []
        # a model of whole structures must not take two for one
        limit = 0 if self.evaluator.needs.sums else TOGETHER * self.evaluator.n_threads
        for group in _groups([len(atoms) for atoms in frames], limit):
            # the arrays of a kept list change under another thread's evaluation as soon as its list is asked for
            with self._lock:
                results += self._compute_together(frames[group], virials)
        return results

    def _compute_together(self, frames: Sequence[Atoms], virials: bool) -> list[Result]:
        parts = self.neighbours.update_many(frames)
        pairs = concatenate(parts)
        shares = np.empty(len(pairs.neighbour_atom)) if self.evaluator.needs.handed else None
        energies, gradients = self.evaluator.evaluate(pairs, shares=shares)
        results, atom, pair = [], 0, 0
        for atoms, part in zip(frames, parts, strict=True):
            own, these = slice(atom, atom + part.n_atoms), slice(pair, pair + len(part.neighbour_atom))
            result = self._result(part, energies[own], gradients[these], None if shares is None else shares[these])
            if self.external:
                result = _added(result, self.external.compute(atoms))
            elif virials:
                result.virials = _virials(part, gradients[these])
            results.append(result)
            atom, pair = own.stop, these.stop
        return results

    def _result(self, pairs: NeighbourArrays, energies, gradients, shares) -> Result:
        if shares is not None:
            energies = energies + np.bincount(pairs.neighbour_atom, weights=shares, minlength=pairs.n_atoms)
        forces, virial = self.evaluator.forces_and_virial(pairs, gradients)
        check_finite(energies, forces, virial)
        return Result(float(energies.sum()), energies, forces, virial)


def check_skin(skin) -> None:
    """Raise InputError for what cannot be a skin."""
    if not (isinstance(skin, Real) and np.isfinite(skin) and skin >= 0.0):
        raise InputError(f"skin = {skin!r}, expected a length of 0 Angstrom or more: 0.5 suits most structures")


def _virials(pairs: NeighbourArrays, gradients: np.ndarray) -> np.ndarray:
    """Shares of the atoms in the symmetric part of W = -sum r (x) dE/dr, half of each pair to either, as stress/atom."""
    of_pair = np.einsum("px,py->pxy", pairs.vectors, gradients)
    of_pair = -0.25 * (of_pair + of_pair.transpose(0, 2, 1)).reshape(-1, 9)
    ends = np.repeat(pairs.centre_atom, np.diff(pairs.offsets)), pairs.neighbour_atom
    shares = [sum(np.bincount(end, each, pairs.n_atoms) for end in ends) for each in of_pair.T]
    return np.stack(shares, axis=1).reshape(-1, 3, 3)


def _groups(sizes: Sequence[int], limit: int) -> list[slice]:
    """Consecutive structures of at most `limit` atoms in all, or single ones."""
    groups, start, total = [], 0, 0
    for index, size in enumerate(sizes):
        if index > start and total + size > limit:
            groups.append(slice(start, index))
            start, total = index, 0
        total += size
    return [*groups, slice(start, len(sizes))] if len(sizes) else []


def _added(own: Result, other) -> Result:
    """The sum of two results; what one of them does not give is None."""
    return Result(own.energy + other.energy, None if other.energies is None else own.energies + other.energies,
                  own.forces + other.forces, None if other.virial is None else own.virial + other.virial)
