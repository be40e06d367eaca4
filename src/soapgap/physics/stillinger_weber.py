"""The Stillinger-Weber potential of silicon as an ASE calculator, computed by LAMMPS.

It labels the silicon data that soapgap ships, and the demo compares its elastic constants with those of the model.
F. H. Stillinger and T. A. Weber, Phys. Rev. B 31, 5262 (1985).
"""

from dataclasses import replace
from pathlib import Path

from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from soapgap.model.external import LammpsPotential
from soapgap.model.external.lammps_engine import LammpsEngine, files_of

#: The parameters as LAMMPS reads them.
PARAMETERS = Path(__file__).resolve().parent / "Si.sw"


class StillingerWeber(Calculator):
    """Energy, forces and stress of silicon from LAMMPS ``pair_style sw``.

    Units are ASE's: eV, eV/Angstrom, eV/Angstrom^3. Cell and boundaries are arbitrary; without a volume there is no stress.

    Raises
    ------
    InputError
        LAMMPS is not installed, or the structure is not of silicon alone.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        potential, folder = LammpsPotential("sw", (f"* * {PARAMETERS.name} Si",)), [PARAMETERS.parent]
        potential = replace(potential, files=files_of(potential, ["Si"], folder))
        self._lammps = LammpsEngine([potential], ["Si"], folder)

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        """Fill ``results``."""
        super().calculate(atoms, properties, system_changes)
        values = self._lammps.compute(self.atoms)
        self.results = {"energy": values.energy, "free_energy": values.energy, "forces": values.forces}
        if self.atoms.cell.rank == 3:
            self.results["stress"] = full_3x3_to_voigt_6_stress(-values.virial / self.atoms.get_volume())
