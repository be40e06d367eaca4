"""Observables that the package does not know, from outside it: fitted, in the tables of errors, tuned and predicted."""

import inspect
import json

import numpy as np
import pytest
from toy_observables import BondForce, CarbonEnergy
from training_tools import E0, PAIR, SOAP, configuration, toy_contributions, toy_frames, write_columns

from soapgap.config import read_config
from soapgap.config.toml import to_toml
from soapgap.data.dataset import read_dataset
from soapgap.data.observables import OBSERVABLES, register
from soapgap.errors import InputError
from soapgap.fitting import fit
from soapgap.learn.errors import predict
from soapgap.potential import Potential
from soapgap.tune.run import tune


def labelled(atoms, *kinds):
    """The structure with these observations of the toy potential alone."""
    energies, forces, _ = toy_contributions(atoms)
    u = atoms.positions[1] - atoms.positions[0]
    known = {"energy": energies.sum(), "carbon_energy": energies[np.array(atoms.get_chemical_symbols()) == "C"].sum(),
             "bond_force": 0.5 * (forces[1] - forces[0]) @ u / np.linalg.norm(u)}
    bare = atoms.copy()
    bare.calc, bare.info = None, {kind: known[kind] for kind in kinds}
    return bare


@pytest.fixture(params=[CarbonEnergy, BondForce], ids=lambda kind: kind.name)
def toy(request):
    """The observable, registered for one test."""
    yield register(request.param())
    del OBSERVABLES[request.param.name]


def settings(tmp_path, toy, *kinds, n=40):
    frames = toy_frames(n, seed=1, species=("Si", "C"))
    write_columns(tmp_path / "train.xyz", [labelled(atoms, *kinds) for atoms in frames])
    unseen = toy_frames(10, seed=2, species=("Si", "C"))
    write_columns(tmp_path / "test.xyz", [labelled(atoms, *{toy.name, *kinds}) for atoms in unseen])
    return configuration(tmp_path, terms=[PAIR, SOAP], e0=E0, data={"test": str(tmp_path / "test.xyz"), "forces_key": "",
                                                                     "energy_key": "energy" if "energy" in kinds else ""})


def test_it_takes_few_lines():
    for kind in (CarbonEnergy, BondForce):
        assert len(inspect.getsource(kind).strip().splitlines()) <= 15


@pytest.mark.report
def test_it_is_fitted_and_reported(toy, tmp_path, capsys):
    """Better where it is in the data than where it is not, on structures that neither fit has seen."""
    rmse = {}
    for kinds in (("energy",), ("energy", toy.name)):
        result = fit(settings(tmp_path, toy, *kinds), threads=1, report=toy.name in kinds)
        rmse[kinds] = result.errors["test"]["all"][toy.name]["rmse"]
    assert rmse["energy", toy.name] < 0.5 * rmse["energy",]
    entry = result.errors["train"]["all"][toy.name]
    assert (entry["n"], result.errors["test"]["all"][toy.name]["n"]) == (40, 10)
    assert entry["rmse"] < 0.2 * np.std([s.known[toy.name] for s in structures(tmp_path)])
    out = capsys.readouterr().out
    assert f"40 {toy.name.replace('_', ' ')}" in out
    assert toy.name.split("_")[0] in out.partition("config_ty")[0].rpartition("errors")[2]
    written = json.loads((tmp_path / "model.safetensors.errors.json").read_text())
    assert (written["units"][toy.name], written["training"][toy.name]) == (toy.unit, 40)
    report = json.loads((tmp_path / "model.safetensors.report.json").read_text())
    assert report["errors"]["test"]["by_config_type"]["all"][toy.name]["n"] == 10
    assert len(report["outliers"]["test"][toy.name]) == 6
    assert f"{toy.words} ({toy.unit.replace('/A', '/Å')})" in (tmp_path / "model.safetensors.report.html").read_text()


def structures(tmp_path, name="train.xyz"):
    keys = read_config(configuration(tmp_path, data={"forces_key": "", "energy_key": ""}))[0].data
    return read_dataset([str(tmp_path / name)], keys).structures


def test_it_is_predicted(toy, tmp_path):
    """Alone in the data; what the model predicts is the map of what the model gives otherwise."""
    model = fit(settings(tmp_path, toy, toy.name), quiet=True, threads=1, report=False).model
    evaluator = model.evaluator()
    for structure, atoms in zip(structures(tmp_path, "test.xyz"), toy_frames(10, seed=2, species=("Si", "C")), strict=True):
        predicted = predict(evaluator, structure)
        assert list(predicted) == [toy.name]
        energies, forces = model_values(model, atoms)
        if toy.name == "carbon_energy":
            expected = energies[np.array(atoms.get_chemical_symbols()) == "C"].sum()
        else:
            u = atoms.positions[1] - atoms.positions[0]
            expected = 0.5 * (forces[1] - forces[0]) @ u / np.linalg.norm(u)
        np.testing.assert_allclose(predicted[toy.name], [expected], rtol=0, atol=1e-10 * max(1.0, abs(expected)))


def model_values(model, atoms):
    result = Potential(model, n_threads=1).compute(atoms)
    return result.energies, result.forces


def test_it_is_tuned(toy, tmp_path):
    """Its errors stand beside the others; its sigma, which no key of the configuration has, stays."""
    path = tmp_path / "fit.toml"
    path.write_text(to_toml(settings(tmp_path, toy, "energy", toy.name)))
    best = tune(path, {"folds": 3, "leave_one_out": True}, threads=1, quiet=True).best
    assert set(best["errors"]["all"]) == {"energy", toy.name}
    assert set(best["factors"]) == {"delta 0", "delta 1", "sigma energy"}


def test_a_sigma_of_the_frame_and_a_name_twice(tmp_path):
    toy = register(CarbonEnergy())
    try:
        with pytest.raises(InputError, match="'carbon_energy' exists already"):
            register(CarbonEnergy())
        content = settings(tmp_path, toy, toy.name, n=2)
        frames = [labelled(atoms, toy.name) for atoms in toy_frames(2, seed=1, species=("Si", "C"))]
        frames[0].info["carbon_energy_sigma"] = 0.0
        write_columns(tmp_path / "train.xyz", frames)
        with pytest.raises(InputError, match=r"frame 0 .*the carbon energy sigma is 0, expected > 0"):
            fit(content, quiet=True, threads=1)
    finally:
        del OBSERVABLES[toy.name]
