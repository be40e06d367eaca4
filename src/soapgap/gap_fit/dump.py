"""The linear system in gap_fit's four files: PREFIX_Kmm, PREFIX_Kmn.0, PREFIX_lambda.0, PREFIX_globalY.0.

One number a line. K_mm holds all sparse points, with the jitter on its diagonal. K_mn has the sparse point as its fastest
index; its rows, like lambda = sigma^2 and the targets y, are first all energies and local energies, then all derivatives, each
in the order of the frames; the derivatives of one frame are forces, virial (xx xy xz yy yz zz) and curvatures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryFile

import numpy as np
from scipy.linalg import block_diag

from soapgap.data.noise import sigmas
from soapgap.data.observables import OBSERVABLES
from soapgap.data.structure import Structure
from soapgap.errors import InputError
from soapgap.gap_fit.terms import Coordinate
from soapgap.kinds.kernel import Kernel, rows_evaluator
from soapgap.learn.design import DesignMatrix
from soapgap.learn.problem import Problem

_VIRIAL_ORDER = [0, 5, 4, 1, 3, 2]  # xx xy xz yy yz zz among xx yy zz yz xz xy
FORMAT = "%.20e"


@dataclass(frozen=True)
class System:
    """The linear system of a fit in gap_fit's order of columns.

    Attributes
    ----------
    problem : Problem
        Data, targets, configuration.
    kernels : sequence of Kernel
        In our order.
    columns : ndarray
        Of our matrices, in gap_fit's order.
    """

    problem: Problem
    kernels: Sequence[Kernel]
    columns: np.ndarray

    def covariance(self) -> np.ndarray:
        """K_mm with the jitter, (M, M), eV^2."""
        full = block_diag(*(kernel.covariance() for kernel in self.kernels))[np.ix_(self.columns, self.columns)]
        full[np.diag_indices_from(full)] += self.problem.config.sparse_jitter
        return full

    def rows(self, evaluator, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """K_nm, lambda and y of one structure, and how many of the rows are energies."""
        p = self.problem
        structure = p.train.structures[number]
        design = DesignMatrix(self.kernels, p.species, p.config)
        scaled = design.rows(evaluator, structure, p.targets[number])
        sigma, n_energies, order = _row_sigmas(structure, p)
        scaled, sigma = scaled[order], sigma[order]
        rows = scaled[:, :-1][:, self.columns] * sigma[:, None]
        return rows, sigma**2, scaled[:, -1] * sigma, n_energies


def _row_sigmas(structure: Structure, problem: Problem) -> tuple[np.ndarray, int, np.ndarray]:
    """Sigma of every row in our order, the number of energies, and gap_fit's order of the rows."""
    found, n_energies, order, first = sigmas(structure, problem.config), 0, [], 0
    for name, sigma in found.items():
        rows = first + np.arange(len(sigma))
        order.append(rows[_VIRIAL_ORDER] if name == "virial" else rows)
        first += len(sigma)
        n_energies += len(sigma) * (OBSERVABLES[name].order == 0)
    by_order = sorted(zip(found, order, strict=True), key=lambda item: OBSERVABLES[item[0]].order > 0)
    return (np.concatenate([*found.values()]) / np.sqrt(structure.weight), n_energies,
            np.concatenate([rows for _, rows in by_order]))


def make_system(problem: Problem, kernels: Sequence[Kernel], coordinates: Sequence[Coordinate]) -> System:
    """The linear system of these kernels.

    Parameters
    ----------
    coordinates : sequence of Coordinate
        gap_fit's kernels; those that never occur in the data have no kernel.
    """
    starts = np.concatenate([[0], np.cumsum([kernel.n_sparse for kernel in kernels])])
    place = {key: k for k, key in enumerate(kernel_names(problem, kernels))}
    found = [place.get((coordinate.term, coordinate.species)) for coordinate in coordinates]
    columns = np.concatenate([np.arange(starts[k], starts[k + 1]) for k in found if k is not None])
    return System(problem, kernels, columns)


def kernel_names(problem: Problem, kernels: Sequence[Kernel]) -> list[tuple[int, tuple[str, ...]]]:
    """Term and species of every kernel."""
    return [(term, kernel.symbols) for term, kernel in zip(problem.plan.terms, kernels, strict=True)]


def write_system(prefix: str, system: System, advance: Callable[[int], None]) -> None:
    """Write the four files.

    Parameters
    ----------
    advance : callable
        Called with 1 after each structure.

    Raises
    ------
    InputError
        A file cannot be written.
    """
    lambdas: tuple[list, list] = [], []
    targets: tuple[list, list] = [], []
    evaluator = rows_evaluator(system.problem.species, system.kernels, exact=True)
    try:
        _write_numbers(Path(f"{prefix}_Kmm"), system.covariance())
        with ExitStack() as stack:
            energies = stack.enter_context(open(f"{prefix}_Kmn.0", "wb"))
            derivatives = stack.enter_context(TemporaryFile(dir=Path(prefix).parent))
            for number in range(len(system.problem.train.structures)):
                rows, variance, y, n_energies = system.rows(evaluator, number)
                for part, file, here in ((0, energies, slice(None, n_energies)), (1, derivatives, slice(n_energies, None))):
                    np.savetxt(file, rows[here].ravel(), fmt=FORMAT)
                    lambdas[part].append(variance[here])
                    targets[part].append(y[here])
                advance(1)
            derivatives.seek(0)
            copyfileobj(derivatives, energies)
        _write_numbers(Path(f"{prefix}_lambda.0"), np.concatenate(lambdas[0] + lambdas[1]))
        _write_numbers(Path(f"{prefix}_globalY.0"), np.concatenate(targets[0] + targets[1]))
    except OSError as error:
        raise InputError(f"linear_system_dump_file={prefix}: cannot write: {error.strerror or error}") from None


def _write_numbers(path: Path, numbers: np.ndarray) -> None:
    with open(path, "wb") as file:
        np.savetxt(file, numbers.ravel(), fmt=FORMAT)
