"""GapModel: the fit of `soapgap.fit`, from structures in memory."""

import pickle

import numpy as np
import pytest
from ase.io import read
from training_tools import PAIR, SOAP, configuration, isolated, toy_frames, toy_potential, write_frames

import soapgap
from soapgap.errors import InputError
from soapgap.potential import Potential

SIGMA = [0.001, 0.01, 0.01]


@pytest.fixture(scope="module")
def frames():
    return [isolated("Si"), *toy_frames(12, seed=1)]


@pytest.fixture(scope="module")
def gap(frames):
    return soapgap.GapModel(terms=[PAIR, SOAP], default_sigma=SIGMA).fit(frames, threads=1, quiet=True)


def test_it_is_the_fit_of_files(gap, frames, tmp_path):
    write_frames(tmp_path / "train.xyz", frames)
    config = configuration(tmp_path, terms=[PAIR, SOAP], default_sigma=SIGMA)
    from_files = soapgap.fit(config, quiet=True, threads=1)
    read_back = read(tmp_path / "train.xyz", ":")  # the file has eight digits of a position, so learn from what it says
    again = soapgap.GapModel(terms=[PAIR, SOAP], default_sigma=SIGMA).fit(read_back, threads=1, quiet=True)
    for atoms in toy_frames(2, seed=9):
        a, b = (Potential(m, n_threads=1).compute(atoms) for m in (from_files.model, again.model_))
        assert a.energy == pytest.approx(b.energy, abs=1e-9)
        np.testing.assert_allclose(a.forces, b.forces, rtol=0, atol=1e-9)
    assert again.errors_["all"]["force"]["rmse"] == pytest.approx(from_files.errors["train"]["all"]["force"]["rmse"], rel=1e-9)
    assert again.model_.provenance["training_data"]["frames"] == 13


def test_predictions_scores_and_files(gap, tmp_path):
    unseen = toy_frames(4, seed=8)
    predicted = gap.predict(unseen, threads=1)
    differences = np.concatenate([(p.forces - toy_potential(a)[1]).ravel() for p, a in zip(predicted, unseen, strict=True)])
    assert gap.score(unseen)["all"]["force"]["rmse"] == pytest.approx(np.sqrt(np.mean(differences**2)), rel=1e-9)
    gap.save(tmp_path / "model.safetensors")
    assert soapgap.Model.load(tmp_path / "model.safetensors").to_bytes() == gap.model_.to_bytes()
    unseen[0].calc = soapgap.SoapGAP(gap.model_, n_threads=1)
    np.testing.assert_allclose(unseen[0].get_forces(), predicted[0].forces, rtol=0, atol=1e-12)


def test_it_is_an_estimator(gap, frames):
    """Settings in, settings out; learnt state ends in an underscore and survives pickling."""
    learnt = {name for name in vars(gap) if name.endswith("_")}
    assert learnt == {"model_", "errors_", "conditions_", "warnings_", "sparse_origins_"}
    copy = pickle.loads(pickle.dumps(gap))
    assert copy.predict(frames[1:2], threads=1)[0].energy == gap.predict(frames[1:2], threads=1)[0].energy
    fresh = soapgap.GapModel(**gap.get_params())
    assert fresh.get_params() == gap.get_params()
    assert repr(fresh).startswith("GapModel(terms=[{'kind': 'distance_2b'")
    fresh.set_params(sparse_jitter=1e-6, hessian_delta=0.02)
    assert fresh.get_params()["sparse_jitter"] == 1e-6
    assert fresh.fit(frames, threads=1, quiet=True).conditions_.jitter == 1e-6
    assert fresh.model_.provenance["config"]["hessian_delta"] == 0.02


def test_sparse_points_know_where_they_come_from(gap, frames):
    pairs, soap = gap.sparse_origins_
    assert (pairs == -1).all()
    assert soap.shape == (40, 2)
    assert soap[:, 0].max() < len(frames)
    structure, atom = soap[7]
    features = gap.model_.evaluator(1).features(1, soapgap.neighbour_arrays(frames[structure], 4.0, ["Si"]))
    term = next(t for t in gap.model_.terms if hasattr(t, "sparse_points"))
    np.testing.assert_allclose(features[atom], term.sparse_points[7], rtol=0, atol=1e-12)


def test_one_clear_error(frames):
    with pytest.raises(InputError, match=r"has learnt nothing yet; call fit"):
        soapgap.GapModel(terms=[PAIR], default_sigma=SIGMA).predict(frames)
    with pytest.raises(InputError, match=r"zta"):
        soapgap.GapModel(terms=[PAIR | {"zta": 3}], default_sigma=SIGMA).fit(frames, quiet=True)
    with pytest.raises(InputError, match="no structures"):
        soapgap.GapModel(terms=[PAIR], default_sigma=SIGMA).fit([], quiet=True)
    broken = [f.copy() for f in frames]
    broken[3].positions[0] = np.nan
    with pytest.raises(InputError, match=r"frame 3 \(counted from 0\): a position or the cell is not a finite number"):
        soapgap.GapModel(terms=[PAIR], default_sigma=SIGMA).fit(broken, quiet=True)
    bare = [f.copy() for f in frames]
    with pytest.raises(InputError, match="no frame has 'energy'"):
        soapgap.GapModel(terms=[PAIR], default_sigma=SIGMA).fit(bare, quiet=True)
