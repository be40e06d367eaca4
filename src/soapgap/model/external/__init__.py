"""Potentials of other programs that are part of a model: pair styles of LAMMPS and calculators of ASE.

A trainer subtracts them before the fit, a host adds them: E = E_model + sum of external energies. What they are is in the
model file (`specification`); computing them (`engines`) and writing them down for a LAMMPS input (`lines`) is done here.
"""

from soapgap.model.external.engines import External
from soapgap.model.external.lines import lammps_lines
from soapgap.model.external.specification import AsePotential, LammpsPotential, check_potentials, potential_from_json
from soapgap.model.external.values import ExternalValues

__all__ = ["AsePotential", "External", "ExternalValues", "LammpsPotential", "check_potentials", "lammps_lines",
           "potential_from_json"]
