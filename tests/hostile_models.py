"""Model files that no fit makes: changed metadata and arrays with the checksum that belongs to them, and seeded mutations."""

import copy
import json
import struct
from collections.abc import Callable, Iterator

import numpy as np

from soapgap.model import model as module

#: Values that a reader must not trust, in the place of a number, of a list, of anything.
_VALUES = [0, -1, 1, 2, 7, 4096, 2**31 - 1, 2**31, 2**32 + 2, 2**63 - 1, 2**63, 2**64 - 1, -2**63, 0.5, -0.0, 5e-324, 1e-300,
           1e300, 1.7e308, "", "Si", "\u0000", None, True, False, [], {}, [[]], [0.0], {"kind": "soap"}]


def unpacked(content: bytes) -> tuple[dict, dict[str, np.ndarray]]:
    """Metadata and arrays of a model file."""
    n = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:8 + n])
    meta = json.loads(header.pop("__metadata__")["soapgap"])
    data = content[8 + n:]
    return meta, {name: np.frombuffer(data[slice(*e["data_offsets"])], "<f8").reshape(e["shape"]) for name, e in header.items()}


def packed(meta: dict, arrays: dict[str, np.ndarray], entries: Callable = lambda entries: None) -> bytes:
    """A model file with a right checksum; `entries` may change the header's entries of the arrays after it was made."""
    meta = {key: value for key, value in meta.items() if key != "checksum"}
    meta["checksum"] = module._checksum(json.dumps(meta, sort_keys=True, separators=(",", ":")), arrays)
    header, data = {"__metadata__": {"soapgap": json.dumps(meta, sort_keys=True, separators=(",", ":"))}}, b""
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array, "<f8").tobytes()
        header[name] = {"dtype": "F64", "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    entries(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def places(value, path=()) -> Iterator[tuple]:
    """The paths of all values within a JSON value."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


def changed(meta: dict, path: tuple, value) -> dict:
    """A copy with another value in one place; `...` takes the entry away."""
    fresh = copy.deepcopy(meta)
    inner = fresh
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return fresh


def mutants(content: bytes, n: int, seed: int) -> Iterator[bytes]:
    """`n` seeded mutations: bytes, values of the metadata, sizes and numbers of arrays; all but bytes with a right checksum."""
    rng = np.random.default_rng(seed)
    meta, arrays = unpacked(content)
    paths = [path for path in places(meta) if path and path[0] not in ("checksum", "provenance", "format")]
    for number in range(n):
        kind = number % 4
        if kind == 0:
            yield _other_bytes(content, rng)
        elif kind == 3:
            yield packed(meta, _other_array(arrays, rng))
        else:
            fresh = meta
            for _ in range(kind):
                fresh = _other_value(fresh, paths, rng)
            yield packed(fresh, arrays)


def _other_bytes(content, rng) -> bytes:
    altered = bytearray(content)
    n_header = struct.unpack("<Q", content[:8])[0]
    for _ in range(int(rng.integers(1, 4))):
        altered[int(rng.integers(0, 8 + n_header))] = int(rng.integers(256))
    return bytes(altered[:int(rng.integers(len(altered)))] if rng.random() < 0.2 else altered)


def _other_value(meta, paths, rng):
    path = paths[int(rng.integers(len(paths)))]
    others = paths[int(rng.integers(len(paths)))]
    try:
        borrowed = meta
        for key in others:
            borrowed = borrowed[key]
        choices = [..., borrowed, *_VALUES]
        return changed(meta, path, copy.deepcopy(choices[int(rng.integers(len(choices)))]))
    except (KeyError, IndexError, TypeError):  # an earlier change has taken the place away
        return meta


def _other_array(arrays, rng):
    names = sorted(arrays)
    name = names[int(rng.integers(len(names)))]
    array = arrays[name].copy()
    action = int(rng.integers(4))
    if action == 0 and array.size:
        array.flat[int(rng.integers(array.size))] = rng.choice([np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324, 1e9, -1.0, 0.5])
    elif action == 1 and array.ndim:
        array = np.repeat(array, int(rng.integers(0, 4)), axis=int(rng.integers(array.ndim)))
    elif action == 2:
        array = array[..., None] if rng.random() < 0.5 else array.ravel()
    else:
        array = array * 10.0 ** float(rng.integers(-300, 300))
    return arrays | {name: array}
