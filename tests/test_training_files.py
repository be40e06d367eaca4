"""What a fit leaves behind: the model with its reduced form, and the files beside it."""

import numpy as np
import pytest
from training_tools import SOAP, configuration, isolated, toy_frames, write_frames

from soapgap.errors import InputError
from soapgap.fitting import fit
from soapgap.model import Model
from soapgap.potential import Potential


@pytest.fixture
def config(tmp_path):
    """A small configuration that reads and writes in `tmp_path`; call it with changes."""
    write_frames(tmp_path / "train.xyz", [isolated("Si"), *toy_frames(16, seed=1)])
    write_frames(tmp_path / "test.xyz", toy_frames(5, seed=2))

    def make(**changes):
        return configuration(tmp_path, **changes) | {"output": str(tmp_path / "model.safetensors")}

    return make


def test_exact_fits_and_reduced_ones_predict_alike(config):
    """The reduced form is there unless `exact`; the rows of the fit may leave out vanishing features too."""
    term = SOAP | {"n_max": 8, "l_max": 4, "cutoff": 5.0, "n_sparse": 40, "radial_basis": "equispaced"}
    atoms, results = toy_frames(1, seed=40)[0], {}
    for exact in (True, False):
        settings = config(terms=[term], exact=exact)
        model = fit(settings, threads=1, quiet=True).model
        assert (model.terms[0].reduced is None) == exact
        assert Model.load(settings["output"]).to_bytes() == model.to_bytes()
        results[exact] = Potential(model, n_threads=1).compute(atoms)
    for quantity in ("energies", "forces", "virial"):
        a, b = (getattr(results[exact], quantity) for exact in (True, False))
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-7 * np.abs(a).max())


def test_a_companion_file_that_cannot_be_written_does_not_undo_the_fit(config, tmp_path, monkeypatch):
    from soapgap.learn.state import FitState

    def full(self, path):
        if self.complete:
            raise InputError(f"cannot write {path}: No space left on device")

    monkeypatch.setattr(FitState, "save", full)
    result = fit(config(), threads=1, quiet=True)
    assert any("written and whole" in warning for warning in result.warnings)
    assert Model.load(tmp_path / "model.safetensors").checksum == result.model.checksum
    assert result.files.errors.exists()
    assert not result.files.state.exists()


@pytest.mark.parametrize("output", ["train.xyz", "test.xyz"])
def test_a_fit_does_not_write_over_its_data(config, tmp_path, output):
    before = (tmp_path / output).read_bytes()
    with pytest.raises(InputError, match="would be written over"):
        fit(config(data={"test": str(tmp_path / "test.xyz")}) | {"output": str(tmp_path / output)}, threads=1, quiet=True)
    assert (tmp_path / output).read_bytes() == before


def test_evaluate_does_not_write_over_its_input(config, tmp_path):
    from soapgap.evaluation import evaluate_file

    fit(config(), threads=1, quiet=True)
    model = tmp_path / "model.safetensors"
    for output in (model, tmp_path / "test.xyz"):
        before = output.read_bytes()
        with pytest.raises(InputError, match="is an input"):
            evaluate_file(model, tmp_path / "test.xyz", output)
        assert output.read_bytes() == before
