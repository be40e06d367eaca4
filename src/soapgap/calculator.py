"""The ASE host."""

from typing import ClassVar

from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from soapgap.locks import OwnLock
from soapgap.parallel import ParallelPotential
from soapgap.potential import Potential

__all__ = ["SoapGAP"]


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
    comm : mpi4py.MPI.Comm, optional
        Its ranks compute together: all run the same program and ask for the same things (`soapgap.parallel`, docs/parallel.md).

    Notes
    -----
    Units are ASE's: energy and energies in eV, forces in eV/Angstrom, stress = (1/V) dE/dstrain = -W/V in
    eV/Angstrom^3 (xx, yy, zz, yz, xz, xy), for structures with a cell of non-zero volume. External potentials of the model
    are included; energies of the atoms and stress are missing if one of them does not give its part.

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

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "energies", "forces", "stress"]
    nolabel = True

    def __init__(self, model, skin: float = 0.5, n_threads: int | None = None, allow_external: bool = False,
                 comm=None, **kwargs):
        self._lock = OwnLock()
        super().__init__(**kwargs)
        if comm is None:
            self.potential = Potential(model, n_threads=n_threads, skin=skin, allow_external=allow_external)
        else:
            self.potential = ParallelPotential(model, comm, n_threads=n_threads, skin=skin, allow_external=allow_external)

    def get_property(self, name, atoms=None, allow_calculation=True):
        """A property of a structure, as ASE asks for it; from the last results, if they are of the same structure."""
        with self._lock:
            return super().get_property(name, atoms, allow_calculation)

    def calculate_properties(self, atoms, properties):
        """Several properties of a structure at once, as ASE asks for them."""
        with self._lock:
            return super().calculate_properties(atoms, properties)

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)):
        """Compute everything at once; one pass gives it all."""
        with self._lock:
            self.results = {}  # what fails leaves none of another structure
            super().calculate(atoms, properties, system_changes)
            self.results = self._computed()

    def _computed(self) -> dict:
        result = self.potential.compute(self.atoms)
        results = {"energy": result.energy, "free_energy": result.energy, "forces": result.forces}
        if result.energies is not None:
            results["energies"] = result.energies
        if self.atoms.cell.rank == 3 and result.virial is not None:
            results["stress"] = full_3x3_to_voigt_6_stress(-result.virial / self.atoms.get_volume())
        return results
