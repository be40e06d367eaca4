"""From a frame of i-PI to an answer: units, checks, the evaluation itself, and extras."""

import os
import time
from collections.abc import Callable

import ase
import ase.io
import numpy as np
from ase.units import Bohr, Hartree

from soapgap.errors import InputError
from soapgap.ipi.extras import pack, provider
from soapgap.ipi.frames import check_first_frame, describe_species
from soapgap.ipi.options import DriveOptions
from soapgap.ipi.protocol import Answer, Request

__all__ = ["FrameComputer"]

MAX_DUMPS = 10  # with on_nan = "dump"


class FrameComputer:
    """Answers requests with the results of a potential.

    Parameters
    ----------
    core : object with ``compute(atoms)``
        It returns `energy` (eV), `forces` (eV/Angstrom) and `virial` (W = -dE/dstrain, eV). If it also has
        ``compute_batch(list of atoms)``, the frames of a batch go there together.
    atoms : ase.Atoms
        Species, their order and the periodic directions.
    options : DriveOptions
    say : callable
        ``say(kind, text)`` with kind "line" or "warning".
    """

    def __init__(self, core, atoms: ase.Atoms, options: DriveOptions, say: Callable[[str, str], None]):
        self.core = core
        self.atoms = atoms
        self.options = options
        self.say = say
        self.count = 0  # frames answered
        self._dumped = 0
        self._extras = [provider(name) for name in options.names_of_extras]

    def warm_up(self) -> None:
        """Evaluates the structure once: wrong species and broken models show before i-PI is involved."""
        atoms = self.atoms
        kind = "".join("T" if flag else "F" for flag in atoms.pbc)
        self.say("line", f"{len(atoms)} atoms, {atoms.get_chemical_formula()}; order: {describe_species(atoms)}; "
                         f"periodic: {kind}")
        if not atoms.pbc.any():
            self.say("warning", "the structure is periodic in no direction, so i-PI's cell is ignored; if this is not meant, "
                                "give pbc TTT")
        start = time.monotonic()
        if atoms.pbc.any() and abs(np.linalg.det(atoms.cell)) < 1e-9:  # the cell will come from i-PI
            atoms = ase.Atoms(atoms.numbers, atoms.positions)
        result = self._evaluate([atoms])[0]
        if result.virial is None:
            raise InputError("an external potential of the model gives no stress, and i-PI needs the virial of every frame; "
                             "use a calculator that gives it")
        if not _finite(result):
            raise InputError(
                "the model gives an energy, force or virial that is not finite for the structure itself; are two atoms "
                "on one site?"
            )
        for give in self._extras:
            give(result)
        seconds = time.monotonic() - start
        self.say("line", f"energy of the structure {result.energy:.6f} eV, first evaluation {seconds:.3f} s")

    def compute(self, request: Request) -> Answer:
        """The answer to one request; frames that occur twice (padding of a batch) are computed once.

        Raises
        ------
        InputError
            A frame or a result is not finite, or a force is too large; unless `on_nan` is "dump".
        """
        start = time.monotonic()
        place: dict[tuple[bytes, bytes], int] = {}
        order = [place.setdefault((cell.tobytes(), x.tobytes()), len(place))
                 for cell, x in zip(request.cells, request.positions, strict=True)]
        frames = [self._frame(request.cells[order.index(k)], request.positions[order.index(k)]) for k in range(len(place))]
        try:
            results = self._evaluate(frames)
        except InputError as error:
            raise InputError(f"{error}{self._dump(frames)}. Nothing was sent to i-PI") from None
        except Exception as error:
            text = self._dump(frames)
            self.say("warning", f"the evaluation of frame {self.count + 1} failed ({type(error).__name__}){text}")
            raise
        for atoms, result in zip(frames, results, strict=True):
            self.count += 1
            self._check_result(atoms, result)
        answers = [results[k] for k in order]
        texts = [pack(give(result) for give in self._extras) if self._extras else b"" for result in results]
        virials = np.array([answer.virial for answer in answers])
        return Answer(
            np.array([answer.energy for answer in answers]) / Hartree,
            np.array([answer.forces for answer in answers]) * (Bohr / Hartree),
            (virials + virials.transpose(0, 2, 1)) * (0.5 / Hartree),
            [texts[k] for k in order], len(frames), time.monotonic() - start,
        )

    def _evaluate(self, frames: list[ase.Atoms]) -> list:
        if getattr(self.core, "external", None):  # other programs need atoms in their cell
            for atoms in frames:
                atoms.wrap(eps=0.0)
        batch = getattr(self.core, "compute_batch", None)
        return [self.core.compute(atoms) for atoms in frames] if batch is None else batch(frames)

    def _frame(self, cell: np.ndarray, positions: np.ndarray) -> ase.Atoms:
        """The frame in this package's units, checked. Positions stay as they come: unwrapped, perhaps far away."""
        known = self.atoms
        atoms = ase.Atoms(numbers=known.numbers, positions=positions * Bohr, cell=cell.T * Bohr, pbc=known.pbc)
        if not (np.isfinite(cell).all() and np.isfinite(positions).all()):
            raise InputError(
                f"i-PI sent a cell or positions that are not finite (frame {self.count + 1}){self._dump(atoms)}. The "
                "dynamics has blown up: look at the conserved quantity, try a shorter time step"
            )
        if self.count == 0:
            for text in check_first_frame(known, atoms.cell.array, atoms.positions):
                self.say("warning", text)
        if known.pbc.any() and _volume(atoms) < 1e-9:
            raise InputError(
                f"i-PI sent a cell without volume, {atoms.cell.tolist()} Angstrom, for a periodic structure. Set the "
                "cell in the i-PI input, or give pbc FFF"
            )
        return atoms

    def _check_result(self, atoms: ase.Atoms, result) -> None:
        limit = self.options.max_force
        if not _finite(result):
            what = f"frame {self.count} has an energy, force or virial that is not finite"
        elif limit is not None and (force := np.sqrt((result.forces**2).sum(axis=1).max(initial=0.0))) > limit:
            what = f"frame {self.count} has a force of {force:.3g} eV/Angstrom, above the limit of {limit:g}"
        else:
            return
        if self.options.on_nan == "exit":
            raise InputError(f"{what}{self._dump(atoms)}. Nothing was sent to i-PI. Look for atoms on top of each other; a "
                             "shorter time step may help")
        if self._dumped < MAX_DUMPS:
            last = "; this is the last one that is reported" if self._dumped == MAX_DUMPS - 1 else ""
            self.say("warning", f"{what}{self._dump(atoms)}. It was sent to i-PI as it is{last}")

    def _dump(self, atoms) -> str:
        """Writes the frame in hand; says where."""
        self._dumped += 1
        path = self.options.dump
        if self._dumped > 1:
            path = path.with_name(f"{path.stem}-{self._dumped}{path.suffix}")
        temporary = path.with_name(path.name + ".new")
        try:
            ase.io.write(temporary, atoms, format="extxyz", parallel=False)
            os.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            return f" (the frame could not be written to {path}: {error.strerror})"
        return f"; the frame is in {path}"


def _volume(atoms: ase.Atoms) -> float:
    """Of the cell; with unit vectors in place of missing ones, unless a periodic direction lacks its own."""
    if atoms.pbc.all():
        return abs(np.linalg.det(atoms.cell.array))
    return atoms.cell.complete().volume if atoms.cell.lengths()[atoms.pbc].all() else 0.0


def _finite(result) -> bool:
    return bool(np.isfinite(result.energy) and np.isfinite(result.forces).all() and np.isfinite(result.virial).all())
