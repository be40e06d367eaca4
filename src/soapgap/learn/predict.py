"""What a model gives for a structure of the data, as the observables take it."""

from __future__ import annotations

import numpy as np

from soapgap.data.environments import neighbours_of
from soapgap.data.observables import Outputs
from soapgap.data.structure import Structure
from soapgap.data.virials import as_voigt


def model_outputs(evaluator, structure: Structure, needs: set[str]) -> Outputs:
    """Outputs of a model and their derivatives.

    Parameters
    ----------
    evaluator : Evaluator
        Of the model.
    structure : Structure
    needs : set of str
        What is wanted beside the energy: "local" (with what each atom has of the three-body energies around other centres),
        "gradient", "strain".

    Returns
    -------
    Outputs
    """
    neighbours = neighbours_of(structure, evaluator.cutoff, evaluator.species)
    derivatives, local, gradient, strain = bool(needs & {"gradient", "strain"}), None, None, None
    shares = np.zeros(len(neighbours.neighbour_atom)) if "local" in needs and evaluator.needs.handed else None
    energies, slopes = evaluator.evaluate(neighbours, gradients=derivatives, shares=shares)
    if "local" in needs:
        local = energies if shares is None else energies + np.bincount(neighbours.neighbour_atom, weights=shares,
                                                                       minlength=neighbours.n_atoms)
    if derivatives:
        forces, virial = evaluator.forces_and_virial(neighbours, slopes)
        gradient, strain = -forces.ravel(), -as_voigt(virial)
    return Outputs(float(energies.sum() if shares is None else local.sum()), local, gradient, strain)
