"""Sparse points of SOAP kernels from QUIP's text or from a model file.

QUIP's text lists the components of a descriptor pair by pair with l fastest, and one more, `covariance_sigma0`, at the end;
ours have l slowest.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from soapgap.errors import InputError
from soapgap.kinds.sparse.files import MODEL_SUFFIX, best_points, read_points
from soapgap.model import Model, SoapTerm

#: How far from 1 the norm of a feature vector in a file may be.
NORM_TOLERANCE = 1e-6


def soap_points(path: Path, term: SoapTerm) -> np.ndarray:
    """Sparse points of a SOAP kernel in our order of features, (n, d).

    Parameters
    ----------
    term : SoapTerm
        The kernel's term without points.

    Raises
    ------
    InputError
        The file is another descriptor's: a wrong number of components, a weight other than 1, vectors that are not
        normalised, a basis that QUIP does not have, or a model without such a term.
    """
    what = f"the soap kernel of {term.centre}"
    if path.suffix == MODEL_SUFFIX:
        return best_points(path, what, [(t.sparse_points, _differences(t, term)) for t in Model.load(path).terms_of(SoapTerm)
                                  if t.centre == term.centre])
    if term.basis.get("radial_basis") != "equispaced" or "radial_scaling" in term.basis:
        raise InputError(f"{path}: QUIP's text holds descriptors of QUIP's own basis; expected a term with radial_basis = "
                         '"equispaced" and without radial_scaling, or a model file (.safetensors) of the same basis')
    found = read_points(path, term.n_features + 1, what)
    if (found[:, 0] != 1.0).any() or found[:, -1].any():
        raise InputError(f"{path}: expected sparseCutoff = 1 and the last component covariance_sigma0 = 0 for every point of "
                         f"{what}; the points are those of another descriptor")
    points = found[:, 1:-1].reshape(len(found), -1, term.l_max + 1).transpose(0, 2, 1).reshape(len(found), -1)
    norms = np.linalg.norm(points, axis=1)
    worst = int(np.argmax(np.abs(norms - 1.0)))
    if abs(norms[worst] - 1.0) > NORM_TOLERANCE:
        raise InputError(f"{path}: point {worst + 1} has the norm {norms[worst]:.6g}; expected normalised descriptors "
                         f"(normalise=T) of {what}")
    return np.ascontiguousarray(points)


def _differences(found: SoapTerm, wanted: SoapTerm) -> list[str]:
    """Where a term's descriptor is not the wanted one."""
    pairs = [(name, getattr(found, name), getattr(wanted, name)) for name in ("n_max", "l_max", "cutoff", "neighbours")]
    theirs, ours = ({k: v for k, v in term.basis.items() if k != "quip"} for term in (found, wanted))
    pairs += [(key, theirs.get(key), ours.get(key)) for key in sorted({*theirs, *ours} - {"n_max", "l_max", "cutoff"})]
    different = [f"{name} is {got}, expected {expected}" for name, got, expected in pairs if got != expected]
    if found.channels is not None or not found.normalise:
        different.append("its channels or its normalisation are not those of a fit")
    return different
