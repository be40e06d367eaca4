"""What a model is, and its file.

A model file is safetensors: a header, then the arrays. All metadata are one canonical JSON string (sorted keys, no
blanks) under the single key ``soapgap``; its ``checksum`` is the SHA-256 over that string without the checksum entry,
followed by name, type, shape and bytes of every array in the order of their names. Two identical models are identical
files. Reading and checking is done by the C++ evaluator alone, for every host; this module writes.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from safetensors.numpy import save as save_tensors

from soapgap._evaluator import Evaluator, Property
from soapgap.errors import InputError, ModelFileError
from soapgap.files import write_atomically
from soapgap.model.external import check_potentials, potential_from_json
from soapgap.model.terms.term import TERMS, Term

__all__ = ["Model"]

FORMAT = 2
Kind = TypeVar("Kind", bound=Term)


@dataclass
class Model:
    """A potential: E = sum_i e0(Z_i) + the sum of its terms + its external potentials.

    Attributes
    ----------
    species : list of str
        Chemical symbols.
    e0 : dict of str to float
        Energy of the isolated atom of each species, eV.
    terms : list of Term
        SoapTerm, PairTerm, TripletTerm, EmbeddingTerm.
    provenance : dict
        Who made it and from what: JSON values only, no times, so that identical fits are identical files.
    external : list of soapgap.model.external.LammpsPotential and AsePotential
        Potentials of other programs that belong to the model. `evaluator` knows nothing of them; `soapgap.Potential` adds them.
    """

    species: list[str]
    e0: dict[str, float]
    terms: list
    provenance: dict = field(default_factory=dict)
    external: list = field(default_factory=list)

    def to_bytes(self) -> bytes:
        """The model file's content.

        Raises
        ------
        InputError
            If a species has no e0, an array has the wrong shape or a number that is not finite, or an external potential
            does not fit the species.
        """
        if sorted(self.e0) != sorted(self.species):
            raise InputError(f"e0 is given for {sorted(self.e0)}, the species are {sorted(self.species)}: "
                             "give one energy per species")
        tensors, (energy,) = {}, self.properties
        terms = [term._metadata(_Tensors(tensors, str(index))) for index, term in enumerate(self.terms)]
        entry = energy._asdict() | {"offsets": [[float(self.e0[s])] * energy.n_out for s in self.species], "terms": terms}
        meta = {"format": FORMAT, "units": {"energy": "eV", "length": "Angstrom"}, "species": list(self.species),
                "properties": [entry], "provenance": self.provenance}
        if self.external:
            check_potentials(self.external, self.species)
            meta["external"] = [potential.as_json() for potential in self.external]
        digest = _checksum(_canonical(meta), tensors)
        return save_tensors(tensors, metadata={"soapgap": _canonical(meta | {"checksum": digest})})

    @property
    def properties(self) -> tuple[Property, ...]:
        """What the model gives for each centre: an energy, or several if its terms have several sets of weights."""
        numbers = {term.n_out for term in self.terms} or {1}
        if len(numbers) > 1:
            raise InputError(f"the terms of the model have {', '.join(map(str, sorted(numbers)))} outputs: expected as many in "
                             "each of them")
        return (Property("energy", "eV", "0e", numbers.pop()),)

    def save(self, path) -> None:
        """Write the model file; it appears complete or not at all."""
        content = self.to_bytes()
        Evaluator(content)  # what cannot be read back is not written
        write_atomically(path, content)

    @classmethod
    def from_bytes(cls, content: bytes) -> "Model":
        """The model in a file's content; raises ModelFileError if it is not whole, unaltered and known."""
        return cls.opened(content)[0]

    @classmethod
    def opened(cls, content: bytes, n_threads: int = 1) -> tuple["Model", Evaluator]:
        """The model in a file's content and its evaluator, from one reading.

        Parameters
        ----------
        content : bytes
            Of a file.
        n_threads : int
            Of the evaluator.

        Raises
        ------
        ModelFileError
            If it is damaged, altered, from a newer soapgap, or holds more than an energy.
        """
        evaluator = Evaluator(content, n_threads)
        try:
            return cls._read(evaluator, content), evaluator
        except ModelFileError:
            raise
        except Exception as error:  # what evaluation does not use may hold anything: origins, reports, recipes
            raise ModelFileError(f"the model's metadata are not understood ({type(error).__name__}: {error}); the file is "
                                 "damaged or was not written by soapgap: copy it again or make it again") from None

    @classmethod
    def _read(cls, evaluator: Evaluator, content: bytes) -> "Model":
        meta = json.loads(evaluator.metadata)
        tensors = _arrays(content)
        entry, *others = meta["properties"]
        if others:
            names = ", ".join(p.name for p in evaluator.properties)
            raise ModelFileError(f"the model has the properties {names}: this class holds an energy alone; "
                                 "`Evaluator` reads them all")
        terms = [TERMS[t["kind"]]._from_file(t, tensors) for t in entry["terms"]]
        try:
            external = [potential_from_json(entry) for entry in meta.get("external", ())]
            check_potentials(external, meta["species"])
        except InputError as error:
            raise ModelFileError(f"an external potential is not understood: {error}") from None
        if any(len(set(offsets)) > 1 for offsets in entry["offsets"]):
            raise ModelFileError("the energies of the model have different offsets for one species: this class holds one e0 "
                                 "for each; `Evaluator` reads them all")
        e0 = {symbol: offsets[0] for symbol, offsets in zip(meta["species"], entry["offsets"])}
        return cls(meta["species"], e0, terms, meta["provenance"], external)

    @classmethod
    def load(cls, path) -> "Model":
        """Read a model file.

        Its arrays are views of the file's content: put new ones in their place, and write into none.

        Raises
        ------
        ModelFileError
            If the file is missing, damaged, altered, or from a newer soapgap.
        """
        return cls.load_with_evaluator(path)[0]

    @classmethod
    def load_with_evaluator(cls, path, n_threads: int = 1) -> tuple["Model", Evaluator]:
        """Read a model file once, for the model and for its evaluator.

        Raises
        ------
        ModelFileError
            As `load`.
        """
        path = Path(path)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelFileError(f"model file {path}: {error.strerror}; expected a model written by soapgap") from None
        try:
            return cls.opened(content, n_threads)
        except ModelFileError as error:
            raise ModelFileError(f"{path}: {error}") from None

    @property
    def checksum(self) -> str:
        """SHA-256 of the model, as its file states it."""
        return json.loads(Evaluator(self.to_bytes()).metadata)["checksum"]

    def evaluator(self, n_threads: int = 1) -> Evaluator:
        """The C++ evaluator of this model's terms, without external potentials."""
        return Evaluator(self.to_bytes(), n_threads)

    def baseline(self) -> "Model":
        """Only the terms that do not come from the fit (short-range repulsion), with e0 = 0."""
        terms = [term for term in self.terms if term.name == "zbl"]
        return Model(self.species, dict.fromkeys(self.species, 0.0), terms)

    def terms_of(self, kind: type[Kind]) -> list[Kind]:
        """The terms of one kind, such as `SoapTerm`."""
        return [term for term in self.terms if isinstance(term, kind)]


def _arrays(content: bytes) -> dict[str, np.ndarray]:
    """The arrays of a file that has been checked, by name: views of its content, which may not be written to."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header.pop("__metadata__")
    return {name: np.frombuffer(content, "<f8", (entry["data_offsets"][1] - entry["data_offsets"][0]) // 8,
                                start + entry["data_offsets"][0]).reshape(entry["shape"])
            for name, entry in header.items()}


class _Tensors:
    """The arrays of a file that belong to one part of a term: stores them and says under which names."""

    def __init__(self, tensors, prefix):
        self._tensors, self._prefix = tensors, prefix

    def __call__(self, arrays):
        return {role: self._add(f"{self._prefix}.{role}", np.asarray(array, dtype=np.float64))
                for role, array in arrays.items()}

    def part(self, name):
        return _Tensors(self._tensors, f"{self._prefix}.{name}")

    def _add(self, name, array):
        if not np.isfinite(array).all():
            raise InputError(f"the model's array {name} holds a number that is not finite; expected finite numbers: "
                             "was the input of the fit correct?")
        for known, other in self._tensors.items():  # terms of several centre species share one radial table
            if other.shape == array.shape and np.array_equal(other, array) and array.size > 1000:
                return known
        self._tensors[name] = np.ascontiguousarray(array)
        return name


def _canonical(meta) -> str:
    return json.dumps(meta, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def _checksum(metadata: str, tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(metadata.encode())
    for name in sorted(tensors):
        shape = "".join(f"{extent}," for extent in tensors[name].shape)
        digest.update(f"\n{name}\nF64\n{shape}\n".encode())
        digest.update(np.ascontiguousarray(tensors[name], dtype="<f8").tobytes())
    return digest.hexdigest()
