"""Fits to local energies, curvatures and files of different weight: what they learn, interruption, mistakes."""

import json
import signal
import textwrap

import numpy as np
import pytest
from programs import run_python
from test_training_fit import KILLED, toml
from training_tools import (
    ANGLE,
    DISTANCES,
    E0,
    PAIR,
    SOAP,
    configuration,
    isolated_energy,
    observed,
    silicon,
    toy_contributions,
    toy_curvature,
    toy_frames,
    write_columns,
)

from soapgap.config import read_config
from soapgap.config.data import DataConfig
from soapgap.data.dataset import read_dataset
from soapgap.fitting import fit
from soapgap.learn.errors import compare
from soapgap.learn.estimate import estimate, seconds_of
from soapgap.learn.problem import Problem, pose
from soapgap.learn.state import load_state
from soapgap.potential import Potential
from soapgap.say import Reporter

SMALL_SOAP = SOAP | {"n_sparse": 25}
SIGMA = [0.001, 0.01, 0.01, 0.05]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Training sets of different kinds, and a test set with everything."""
    folder = tmp_path_factory.mktemp("data")
    for name, kinds in (("energies", ["energy"]), ("forces", ["energy", "forces"]), ("local", ["local_energy"]),
                        ("curved", ["energy", "curvature"])):
        write_columns(folder / f"{name}.xyz", [isolated_energy(), *silicon(8, 1, *kinds)])
    write_columns(folder / "all.xyz", silicon(5, 2, "energy", "forces", "virial", "local_energy", "curvature"))
    mixed = [isolated_energy(), *silicon(4, 3, "energy", "forces", "virial"), *silicon(4, 4, "local_energy", "forces"),
             *silicon(4, 5, "energy", "forces", "curvature")]
    mixed[6].arrays["local_property_mask"] = np.arange(8) < 5
    mixed[7].info["local_energy_sigma"] = 0.01
    mixed[9].info["hessian_sigma"] = 0.2
    write_columns(folder / "mixed.xyz", mixed)
    return folder


def run(folder, tmp_path, train, **changes):
    """A fit to folder/<train>.xyz (or the entries given), tested on folder/all.xyz."""
    files = str(folder / f"{train}.xyz") if isinstance(train, str) else train
    keys = {"train": files, "test": str(folder / "all.xyz"), "forces_key": "forces", "energy_and_local_energy": True}
    keys |= changes.pop("data", {})
    content = configuration(folder, terms=changes.pop("terms", [PAIR, SMALL_SOAP]), data=keys, default_sigma=SIGMA)
    content["output"] = str(tmp_path / "model.safetensors")
    threads = changes.pop("threads", 1)
    return fit(content | changes, quiet=True, threads=threads)


def rmse(result, quantity, of="test"):
    return result.errors[of]["all"][quantity]["rmse"]


# ---- what is learnt --------------------------------------------------------------------------------------------------

def no_forces(**more):
    return {"forces_key": ""} | more


@pytest.mark.parametrize("terms", [[PAIR, SMALL_SOAP], [PAIR, ANGLE], [PAIR, DISTANCES]], ids=["soap", "angle", "distances"])
def test_local_energies_are_learnt(data, tmp_path, terms):
    """Eight frames: with the energies of all atoms, those of other frames come out better than with the sums alone."""
    sums = run(data, tmp_path, "energies", terms=terms, data=no_forces())
    atoms = run(data, tmp_path, "local", terms=terms, data=no_forces(), e0={"Si": E0["Si"]})
    assert rmse(atoms, "local_energy") < 0.5 * rmse(sums, "local_energy")
    assert atoms.errors["test"]["all"]["local_energy"]["n"] == 40
    assert rmse(atoms, "local_energy", "train") < rmse(atoms, "local_energy")


@pytest.mark.parametrize("terms", [[PAIR, SMALL_SOAP], [PAIR, ANGLE], [PAIR, DISTANCES]], ids=["soap", "angle", "distances"])
def test_curvatures_are_learnt(data, tmp_path, terms):
    without = run(data, tmp_path, "energies", terms=terms, data=no_forces())
    with_them = run(data, tmp_path, "curved", terms=terms, data=no_forces())
    assert rmse(with_them, "curvature") < 0.5 * rmse(without, "curvature")
    assert with_them.errors["train"]["all"]["curvature"]["n"] == 24


def test_a_wide_baseline_is_taken_into_account(data, tmp_path):
    """A baseline that reaches into the data: what it adds there is taken away again by the fit, to less than one per cent."""
    wide = {"pairs": {"Si-Si": {"inner": 1.6, "outer": 2.6}}}
    for train, quantity, unit in (("local", "local_energy", 1000.0), ("curved", "curvature", 1.0)):
        result = run(data, tmp_path, train, data=no_forces(), e0={"Si": E0["Si"]}, baseline=wide)
        keys = DataConfig(train="x", energy_key="", forces_key="")
        structures = read_dataset([str(data / f"{train}.xyz")], keys).structures
        alone = compare(result.model.baseline(), structures)[quantity].predicted
        assert rmse(result, quantity, "train") < 0.01 * unit * np.sqrt(np.mean(alone**2))


def test_errors_are_those_of_the_potential(data, tmp_path, capsys):
    """Local energies and curvatures of the table, from an independent evaluation; the printed and the written report."""
    result = run(data, tmp_path, "mixed", terms=[PAIR, SMALL_SOAP, DISTANCES])
    potential = Potential(tmp_path / "model.safetensors")
    local, curved = [], []
    for k, atoms in enumerate(toy_frames(5, seed=2)):
        local.append(potential.compute(atoms).energies - toy_contributions(atoms)[0])
        rng = np.random.default_rng(k)
        for _ in range(3):
            e = rng.normal(size=(8, 3))
            e /= np.linalg.norm(e)
            ends = []
            for step in (1e-2, -1e-2):
                moved = atoms.copy()
                moved.positions += step * e
                ends.append(-np.sum(potential.compute(moved).forces * e))
            curved.append((ends[0] - ends[1]) / 2e-2 - toy_curvature(atoms, e))
    assert rmse(result, "local_energy") == pytest.approx(1000 * np.sqrt(np.mean(np.square(local))), rel=1e-6)
    assert rmse(result, "curvature") == pytest.approx(np.sqrt(np.mean(np.square(curved))), rel=1e-6)
    train = result.errors["train"]["all"]
    assert (train["local_energy"]["n"], train["curvature"]["n"]) == (8 * 3 + 5, 12)
    written = json.loads((tmp_path / "model.safetensors.errors.json").read_text())
    assert written["errors"] == result.errors
    assert (written["units"]["local_energy"], written["units"]["curvature"]) == ("meV", "eV/A^2")
    assert (written["training"]["local_energies"], written["training"]["curvatures"]) == (29, 12)
    result = fit(configuration(data, terms=[PAIR], default_sigma=SIGMA, output=str(tmp_path / "two"),
                               data={"train": str(data / "mixed.xyz")}), threads=1)
    text = capsys.readouterr().out
    for part in ("29 local energies, 12 curvatures", "curvature", "eV/A^2", "local", "meV"):
        assert part in text, text


# ---- weights ---------------------------------------------------------------------------------------------------------

def test_weight_two_is_the_file_twice(data, tmp_path):
    """In the linear system and in a fitted e0; the weights of other files stay."""
    write_columns(tmp_path / "rest.xyz", silicon(3, 9, "energy", "forces"))
    rest, mixed = str(tmp_path / "rest.xyz"), str(data / "mixed.xyz")
    found = {}
    for name, train in (("twice", [rest, mixed, mixed]), ("weight", [rest, {"file": mixed, "weight": 2.0}]),
                        ("once", [rest, mixed])):
        found[name] = Potential(run(data, tmp_path, train, e0="fit").model)
    largest = {}
    for atoms in toy_frames(3, seed=10):
        results = {name: potential.compute(atoms) for name, potential in found.items()}
        for name in ("weight", "once"):
            difference = [abs(results[name].energy - results["twice"].energy),
                          np.abs(results[name].forces - results["twice"].forces).max()]
            largest[name] = np.maximum(largest.get(name, 0.0), difference)
    assert largest["weight"].max() < 1e-8
    assert largest["once"].min() > 1e-4


# ---- interruption ----------------------------------------------------------------------------------------------------

def every_kind(data, tmp_path, name):
    (tmp_path / name).mkdir()
    train = [{"file": str(data / "mixed.xyz"), "weight": 1.7, "config_type": "m"}, str(data / "forces.xyz")]
    content = configuration(data, terms=[PAIR, SMALL_SOAP, ANGLE], default_sigma=SIGMA, hessian_delta=0.02, data={
        "train": train, "forces_key": "forces"})
    content["output"] = str(tmp_path / name / "model.safetensors")
    return content


def test_threads_and_interruption_change_no_byte(data, tmp_path, monkeypatch):
    """Killed after the first block; taken up again by two threads, a fit to every kind of observation ends the same."""
    monkeypatch.setattr("soapgap.learn.estimate.BLOCK_ROWS", (100,))
    fit(every_kind(data, tmp_path, "whole"), quiet=True, threads=1)
    content = every_kind(data, tmp_path, "killed")
    tables = content["data"].pop("train")
    path = tmp_path / "killed" / "fit.toml"
    entries = (json.dumps(t) if isinstance(t, str) else
               "{" + ", ".join(f"{k} = {json.dumps(v)}" for k, v in t.items()) + "}" for t in tables)
    path.write_text(toml(content).replace("[data]", f"[data]\ntrain = [{', '.join(entries)}]"))
    child = run_python("-c", textwrap.dedent(KILLED), path)
    assert child.status == -signal.SIGKILL, child.stderr
    state = load_state(path.parent / "model.safetensors.fit")
    assert (state.complete, 0 < state.n_done < 22) == (False, True)
    fit(path, quiet=True, threads=2)
    for name in ("model.safetensors.fit", "model.safetensors.errors.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()
    models = [Potential(tmp_path / n / "model.safetensors").model for n in ("whole", "killed")]
    assert {m.provenance.pop("command") for m in models} == {"soapgap.fit(config)", "soapgap fit fit.toml"}
    assert models[0].to_bytes() == models[1].to_bytes()


def test_a_frame_that_changes_its_file_is_another_fit(data, tmp_path, monkeypatch):
    """The contents one after the other are the same, but not the weights of the frames."""
    frames = silicon(5, 12, "energy", "forces")
    identities = []
    keep = Problem.identity
    monkeypatch.setattr(Problem, "identity", lambda *arguments: identities.append(keep(*arguments)) or identities[-1])
    files = [str(tmp_path / "a.xyz"), {"file": str(tmp_path / "b.xyz"), "weight": 3.0}]
    for split in (2, 3):
        write_columns(tmp_path / "a.xyz", frames[:split])
        write_columns(tmp_path / "b.xyz", frames[split:])
        run(data, tmp_path, files, e0={"Si": E0["Si"]}, terms=[PAIR])
    assert len(set(identities)) == 2


def test_curvatures_count_in_the_estimate(tmp_path):
    """Thirty curvatures in one frame of four: most of the work, and the estimate knows it."""
    found = []
    for n in (0, 30):
        atoms = toy_frames(1, seed=13)[0].repeat((2, 1, 1))
        heavy = observed(atoms, "energy", *["curvature"] * bool(n), n_curvatures=n)
        write_columns(tmp_path / "train.xyz", [heavy, *silicon(3, 13, "energy")])
        config, _, _ = read_config(configuration(tmp_path, terms=[SMALL_SOAP], data=no_forces(), default_sigma=SIGMA,
                                                 e0={"Si": 0.0}))
        problem = pose(config, read_dataset(config.data.train, config.data), Reporter(quiet=True))
        found.append((estimate(problem.plan, problem.train.structures, 1, 1024).blocks, seconds_of(problem, 1)))
    assert found[1][1] > 3.0 * found[0][1]
    assert found[1][0] == found[0][0] + 8 * 26 * (3 + 2) * 48  # the gradients behind the curvatures


def test_sums_that_contradict_the_energy_are_told(data, tmp_path):
    frames = silicon(3, 15, "energy", "local_energy")
    write_columns(tmp_path / "good.xyz", [isolated_energy(), *frames])
    assert not any("add up" in text for text in run(data, tmp_path, [str(tmp_path / "good.xyz")], terms=[PAIR],
                                                    data=no_forces()).warnings)
    frames[1].arrays["local_energy"] -= E0["Si"]
    write_columns(tmp_path / "bad.xyz", [isolated_energy(), *frames])
    result = run(data, tmp_path, [str(tmp_path / "bad.xyz")], terms=[PAIR], data=no_forces())
    assert any("in 1 training frames the local energies do not add up" in text and "frame 2" in text
               for text in result.warnings)
