"""The ASE host."""

from collections.abc import Collection
from pathlib import Path
from typing import ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from soapgap.errors import InputError
from soapgap.locks import OwnLock
from soapgap.model import Model
from soapgap.parallel import ParallelPotential
from soapgap.parallel.channel import mpi_communicator
from soapgap.potential import Potential

__all__ = ["SoapGAP"]

_SETTABLE = ("skin", "n_threads")
_OF_ASE = {"atoms", "directory", "label", "restart"}
_WORDS = {"nthreads": "n_threads", "threads": "n_threads", "num_threads": "n_threads", "communicator": "comm", "world": "comm",
          "param_filename": "model", "filename": "model", "model_path": "model", "potential": "model"}
_FLAT = 1e-12  # of the product of their lengths: the volume that three vectors in one plane have by rounding


def _meant(strange) -> str:
    """Advice on keywords that have another name, or that are the model's."""
    said = [f"; {word}: did you mean {_WORDS[word]}?" for word in strange if word in _WORDS]
    return "".join(said) + ("; the cutoff belongs to the model" if "cutoff" in strange else "")


class SoapGAP(Calculator):
    """ASE calculator of a soapgap model.

    Parameters
    ----------
    model : str, Path or soapgap.Model
        The model file.
    skin : float
        Angstrom; the neighbour list is kept until an atom has moved by half of it. 0 makes a new list every time.
    n_threads : int, optional
        Default: OMP_NUM_THREADS, or all cores (1 under an MPI launcher).
    allow_external : bool
        Whether an external potential of the model may run code of its own.
    comm : mpi4py.MPI.Comm or ase.parallel.world, optional
        Its ranks compute together: all run the same program and ask for the same things of the same structure
        (`soapgap.parallel`, docs/parallel.md). Ranks with structures of their own get an error on all of them.

    Notes
    -----
    Units are ASE's: energy and energies in eV, forces in eV/Angstrom, stress = (1/V) dE/dstrain = -W/V in
    eV/Angstrom^3 (xx, yy, zz, yz, xz, xy), for structures with a cell of non-zero volume. External
    potentials of the model are included; energies of the atoms and stress are missing if one of them does not give its part.

    `stresses` are the shares of the atoms, -W_i/V with V the volume of the cell, so that their sum is the stress (ASE's
    convention). W_i = -1/2 sum of r (x) dE/dr, symmetric part, over the pairs that i is in: LAMMPS's stress/atom is -W_i.
    They are missing if the model has external potentials.

    Any number of Python threads may share a calculator: they take turns, and each gets what it asks for its own atoms. The
    dictionary `results` is that of the structure computed last, whichever thread that was; threads that shall compute at
    the same time take a copy each (`copy.deepcopy`).

    Examples
    --------
    >>> atoms.calc = soapgap.SoapGAP("silicon.safetensors")
    >>> atoms.get_potential_energy(), atoms.get_stress()

    Under ``mpiexec -n 4 python program.py``:

    >>> from mpi4py import MPI
    >>> atoms.calc = soapgap.SoapGAP("silicon.safetensors", comm=MPI.COMM_WORLD)
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "energies", "forces", "stress", "stresses"]
    nolabel = True

    def __init__(self, model, skin: float = 0.5, n_threads: int | None = None, allow_external: bool = False,
                 comm=None, **kwargs):
        if strange := sorted(set(kwargs) - _OF_ASE):
            raise TypeError(f"SoapGAP got the keyword {', '.join(strange)}, which means nothing to it: expected model, "
                            f"{', '.join(_SETTABLE)}, allow_external, comm, or one of ASE's own ({', '.join(sorted(_OF_ASE))})"
                            + _meant(strange))
        self._lock = OwnLock()
        super().__init__(**kwargs)
        comm = None if comm is None else mpi_communicator(comm)
        self._shared = comm is not None
        if comm is None:
            self.potential = Potential(model, n_threads=n_threads, skin=skin, allow_external=allow_external)
        else:
            self.potential = ParallelPotential(model, comm, n_threads=n_threads, skin=skin, allow_external=allow_external)
        self._file = None if isinstance(model, Model) else Path(model).name
        self._checksum: str | None = None
        self.parameters.update(skin=skin, n_threads=n_threads, allow_external=allow_external)

    def set(self, **kwargs):
        """Change `skin` or `n_threads`; results do not depend on them, so that they stay.

        Parameters
        ----------
        **kwargs
            As those of the calculator itself.

        Returns
        -------
        dict
            What has changed.

        Raises
        ------
        TypeError
            For any other keyword.
        """
        if strange := sorted(set(kwargs) - set(_SETTABLE)):
            raise TypeError(f"SoapGAP.set got the keyword {', '.join(strange)}: expected {' or '.join(_SETTABLE)}, which can "
                            "be changed; for another model, allow_external or comm make a new calculator" + _meant(strange))
        with self._lock:
            changed = {key: value for key, value in kwargs.items() if value != self.parameters[key]}
            if changed:
                self.potential.adjust(**{key: changed.get(key, self.parameters[key]) for key in _SETTABLE})
                self.parameters.update(changed)
        return changed

    def todict(self, skip_default=True):
        """What `ase.db` and trajectories keep: the model's file name and checksum (SHA-256), and the settings."""
        if self._checksum is None:
            self._checksum = self.potential.model.checksum
        return {"model": self._file, "checksum": self._checksum} | super().todict(skip_default)

    def get_property(self, name, atoms=None, allow_calculation=True):
        """A property of a structure, as ASE asks for it; from the last results, if they are of the same structure."""
        with self._lock:
            return super().get_property(name, atoms, allow_calculation)

    def calculate_properties(self, atoms, properties):
        """Several properties of a structure at once, as ASE asks for them."""
        with self._lock:
            return super().calculate_properties(atoms, properties)

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)):
        """Compute everything at once; one pass gives it all but `stresses`, which are computed only when asked for."""
        with self._lock:
            self.results = {}  # what fails leaves none of another structure
            super().calculate(atoms, properties, system_changes)
            self.results = self._computed(set(properties) & {"stress", "stresses"})

    def _computed(self, stresses: Collection[str]) -> dict:
        if self._shared:
            self.potential.check_same(self.atoms)
        volume = self._volume(stresses)
        if "stresses" in stresses:
            if self._shared:
                raise PropertyNotImplementedError("SoapGAP with comm has no stresses of the atoms, as its ranks add up the "
                                                  "virial alone: take SoapGAP(model) without comm, or LAMMPS's stress/atom")
            result = self.potential.compute(self.atoms, virials=True)
        else:
            result = self.potential.compute(self.atoms)
        results = {"energy": result.energy, "free_energy": result.energy, "forces": result.forces}
        if result.energies is not None:
            results["energies"] = result.energies
        if volume and result.virial is not None:
            results["stress"] = full_3x3_to_voigt_6_stress(-result.virial / volume)
        if volume and result.virials is not None:
            results["stresses"] = full_3x3_to_voigt_6_stress(-result.virials / volume)
        return results

    def _volume(self, stresses: Collection[str]) -> float:
        """The volume of the cell in Angstrom^3; 0 if there is none. If a stress is asked for, three vectors must have one."""
        cell = self.atoms.cell
        if cell.rank < 3:
            return 0.0
        volume = cell.volume
        if volume > _FLAT * np.prod(cell.lengths()):
            return volume
        if stresses:
            raise InputError(f"the three vectors of the cell {cell.array.tolist()} lie in one plane: its volume is 0 and a "
                             "stress has no meaning; expected three independent vectors. Give the cell its height, or set the "
                             "vector of a direction that is not periodic to zero; energy and forces need neither")
        return 0.0
