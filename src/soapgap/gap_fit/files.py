"""What gap_fit reads and writes beside the fit: XML with the training data, files of sparse points and of their numbers."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from soapgap.errors import InputError
from soapgap.files import write_atomically
from soapgap.gap_fit.terms import Terms
from soapgap.kinds.kernel import Kernel
from soapgap.learn.problem import Problem
from soapgap.model import Model
from soapgap.quip import write_quip

_END = "</GAP_params>"
_POINTS_FILE = re.compile(r' sparseX_filename="([^"]*)" sparseX_md5sum="[^"]*"')
_DIMENSIONS = re.compile(r'dimensions="(\d+)"')
_POINT = re.compile(r'<sparseX i="\d+" .*/>')


def write_xml(path: Path, model: Model, command_line: str, training_file: Path | None, separate: bool) -> str:
    """Write the potential as gap_fit does: XML, files of sparse points beside it, the training data within.

    Parameters
    ----------
    command_line : str
        Is quoted in the file.
    training_file : Path or None
        Extended XYZ to copy into the file; None: none.
    separate : bool
        Sparse points in files of their own, else in the XML file.

    Returns
    -------
    label : str
        Of the potential, the same whenever the same fit is repeated.

    Raises
    ------
    InputError
        A file cannot be written, or QUIP cannot express the model.
    """
    facts = json.dumps([model.provenance.get("config"), model.provenance.get("training_data")], sort_keys=True)
    label = f"GAP_{hashlib.sha256(facts.encode()).hexdigest()[:16]}"
    quip = {"quip": {"label": label, "command_line": command_line}}
    write_quip(Model(model.species, model.e0, model.terms, model.provenance | quip), path)
    if not separate:
        _include_points(path)
    if training_file is not None:
        _append_data(path, training_file)
    return label


def _include_points(path: Path) -> None:
    """Move the sparse points from their files into the XML file, one number a line (QUIP loses blanks in long lines)."""
    lines, files = [], []
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := _POINTS_FILE.search(line):
            files.append(path.with_name(match[1]))
            points = iter(files[-1].read_text(encoding="utf-8").split())
            size = int(_DIMENSIONS.search(line)[1])
            line = line.replace(match[0], "")
        elif _POINT.search(line):
            numbers = "\n".join(islice(points, size))
            line = line.replace("/>", f">\n{numbers}\n</sparseX>")
        lines.append(line)
    write_atomically(path, "\n".join([*lines, ""]))
    for file in files:
        file.unlink()


def _append_data(path: Path, training_file: Path) -> None:
    """Copy the lines of the training data into the XML file, before the end of the GAP."""
    before, _, after = path.read_text(encoding="utf-8").rpartition(_END)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file, open(training_file, encoding="utf-8") as lines:
            file.write(f"{before}  <XYZ_data>\n")
            for line in lines:
                text = line.rstrip("\n").replace("]]>", "]]]]><![CDATA[>")
                file.write(f"    <![CDATA[{text}]]>\n")
            file.write(f"  </XYZ_data>\n{_END}{after}")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"cannot copy {training_file} into {path}: {error.strerror or error}; do_copy_at_file=F leaves it "
                         "out") from None


def in_our_order(tables: Sequence[dict[str, Any]], species: Sequence[str], stem: str) -> tuple[list[dict[str, Any]], dict]:
    """Files of sparse points of soap in our order of species, by atomic number; gap_fit has that of first appearance.

    Parameters
    ----------
    tables : sequence of dict of str to object
        `[[terms]]`.
    species : sequence of str
        Of the data, in the order in which they first appear.
    stem : str
        What the names of new files begin with.

    Returns
    -------
    tables : list of dict of str to object
        With the names of the new files.
    files : dict
        What the new files hold, by name.
    """
    order = sorted(range(len(species)), key=lambda k: atomic_numbers[species[k]])
    files: dict[str, np.ndarray] = {}
    if order == sorted(order):
        return list(tables), files
    moved = []
    for number, table in enumerate(tables):
        if table["kind"] == "soap" and table["sparse_method"] == "file":
            names = {}
            for centre, name in table["sparse_file"].items():
                names[centre] = f"{stem}.sparse{number}.{centre}"
                files[names[centre]] = _reordered(name, table["n_max"], table["l_max"], order)
            table = table | {"sparse_file": names}
        moved.append(table)
    return moved, files


def _reordered(name: str, n_max: int, l_max: int, order: Sequence[int]) -> np.ndarray:
    """The points of a file with the species of the channels in another order, (n, 2 + n_features)."""
    n = n_max * len(order)
    first, second = np.tril_indices(n)
    size = len(first) * (l_max + 1) + 2
    numbers = np.loadtxt(name, ndmin=1).ravel()
    if len(numbers) % size:
        raise InputError(f"{name} holds {len(numbers)} numbers; expected {size} for each sparse point: sparseCutoff, then the "
                         f"descriptor in the order of the elements in which they first appear in the data")
    points = numbers.reshape(-1, size)
    channels = np.concatenate([np.arange(k * n_max, (k + 1) * n_max) for k in order])  # old channel of each new one
    old_first, old_second = channels[first], channels[second]
    high, low = np.maximum(old_first, old_second), np.minimum(old_first, old_second)
    pairs = high * (high + 1) // 2 + low
    features = points[:, 1:-1].reshape(len(points), -1, l_max + 1)[:, pairs].reshape(len(points), -1)
    return np.column_stack([points[:, :1], features, points[:, -1:]])


def write_points(files: dict[str, np.ndarray]) -> None:
    """Write files of sparse points, one number a line."""
    for name, points in files.items():
        write_atomically(name, "".join(f"{x:.17e}\n" for x in points.ravel().tolist()))


def append_indices(terms: Terms, problem: Problem, kernels: Sequence[Kernel], names: Sequence[tuple[int, tuple]]) -> None:
    """Append to every `print_sparse_index` file the numbers of the sparse points, counted from 1.

    Atoms of the centre species are numbered through all frames.

    Parameters
    ----------
    names : sequence of (int, tuple)
        Term and species of every kernel.
    """
    for coordinate, file in zip(terms.coordinates, terms.index_files, strict=True):
        if file is None:
            continue
        kernel = kernels[names.index((coordinate.term, coordinate.species))]
        wanted = {tuple(place) for place in kernel.origins.tolist()}
        places = ((k, i) for k, s in enumerate(problem.train.structures)
                  for i, symbol in enumerate(s.symbols) if symbol == coordinate.species[0])
        numbers = [number for number, place in enumerate(places, 1) if place in wanted]
        with open(file, "a", encoding="utf-8") as out:
            out.write(" ".join(map(str, numbers)) + "\n")

