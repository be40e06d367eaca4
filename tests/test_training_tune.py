"""`soapgap tune`: trials, log, resuming, the test set that is looked at once, and what is written."""

import importlib
import json
import tomllib

import numpy as np
import pytest
import typer
from training_tools import CUTOFF, E0, WIDTH, toy_frames, write_frames
from typer.testing import CliRunner

from soapgap.cli.tune import tune as command
from soapgap.config import read_config
from soapgap.config.toml import to_toml
from soapgap.errors import InputError
from soapgap.files import hash_files
from soapgap.learn.tune_log import TuneLog
from soapgap.tune.config import TuneConfig, candidates, changed, read_tune_config
from soapgap.tune.run import tune

FIT = f"""
output = "model.safetensors"
e0 = {{ Si = {E0["Si"]} }}
default_sigma = [0.1, 0.001, 0.05]
sparse_jitter = 1e-6

[data]
train = "train.xyz"
test = ["test.xyz"]
virial_key = ""

[[terms]]
kind = "distance_2b"
cutoff = {CUTOFF}
cutoff_transition_width = {WIDTH}
theta = 0.6
delta = 0.01
n_sparse = 8

[[terms]]
kind = "soap"
n_max = 3
l_max = 2
cutoff = {CUTOFF}
cutoff_transition_width = {WIDTH}
atom_sigma = 0.5
zeta = 2
delta = 5.0
n_sparse = 20
"""


@pytest.fixture
def folder(tmp_path):
    """A fit with bad sigmas and deltas; its test file does not exist yet."""
    write_frames(tmp_path / "train.xyz", toy_frames(24))
    (tmp_path / "fit.toml").write_text(FIT)
    return tmp_path


def lines(folder):
    return [json.loads(line) for line in (folder / "model.safetensors.tune.jsonl").read_text().splitlines()]


def test_tuning_improves_the_errors_and_never_opens_the_test_file(folder):
    result = tune(folder / "fit.toml", {"learning_curve": {"seeds": 2}}, threads=1, quiet=True)
    before, after = result.best["errors_before"]["all"], result.best["errors"]["all"]
    assert after["energy"]["rmse"] < 0.5 * before["energy"]["rmse"]
    assert result.best["value"] < result.best["value_before"] - 0.2
    assert result.best["value"] == pytest.approx(0.5 * np.log(after["energy"]["rmse"] * after["force"]["rmse"]), rel=1e-6)
    content = tomllib.loads((folder / "tuned.toml").read_text())
    tuned, start = read_config(folder / "tuned.toml")[0], read_config(folder / "fit.toml")[0]
    assert tuned.terms[0].delta == content["terms"][0]["delta"] == result.best["tuned"]["terms[0].delta"] != 0.01
    assert tuned.data == start.data
    unchanged = {"terms", "default_sigma"}
    assert tuned.model_dump(exclude=unchanged) == start.model_dump(exclude=unchanged)
    assert tuned.terms[1].model_copy(update={"delta": 5.0}) == start.terms[1]
    trial, left_out, curve = lines(folder)
    assert trial["event"] == "trial"
    assert trial["data_sha256"] == hash_files([folder / "train.xyz"])
    assert trial["seconds"]["rows"] >= 0
    assert (left_out["event"], curve["event"]) == ("leave one out", "learning curve")
    errors = curve["result"]["errors"]["force"]
    assert np.mean(errors[-1]) < np.mean(errors[0])
    assert (folder / "model.safetensors.learning_curve.png").read_bytes().startswith(b"\x89PNG")
    summary = json.loads((folder / "model.safetensors.tune.json").read_text())
    assert summary["best"] == trial
    assert summary["leave_one_out"]["errors"]["all"]["energy"]["n"] == 24
    assert not (folder / "model.safetensors").exists()


def test_the_tuned_fit_is_as_good_as_promised(folder):
    """An ordinary fit to two folds with the tuned values predicts the third with the k-fold error of the search."""
    from soapgap.data.dataset import read_dataset
    from soapgap.fitting.pipeline import fit
    from soapgap.tune.grouped import choose_folds

    frames = toy_frames(24)
    tune(folder / "fit.toml", {"folds": 3, "leave_one_out": False, "restarts": 0}, threads=1, quiet=True)
    promised = lines(folder)[0]["errors"]["all"]
    config = read_config(folder / "fit.toml")[0]
    folds = choose_folds(read_dataset(config.data.train, config.data, folder).structures, 3, 0)
    squares = {"energy": 0.0, "force": 0.0}
    for fold in range(3):
        write_frames(folder / "train.xyz", [a for a, f in zip(frames, folds) if f != fold])
        write_frames(folder / "test.xyz", [a for a, f in zip(frames, folds) if f == fold])
        errors = fit(folder / "tuned.toml", threads=1, quiet=True).errors["test"]["all"]
        for kind in squares:
            squares[kind] += errors[kind]["rmse"] ** 2 / 3
    for kind, square in squares.items():  # the sparse points are others, chosen without the fold: not equal, but alike
        assert np.sqrt(square) == pytest.approx(promised[kind]["rmse"], rel=0.25)


def test_trials_in_the_log_are_skipped(folder, monkeypatch):
    settings = {"search": {"terms[1].zeta": [2, 3]}, "leave_one_out": False, "restarts": 0}
    first = tune(folder / "fit.toml", settings, threads=1, quiet=True)
    assert [entry["settings"] for entry in lines(folder)] == [{}, {"terms[1].zeta": 3}]
    log = folder / "model.safetensors.tune.jsonl"
    log.write_text(log.read_text() + '{"event": "trial", "ident')  # killed while it wrote

    done = []
    package = importlib.import_module("soapgap.tune.run")
    original = package.tune_trial

    def counting(bench, values, *more):
        done.append(values)
        return original(bench, values, *more)

    monkeypatch.setattr(package, "tune_trial", counting)
    again = tune(folder / "fit.toml", settings, threads=1, quiet=True)
    assert done == []
    assert again.best == first.best
    tune(folder / "fit.toml", settings | {"search": {"terms[1].zeta": [2, 3, 4]}}, threads=1, quiet=True)
    assert done == [{"terms[1].zeta": 4}]
    assert lines_that_are_json(log) == 3
    tune(folder / "fit.toml", settings | {"objective": "likelihood", "search": {}}, threads=1, quiet=True)
    assert len(done) == 2
    write_frames(folder / "train.xyz", toy_frames(25))
    tune(folder / "fit.toml", settings | {"search": {}}, threads=1, quiet=True)
    assert len(done) == 3


def lines_that_are_json(log):
    count = 0
    for line in log.read_text().splitlines():
        try:
            json.loads(line)
            count += 1
        except ValueError:
            assert line.endswith('"ident')
    return count


def test_the_test_set_is_evaluated_once(folder):
    settings = {"leave_one_out": False, "restarts": 0}
    with pytest.raises(InputError, match=r"cannot read the data file .*test\.xyz"):
        tune(folder / "fit.toml", settings, threads=1, final=True, quiet=True)
    write_frames(folder / "test.xyz", toy_frames(6, seed=9))
    result = tune(folder / "fit.toml", settings, threads=1, final=True, quiet=True)
    begun, done = lines(folder)[1:]
    assert (begun["event"], done["event"]) == ("test evaluation begun", "test evaluated")
    assert done["test_sha256"] == hash_files([folder / "test.xyz"])
    assert done["errors"] == result.final.errors["test"]
    assert done["evaluation"] == 1
    assert (folder / "model.safetensors").exists()
    with pytest.raises(InputError, match=r"evaluated before, with the same settings, on 20\d\d-.*--again"):
        tune(folder / "fit.toml", settings, threads=1, final=True, quiet=True)
    other = settings | {"energy_weight": 0.9}
    with pytest.raises(InputError, match="evaluated before, with other settings, on 20"):
        tune(folder / "fit.toml", other, threads=1, final=True, quiet=True)
    result = tune(folder / "fit.toml", other, threads=1, final=True, again=True, quiet=True)
    assert any("with other settings" in warning and "evaluation number 2" in warning for warning in result.warnings)
    assert lines(folder)[-1]["evaluation"] == 2


def test_an_evaluation_that_was_interrupted(tmp_path):
    """It may be finished with the same settings; for others it counts."""
    log = TuneLog(tmp_path / "log")
    log.append("test evaluation begun", "mine", test_sha256="t")
    assert log.earlier_tests("t", "mine") == []
    assert len(log.earlier_tests("t", "other")) == 1
    assert log.earlier_tests("u", "other") == []
    log.append("test evaluated", "mine", test_sha256="t")
    assert [e["event"] for e in TuneLog(tmp_path / "log").earlier_tests("t", "other")] == ["test evaluated"]


def test_final_without_test_data(folder):
    (folder / "fit.toml").write_text(FIT.replace('test = ["test.xyz"]\n', ""))
    with pytest.raises(InputError, match=r"no data\.test"):
        tune(folder / "fit.toml", {"leave_one_out": False, "restarts": 0}, threads=1, final=True, quiet=True)


def test_halving_keeps_the_better_third(folder):
    write_frames(folder / "train.xyz", toy_frames(40))
    settings = {"folds": 2, "method": "halving", "restarts": 0, "leave_one_out": False, "max_trials": 6,
                "search": {"terms[1].zeta": [2, 3, 4], "terms[*].cutoff": {"low": 3.0, "high": 4.0, "points": 3}}}
    result = tune(folder / "fit.toml", settings, threads=1, quiet=True)
    frames = [entry["n_frames"] for entry in lines(folder)]
    n = frames.count(10)
    assert n >= 6
    assert 2 <= frames.count(20) <= 4
    assert 1 <= frames.count(40) <= 3
    assert {} in [trial["settings"] for trial in result.trials]
    assert result.trials == sorted(result.trials, key=lambda trial: trial["value"])
    stage = [entry for entry in lines(folder) if entry["n_frames"] == 10]
    best = min(stage, key=lambda entry: entry["value"])["settings"]
    assert best in [entry["settings"] for entry in lines(folder) if entry["n_frames"] == 20]


def test_likelihood_warns_that_it_is_over_confident(folder):
    result = tune(folder / "fit.toml", {"objective": "likelihood", "leave_one_out": False}, threads=1, quiet=True)
    assert any("over-confident" in warning for warning in result.warnings)
    assert result.best["log_likelihood"] > result.best["log_likelihood_before"]
    assert result.best["value"] == pytest.approx(-2.0 * result.best["log_likelihood"])


def test_memory_takes_fewer_sparse_points(folder, capsys):
    (folder / "fit.toml").write_text(FIT.replace("n_sparse = 20", "n_sparse = 150"))
    tune(folder / "fit.toml", {"memory": "3MB", "leave_one_out": False, "restarts": 0}, threads=1)
    trial, = lines(folder)
    assert trial["n_sparse"] < 158
    assert "tuning takes fewer sparse points than the fit" in capsys.readouterr().out
    assert read_config(folder / "tuned.toml")[0].terms[1].n_sparse == 150


def test_command_line(folder):
    app = typer.Typer()
    app.command()(command)
    (folder / "tune.toml").write_text('restarts = 0\n[search]\n"terms[1].zeta" = [2, 3]\n')
    done = CliRunner().invoke(app, [str(folder / "fit.toml"), "--settings", str(folder / "tune.toml"), "--threads", "1",
                                    "--output", "best.toml"])
    assert done.exit_code == 0, done.output
    for text in ("k-fold RMSE before", "trial 2/2", "one structure left out", "written to best.toml", "of memory"):
        assert text in done.output
    assert read_config(folder / "best.toml")[0].terms[1].zeta in (2, 3)


@pytest.mark.parametrize(("settings", "message"), [
    ({"objectiv": "kfold"}, r"objectiv: unknown key; did you mean 'objective'\?"),
    ({"folds": 1}, "folds: got 1"),
    ({"memory": 3}, "memory: expected an amount of memory"),
    ({"memory": "3XB"}, "memory = '3XB'"),
    ({"search": {"terms[1].zeta": 2}}, "expected a list of values"),
    ({"search": {"terms[1].zeta": {"low": 1, "high": 2}}}, "low = ..., high = ..., points"),
    ({"search": {"terms[1].zeta": {"low": 2, "high": 1, "points": 3}}}, "expected low < high"),
    ({"search": {"term(1).zeta": [2]}}, "expected a key of the fit"),
    ({"search": {"data.train": ["test.xyz"]}}, "keeps to the training data"),
    ({"search": {"default_sigma": [[1, 1, 1]]}}, "tuned by themselves"),
    ({"search": {"terms[0].delta": [1.0, 2.0]}}, "deltas = false"),
    ({"search": {"terms[7].zeta": [2]}}, "has 2 terms, counted from 0"),
    ({"search": {"terms[1].zeta": [2, 0.5]}}, r"terms\[1\]\.zeta: got 0\.5"),
    ({"search": {"terms[*].zet": [2]}}, "no term has the key zet"),
    ({"folds": 30}, "only 24 training frames"),
])
def test_mistakes_in_the_settings(folder, settings, message):
    with pytest.raises(InputError, match=message):
        tune(folder / "fit.toml", settings, threads=1, quiet=True)
    assert not (folder / "tuned.toml").exists()


@pytest.mark.parametrize("output", ["fit.toml", "train.xyz", "elsewhere/tuned.toml"])
def test_inputs_are_not_written_over(folder, output):
    with pytest.raises(InputError, match="--output"):
        tune(folder / "fit.toml", threads=1, output=output, quiet=True)


def test_settings_file(tmp_path):
    (tmp_path / "tune.toml").write_text('memory = "1GB"\n[search]\n'
                                        '"terms[*].cutoff" = { low = 1, high = 4, points = 3, log = true }\n')
    settings, path = read_tune_config(tmp_path / "tune.toml")
    assert settings.search == {"terms[*].cutoff": (1.0, 2.0, 4.0)}
    assert (settings.memory, path) == (2**30, tmp_path / "tune.toml")
    assert read_tune_config(None)[0] == TuneConfig()
    with pytest.raises(InputError, match="cannot read"):
        read_tune_config(tmp_path / "none.toml")


def test_candidates():
    content = tomllib.loads(FIT)
    settings = TuneConfig(search={"terms[1].zeta": [2, 3, 4], "terms[*].cutoff": [3.5, 4.0]})
    found = candidates(settings, content, "fit.toml")
    assert found[0] == {}
    assert len(found) == 6  # zeta = 2 with cutoff = 4 is the fit as it is
    wide = {"terms[1].zeta": {"low": 1, "high": 9, "points": 100},
            "terms[1].atom_sigma": {"low": 0.3, "high": 0.6, "points": 50}}
    drawn = candidates(TuneConfig(search=wide, max_trials=10), content, "fit.toml")
    assert len(drawn) == 11
    assert drawn == candidates(TuneConfig(search=wide, max_trials=10), content, "fit.toml")
    assert drawn != candidates(TuneConfig(search=wide, max_trials=10, seed=1), content, "fit.toml")
    new = changed(content, {"terms[*].theta": 0.7, "sigma_per_atom": False, "baseline.kind": "none"})
    assert new["terms"][0]["theta"] == 0.7
    assert "theta" not in new["terms"][1]
    assert (new["sigma_per_atom"], new["baseline"]) == (False, {"kind": "none"})
    assert "baseline" not in content


@pytest.mark.parametrize("content", [
    {"a": 1, "b": 2.5, "c": 1e-8, "d": True, "text": 'quote " slash \\ tab \t newline \n, ü', "list": [1.0, 2.0], "empty": []},
    {"section": {"x": {"deep": 1, "key with space": "v"}, "list": [{"file": "a", "weight": 2.0}, "b"]}},
    {"terms": [{"kind": "soap", "n_sparse": {"Si": 10}}, {"kind": "pair"}], "Si-O": {"inner": 0.5}, "last": 1, "none": {}},
    tomllib.loads(FIT),
])
def test_toml_is_read_back(content):
    assert tomllib.loads(to_toml(content)) == content


def test_toml_refuses_what_it_cannot_write():
    with pytest.raises(TypeError):
        to_toml({"a": float("nan")})
