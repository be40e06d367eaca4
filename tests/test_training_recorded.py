"""What a model records of its fit is the configuration of that fit: written to a file as it stands, it gives the same model."""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from training_tools import (
    ANGLE,
    DISTANCES,
    E0,
    PAIR,
    SOAP,
    configuration,
    isolated_energy,
    silicon,
    toy_frames,
    write_columns,
)

import soapgap
from soapgap.config import read_config
from soapgap.config.data import EXPECTED_IF_NAMED
from soapgap.config.toml import to_toml
from soapgap.errors import InputError
from soapgap.fitting import fit
from soapgap.learn.state import load_state
from soapgap.model import Model

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = [*sorted((ROOT / "examples").rglob("fit.toml")), ROOT / "src" / "soapgap" / "demo" / "data" / "fit.toml"]
FEW = {"n_sparse": 12}
STEEP = SOAP | {"n_max": 2, "l_max": 0, "delta": 3e3}  # more points than dimensions, and 1e-8 eV^2 is lost in rounding


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """train.xyz: energies, forces and virials; rich.xyz: local energies and curvatures, too; test.xyz."""
    folder = tmp_path_factory.mktemp("recorded")
    frames = [*silicon(4, 1, "energy", "forces", "virial"), *silicon(2, 2, "energy", "forces")]
    for k, atoms in enumerate(frames):
        atoms.info["config_type"] = "even" if k % 2 else "odd"
    write_columns(folder / "train.xyz", [isolated_energy(), *frames])
    write_columns(folder / "rich.xyz", [*silicon(2, 3, "local_energy", "forces"), *silicon(2, 4, "energy", "curvature")])
    write_columns(folder / "second.xyz", silicon(2, 6, "energy", "forces"))
    write_columns(folder / "test.xyz", silicon(2, 5, "energy", "forces", "virial", "curvature"))
    return folder


def fitted(folder, content):
    """The model of a `fit.toml` in a folder, and its bytes."""
    folder.mkdir(parents=True)
    (folder / "fit.toml").write_text(to_toml(content | {"output": "model.safetensors"}))
    fit(folder / "fit.toml", quiet=True, threads=1)
    return Model.load(folder / "model.safetensors"), (folder / "model.safetensors").read_bytes()


def check_round_trip(tmp_path, content):
    first, before = fitted(tmp_path / "first", content)
    recorded = first.provenance["config"]
    second, after = fitted(tmp_path / "second", recorded)
    assert second.provenance == first.provenance
    assert after == before
    return recorded


KINDS = {
    "pair and soap": dict(terms=[PAIR | FEW, SOAP | {"n_sparse": {"Si": 12}, "radial_scaling": {"rate": 1.0, "scale": 2.0,
                                                                                               "exponent": 4}}]),
    "angle_3b": dict(terms=[PAIR | FEW, ANGLE | FEW]),
    "distance_3b": dict(terms=[DISTANCES | FEW | {"species": ["Si", "Si", "Si"]}]),
    "theta_fac": dict(terms=[{k: v for k, v in PAIR.items() if k != "theta"} | {"theta_fac": 0.2}]),
    "config types": dict(terms=[{k: v for k, v in SOAP.items() if k != "n_sparse"}
                                | {"config_type_n_sparse": {"even": 4, "odd": {"Si": 5}}}],
                         config_type_sigma={"even": [0.01, 0.1, 0.1]}),
    "equispaced, exact, no baseline": dict(terms=[SOAP | FEW | {"radial_basis": "equispaced"}], exact=True,
                                           baseline={"kind": "none"}),
    "radii": dict(terms=[PAIR | FEW], baseline={"pairs": {"Si-Si": {"outer": 1.2}}}, e0={"Si": E0["Si"]}, e0_offset=0.1),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_term(data, tmp_path, kind):
    check_round_trip(tmp_path, configuration(data, **KINDS[kind]))


def test_files_with_weights_test_data_and_all_quantities(data, tmp_path):
    """Also tables for test files, and a quantity that only the test data have."""
    files = [{"file": str(data / "train.xyz"), "weight": 2.0}, {"file": str(data / "rich.xyz"), "config_type": "rich"}]
    test = [{"file": str(data / "test.xyz"), "config_type": "held out"}]
    content = configuration(data, terms=[SOAP | FEW], default_sigma=[0.001, 0.01, 0.01, 0.05],
                            data={"train": files, "test": test, "energy_and_local_energy": True})
    recorded = check_round_trip(tmp_path, content)
    assert not set(EXPECTED_IF_NAMED) & set(recorded["data"])


def test_other_files(data, tmp_path):
    """Sparse points and a baseline that are read from files."""
    earlier = fit(configuration(data, terms=[PAIR | FEW, SOAP | FEW]) | {"output": str(tmp_path / "earlier.safetensors")},
                  quiet=True, threads=1).files.model
    points = {k: v for k, v in SOAP.items() if k != "n_sparse"} | {"sparse_method": "file", "sparse_file": str(earlier)}
    check_round_trip(tmp_path, configuration(data, terms=[points]))
    check_round_trip(tmp_path / "baseline", configuration(data, terms=[SOAP | FEW],
                                                          baseline={"kind": "none", "potentials": [
                                                              {"kind": "file", "file": str(earlier)},
                                                              {"kind": "ase", "calculator": "ase.calculators.lj:LennardJones",
                                                               "arguments": {"sigma": 1.5, "epsilon": 0.01, "rc": 3.5}}]}))


def test_the_jitter_that_was_used_is_recorded(data, tmp_path):
    """With nothing said, "auto" chooses; the model says what it chose, and that as a number gives the same model."""
    content = configuration(data, terms=[STEEP])
    with pytest.raises(InputError, match="sparse_jitter = 1e-08.*increase sparse_jitter"):
        fitted(tmp_path / "given", content | {"sparse_jitter": 1e-8})
    recorded = check_round_trip(tmp_path, content)
    assert recorded["sparse_jitter"] in (1e-7, 1e-6, 1e-5, 1e-4)
    facts = load_state(tmp_path / "first" / "model.safetensors.fit").facts
    assert facts["config"]["sparse_jitter"] == recorded["sparse_jitter"]
    said, _ = fitted(tmp_path / "said", content | {"sparse_jitter": "auto"})
    assert said.provenance["config"] == recorded


def test_added_data_keep_the_jitter(data, tmp_path):
    """`add_to` takes the jitter of the earlier fit if "auto" is asked for or its own value, and refuses another."""
    first, _ = fitted(tmp_path / "first", configuration(data, terms=[STEEP]))
    used = first.provenance["config"]["sparse_jitter"]
    more = configuration(data, terms=[STEEP], data={"train": str(data / "second.xyz")})
    found = []
    for name, jitter in (("auto", "auto"), ("number", used)):
        content = more | {"sparse_jitter": jitter, "output": str(tmp_path / f"{name}.safetensors")}
        found.append(fit(content, quiet=True, threads=1, add_to=tmp_path / "first" / "model.safetensors").files.model)
    assert Model.load(found[0]).provenance["config"]["sparse_jitter"] == used
    assert found[0].read_bytes() == found[1].read_bytes()
    with pytest.raises(InputError, match=f"sparse_jitter = 1e-08, but model.safetensors was fitted with {used:g}"):
        fit(more | {"sparse_jitter": 1e-8}, quiet=True, threads=1, add_to=tmp_path / "first" / "model.safetensors")


def test_a_quantity_that_was_named_is_still_expected(data, tmp_path):
    content = configuration(data, terms=[PAIR | FEW], data={"virial_key": "virial"})
    recorded = check_round_trip(tmp_path, content)
    assert recorded["data"]["virial_key"] == "virial"
    with pytest.raises(InputError, match="no frame has 'n_hessian'"):
        fitted(tmp_path / "named", configuration(data, terms=[PAIR | FEW], data={"hessian_key": "hessian"}))


def test_an_estimator_records_its_settings(tmp_path):
    frames = toy_frames(4, seed=6)
    gap = soapgap.GapModel([STEEP], [0.001, 0.01, 0.01], e0={"Si": E0["Si"]}).fit(frames, threads=1, quiet=True)
    recorded = gap.model_.provenance["config"]
    again = soapgap.GapModel(**recorded).fit(frames, threads=1, quiet=True)
    assert again.model_.provenance["config"] == recorded
    assert recorded["sparse_jitter"] == gap.conditions_.jitter > 1e-8
    probe = toy_frames(1, seed=7)
    np.testing.assert_array_equal(again.predict(probe)[0].forces, gap.predict(probe)[0].forces)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_shipped_configurations_are_recorded_whole(path):
    """The record of each, with a name for the model, is a `fit.toml` that says the same: all values, all expectations."""
    config = read_config(path)[0]
    recorded = config.recorded(1e-7)
    again = read_config(tomllib.loads(to_toml({"output": config.output} | recorded)))[0]
    assert again.recorded(1e-7) == recorded
    assert again.model_copy(update={"sparse_jitter": config.sparse_jitter}).model_dump() == config.model_dump()
    expected = set(EXPECTED_IF_NAMED)
    assert again.data.model_fields_set & expected == config.data.model_fields_set & expected


@pytest.mark.report
def test_the_report_shows_a_configuration_that_can_be_fitted(data, tmp_path):
    import html
    import re

    _, before = fitted(tmp_path / "first", configuration(data, terms=[PAIR | FEW]))
    page = (tmp_path / "first" / "model.safetensors.report.html").read_text()
    (block,) = re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "fit.toml").write_text(html.unescape(block))
    fit(tmp_path / "second" / "fit.toml", quiet=True, threads=1, report=False)
    assert (tmp_path / "second" / "model.safetensors").read_bytes() == before
