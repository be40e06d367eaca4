"""`soapgap check`: signs and units against finite differences of the energies, and where these are not to be had."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write
from fault_sets import checked, notes, serious, small_sets
from planted_faults import copies, scale_virials
from training_tools import labelled, toy_frames

from soapgap.check.frames import read_frames
from soapgap.check.geometry import as_length, fingerprint
from soapgap.check.pairs import EXPECTED, Pairs, judge, rest_against_virials
from soapgap.check.run import check
from soapgap.check.units import EV_A3_IN_GPA, FORCE_FAULTS, STRESS_FAULTS
from soapgap.config.data import DataConfig

N_ATOMS = np.arange(7, 47)


@pytest.fixture(scope="module")
def sets():
    return small_sets()


@pytest.mark.parametrize("step", [0.01, 0.02])
def test_finite_differences_converge(tmp_path, step):
    """With small steps nothing remains but the differences of the energies: the ratio is 1 to the third order."""
    rng = np.random.default_rng(3)
    crystal = bulk("SiC", "zincblende", a=4.6, cubic=True)
    crystal.positions += 0.05 * rng.standard_normal((8, 3))
    frames = []
    for _ in range(12):
        moved, strained = crystal.copy(), crystal.copy()
        moved.positions += step * rng.standard_normal((8, 3))
        strained.set_cell(crystal.cell.array @ (np.eye(3) + 0.3 * step * rng.standard_normal((3, 3))), scale_atoms=True)
        frames += [labelled(moved), labelled(strained)]
    found = notes(checked(tmp_path, frames))
    for code in ("forces-agree", "virials-agree"):
        assert found[code].values["median_ratio"] == pytest.approx(1.0, abs=100.0 * step**2)
        assert found[code].values["scatter"] < 200.0 * step**2
        assert found[code].values["n_pairs"] >= 12


def test_one_type_with_the_opposite_sign_is_named(tmp_path, sets):
    frames = copies(sets["toy"])
    other = copies(frames[2:16])
    for frame in other:  # the same strains of another structure, in another convention
        frame.positions += 0.1 * frame.cell.array[0]
        frame.info["virial"] = -np.asarray(frame.info["virial"])
        frame.info["config_type"] = "other_code"
    finding = serious(checked(tmp_path, frames + other))["virials-units"]
    assert "opposite sign" in finding.what
    assert min(finding.frames) >= len(frames)


def test_one_file_with_the_opposite_sign_is_named(tmp_path, sets):
    """Whatever is in the other one: no frame has a config_type."""
    frames = copies(sets["toy"])
    other = copies(frames)
    for frame in other:
        frame.positions += 0.1 * frame.cell.array[0]
        frame.calc.results["forces"] *= -1.0
    write(tmp_path / "a.xyz", frames, format="extxyz")
    write(tmp_path / "b.xyz", other, format="extxyz")
    result = check([tmp_path / "a.xyz", tmp_path / "b.xyz"])
    finding = serious(result)["forces-units"]
    assert "opposite sign" in finding.what
    assert set(result.places.by_file(finding.frames)) == {str(tmp_path / "b.xyz")}


def volumes(low, high):
    """Cells with displaced atoms, of different volumes; no two have equal fractional coordinates."""
    frames = toy_frames(30)
    for k, frame in enumerate(frames):
        frame.set_cell(frame.cell.array * (low + (high - low) * k / 30), scale_atoms=True)
    return [labelled(Atoms(frame)) for frame in frames]


def test_plausibility_without_strained_pairs(tmp_path):
    frames = volumes(0.65, 0.80)
    clean = checked(tmp_path, copies(frames))
    assert serious(clean) == {}
    assert "pressure falls with volume" in notes(clean)["virials-plausible"].what
    for plant, code in ((scale_virials(-1.0), "virials-sign"), (scale_virials(1602.1766), "virials-implausible"),
                        (scale_virials(EV_A3_IN_GPA), "virials-implausible"),
                        (scale_virials(1.0 / 27.2114), "virials-implausible")):
        faulty = copies(frames)
        plant(faulty)
        finding = serious(checked(tmp_path, faulty))[code]
        assert finding.severity == "warning"
        assert "judged by plausibility" in finding.means


def test_cells_stretched_until_they_break_are_not_taken_for_a_wrong_sign(tmp_path):
    frames = volumes(0.95, 1.10)
    pressure = [np.trace(frame.info["virial"].reshape(3, 3)) / frame.get_volume() for frame in frames]
    assert np.corrcoef(pressure, [frame.get_volume() for frame in frames])[0, 1] > 0.7
    result = checked(tmp_path, copies(frames))
    assert serious(result) == {}
    found = notes(result)["virials-plausible"]
    assert "energies follow them" in found.what
    assert "pressure falls" not in found.what
    assert found.values["slope"] == pytest.approx(1.0, abs=0.2)
    alone = copies(frames)
    for frame in alone:
        del frame.calc.results["forces"]
    assert "sign is not checked" in notes(checked(tmp_path, alone))["virials-plausible"].means
    scale_virials(-1.0)(frames)
    assert "E_2 - E_1 falls" in serious(checked(tmp_path, frames))["virials-sign"].what


def test_the_order_of_frames_does_not_matter(tmp_path):
    frames = volumes(0.65, 0.80)
    values = []
    for order in (range(30), np.random.default_rng(1).permutation(30)):
        checked(tmp_path, copies([frames[k] for k in order]))
        table = read_frames([str(tmp_path / "data.xyz")], DataConfig(train=("data.xyz",)))
        values.append(rest_against_virials(table))
    assert values[0][0] >= 20
    assert values[0] == pytest.approx(values[1], rel=1e-9)


@pytest.mark.parametrize("direction", [(1.0, 1.0, 1.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)])
def test_fingerprint_measures_small_displacements(direction):
    """In a cell with a surface too, which is long in one direction."""
    rng = np.random.default_rng(0)
    cell = np.diag([4.0, 8.0, 50.0])
    s = rng.random((40, 3))
    for size in (1e-3, 3e-2):
        moves = [size * rng.standard_normal((40, 3)) * direction for _ in range(50)]
        measured = [np.linalg.norm(as_length(fingerprint(s + move / cell.diagonal()) - fingerprint(s), cell)) for move in moves]
        expected = size * np.linalg.norm(direction)
        assert np.sqrt(np.mean(np.square(measured))) == pytest.approx(expected, rel=0.1)
    np.testing.assert_allclose(fingerprint(s + rng.integers(-2, 3, s.shape)), fingerprint(s), atol=1e-12)


def made_up(ratio, volume, n=40, noise=0.1, seed=1):
    rng = np.random.default_rng(seed)
    difference = rng.standard_normal(n)
    work = difference / ratio * np.exp(noise * rng.standard_normal(n))
    return Pairs(np.zeros((n, 2), int), difference, work, volume, N_ATOMS[:n])


def size_of(factor, volume):
    """The number that a string such as "-160.2/V" stands for."""
    if not isinstance(factor, str):
        return factor
    sign, body = (-1.0, factor[1:]) if factor.startswith("-") else (1.0, factor)
    size = N_ATOMS if body.endswith("N") else volume
    return sign * (float(body[:-2]) / size if "/" in body else size)


@pytest.mark.parametrize("name", STRESS_FAULTS)
def test_every_supposition_about_virials_is_recognised(name):
    volume = np.linspace(90.0, 400.0, 40)
    verdict = judge(made_up(1.0 / size_of(STRESS_FAULTS[name], volume), volume), STRESS_FAULTS)
    assert verdict.clear
    assert not verdict.good
    assert name == verdict.names[0]


@pytest.mark.parametrize("name", FORCE_FAULTS)
def test_every_supposition_about_forces_is_recognised(name):
    volume = np.ones(40)
    verdict = judge(made_up(1.0 / size_of(FORCE_FAULTS[name], volume), volume, noise=0.02), FORCE_FAULTS)
    assert verdict.clear
    assert name in verdict.names


@pytest.mark.parametrize(("ratio", "name"), [(0.29, "too large by a factor of 3."), (3.4, "too small by a factor of 3."),
                                             (-3.4, "too small by a factor of 3.")])
def test_a_factor_that_no_unit_explains_is_named(ratio, name):
    verdict = judge(made_up(ratio, np.ones(40)), FORCE_FAULTS)
    assert verdict.clear
    assert verdict.names[0].startswith(name)
    assert ("opposite" in verdict.names[0]) == (ratio < 0.0)


def test_no_verdict_without_agreement():
    assert judge(made_up(1.0, np.ones(40)), STRESS_FAULTS).names == (EXPECTED,)
    random = np.random.default_rng(2).standard_normal((2, 60))
    noise = Pairs(np.zeros((60, 2), int), *random, np.full(60, 120.0), np.full(60, 8))
    assert not judge(noise, STRESS_FAULTS).clear
    assert not judge(made_up(1.0, np.ones(3), n=3), STRESS_FAULTS).clear
    equal = made_up(1.0, np.ones(40))
    equal.difference[:] = 0.0
    assert not judge(equal, FORCE_FAULTS).clear
