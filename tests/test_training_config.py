"""The schema of fit.toml: every mistake is one clear sentence that says where it is."""

import copy
import tomllib
from pathlib import Path

import pytest

from soapgap.config import read_config, sections
from soapgap.errors import InputError
from soapgap.quip.radial import gto_fit
from soapgap.radial.bases import make_basis
from soapgap.radial.limits import LIMITS

GOOD = {
    "output": "a.safetensors",
    "data": {"train": "a.xyz"},
    "default_sigma": [0.001, 0.1, 0.05],
    "terms": [
        {"kind": "soap", "n_max": 4, "l_max": 3, "cutoff": 4, "atom_sigma": 0.5, "n_sparse": 10},
        {"kind": "distance_2b", "cutoff": 4.0, "theta": 0.5, "delta": 1.0, "n_sparse": 10},
    ],
}


def changed(path, value):
    """GOOD with one entry set; `path` is a tuple of keys and indices. A value of `...` removes the entry."""
    config = copy.deepcopy(GOOD)
    place = config
    for key in path[:-1]:
        place = place.setdefault(key, {}) if isinstance(place, dict) else place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return config


def test_defaults_are_gap_s():
    config, _, _ = read_config(GOOD)
    soap, pair = config.terms
    assert (soap.cutoff_transition_width, soap.zeta, soap.delta, soap.radial_basis) == (0.5, 4.0, 1.0, "gto")
    assert (soap.sparse_method, soap.central_weight, pair.cutoff_transition_width) == ("cur", 1.0, 0.5)
    assert (config.e0, config.sparse_jitter, config.sigma_per_atom) == ("isolated", "auto", True)
    assert config.baseline.kind == "zbl"
    assert config.data.train == ("a.xyz",)


@pytest.mark.parametrize(("name", "low", "high"), [(name, *limits) for name, limits in LIMITS.items()])
def test_sizes_of_a_basis_have_one_limit_and_one_message(name, low, high):
    """What the schema takes, the bases take; what it refuses, they refuse in the same words."""
    for value in (low, high):
        term = read_config(changed(("terms", 0, name), value))[0].terms[0]
        shape = {"n_max": term.n_max, "l_max": term.l_max, "cutoff": 4.0, "atom_sigma": 0.5, "cutoff_transition_width": 0.5}
        assert getattr(make_basis("gto", **shape), name) == value
    size = {"n_max": 4, "l_max": 3}
    for value in (low - 1, high + 1):
        words = f"expected a whole number from {low} to {high}"
        with pytest.raises(InputError, match=rf"terms\[0\]\.{name}: got {value}, {words}$"):
            read_config(changed(("terms", 0, name), value))
        with pytest.raises(InputError, match=f"{name} is {value}, {words}$"):
            make_basis("gto", **(size | {name: value}), cutoff=4.0, atom_sigma=0.5, cutoff_transition_width=0.5)
        with pytest.raises(InputError, match=f"{name} is {value}, {words}$"):
            gto_fit(**(size | {name: value}), cutoff=4.0, atom_sigma=0.5)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("terms", 0, "nmax"), 3, ["terms[0].nmax", "unknown key", "did you mean 'n_max'"]),
        (("terms", 1, "zeta"), 3, ["terms[1].zeta", "unknown key", '[[terms]] of kind "soap"']),
        (("terms", 0, "wombat"), 3, ["terms[0].wombat", "unknown key", "atom_sigma"]),
        (("default_sigmas",), [1, 2, 3], ["default_sigmas", "did you mean 'default_sigma'"]),
        (("data", "default_sigma"), [1, 2, 3], ["data.default_sigma", "top of the file"]),
        (("terms", 0, "n_max"), "8", ["terms[0].n_max", "'8'", "integer"]),
        (("terms", 0, "n_max"), True, ["terms[0].n_max", "True", "integer"]),
        (("terms", 0, "n_max"), 0, ["terms[0].n_max", "0", "expected a whole number from 1 to 32"]),
        (("terms", 0, "n_max"), ..., ["terms[0].n_max", "missing"]),
        (("terms", 0, "kind"), ..., ["terms[0].kind", "missing", "soap"]),
        (("terms", 0, "kind"), "sop", ["terms[0].kind", "'sop'", "did you mean 'soap'"]),
        (("terms", 0, "cutoff"), float("nan"), ["terms[0].cutoff", "nan", "finite"]),
        (("terms", 0, "cutoff"), -1.0, ["terms[0].cutoff", "-1.0", "greater than 0"]),
        (("terms", 0, "cutoff_transition_width"), 5.0, ["terms[0]", "cutoff_transition_width = 5", "cutoff = 4"]),
        (("terms", 0, "radial_basis"), "gaussian", ["terms[0].radial_basis", "'gto' or 'equispaced'"]),
        (("terms", 0, "n_sparse"), 1.5, ["terms[0].n_sparse", "1.5", "integer"]),
        (("terms", 0, "n_sparse"), {"Si": 0}, ["terms[0].n_sparse", "integer >= 1"]),
        (("terms",), [], ["terms", "at least one"]),
        (("default_sigma",), [1.0, 2.0, 3.0, 4.0, 5.0], ["default_sigma", "three", "Hessian"]),
        (("default_sigma",), [1.0, 2.0, -3.0], ["default_sigma", ">= 0"]),
        (("default_sigma",), ..., ["default_sigma", "missing"]),
        (("config_type_sigma", "liquid"), [1.0], ["config_type_sigma.liquid", "three"]),
        (("data", "train"), ..., ["data.train", "missing"]),
        (("data", "train"), [], ["data.train", "path"]),
        (("data",), "a.xyz", ["data", "'a.xyz'", "table"]),
        (("e0",), "isolate", ["e0", "'isolate'", '"isolated"']),
        (("e0",), {"Si": "x"}, ["e0", "energies per species"]),
        (("sparse_jitter",), 0.0, ["sparse_jitter", "greater than 0"]),
        (("sparse_jitter",), "automatic", ["sparse_jitter", "'automatic'", '"auto"', "greater than 0"]),
        (("seed",), -1, ["seed", "greater than or equal to 0"]),
        (("baseline",), {"pairs": {"Si-Si": {"inner": 2.0, "outer": 1.0}}}, ["baseline.pairs.Si-Si", "inner = 2"]),
        (("baseline",), {"pairs": {"Si-Si": {"iner": 2.0, "outer": 3.0}}}, ["Si-Si.iner", "did you mean 'inner'"]),
        (("baseline",), {"kind": "zlb"}, ["baseline.kind", "'zlb'", "'zbl' or 'none'"]),
    ],
)
def test_mistakes(path, value, expected):
    with pytest.raises(InputError) as caught:
        read_config(changed(path, value))
    message = str(caught.value)
    assert "\n" not in message
    for part in expected:
        assert part in message, message


def test_all_mistakes_are_told_at_once():
    config = changed(("terms", 0, "n_max"), "8")
    config["sed"] = 1
    with pytest.raises(InputError, match=r"sed: unknown key; did you mean 'seed'") as caught:
        read_config(config)
    assert "terms[0].n_max" in str(caught.value)


def test_files(tmp_path):
    with pytest.raises(InputError, match="cannot read the configuration"):
        read_config(tmp_path / "absent.toml")
    path = tmp_path / "fit.toml"
    path.write_text("output = \n")
    with pytest.raises(InputError, match="not a TOML file.*line 1"):
        read_config(path)
    path.write_text(
        'output = "m.safetensors"\ndefault_sigma = [0.001, 0.1, 0.0]\ne0 = {Si = -0.79}\n'
        '[config_type_sigma]\nliquid = [0.01, 0.2, 0.0]\n[data]\ntrain = ["a.xyz", "b.xyz"]\n'
        '[[terms]]\nkind = "soap"\nn_max = 8\nl_max = 8\ncutoff = 5.4\natom_sigma = 0.5\nn_sparse = {Si = 100}\n'
        '[baseline.pairs]\n"Si-Si" = {outer = 1.5}\n'
    )
    config, folder, name = read_config(path)
    assert (folder, name) == (tmp_path, "fit.toml")
    assert config.data.train == ("a.xyz", "b.xyz")
    assert config.config_type_sigma["liquid"] == (0.01, 0.2, 0.0)
    assert config.e0 == {"Si": -0.79}
    assert config.terms[0].n_sparse == {"Si": 100}
    assert config.baseline.pairs["Si-Si"].outer == 1.5


PAGE = Path(__file__).resolve().parent.parent / "docs" / "training.md"


def test_documentation_knows_every_key():
    text = PAGE.read_text()
    for where, section in sections().items():
        for key in section.model_fields:
            forms = (f"`{key}`", f"{key} =", f"`[{key}]`", f"`[[{key}]]`")
            assert any(form in text for form in forms), f"{where}.{key} is not explained in docs/training.md"


def test_documented_configuration_is_valid():
    block = PAGE.read_text().split("```toml\n")[1].split("```")[0]
    config, _, _ = read_config(tomllib.loads(block))
    assert [term.kind for term in config.terms] == ["distance_2b", "soap"]
