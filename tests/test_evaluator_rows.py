"""Rows of the design matrix, threads, and a whole model against quippy."""

from concurrent.futures import ThreadPoolExecutor

import ase.build
import numpy as np
import pytest
import reference as ref
from derivatives import STRAINS, VOIGT, assert_row_derivatives
from evaluator_tools import breaks, model, run, soap_term, structures

from soapgap.errors import InputError
from soapgap.neighbours.arrays import neighbour_arrays

KINDS = ("tiny", "slab", "molecule")


def two_terms(**kw):
    return model(soap_term("O", ["O", "Ti"], **kw), soap_term("Ti", ["Ti", "O"], seed=1, **kw),
                 e0={"O": -1.25, "Ti": 2.5})


def rows_of(evaluator, term, atoms, **kw):
    return evaluator.rows(term, neighbour_arrays(atoms, evaluator.cutoff, evaluator.species), **kw)[:3]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("zeta", "normalise"), [(1.0, True), (2.0, False), (4.0, True), (2.5, True)])
def test_rows_against_evaluate(kind, zeta, normalise):
    """Rows times weights are what evaluate gives: energies, forces and virials come from two ways of contracting."""
    potential = two_terms(n_max=5, l_max=4, zeta=zeta, normalise=normalise, delta=0.8)
    evaluator = potential.evaluator()
    atoms = structures(["O", "Ti"], seed=7)[kind]
    energies, forces, virial = run(evaluator, atoms)
    total, gradient, strain = 0.0, np.zeros(3 * len(atoms)), np.zeros(6)
    for index, term in enumerate(potential.terms):
        energy_row, gradient_rows, strain_rows = rows_of(evaluator, index, atoms)
        assert energy_row.shape == (6,)
        assert gradient_rows.shape == (3 * len(atoms), 6)
        assert strain_rows.shape == (6, 6)
        total += energy_row @ term.weights[0]
        gradient += gradient_rows @ term.weights[0]
        strain += strain_rows @ term.weights[0]
    e0 = sum(potential.e0[symbol] for symbol in atoms.symbols)
    scale = max(1.0, np.abs(forces).max())
    assert abs(total + e0 - energies.sum()) < 1e-12 * max(1, abs(total))
    assert np.abs(forces).max() > 1e-2
    np.testing.assert_allclose(-gradient.reshape(-1, 3), forces, rtol=0, atol=1e-12 * scale)
    np.testing.assert_allclose(-strain, [virial[a, b] for a, b in VOIGT], rtol=0,
                               atol=1e-12 * max(1, np.abs(virial).max()))


@pytest.mark.parametrize("kind", KINDS)
def test_energy_rows_against_the_reference(kind):
    potential = two_terms(zeta=3.0, delta=0.8)
    evaluator = potential.evaluator()
    atoms = structures(["O", "Ti"], seed=8)[kind]
    near = ref.environments(list(atoms.symbols), atoms.positions, atoms.cell.array, atoms.pbc, 4.0)
    for index, term in enumerate(potential.terms):
        x = [ref.features(row, ref.table_radial(term.table), term.neighbours, 4, 3, term.centre_values)
             for row, symbol in zip(near, atoms.symbols) if symbol == term.centre]
        expected = (0.8**2 * (np.array(x) @ term.sparse_points.T) ** 3).sum(axis=0)
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(rows_of(evaluator, index, atoms)[0], expected, rtol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("zeta", "normalise"), [(1.0, False), (4.0, True), (2.5, True)])
def test_rows_against_differences(kind, zeta, normalise):
    potential = two_terms(n_max=3, l_max=4, zeta=zeta, normalise=normalise)
    evaluator = potential.evaluator()
    atoms = structures(["O", "Ti"], seed=9, breaks=breaks(*potential.terms))[kind]
    assert_row_derivatives(evaluator, 1, atoms, (*STRAINS, 1e-4))


def test_rows_make_only_what_is_asked_for():
    evaluator = two_terms().evaluator()
    atoms = structures(["O", "Ti"])["tiny"]
    full = rows_of(evaluator, 0, atoms)
    for gradients, strain in ((True, False), (False, True), (False, False)):
        got = rows_of(evaluator, 0, atoms, gradients=gradients, strain=strain)
        np.testing.assert_array_equal(got[0], full[0])
        for wanted, one, two in zip((gradients, strain), got[1:], full[1:]):
            if wanted:
                np.testing.assert_array_equal(one, two)
            else:
                assert one is None


def test_rows_of_a_structure_without_the_centre_species_are_zero():
    evaluator = two_terms().evaluator()
    atoms = structures(["Ti"])["tiny"]
    for array in rows_of(evaluator, 0, atoms):
        np.testing.assert_array_equal(array, 0.0)
    assert np.abs(rows_of(evaluator, 1, atoms)[1]).max() > 1e-3


def test_terms_that_do_not_exist_are_refused():
    evaluator = two_terms().evaluator()
    arrays = neighbour_arrays(structures(["O", "Ti"])["tiny"], 4.0, evaluator.species)
    for term in (-1, 2):
        for use, words in ((evaluator.rows, "has 2 terms"), (evaluator.features, "not a soap term"),
                           (evaluator.coefficients, "not a soap term")):
            with pytest.raises(InputError, match=words):
                use(term, arrays)


def large():
    """Two species, enough centres for several batches of each."""
    atoms = ase.build.bulk("TiO", "rocksalt", a=4.3, cubic=True).repeat((3, 3, 3))
    atoms.rattle(0.1, seed=6)
    return atoms


@pytest.mark.parametrize("zeta", [2.0, 3.7])
def test_threads(zeta):
    """A number of threads gives the same bits at every run; another number, other batches and the same to rounding."""
    potential = two_terms(n_max=4, l_max=4, zeta=zeta, n_sparse=40)
    atoms = large()
    expected = run(potential.evaluator(1), atoms)
    assert np.abs(expected[1]).max() > 1e-2
    for n_threads in (1, 2, 3, 7):
        evaluator = potential.evaluator(n_threads)
        assert evaluator.n_threads == n_threads
        first = run(evaluator, atoms)
        for one, two in zip(first, expected):
            np.testing.assert_allclose(one, two, rtol=0, atol=1e-14 * max(1, np.abs(two).max()))
        for other in (evaluator, potential.evaluator(n_threads)):  # with buffers in use already, and fresh ones
            for one, two in zip(run(other, atoms), first):
                assert one.tobytes() == two.tobytes()


def test_clones_work_side_by_side():
    potential = two_terms(n_max=3, l_max=3)
    evaluator = potential.evaluator()
    samples = [structures(["O", "Ti"], seed=seed)[kind] for seed in range(3) for kind in KINDS]
    expected = [rows_of(evaluator, 1, atoms) for atoms in samples]
    with ThreadPoolExecutor(3) as pool:
        got = list(pool.map(lambda atoms: rows_of(evaluator.clone(), 1, atoms), samples * 3))
    for one, two in zip(got, expected * 3):
        for a, b in zip(one, two):
            assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("species", [["Si"], ["O", "Ti"]])
@pytest.mark.parametrize("kind", ["tiny", "triclinic"])
def test_whole_model_against_quippy(species, kind, tmp_path, monkeypatch):
    pytest.importorskip("quippy")
    from quip_oracle import write_quip_model
    from quippy.potential import Potential

    kw = dict(n_max=6, l_max=5, cutoff=4.5, zeta=4.0, delta=0.8, radial_basis="equispaced", n_sparse=8)
    terms = [soap_term(centre, species, seed=index, **kw) for index, centre in enumerate(species)]
    potential = model(*terms, e0=dict(zip(species, (-1.25, 2.5))))
    monkeypatch.chdir(tmp_path)
    xml = write_quip_model(potential, tmp_path)
    atoms = structures(species, seed=11)[kind]
    energies, forces, virial = run(potential.evaluator(), atoms)
    oracle = atoms.copy()
    oracle.calc = Potential("IP GAP", param_filename=str(xml))
    assert np.abs(forces).max() > 1e-2
    # the table's own bounds are 1e-11 in value and 1e-9 in slope of the largest R_nl
    assert oracle.get_potential_energy() == pytest.approx(energies.sum(), rel=0, abs=1e-10)
    np.testing.assert_allclose(oracle.get_forces(), forces, rtol=0, atol=1e-9 * np.abs(forces).max())
    np.testing.assert_allclose(-oracle.get_stress(voigt=False) * oracle.get_volume(), virial, rtol=0,
                               atol=1e-9 * np.abs(virial).max())
