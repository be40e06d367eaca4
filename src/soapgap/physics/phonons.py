"""Phonons of a crystal by finite displacements: is it a minimum of the model's energy?

    Phi(0 a alpha, R b beta) = -[F_b beta(+delta) - F_b beta(-delta)] / (2 delta)
    D(q)_ab = (m_a m_b)^(-1/2) sum_R Phi(0 a, R b) exp(i q . (R + r_b - r_a))

Where q is commensurate with the supercell, D(q) is exact whatever the range of the forces; between such q it is interpolated,
each pair of atoms taken with its nearest images.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from ase import Atoms, units
from scipy.optimize import minimize

from soapgap.errors import InputError
from soapgap.potential import Potential
from soapgap.report.model_crystals import reduced_formula

DELTA = 0.01  # Angstrom
MOST_ATOMS = 16
MOST_SECONDS = 30.0
IMAGINARY = -0.05  # THz: rounding and the finite displacement stay above it
RESIDUAL = 2e-3  # eV/Angstrom: forces that may be left after the relaxation
N_PATH = 120
TO_THZ = np.sqrt(units._e / units._amu) / 1e-10 / (2.0 * np.pi) / 1e12  # from sqrt(eV/(A^2 u))


def supercell_repeats(atoms: Atoms, cutoff: float) -> tuple[int, int, int]:
    """Even numbers of cells in each direction, so that the planes of the supercell are at least 2 cutoffs apart.

    Then a displaced atom does not act on its own images, and the boundary of the Brillouin zone is commensurate.
    """
    heights = 1.0 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
    return tuple(2 * int(np.ceil(cutoff / height - 1e-9)) for height in heights)


def force_constants(potential: Potential, atoms: Atoms, repeats: tuple[int, int, int], delta: float = DELTA) -> np.ndarray:
    """Second derivatives of the energy between the first cell and the supercell.

    Parameters
    ----------
    atoms : primitive cell
    repeats : size of the supercell, ordered as `atoms.repeat(repeats)`
    delta : displacement to both sides (A)

    Returns
    -------
    Phi : (n_atoms, 3, n_super, 3) eV/A^2, with the acoustic sum rule imposed on the atom itself
    """
    large, n = atoms.repeat(repeats), len(atoms)
    phi = np.empty((n, 3, len(large), 3))
    for a in range(n):
        for alpha in range(3):
            ends = []
            for step in (delta, -delta):
                moved = large.copy()
                moved.positions[a, alpha] += step
                ends.append(potential.compute(moved).forces)
            phi[a, alpha] = -(ends[0] - ends[1]) / (2.0 * delta)
    for a in range(n):
        phi[a, :, a] -= phi[a].sum(axis=1)
    return phi


class DynamicalMatrix:
    """Frequencies of a crystal from its force constants.

    Parameters
    ----------
    atoms : primitive cell
    repeats, phi : supercell and result of `force_constants`
    """

    def __init__(self, atoms: Atoms, repeats: tuple[int, int, int], phi: np.ndarray) -> None:
        self.atoms, self.repeats = atoms, repeats
        n, large = len(atoms), atoms.repeat(repeats)
        mass = atoms.get_masses()
        weighted = phi / np.sqrt(mass[:, None, None, None] * np.tile(mass, np.prod(repeats))[None, None, :, None])
        grid = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 3), -1).reshape(-1, 3) @ large.cell.array
        apart = large.positions[None, :] - atoms.positions[:, None]
        images = apart[:, :, None] + grid  # (n, n_super, 27, 3)
        r = np.linalg.norm(images, axis=3)
        nearest = r < r.min(axis=2, keepdims=True) + 1e-4
        share = 1.0 / nearest.sum(axis=2)
        a, j, m = np.nonzero(nearest)
        self._vectors = images[a, j, m]
        self._blocks = (weighted.transpose(0, 2, 1, 3)[a, j] * share[a, j, None, None]).reshape(-1, 9)
        pair = a * n + j % n
        order = np.argsort(pair, kind="stable")
        self._vectors, self._blocks = self._vectors[order], self._blocks[order]
        self._starts = np.searchsorted(pair[order], np.arange(n * n))

    def frequencies(self, q: np.ndarray) -> np.ndarray:
        """Frequencies (THz), ascending; imaginary ones are negative.

        Parameters
        ----------
        q : (3,) in units of the reciprocal lattice vectors
        """
        n = len(self.atoms)
        wave = 2.0 * np.pi * np.linalg.inv(self.atoms.cell.array) @ np.asarray(q, float)
        terms = np.exp(1j * (self._vectors @ wave))[:, None] * self._blocks
        d = np.add.reduceat(terms, self._starts, axis=0).reshape(n, n, 3, 3).transpose(0, 2, 1, 3).reshape(3 * n, 3 * n)
        squares = np.linalg.eigvalsh(0.5 * (d + d.conj().T))
        return np.sign(squares) * np.sqrt(np.abs(squares)) * TO_THZ

    def commensurate(self) -> np.ndarray:
        """All q of the supercell, in [0, 1), Gamma first, (n_q, 3)."""
        axes = np.meshgrid(*[np.arange(n) / n for n in self.repeats], indexing="ij")
        return np.stack(axes, -1).reshape(-1, 3)


def relaxed(potential: Potential, atoms: Atoms) -> tuple[Atoms, float]:
    """The positions relaxed in the fixed cell, and the largest component of the force left (eV/A)."""
    trial = atoms.copy()

    def function(x: np.ndarray) -> tuple[float, np.ndarray]:
        trial.positions = x.reshape(-1, 3)
        result = potential.compute(trial)
        return result.energy, -result.forces.ravel()

    start = np.abs(function(atoms.positions.ravel())[1]).max()
    if start > 1e-5:
        found = minimize(function, atoms.positions.ravel(), jac=True, method="BFGS", options={"gtol": 1e-5, "maxiter": 200})
        start = np.abs(function(found.x)[1]).max()
    return trial, float(start)


def phonon_check(potential: Potential, atoms: Atoms, seconds: float = MOST_SECONDS) -> dict[str, Any]:
    """Frequencies of a crystal on all q of a supercell and along a path through the Brillouin zone.

    Parameters
    ----------
    atoms : primitive cell at the volume to look at; positions are relaxed first
    seconds : the check is not begun if it would take longer

    Returns
    -------
    JSON values: "frequencies_gamma" (THz), "lowest" and "highest" (THz) with "lowest_q", "n_imaginary" and "n_modes" on the q
    of the supercell, "path" (coordinate, labels, bands), "residual_force", "repeats", "warning" or None

    Raises
    ------
    InputError
        The check cannot be made or would take too long: the message is the reason.
    """
    if len(atoms) > MOST_ATOMS:
        raise InputError(f"the primitive cell has {len(atoms)} atoms, more than {MOST_ATOMS}")
    repeats = supercell_repeats(atoms, potential.cutoff)
    large = atoms.repeat(repeats)
    start = time.perf_counter()
    potential.compute(large)
    expected = (time.perf_counter() - start) * 6 * len(atoms)
    if expected > seconds:
        raise InputError(f"{6 * len(atoms)} displacements of a supercell of {len(large)} atoms would take {expected:.0f} s, "
                         f"more than {seconds:g} s")
    rested, residual = relaxed(potential, atoms)
    if residual > RESIDUAL:
        raise InputError(f"the atoms do not come to rest in their cell: a force of {residual:.3g} eV/Å is left")
    matrix = DynamicalMatrix(rested, repeats, force_constants(potential, rested, repeats))
    return _summary(matrix, residual)


def _summary(matrix: DynamicalMatrix, residual: float) -> dict[str, Any]:
    qs = matrix.commensurate()
    table = np.array([matrix.frequencies(q) for q in qs])
    imaginary = int((table < IMAGINARY).sum())
    lowest = int(np.argmin(table.min(axis=1)))
    warning = None
    if imaginary:
        where = ", ".join(f"{x:g}" for x in qs[lowest])
        warning = (f"{imaginary} of {table.size} phonon modes of {reduced_formula(matrix.atoms)} are imaginary, the worst "
                   f"{abs(table.min()):.2f}i THz at q = ({where}): for this model the crystal is not stable")
    return {
        "n_atoms": len(matrix.atoms),
        "volume_per_atom": matrix.atoms.get_volume() / len(matrix.atoms),
        "repeats": list(matrix.repeats),
        "n_super": len(matrix.atoms) * int(np.prod(matrix.repeats)),
        "residual_force": residual,
        "n_q": len(qs),
        "n_modes": table.size,
        "n_imaginary": imaginary,
        "lowest": float(table.min()),
        "lowest_q": qs[lowest].tolist(),
        "highest": float(table.max()),
        "frequencies_gamma": table[0].tolist(),
        "path": _path(matrix),
        "warning": warning,
    }


def _path(matrix: DynamicalMatrix) -> dict[str, Any] | None:
    """Bands along ASE's standard path of the Bravais lattice; None if ASE does not recognise the lattice."""
    try:
        path = matrix.atoms.cell.bandpath(npoints=N_PATH, eps=1e-3)
    except RuntimeError:
        return None
    x, ticks, labels = path.get_linear_kpoint_axis()
    bands = np.array([matrix.frequencies(q) for q in path.kpts])
    return {"x": (x / x[-1]).tolist(), "ticks": (ticks / x[-1]).tolist(), "labels": list(labels), "bands": bands.tolist()}
