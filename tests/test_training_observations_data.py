"""Local energies, curvatures and files of different weight as they are read, and every mistake that can be made with them."""

import numpy as np
import pytest
from ase import Atoms
from training_tools import configuration, isolated, silicon, toy_frames, write_columns, write_frames

from soapgap.config import read_config
from soapgap.data.dataset import read_dataset
from soapgap.data.noise import sigmas
from soapgap.errors import InputError
from soapgap.learn.baseline.e0 import atom_energies

SIGMA = [0.001, 0.01, 0.01, 0.05]


def test_weights_and_types_of_files(tmp_path):
    """The type of a file is for frames without one; a weight divides the sigmas of its rows by its root."""
    a, b = silicon(2, 11, "energy", "forces")
    a.info["config_type"] = "own"
    write_columns(tmp_path / "a.xyz", [a, b])
    files = [{"file": "a.xyz", "weight": 4.0, "config_type": "liquid"}, "a.xyz"]
    config, _, _ = read_config(configuration(tmp_path, data={"train": files, "test": {"file": "a.xyz", "config_type": "t"}},
                                             config_type_sigma={"liquid": [1, 2, 3]}))
    data = read_dataset(config.data.train, config.data, tmp_path)
    assert [s.config_type for s in data.structures] == ["own", "liquid", "own", "default"]
    assert [s.weight for s in data.structures] == [4.0, 4.0, 1.0, 1.0]
    assert sigmas(data.structures[1], config)["force"][0] == 2.0
    assert data.n_frames == (2, 2)
    assert read_dataset(config.data.test, config.data, tmp_path).structures[1].config_type == "t"
    assert config.data.file_names == ("a.xyz", "a.xyz", "a.xyz")
    written = config.as_json()["data"]["train"]
    assert written == [{"file": "a.xyz", "weight": 4.0, "config_type": "liquid"}, "a.xyz"]


def test_e0_from_local_energies(tmp_path):
    """An isolated atom may give its energy as a local energy; sums of local energies serve the fitted e0."""
    alone = Atoms("Si", cell=[20.0] * 3, pbc=True)
    alone.arrays["local_energy"] = np.array([-1.25])
    write_columns(tmp_path / "train.xyz", [alone, *silicon(3, 14, "local_energy")])
    config, _, _ = read_config(configuration(tmp_path, data={"energy_key": "", "forces_key": ""}))
    found = read_dataset(config.data.train, config.data).structures
    assert atom_energies("isolated", found, ["Si"], 4.0, [0.0] * 4) == {"Si": -1.25}
    sums = np.array([s.local_energies.sum() for s in found])
    n = np.array([1, 8, 8, 8])
    assert atom_energies("fit", found, ["Si"], 4.0, [0.0] * 4)["Si"] == pytest.approx(n @ sums / (n @ n), rel=1e-13)


# ---- mistakes --------------------------------------------------------------------------------------------------------

def changed(**changes):
    """A frame with local energies or curvatures, in which something is wrong."""
    atoms = silicon(1, 16, "local_energy", "curvature")[0]
    for name, value in changes.items():
        kind, _, key = name.partition("_")
        place = atoms.info if kind == "info" else atoms.arrays
        place.pop(key, None)
        if value is not None:
            place[key] = value
    return atoms


@pytest.mark.parametrize(
    ("changes", "keys", "expected"),
    [
        ({"info_energy": -3.5}, {}, "frame 0 .*an energy .energy. and the energies of its atoms .*and_local_energy = true"),
        ({"array_local_energy": None, "info_local_energy": 1.5}, {}, "local_energy is a column, one number per atom"),
        ({"array_local_energy": np.array([1.0] * 7 + [np.nan])}, {}, "the local energy .local_energy. of atom 7 is nan"),
        ({"array_local_energy": np.zeros((8, 3))}, {}, r"shape \(8, 3\), expected \(8, 1\)"),
        ({"info_local_energy_sigma": 0.1, "info_local_property_sigma": 0.1}, {}, "mean the same; remove one"),
        ({"info_local_property_mask": 1}, {}, "local_property_mask is a column.*whole frame"),
        ({"info_n_hessian": None}, {}, "has hessian1, but not n_hessian.*add n_hessian = 3"),
        ({"info_n_hessian": 2}, {}, "n_hessian is 2, but there is hessian3"),
        ({"info_n_hessian": 4}, {}, "hessian4 is not given as the curvature, a number of the frame"),
        ({"info_n_hessian": 1.5}, {}, "n_hessian is 1.5, expected an integer"),
        ({"array_hessian2": None}, {}, "hessian2 is not given as its direction, 3 columns"),
        ({"array_hessian2": np.zeros((8, 3))}, {}, "hessian2. is zero; expected an eigenvector"),
        ({"array_hessian2": np.full((8, 3), np.inf)}, {}, "the direction of the curvature .hessian2. of atom 0 is inf"),
        ({"info_hessian2": "low"}, {}, "the curvature .hessian2. is 'low', expected numbers"),
        ({}, {"local_energy_key": "eps"}, "no frame has 'eps' .data.local_energy_key.*hessian1, hessian2"),
        ({}, {"hessian_key": "curv"}, "no frame has 'n_curv' .data.hessian_key.*n_hessian"),
    ],
)
def test_mistakes_in_the_data(tmp_path, changes, keys, expected):
    write_columns(tmp_path / "train.xyz", [changed(**changes)])
    given = {"energy_key": "energy" if "info_energy" in changes else "", "forces_key": ""}
    config, _, _ = read_config(configuration(tmp_path, data=given | keys))
    with pytest.raises(InputError, match=expected):
        read_dataset(config.data.train, config.data)


@pytest.mark.parametrize(
    ("sigma", "more", "info", "expected"),
    [
        (SIGMA[:3], {}, {}, r"has curvatures \(3 of them\), but no sigma for them: expected a fourth number"),
        ([1, 1, 1, 0], {}, {}, 'the curvature sigma is 0, expected > 0.*data.hessian_key = ""'),
        (SIGMA, {"local_energy_sigma": 0.0}, {}, 'the local energy sigma is 0, .*data.local_energy_key = ""'),
        (SIGMA, {}, {"info_hessian_sigma": -1.0}, "the curvature sigma is -1"),
        (SIGMA, {"config_type_sigma": {"default": [1, 1, 1]}}, {}, "no sigma for them"),
    ],
)
def test_sigmas_that_are_missing_or_zero(tmp_path, sigma, more, info, expected):
    write_columns(tmp_path / "train.xyz", [changed(**info)])
    config, _, _ = read_config(configuration(tmp_path, data={"energy_key": "", "forces_key": ""}, default_sigma=sigma, **more))
    (structure,) = read_dataset(config.data.train, config.data).structures
    with pytest.raises(InputError, match=f"frame 0 .*{expected}"):
        sigmas(structure, config)


def test_what_is_not_fitted_needs_no_number(tmp_path):
    """A local energy that the mask excludes may be anything; an absent quantity needs no sigma."""
    write_columns(tmp_path / "train.xyz", [changed(array_local_energy=np.array([1.0] * 7 + [np.nan]),
                                                   array_local_property_mask=np.arange(8) < 7)])
    config, _, _ = read_config(configuration(tmp_path, data={"energy_key": "", "forces_key": "", "hessian_key": ""}))
    (structure,) = read_dataset(config.data.train, config.data).structures
    assert (structure.n_rows, structure.total_energy, structure.curvatures) == (7, None, None)
    assert list(sigmas(structure, config)) == ["local_energy"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"train": [{"file": "a.xyz", "wieght": 2.0}]}, r"data.train\[0\].wieght: unknown key; did you mean 'weight'"),
        ({"train": {"weight": 2.0}}, r"data.train\[0\].file: this key is missing"),
        ({"train": ["a.xyz", {"file": "b.xyz", "weight": 0.0}]}, r"data.train\[1\].weight: got 0.0, expected greater than 0"),
        ({"train": {"file": "b.xyz", "weight": "2"}}, r"data.train\[0\].weight: got '2', expected number"),
        ({"train": [3]}, r"data.train: expected the path .*, a table \{file = ..., weight = ..., config_type = ...\}.*\[3\]"),
        ({"test": {"file": "b.xyz", "weight": 2.0}}, "data: the weight 2 of the test file 'b.xyz' has no effect.*remove it"),
        ({"config_type": "liquid"}, "data.config_type: unknown key; it belongs to a table in data.train"),
        ({"hessian_delta": 0.1}, "data.hessian_delta: unknown key; it belongs to the top"),
    ],
)
def test_mistakes_in_the_configuration(tmp_path, data, expected):
    with pytest.raises(InputError, match=expected):
        read_config(configuration(tmp_path, data=data))


@pytest.mark.parametrize(("sigma", "words"), [([1.0, 2.0], "got 2"), ([1.0, 2.0, 3.0, 4.0, 5.0], "got 5"),
                                              ([1.0, 2.0, 3.0, -4.0], "got .*-4.0")])
def test_sigmas_are_three_or_four(tmp_path, sigma, words):
    with pytest.raises(InputError, match=f"default_sigma: expected three numbers >= 0.*or four, with that of the.*{words}"):
        read_config(configuration(tmp_path, default_sigma=sigma))


def test_default_names_do_not_disturb_plain_data(tmp_path):
    """Files without any of this are read as before."""
    write_frames(tmp_path / "train.xyz", [isolated("Si"), *toy_frames(2)])
    config, _, _ = read_config(configuration(tmp_path))
    data = read_dataset(config.data.train, config.data)
    assert sorted(data.counts()) == ["atoms", "energies", "force_components", "frames", "virial_components"]
    assert all(s.local_energies is None and s.curvatures is None and s.weight == 1.0 for s in data.structures)
