"""How fast a model is: microseconds per atom for energy and forces, on one thread."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms
from threadpoolctl import threadpool_limits

from soapgap.data.dataset import Structure
from soapgap.model import Model
from soapgap.neighbours.arrays import neighbour_arrays
from soapgap.potential import Potential

N_ATOMS = 500
SECONDS, MOST_RUNS = 1.0, 20
SKIN = 1e-3  # Angstrom: atoms do not move here, the list is made once


def speed_structure(structures: Sequence[Structure], cutoff: float, n_atoms: int = N_ATOMS) -> tuple[Atoms, Structure]:
    """About `n_atoms` atoms made of one training frame, and that frame.

    The frame with the median number of atoms per volume, or, if none is periodic, of atoms. Periodic directions are repeated,
    the shortest first; a frame without any is set side by side, out of reach of itself.
    """
    periodic = [s for s in structures if s.atoms.pbc.all() and len(s.atoms) > 1]
    chosen = periodic or [s for s in structures if len(s.atoms) > 1] or list(structures)
    size = {id(s): len(s.atoms) / s.atoms.get_volume() if periodic else len(s.atoms) for s in chosen}
    frame = sorted(chosen, key=lambda s: size[id(s)])[len(chosen) // 2]
    atoms, repeats = frame.atoms.copy(), np.ones(3, int)
    if not atoms.pbc.any():
        atoms.cell = np.diag(np.ptp(atoms.positions, axis=0) + 2.0 * cutoff)
    free = atoms.pbc if atoms.pbc.any() else np.ones(3, bool)
    while len(atoms) * repeats.prod() < n_atoms:
        lengths = np.where(free, atoms.cell.lengths() * repeats, np.inf)
        repeats[int(np.argmin(lengths))] += 1
    return atoms.repeat(repeats), frame


def measure_speed(model: Model, structures: Sequence[Structure]) -> dict[str, Any]:
    """Time of energy, forces and virial on one thread, without the neighbour list; the median of several runs.

    Returns
    -------
    JSON values: "microseconds_per_atom", "neighbours_microseconds_per_atom" (to make the list), "n_atoms",
    "neighbours_per_atom", "frame", "n_runs"
    """
    potential = Potential(model, n_threads=1, skin=SKIN)
    atoms, frame = speed_structure(structures, potential.cutoff)
    n, runs = len(atoms), []
    with threadpool_limits(1):
        start = time.perf_counter()
        pairs = neighbour_arrays(atoms, potential.cutoff, potential.species)
        listing = time.perf_counter() - start
        potential.compute(atoms)  # makes the list and the buffers
        first = time.perf_counter()
        while not runs or (time.perf_counter() - first < SECONDS and len(runs) < MOST_RUNS):
            start = time.perf_counter()
            potential.compute(atoms)
            runs.append(time.perf_counter() - start)
    return {
        "microseconds_per_atom": 1e6 * float(np.median(runs)) / n,
        "neighbours_microseconds_per_atom": 1e6 * listing / n,
        "n_atoms": n,
        "neighbours_per_atom": len(pairs.neighbour_atom) / n,
        "frame": frame.where,
        "n_runs": len(runs),
    }
