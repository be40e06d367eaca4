"""Ranks, memory, interruption, added data, jitter: what must not change the predictions of a fit, or must say why."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from programs import program, run_program
from test_training_fit import toml
from training_tools import PAIR, SOAP, configuration, isolated, toy_frames, write_frames

from soapgap.config import read_config
from soapgap.data.dataset import read_dataset
from soapgap.errors import HostError, InputError
from soapgap.fitting import fit
from soapgap.fitting.earlier import earlier_fit
from soapgap.kinds.kernel import rows_evaluator
from soapgap.learn.design import DesignMatrix, partition
from soapgap.learn.plan import make_kernels
from soapgap.learn.prior import regulariser
from soapgap.learn.problem import pose
from soapgap.learn.state import load_state
from soapgap.learn.streaming_qr import StreamingQR
from soapgap.learn.usage import as_bytes
from soapgap.potential import Potential
from soapgap.ranks import start_ranks
from soapgap.say import Reporter

MPIEXEC = program("mpiexec")
needs_mpi = pytest.mark.skipif(MPIEXEC is None, reason="no mpiexec")
UNSEEN = toy_frames(3, seed=40)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with first.xyz, second.xyz and test.xyz, all of the toy potential, and train.xyz, both together."""
    folder = tmp_path_factory.mktemp("data")
    first, second = [isolated("Si"), *toy_frames(14, seed=1)], toy_frames(9, seed=2)
    write_frames(folder / "first.xyz", first)
    write_frames(folder / "second.xyz", second)
    write_frames(folder / "train.xyz", [*first, *second])
    write_frames(folder / "test.xyz", toy_frames(5, seed=3))
    return folder


FIT = sys.modules["soapgap.fitting.pipeline"]


def settings(folder, tmp_path, name="model", **changes):
    files = {"test": str(folder / "test.xyz")} | changes.pop("data", {})
    config = configuration(folder, terms=[PAIR, SOAP], data=files, **changes)
    config["output"] = str(tmp_path / f"{name}.safetensors")
    return config


def predictions(model):
    """Energies, forces and virials of structures that no fit has seen, one after the other."""
    potential = Potential(model, n_threads=1)
    results = [potential.compute(atoms) for atoms in UNSEEN]
    return np.concatenate([np.concatenate([[r.energy], r.forces.ravel(), r.virial.ravel()]) for r in results])


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The folder of one fit, in peace and in one piece, and its predictions."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, predictions(fit(settings(data, folder), quiet=True, threads=1).model)


def command(path, *options, n_ranks=1):
    launcher = [MPIEXEC, "-n", str(n_ranks)] if n_ranks > 1 else []
    return [*launcher, sys.executable, "-m", "soapgap", "fit", str(path), *options]


def run_command(*arguments, **keywords):
    return run_program(command(*arguments, **keywords))


@needs_mpi
@pytest.mark.parametrize("n_ranks", [2, 3])
def test_ranks_change_no_prediction(data, whole, tmp_path, n_ranks):
    folder, expected = whole
    path = tmp_path / "fit.toml"
    path.write_text(toml(settings(data, tmp_path, "many")))
    done = run_command(path, n_ranks=n_ranks)
    assert done.status == 0, done.stderr
    assert done.stdout.count("estimate:") == 1
    assert f"on each of {n_ranks} ranks" in done.stdout
    np.testing.assert_allclose(predictions(tmp_path / "many.safetensors"), expected, rtol=0, atol=1e-8)
    errors = [json.loads(path.read_text())["errors"] for path in
              (folder / "model.safetensors.errors.json", tmp_path / "many.safetensors.errors.json")]
    for label in ("train", "test"):
        for quantity in ("energy", "force", "virial"):
            one, many = (e[label]["all"][quantity] for e in errors)
            assert one["n"] == many["n"]
            assert many["rmse"] == pytest.approx(one["rmse"], abs=1e-6)


@needs_mpi
def test_ranks_say_one_error_once(data, tmp_path):
    path = tmp_path / "fit.toml"
    path.write_text(toml(settings(data, tmp_path, default_sigma=[0.001, 0.0, 0.1])))
    done = run_command(path, n_ranks=2)
    assert done.status == 2
    assert done.stderr.count("force sigma is 0") == 1
    assert "Traceback" not in done.stderr


def test_a_launcher_without_its_mpi_is_refused(monkeypatch):
    """Two processes that each do the whole work would look like a fast fit."""
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(HostError, match="2 ranks, but mpi4py cannot be loaded"):
        start_ranks()
    monkeypatch.setenv("PMI_SIZE", "1")
    assert start_ranks().size == 1


@needs_mpi
def test_a_launcher_of_another_mpi_is_refused(data, tmp_path):
    """What a rank sees that another MPI's launcher has started: its variable, and a world of one."""
    path = tmp_path / "fit.toml"
    path.write_text(toml(settings(data, tmp_path)))
    done = run_program(command(path), OMPI_COMM_WORLD_SIZE="4")
    assert done.status == 2
    assert "as 4 ranks, but mpi4py sees 1" in done.stderr
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize("block_rows", [30, 75, 10**6])
def test_block_size_changes_no_prediction(data, whole, tmp_path, monkeypatch, block_rows):
    monkeypatch.setattr("soapgap.learn.estimate.BLOCK_ROWS", (block_rows,))
    found = predictions(fit(settings(data, tmp_path, "other"), quiet=True, threads=2).model)
    np.testing.assert_allclose(found, whole[1], rtol=0, atol=1e-8)


def test_memory_decides_threads_and_blocks_or_refuses(data, tmp_path):
    fit(settings(data, tmp_path), quiet=True, threads=1, memory="4GB")
    with pytest.raises(InputError, match=r"memory = 1 MB, but this fit needs at least .* MB"):
        fit(settings(data, tmp_path, "none"), quiet=True, threads=1, memory="1MB")
    assert not list(tmp_path.glob("none*"))


@pytest.mark.parametrize(("text", "value"), [("4GB", 4 * 2**30), ("500 MB", 500 * 2**20), ("1.5GiB", 3 * 2**29), ("2g", 2**31)])
def test_sizes(text, value):
    assert as_bytes(text) == value


@pytest.mark.parametrize("text", ["4", "GB", "-1GB", "4 parsecs"])
def test_sizes_that_are_none(text):
    with pytest.raises(InputError, match="expected a size such as 4GB"):
        as_bytes(text)


def test_partition_goes_on_where_it_ended(data):
    structures = read_dataset([str(data / "train.xyz")], read_config(configuration(data))[0].data).structures
    whole = partition(structures, 70)
    assert [k for part in whole for k in part] == list(range(len(structures)))
    assert all(sum(structures[k].n_rows for k in part) >= 70 for part in whole[:-1])
    assert partition(structures, 70, whole[2].stop) == whole[3:]
    assert partition(structures, 70, len(structures)) == []


# ---- interruption -------------------------------------------------------------------------------------------------

@needs_mpi
def test_killed_with_two_ranks_and_resumed_with_one(data, whole, tmp_path):
    """Killed at checkpoints, again and again; the predictions are those of a fit that ran in peace."""
    (tmp_path / "fit.toml").write_text(toml(settings(data, tmp_path, "war")))
    code = (
        "import os, signal, sys\n"
        "import soapgap.learn.estimate as estimate, soapgap.fitting.pipeline\n"
        "estimate.BLOCK_ROWS = (60,)\n"
        "_Fit = sys.modules['soapgap.fitting.pipeline']._Fit\n"
        "keep, calls = _Fit._checkpoint, []\n"
        "def checkpoint(self, solver, n_done):\n"
        "    keep(self, solver, n_done)\n"
        "    calls.append(n_done)\n"
        "    if len(calls) == 2:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "_Fit._checkpoint = checkpoint\n"
        "sys.modules['soapgap.fitting.pipeline'].fit(sys.argv[1], threads=1, checkpoint_seconds=0.0)\n")
    done, n_done = [], []
    for n_ranks in (2, 1):
        launcher = [MPIEXEC, "-n", str(n_ranks)] if n_ranks > 1 else []
        done.append(run_program([*launcher, sys.executable, "-c", code, tmp_path / "fit.toml"]))
        state = load_state(tmp_path / "war.safetensors.fit")
        assert not state.complete
        n_done.append(state.n_done)
    assert 0 < n_done[0] < n_done[1] < 24
    assert "continuing from there" in done[1].stdout
    last = run_command(tmp_path / "fit.toml", "--resume")
    assert last.status == 0, last.stderr
    assert f"after {n_done[1]} of 24 structures" in last.stdout
    np.testing.assert_allclose(predictions(tmp_path / "war.safetensors"), whole[1], rtol=0, atol=1e-8)


def test_resume_wants_an_interrupted_fit(data, whole, tmp_path):
    with pytest.raises(InputError, match="is not there or not readable; expected an interrupted fit"):
        fit(settings(data, tmp_path), quiet=True, threads=1, resume=True)
    with pytest.raises(InputError, match="holds a finished fit"):
        fit(settings(data, whole[0]), quiet=True, threads=1, resume=True)
    with pytest.raises(InputError, match="exclude each other"):
        fit(settings(data, tmp_path), quiet=True, threads=1, resume=True, restart=True)


def test_a_fit_killed_at_any_time_goes_on(data, whole, tmp_path):
    """SIGKILL after random times, until the fit has ended: the files are whole each time, and the end is the same."""
    (tmp_path / "fit.toml").write_text(toml(settings(data, tmp_path, "war")))
    rng = np.random.default_rng(5)
    killed = 0
    while killed < 3:
        child = subprocess.Popen(command(tmp_path / "fit.toml"), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 env=os.environ | {"OMP_NUM_THREADS": "1"})
        time.sleep(rng.uniform(0.5, 3.0))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        killed += 1
        state = tmp_path / "war.safetensors.fit"
        assert not state.exists() or load_state(state) is not None
    assert run_command(tmp_path / "fit.toml").status == 0
    np.testing.assert_allclose(predictions(tmp_path / "war.safetensors"), whole[1], rtol=0, atol=1e-8)


def test_a_fit_that_fails_at_its_end_keeps_its_rows(data, tmp_path, monkeypatch):
    """Whatever goes wrong after the last row, the rows are not made again."""
    def broken(*_):
        raise InputError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(FIT, "solve", broken)
        with pytest.raises(InputError, match="broken"):
            fit(settings(data, tmp_path), quiet=True, threads=1, checkpoint_seconds=0.0)
    monkeypatch.setattr(FIT, "seconds_of", lambda *_: 0.0)  # which makes some rows to try
    monkeypatch.setattr(DesignMatrix, "rows", None)
    assert fit(settings(data, tmp_path), quiet=True, threads=1, resume=True).errors["test"]["all"]["force"]["rmse"] < 1.0


# ---- added data ---------------------------------------------------------------------------------------------------

def test_added_data_count_as_if_they_had_always_been_there(data, tmp_path, monkeypatch):
    """The triangle of the first fit and the new rows give the weights of all rows together."""
    first = settings(data, tmp_path, "first", data={"train": str(data / "first.xyz")})
    fit(first, quiet=True, threads=1)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    counted = []
    keep = DesignMatrix.rows
    with monkeypatch.context() as patch:
        patch.setattr(DesignMatrix, "rows", lambda self, e, s, t: counted.append(s.where) or keep(self, e, s, t))
        patch.setattr(FIT, "seconds_of", lambda *_: 0.0)
        more = settings(data, tmp_path, "more", data={"train": str(data / "second.xyz")})
        result = fit(more, quiet=True, threads=1, add_to=tmp_path / "first.safetensors")
    assert len(counted) == 9
    assert all("second.xyz" in where for where in counted)
    assert {path: path.read_bytes() for path in before} == before
    assert result.model.provenance["added_to"][0]["frames"] == 15
    together = weights_together(data, tmp_path)
    found = np.concatenate([term.weights.ravel() for term in result.model.terms if hasattr(term, "sparse_points")])
    assert len(found) == 40
    soap = together[-40:]
    covariance = result.model.terms[1].sparse_points @ result.model.terms[1].sparse_points.T
    np.testing.assert_allclose(covariance**2 @ found, covariance**2 @ soap, rtol=0, atol=1e-8)
    again = settings(data, tmp_path, "third", data={"train": str(data / "test.xyz"), "test": None})
    third = fit(again, quiet=True, threads=1, add_to=tmp_path / "more.safetensors")
    assert [entry["frames"] for entry in third.model.provenance["added_to"]] == [15, 9]


def weights_together(data, tmp_path):
    """The weights of a fit to both files with the sparse points and e0 of the first, in one piece."""
    config = read_config(settings(data, tmp_path))[0]
    earlier = earlier_fit(tmp_path / "first.safetensors", config)
    say = Reporter(quiet=True)
    problem = pose(config, read_dataset(config.data.train, config.data), say, fixed=earlier.fixed)
    kernels = make_kernels(problem.plan, 1, say, earlier.state.sparse, earlier.state.origins)
    design = DesignMatrix(kernels, problem.species, config)
    evaluator = rows_evaluator(problem.species, kernels)
    rows = np.vstack([design.rows(evaluator, s, t) for s, t in zip(problem.train.structures, problem.targets, strict=True)])
    factors = [regulariser(kernel.covariance(), 1e-8) for kernel in kernels]
    solver = StreamingQR(design.n_columns)
    solver.update(np.asfortranarray(rows))
    return solver.regularised_solution(factors)[:, 0]


def test_added_data_may_lack_species_triplets_and_types(data, tmp_path):
    """The kernels are those of the first fit, whatever occurs in the data that are added."""
    from training_tools import ANGLE

    frames = toy_frames(6, seed=5, species=("Si", "C"))
    for number, frame in enumerate(frames):
        frame.info["config_type"] = "even" if number % 2 == 0 else "odd"
    write_frames(tmp_path / "train.xyz", [isolated("Si"), isolated("C"), *frames])
    terms = [PAIR, ANGLE | {"theta_fac": 0.5}, SOAP | {"config_type_n_sparse": {"even": 10, "odd": 8}}]
    del terms[1]["theta"], terms[2]["n_sparse"]
    first = configuration(tmp_path, terms=terms) | {"output": str(tmp_path / "first.safetensors")}
    before = fit(first, quiet=True, threads=1).model
    more = first | {"output": str(tmp_path / "more.safetensors"), "data": {"train": str(data / "second.xyz")}}
    after = fit(more, quiet=True, threads=1, add_to=tmp_path / "first.safetensors").model
    assert [type(term) for term in after.terms] == [type(term) for term in before.terms]
    old, new = ([t for t in model.terms if hasattr(t, "sparse_points")] for model in (before, after))
    for a, b in zip(old, new, strict=True):
        np.testing.assert_array_equal(a.sparse_points, b.sparse_points)
    unseen = UNSEEN[0]
    errors = [np.abs(Potential(m, n_threads=1).compute(unseen).forces - unseen.get_forces()).mean() for m in (before, after)]
    assert errors[1] < 0.5 * errors[0]


def test_adding_needs_the_same_model(data, tmp_path):
    fit(settings(data, tmp_path, "first", data={"train": str(data / "first.xyz")}), quiet=True, threads=1)
    more = settings(data, tmp_path, "more", data={"train": str(data / "second.xyz")})
    more["terms"][1]["zeta"] = 3
    with pytest.raises(InputError, match=r"terms of this .* is not that of first.safetensors.*- zeta.: 2.*\+ zeta.: 3"):
        fit(more, quiet=True, threads=1, add_to=tmp_path / "first.safetensors")
    with pytest.raises(InputError, match=r"sparse_jitter = 1e-05, but first.safetensors was fitted with 1e-08"):
        fit(settings(data, tmp_path, "more", sparse_jitter=1e-5), quiet=True, threads=1, add_to=tmp_path / "first.safetensors")
    with pytest.raises(InputError, match="no readable state of a fit"):
        fit(more, quiet=True, threads=1, add_to=tmp_path / "absent.safetensors")
    same = settings(data, tmp_path, "first", data={"train": str(data / "second.xyz")})
    with pytest.raises(InputError, match="would be written over an input"):
        fit(same, quiet=True, threads=1, add_to=tmp_path / "first.safetensors")
    write_frames(tmp_path / "carbon.xyz", toy_frames(2, seed=4, species=("Si", "C")))
    carbon = settings(data, tmp_path, "more", data={"train": str(tmp_path / "carbon.xyz")})
    with pytest.raises(InputError, match="added data contain C, the model only Si"):
        fit(carbon, quiet=True, threads=1, add_to=tmp_path / "first.safetensors")


# ---- conditions ---------------------------------------------------------------------------------------------------

def test_conditions_are_reported(data, tmp_path, capsys):
    result = fit(settings(data, tmp_path), threads=1)
    assert "condition numbers: whole system" in capsys.readouterr().out
    (soap,) = [t for t in result.model.terms if hasattr(t, "sparse_points")]
    covariance = soap.delta**2 * (soap.sparse_points @ soap.sparse_points.T) ** soap.zeta + 1e-8 * np.eye(40)
    assert 0.1 < result.conditions.covariance["soap (Si)"] / np.linalg.cond(covariance, 1) < 10.0
    assert result.conditions.system > 1.0


def test_coinciding_points_are_named(data, tmp_path, monkeypatch):
    """Equal sparse points, and a jitter below rounding: an error that says which; if no jitter was asked for, a warning."""
    keep = FIT.make_kernels

    def doubled(*arguments):
        kernels = keep(*arguments)
        kernels[1].term.sparse_points[7:30] = kernels[1].term.sparse_points[3]
        return kernels

    monkeypatch.setattr(FIT, "make_kernels", doubled)
    with pytest.raises(InputError, match=r"number 3.* and number 7.* coincide \(corr.*\), and \d+ more pairs; increase spars"):
        fit(settings(data, tmp_path, sparse_jitter=1e-30), quiet=True, threads=1)
    monkeypatch.setattr("soapgap.learn.prior.JITTERS", (1e-30, 1e-8))
    result = fit(settings(data, tmp_path, "chosen"), quiet=True, threads=1)
    assert result.conditions.jitter == 1e-8
    assert any("coincide" in text for text in result.warnings)


def test_a_resumed_fit_keeps_its_jitter(data, tmp_path, monkeypatch):
    """Rows that are folded in hold its factor: where K_mm is near the edge, another CPU could choose another one."""
    monkeypatch.setattr("soapgap.learn.prior.JITTERS", (1e-6,))
    with monkeypatch.context() as patch:
        patch.setattr(FIT, "solve", None)
        with pytest.raises(TypeError):
            fit(settings(data, tmp_path), quiet=True, threads=1, checkpoint_seconds=0.0)
    undisturbed = fit(settings(data, tmp_path, "undisturbed"), quiet=True, threads=1).model
    monkeypatch.setattr("soapgap.learn.prior.JITTERS", (1e-3,))
    resumed = fit(settings(data, tmp_path), quiet=True, threads=1, resume=True)
    assert resumed.conditions.jitter == 1e-6
    np.testing.assert_allclose(predictions(resumed.model), predictions(undisturbed), rtol=0, atol=1e-8)
