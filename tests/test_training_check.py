"""`soapgap check`: every fault that is planted is found where it is, and nothing is found in clean data."""

import json
import subprocess
import sys
from importlib.resources import files

import numpy as np
import pytest
import typer
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from training_tools import isolated, labelled, toy_frames
from typer.testing import CliRunner

from soapgap.errors import InputError
from soapgap.training.check import check
from soapgap.training.check_command import check as check_command
from soapgap.training.check_geometry import fingerprint, length_scale
from soapgap.training.check_pairs import EXPECTED, Pairs, judge
from soapgap.training.check_report import as_json, write_json
from soapgap.training.check_suggest import _n_sparse, _rounded
from soapgap.training.check_units import EV_A3_IN_GPA, FORCE_FAULTS, STRESS_FAULTS

DEMO = files("soapgap") / "demo" / "data"


def toy_set():
    """Isolated atoms, strained cells, displaced atoms, and cells that are both: silicon carbide of the toy potential."""
    rng = np.random.default_rng(3)
    frames = [isolated("Si"), isolated("C")]
    crystal = bulk("SiC", "zincblende", a=4.6, cubic=True)
    crystal.positions += 0.05 * rng.standard_normal((8, 3))
    for _ in range(14):
        strained = crystal.copy()
        strained.set_cell(crystal.cell.array @ (np.eye(3) + 0.02 * rng.standard_normal((3, 3))), scale_atoms=True)
        frames.append(labelled(strained))
    for _ in range(14):
        moved = crystal.copy()
        moved.positions += 0.04 * rng.standard_normal((8, 3))
        frames.append(labelled(moved))
    return frames + toy_frames(24, seed=5, species=("Si", "C"))


def demo_set():
    """The shipped silicon data."""
    return read(str(DEMO / "si_train.xyz"), ":", format="extxyz")


@pytest.fixture(scope="module")
def sets():
    return {"toy": toy_set(), "demo": demo_set()}


def copies(frames):
    """Frames that may be changed."""
    out = []
    for frame in frames:
        new = frame.copy()
        if frame.calc is not None:
            results = {key: np.array(value) if np.ndim(value) else value for key, value in frame.calc.results.items()}
            new.calc = SinglePointCalculator(new, **results)
        out.append(new)
    return out


def checked(tmp_path, frames, **keys):
    """The result of a check of these frames, written with all digits."""
    for frame in frames:
        if "virial" in frame.info:
            frame.info["virial"] = np.reshape(frame.info["virial"], (3, 3))
    write(tmp_path / "data.xyz", frames, format="extxyz")
    return check([tmp_path / "data.xyz"], **keys)


def serious(result):
    """Errors and warnings by code, with the frames."""
    return {f.code: f for f in result.findings if f.severity != "note"}


def notes(result):
    return {f.code: f for f in result.findings if f.severity == "note"}


def large(frames, n=1):
    """Indices of frames of more than two atoms from the middle of the set."""
    middle = [k for k, frame in enumerate(frames) if len(frame) > 2 and np.abs(frame.calc.results["forces"]).max() > 0.2]
    return middle[len(middle) // 2:len(middle) // 2 + n]


# ---- what is planted: each returns the frames that must be found (None: not looked at)

def scale_virials(factor):
    def plant(frames):
        for frame in frames:
            if "virial" in frame.info:
                v = frame.get_volume()
                size = {"1/V": 1.0 / v, "-1/V": -1.0 / v, "GPa/V": EV_A3_IN_GPA / v}.get(factor, factor)
                frame.info["virial"] = np.asarray(frame.info["virial"]) * size
    return plant


def stress(factor):
    """The virials replaced by stresses in a convention of their own."""
    def plant(frames):
        for frame in (frame for frame in frames if "virial" in frame.info):
            virial = np.reshape(frame.info.pop("virial"), (3, 3))
            frame.calc.results["stress"] = (-factor * virial / frame.get_volume()).ravel()[[0, 4, 8, 5, 2, 1]]
    return plant


def contradicting_stress(frames):
    for frame in frames:
        if "virial" in frame.info:
            virial = np.reshape(frame.info["virial"], (3, 3))
            frame.calc.results["stress"] = (virial / frame.get_volume()).ravel()[[0, 4, 8, 5, 2, 1]]


def scale_forces(factor):
    def plant(frames):
        for frame in frames:
            frame.calc.results["forces"] = frame.calc.results["forces"] * factor
    return plant


def no_isolated(frames):
    frames[:] = [frame for frame in frames if len(frame) > 1]


def isolated_twice(frames):
    frames.append(next(copies([frame])[0] for frame in frames if len(frame) == 1))
    return [next(k for k, frame in enumerate(frames) if len(frame) == 1), len(frames) - 1]


def isolated_twice_otherwise(frames):
    both = isolated_twice(frames)
    frames[-1].calc.results["energy"] += 0.1
    return both


def isolated_other_key(frames):
    k = next(k for k, frame in enumerate(frames) if len(frame) == 1)
    frames[k].info["dft_energy"] = frames[k].calc.results.pop("energy")
    return [k]


def isolated_other_settings(frames):
    for frame in frames:
        if len(frame) == 1:
            frame.calc.results["energy"] -= 100.0
    return [k for k, frame in enumerate(frames) if len(frame) == 1]


def energy_shift(shift):
    def plant(frames):
        k, = large(frames)
        frames[k].calc.results["energy"] += shift * len(frames[k])
        return [k]
    return plant


def energy_in_hartree(frames):
    k, = large(frames)
    frames[k].calc.results["energy"] /= 27.2114
    return [k]


def duplicate(frames):
    frames.append(copies([frames[large(frames)[0]]])[0])
    return [len(frames) - 1]


def duplicate_by_images(frames):
    """The same frame with atoms moved to other periodic images."""
    frames.append(copies([frames[large(frames)[0]]])[0])
    frames[-1].positions[::2] += frames[-1].cell.array[1] - frames[-1].cell.array[2]
    return [len(frames) - 1]


def duplicate_otherwise(frames):
    added = duplicate(frames)
    frames[-1].calc.results["energy"] += 0.02 * len(frames[-1])
    return added


def move_atom(distance):
    """The first atom put near the second one."""
    def plant(frames):
        k, = large(frames)
        direction = np.array([0.48, 0.6, 0.64])
        frames[k].positions[0] = frames[k].positions[1] + distance * direction / np.linalg.norm(direction)
        return [k]
    return plant


def net_force(frames):
    k, = large(frames)
    frames[k].calc.results["forces"][0] += [1.0, 0.5, 0.0]
    return [k]


def zero_forces(frames):
    found = large(frames, 3)
    for k in found:
        frames[k].calc.results["forces"][:] = 0.0
    return found


def missing_energy(frames):
    found = large(frames, 2)
    for k in found:
        del frames[k].calc.results["energy"]
    return found


def whole_energy(frames):
    k, = large(frames)
    frames[k].calc.results["energy"] = round(frames[k].calc.results["energy"])
    return [k]


def no_lattice(frames):
    k, = large(frames)
    frames[k].pbc = False
    frames[k].cell = None
    frames[k].info.pop("virial", None)
    frames[k].calc.results.pop("stress", None)
    return [k]


def periodic_without_cell(frames):
    found = no_lattice(frames)
    frames[found[0]].pbc = True
    return found


def mixed_energy(frames):
    found = large(frames, 4)
    for k in found:
        frames[k].info["REF_energy"] = frames[k].calc.results.pop("energy")
    return found


def mixed_forces(frames):
    found = large(frames, 4)
    for k in found:
        frames[k].arrays["dft_forces"] = frames[k].calc.results.pop("forces")
    return found


def mixed_virial(frames):
    found = large(frames, 4)
    for k in found:
        frames[k].info["dft_virial"] = frames[k].info.pop("virial")
    return found


def nan_energy(frames):
    k, = large(frames)
    frames[k].calc.results["energy"] = np.nan
    return [k]


def nan_force(frames):
    k, = large(frames)
    frames[k].calc.results["forces"][3, 1] = np.nan
    return [k]


def nan_virial(frames):
    k, = large(frames)
    frames[k].info["virial"] = np.reshape(frames[k].info["virial"], (3, 3)) * np.nan
    return [k]


PLANTED = {
    "virial sign": (scale_virials(-1.0), "error", "virials-units", "opposite sign"),
    "virial in Hartree": (scale_virials(1.0 / 27.2114), "error", "virials-units", "in Hartree instead of eV"),
    "virial over volume": (scale_virials("1/V"), "error", "virials-units", "not multiplied by the volume"),
    "minus virial over volume": (scale_virials("-1/V"), "error", "virials-units", "not multiplied by the volume, and of the"),
    "virial is pressure in GPa": (scale_virials("GPa/V"), "error", "virials-units", "not multiplied by the volume, and in GPa"),
    "stress in GPa": (stress(EV_A3_IN_GPA), "error", "virials-units", "in GPa"),
    "stress in kbar, VASP's sign": (stress(-10.0 * EV_A3_IN_GPA), "error", "virials-units", "in kbar instead of eV/A^3, and"),
    "stress sign": (stress(-1.0), "error", "virials-units", "opposite sign"),
    "stress against virial": (contradicting_stress, "error", "contradiction", "signs do not fit"),
    "forces are gradients": (scale_forces(-1.0), "error", "forces-units", "opposite sign"),
    "forces in Hartree/Bohr": (scale_forces(0.52917721 / 27.211386), "error", "forces-units", "Hartree/Bohr"),
    "forces in kcal/mol/A": (scale_forces(23.06), "error", "forces-units", "kcal/mol"),
    "isolated atoms missing": (no_isolated, "note", "isolated-missing", "no isolated atom of"),
    "isolated atom twice": (isolated_twice, "warning", "isolated-repeated", "2 isolated"),
    "isolated atoms contradict": (isolated_twice_otherwise, "error", "isolated-contradictory", "2 isolated"),
    "isolated atom, other key": (isolated_other_key, "error", "isolated-no-energy", "1 isolated atom without"),
    "isolated atom, other settings": (isolated_other_settings, "warning", "isolated-implausible", "bound by"),
    "energy too high": (energy_shift(12.0), "warning", "energy-out-of-line", "1 frame with"),
    "energy too low": (energy_shift(-5.0), "warning", "energy-out-of-line", "1 frame with"),
    "energy in Hartree": (energy_in_hartree, "warning", "energy-out-of-line", "1 frame with"),
    "duplicate": (duplicate, "warning", "duplicate", "1 frame that occurred before"),
    "duplicate, other images": (duplicate_by_images, "warning", "duplicate", "1 frame that occurred before"),
    "duplicate, other energy": (duplicate_otherwise, "error", "duplicate-contradictory", "another energy"),
    "close contact": (move_atom(0.6), "warning", "close-contact", "0.600 A apart"),
    "overlap": (move_atom(0.02), "error", "overlap", "0.02 A apart"),
    "net force": (net_force, "warning", "net-force", "do not add up"),
    "zero forces": (zero_forces, "error", "zero-forces", "all forces are zero in 3 frames"),
    "missing energy": (missing_energy, "warning", "energy-missing", "2 of"),
    "whole number": (whole_energy, "warning", "energy-whole-number", "1 frame"),
    "no lattice": (no_lattice, "warning", "no-lattice", "1 frame without lattice"),
    "periodic without cell": (periodic_without_cell, "error", "unusable", "periodic along"),
    "energies under two names": (mixed_energy, "error", "energy-mixed-keys", "'REF_energy' in 4 frames"),
    "forces under two names": (mixed_forces, "error", "forces-mixed-keys", "'dft_forces' in 4 frames"),
    "virials under two names": (mixed_virial, "error", "virial-mixed-keys", "'dft_virial' in 4 frames"),
    "energy not a number": (nan_energy, "error", "not-finite", "the energy (energy) is nan"),
    "force not a number": (nan_force, "error", "not-finite", "of atom 3"),
    "virial not a number": (nan_virial, "error", "not-finite", "the virial (virial)"),
}


@pytest.mark.parametrize("name", ["toy", "demo"])
@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found(tmp_path, sets, name, fault):
    frames = copies(sets[name])
    plant, severity, code, words = PLANTED[fault]
    where = plant(frames)
    result = checked(tmp_path, frames)
    found = [f for f in result.findings if f.code == code]
    assert len(found) == 1, [f.what for f in result.findings]
    assert found[0].severity == severity
    assert words in found[0].what
    if where is not None:
        assert set(where) == set(found[0].frames)
    assert result.status == {"error": 3, "warning": 1, "note": 0}[severity] or severity != "error"


@pytest.mark.parametrize("name", ["toy", "demo"])
def test_clean_data_have_nothing_but_notes(tmp_path, sets, name):
    result = checked(tmp_path, copies(sets[name]))
    assert serious(result) == {}
    assert result.status == 0
    assert {"forces-agree", "virials-agree"} <= set(notes(result))


def test_shipped_test_data_are_clean():
    result = check([DEMO / "si_test.xyz"])
    assert serious(result) == {}
    both = check([DEMO / "si_train.xyz", DEMO / "si_test.xyz"])
    assert serious(both) == {}
    assert notes(both)["isolated-repeated"].frames == (0, 71)  # once for training, once for test
    assert both.places.words((0, 71)).count("frame 0") == 2


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
                        (scale_virials(EV_A3_IN_GPA), "virials-implausible")):
        faulty = copies(frames)
        plant(faulty)
        finding = serious(checked(tmp_path, faulty))[code]
        assert finding.severity == "warning"
        assert "judged by plausibility" in finding.means


def test_cells_stretched_until_they_break_are_not_taken_for_a_wrong_sign(tmp_path):
    frames = volumes(0.95, 1.10)
    pressure = [np.trace(frame.info["virial"].reshape(3, 3)) / frame.get_volume() for frame in frames]
    assert np.corrcoef(pressure, [frame.get_volume() for frame in frames])[0, 1] > 0.7
    result = checked(tmp_path, frames)
    assert serious(result) == {}
    assert "sign is not checked" in notes(result)["virials-plausible"].means


def test_relaxed_symmetric_cells_may_have_zero_forces(tmp_path):
    frames = []
    for a in np.linspace(5.0, 5.9, 12):
        frames.append(labelled(bulk("Si", "diamond", a=a, cubic=True)))
        frames[-1].calc.results["forces"][:] = 0.0
    assert "zero-forces" not in serious(checked(tmp_path, frames))


def test_compressed_cells_are_not_out_of_line(tmp_path):
    frames = [labelled(bulk("Si", "diamond", a=a, cubic=True)) for a in np.linspace(3.6, 6.5, 30)]
    frames += toy_frames(30)
    assert serious(checked(tmp_path, frames)) == {}


def test_wrong_names_are_offered_the_right_ones(tmp_path, sets):
    frames = copies(sets["toy"])
    for frame in frames:
        frame.info["REF_energy"] = frame.calc.results.pop("energy")
        frame.arrays["REF_forces"] = frame.calc.results.pop("forces")
        frame.info["REF_virial"] = frame.info.pop("virial")
    result = checked(tmp_path, frames)
    for code, severity in (("energy-key", "error"), ("forces-key", "error"), ("virial-key", "warning")):
        assert serious(result)[code].severity == severity
        assert f"REF_{code.removesuffix('-key')}" in serious(result)[code].what
    right = checked(tmp_path, frames, energy_key="REF_energy", forces_key="REF_forces", virial_key="REF_virial")
    assert serious(right) == {}
    assert "forces-agree" in notes(right)


def test_names_beside_the_right_one_are_no_mixture(tmp_path, sets):
    frames = copies(sets["toy"])
    for frame in frames:
        frame.info["free_energy"] = 1.5
        frame.info["stress_kbar"] = np.arange(6.0)
    for frame in frames[2:6]:
        del frame.info["virial"]
    assert serious(checked(tmp_path, frames)) == {}


def test_what_cannot_be_read_is_a_finding_and_the_rest_is_looked_at(tmp_path, sets):
    frames = copies(sets["toy"])
    write(tmp_path / "good.xyz", frames, format="extxyz")
    frames[7].positions[2, 1] = np.nan
    write(tmp_path / "bad.xyz", frames, format="extxyz")
    (tmp_path / "empty.xyz").write_text("")
    result = check([tmp_path / "bad.xyz", tmp_path / "empty.xyz", tmp_path / "good.xyz"])
    messages = [f.what for f in result.findings if f.code == "unreadable"]
    assert len(messages) == 2
    assert "frame 7" in messages[0]
    assert "no structure" in messages[1]
    assert sum(row["frames"] for row in result.config_types.values()) == 7 + len(frames)
    with pytest.raises(InputError, match="cannot read the data file.*absent.xyz"):
        check([tmp_path / "absent.xyz"])
    with pytest.raises(InputError, match="expected the paths"):
        check([])


def test_a_frame_that_is_refused_keeps_its_good_quantities(tmp_path, sets):
    frames = copies(sets["toy"])
    contradicting_stress(frames)
    result = checked(tmp_path, frames)
    assert len(serious(result)["contradiction"].frames) == len(frames) - 2  # isolated atoms have no stress to speak of
    assert "virials-agree" in notes(result)  # the virial is right, the stress is not


# ---- the parts

def test_fingerprint_measures_small_displacements():
    rng = np.random.default_rng(0)
    cell = np.diag([8.0, 8.0, 8.0])
    s = rng.random((40, 3))
    for size in (1e-3, 3e-2):
        moves = [size * rng.standard_normal((40, 3)) for _ in range(50)]
        measured = [np.linalg.norm(fingerprint(s + move / 8.0) - fingerprint(s)) * length_scale(cell) for move in moves]
        assert np.sqrt(np.mean(np.square(measured))) == pytest.approx(size, rel=0.1)
    np.testing.assert_allclose(fingerprint(s + rng.integers(-2, 3, s.shape)), fingerprint(s), atol=1e-12)


def made_up(ratio, volume, n=40, noise=0.1, seed=1):
    rng = np.random.default_rng(seed)
    difference = rng.standard_normal(n)
    work = difference / ratio * np.exp(noise * rng.standard_normal(n))
    return Pairs(np.zeros((n, 2), int), difference, work, volume)


@pytest.mark.parametrize("name", STRESS_FAULTS)
def test_every_supposition_about_virials_is_recognised(name):
    volume = np.linspace(90.0, 400.0, 40)
    factor = STRESS_FAULTS[name]
    if isinstance(factor, str):
        sign, body = (-1.0, factor[1:]) if factor.startswith("-") else (1.0, factor)
        factor = sign * (volume if body == "V" else float(body.removesuffix("/V")) / volume)
    verdict = judge(made_up(1.0 / factor, volume), STRESS_FAULTS)
    assert verdict.clear
    assert not verdict.good
    assert name == verdict.names[0]


@pytest.mark.parametrize("name", FORCE_FAULTS)
def test_every_supposition_about_forces_is_recognised(name):
    verdict = judge(made_up(1.0 / FORCE_FAULTS[name], np.ones(40), noise=0.02), FORCE_FAULTS)
    assert verdict.clear
    assert name in verdict.names


def test_no_verdict_without_agreement():
    assert judge(made_up(1.0, np.ones(40)), STRESS_FAULTS).names == (EXPECTED,)
    noise = Pairs(np.zeros((60, 2), int), *np.random.default_rng(2).standard_normal((2, 60)), np.full(60, 120.0))
    assert not judge(noise, STRESS_FAULTS).clear
    assert not judge(made_up(1.0, np.ones(3), n=3), STRESS_FAULTS).clear


def test_suggestions(tmp_path, sets):
    suggestion = checked(tmp_path, copies(sets["demo"])).suggestion
    forces = np.concatenate([f.calc.results["forces"].ravel() for f in sets["demo"] if len(f) > 1])
    assert suggestion.scatter["force"] == pytest.approx(np.sqrt(np.mean(forces**2)), rel=1e-6)
    assert suggestion.default_sigma == (0.002, 0.05, 0.05)
    assert suggestion.n_sparse == {"Si": 550}
    assert [_rounded(x) for x in (0.0013, 0.0016, 0.03, 0.08, 1.0)] == [0.001, 0.002, 0.02, 0.1, 1.0]
    assert [_n_sparse(n) for n in (7, 100, 3003, 10**7)] == [7, 100, 550, 4000]


# ---- the command

def command(*arguments):
    """The command in this process: exit status, standard output, and the error if there was one."""
    app = typer.Typer()
    app.command()(check_command)
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.exception


def test_the_program(tmp_path):
    """Through the door that users take: registered, statuses 0 and 2, no colours in a pipe."""
    program = [sys.executable, "-m", "soapgap", "check"]
    clean = subprocess.run([*program, DEMO / "si_test.xyz"], capture_output=True, text=True, timeout=120)
    assert (clean.returncode, clean.stderr) == (0, "")
    assert "\x1b" not in clean.stdout
    assert "0 errors, 0 warnings" in clean.stdout
    absent = subprocess.run([*program, tmp_path / "absent.xyz"], capture_output=True, text=True, timeout=120)
    assert absent.returncode == 2
    assert absent.stderr.startswith("soapgap: cannot read the data file")


def test_statuses_lines_and_json(tmp_path, sets):
    status, output, _ = command(DEMO / "si_train.xyz", "--json", tmp_path / "clean.json")
    assert status == 0
    content = json.loads((tmp_path / "clean.json").read_text())
    assert (content["status"], content["species"]) == (0, {"Si": 3003})
    assert content["config_types"]["liquid"]["frames"] == 18
    assert f"default_sigma = {content['suggestion']['default_sigma']}" in output

    frames = copies(sets["demo"])
    k, = net_force(frames)
    write(tmp_path / "data.xyz", frames, format="extxyz")
    status, output, _ = command(tmp_path / "data.xyz")
    assert status == 1
    line, = [line for line in output.splitlines() if line.startswith("warning")]
    assert f"data.xyz frame {k}]" in line
    assert "0 errors, 1 warning" in output

    zero_forces(frames)
    write(tmp_path / "data.xyz", frames, format="extxyz")
    status, _, _ = command(tmp_path / "data.xyz", "--json", tmp_path / "bad.json")
    assert status == 3
    finding = next(f for f in json.loads((tmp_path / "bad.json").read_text())["findings"] if f["code"] == "zero-forces")
    assert finding["where"] == {str(tmp_path / "data.xyz"): large(sets["demo"], 3)}
    assert not list(tmp_path.glob(".*"))


def test_wrong_use(tmp_path, sets):
    write(tmp_path / "data.xyz", sets["toy"][:3], format="extxyz")
    before = (tmp_path / "data.xyz").read_bytes()
    _, _, error = command(tmp_path / "data.xyz", "--json", tmp_path / "data.xyz")
    assert isinstance(error, InputError)
    assert "one of the data files" in str(error)
    assert (tmp_path / "data.xyz").read_bytes() == before
    _, _, error = command(tmp_path / "data.xyz", "--json", tmp_path / "no" / "x.json")
    assert isinstance(error, InputError)
    assert command()[0] == 2


def test_json_has_no_nan(tmp_path):
    frame = Atoms("Si2", [[0, 0, 0], [0, 0, 2.3]])
    frame.calc = SinglePointCalculator(frame, energy=np.nan)
    result = checked(tmp_path, [frame])
    assert as_json(result)["status"] == 3
    write_json(tmp_path / "x.json", result)
    assert json.loads((tmp_path / "x.json").read_text())["config_types"]["default"]["energy_per_atom_eV"] == [None, None]
