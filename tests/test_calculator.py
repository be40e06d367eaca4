"""Neighbour lists and the ASE host."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list
from ase.stress import full_3x3_to_voigt_6_stress
from models import make_two_species_model, random_structure
from programs import run_python

from soapgap import InputError, Potential, SoapGAP
from soapgap.neighbours.arrays import neighbour_arrays

SPECIES = ["Si", "O"]


def triclinic(scale=1.0):
    atoms = Atoms("SiOSi", cell=np.array([[3.1, 0.2, -0.4], [0.7, 2.8, 0.3], [-0.5, 0.6, 3.3]]) * scale, pbc=True)
    atoms.set_scaled_positions([[0.1, 0.2, 0.3], [0.6, 0.5, 0.9], [0.3, 0.8, 0.55]])
    return atoms


def slab():
    atoms = bulk("Si", cubic=True) * (2, 2, 1)
    atoms.symbols[::3] = "O"
    atoms.center(vacuum=4.0, axis=2)
    atoms.pbc = (True, True, False)
    return atoms


def rotated(atoms):
    atoms = atoms.copy()
    atoms.rotate(37, (1, 2, 3), rotate_cell=True)
    return atoms


STRUCTURES = {
    "cubic": random_structure(5), "tiny triclinic": triclinic(), "triclinic": triclinic(2.5), "slab": slab(),
    "wire": Atoms("SiO", [[0, 0, 0], [1.5, 0.3, 0]], cell=[3, 0, 0], pbc=(True, False, False)),
    "molecule": Atoms("SiO2", [[0, 0, 0], [1.6, 0, 0], [-1.5, 0.4, 0]]), "one atom": Atoms("Si"),
    "far outside": Atoms("SiO", [[100.3, -57, 12], [101.6, -57, 12.4]], cell=[4, 4, 4], pbc=True),
    "left-handed": Atoms("SiO", [[0, 0, 0], [1.5, 0, 1]], cell=[[0, 4, 0], [4, 0, 0], [0, 0, 4.5]], pbc=True),
    "rotated": rotated(triclinic(1.5)), "nothing": Atoms(),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_neighbours_are_those_of_ase(name):
    atoms = STRUCTURES[name]
    ours = neighbour_arrays(atoms, 4.0, SPECIES)
    i, j, d = neighbor_list("ijD", atoms, 4.0) if len(atoms) else ([], [], np.empty((0, 3)))
    assert ours.offsets[-1] == len(i)
    mine = np.repeat(ours.centre_atom, np.diff(ours.offsets))
    rows = sorted((a, b, *np.round(v, 8) + 0.0) for a, b, v in zip(mine, ours.neighbour_atom, ours.vectors))
    theirs = sorted((a, b, *np.round(v, 8) + 0.0) for a, b, v in zip(i, j, d))
    np.testing.assert_allclose(np.array(rows).reshape(-1, 5), np.array(theirs).reshape(-1, 5), rtol=0, atol=1e-7)
    np.testing.assert_array_equal(ours.neighbour_species, ours.centre_species[ours.neighbour_atom])


def test_calculator_gives_what_the_potential_gives():
    model, atoms = make_two_species_model(), random_structure(5)
    result = Potential(model).compute(atoms)
    atoms.calc = SoapGAP(model)
    scale = abs(result.forces).max()
    assert atoms.get_potential_energy() == pytest.approx(result.energy, abs=1e-11)
    assert result.energies.sum() == pytest.approx(result.energy, abs=1e-11)
    np.testing.assert_allclose(atoms.get_potential_energies(), result.energies, rtol=0, atol=1e-12)
    np.testing.assert_allclose(atoms.get_forces(), result.forces, rtol=0, atol=1e-12 * scale)
    np.testing.assert_allclose(atoms.get_stress() * atoms.get_volume(), full_3x3_to_voigt_6_stress(-result.virial),
                               rtol=0, atol=1e-11)


def test_stress_is_the_derivative_of_the_energy():
    from ase.calculators.fd import calculate_numerical_stress

    atoms = STRUCTURES["tiny triclinic"].copy()
    atoms.calc = SoapGAP(make_two_species_model())
    numerical = calculate_numerical_stress(atoms, eps=1e-5)
    assert np.abs(numerical).min() > 1e-6
    np.testing.assert_allclose(atoms.get_stress(), numerical, rtol=1e-6, atol=1e-8)


def test_isolated_atoms_have_e0_and_no_force():
    model = make_two_species_model()
    far = Atoms("SiO", [[0, 0, 0], [0, 0, 50.0]])
    one = Potential(model).compute(Atoms("Si")), Potential(model).compute(Atoms("O"))
    both = Potential(model).compute(far)
    np.testing.assert_allclose(both.energies, [one[0].energy, one[1].energy], rtol=0, atol=1e-13)
    np.testing.assert_array_equal(both.forces, np.zeros((2, 3)))
    assert SoapGAP(model).get_potential_energy(Atoms("Si")) == one[0].energy


def test_molecule_has_no_stress_but_energy():
    from ase.calculators.calculator import PropertyNotImplementedError

    molecule = STRUCTURES["molecule"].copy()
    molecule.calc = SoapGAP(make_two_species_model())
    assert np.isfinite(molecule.get_potential_energy())
    with pytest.raises(PropertyNotImplementedError):
        molecule.get_stress()


def test_skin_changes_nothing_and_saves_lists():
    model, atoms = make_two_species_model(), random_structure(6)
    with_skin, without = Potential(model, skin=0.6), Potential(model)
    rng = np.random.default_rng(0)
    for _ in range(12):
        atoms.positions += rng.normal(scale=0.03, size=atoms.positions.shape)
        a, b = with_skin.compute(atoms), without.compute(atoms)
        assert a.energy == pytest.approx(b.energy, abs=1e-10)
        np.testing.assert_allclose(a.forces, b.forces, rtol=0, atol=1e-10)
        np.testing.assert_allclose(a.virial, b.virial, rtol=0, atol=1e-9)
    assert without.neighbours.n_built == 12
    assert 1 <= with_skin.neighbours.n_built < 8


CHANGES = {
    "cell": lambda a: a.set_cell(a.cell.array * 1.1),
    "pbc": lambda a: setattr(a, "pbc", (True, False, True)),
    "species": lambda a: a.symbols.__setitem__(0, "O" if a.symbols[0] == "Si" else "Si"),
    "fewer atoms": lambda a: a.__delitem__(3),
    "more atoms": lambda a: a.append("O"),
    "a far move": lambda a: a.positions.__setitem__(2, a.positions[2] + [0.31, 0, 0]),
}


@pytest.mark.parametrize("what", CHANGES)
def test_neighbour_cache_is_dropped_when_the_structure_changes(what):
    model, atoms = make_two_species_model(), random_structure(7)
    potential = Potential(model, skin=0.6)
    potential.compute(atoms)
    potential.compute(atoms)
    assert potential.neighbours.n_built == 1
    CHANGES[what](atoms)
    changed = potential.compute(atoms)
    assert potential.neighbours.n_built == 2
    fresh = Potential(model).compute(atoms)
    assert changed.energy == pytest.approx(fresh.energy, abs=1e-11)
    np.testing.assert_allclose(changed.forces, fresh.forces, rtol=0, atol=1e-11)


def test_bad_structures_are_one_clear_error():
    potential = Potential(make_two_species_model())
    with pytest.raises(InputError, match="Ge.*knows Si, O"):
        potential.compute(Atoms("SiGe", [[0, 0, 0], [0, 0, 2]]))
    with pytest.raises(InputError, match="finite"):
        potential.compute(Atoms("Si2", [[0, 0, 0], [0, np.nan, 2]]))
    with pytest.raises(InputError, match="cell vector for every periodic direction"):
        potential.compute(Atoms("Si", cell=[5, 5, 0], pbc=True))
    with pytest.raises(InputError, match="skin"):
        Potential(make_two_species_model(), skin=-1.0)


def test_a_calculator_can_be_pickled_and_copied():
    import copy
    import pickle

    atoms = random_structure(5)
    atoms.calc = SoapGAP(make_two_species_model())
    energy = atoms.get_potential_energy()
    for other in (pickle.loads(pickle.dumps(atoms.calc)), copy.deepcopy(atoms.calc)):
        fresh = atoms.copy()
        fresh.rattle(0.0)
        fresh.calc = other
        assert fresh.get_potential_energy() == energy
        assert other.potential.evaluator is not atoms.calc.potential.evaluator


def wandering(n_calls):
    """Structures that ask for kept lists and for new ones, of equal and of unequal sizes, in a mixed order."""
    rng = np.random.default_rng(14)
    starts = [random_structure(seed, n_atoms=8 + 4 * (seed % 3), length=7.0) for seed in range(6)]
    frames = []
    for call in range(n_calls):
        atoms = starts[call // 7 % len(starts)].copy()
        atoms.positions += rng.normal(scale=0.04 if call % 4 else 0.3, size=atoms.positions.shape)
        frames.append(atoms)
    return frames


@pytest.fixture
def hasty():
    """Python changes threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("n_lists", [1, 5])
def test_threads_may_share_a_potential(n_lists):
    model, frames = make_two_species_model(n_max=2, l_max=2, n_sparse=4), wandering(400)
    expected = [Potential(model, n_threads=1).compute(atoms) for atoms in frames]
    potential = Potential(model, n_threads=1, skin=0.5, n_lists=n_lists)
    with ThreadPoolExecutor(8) as threads:
        got = list(threads.map(potential.compute, frames))
    for ours, theirs in zip(got, expected, strict=True):
        assert ours.energy == theirs.energy
        np.testing.assert_array_equal(ours.energies, theirs.energies)
        np.testing.assert_array_equal(ours.forces, theirs.forces)
        np.testing.assert_array_equal(ours.virial, theirs.virial)


@pytest.mark.usefixtures("hasty")
def test_threads_may_share_a_calculator():
    model, frames = make_two_species_model(n_max=2, l_max=2, n_sparse=4), wandering(400)
    shared = SoapGAP(model, n_threads=1)

    def asked(atoms, calculator):
        atoms = atoms.copy()
        atoms.calc = calculator
        return atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(), atoms.get_potential_energies()

    expected = [asked(atoms, SoapGAP(model, n_threads=1, skin=0.0)) for atoms in frames]
    with ThreadPoolExecutor(8) as threads:
        got = list(threads.map(lambda atoms: asked(atoms, shared), frames))
    for ours, theirs in zip(got, expected, strict=True):
        for mine, its in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(mine, its)


def test_a_calculation_that_fails_leaves_no_results():
    calculator, atoms = SoapGAP(make_two_species_model()), random_structure(5)
    calculator.calculate(atoms)
    strange = atoms.copy()
    strange.symbols[0] = "Ge"
    with pytest.raises(InputError, match="Ge"):
        calculator.calculate(strange)
    with pytest.raises(InputError, match="Ge"):
        calculator.get_potential_energy(strange)


@pytest.mark.parametrize("name", ["cubic", "tiny triclinic", "slab"])
def test_stresses_of_atoms_add_up_to_the_stress(name):
    atoms = STRUCTURES[name].copy()
    atoms.calc = SoapGAP(make_two_species_model())
    energy = atoms.get_potential_energy()
    assert "stresses" not in atoms.calc.results  # which cost time, unless somebody asks
    stresses, stress = atoms.get_stresses(), atoms.get_stress()
    assert stresses.shape == (len(atoms), 6)
    assert np.abs(stress).min() > 0.0
    np.testing.assert_allclose(stresses.sum(axis=0), stress, rtol=0, atol=1e-12 * np.abs(stresses).max() * len(atoms))
    assert atoms.get_potential_energy() == energy


@pytest.mark.parametrize("height", [0.0, 1e-14])
def test_a_cell_in_one_plane_has_no_stress_and_says_why(height):
    flat = Atoms("SiO", [[0, 0, 0], [1.5, 0.3, 0.2]], cell=[[4, 0, 0], [0, 4, 0], [4, 4, height]], pbc=(True, True, False))
    calculator, same = SoapGAP(make_two_species_model()), flat.copy()
    same.cell[2] = 0.0
    assert calculator.get_potential_energy(flat) == Potential(make_two_species_model()).compute(same).energy
    assert "stress" not in calculator.results
    for ask in (calculator.get_stress, calculator.get_stresses):
        with pytest.raises(InputError, match="in one plane.*volume is 0.*to zero"):
            ask(flat)
    flat.pbc = True
    with pytest.raises(InputError, match="3 vectors of periodic directions lie in one plane.*set pbc to False"):
        calculator.get_potential_energy(flat)


KNOWN = "model, skin, n_threads, allow_external, comm.*directory"


@pytest.mark.parametrize(("keywords", "said"), [
    ({"nthreads": 2}, f"keyword nthreads,.*{KNOWN}.*nthreads: did you mean n_threads"),
    ({"cutoff": 6}, f"keyword cutoff,.*{KNOWN}.*cutoff belongs to the model"),
    ({"xc": "PBE", "kpts": 1}, f"keyword kpts, xc,.*{KNOWN}")])
def test_keywords_that_mean_nothing_are_refused(keywords, said):
    calculator = SoapGAP(make_two_species_model(), directory=".")
    with pytest.raises(TypeError, match=said):
        SoapGAP(make_two_species_model(), **keywords)
    with pytest.raises(TypeError, match="expected skin or n_threads"):
        calculator.set(**keywords)
    for fixed in ({"model": "other.safetensors"}, {"comm": None}, {"allow_external": True}):
        with pytest.raises(TypeError, match="make a new calculator"):
            calculator.set(**fixed)


def test_set_changes_what_can_be_set():
    atoms = random_structure(5)
    atoms.calc = calculator = SoapGAP(make_two_species_model(), n_threads=1)
    energy = atoms.get_potential_energy()
    assert calculator.set(skin=1.0, n_threads=1) == {"skin": 1.0}
    assert calculator.results["energy"] == energy
    assert (calculator.potential.neighbours.skin, calculator.parameters["skin"]) == (1.0, 1.0)
    assert calculator.set(n_threads=2) == {"n_threads": 2}
    assert (calculator.potential.evaluator.n_threads, calculator.potential.neighbours.skin) == (2, 1.0)
    for bad in ({"skin": -1.0}, {"skin": "wide"}, {"n_threads": -2}):
        with pytest.raises(InputError, match="expected"):
            calculator.set(**bad)
    assert calculator.parameters["skin"] == calculator.potential.neighbours.skin == 1.0
    assert calculator.potential.evaluator.n_threads == 2
    moved = atoms.copy()
    moved.positions[0, 0] += 0.45
    moved.calc = calculator
    assert moved.get_potential_energy() == Potential(make_two_species_model()).compute(moved).energy
    assert calculator.potential.neighbours.n_built == 1


def test_a_row_of_a_database_knows_the_model(tmp_path):
    from ase.db import connect

    model, atoms = make_two_species_model(), random_structure(5)
    model.save(tmp_path / "m.safetensors")
    atoms.calc = SoapGAP(tmp_path / "m.safetensors", skin=0.3, n_threads=1)
    forces = atoms.get_forces()
    with connect(tmp_path / "rows.db") as rows:
        rows.write(atoms)
    row = connect(tmp_path / "rows.db").get(1)
    assert row.calculator == "soapgap"
    assert row.calculator_parameters == {"model": "m.safetensors", "checksum": model.checksum, "skin": 0.3, "n_threads": 1,
                                         "allow_external": False}
    np.testing.assert_array_equal(row.forces, forces)
    assert SoapGAP(model).todict()["checksum"] == model.checksum


def test_evaluate_command_writes_what_the_potential_gives(tmp_path):

    import ase.io

    make_two_species_model().save(tmp_path / "m.safetensors")
    frames = [STRUCTURES["cubic"], STRUCTURES["molecule"]]
    ase.io.write(tmp_path / "in.xyz", frames)
    done = run_python("-m", "soapgap", "evaluate", "m.safetensors", "in.xyz", "out.xyz", folder=tmp_path)
    assert done.status == 0, done.stderr
    read = ase.io.read(tmp_path / "in.xyz", ":"), ase.io.read(tmp_path / "out.xyz", ":")
    for before, after in zip(*read, strict=True):
        result = Potential(make_two_species_model()).compute(before)
        assert after.get_potential_energy() == pytest.approx(result.energy, abs=1e-10)
        np.testing.assert_allclose(after.get_forces(), result.forces, rtol=0, atol=1e-8)  # written with eight decimals
        np.testing.assert_allclose(np.reshape(after.info["virial"], (3, 3)), result.virial, rtol=0, atol=1e-10)


@pytest.mark.parametrize("pbc", [(False, False, False), (True, True, False)])
@pytest.mark.parametrize("far", [1e3, 1e6, 1e12])
def test_an_atom_that_flew_away_costs_nothing(pbc, far):
    """The neighbour search shares space out in cells; an empty stretch must not become cells."""
    cell = [[7.0, 1.0, 0.0], [0.0, 8.0, 0.0], [0.0, 0.0, 30.0]]
    near = Atoms("Si3", [[0.0, 0.0, 0.0], [1.0, 2.0, 1.0], [0.5, 0.4, -2.0]], cell=cell, pbc=pbc)
    lone = Atoms("Si", [[1.0, 1.0, far]])
    close, both = (neighbour_arrays(atoms, 5.0, ["Si"]) for atoms in (near, near + lone))
    n = close.offsets[-1]
    assert both.offsets[3] == n
    assert (both.neighbour_atom[:n] < 3).all()
    np.testing.assert_array_equal(both.neighbour_atom[:n], close.neighbour_atom)
    np.testing.assert_allclose(both.vectors[:n], close.vectors, rtol=0, atol=1e-12)


def test_gaps_wider_than_the_cutoff_hide_no_pair():
    rng = np.random.default_rng(3)
    groups = [rng.uniform(0.0, 4.0, (6, 3)) + [0.0, 0.0, 900.0 * k] for k in range(4)]
    arrays = neighbour_arrays(Atoms("Si24", np.concatenate(groups)), 5.0, ["Si"])
    expected = sum(np.count_nonzero(np.linalg.norm(g[:, None] - g[None], axis=2) < 5.0) - len(g) for g in groups)
    assert len(arrays.neighbour_atom) == expected
