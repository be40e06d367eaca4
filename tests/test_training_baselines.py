"""Given potentials as a baseline of a fit: LAMMPS, ASE and files, subtracted and kept in the model."""

import json

import numpy as np
import pytest
from ase import Atoms
from baseline_calculators import Dispersion, pair_sums
from lammps_tools import MEASURE, header, lmp_ok, measured, write_data
from training_tools import E0, PAIR, SOAP, configuration, isolated, observed, toy_frames, toy_potential, write_columns

from soapgap.config import read_config
from soapgap.errors import InputError
from soapgap.fitting import fit
from soapgap.learn.baseline.baseline import dimer_scan
from soapgap.learn.baseline.baseline_potentials import read_potentials
from soapgap.learn.problem import read_problem
from soapgap.model import Model, SoapTerm
from soapgap.model.external import External, potential_from_json
from soapgap.model.external.permission import VARIABLE
from soapgap.potential import Potential
from soapgap.quip import write_quip
from soapgap.say import Reporter

SPECIES = ("C", "Si")
EPSILON, SIGMA, CUTOFF = 0.02, 2.6, 6.0
LJ = {"kind": "lammps", "pair_style": "lj/smooth/linear 6.0", "pair_coeff": ["* * 0.02 2.6"]}
DISPERSION = {"kind": "ase", "calculator": "baseline_calculators:Dispersion", "arguments": {"c6": 8.0, "cutoff": 5.5}}


def lennard_jones(first, second, r):
    """lj/smooth/linear: the force is shifted to zero at the cutoff, and the energy with it."""
    def plain(x):
        s = (SIGMA / x) ** 6
        return 4 * EPSILON * (s * s - s), 4 * EPSILON * (6 * s - 12 * s * s) / x

    (value, slope), (end, end_slope) = plain(r), plain(CUTOFF)
    return value - end - (r - CUTOFF) * end_slope, slope - end_slope


def dispersion(first, second, r):
    return Dispersion(8.0, cutoff=5.5).pair(first, second, r)


def added(frame, *functions):
    """A frame whose observations also contain these pair potentials."""
    frame = frame.copy()
    for function, cutoff in functions:
        energy, forces, virial, energies = pair_sums(frame, cutoff, function)
        if "energy" in frame.info:
            frame.info["energy"] += energy
        if "virial" in frame.info:
            frame.info["virial"] = np.ravel(frame.info["virial"]) + virial.ravel()
        if "forces" in frame.arrays:
            frame.arrays["forces"] = frame.arrays["forces"] + forces
        if "local_energy" in frame.arrays:
            frame.arrays["local_energy"] = frame.arrays["local_energy"] + energies
    return frame


def both(frame):
    return added(frame, (lennard_jones, CUTOFF), (dispersion, 5.5))


def plain(frames, *kinds):
    return [observed(atoms, *(kinds or ("energy", "forces", "virial"))) for atoms in frames]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """train.xyz, test.xyz: toy potential, Lennard-Jones and dispersion; toy.xyz: the toy potential alone."""
    folder = tmp_path_factory.mktemp("data")
    frames = [*plain([isolated(s) for s in SPECIES], "energy"), *plain(toy_frames(14, seed=1, species=SPECIES))]
    test = plain(toy_frames(4, seed=2, species=SPECIES))
    for name, chosen in (("toy", frames), ("toy_test", test)):
        write_columns(folder / f"{name}.xyz", chosen)
        write_columns(folder / f"{name.replace('toy', 'train').replace('train_test', 'test')}.xyz", [both(f) for f in chosen])
    return folder


def config(data, tmp_path, train="train", test="test", **changes):
    baseline = {"kind": "none", "potentials": [LJ, DISPERSION]} if "baseline" not in changes else changes.pop("baseline")
    return configuration(data, **changes) | {
        "output": str(tmp_path / "model.safetensors"), "baseline": baseline,
        "data": {"train": str(data / f"{train}.xyz"), "test": str(data / f"{test}.xyz")}}


def problem(content, folder="."):
    settings, here, _ = read_config(content)
    return read_problem(settings, here, Reporter(True))


# ---- what remains --------------------------------------------------------------------------------------------------------

def test_what_remains_is_the_rest(data, tmp_path):
    """Targets of the data with Lennard-Jones and dispersion, less both, are those of the toy potential, to rounding.

    Single pairs reach some 100 eV/A and 10^4 eV/A^2, so that the last digit of a position is 1e-11 eV/A.
    """
    whole = problem(config(data, tmp_path))
    rest = problem(config(data, tmp_path, "toy", "toy_test", baseline={"kind": "none"}))
    assert whole.e0 == pytest.approx(rest.e0, abs=1e-12)
    for one, two in zip(whole.targets, rest.targets, strict=True):
        if "force" in one:
            assert one["energy"] == pytest.approx(two["energy"], abs=1e-12)
            np.testing.assert_allclose(one["force"], two["force"], rtol=0, atol=1e-11)
            np.testing.assert_allclose(one["virial"], two["virial"], rtol=0, atol=1e-11)


def test_data_that_are_the_baseline_leave_nothing(tmp_path):
    """Frames without anything but e0 and the potentials: all targets are zero to rounding."""
    frames = [Atoms(f.symbols, f.positions, cell=f.cell, pbc=True) for f in toy_frames(3, seed=4, species=SPECIES)]
    for atoms in frames:
        atoms.info |= {"energy": sum(E0[s] for s in atoms.symbols), "virial": np.zeros(9)}
        atoms.arrays["forces"] = np.zeros((8, 3))
    write_columns(tmp_path / "train.xyz", [both(f) for f in frames])
    write_columns(tmp_path / "test.xyz", [both(f) for f in frames])
    for target in problem(config(tmp_path, tmp_path, e0=E0)).targets:
        assert abs(target["energy"]) < 1e-12
        assert max(np.abs(target["force"]).max(), np.abs(target["virial"]).max()) < 1e-12


def test_energies_of_atoms_and_curvatures(tmp_path):
    """Both are subtracted, too; curvatures as the same differences as those of the model."""
    frames = plain(toy_frames(3, seed=5, species=SPECIES), "local_energy", "curvature", "forces")
    write_columns(tmp_path / "toy.xyz", frames)
    settings = {"e0": E0, "default_sigma": [0.001, 0.01, 0.01, 0.1],
                "data": {"train": str(tmp_path / "toy.xyz"), "energy_key": ""}}
    whole = problem(configuration(tmp_path, **settings) | {"baseline": {"kind": "none", "potentials": [LJ, DISPERSION]}})
    rest = problem(configuration(tmp_path, **settings) | {"baseline": {"kind": "none"}})
    for frame, structure, one, two in zip(frames, whole.train.structures, whole.targets, rest.targets, strict=True):
        part = [pair_sums(frame, CUTOFF, lennard_jones), pair_sums(frame, 5.5, dispersion)]
        np.testing.assert_allclose(two["local_energy"] - one["local_energy"], part[0][3] + part[1][3], rtol=0, atol=1e-12)
        for k, direction in enumerate(structure.directions):
            slopes = []
            for step in (0.01, -0.01):
                moved = frame.copy()
                moved.positions += step * direction
                forces = pair_sums(moved, CUTOFF, lennard_jones)[1] + pair_sums(moved, 5.5, dispersion)[1]
                slopes.append(-np.sum(forces * direction))
            assert (two["curvature"] - one["curvature"])[k] == pytest.approx((slopes[0] - slopes[1]) / 0.02, abs=1e-9)


# ---- whole fits ----------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def fits(data, tmp_path_factory):
    """The fit with the potentials, what it printed, and the fit of the toy potential alone."""
    folder, other = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("rest")
    whole = fit(config(data, folder), threads=1, quiet=True)
    rest = fit(config(data, other, "toy", "toy_test", baseline={"kind": "none"}), threads=1, quiet=True)
    return whole, rest, folder


def test_a_fit_with_potentials_is_the_fit_of_the_rest_plus_the_potentials(fits, data):
    whole, rest, folder = fits
    potential, own = Potential(folder / "model.safetensors", allow_external=True), Potential(rest.model)
    for atoms in toy_frames(3, seed=7, species=SPECIES):
        parts = [pair_sums(atoms, CUTOFF, lennard_jones), pair_sums(atoms, 5.5, dispersion)]
        got, expected = potential.compute(atoms), own.compute(atoms)
        assert got.energy == pytest.approx(expected.energy + parts[0][0] + parts[1][0], abs=1e-7)
        np.testing.assert_allclose(got.forces, expected.forces + parts[0][1] + parts[1][1], rtol=0, atol=1e-7)
        np.testing.assert_allclose(got.virial, expected.virial + parts[0][2] + parts[1][2], rtol=0, atol=1e-7)
        np.testing.assert_allclose(got.energies, expected.energies + parts[0][3] + parts[1][3], rtol=0, atol=1e-7)


def test_errors_are_those_of_the_whole_model(fits, data):
    """The table of errors is that of predictions with the potentials, made independently here."""
    whole, rest, folder = fits
    for quantity in ("energy", "force", "virial"):
        for label in ("train", "test"):
            expected = rest.errors[label]["all"][quantity]
            assert whole.errors[label]["all"][quantity]["rmse"] == pytest.approx(expected["rmse"], rel=1e-4)
    potential = Potential(whole.model)
    frames = [both(f) for f in plain(toy_frames(4, seed=2, species=SPECIES))]
    wrong = np.concatenate([(potential.compute(f).forces - f.arrays["forces"]).ravel() for f in frames])
    assert whole.errors["test"]["all"]["force"]["rmse"] == pytest.approx(np.sqrt(np.mean(wrong**2)), rel=1e-6)


def test_what_is_written_and_printed(fits, data, tmp_path, capsys):
    whole, _, folder = fits
    model = Model.load(folder / "model.safetensors")
    assert [p.kind for p in model.external] == ["lammps", "ase"]
    lines = (folder / "model.safetensors.lammps.in").read_text()
    assert "pair_style hybrid/overlay soapgap lj/smooth/linear 6.0\npair_coeff * * soapgap model.safetensors C Si\n" in lines
    assert "# MISSING: ASE calculator baseline_calculators:Dispersion" in lines
    assert model.provenance["config"]["baseline"]["potentials"] == [LJ, DISPERSION]
    fit(config(data, tmp_path), threads=1)
    shown = capsys.readouterr().out
    frames = toy_frames(14, seed=1, species=SPECIES)
    forces = [pair_sums(f, CUTOFF, lennard_jones)[1].ravel() for f in frames] + [np.zeros(6)]
    rms = np.sqrt(np.mean(np.concatenate(forces) ** 2))
    assert f"baseline, pair_style lj/smooth/linear 6.0: rms force {rms:.4g} eV/A in the training data" in shown
    assert "baseline, ASE calculator baseline_calculators:Dispersion: rms force" in shown
    assert (tmp_path / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_the_written_lines_run_in_lammps(data, tmp_path):
    """`soapgap fit` leaves lines with which LAMMPS has the whole model."""
    fit(config(data, tmp_path, baseline={"potentials": [LJ]}), threads=1, quiet=True)
    atoms = toy_frames(1, seed=12, species=SPECIES)[0]
    atoms.set_cell(atoms.cell.standard_form()[0], scale_atoms=True)
    write_data(tmp_path / "data.lammps", atoms, list(SPECIES))
    lmp_ok(tmp_path, header() + (tmp_path / "model.safetensors.lammps.in").read_text() + MEASURE)
    got, expected = measured(tmp_path), Potential(tmp_path / "model.safetensors").compute(atoms)
    assert got.energy == pytest.approx(expected.energy, abs=1e-8)
    np.testing.assert_allclose(got.forces, expected.forces, rtol=0, atol=1e-8)


def test_fits_without_potentials_are_as_they_were(data, tmp_path):
    """Not a byte of configuration or model says anything of potentials."""
    result = fit(config(data, tmp_path, baseline={}), threads=1, quiet=True)
    assert "potentials" not in json.dumps(result.model.provenance)
    assert b"external" not in (tmp_path / "model.safetensors").read_bytes()
    assert not (tmp_path / "model.safetensors.lammps.in").exists()


# ---- charges -------------------------------------------------------------------------------------------------------------

def test_charges_in_periodic_boxes_shift_single_atoms(data, tmp_path, capsys):
    """A charged atom alone in a periodic box has an energy; e0 would take it up, and a warning says so."""
    coulomb = {"kind": "lammps", "pair_style": "coul/long 6.0", "pair_coeff": ["* *"],
               "commands": ["kspace_style ewald 1e-6", "set type C charge -0.3", "set type Si charge 0.3"]}
    settings, folder, _ = read_config(config(data, tmp_path, baseline={"potentials": [coulomb]}))
    say = Reporter(True)
    found = read_problem(settings, folder, say)
    assert any("from its periodic images" in warning for warning in say.warnings)
    # -2.837297 q^2 e^2 / (2 L): a point charge in a neutralising background
    expected = -2.837297 * 0.09 * 14.399645 / 40.0
    assert found.e0["Si"] - E0["Si"] == pytest.approx(-expected, rel=1e-3)


def test_the_dimer_scan_sees_external_potentials():
    """A model that repels, with charges that attract: the scan finds it, in a large periodic cube, as Ewald sums need one."""
    from soapgap.config.baseline import BaselineConfig
    from soapgap.learn.baseline.baseline import baseline_terms
    from soapgap.model.external import LammpsPotential

    ends = {("C", "C"): 1.6, ("C", "Si"): 1.8, ("Si", "Si"): 2.2}
    terms = baseline_terms(BaselineConfig(), SPECIES, ends)
    charges = ("kspace_style ewald 1e-6", "set type C charge -2", "set type Si charge 2")
    alone = Model(list(SPECIES), E0, terms)
    assert dimer_scan(alone, ends) == dict.fromkeys(ends)
    charged = Model(list(SPECIES), E0, terms, external=[LammpsPotential("coul/long 8.0", ("* *",), charges)])
    found = dimer_scan(charged, ends, n_points=40)
    assert found["C", "C"] is None
    assert found["C", "Si"][1] == pytest.approx(1.8)


# ---- files ---------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def earlier(data, tmp_path_factory):
    """A model of the toy data, its file and the same as a potential of QUIP."""
    folder = tmp_path_factory.mktemp("earlier")
    content = configuration(data, terms=(PAIR, SOAP | {"radial_basis": "equispaced"}), exact=True)
    content |= {"output": str(folder / "old.safetensors"), "baseline": {"kind": "none"}}
    content["data"] = {"train": str(data / "toy.xyz")}
    model = fit(content, threads=1, quiet=True).model
    write_quip(model, folder / "old.xml")
    return model, folder


@pytest.mark.parametrize("name", ["old.safetensors", "old.xml"])
@pytest.mark.parametrize("e0", ["isolated", "fit", E0])
def test_a_file_as_baseline(earlier, tmp_path, name, e0):
    """Data that a model made are explained by it: nothing is left, whatever becomes of e0, which counts once."""
    model, folder = earlier
    potential = Potential(model)
    frames = []
    for atoms in [Atoms(s, cell=[20.0] * 3, pbc=True) for s in SPECIES] + toy_frames(4, seed=21, species=SPECIES):
        bare = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
        result = potential.compute(bare)
        bare.info |= {"energy": result.energy, "virial": result.virial.ravel()}
        bare.arrays["forces"] = result.forces
        frames.append(bare)
    write_columns(tmp_path / "train.xyz", frames)
    given = model.e0 if e0 == E0 else e0
    content = configuration(tmp_path, e0=given) | {
        "baseline": {"kind": "none", "potentials": [{"kind": "file", "file": str(folder / name)}]}}
    found = problem(content)
    for target in found.targets:
        assert abs(target["energy"]) < 1e-9
        assert max(np.abs(target["force"]).max(), np.abs(target["virial"]).max()) < 1e-9
    assert found.e0 == pytest.approx(model.e0, abs=1e-9)


def test_a_fit_over_a_file(data, earlier, tmp_path):
    """Terms of the file become terms of the new model; the sum is better than the file alone on what it did not know."""
    model, folder = earlier
    baseline = {"kind": "none", "potentials": [{"kind": "file", "file": str(folder / "old.safetensors")}]}
    result = fit(config(data, tmp_path, baseline=baseline, terms=(PAIR,)), threads=1, quiet=True)
    assert result.model.external == []
    assert len([t for t in result.model.terms if isinstance(t, SoapTerm)]) == 2
    frames = [both(f) for f in plain(toy_frames(4, seed=2, species=SPECIES))]

    def rms(potential):
        return np.sqrt(np.mean([np.mean((potential.compute(f).forces - f.arrays["forces"]) ** 2) for f in frames]))

    new = rms(Potential(tmp_path / "model.safetensors"))
    assert new < 0.5 * rms(Potential(model))
    assert result.errors["test"]["all"]["force"]["rmse"] == pytest.approx(new, rel=1e-6)


def test_the_content_of_a_file_belongs_to_the_fit(data, earlier, tmp_path):
    """A resumed fit must not take a baseline file that has changed for the old one."""
    (tmp_path / "base.safetensors").write_bytes((earlier[1] / "old.safetensors").read_bytes())
    content = config(data, tmp_path, baseline={"potentials": [{"kind": "file", "file": str(tmp_path / "base.safetensors")}]})
    before = problem(content).identity()
    assert problem(content).identity() == before
    Model(list(SPECIES), E0, []).save(tmp_path / "base.safetensors")
    assert problem(content).identity() != before


# ---- faults --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("table", "words"), [
    ({}, r"baseline.potentials\[0\]: kind: this key is missing"),
    ({"kind": "gromacs"}, "kind: got 'gromacs', expected \"lammps\", \"ase\" or \"file\""),
    ({"kind": "lammps", "pair_stile": "x", "pair_coeff": []}, "pair_stile: unknown key.*did you mean 'pair_style'"),
    (LJ | {"files": {}}, "files: unknown key"),
    ({"kind": "file"}, "file: got None, expected the name"),
    ({"kind": "file", "fil": "x"}, "fil: unknown key.*did you mean 'file'"),
    ({"kind": "file", "file": "nowhere.safetensors"}, r"baseline.potentials\[0\]: .*nowhere.safetensors"),
    ({"kind": "file", "file": "nowhere.xml"}, r"baseline.potentials\[0\]: .*nowhere.xml"),
    (LJ | {"pair_coeff": ["Si Si 0.1 2.0"]}, r"baseline.potentials\[0\]: .*no pair_coeff for C-C, C-Si"),
    (LJ | {"pair_style": "lj/smoth 6.0"}, "no such pair style; names near it: lj/smooth"),
    (LJ | {"pair_coeff": ["* * 0.1 two"]}, "frame 0 .*LAMMPS refuses pair_style"),
    (DISPERSION | {"calculator": "nowhere:Dispersion"}, "No module named 'nowhere'"),
    (DISPERSION | {"calculator": "baseline_calculators:WithoutStress"}, "frame 2 .*the data have a virial.*gives no stress"),
    (DISPERSION | {"calculator": "baseline_calculators:Broken"}, "frame 0 .*RuntimeError: no licence"),
])
def test_faults_are_one_clear_error_before_anything_is_written(data, tmp_path, table, words):
    with pytest.raises(InputError, match=words):
        fit(config(data, tmp_path, baseline={"potentials": [table]}), quiet=True, threads=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("baseline", "words"), [
    ({"potentials": "x"}, r"baseline.potentials: got 'x', expected tables"),
    ({"potentials": ["x"]}, r"baseline.potentials\[0\]: got 'x', expected a table"),
    ({"potentals": []}, "did you mean 'potentials'"),
])
def test_tables_of_the_wrong_form(data, tmp_path, baseline, words):
    with pytest.raises(InputError, match=words):
        read_config(config(data, tmp_path, baseline=baseline))


def test_energies_of_atoms_need_a_potential_that_shares_its_energy(tmp_path):
    write_columns(tmp_path / "train.xyz", plain(toy_frames(2, seed=5, species=SPECIES), "local_energy", "forces"))
    table = DISPERSION | {"calculator": "baseline_calculators:WithoutStress"}
    content = configuration(tmp_path, e0=E0, data={"energy_key": ""}) | {"baseline": {"potentials": [table]}}
    with pytest.raises(InputError, match="the data have energies of atoms.*does not say how"):
        problem(content)


@pytest.mark.parametrize(("species", "words"), [
    (["C", "H", "Si"], "is a potential for C, Si, and the data contain H"),
    (["Si"], "also knows C, of which the data have none"),
])
def test_a_file_for_other_elements(earlier, tmp_path, species, words):
    baseline = {"potentials": [{"kind": "file", "file": "old.safetensors"}]}
    settings, _, _ = read_config(configuration(tmp_path) | {"baseline": baseline})
    with pytest.raises(InputError, match=words):
        read_potentials(settings.baseline, species, earlier[1])


def test_what_the_user_named_runs_and_the_same_in_a_model_file_does_not(data, tmp_path, monkeypatch):
    """The user's configuration lets its own potentials run, and nothing else that comes into the same process."""
    monkeypatch.delenv(VARIABLE, raising=False)
    settings, _, _ = read_config(config(data, data))
    named = read_potentials(settings.baseline, list(SPECIES), data).external
    assert External(named, list(SPECIES))
    model = Model(list(SPECIES), E0, [], {}, named)
    assert Potential(model).external
    model.save(tmp_path / "foreign.safetensors")
    for foreign in (tmp_path / "foreign.safetensors", Model.load(tmp_path / "foreign.safetensors")):
        with pytest.raises(InputError, match="run code of baseline_calculators"):
            Potential(foreign)
    with pytest.raises(InputError, match="run code of baseline_calculators"):
        External([potential_from_json(DISPERSION)], list(SPECIES))
    with pytest.raises(InputError, match="named_in: unknown key"):
        potential_from_json(DISPERSION | {"named_in": str(tmp_path)})
    with pytest.raises(InputError, match="named_in: unknown key"):
        read_config(config(data, data, baseline={"potentials": [DISPERSION | {"named_in": "."}]}))


def test_the_toy_data_are_what_they_should_be(data):
    """The reference here, the pair sums, agree with LAMMPS and the calculator."""
    atoms = toy_frames(1, seed=3, species=SPECIES)[0]
    settings, _, _ = read_config(config(data, data))
    external = External(read_potentials(settings.baseline, list(SPECIES), data).external, list(SPECIES), allow=True)
    got = external.compute(atoms)
    parts = [pair_sums(atoms, CUTOFF, lennard_jones), pair_sums(atoms, 5.5, dispersion)]
    np.testing.assert_allclose(got.forces, parts[0][1] + parts[1][1], rtol=0, atol=1e-12)
    assert toy_potential(atoms)[0] != pytest.approx(got.energy, abs=0.1)
