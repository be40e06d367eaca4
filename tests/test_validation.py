"""What the studies of validation/ are made of: their settings are configurations, their parts do not overlap."""

import tomllib

import accuracy
import numpy as np
import pytest

from soapgap.config import read_config


@pytest.mark.parametrize("path", sorted(accuracy.HERE.glob("*.toml")), ids=lambda path: path.stem)
def test_settings_of_a_data_set_are_a_configuration(path):
    settings = tomllib.loads(path.read_text())
    known = {"train", "test", "sizes", "atoms", "folds", "group", "published", "without_forces", "n_train", "limits", "fit"}
    assert settings.keys() <= known
    data = {"train": settings["train"]} | settings["fit"].get("data", {})
    config = read_config(settings["fit"] | {"output": "model.safetensors", "data": data})[0]
    assert len(config.terms) == len(settings["fit"]["terms"]) > 0
    assert ("test" in settings) + ("folds" in settings) + ("n_train" in settings) == 1


def test_folds_are_stratified():
    """Every group is spread evenly, and the folds together as well."""
    groups = ["a"] * 11 + ["b"] * 7 + ["c"] * 3
    fold = accuracy.folds(groups, 5, 0)
    for group in "abc":
        counts = np.bincount(fold[np.array(groups) == group], minlength=5)
        assert np.ptp(counts) <= 1
    assert np.ptp(np.bincount(fold, minlength=5)) <= 1
    assert (accuracy.folds(groups, 5, 1) != fold).any()


def test_errors_of_folds_are_those_of_all_values():
    rng = np.random.default_rng(0)
    values = [rng.normal(size=n) for n in (5, 9, 2)]
    runs = [{"errors": {"all": {"force": {"n": len(v), "mae": np.abs(v).mean(), "rmse": np.sqrt(np.mean(v**2))}}}}
            for v in values]
    found, every = accuracy.together(runs)["all"]["force"], np.concatenate(values)
    assert found["n"] == 16
    assert found["mae"] == pytest.approx(np.abs(every).mean(), rel=1e-12)
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean(every**2)), rel=1e-12)


def test_an_error_above_its_limit_is_told():
    errors = {"all": {"energy": {"mae": 2.0}, "force": {"mae": 0.03, "rmse": 0.05}}, "Volume": {"force": {"mae": 1.0}},
              "Liquid": {"force": {"mae": 0.2}}}
    settings = {"limits": {"energy": 2.5, "force_rmse": 0.04}, "without_forces": "Volume"}
    published = {"Volume": {"force": 0.0}, "Liquid": {"force": 0.1}}
    found = accuracy.misses(errors, settings, published)
    assert found == ["force_rmse: 0.05 exceeds 0.04", "published forces of Liquid are better"]
    assert accuracy.misses(errors, {"limits": {"energy": 2.5}}, {}) == []
