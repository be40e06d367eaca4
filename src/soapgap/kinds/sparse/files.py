"""Sparse points from files: QUIP's text, instance numbers, or a model file of soapgap.

QUIP's text has one number per line: for every point its weight F_s (`sparseCutoff`), then the components of its descriptor.
Those of `soap` are listed pair by pair with l fastest, and one more, `covariance_sigma0`, at the end; ours have l slowest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from soapgap.errors import InputError
from soapgap.model import Model, PairTerm, SoapTerm, TripletTerm

#: How far from 1 the norm of a feature vector in a file may be.
NORM_TOLERANCE = 1e-6
MODEL_SUFFIX = ".safetensors"


def files_of(number: int, sparse_file: str | dict[str, str], names: Sequence[str], folder: Path,
             same: Callable[[str, str], bool] = str.__eq__) -> list[Path]:
    """The file of every kernel of a term.

    Parameters
    ----------
    number : place of the term in the configuration
    sparse_file : one path for all, or paths by name of the kernel
    names : of the kernels: "Si", "O-Si", "Si-O-O"
    folder : what relative paths are relative to
    same : whether a name in `sparse_file` means a kernel

    Raises
    ------
    InputError
        A kernel without a file, a file without a kernel, or one text file for several kernels.
    """
    where = f"terms[{number}].sparse_file"
    if isinstance(sparse_file, str):
        if len(names) > 1 and not sparse_file.endswith(MODEL_SUFFIX):
            raise InputError(f"{where} is one file, {sparse_file}, but the term has {len(names)} kernels, {', '.join(names)}; "
                             f'expected one file for each, such as {{ "{names[0]}" = "..." }}')
        return [folder / sparse_file] * len(names)
    found = [[path for key, path in sparse_file.items() if same(key, name)] for name in names]
    known = sum(map(len, found))
    if any(len(paths) != 1 for paths in found) or known != len(sparse_file):
        raise InputError(f"{where} names {', '.join(sparse_file)}; expected one file for each kernel of this term: "
                         f"{', '.join(names)}")
    return [folder / paths[0] for paths in found]


def read_numbers(path: Path) -> np.ndarray:
    """All numbers of a text file, (n,).

    Raises
    ------
    InputError
        It cannot be read, is empty, or holds something that is not a finite number (the message names the line).
    """

    def numbers(file):
        for place, line in enumerate(file, 1):
            for word in line.split():
                try:
                    yield float(word)
                except ValueError:
                    raise InputError(f"{path}, line {place}: got {word[:40]!r}, expected a number") from None

    try:
        with open(path, encoding="utf-8") as file:
            found = np.fromiter(numbers(file), float)
    except OSError as error:
        raise InputError(f"cannot read the file of sparse points {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file; expected one number per line") from None
    if len(found) == 0 or not np.isfinite(found).all():
        raise InputError(f"{path} {'holds a number that is not finite' if len(found) else 'is empty'}; expected sparse points, "
                         "one finite number per line")
    return found


def read_points(path: Path, n_components: int, what: str) -> np.ndarray:
    """QUIP's `sparse_file`: F_s and the components of every point, (n, 1 + n_components).

    Parameters
    ----------
    what : the kernel, for the message
    """
    found = read_numbers(path)
    if len(found) % (n_components + 1):
        raise InputError(f"{path}: holds {len(found)} numbers; expected {n_components + 1} for each sparse point of {what}: "
                         f"sparseCutoff, then {n_components} components")
    return found.reshape(-1, n_components + 1)


def read_indices(path: Path, total: int, what: str) -> np.ndarray:
    """Instances by number, counted from 1 in the file and from 0 here, ascending, each once.

    Parameters
    ----------
    total : how many there are
    """
    found = read_numbers(path)
    if (found != np.rint(found)).any() or found.min() < 1 or found.max() > total:
        strange = found[(found != np.rint(found)) | (found < 1) | (found > total)][0]
        raise InputError(f"{path}: got the number {strange:g}; expected whole numbers from 1 to {total}, the number of {what}")
    return np.unique(found.astype(np.int64)) - 1


def soap_points(path: Path, term: SoapTerm) -> np.ndarray:
    """Sparse points of a SOAP kernel in our order of features, (n, d).

    Parameters
    ----------
    term : the kernel's term without points

    Raises
    ------
    InputError
        The file is another descriptor's: a wrong number of components, a weight other than 1, vectors that are not
        normalised, a basis that QUIP does not have, or a model without such a term.
    """
    what = f"the soap kernel of {term.centre}"
    if path.suffix == MODEL_SUFFIX:
        return _best(path, what, [(t.sparse_points, _differences(t, term)) for t in Model.load(path).terms
                                  if isinstance(t, SoapTerm) and t.centre == term.centre])
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


def _best(path: Path, what: str, found: list[tuple[np.ndarray, list[str]]]) -> np.ndarray:
    """The points of the one term that fits."""
    fitting = [points for points, different in found if not different]
    if len(fitting) > 1:
        raise InputError(f"{path}: has {len(fitting)} terms like {what}; expected one: write its points to a file of their own")
    if not fitting:
        nearest = min((different for _, different in found), key=len, default=None)
        raise InputError(f"{path}: has no term with the descriptor of {what}" + (
            "" if nearest is None else f": {'; '.join(nearest)}") + ". Take a model that was fitted with the same descriptor")
    return fitting[0]


def pair_points(path: Path, species: tuple[str, str], cutoff: float) -> np.ndarray:
    """F_s and distances of a pair kernel, (n, 2); see `soap_points`."""
    what = f"the distance_2b kernel of {'-'.join(species)}"
    if path.suffix != MODEL_SUFFIX:
        return read_points(path, 1, what)
    terms = [t for t in Model.load(path).terms if isinstance(t, PairTerm) and t.origin.get("kind") == "distance_2b"
             and sorted(t.species) == sorted(species) and "sparse_points" in t.sparse]
    return _best(path, what, [(_weighted(t, t.sparse["sparse_points"].reshape(-1, 1)), _cutoffs(t, cutoff)) for t in terms])


def triplet_points(path: Path, kind: str, species: tuple[str, str, str], cutoff: float) -> np.ndarray:
    """F_s and descriptors of a three-body kernel, (n, 4); see `soap_points`.

    Parameters
    ----------
    kind : "angle_3b" or "distance_3b"
    species : in the order that the descriptor has them
    """
    what = f"the {kind} kernel of {'-'.join(species)}"
    if path.suffix != MODEL_SUFFIX:
        return read_points(path, 3, what)
    geometry = "angle" if kind == "angle_3b" else "distances"
    terms = [t for t in Model.load(path).terms if isinstance(t, TripletTerm) and t.geometry == geometry
             and (t.centre, *t.neighbours) == tuple(species)]
    return _best(path, what, [(_weighted(t, t.sparse_points), _cutoffs(t, cutoff)) for t in terms])


def _weighted(term: PairTerm | TripletTerm, points: np.ndarray) -> np.ndarray:
    return np.column_stack([term.sparse.get("sparse_cutoff", np.ones(len(points))), points])


def _cutoffs(term: PairTerm | TripletTerm, cutoff: float) -> list[str]:
    return [] if term.cutoff == cutoff else [f"cutoff is {term.cutoff:g}, expected {cutoff:g}"]
