"""The state of a fit, MODEL.fit: the triangle R, Q^T y, and how far the data have been folded in.

While a fit runs the file is its checkpoint; when it has ended the file is what appending data and variances start from.
It is a safetensors file: `triangle` [[R, Q^T Y], [0, T]] (packed rows of the upper triangle, `streaming_qr`), the sparse
points, and one JSON string under the key "soapgap_fit", with the number of right-hand sides `n_rhs`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from soapgap.errors import InputError
from soapgap.files import write_atomically

FORMAT = 3


@dataclass(frozen=True)
class FitState:
    """Where a fit stands.

    Attributes
    ----------
    identity : str
        Fingerprint of all that decides the triangle: configuration, training data, program version.
    n_done : int
        Number of structures folded in.
    complete : bool
        The fit has ended.
    packed : ndarray
        Rows of the upper triangle (M + n_rhs, M + n_rhs) one after the other (`pack`, `unpack`).
    sparse : sequence of ndarray
        Sparse points of every kernel, in the order of the columns.
    origins : sequence of ndarray
        (n_sparse, 2) structure and atom of every sparse point, -1 where there is none.
    facts : dict of str to object
        Configuration, species, e0, shortest distances and data, as plain JSON values: what a fit that adds data needs.
    n_rhs : int
        Number of right-hand sides.
    """

    identity: str
    n_done: int
    complete: bool
    packed: np.ndarray
    sparse: Sequence[np.ndarray]
    origins: Sequence[np.ndarray] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    n_rhs: int = 1

    @property
    def jitter(self) -> float:
        """What was added to the diagonal of K_mm (eV^2), on which the triangle depends."""
        return self.facts["config"]["sparse_jitter"]

    def save(self, path: Path) -> None:
        """Write the file as a whole.

        Raises
        ------
        InputError
            It cannot be written.
        """
        header = {
            "complete": self.complete,
            "facts": self.facts,
            "format": FORMAT,
            "identity": self.identity,
            "n_done": self.n_done,
            "n_kernels": len(self.sparse),
            "n_rhs": self.n_rhs,
        }
        tensors = {"triangle": self.packed}
        for index, points in enumerate(self.sparse):
            tensors[f"sparse.{index}"] = np.ascontiguousarray(points)
        for index, origins in enumerate(self.origins):
            tensors[f"origins.{index}"] = np.ascontiguousarray(origins)
        text = json.dumps(header, sort_keys=True, separators=(",", ":"))
        write_atomically(path, save(tensors, {"soapgap_fit": text}))


def _row_starts(size: int) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.arange(size, 0, -1))])


def pack(triangle: np.ndarray) -> np.ndarray:
    """The rows of an upper triangle, (n, n), one after the other, (n (n + 1)/2,)."""
    starts = _row_starts(len(triangle))
    packed = np.empty(starts[-1])
    for row in range(len(triangle)):
        packed[starts[row]:starts[row + 1]] = triangle[row, row:]
    return packed


def unpack(packed: np.ndarray) -> np.ndarray:
    """The upper triangle again, (n, n), Fortran order."""
    size = int(np.sqrt(2 * len(packed)))
    starts = _row_starts(size)
    triangle = np.zeros((size, size), order="F")
    for row in range(size):
        triangle[row, row:] = packed[starts[row]:starts[row + 1]]
    return triangle


def load_state(path: Path) -> FitState | None:
    """Read a state; None if there is no readable one."""
    try:
        with safe_open(str(path), framework="numpy") as file:
            header = json.loads(file.metadata()["soapgap_fit"])
            if header["format"] != FORMAT:
                return None
            packed = file.get_tensor("triangle")
            sparse = [file.get_tensor(f"sparse.{index}") for index in range(header["n_kernels"])]
            origins = [file.get_tensor(f"origins.{index}") for index in range(header["n_kernels"])]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None
    return FitState(header["identity"], header["n_done"], header["complete"], packed, sparse, origins, header["facts"],
                    header["n_rhs"])


def find_state(path: Path, identity: str, required: bool) -> FitState | None:
    """The state of an interrupted fit, if it is the one with this fingerprint.

    Raises
    ------
    InputError
        It is required and not there.
    """
    state = load_state(path)
    if state is not None and not state.complete and state.identity == identity:
        return state
    if required:
        found = ("is not there or not readable" if state is None else "holds a finished fit" if state.complete
                 else "holds another fit: other settings, data or version of soapgap")
        raise InputError(f"resume: {path} {found}; expected an interrupted fit of this configuration and these data; start "
                         "without resume")
    return None
