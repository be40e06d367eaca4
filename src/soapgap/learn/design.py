"""Rows of the design matrix, structure by structure: kernels against sparse points, targets, divided by their sigma.

    energy        sum_i k(x_i, X_s)       target  E - E_base - sum_i e0
    local energy  k(x_i, X_s)             target  E_i - E_base,i - e0
    force         d/dR of the energy row  target  -(F - F_base)
    virial        d/dstrain of it         target  -(W - W_base),  xx yy zz yz xz xy
    curvature     difference of d/dR      target  e^T H e - e^T H_base e
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from soapgap.config import FitConfig
from soapgap.data.dataset import Structure
from soapgap.data.environments import neighbours_of
from soapgap.data.noise import sigmas
from soapgap.data.virials import as_voigt
from soapgap.kinds.kernel import Kernel
from soapgap.learn.baseline.baseline import NO_BASELINE, BaselineValues
from soapgap.learn.curvature import central_differences
from soapgap.learn.prior import Prior
from soapgap.ordered_map import ordered_map


@dataclass(frozen=True)
class Targets:
    """What is left to learn of one structure, without e0 and baseline: eV, eV/A, eV, eV, eV/A^2; None if nothing is known."""

    energy: float | None
    forces: np.ndarray | None
    virial: np.ndarray | None
    local_energies: np.ndarray | None = None
    curvatures: np.ndarray | None = None


def targets(structure: Structure, e0: dict[str, float], baseline: BaselineValues = NO_BASELINE) -> Targets:
    """Observations minus e0 and what the baseline alone gives."""
    s, of_atoms = structure, [e0[symbol] for symbol in structure.symbols]
    return Targets(
        None if s.energy is None else s.energy - baseline.energy - sum(of_atoms),
        None if s.forces is None else s.forces - baseline.forces,
        None if s.virial is None else s.virial - baseline.virial,
        None if s.local_energies is None else s.local_energies - baseline.local_energies - np.array(of_atoms),
        None if s.curvatures is None else s.curvatures - baseline.curvatures,
    )


@dataclass(frozen=True)
class _Part:
    """The rows of one kind of observation of one structure: how many, their targets and their sigmas."""

    target: np.ndarray
    sigma: np.ndarray | float

    def __len__(self) -> int:
        return len(self.target)


def _parts(structure: Structure, target: Targets, config: FitConfig) -> dict[str, _Part]:
    """By kind, in the order of the rows."""
    sigma, none = sigmas(structure, config), np.empty(0)
    mask, atoms = sigma.used_forces, structure.used_local_energies
    return {
        "energy": _Part(none if target.energy is None else np.array([target.energy]), sigma.energy),
        "local_energy": _Part(none if target.local_energies is None else target.local_energies[atoms], sigma.local_energy),
        "force": _Part(none, none) if target.forces is None else _Part(-target.forces[mask], sigma.forces[mask]),
        "virial": _Part(none, none) if target.virial is None else _Part(-as_voigt(target.virial), sigma.virial),
        "curvature": _Part(none, none) if target.curvatures is None else _Part(target.curvatures, sigma.curvature),
    }


@dataclass(frozen=True)
class DesignMatrix:
    """Makes the scaled rows [Lambda^(-1/2) K_nm | Lambda^(-1/2) y].

    Attributes
    ----------
    kernels : in the order of their columns
    species : chemical symbols of the model
    config : for the noise and the cutoff
    """

    kernels: Sequence[Kernel]
    species: list[str]
    config: FitConfig

    @property
    def n_columns(self) -> int:
        """M, the number of sparse points of all kernels."""
        return sum(kernel.n_sparse for kernel in self.kernels)

    def rows(self, evaluator, structure: Structure, target: Targets) -> np.ndarray:
        """All rows of one structure, (n_rows, M + 1): energy, local energies and forces that count, virial, curvatures.

        Parameters
        ----------
        evaluator : of the SOAP kernels (`rows_evaluator`), used by this call alone
        """
        parts = _parts(structure, target, self.config)
        block = np.zeros((sum(map(len, parts.values())), self.n_columns + 1))
        if len(block) == 0:
            return block
        places, row = {}, 0
        for kind, part in parts.items():
            places[kind] = block[row:row + len(part)]
            row += len(part)
        self._fill(evaluator, structure, places)
        if len(places["curvature"]):
            places["curvature"][:, :-1] = self._curvature_rows(evaluator, structure)
        for kind, part in parts.items():
            places[kind][:, -1] = part.target
            places[kind] /= np.reshape(part.sigma / np.sqrt(structure.weight), (-1, 1))
        return block

    def _fill(self, evaluator, structure: Structure, places: dict[str, np.ndarray]) -> None:
        """Write K_nm of all observations but the curvatures into the rows of each kind, not yet divided by sigma."""
        energy, local, force, virial = (places[kind] for kind in ("energy", "local_energy", "force", "virial"))
        if not any(map(len, (energy, local, force, virial))):
            return
        neighbours = neighbours_of(structure, self.config.cutoff, self.species)
        atoms = structure.used_local_energies
        mask = np.repeat(structure.used_forces, 3)
        column = 0
        for kernel in self.kernels:
            here = slice(column, column := column + kernel.n_sparse)
            if any(map(len, (energy, force, virial))):
                row, gradients, strains = kernel.rows(evaluator, neighbours, len(force) > 0, len(virial) > 0)
                energy[:, here] = row
                if len(force):
                    force[:, here] = gradients if mask.all() else gradients[mask]
                if len(virial):
                    virial[:, here] = strains
            if len(local):
                local[:, here] = kernel.local_rows(evaluator, neighbours)[atoms]

    def _curvature_rows(self, evaluator, structure: Structure) -> np.ndarray:
        """Differences of gradient rows along the directions of the structure, (n_directions, M)."""

        def slope(moved: Structure, direction: np.ndarray) -> np.ndarray:
            neighbours = neighbours_of(moved, self.config.cutoff, self.species)
            along = direction.ravel()
            return np.concatenate([along @ k.rows(evaluator, neighbours, True, False)[1] for k in self.kernels])

        return central_differences(structure, self.config.hessian_delta, slope)

    def blocks(self, structures: Sequence[Structure], targets_of: Sequence[Targets], evaluators: Sequence,
               ranges: Sequence[range], prior: Prior) -> Iterator[np.ndarray]:
        """Rows of whole structures, whitened, (rows, M + 1) in Fortran order, one block for each range (`partition`)."""
        items = [(structures[k], targets_of[k]) for part in ranges for k in part]
        ahead = max(map(len, ranges), default=0)  # the rows of a block are made while the one before is folded in
        results = ordered_map(lambda evaluator, item: prior.whiten(self.rows(evaluator, *item)), items, evaluators, ahead)
        for part in ranges:
            yield _stack([rows for _, rows in zip(part, results, strict=False)], self.n_columns + 1)


def partition(structures: Sequence[Structure], block_rows: int, start: int = 0) -> list[range]:
    """Runs of structures, from number `start` on, with at least `block_rows` rows each (the last may have fewer).

    Where one ends and the next begins does not depend on `start`, if that is such an end, so that an interrupted fit goes
    on bit for bit.
    """
    ranges, count = [], 0
    for end in range(start + 1, len(structures) + 1):
        count += structures[end - 1].n_rows
        if count >= block_rows or end == len(structures):
            ranges.append(range(start, end))
            start, count = end, 0
    return ranges


def _stack(parts: list[np.ndarray], n_columns: int) -> np.ndarray:
    block = np.empty((sum(map(len, parts)), n_columns), order="F")
    row = 0
    for part in parts:
        block[row:row + len(part)] = part
        row += len(part)
    return block
