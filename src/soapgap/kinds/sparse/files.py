"""Sparse points from files: QUIP's text, instance numbers, or a model file of soapgap.

QUIP's text has one number per line: for every point its weight F_s (`sparseCutoff`), then the components of its descriptor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from soapgap.errors import InputError

MODEL_SUFFIX = ".safetensors"


def files_of(number: int, sparse_file: str | dict[str, str], names: Sequence[str], folder: Path,
             same: Callable[[str, str], bool] = str.__eq__) -> list[Path]:
    """The file of every kernel of a term.

    Parameters
    ----------
    number : int
        Place of the term in the configuration.
    sparse_file : str or dict of str to str
        One path for all, or paths by name of the kernel.
    names : sequence of str
        Of the kernels: "Si", "O-Si", "Si-O-O".
    folder : Path
        What relative paths are relative to.
    same : callable
        Whether a name in `sparse_file` means a kernel.

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
    what : str
        The kernel, for the message.
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
    total : int
        How many there are.
    """
    found = read_numbers(path)
    if (found != np.rint(found)).any() or found.min() < 1 or found.max() > total:
        strange = found[(found != np.rint(found)) | (found < 1) | (found > total)][0]
        raise InputError(f"{path}: got the number {strange:g}; expected whole numbers from 1 to {total}, the number of {what}")
    return np.unique(found.astype(np.int64)) - 1


def best_points(path: Path, what: str, found: list[tuple[np.ndarray, list[str]]]) -> np.ndarray:
    """The points of the one term that fits."""
    fitting = [points for points, different in found if not different]
    if len(fitting) > 1:
        raise InputError(f"{path}: has {len(fitting)} terms like {what}; expected one: write its points to a file of their own")
    if not fitting:
        nearest = min((different for _, different in found), key=len, default=None)
        raise InputError(f"{path}: has no term with the descriptor of {what}" + (
            "" if nearest is None else f": {'; '.join(nearest)}") + ". Take a model that was fitted with the same descriptor")
    return fitting[0]
