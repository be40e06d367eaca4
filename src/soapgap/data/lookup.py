"""What one frame says under the names the user gave: values looked up and checked, local energies, curvatures.

ASE moves the columns and keys called `energy`, `energies`, `forces` and `stress` into a calculator and leaves everything
else in `info` and `arrays`; a quantity is looked for in both places.
"""

from __future__ import annotations

import re

import numpy as np
from ase import Atoms

from soapgap.errors import InputError


def lookup(frame: Atoms, key: str, per_atom: bool):
    """The value under this name, None if there is none or the name is empty."""
    if not key:
        return None
    place = frame.arrays if per_atom else frame.info
    if key in place:
        return place[key]
    return frame.calc.results.get(key) if frame.calc else None


def numbers(value, shape: tuple[int, ...] | None, what: str, where: str) -> np.ndarray:
    """The value as finite numbers of this shape (any shape if None).

    Raises
    ------
    InputError
        It is something else; the message says what, and of which atom.
    """
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise InputError(f"{where}: {what} is {value!r}, expected numbers") from None
    if shape is not None and array.shape != shape:
        raise InputError(f"{where}: {what} has shape {array.shape}, expected {shape}")
    if not np.isfinite(array).all():
        bad = np.argwhere(~np.isfinite(np.atleast_1d(array)))[0]
        place = f" of atom {bad[0]}" if array.ndim == 2 and array.shape != (3, 3) else ""
        raise InputError(f"{where}: {what}{place} is {np.atleast_1d(array)[tuple(bad)]}, expected a finite number; "
                         "remove the frame or the value")
    return array


def local_energies(frame: Atoms, key: str, mask: np.ndarray | None, where: str) -> np.ndarray | None:
    """Energies of the atoms, (n_atoms,), eV, from the column `key`; 0 where the mask excludes them."""
    values = lookup(frame, key, per_atom=True)
    if values is None:
        if key and key in frame.info:
            raise InputError(f"{where}: {key} is a column, one number per atom, but is given for the whole frame; make it a "
                             'column, or set data.local_energy_key = "" not to read it')
        return None
    column = np.reshape(values, (-1, 1)) if np.ndim(values) == 1 else values
    if mask is not None and np.shape(column) == (len(frame), 1):
        column = np.where(mask.astype(bool).reshape(-1, 1), column, 0.0)  # what is not fitted may be anything, also NaN
    return numbers(column, (len(frame), 1), f"the local energy ({key})", where)[:, 0]


def curvatures(frame: Atoms, key: str, where: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Curvatures e^T H e, (n,), eV/Angstrom^2, and their directions e, (n, n_atoms, 3), each of length 1.

    They are `n_<key>`, and for i = 1 .. n the value `<key><i>` of the frame and the column `<key><i>`.

    Raises
    ------
    InputError
        One of them is missing, there are more than `n_<key>` says, or a direction is zero.
    """
    if not key:
        return None
    form = re.compile(re.escape(key) + r"[1-9][0-9]*")
    present = sorted((name for name in {*frame.info, *frame.arrays} if form.fullmatch(name)), key=lambda s: (len(s), s))
    count = frame.info.get(f"n_{key}")
    if count is None:
        if present:
            raise InputError(f"{where}: has {present[0]}, but not n_{key}, the number of curvatures; add n_{key} = "
                             f'{len(present)}, or set data.hessian_key = "" not to read them')
        return None
    if not isinstance(count, (int, np.integer)) or isinstance(count, bool) or count < 0:
        raise InputError(f"{where}: n_{key} is {count}, expected an integer >= 0, the number of curvatures")
    names = [f"{key}{i}" for i in range(1, int(count) + 1)]
    surplus = sorted(set(present) - set(names))
    if surplus:
        raise InputError(f"{where}: n_{key} is {count}, but there is {surplus[0]}; correct n_{key} or remove it")
    if not names:
        return None
    pairs = [_eigenpair(frame, name, where) for name in names]
    return np.array([value for value, _ in pairs]), np.array([direction for _, direction in pairs])


def _eigenpair(frame: Atoms, name: str, where: str) -> tuple[float, np.ndarray]:
    for place, what in ((frame.info, "the curvature, a number of the frame"), (frame.arrays, "its direction, 3 columns")):
        if name not in place:
            raise InputError(f"{where}: {name} is not given as {what}; expected both under this name")
    value = float(numbers(frame.info[name], (), f"the curvature ({name})", where))
    direction = numbers(frame.arrays[name], (len(frame), 3), f"the direction of the curvature ({name})", where)
    length = np.linalg.norm(direction)
    if length == 0.0:
        raise InputError(f"{where}: the direction of the curvature ({name}) is zero; expected an eigenvector of the Hessian")
    return value, direction / length
