"""Checks of a model in its report, against known answers: Lennard-Jones crystals by ASE, and what must be warned of."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene, molecule
from ase.calculators.lj import LennardJones
from ase.eos import EquationOfState
from ase.phonons import Phonons
from ase.spacegroup import crystal
from ase.units import GPa

from soapgap.data.dataset import Structure
from soapgap.errors import InputError
from soapgap.model import Model, PairTerm
from soapgap.physics.phonons import DynamicalMatrix, force_constants, supercell_repeats
from soapgap.potential import Potential
from soapgap.radial.table import radial_table
from soapgap.report.model_checks import check_model
from soapgap.report.model_crystals import bonded_dimensions, find_crystals, primitive_cell, reduced_formula
from soapgap.report.model_dimers import dimer_curve, reference_dimers
from soapgap.report.model_phonons import phonon_check
from soapgap.report.model_speed import measure_speed, speed_structure
from soapgap.report.model_volume import at_volume, energy_volume

EPSILON, SIGMA, ONSET, CUTOFF = 0.2, 2.3, 3.6, 5.0
THZ_PER_EV = 241.79892


def lennard_jones(r, low, high):
    """Half of 4 eps ((s/r)^12 - (s/r)^6) times ASE's smooth cutoff, with two derivatives."""
    s6 = (SIGMA / r) ** 6
    v = 4.0 * EPSILON * (s6 * s6 - s6)
    v1 = 4.0 * EPSILON * (-12.0 * s6 * s6 + 6.0 * s6) / r
    v2 = 4.0 * EPSILON * (156.0 * s6 * s6 - 42.0 * s6) / r**2
    if low < ONSET:
        f, f1, f2 = 1.0, 0.0, 0.0
    else:  # (rc2 - r2)^2 (rc2 + 2 r2 - 3 ro2) / (rc2 - ro2)^3 as a polynomial in r
        rc2, ro2 = CUTOFF**2, ONSET**2
        p = np.polynomial.Polynomial([rc2, 0.0, -1.0]) ** 2 * np.polynomial.Polynomial([rc2 - 3.0 * ro2, 0.0, 2.0])
        p = p / (rc2 - ro2) ** 3
        f, f1, f2 = p(r), p.deriv()(r), p.deriv(2)(r)
    return 0.5 * np.stack([v * f, v1 * f + v * f1, v2 * f + 2.0 * v1 * f1 + v * f2])[:, :, None]


@pytest.fixture(scope="module")
def model():
    table = radial_table(lennard_jones, [1.6, 2.2, ONSET, CUTOFF], scale=10.0)
    return Model(["Cu"], {"Cu": -1.0}, [PairTerm(("Cu", "Cu"), CUTOFF, table, {"kind": "distance_2b"})])


def calculator():
    return LennardJones(epsilon=EPSILON, sigma=SIGMA, ro=ONSET, rc=CUTOFF, smooth=True)


def structure(atoms, energy=None, forces=None, kind="default", where="train.xyz, frame 0 (counted from 0)"):
    return Structure(atoms, where, kind, {name: v for name, v in (("energy", energy), ("force", forces)) if v is not None})


def frames(model, *many):
    """Structures with the energies and forces of a model."""
    potential = Potential(model, n_threads=1)
    results = [potential.compute(atoms) for atoms in many]
    return [structure(atoms, r.energy, r.forces, where=f"train.xyz, frame {k} (counted from 0)")
            for k, (atoms, r) in enumerate(zip(many, results, strict=True))]


def test_the_model_is_ases_lennard_jones(model):
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
    atoms.positions += 0.1 * np.random.default_rng(0).standard_normal((4, 3))
    atoms.calc = calculator()
    result = Potential(model, n_threads=1).compute(atoms)
    assert result.energy + 4.0 == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    np.testing.assert_allclose(result.forces, atoms.get_forces(), atol=1e-8)


def test_energy_volume_and_bulk_modulus_as_with_ase(model):
    """The supercell of the data becomes its primitive cell; minimum and bulk modulus are those that ASE finds."""
    (crystal_,), remark = find_crystals(frames(model, bulk("Cu", "fcc", a=3.65, cubic=True).repeat(2)), model.e0)
    assert remark == ""
    assert len(crystal_.atoms) == 1
    curve = energy_volume(Potential(model, n_threads=1), crystal_)
    assert curve["warning"] is None
    volumes, energies = [], []
    for volume in curve["model"]["volume"] * np.linspace(0.9, 1.1, 41):
        atoms = at_volume(bulk("Cu", "fcc", a=3.6), volume)
        atoms.calc = calculator()
        volumes.append(atoms.get_volume())
        energies.append(atoms.get_potential_energy())
    v0, e0, modulus = EquationOfState(volumes, energies, eos="birchmurnaghan").fit()
    assert curve["model"]["volume"] == pytest.approx(v0, rel=1e-6)
    assert curve["model"]["energy"] == pytest.approx(e0, abs=1e-7)
    assert curve["model"]["bulk_modulus"] == pytest.approx(modulus / GPa, rel=1e-5)
    # V0 dp/dV at the minimum by differences of ASE's stress: what the equation of state stands for
    pressures = []
    for scale in (1.0 - 1e-3, 1.0 + 1e-3):
        atoms = at_volume(bulk("Cu", "fcc", a=3.6), scale * v0)
        atoms.calc = calculator()
        pressures.append(-atoms.get_stress()[:3].mean())
    assert curve["model"]["bulk_modulus"] == pytest.approx((pressures[0] - pressures[1]) / 2e-3 / GPa, rel=0.01)


def test_frames_at_several_volumes_are_one_curve(model):
    """Seven volumes of fcc in different cells and four of bcc: fcc has a reference of its own, equal to the model."""
    volumes = np.linspace(9.5, 14.5, 7)
    cells = [bulk("Cu", "fcc", a=3.6), bulk("Cu", "fcc", a=3.6, cubic=True)]
    rotated = bulk("Cu", "fcc", a=3.6)
    rotated.rotate(30, (1, 2, 3), rotate_cell=True)
    many = [at_volume((cells + [rotated])[k % 3], v * len((cells + [rotated])[k % 3])) for k, v in enumerate(volumes)]
    data = frames(model, *many, bulk("Cu", "bcc", a=2.9))
    crystals, _ = find_crystals(data, model.e0)
    assert [len(c.volumes) for c in crystals] == [7, 1]
    np.testing.assert_allclose(crystals[0].volumes, volumes)
    curve = energy_volume(Potential(model, n_threads=1), crystals[0])
    at_reference = np.interp(curve["reference_volumes"], curve["volumes"], curve["energies"])
    np.testing.assert_allclose(at_reference, curve["reference_energies"], atol=2e-3)
    assert curve["reference"]["volume"] == pytest.approx(curve["model"]["volume"], rel=2e-3)
    assert curve["reference"]["bulk_modulus"] == pytest.approx(curve["model"]["bulk_modulus"], rel=0.05)


def test_phonons_as_with_ase(model, tmp_path):
    """Every frequency on the wave vectors of the supercell is the one that ase.phonons finds."""
    atoms = bulk("Cu", "fcc", a=3.55)
    repeats = supercell_repeats(atoms, CUTOFF)
    assert repeats == (6, 6, 6)
    potential = Potential(model, n_threads=1)
    found = phonon_check(potential, atoms)
    assert (found["n_imaginary"], found["n_modes"], found["warning"]) == (0, 648, None)
    matrix = DynamicalMatrix(atoms, repeats, force_constants(potential, atoms, repeats))
    reference = Phonons(atoms, calculator(), supercell=(6, 6, 6), delta=0.01, name=str(tmp_path / "phonons"))
    reference.run()
    reference.read(acoustic=True)
    qs = np.array([[0.5, 0.0, 0.0], [0.5, 0.5, 0.0], [1 / 3, 1 / 3, 0.0], [1 / 6, 0.0, 0.0], [0.5, 1 / 3, 1 / 6]])
    expected = np.sort(np.real(reference.band_structure(qs)), axis=1) * THZ_PER_EV
    own = np.array([matrix.frequencies(q) for q in qs])
    np.testing.assert_allclose(own, expected, rtol=0, atol=1e-6)
    assert expected.max() <= found["highest"] + 1e-6
    np.testing.assert_allclose(found["frequencies_gamma"], 0.0, atol=1e-3)


def test_optical_modes_of_a_diatomic_crystal(model):
    """Two atoms in a cell: three acoustic modes at zero; the optical ones as second differences of the energy say."""
    atoms = at_volume(bulk("Cu", "hcp", a=2.5, c=2.5 * np.sqrt(8 / 3)), 22.0)
    potential = Potential(model, n_threads=1)
    found = phonon_check(potential, atoms)
    gamma = np.array(found["frequencies_gamma"])
    np.testing.assert_allclose(gamma[:3], 0.0, atol=1e-3)
    energies = []
    for u in (-0.01, 0.0, 0.01):  # the two sublattices against each other along c
        moved = atoms.copy()
        moved.positions[:, 2] += [0.5 * u, -0.5 * u]
        energies.append(potential.compute(moved).energy)
    stiffness = (energies[0] - 2.0 * energies[1] + energies[2]) / 1e-4
    reduced_mass = atoms.get_masses()[0] / 2.0
    frequency = np.sqrt(stiffness / reduced_mass) * 15.633302  # sqrt(eV/(A^2 u)) in THz
    assert np.abs(gamma[3:] - frequency).min() < 2e-3 * frequency


def test_an_unstable_crystal_is_warned_of(model):
    """Lennard-Jones bcc is a saddle: imaginary modes; fcc under tension has no minimum to look at."""
    found = phonon_check(Potential(model, n_threads=1), bulk("Cu", "bcc", a=2.85))
    assert found["n_imaginary"] > 0
    assert found["lowest"] < -0.5
    assert "imaginary" in found["warning"]
    assert found["path"]["labels"][0] == "G"


def test_phonons_that_would_take_too_long_are_not_begun(model):
    potential = Potential(model, n_threads=1)
    with pytest.raises(InputError, match="would take"):
        phonon_check(potential, bulk("Cu", "fcc", a=3.55), seconds=1e-6)
    with pytest.raises(InputError, match="27 atoms, more than 16"):
        phonon_check(potential, bulk("Cu", "fcc", a=3.55).repeat(3))


def test_energy_without_a_minimum_is_warned_of():
    """A repulsive model: E(V) falls without end."""
    table = radial_table(lambda r, a, b: np.stack([(5 - r) ** 4, -4 * (5 - r) ** 3, 12 * (5 - r) ** 2])[:, :, None], [0.5, 5.0])
    repulsive = Model(["Cu"], {"Cu": 0.0}, [PairTerm(("Cu", "Cu"), 5.0, table, {"kind": "distance_2b"})])
    checks = check_model(repulsive, frames(repulsive, bulk("Cu", "fcc", a=3.6)), {("Cu", "Cu"): 2.55})
    assert checks["energy_volume"]["results"][0]["model"] is None
    assert any("no minimum between" in text for text in checks["warnings"])
    assert checks["phonons"]["results"] == []
    assert "no equilibrium volume" in checks["phonons"]["remark"]


def test_dimers(model):
    """The curve is Lennard-Jones, the well where it should be; attraction below the data is seen."""
    potential = Potential(model, n_threads=1)
    curve = dimer_curve(potential, ("Cu", "Cu"), 2.2, [(2.5, -0.19)])
    r, energy = np.array(curve["distances"]), np.array(curve["energies"])
    near = (r > 1.6) & (r < ONSET)
    np.testing.assert_allclose(energy[near], 4 * EPSILON * ((SIGMA / r[near]) ** 12 - (SIGMA / r[near]) ** 6), rtol=1e-8)
    assert curve["well"]["distance"] == pytest.approx(2 ** (1 / 6) * SIGMA, abs=0.03)
    assert curve["well"]["energy"] == pytest.approx(-EPSILON, rel=1e-2)
    assert curve["attraction"] is None
    late = dimer_curve(potential, ("Cu", "Cu"), 3.5)
    assert late["attraction"][0] == pytest.approx(2 ** (1 / 6) * SIGMA, abs=0.03)
    pair = structure(Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]]), -2.19)
    far = structure(Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]], cell=[5, 5, 5], pbc=True), -9.0)
    ((distance, value),) = reference_dimers([pair, far], model.e0, CUTOFF)["Cu", "Cu"]
    assert (distance, value) == (2.5, pytest.approx(-0.19))


def test_primitive_cells():
    quartz = crystal(["Si", "O"], [(0.4697, 0, 1 / 3), (0.4135, 0.2669, 0.7858)], spacegroup=152,
                     cellpar=[4.916, 4.916, 5.405, 90, 90, 120])
    for atoms, n in ((bulk("Si", cubic=True).repeat(2), 2), (bulk("NaCl", "rocksalt", a=5.6, cubic=True), 2), (quartz, 9),
                     (quartz.repeat((2, 1, 1)), 9), (bulk("Mg").repeat((1, 2, 3)), 2)):
        found = primitive_cell(atoms)
        assert len(found) == n
        assert found.get_volume() / n == pytest.approx(atoms.get_volume() / len(atoms))
        assert np.linalg.det(found.cell.array) > 0
    assert reduced_formula(quartz) == "O2Si"
    rattled = bulk("Si", cubic=True)
    rattled.rattle(0.05, seed=1)
    assert len(primitive_cell(rattled)) == 8


def test_what_is_bonded_in_three_dimensions():
    sheet = graphene(vacuum=8.0)
    sheet.pbc = True
    water = molecule("H2O", cell=[8, 8, 8], pbc=True)
    assert [bonded_dimensions(a) for a in (bulk("Si"), sheet, water, bulk("Ar", "fcc", a=5.3))] == [3, 2, 0, 3]


def test_where_a_check_makes_no_sense_it_says_why(model):
    """Molecules have no crystal; a hot cell stands in for one, with a remark."""
    lonely = frames(model, Atoms("Cu3", [[0, 0, 0], [2.5, 0, 0], [0, 2.5, 0]]))
    checks = check_model(model, lonely, {("Cu", "Cu"): 2.5})
    assert "no training frame is periodic" in checks["energy_volume"]["remark"]
    assert checks["phonons"]["remark"] == checks["energy_volume"]["remark"]
    assert checks["speed"]["results"]["n_atoms"] >= 500
    hot = bulk("Cu", "fcc", a=3.6, cubic=True).repeat(2)
    hot.rattle(0.15, seed=2)
    checks = check_model(model, frames(model, hot), {("Cu", "Cu"): 2.2})
    assert "stands in" in checks["energy_volume"]["remark"]
    assert "32 atoms, more than 16" in checks["phonons"]["remark"]


def test_speed(model):
    data = frames(model, bulk("Cu", "fcc", a=3.6, cubic=True))
    atoms, frame = speed_structure(data, CUTOFF)
    assert frame is data[0]
    assert 500 <= len(atoms) <= 700
    assert np.ptp(atoms.cell.lengths()) < 4.0
    found = measure_speed(model, data)
    assert 0.0 < found["microseconds_per_atom"] < 1000.0
    assert found["neighbours_per_atom"] == pytest.approx(42.0)  # of fcc with a = 3.6 within 5 A
