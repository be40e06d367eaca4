"""The ASE host."""

from typing import ClassVar

from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

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
        super().__init__(**kwargs)
        if comm is None:
            self.potential = Potential(model, n_threads=n_threads, skin=skin, allow_external=allow_external)
        else:
            self.potential = ParallelPotential(model, comm, n_threads=n_threads, skin=skin, allow_external=allow_external)

    def calculate(self, atoms=None, properties=("energy",), system_changes=tuple(all_changes)):
        """Compute everything at once; one pass gives it all."""
        super().calculate(atoms, properties, system_changes)
        result = self.potential.compute(self.atoms)
        self.results = {"energy": result.energy, "free_energy": result.energy, "forces": result.forces}
        if result.energies is not None:
            self.results["energies"] = result.energies
        if self.atoms.cell.rank == 3 and result.virial is not None:
            self.results["stress"] = full_3x3_to_voigt_6_stress(-result.virial / self.atoms.get_volume())
