"""Rows of the design matrix, structure by structure: kernels against sparse points, targets, divided by their sigma.

    energy   sum_i k(x_i, X_s)       target  E - E_base - sum_i e0
    force    d/dR of the energy row  target  -(F - F_base)
    virial   d/dstrain of it         target  -(W - W_base),  xx yy zz yz xz xy
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from soapgap.training.config import FitConfig
from soapgap.training.dataset import Structure
from soapgap.training.environments import neighbours_of
from soapgap.training.kernels import Kernel
from soapgap.training.noise import sigmas
from soapgap.training.ordered_map import ordered_map
from soapgap.training.virials import as_voigt

BLOCK_ROWS = 1024


@dataclass(frozen=True)
class Targets:
    """What is left to learn of one structure, without e0 and baseline: eV, eV/A, eV; None where nothing is known."""

    energy: float | None
    forces: np.ndarray | None
    virial: np.ndarray | None


def targets(structure: Structure, e0: dict[str, float], baseline: tuple = (0.0, 0.0, 0.0)) -> Targets:
    """Observations minus e0 and the baseline's energy, forces and virial."""
    energy, forces, virial = baseline
    return Targets(
        None if structure.energy is None else structure.energy - energy - sum(e0[s] for s in structure.symbols),
        None if structure.forces is None else structure.forces - forces,
        None if structure.virial is None else structure.virial - virial,
    )


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
        """All rows of one structure, (n_rows, M + 1): the energy, the forces that count, the virial.

        Parameters
        ----------
        evaluator : of the SOAP kernels (`rows_evaluator`), used by this call alone
        """
        sigma = sigmas(structure, self.config)
        used = np.flatnonzero(sigma.used_forces.ravel()) if target.forces is not None else np.empty(0, int)
        n_energy, n_virial = int(target.energy is not None), 6 * int(target.virial is not None)
        block = np.zeros((n_energy + len(used) + n_virial, self.n_columns + 1))
        if len(block) == 0:
            return block
        neighbours = neighbours_of(structure, self.config.cutoff, self.species)
        column = 0
        for kernel in self.kernels:
            here = slice(column, column + kernel.n_sparse)
            energy, gradients, strains = kernel.rows(evaluator, neighbours, len(used) > 0, n_virial > 0)
            if n_energy:
                block[0, here] = energy
            if len(used):
                rows = gradients if len(used) == len(gradients) else gradients[used]
                block[n_energy:n_energy + len(used), here] = rows
            if n_virial:
                block[n_energy + len(used):, here] = strains
            column += kernel.n_sparse
        scale = np.concatenate([
            np.full(n_energy, sigma.energy), sigma.forces.ravel()[used], sigma.virial[:n_virial],
        ])
        if n_energy:
            block[0, -1] = target.energy
        if len(used):
            block[n_energy:n_energy + len(used), -1] = -target.forces.ravel()[used]
        if n_virial:
            block[n_energy + len(used):, -1] = -as_voigt(target.virial)
        block /= scale[:, None]
        return block

    def blocks(self, structures: Sequence[Structure], targets_of: Sequence[Targets], evaluators: Sequence,
               start: int = 0, block_rows: int = BLOCK_ROWS) -> Iterator[tuple[int, np.ndarray]]:
        """Rows of whole structures, gathered to at least `block_rows` rows.

        Where one block ends and the next begins depends on the structures and `block_rows` alone, not on `start` (if
        that is the end of a block) or the number of evaluators, so an interrupted fit goes on bit for bit.

        Yields
        ------
        end : number of structures done
        block : (rows, M + 1), Fortran order
        """
        gathered: list[np.ndarray] = []
        count = 0
        items = list(zip(structures, targets_of, strict=True))[start:]
        results = ordered_map(lambda evaluator, item: self.rows(evaluator, *item), items, evaluators)
        for end, rows in enumerate(results, start + 1):
            gathered.append(rows)
            count += len(rows)
            if count >= block_rows or end == len(structures):
                yield end, _stack(gathered, count, self.n_columns + 1)
                gathered, count = [], 0


def _stack(parts: list[np.ndarray], n_rows: int, n_columns: int) -> np.ndarray:
    block = np.empty((n_rows, n_columns), order="F")
    row = 0
    for part in parts:
        block[row:row + len(part)] = part
        row += len(part)
    return block
