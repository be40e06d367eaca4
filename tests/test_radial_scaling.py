"""`radial_scaling`: neighbours that count less the farther away they are."""

import featomic
import numpy as np
import pytest
from ase.build import bulk
from quip_oracle import to_quip_order
from scipy.integrate import quad
from scipy.special import spherical_in
from training_tools import SOAP, configuration, isolated, toy_frames, write_frames

from soapgap.config import read_config
from soapgap.errors import InputError
from soapgap.fitting import fit
from soapgap.model import Model, SoapTerm
from soapgap.neighbours.arrays import neighbour_arrays
from soapgap.potential import Potential
from soapgap.quip.exporter import write_quip
from soapgap.radial.bases import make_basis
from soapgap.radial.cutoff import radial_scaling
from soapgap.radial.gto import gto_functions

SPECIES = ["O", "Si"]
SCALING = {"rate": 0.7, "scale": 2.1, "exponent": 4}
SHAPE = {"n_max": 5, "l_max": 4, "cutoff": 4.5, "atom_sigma": 0.45, "cutoff_transition_width": 0.5}


def structure(seed):
    rng = np.random.default_rng(seed)
    atoms = bulk("Si", cubic=True)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(scale=0.1, size=(3, 3))), scale_atoms=True)
    atoms.positions += rng.normal(scale=0.15, size=(8, 3))
    atoms.symbols[rng.permutation(8)[:3]] = "O"
    return atoms


def soap_model(radial_basis="gto", scaling=SCALING, n_sparse=6, zeta=2.0):
    basis = make_basis(radial_basis, radial_scaling=scaling, **SHAPE)
    table, terms, rng = basis.table(), [], np.random.default_rng(0)
    for index, centre in enumerate(SPECIES):
        own = np.zeros((2, SHAPE["n_max"]))
        own[index] = basis.centre
        term = SoapTerm(centre, SPECIES, SHAPE["n_max"], SHAPE["l_max"], SHAPE["cutoff"], zeta, 0.8, table, own,
                        np.empty((0, 0)), np.zeros((1, 0)), basis=basis.parameters)
        term.sparse_points = np.zeros((0, term.n_features))
        terms.append(term)
    model = Model(SPECIES, {"O": 0.0, "Si": 0.0}, terms)
    evaluator = model.evaluator()
    for k, term in enumerate(terms):
        rows = [evaluator.features(k, neighbour_arrays(structure(seed), SHAPE["cutoff"], SPECIES)) for seed in range(3)]
        term.sparse_points = np.concatenate(rows)[:n_sparse]
        term.weights = rng.normal(size=(1, n_sparse))
    return model


@pytest.mark.parametrize("exponent", [1, 2, 3, 4, 7])
def test_weight_and_derivatives(exponent):
    r = np.linspace(0.0, 6.0, 61)
    u, u1, u2 = radial_scaling(r, 0.7, 2.1, exponent)
    np.testing.assert_allclose(u, 0.7 / (0.7 + (r / 2.1) ** exponent), rtol=1e-15)
    h = 1e-4
    middle = r[5:]
    up, down = radial_scaling(middle + h, 0.7, 2.1, exponent), radial_scaling(middle - h, 0.7, 2.1, exponent)
    np.testing.assert_allclose((up[0] - down[0]) / (2 * h), u1[5:], rtol=0, atol=2e-8)
    np.testing.assert_allclose((up[1] - down[1]) / (2 * h), u2[5:], rtol=0, atol=1e-7)
    assert u[0] == 1.0


def test_radial_functions_are_the_weighted_integrals():
    """R_nl(r) = f_c(r) u(r) 4 pi N int x^2 R_n(x) h_l(r, x) dx, by quadrature."""
    basis, sigma = make_basis("gto", radial_scaling=SCALING, **SHAPE), SHAPE["atom_sigma"]
    table = basis.table()
    for r in (0.9, 2.2, 4.2):
        f = 1.0 if r < 4.0 else 0.5 * (1.0 + np.cos(np.pi * (r - 4.0) / 0.5))
        u = 0.7 / (0.7 + (r / 2.1) ** 4)
        for n, l in ((0, 0), (2, 1), (4, 4)):
            def integrand(x, r=r, n=n, l=l):
                t = r * x / sigma**2
                return (x**2 * gto_functions([x], 5, 4.5)[0, n] * spherical_in(l, t) * np.exp(-(r**2 + x**2) / (2 * sigma**2)))

            value = quad(integrand, max(0.0, r - 8 * sigma), r + 8 * sigma, epsabs=1e-12, limit=200)[0]
            expected = f * u * 4 * np.pi * (np.pi * sigma**2) ** -0.75 * value
            assert basis.radial(r)[0, 0, l * 5 + n] == pytest.approx(expected, rel=1e-9, abs=1e-12)
            assert table.evaluate(np.array([r]))[0][0, l * 5 + n] == pytest.approx(expected, rel=1e-8, abs=1e-10)


def test_features_are_those_of_featomic():
    """p up to normalisation, as in test_independent.py, with featomic's scaling "Willatt2018"."""
    atoms = structure(7)
    n_max, l_max = SHAPE["n_max"], SHAPE["l_max"]
    theirs = featomic.SoapPowerSpectrum(
        cutoff={"radius": SHAPE["cutoff"], "smoothing": {"type": "ShiftedCosine", "width": 0.5}},
        density={"type": "Gaussian", "width": SHAPE["atom_sigma"], "scaling": {"type": "Willatt2018", **SCALING}},
        basis={"type": "TensorProduct", "max_angular": l_max, "radial": {"type": "Gto", "max_radial": n_max - 1},
               "spline_accuracy": None}).compute(atoms)
    evaluator, nb = soap_model().evaluator(), neighbour_arrays(atoms, SHAPE["cutoff"], SPECIES)
    plain = soap_model(scaling=None).evaluator()
    for k, number in enumerate((8, 14)):
        ours = evaluator.features(k, nb)
        full = np.zeros((len(ours), l_max + 1, 2 * n_max, 2 * n_max))
        for key, block in theirs.items():
            if key["center_type"] != number:
                continue
            places = [(8, 14).index(key[f"neighbor_{i}_type"]) for i in (1, 2)]
            for label, column in zip(block.properties, np.moveaxis(block.values, -1, 0), strict=True):
                i, j = places[0] * n_max + label["n_1"], places[1] * n_max + label["n_2"]
                full[:, label["l"], i, j] = full[:, label["l"], j, i] = column
        rows, columns = np.tril_indices(2 * n_max)
        twice = (rows != columns) & (rows // n_max == columns // n_max)
        expected = full[:, :, rows, columns] * np.where(twice, np.sqrt(2.0), 1.0) * (-1.0) ** np.arange(l_max + 1)[:, None]
        expected = expected.reshape(len(ours), -1)
        expected /= np.linalg.norm(expected, axis=1)[:, None]
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-10)
        assert np.abs(plain.features(k, nb) - expected).max() > 0.01


def test_features_are_those_of_quip():
    """QUIP's cutoff_dexp, cutoff_scale, cutoff_rate are the same weight."""
    descriptors = pytest.importorskip("quippy.descriptors")
    atoms = structure(8)
    model = soap_model("equispaced")
    evaluator, nb = model.evaluator(), neighbour_arrays(atoms, SHAPE["cutoff"], SPECIES)
    for k, z in enumerate((8, 14)):
        theirs = descriptors.Descriptor(
            "soap cutoff=4.5 cutoff_transition_width=0.5 n_max=5 l_max=4 atom_sigma=0.45 central_weight=1.0 cutoff_dexp=4 "
            f"cutoff_scale=2.1 cutoff_rate=0.7 central_reference_all_species=F n_species=2 species_Z={{8 14}} n_Z=1 Z={z}"
        ).calc(atoms)["data"]
        np.testing.assert_allclose(to_quip_order(evaluator.features(k, nb), SHAPE["l_max"]), theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("radial_basis", ["gto", "equispaced"])
def test_forces_are_derivatives(radial_basis):
    potential, atoms = Potential(soap_model(radial_basis)), structure(9)
    forces, h = potential.compute(atoms).forces, 1e-3
    scale = np.abs(forces).max()
    for atom, axis in ((0, 0), (3, 1), (7, 2)):
        energies = []
        for step in (-2, -1, 1, 2):
            moved = atoms.copy()
            moved.positions[atom, axis] += step * h
            energies.append(potential.compute(moved).energy)
        slope = (energies[0] - 8 * energies[1] + 8 * energies[2] - energies[3]) / (12 * h)
        assert forces[atom, axis] == pytest.approx(-slope, abs=1e-7 * scale)


def test_a_fit_records_it_and_quip_is_refused(tmp_path):
    write_frames(tmp_path / "train.xyz", [isolated("Si"), *toy_frames(4, seed=3)])
    term = SOAP | {"radial_scaling": SCALING, "n_sparse": 12, "radial_basis": "equispaced"}
    fit(configuration(tmp_path, terms=[term]), quiet=True, threads=1)
    model = Model.load(tmp_path / "model.safetensors")
    (soap,) = [t for t in model.terms if isinstance(t, SoapTerm)]
    assert soap.basis["radial_scaling"] == SCALING
    again = make_basis(**soap.basis)
    np.testing.assert_array_equal(again.table().values, soap.table.values)
    with pytest.raises(InputError, match="the soap term of Si: its neighbours are weighted by radial_scaling"):
        write_quip(model, tmp_path / "gap.xml")
    assert not list(tmp_path.glob("gap.xml*"))


@pytest.mark.parametrize(("value", "expected"), [
    ({"rate": 1.0, "scale": 2.0}, "expected exactly the keys"),
    ({"rate": 1.0, "scale": 2.0, "exponent": 4, "x": 1}, "expected exactly the keys"),
    ({"rate": 0.0, "scale": 2.0, "exponent": 4}, "expected rate > 0 and scale > 0"),
    ({"rate": 1.0, "scale": 2.0, "exponent": 2.5}, "expected a whole exponent from 1 to 20"),
    (2.0, "expected exactly the keys"),
])
def test_mistakes(tmp_path, value, expected):
    with pytest.raises(InputError, match=rf"terms\[0\].radial_scaling: {expected}"):
        read_config(configuration(tmp_path, terms=[SOAP | {"radial_scaling": value}]))
    if isinstance(value, dict):
        with pytest.raises(InputError, match="gto basis: radial_scaling"):
            make_basis("gto", radial_scaling=value, **SHAPE)
