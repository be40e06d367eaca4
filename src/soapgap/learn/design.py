"""Rows of the design matrix, structure by structure: kernels against sparse points, targets, divided by their sigma.

The rows of an observable are its linear map of what every kernel gives (`soapgap.data.observable`), its targets the
observations without e0 and baseline. The rows of a structure stand in the order of `OBSERVABLES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from soapgap.config import FitConfig
from soapgap.data.environments import neighbours_of
from soapgap.data.noise import sigmas
from soapgap.data.observables import OBSERVABLES, Outputs, present, values_of
from soapgap.data.structure import Structure
from soapgap.errors import InputError
from soapgap.kinds.kernel import Kernel
from soapgap.learn.baseline.baseline import NO_BASELINE, BaselineValues
from soapgap.learn.prior import Prior
from soapgap.ordered_map import ordered_map

Targets = dict[str, np.ndarray]


def targets(structure: Structure, e0: dict[str, float], baseline: BaselineValues = NO_BASELINE) -> Targets:
    """What is left to learn of one structure: observations minus what the baseline and isolated atoms give.

    Returns
    -------
    dict of str to ndarray
        Of every observable that the structure has, (n_rows,), in its units and the sign of its rows.
    """
    of_atoms, n = [e0[symbol] for symbol in structure.symbols], len(structure.atoms)
    alone = Outputs(sum(of_atoms), np.array(of_atoms), np.zeros(3 * n), np.zeros(6))
    isolated = values_of(lambda moved, needs: alone, structure, 1.0)
    return {o.name: o.sign * (o.values(structure) - baseline.known.get(o.name, 0.0) - isolated[o.name])
            for o in present(structure)}


@dataclass(frozen=True)
class DesignMatrix:
    """Makes the scaled rows [Lambda^(-1/2) K_nm | Lambda^(-1/2) Y].

    Attributes
    ----------
    kernels : sequence of Kernel
        In the order of their columns.
    species : list of str
        Chemical symbols of the model.
    config : FitConfig
        For the noise and the cutoff.
    n_rhs : int
        Number of right-hand sides.
    """

    kernels: Sequence[Kernel]
    species: list[str]
    config: FitConfig
    n_rhs: int = 1

    @property
    def n_columns(self) -> int:
        """M, the number of sparse points of all kernels."""
        return sum(kernel.n_sparse for kernel in self.kernels)

    def rows(self, evaluator, structure: Structure, target: Targets) -> np.ndarray:
        """All rows of one structure, (n_rows, M + n_rhs): K_nm and targets, both divided by the sigmas.

        Parameters
        ----------
        evaluator : Evaluator
            Of the SOAP kernels (`rows_evaluator`), used by this call alone.
        structure : Structure
        target : Targets
            Of each observable (n_rows,), or (n_rows, n_rhs).
        """
        m = self.n_columns
        block = np.zeros((sum(map(len, target.values())), m + self.n_rhs))
        if len(block) == 0:
            return block
        sigma, places, row = sigmas(structure, self.config), {}, 0
        for name, values in target.items():
            places[name] = block[row:row + len(values)]
            row += len(values)
        self._fill(evaluator, structure, {name: place for name, place in places.items() if len(place)})
        for name, values in target.items():
            places[name][:, m:] = np.reshape(values, (len(values), self.n_rhs))
            places[name] /= np.reshape(sigma[name] / np.sqrt(structure.weight), (-1, 1))
        return block

    def _fill(self, evaluator, structure: Structure, places: dict[str, np.ndarray]) -> None:
        """Write K_nm into the rows of each observable, not yet divided by sigma."""
        here = [o for o in map(OBSERVABLES.get, places) if not o.elsewhere]
        needs = set().union(*(o.needs for o in here))
        if here:
            for columns, outputs in self._outputs(evaluator, structure, needs):
                for observable in here:
                    places[observable.name][:, columns] = observable.map(outputs, structure)
        for observable in map(OBSERVABLES.get, places):
            if observable.elsewhere:
                def at(moved: Structure, linear: Callable[[Outputs], np.ndarray], needs=observable.needs) -> np.ndarray:
                    return np.concatenate([linear(o) for _, o in self._outputs(evaluator, moved, needs)], axis=-1)

                places[observable.name][:, :self.n_columns] = observable.rows(at, structure, self.config.hessian_delta)

    def _outputs(self, evaluator, structure: Structure, needs: set[str]) -> Iterator[tuple[slice, Outputs]]:
        """The columns of each kernel and what it gives, with these columns as the last axis."""
        neighbours, column = neighbours_of(structure, self.config.cutoff, self.species), 0
        for kernel in self.kernels:
            energy, gradient, strain, local = kernel.rows(evaluator, neighbours, "gradient" in needs, "strain" in needs,
                                                          "local" in needs)
            if "local" in needs and local is None:
                raise InputError(f"{kernel.name}: this kind of term cannot learn energies of atoms; expected data without them")
            yield slice(column, column := column + kernel.n_sparse), Outputs(energy, local, gradient, strain)

    def blocks(self, structures: Sequence[Structure], targets_of: Sequence[Targets], evaluators: Sequence,
               ranges: Sequence[range], prior: Prior) -> Iterator[np.ndarray]:
        """Rows of whole structures, whitened, (rows, M + n_rhs) in Fortran order, one block for each range (`partition`)."""
        items = [(structures[k], targets_of[k]) for part in ranges for k in part]
        ahead = max(map(len, ranges), default=0)  # the rows of a block are made while the one before is folded in
        results = ordered_map(lambda evaluator, item: prior.whiten(self.rows(evaluator, *item)), items, evaluators, ahead)
        for part in ranges:
            yield _stack([rows for _, rows in zip(part, results, strict=False)], self.n_columns + self.n_rhs)


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
