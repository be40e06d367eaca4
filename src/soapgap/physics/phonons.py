"""Phonons by finite displacements, and what they say of ring polymers.

    Phi(0 a alpha, R b beta) = -[F_b beta(+delta) - F_b beta(-delta)] / (2 delta)
    D(q)_ab = (m_a m_b)^(-1/2) sum_R Phi(0 a, R b) exp(i q . (R + r_b - r_a))

Where q is commensurate with the supercell, D(q) is exact whatever the range of the forces; between such q it is interpolated,
each pair of atoms taken with its nearest images.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms, units

DELTA = 0.01  # Angstrom
TO_THZ = np.sqrt(units._e / units._amu) / 1e-10 / (2.0 * np.pi) / 1e12  # from sqrt(eV/(A^2 u))


def supercell_repeats(atoms: Atoms, cutoff: float) -> tuple[int, int, int]:
    """Even numbers of cells in each direction, so that the planes of the supercell are at least 2 cutoffs apart.

    Then a displaced atom does not act on its own images, and the boundary of the Brillouin zone is commensurate.
    """
    heights = 1.0 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
    return tuple(2 * int(np.ceil(cutoff / height - 1e-9)) for height in heights)


def second_derivatives(potential, atoms: Atoms, n_moved: int | None = None, delta: float = DELTA) -> np.ndarray:
    """Second derivatives of the energy by central differences of the forces.

    Parameters
    ----------
    potential : Potential
        Or anything whose ``compute(atoms)`` has ``forces``.
    atoms : ase.Atoms
    n_moved : int, optional
        Only the first so many atoms are moved.
    delta : float
        Displacement to both sides (Angstrom).

    Returns
    -------
    array (n_moved, 3, n_atoms, 3)
        d2E / dR_a,alpha dR_b,beta in eV/Angstrom^2, as it comes: neither symmetrised nor with the acoustic sum rule.
    """
    moved, n = atoms.copy(), len(atoms) if n_moved is None else n_moved
    phi = np.empty((n, 3, len(atoms), 3))
    for a, alpha in np.ndindex(n, 3):
        ends = []
        for step in (delta, -delta):
            moved.positions[:] = atoms.positions
            moved.positions[a, alpha] += step
            ends.append(potential.compute(moved).forces)
        phi[a, alpha] = -(ends[0] - ends[1]) / (2.0 * delta)
    return phi


def force_constants(potential, atoms: Atoms, repeats: tuple[int, int, int], delta: float = DELTA) -> np.ndarray:
    """Second derivatives of the energy between the first cell and the supercell.

    Parameters
    ----------
    potential : Potential
    atoms : ase.Atoms
        Primitive cell.
    repeats : tuple of int
        Size of the supercell, ordered as `atoms.repeat(repeats)`.
    delta : float
        Displacement to both sides (Angstrom).

    Returns
    -------
    array (n_atoms, 3, n_super, 3)
        eV/Angstrom^2, with the acoustic sum rule imposed on the atom itself.
    """
    phi = second_derivatives(potential, atoms.repeat(repeats), len(atoms), delta)
    for a in range(len(atoms)):
        phi[a, :, a] -= phi[a].sum(axis=1)
    return phi


class DynamicalMatrix:
    """Frequencies of a crystal from its force constants.

    Parameters
    ----------
    atoms : ase.Atoms
        Primitive cell.
    repeats : tuple of int
    phi : ndarray, shape (n_atoms, 3, n_super, 3)
        Supercell and result of `force_constants`.
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
        q : ndarray, shape (3,)
            In units of the reciprocal lattice vectors.
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


def angular_frequencies_squared(potential, atoms: Atoms, displacement: float = DELTA) -> np.ndarray:
    """Eigenvalues (1/s^2), ascending, of the dynamical matrix of all atoms of a structure; masses as ASE has them."""
    n = 3 * len(atoms)
    hessian = second_derivatives(potential, atoms, delta=displacement).reshape(n, n)
    masses = np.repeat(atoms.get_masses(), 3)
    dynamical = 0.5 * (hessian + hessian.T) / np.sqrt(np.outer(masses, masses))
    return np.linalg.eigvalsh(dynamical) * units._e / (units._amu * 1e-20)


def ring_polymer_kinetic_energy(omega2, temperature: float, n_beads: int) -> float:
    """Kinetic energy (eV) of harmonic ring polymers, what the centroid virial estimator averages to in a harmonic crystal.

        K = sum over modes of 1/(2 beta) sum_k w^2 / (w^2 + w_k^2),    w_k = (2 P / beta hbar) sin(pi k / P),  k = 0 .. P-1

    A mode without a frequency counts kT/2 (the estimator: M. F. Herman, E. J. Bruskin and B. J. Berne, J. Chem. Phys. 76,
    5150 (1982)).

    Parameters
    ----------
    omega2 : ndarray, shape (n_modes,)
        Squared angular frequencies (1/s^2); negative ones count as zero.
    temperature : float
        K.
    n_beads : int
        P.
    """
    k = np.arange(n_beads)
    omega_k = 2 * n_beads * units._k * temperature / units._hbar * np.sin(np.pi * k / n_beads)
    omega2 = np.maximum(np.asarray(omega2, dtype=float), 0.0)[:, None]
    ratio = np.divide(omega2, omega2 + omega_k**2, out=np.ones((len(omega2), n_beads)), where=omega2 + omega_k**2 > 0)
    return 0.5 * units.kB * temperature * float(ratio.sum())
