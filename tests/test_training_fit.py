"""Whole fits: known answers, reproducibility, interruption, and failures that leave nothing behind."""

import json
import resource
import signal
import textwrap

import numpy as np
import pytest
from programs import run_python
from training_tools import E0, PAIR, SOAP, configuration, isolated, pair_energy, toy_frames, toy_potential, write_frames

from soapgap.errors import InputError
from soapgap.fitting import fit
from soapgap.learn.design import DesignMatrix
from soapgap.learn.state import load_state
from soapgap.model import Model, PairTerm, SoapTerm
from soapgap.potential import Potential


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with train.xyz, test.xyz (many-body toy potential, silicon) and pairs.xyz (its pair part alone)."""
    folder = tmp_path_factory.mktemp("data")
    write_frames(folder / "train.xyz", [isolated("Si"), *toy_frames(16, seed=1)])
    write_frames(folder / "test.xyz", toy_frames(5, seed=2))
    write_frames(folder / "pairs.xyz", [isolated("Si"), *toy_frames(12, seed=3, many_body=False)])
    return folder


def in_folder(folder, tmp_path, **changes):
    """A configuration that reads from `folder` and writes to `tmp_path`."""
    config = configuration(folder, **changes)
    config["output"] = str(tmp_path / "model.safetensors")
    return config


def test_the_toy_potential_is_consistent():
    """Its forces and virial are the derivatives of its energy, so that learning them is learning one function."""
    atoms = toy_frames(1, seed=30, species=("Si", "C"))[0]
    _, forces, virial = toy_potential(atoms)
    step, direction = 1e-4, np.random.default_rng(0).standard_normal((8, 3))
    strain = np.array([[0.3, 0.1, -0.2], [0.1, -0.4, 0.5], [-0.2, 0.5, 0.2]])
    energies, strained = [], []
    for h in (step, -step):
        moved = atoms.copy()
        moved.positions += h * direction
        energies.append(toy_potential(moved)[0])
        moved = atoms.copy()
        moved.set_cell(atoms.cell.array @ (np.eye(3) + h * strain), scale_atoms=True)
        strained.append(toy_potential(moved)[0])
    assert (energies[0] - energies[1]) / (2 * step) == pytest.approx(-np.sum(forces * direction), abs=1e-5)
    assert (strained[0] - strained[1]) / (2 * step) == pytest.approx(-np.sum(virial * strain), abs=1e-5)


def test_recovers_a_pair_potential(data, tmp_path):
    """Pair data, a pair kernel: unseen structures are predicted a thousand times better than they vary."""
    terms = [PAIR | {"n_sparse": 30, "theta": 0.5, "delta": 3.0}]
    config = in_folder(data, tmp_path, terms=terms, data={"train": str(data / "pairs.xyz")},
                       default_sigma=[1e-4, 1e-3, 1e-3])
    potential = Potential(fit(config, quiet=True, threads=1).model)
    for atoms in toy_frames(4, seed=9, many_body=False):
        energy, forces, virial = toy_potential(atoms, many_body=False)
        result = potential.compute(atoms)
        assert result.energy == pytest.approx(energy, abs=2e-3)
        np.testing.assert_allclose(result.forces, forces, rtol=0, atol=5e-3)
        np.testing.assert_allclose(result.virial, virial, rtol=0, atol=2e-2)
    (pair,) = [t for t in potential.model.terms if isinstance(t, PairTerm) and t.origin["kind"] == "distance_2b"]
    r = np.linspace(2.0, 3.9, 60)
    np.testing.assert_allclose(2.0 * pair.table.evaluate(r)[0][:, 0], pair_energy("Si", "Si", r), rtol=0, atol=2e-3)


def test_many_body_fit(data, tmp_path):
    """Pair and SOAP learn the many-body toy potential; the report's numbers are those of an independent evaluation."""
    config = in_folder(data, tmp_path, data={"test": str(data / "test.xyz")})
    result = fit(config, quiet=True, threads=1)
    kinds = [type(t).__name__ for t in result.model.terms]
    assert kinds == ["PairTerm", "SoapTerm", "PairTerm"]
    assert result.model.e0 == pytest.approx({"Si": E0["Si"]}, abs=1e-6)
    potential = Potential(tmp_path / "model.safetensors")
    frames = toy_frames(5, seed=2)
    reference = [toy_potential(atoms) for atoms in frames]
    results = [potential.compute(atoms) for atoms in frames]
    energy = np.array([(r.energy - e) / 8 for r, (e, _, _) in zip(results, reference, strict=True)]) * 1000
    force = np.concatenate([(r.forces - f).ravel() for r, (_, f, _) in zip(results, reference, strict=True)])
    errors = result.errors["test"]["all"]
    assert errors["energy"]["rmse"] == pytest.approx(np.sqrt(np.mean(energy**2)), rel=1e-4)
    assert errors["energy"]["mae"] == pytest.approx(np.mean(np.abs(energy)), rel=1e-4)
    assert errors["force"]["rmse"] == pytest.approx(np.sqrt(np.mean(force**2)), rel=1e-4)
    assert errors["force"]["n"] == 120
    assert errors["virial"]["n"] == 30
    spread = np.std(np.concatenate([f.ravel() for _, f, _ in reference]))
    assert errors["force"]["rmse"] < 0.05 * spread
    assert errors["energy"]["rmse"] < 5.0
    assert errors["virial"]["rmse"] < 20.0


def test_files_and_provenance(data, tmp_path):
    config = in_folder(data, tmp_path)
    result = fit(config, quiet=True, threads=1)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["model.safetensors" + end for end in ("", ".errors.json", ".fit", ".parity.png")]
    model = Model.load(tmp_path / "model.safetensors")
    provenance = model.provenance
    assert provenance["command"] == "soapgap.fit(config)"
    assert provenance["config"]["terms"][1]["n_max"] == SOAP["n_max"]
    assert "output" not in provenance["config"]
    assert provenance["errors"] == result.errors
    assert len(provenance["training_data"]["sha256"]) == 64
    assert provenance["training_data"]["force_components"] == 3 * 129
    written = json.loads((tmp_path / "model.safetensors.errors.json").read_text())
    assert written["errors"] == result.errors
    assert (tmp_path / "model.safetensors.parity.png").read_bytes()[:4] == b"\x89PNG"
    state = load_state(tmp_path / "model.safetensors.fit")
    assert (state.complete, state.n_done) == (True, 17)
    assert len(state.packed) == 55 * 56 // 2


def test_identical_fits_are_identical_files(data, tmp_path):
    """Byte for byte, whatever the number of threads."""
    contents = []
    for name, threads in (("a", 1), ("b", 1), ("c", 2)):
        folder = tmp_path / name
        folder.mkdir()
        fit(in_folder(data, folder), quiet=True, threads=threads)
        contents.append({p.name: p.read_bytes() for p in folder.iterdir() if p.suffix != ".png"})
    assert contents[0] == contents[1] == contents[2]
    assert len(contents[0]) == 3


def test_baseline_is_zero_on_the_data_and_subtracted_elsewhere(data, tmp_path):
    """The default baseline changes nothing on the training frames; one that reaches into the data is compensated."""
    terms = [PAIR | {"n_sparse": 30, "theta": 0.5, "delta": 3.0}]
    common = dict(terms=terms, data={"train": str(data / "pairs.xyz")}, default_sigma=[1e-4, 1e-3, 1e-3])
    models = {}
    for name, baseline in (("none", {"kind": "none"}), ("default", {}),
                           ("wide", {"pairs": {"Si-Si": {"inner": 1.6, "outer": 2.6}}})):
        models[name] = fit(in_folder(data, tmp_path, baseline=baseline, **common), quiet=True, threads=1).model
    train = toy_frames(12, seed=3, many_body=False)
    for atoms in train:
        none, default, wide = (Potential(models[name]).compute(atoms) for name in ("none", "default", "wide"))
        np.testing.assert_array_equal(none.forces, default.forces)
        assert none.energy == default.energy
        alone = Potential(models["default"].baseline()).compute(atoms)
        assert alone.energy == 0.0
        assert not alone.forces.any()
        assert wide.energy == pytest.approx(none.energy, abs=0.02)
    assert any(Potential(models["wide"].baseline()).compute(atoms).energy > 0.1 for atoms in train)


def test_subsets_of_observations_and_config_types(data, tmp_path):
    """Frames may have energies only, forces only, virials only; errors are told by config_type."""
    frames = toy_frames(12, seed=4)
    for k, atoms in enumerate(frames):
        atoms.info["config_type"] = ("e", "f", "w")[k % 3]
        keep = {"e": "energy", "f": "forces"}.get(atoms.info["config_type"])
        atoms.calc.results = {key: value for key, value in atoms.calc.results.items() if key == keep}
        if atoms.info["config_type"] != "w":
            del atoms.info["virial"]
    write_frames(tmp_path / "mixed.xyz", [isolated("Si"), *frames])
    config = in_folder(data, tmp_path, data={"train": str(tmp_path / "mixed.xyz"), "test": str(data / "test.xyz")})
    result = fit(config, quiet=True, threads=1)
    train = result.errors["train"]
    assert sorted(train) == ["all", "default", "e", "f", "w"]
    assert sorted(train["e"]) == ["energy"]
    assert sorted(train["f"]) == ["force"]
    assert sorted(train["w"]) == ["virial"]
    assert train["f"]["force"]["n"] == 96
    assert result.errors["test"]["all"]["force"]["rmse"] < 0.3


def test_wrong_sign_of_lone_virials_is_suspected(data, tmp_path):
    frames = toy_frames(10, seed=6)
    for atoms in frames:
        atoms.info["virial"] = -atoms.info["virial"]
    write_frames(tmp_path / "wrong.xyz", frames)
    config = in_folder(data, tmp_path, data={"train": str(tmp_path / "wrong.xyz")}, e0=E0 | {"C": 0.0},
                       default_sigma=[0.001, 0.01, 1.0])
    del config["e0"]["C"]
    result = fit(config, quiet=True, threads=1)
    assert any("opposite sign" in text for text in result.warnings)


def test_two_species(tmp_path):
    write_frames(tmp_path / "train.xyz", [isolated("Si"), isolated("C"), *toy_frames(24, seed=7, species=("Si", "C"))])
    write_frames(tmp_path / "test.xyz", toy_frames(4, seed=8, species=("Si", "C")))
    terms = [PAIR, SOAP | {"n_sparse": {"Si": 30, "C": 35}, "sparse_method": "fps"}]
    result = fit(in_folder(tmp_path, tmp_path, terms=terms, data={"test": str(tmp_path / "test.xyz")}), quiet=True,
                 threads=1)
    soaps = [t for t in result.model.terms if isinstance(t, SoapTerm)]
    assert [(t.centre, len(t.sparse_points)) for t in soaps] == [("C", 35), ("Si", 30)]
    assert result.model.e0 == pytest.approx({"C": E0["C"], "Si": E0["Si"]}, abs=1e-6)
    zbl = [t.species for t in result.model.terms if isinstance(t, PairTerm) and t.origin["kind"] == "zbl"]
    assert zbl == [("C", "C"), ("C", "Si"), ("Si", "Si")]
    forces = np.concatenate([toy_potential(a)[1].ravel() for a in toy_frames(4, seed=8, species=("Si", "C"))])
    assert result.errors["test"]["all"]["force"]["rmse"] < 0.2 * np.std(forces)


def test_too_many_sparse_points(data, tmp_path):
    result = fit(in_folder(data, tmp_path, terms=[SOAP | {"n_sparse": 5000}]), quiet=True, threads=1)
    assert len(result.model.terms[0].sparse_points) == 129
    assert any("only 129 environments of Si: n_sparse reduced from 5000" in text for text in result.warnings)


# ---- interruption -------------------------------------------------------------------------------------------------

KILLED = """
    import os, signal, sys
    from soapgap.fitting import fit
    from soapgap.fitting.pipeline import _Fit

    keep = _Fit._checkpoint
    def checkpoint(self, solver, n_done):
        keep(self, solver, n_done)
        os.kill(os.getpid(), signal.SIGKILL)
    _Fit._checkpoint = checkpoint
    import soapgap.learn.estimate as estimate
    estimate.BLOCK_ROWS = (100,)
    fit(sys.argv[1], threads=1, checkpoint_seconds=0.0)
"""


def toml(config) -> str:
    """A configuration as TOML (the few types that occur here)."""
    terms = config.pop("terms")
    data = config.pop("data")
    lines = [f"{key} = {json.dumps(value)}" for key, value in config.items()]
    lines += ["[data]", *(f"{key} = {json.dumps(value)}" for key, value in data.items())]
    for term in terms:
        lines += ["[[terms]]", *(f"{key} = {json.dumps(value)}" for key, value in term.items())]
    return "\n".join(lines) + "\n"


def test_resume_after_kill(data, tmp_path, monkeypatch):
    """Killed after the first block; the second run goes on from there and ends with the same bytes."""
    monkeypatch.setattr("soapgap.learn.estimate.BLOCK_ROWS", (100,))
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "fit.toml").write_text(toml(in_folder(data, tmp_path / name)))
    fit(tmp_path / "whole" / "fit.toml", quiet=True, threads=1)
    path = tmp_path / "killed" / "fit.toml"
    child = run_python("-c", textwrap.dedent(KILLED), path)
    assert child.status == -signal.SIGKILL, child.stderr
    assert sorted(p.name for p in path.parent.iterdir()) == ["fit.toml", "model.safetensors.fit"]
    state = load_state(path.parent / "model.safetensors.fit")
    assert (state.complete, 0 < state.n_done < 17) == (False, True)

    counted = []
    rows = DesignMatrix.rows
    monkeypatch.setattr(DesignMatrix, "rows",
                        lambda self, e, s, t: counted.append(s.where) or rows(self, e, s, t))
    result = fit(path, quiet=True, threads=1)
    assert len(set(counted[-(17 - state.n_done):])) == 17 - state.n_done
    assert not any("frame 1 " in where for where in counted[4:])  # after the four of the time estimate
    assert result.model.checksum == Model.load(tmp_path / "whole" / "model.safetensors").checksum
    for name in ("model.safetensors", "model.safetensors.fit"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()


def test_state_of_another_fit_is_not_used(data, tmp_path):
    config = in_folder(data, tmp_path)
    first = fit(config, quiet=True, threads=1)
    second = fit(config | {"seed": 1}, quiet=True, threads=1)
    assert first.model.checksum != second.model.checksum
    third = fit(config, quiet=True, threads=1, restart=True)
    assert first.model.checksum == third.model.checksum


# ---- failures -----------------------------------------------------------------------------------------------------

def test_full_disk(data, tmp_path):
    """One clear error, no half-written file."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, hard))
    try:
        with pytest.raises(InputError, match=r"cannot write .*model.safetensors.*no partial file remains"):
            fit(in_folder(data, tmp_path), quiet=True, threads=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert list(tmp_path.iterdir()) == []


def test_full_disk_while_checkpointing_is_only_a_warning(data, tmp_path, monkeypatch):
    import soapgap.learn.state as state_module

    monkeypatch.setattr("soapgap.learn.estimate.BLOCK_ROWS", (100,))
    write = state_module.write_atomically
    calls = []

    def full_at_first(path, content):
        calls.append(path)
        if len(calls) == 1:
            raise InputError(f"cannot write {path}: No space left on device")
        write(path, content)

    monkeypatch.setattr(state_module, "write_atomically", full_at_first)
    result = fit(in_folder(data, tmp_path), quiet=True, threads=1, checkpoint_seconds=0.0)
    assert any("no checkpoint: cannot write" in text for text in result.warnings)
    assert load_state(tmp_path / "model.safetensors.fit").complete


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"output": "absent/model.safetensors"}, "cannot write to the folder"),
        ({"data": {"train": "absent.xyz"}}, "cannot read the data file"),
        ({"data": {"energy_key": "dft_energy"}}, "no frame has 'dft_energy'"),
        ({"e0": {"Si": 0.0, "H": 1.0}}, "e0 names H"),
        ({"e0": {"Ge": 0.0}}, "e0 gives no energy for Si"),
        ({"default_sigma": [0.001, 0.0, 0.1]}, "force sigma is 0"),
        ({"terms": [PAIR | {"cutoff": 1.0}]}, r"terms\[0\]: no two atoms .* within cutoff = 1 A"),
        ({"terms": [SOAP | {"n_sparse": {"Ge": 10}}]}, r"terms\[0\].n_sparse names Ge"),
        ({"baseline": {"pairs": {"Si-O": {"outer": 1.0}}}}, 'baseline.pairs."Si-O"'),
    ],
)
def test_faults_leave_nothing_behind(data, tmp_path, changes, expected):
    config = configuration(data, **changes)
    config["output"] = str(tmp_path / changes.get("output", "model.safetensors"))
    with pytest.raises(InputError, match=expected):
        fit(config, quiet=True, threads=1)
    assert list(tmp_path.iterdir()) == []


def test_unknown_test_species(data, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    write_frames(tmp_path / "strange.xyz", toy_frames(1, species=("C",)))
    with pytest.raises(InputError, match="test data contain C"):
        fit(in_folder(data, folder, data={"test": str(tmp_path / "strange.xyz")}), quiet=True, threads=1)
    assert list(folder.iterdir()) == []


def test_command_line(data, tmp_path):
    """`soapgap fit fit.toml` in a folder: relative paths, the report, and one line for a mistake."""
    for name in ("train.xyz", "test.xyz"):
        (tmp_path / name).write_bytes((data / name).read_bytes())
    config = configuration(tmp_path, data={"train": "train.xyz", "test": "test.xyz"}, output="out.safetensors")
    (tmp_path / "fit.toml").write_text(toml(config))
    done = run_python("-m", "soapgap", "fit", tmp_path / "fit.toml", "--threads", "1", COLUMNS="120")
    assert done.status == 0, done.stderr
    assert done.stderr == ""
    for part in ("17 frames", "e0 (eV): Si -1.3", "estimate:", "of memory", "dimer scan", "meV/atom", "test",
                 "out.safetensors"):
        assert part in done.stdout, done.stdout
    assert Model.load(tmp_path / "out.safetensors").provenance["command"] == "soapgap fit fit.toml"
    (tmp_path / "bad.toml").write_text((tmp_path / "fit.toml").read_text().replace("n_max", "nmax"))
    bad = run_python("-m", "soapgap", "fit", tmp_path / "bad.toml", COLUMNS="120")
    assert bad.status == 2
    assert bad.stderr.count("\n") == 1
    assert "terms[1].nmax: unknown key; did you mean 'n_max'?" in bad.stderr


@pytest.mark.report
def test_a_fit_ends_with_its_report(data, tmp_path):
    """The page and its numbers lie beside the model and say what the result says."""
    result = fit(in_folder(data, tmp_path, data={"test": str(data / "test.xyz")}), quiet=True, threads=1)
    content = json.loads(result.files.report_data.read_text())
    assert content["errors"]["test"]["by_config_type"]["all"]["force"]["mae"] == pytest.approx(
        result.errors["test"]["all"]["force"]["mae"])
    assert content["condition"]["whole system"]["condition"] == result.conditions.system
    page = result.files.report.read_text()
    assert "sparse" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    fit(in_folder(data, tmp_path), quiet=True, threads=1, report=False)
    assert not result.files.report.exists()  # that of another fit would be
    assert not result.files.report_data.exists()
