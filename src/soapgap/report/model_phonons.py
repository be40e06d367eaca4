"""Phonons of a crystal: is it a minimum of the model's energy?"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from ase import Atoms
from scipy.optimize import minimize

from soapgap.errors import InputError
from soapgap.physics.phonons import DynamicalMatrix, force_constants, supercell_repeats
from soapgap.potential import Potential
from soapgap.report.model_crystals import reduced_formula

MOST_ATOMS = 16
MOST_SECONDS = 30.0
IMAGINARY = -0.05  # THz: rounding and the finite displacement stay above it
RESIDUAL = 2e-3  # eV/Angstrom: forces that may be left after the relaxation
N_PATH = 120


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
    atoms : Atoms
        Primitive cell at the volume to look at; positions are relaxed first.
    seconds : float
        The check is not begun if it would take longer.

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
