"""Maps of a model's sparse points among the environments of data files (`soapgap sparse-map`)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import ase.io
import numpy as np

from soapgap.data.lookup import lookup
from soapgap.data.structure import Structure
from soapgap.errors import InputError
from soapgap.files import write_atomically
from soapgap.kinds.soap.kernel import SoapKernel
from soapgap.model import Model, SoapTerm
from soapgap.potential import default_threads
from soapgap.report.sparse_map import draw_sparse_map, sparse_map, write_chemiscope
from soapgap.say import Reporter


def write_maps(model: Path, data: Sequence[Path], output: Path, *, most: int = 2000, seed: int = 0, energy_key: str = "energy",
               config_type_key: str = "config_type", threads: int | None = None) -> list[Path]:
    """Write one picture of all SOAP kernels, or one chemiscope data set for each.

    Parameters
    ----------
    output : Path
        Ends in .png or .json; with several kernels `map.json` becomes `map-1-O.json`, `map-2-Si.json`.
    most, seed : int
        See `sparse_map`.

    Returns
    -------
    paths : list of Path
        The files that were written.

    Raises
    ------
    InputError
        Another ending, structures that cannot be read or have other elements, or a model without SOAP terms.
    """
    if output.suffix not in (".png", ".json"):
        raise InputError(f"--output {output}: expected a name that ends in .png (a picture) or .json (for chemiscope.org)")
    if most < 1:
        raise InputError(f"--most {most}: expected at least 1")
    if output.resolve() in {path.resolve() for path in (model, *data)}:
        raise InputError(f"--output {output} is an input of this command: choose another name")
    loaded = Model.load(model)
    terms = loaded.terms_of(SoapTerm)
    if not terms:
        raise InputError(f"{model} has no soap term: there are no environments to map")
    kernels = [SoapKernel(term, index=index) for index, term in enumerate(terms)]
    structures = [structure for path in data for structure in _read(path, energy_key, config_type_key)]
    cutoff = max(term.cutoff for term in terms)
    maps = sparse_map(kernels, structures, loaded.species, cutoff, most=most, seed=seed,
                      threads=default_threads() if threads is None else threads, say=Reporter())
    if not maps:
        raise InputError(f"{', '.join(map(str, data))}: no atom of {', '.join(sorted({t.centre for t in terms}))}, the centres "
                         "of the model's soap terms")
    if output.suffix == ".png":
        content = io.BytesIO()
        _figure(maps).savefig(content, format="png", dpi=150)
        write_atomically(output, content.getvalue())
        return [output]
    written = []
    for number, one in enumerate(maps, 1):
        species = one.name.split("(")[1].rstrip(")")
        written.append(output if len(maps) == 1 else output.with_name(f"{output.stem}-{number}-{species}.json"))
        write_chemiscope(written[-1], one, structures)
    return written


def _figure(maps):
    try:
        return draw_sparse_map(maps)
    except ImportError:
        raise InputError("pictures are drawn by matplotlib, which is not installed: pip install 'soapgap[plot]'") from None


def _read(path: Path, energy_key: str, config_type_key: str) -> list[Structure]:
    try:
        frames = ase.io.read(path, index=":", do_not_split_by_at_sign=True)
    except Exception as error:  # ASE's readers raise whatever their parsing runs into
        raise InputError(f"{path}: cannot be read ({type(error).__name__}: {error}); expected structures in a format that ASE "
                         "reads, such as extended XYZ") from None
    found = []
    for index, frame in enumerate(frames):
        energy = lookup(frame, energy_key, per_atom=False)
        energy = float(energy) if energy is not None and np.ndim(energy) == 0 else None
        kind = str(frame.info.get(config_type_key, "default")) if config_type_key else "default"
        known = {} if energy is None else {"energy": energy}
        found.append(Structure(frame, f"{path}, frame {index} (counted from 0)", kind, known))
    return found
