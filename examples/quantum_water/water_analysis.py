"""Numbers out of the runs: radial distributions, kinetic energies, error bars, and what a finite number of beads leaves out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.optimize import FIRE
from ase.units import _amu, _e, _hbar, _k, kB

from soapgap import SoapGAP
from soapgap.errors import InputError

PROPERTIES = ("step", "time", "conserved", "potential", "temperature", "cv_H", "cv_O", "md_H", "md_O", "gyration_H")


def read_properties(path) -> dict[str, np.ndarray]:
    """The table of i-PI by the names of `PROPERTIES`: ps, eV, K, A.

    A run that went on from a checkpoint repeats the steps after it; of equal steps the last one counts.
    """
    rows = [line.split() for line in Path(path).read_text().splitlines() if line.strip() and line.split()[0] != "#"]
    table = np.array([row for row in rows if len(row) == len(PROPERTIES)], dtype=float)
    if not len(table):
        raise InputError(f"{path} has no complete line of {len(PROPERTIES)} numbers; has the run begun?")
    last = {int(step): k for k, step in enumerate(table[:, 0])}
    table = table[[last[step] for step in sorted(last)]]
    return dict(zip(PROPERTIES, table.T, strict=True))


def read_positions(path, n_atoms: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps (n_frames,) and positions (n_frames, n_atoms, 3) of one bead, A, from i-PI's xyz; repeated steps as above."""
    lines = Path(path).read_text().splitlines()
    size = n_atoms + 2
    frames = {}
    for first in range(0, len(lines) - size + 1, size):  # a frame cut short at the end is left out
        words = lines[first + 1].split()
        if int(lines[first]) != n_atoms or "Step:" not in words or "positions{angstrom}" not in words:
            raise InputError(f"{path}, line {first + 1}: expected a frame of {n_atoms} atoms in Angstrom with its step, "
                             f"got {lines[first]!r}, {lines[first + 1]!r}")
        atoms = " ".join(lines[first + 2:first + size]).split()
        columns = [np.array(atoms[k::4], dtype=float) for k in (1, 2, 3)]
        frames[int(words[words.index("Step:") + 1])] = np.column_stack(columns)
    steps = sorted(frames)
    return np.array(steps, dtype=int), np.array([frames[step] for step in steps]).reshape(len(steps), n_atoms, 3)


def pair_distances(first: np.ndarray, second: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Distances (n_first, n_second) in a periodic cell; those below half its smallest height are the nearest images'."""
    scaled = (first[:, None] - second) @ np.linalg.inv(cell)
    return np.linalg.norm((scaled - np.round(scaled)) @ cell, axis=2)


class RadialDistribution:
    """g(r) of two species: pairs in a shell, divided by those of an ideal gas; and the distance to the nearest partner.

    Parameters
    ----------
    symbols : sequence of str
    pair : (str, str)
        First and second species.
    cell : array (3, 3)
        Vectors as rows, A.
    width : float
        Of a bin, A.
    """

    def __init__(self, symbols, pair=("H", "O"), cell=None, width=0.01):
        symbols = np.asarray(symbols)
        self.first, self.second = (np.flatnonzero(symbols == name) for name in pair)
        self.cell = np.asarray(cell, dtype=float)
        heights = 1.0 / np.linalg.norm(np.linalg.inv(self.cell), axis=0)
        self.edges = np.arange(0.0, 0.5 * heights.min(), width)
        self.r = 0.5 * (self.edges[1:] + self.edges[:-1])
        n_pairs = len(self.first) * (len(self.second) - (pair[0] == pair[1]))
        shells = 4.0 / 3.0 * np.pi * np.diff(self.edges**3)
        self.ideal = n_pairs * shells / abs(np.linalg.det(self.cell))
        self.same = pair[0] == pair[1]

    def count(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """g(r) of one frame, (n_bins,), and every first atom's distance to its nearest second one, (n_first,)."""
        distances = pair_distances(positions[self.first], positions[self.second], self.cell)
        if self.same:
            np.fill_diagonal(distances, np.inf)
        return np.histogram(distances, self.edges)[0] / self.ideal, distances.min(axis=1)

    def of(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same for frames (n_frames, n_atoms, 3): (n_frames, n_bins) and (n_frames, n_first)."""
        counted = [self.count(positions) for positions in frames]
        return np.array([g for g, _ in counted]), np.array([nearest for _, nearest in counted])


def peak(r: np.ndarray, g: np.ndarray, low: float, high: float, half: float) -> dict[str, float]:
    """Highest maximum from `low` to `high`: place and height of a Gaussian fitted over +- `half`, full width at half height."""
    n = max(1, round(half / (r[1] - r[0])))
    smooth = np.convolve(g, np.ones(n) / n, mode="same")
    inside = np.flatnonzero((r > low) & (r < high))
    top = int(inside[smooth[inside].argmax()])
    around = np.arange(max(top - n, 0), min(top + n + 1, len(r)))
    x, y = r[around] - r[top], g[around]
    a, b, c = np.polyfit(x, np.log(np.maximum(y, 1e-9)), 2, w=y) if (y > 0).sum() > 2 else (0.0, 0.0, 0.0)
    shift = -b / (2.0 * a) if a < 0 else np.inf
    place, height = (r[top] + shift, np.exp(c - a * shift**2)) if abs(shift) < half else (r[top], g[top])
    return {"r": float(place), "height": float(height), "fwhm": full_width(r, g, top, 0.5 * height)}


def full_width(r: np.ndarray, g: np.ndarray, top: int, level: float) -> float:
    """Distance between the two places about bin `top` where g falls to a level; nan where it does not."""
    sides = []
    for step in (-1, 1):
        k = top
        while 0 < k < len(r) - 1 and g[k] > level:
            k += step
        if g[k] > level:
            return float("nan")
        before = k - step
        sides.append(r[before] + (r[k] - r[before]) * (g[before] - level) / (g[before] - g[k]))
    return float(sides[1] - sides[0])


def block_error(series, n_blocks: int = 8) -> tuple[float, float]:
    """Mean of a series and its standard error from the means of equal blocks, which must be longer than its memory.

    error = sd(block means) / sqrt(n_blocks); samples that fill no block are dropped at the start.

    Raises
    ------
    InputError
        Fewer samples than blocks.
    """
    x = np.asarray(series, dtype=float)
    if len(x) < n_blocks or n_blocks < 2:
        raise InputError(f"{len(x)} samples cannot make {n_blocks} blocks; a longer run, or 2 blocks or more")
    means = x[len(x) % n_blocks:].reshape(n_blocks, -1).mean(axis=1)
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(n_blocks))


def mode_kinetic(omega2, temperature: float, n_beads: int | None, time_step: float = 0.0) -> np.ndarray:
    """Kinetic energy (eV) of harmonic modes of squared angular frequencies `omega2` (1/s^2), P beads or exact (None).

    With x = beta hbar omega: P beads have K = kT/2 sum_k x^2 / (x^2 + 4 P^2 sin^2(pi k / P)), k = 0..P-1; without end it
    is kT/2 (x/2) coth(x/2). One bead has kT/2, and so has a mode without a (real) frequency.

    A time step h (s) changes what is sampled. i-PI moves the free ring polymer exactly, with omega_k, between two kicks of
    h/2; the modes of the ring then have the variance of a spring omega_h^2 = omega_k^2 / sin^2(omega_k h) times
    1 - (cos(omega_k h) - h omega^2 sin(omega_k h) / (2 omega_k))^2 in place of omega^2 + omega_k^2.
    """
    omega2 = np.maximum(np.asarray(omega2, dtype=float), 0.0)
    half_kt = 0.5 * kB * temperature
    if n_beads is None:
        half = np.maximum(0.5 * _hbar * np.sqrt(omega2) / (_k * temperature), 1e-6)
        return half_kt * half / np.tanh(half)
    omega_k = 2.0 * n_beads * _k * temperature / _hbar * np.sin(np.pi * np.arange(1, n_beads) / n_beads)
    spring = omega2[:, None] + omega_k**2
    if time_step > 0.0:
        sine, cosine = np.sin(omega_k * time_step), np.cos(omega_k * time_step)
        kicked = cosine - 0.5 * time_step * omega2[:, None] * sine / omega_k
        spring = (1.0 - kicked**2) * (omega_k / sine) ** 2
    return half_kt * (1.0 + (omega2[:, None] / spring).sum(axis=1))


def quench(atoms: Atoms, model, n_threads: int, fmax: float = 0.02, steps: int = 500) -> Atoms:
    """The structure relaxed towards the nearest minimum of the model, in its cell."""
    relaxed = atoms.copy()
    relaxed.info.clear()
    relaxed.calc = SoapGAP(model, n_threads=n_threads, skin=0.5)
    FIRE(relaxed, logfile=None).run(fmax=fmax, steps=steps)
    return relaxed


def normal_modes(atoms: Atoms, displacement: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
    """Squared angular frequencies (3N,), 1/s^2, and normalised mass-weighted modes (3N, 3N), one a column.

    From central differences of the forces of `atoms.calc`.
    """
    moved = atoms.copy()
    moved.calc = atoms.calc
    hessian = np.empty((3 * len(atoms), 3 * len(atoms)))
    for i in range(len(hessian)):
        rows = []
        for sign in (1, -1):
            moved.positions[:] = atoms.positions
            moved.positions[i // 3, i % 3] += sign * displacement
            rows.append(moved.get_forces().ravel())
        hessian[i] = (rows[1] - rows[0]) / (2 * displacement)
    masses = np.repeat(atoms.get_masses(), 3)
    dynamical = 0.5 * (hessian + hessian.T) / np.sqrt(np.outer(masses, masses))
    omega2, modes = np.linalg.eigh(dynamical)
    return omega2 * _e / (_amu * 1e-20), modes


def species_weights(symbols, modes: np.ndarray) -> dict[str, np.ndarray]:
    """How much of each mode's kinetic energy an atom of each species has on average, {name: (3N,)}.

    The kinetic energy of a mode belongs to the atoms in proportion to the squares of their mass-weighted amplitudes.
    """
    symbols = np.asarray(symbols)
    per_atom = (modes**2).reshape(len(symbols), 3, -1).sum(axis=1)
    return {str(name): per_atom[symbols == name].mean(axis=0) for name in np.unique(symbols)}


def kinetic_errors(omega2, weights, temperature: float, n_beads: int, time_step: float, measured: float) -> dict[str, float]:
    """What P beads leave out of a species' kinetic energy, and what the time step (s) adds to it: eV per atom.

    All frequencies are scaled by one factor (0.5 to 1.5) with which the harmonic ring polymers have the kinetic energy
    `measured`, because modes at a minimum are stiffer than those of the liquid. Then "beads" is K_exact - K_P, "time_step" is
    K_P,h - K_P, and "corrected" is measured + beads - time_step, all with the scaled frequencies.
    """
    low, high = 0.5, 1.5
    for _ in range(50):
        factor = 0.5 * (low + high)
        below = weights @ mode_kinetic(factor**2 * omega2, temperature, n_beads, time_step) < measured
        low, high = (factor, high) if below else (low, factor)
    scaled = factor**2 * np.asarray(omega2)
    beads = float(weights @ (mode_kinetic(scaled, temperature, None) - mode_kinetic(scaled, temperature, n_beads)))
    step = mode_kinetic(scaled, temperature, n_beads, time_step) - mode_kinetic(scaled, temperature, n_beads)
    added = float(weights @ step)
    return {"frequency_factor": float(factor), "beads": beads, "time_step": added, "corrected": measured + beads - added}
