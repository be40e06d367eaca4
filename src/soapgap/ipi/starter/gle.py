"""The matrices of a GLE thermostat, as GLE4MD writes them for i-PI."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.units import Hartree, kB

from soapgap.errors import InputError

__all__ = ["GLE", "GLE_SITE", "read_gle"]

GLE_SITE = "https://gle4md.org (PIGLET; your temperature, number of beads and highest frequency; output for i-PI)"
CENTROID_TOLERANCE = 0.01  # relative, of the centroid's temperature
HARTREE_IN_KELVIN = Hartree / kB
_FREQUENCIES = ("", "automatic", "atomic_unit", "inversecm", "hertz*rad", "hertz", "hz", "thz", "terahertz")


@dataclass(frozen=True)
class GLE:
    """Matrices of a generalised Langevin thermostat, one pair for each normal mode of the ring polymer.

    Attributes
    ----------
    a, c : ndarray [P, n, n]
        Drift matrices and static covariances as they are in the file.
    a_units, c_units : str
        Their units attributes ("": atomic units).
    """

    a: np.ndarray
    c: np.ndarray
    a_units: str
    c_units: str

    @property
    def n_beads(self) -> int:
        return len(self.a)


def read_gle(path: str | Path, temperature: float) -> GLE:
    """Reads the <A> and <C> blocks that GLE4MD writes for i-PI; text around them is ignored.

    Parameters
    ----------
    path : path-like
    temperature : float
        Kelvin, of the run. The centroid's covariance must be P times it.

    Raises
    ------
    InputError
        A block is missing, or its shape, numbers or units do not fit.
    """
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the GLE matrices {path}: {error}") from error
    (a, a_units), (c, c_units) = (_block(path, text, name) for name in "AC")
    if a.shape != c.shape:
        raise InputError(f"{path}: <A> has the shape {a.shape} and <C> {c.shape}; expected the same. Take both from one file "
                         "of GLE4MD")
    if a_units.lower() not in _FREQUENCIES:
        raise InputError(f"{path}: got units '{a_units}' of <A>; expected a frequency of i-PI, or no attribute (atomic units)")
    if c_units.lower() not in ("kelvin", "atomic_unit"):
        raise InputError(f"{path}: got units '{c_units}' of <C>; expected units='kelvin' (without it i-PI would read Hartree)")
    if np.abs(c - c.transpose(0, 2, 1)).max() > 1e-6 * np.abs(c).max():
        raise InputError(f"{path}: a matrix of <C> is not symmetric; expected covariances. Is the file complete and unchanged?")
    kelvin = c[0, 0, 0] * (1.0 if c_units.lower() == "kelvin" else HARTREE_IN_KELVIN)
    if abs(kelvin / (len(c) * temperature) - 1) > CENTROID_TOLERANCE:
        raise InputError(f"{path}: the centroid's <C> is {kelvin:g} K for {len(c)} beads, made for {kelvin / len(c):g} K; the "
                         f"run is at {temperature:g} K. Make matrices for that temperature: {GLE_SITE}")
    return GLE(a, c, a_units, c_units)


def _block(path, text: str, name: str) -> tuple[np.ndarray, str]:
    """Numbers [P, n, n] and units of the only block <name ...>...</name>."""
    found = re.findall(rf"<{name}(\s[^<>]*)?>([^<>]*)</{name}\s*>", text)
    if len(found) != 1:
        raise InputError(f"{path}: got {len(found)} blocks <{name}>; expected one <A> and one <C>, as for i-PI from {GLE_SITE}")
    attributes = {key: value for key, _, value in re.findall(r"(\w+)\s*=\s*(['\"])(.*?)\2", found[0][0])}
    shape = [int(number) for number in re.findall(r"\d+", attributes.get("shape", ""))]
    if len(shape) != 3 or shape[1] != shape[2] or 0 in shape:
        raise InputError(f"{path}: got the shape '{attributes.get('shape', '')}' of <{name}>; expected (P, n, n) for P beads")
    try:
        values = np.array([float(word) for word in re.split(r"[\s,\[\]]+", found[0][1]) if word])
    except ValueError as error:
        raise InputError(f"{path}: <{name}> holds what is not a number ({error})") from error
    if len(values) != np.prod(shape) or not np.isfinite(values).all():
        raise InputError(f"{path}: <{name}> has {len(values)} numbers; expected {np.prod(shape)} finite ones for the shape "
                         f"{tuple(shape)}")
    return values.reshape(shape), attributes.get("units", "").strip()
