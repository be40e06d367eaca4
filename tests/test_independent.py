"""The evaluator against independent programs: QUIP (quippy) and featomic."""

import featomic
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from quip_oracle import descriptor_string, quip_calculator, quip_evaluate, to_quip_order, write_quip_model
from quippy.descriptors import Descriptor

from soapgap.model import Model, SoapTerm
from soapgap.neighbours.arrays import neighbour_arrays
from soapgap.potential import Potential
from soapgap.radial.bases import make_basis

SPECIES = ["Si", "O"]


def soap_model(radial_basis, n_max, l_max, cutoff, zeta=4.0, n_sparse=30, species=SPECIES, **options):
    """A soap term per species; sparse points are rattled environments, weights are seeded random numbers."""
    basis = make_basis(radial_basis, n_max=n_max, l_max=l_max, cutoff=cutoff, atom_sigma=options.pop("atom_sigma", 0.5),
                       cutoff_transition_width=options.pop("width", 0.5), **options)
    n, table, rng = len(species) * n_max, basis.table(), np.random.default_rng(3)
    terms = []
    for k, centre in enumerate(species):
        centre_values = np.zeros((len(species), n_max))
        centre_values[k] = basis.centre
        terms.append(SoapTerm(centre, list(species), n_max, l_max, cutoff, zeta, 0.7, table, centre_values,
                              np.empty((0, (l_max + 1) * n * (n + 1) // 2)), np.empty((1, 0)), basis=basis.parameters))
    model = Model(list(species), {s: -1.5 + k for k, s in enumerate(species)}, terms)
    evaluator = model.evaluator()
    frames = [structure(seed) for seed in range(4)]
    for k, term in enumerate(terms):
        rows = [evaluator.features(k, neighbour_arrays(atoms, cutoff, species)) for atoms in frames]
        term.sparse_points = np.concatenate(rows)[:n_sparse]
        term.weights = rng.normal(size=(1, len(term.sparse_points)))
    return model


def structure(seed, scale=1.0):
    """Eight atoms of two species in a triclinic cell, smaller than twice the cutoff."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Si", cubic=True)
    atoms.set_cell(scale * atoms.cell.array @ (np.eye(3) + rng.normal(scale=0.12, size=(3, 3))), scale_atoms=True)
    atoms.positions += rng.normal(scale=0.15, size=(8, 3))
    atoms.symbols[rng.permutation(8)[:3]] = "O"
    return atoms


def slab():
    atoms = structure(11) * (2, 2, 1)
    atoms.center(vacuum=6.0, axis=2)
    return atoms


def cluster_and_atom():
    """A molecule and a lone atom in one big cell (QUIP wants a cell)."""
    return Atoms("SiO2Si", [[8, 8, 8], [9.6, 8.1, 8], [7.2, 9.3, 8.4], [2, 2, 2]], cell=[20, 20, 20], pbc=True)


STRUCTURES = {"triclinic": structure(7), "tiny": structure(8, scale=0.8), "slab": slab(), "cluster": cluster_and_atom()}


@pytest.mark.parametrize(("n_max", "l_max", "cutoff", "sigma"), [(8, 6, 4.5, 0.5), (10, 12, 5.0, 0.5), (4, 3, 3.7, 0.35),
                                                               (6, 8, 6.0, 0.8)])
@pytest.mark.parametrize("name", STRUCTURES)
def test_features_are_those_of_quip(name, n_max, l_max, cutoff, sigma):
    atoms = STRUCTURES[name]
    model = soap_model("equispaced", n_max, l_max, cutoff, n_sparse=1, atom_sigma=sigma)
    evaluator, nb = model.evaluator(), neighbour_arrays(atoms, cutoff, SPECIES)
    for k, term in enumerate(model.terms):
        theirs = Descriptor(descriptor_string(term)).calc(atoms)["data"]
        ours = to_quip_order(evaluator.features(k, nb), l_max)
        assert ours.shape == theirs.shape
        assert np.linalg.norm(theirs, axis=1) == pytest.approx(1.0)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("zeta", [4.0, 2.0, 1.0, 2.5])
@pytest.mark.parametrize("name", STRUCTURES)
def test_energy_forces_and_virial_are_those_of_quip(name, zeta, tmp_path):
    model, atoms = soap_model("equispaced", 6, 5, 4.2, zeta), STRUCTURES[name]
    theirs = quip_evaluate(quip_calculator(write_quip_model(model, tmp_path)), atoms)
    ours = Potential(model).compute(atoms)
    virial = -ours.virial.ravel()[[0, 4, 8, 5, 2, 1]]
    floor = max(4 * np.finfo(float).eps * t.zeta * t.cancellation for t in model.terms)
    for mine, other in ((ours.energy, theirs["energy"]), (ours.forces, theirs["forces"]),
                        (virial, theirs["stress"] * atoms.get_volume())):
        # 1e-9 of the slope is what the radial tables are made to; energies hold 1e-10
        bound = 1e-10 if np.ndim(other) == 0 else 1e-9
        assert np.abs(other).max() > 1e-3
        np.testing.assert_allclose(mine, other, rtol=0, atol=max(bound * np.abs(other).max(), floor * len(atoms)))


@pytest.mark.parametrize(("n_max", "l_max", "cutoff", "sigma"), [(8, 6, 4.5, 0.5), (10, 12, 5.0, 0.5), (5, 4, 3.6, 0.3)])
@pytest.mark.parametrize("name", ["triclinic", "tiny"])
def test_features_are_those_of_featomic(name, n_max, l_max, cutoff, sigma):
    """p of the GTO basis is featomic's SoapPowerSpectrum up to normalisation.

    featomic's has a factor (-1)^l, the sqrt(2) of two different species but not that of two different n of one, and is
    not divided by its norm.
    """
    atoms = STRUCTURES[name]
    calculator = featomic.SoapPowerSpectrum(
        cutoff={"radius": cutoff, "smoothing": {"type": "ShiftedCosine", "width": 0.5}},
        density={"type": "Gaussian", "width": sigma},
        basis={"type": "TensorProduct", "max_angular": l_max, "radial": {"type": "Gto", "max_radial": n_max - 1},
               "spline_accuracy": None})
    theirs = calculator.compute(atoms)
    model = soap_model("gto", n_max, l_max, cutoff, n_sparse=1, atom_sigma=sigma)
    evaluator, nb = model.evaluator(), neighbour_arrays(atoms, cutoff, SPECIES)
    numbers = {"Si": 14, "O": 8}
    for k, centre in enumerate(SPECIES):
        ours = evaluator.features(k, nb)
        full = np.zeros((len(ours), l_max + 1, 2 * n_max, 2 * n_max))
        for key, block in theirs.items():
            if key["center_type"] != numbers[centre]:
                continue
            places = [SPECIES.index({14: "Si", 8: "O"}[key[f"neighbor_{i}_type"]]) for i in (1, 2)]
            for label, column in zip(block.properties, np.moveaxis(block.values, -1, 0), strict=True):
                i, j = places[0] * n_max + label["n_1"], places[1] * n_max + label["n_2"]
                full[:, label["l"], i, j] = full[:, label["l"], j, i] = column
        rows, columns = np.tril_indices(2 * n_max)
        twice = (rows != columns) & (rows // n_max == columns // n_max)
        expected = full[:, :, rows, columns] * np.where(twice, np.sqrt(2.0), 1.0)
        expected *= (-1.0) ** np.arange(l_max + 1)[:, None]
        expected = expected.reshape(len(ours), -1)
        expected /= np.linalg.norm(expected, axis=1)[:, None]
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-10)
