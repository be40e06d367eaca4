"""The model file: round trip, damage of every kind, versions, identical bytes."""

import copy
import json
import os
import struct

import numpy as np
import pytest
from few_body_models import make_channels_model, make_few_body_model
from models import make_two_species_model as two_species_model
from programs import run_python

from soapgap.errors import InputError, ModelFileError
from soapgap.files import write_atomically
from soapgap.model import Model


@pytest.fixture(scope="module")
def model():
    return two_species_model()


@pytest.fixture(scope="module")
def content(model):
    return model.to_bytes()


def with_metadata(content: bytes, change) -> bytes:
    """The same container with changed metadata (the checksum entry stays as it is, unless `change` touches it)."""
    n_header = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:8 + n_header])
    meta = json.loads(header["__metadata__"]["soapgap"])
    change(meta)
    header["__metadata__"]["soapgap"] = json.dumps(meta, sort_keys=True, separators=(",", ":"))
    fresh = json.dumps(header).encode()
    fresh += b" " * (-len(fresh) % 8)
    return struct.pack("<Q", len(fresh)) + fresh + content[8 + n_header:]


def test_round_trip_is_bit_exact(model, content, tmp_path):
    model.save(tmp_path / "m.safetensors")
    assert (tmp_path / "m.safetensors").read_bytes() == content
    again = Model.load(tmp_path / "m.safetensors")
    assert again.to_bytes() == content
    assert again.checksum == model.checksum
    for old, new in zip(model.terms, again.terms, strict=True):
        for name, value in vars(old).items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(value, getattr(new, name))
        np.testing.assert_array_equal(old.table.values, new.table.values)


def test_no_temporary_file_is_left(model, tmp_path):
    model.save(tmp_path / "m.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_every_truncation_is_refused(content):
    for n in [0, 1, 7, 8, 9, 100, 1000, *np.linspace(1001, len(content) - 1, 40).astype(int).tolist()]:
        with pytest.raises(ModelFileError):
            Model.from_bytes(content[:n])


def test_every_flipped_byte_is_refused(content):
    rng = np.random.default_rng(0)
    n_header = struct.unpack("<Q", content[:8])[0]
    places = [*range(8), *rng.integers(8, 8 + n_header, 150), *rng.integers(8 + n_header, len(content), 150)]
    for place in places:
        altered = bytearray(content)
        altered[place] ^= 1 << int(rng.integers(8))
        if bytes(altered) == content:
            continue
        try:
            read = Model.from_bytes(bytes(altered))
        except ModelFileError:
            continue
        # blanks of the header's padding carry no meaning; everything else must have been noticed
        assert read.to_bytes() == content


def test_appended_bytes_are_refused(content):
    with pytest.raises(ModelFileError, match="cover"):
        Model.from_bytes(content + b"\0" * 8)


@pytest.mark.parametrize(("change", "words"), [
    (lambda m: m.update(format=3), "format version 3.*upgrade"),
    (lambda m: m.update(format=1), "format version 1, which was never released.*convert"),
    (lambda m: m.update(novelty=1), "unknown key 'novelty'.*upgrade"),
    (lambda m: m.pop("properties"), "lacks the key 'properties'"),
    (lambda m: terms_in(m)[0].update(kind="quartet"), "checksum"),
    (lambda m: m.update(provenance={"who": "somebody else"}), "checksum"),
    (lambda m: m["properties"][0]["offsets"].__setitem__(0, [99.0]), "checksum"),
])
def test_changed_metadata_are_refused(content, change, words):
    with pytest.raises(ModelFileError, match=words):
        Model.from_bytes(with_metadata(content, change))


@pytest.mark.parametrize(("change", "words"), [
    (lambda m: terms_in(m)[0].update(kind="quartet"), "unknown kind 'quartet'.*upgrade"),
    (lambda m: terms_in(m)[0].update(kind_version=4), "version 4.*upgrade"),
    (lambda m: terms_in(m)[0].pop("reduced"), "lacks the key 'reduced'"),
    (lambda m: terms_in(m)[0]["source"].pop("channels"), "lacks the key 'channels'"),
    (lambda m: terms_in(m)[0]["source"].update(kind="grid"), "unknown kind 'grid'.*upgrade"),
    (lambda m: terms_in(m)[0]["features"].update(kind="bispectrum"), "unknown kind 'bispectrum'.*upgrade"),
    (lambda m: terms_in(m)[0]["kernel"].update(kind="neural"), "unknown kind 'neural'.*upgrade"),
    (lambda m: terms_in(m)[0]["source"].update(n_max=7), "shape"),
    (lambda m: terms_in(m)[0]["kernel"].update(zeta=-1.0), "out of range"),
    (lambda m: terms_in(m)[0]["tensors"].update(radial="nowhere"), "missing"),
    (lambda m: terms_in(m).pop(), "belongs to no term"),
    (lambda m: m["properties"].clear(), "no properties"),
    (lambda m: m["properties"].append(dict(m["properties"][0])), "name 'energy' is that of another property"),
    (lambda m: m["properties"][0].update(name="dipole"), "first property is 'dipole', expected energy"),
    (lambda m: m["properties"][0].update(irreps="1o"), "irreps.*upgrade"),
    (lambda m: m["properties"][0].update(n_out=2), "offsets"),
    (lambda m: m["properties"][0].update(n_out=2, offsets=[[0.0, 0.0]] * 2), "shape"),
    (lambda m: m["properties"][0].update(offsets=[[0.0]]), "offsets"),
    (lambda m: m.update(units={"energy": "Hartree", "length": "Bohr"}), "units"),
])
def test_inconsistent_models_with_a_right_checksum_are_refused(content, change, words):
    with pytest.raises(ModelFileError, match=words):
        Model.from_bytes(sealed(content, change))


def sealed(content: bytes, change) -> bytes:
    """The same container with changed metadata and the checksum that belongs to them."""
    from safetensors.numpy import load

    from soapgap.model import model as module

    def seal(meta):
        change(meta)
        meta.pop("checksum")
        meta["checksum"] = module._checksum(module._canonical(meta), load(content))

    return with_metadata(content, seal)


def terms_in(meta):
    """The terms of the energy."""
    return meta["properties"][0]["terms"]


def of_term(index, **entries):
    """A change of one term's metadata; a dict changes entries of the entry."""

    def change(meta):
        for key, value in entries.items():
            if isinstance(value, dict):
                terms_in(meta)[index][key].update(value)
            else:
                terms_in(meta)[index][key] = value

    return change


@pytest.mark.parametrize(("index", "entries", "words"), [
    (3, {"source": {"geometry": "dihedral"}}, "geometry.*not known.*upgrade"),
    (3, {"kernel": {"kind": "matern"}}, "kernel has the unknown kind 'matern'.*upgrade"),
    (3, {"kernel": {"permutations": [[0, 1, 1]]}}, "permutations"),
    (3, {"kernel": {"permutations": []}}, "permutations"),
    (3, {"kernel": {"permutations": [[0, 1]]}}, "permutations"),
    (3, {"kernel": {"theta": [1.0, 0.0, 1.0]}}, "theta"),
    (3, {"kernel": {"theta": [1.0, 1.0]}}, "theta"),
    (3, {"neighbours": ["Si", "Xe"]}, "names a species that is not in the model"),
    (3, {"neighbours": ["Si"]}, "neighbours"),
    (3, {"kernel": {"n_sparse": 11}}, "shape"),
    (3, {"kernel": {"zeta": 0.5}}, "zeta.*out of range"),
    (3, {"source": {"third_cutoff": 2.0}}, "third_cutoff.*out of range"),
    (3, {"source": {"cutoff_transition_width": 0.0}}, "out of range"),
    (3, {"grid": {"n_intervals": [5, 5, 5]}}, "shape"),
    (3, {"grid": {"n_intervals": [0, 5, 5]}}, "n_intervals"),
    (3, {"grid": {"n_intervals": [5.5, 5, 5]}}, "n_intervals"),
    (11, {"neighbours": ["O"]}, "differ in number"),
    (11, {"neighbours": ["O", "O"]}, "names a species twice"),
    (11, {"source": {"cutoff": 3.0}}, "cutoff"),
    (11, {"densities": []}, "differ in number"),
    (11, {"energy": {"segments": []}}, "segments"),
    (11, {"centre": "Xe"}, "names a species that is not in the model"),
])
def test_inconsistent_terms_of_few_bodies_are_refused(index, entries, words):
    with pytest.raises(ModelFileError, match=words):
        Model.from_bytes(sealed(make_few_body_model("spline").to_bytes(), of_term(index, **entries)))


def channels(**changes):
    """Channels of one channel for two neighbours, changed."""
    return {"source": {"channels": {"of_neighbour": [0, 0], "n": 1, "table_per_neighbour": False} | changes}}


@pytest.mark.parametrize(("index", "entries", "words"), [
    (0, channels(of_neighbour=[0, 1]), "of_neighbour"),
    (0, channels(of_neighbour=[0]), "of_neighbour"),
    (0, channels(of_neighbour=[0, 0.5]), "of_neighbour"),
    (0, channels(n=2), "shape"),
    (0, channels(n=0), "out of range"),
    (0, {"features": {"l_factors": [1.0]}}, "l_factors"),
    (0, {"kernel": {"offset": -1.0}}, "offset.*out of range"),
    (0, channels(table_per_neighbour=True), "shape"),
    (0, channels(novelty=1), "novelty.*upgrade"),
    (1, {"tensors": {"pairs": "1.centre_values"}}, "functions that are not there"),
    (1, {"source": {"n_max": 2}}, "shape"),
    (2, channels(table_per_neighbour=False), "shape"),
])
def test_inconsistent_channels_are_refused(index, entries, words):
    with pytest.raises(ModelFileError, match=words):
        Model.from_bytes(sealed(make_channels_model().to_bytes(), of_term(index, **entries)))


@pytest.mark.parametrize("make", [lambda: make_few_body_model("spline"), make_channels_model])
def test_other_kinds_of_terms_are_whole_or_refused(make):
    content = make().to_bytes()
    assert Model.from_bytes(content).to_bytes() == content
    n_header = struct.unpack("<Q", content[:8])[0]
    for n in np.linspace(0, len(content) - 1, 10).astype(int).tolist():
        with pytest.raises(ModelFileError):
            Model.from_bytes(content[:n])
    for place in np.random.default_rng(0).integers(8 + n_header, len(content), 10):
        altered = bytearray(content)
        altered[place] ^= 1
        with pytest.raises(ModelFileError, match="checksum"):
            Model.from_bytes(bytes(altered))


def test_other_files_are_refused(tmp_path):
    for name, data in (("text", b"hello, this is not a model at all"), ("zeros", bytes(1000)), ("empty", b"")):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(ModelFileError, match=name):
            Model.load(path)
    with pytest.raises(ModelFileError, match="No such file"):
        Model.load(tmp_path / "missing")


def test_numbers_that_are_not_finite_are_not_written(tmp_path):
    broken = copy.deepcopy(two_species_model())
    broken.terms[0].weights = broken.terms[0].weights.copy()
    broken.terms[0].weights[0, 0] = np.nan
    with pytest.raises(InputError, match="finite"):
        broken.save(tmp_path / "m.safetensors")
    assert not list(tmp_path.iterdir())


def test_missing_e0_is_an_error(model):
    with pytest.raises(InputError, match="e0"):
        Model(model.species, {model.species[0]: 0.0}, model.terms).to_bytes()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full to play a full disk")
def test_full_disk_is_one_error_and_leaves_nothing(tmp_path, monkeypatch):
    real_open = open

    def full(path, mode="r", *args, **kwargs):
        return real_open("/dev/full", mode) if mode == "wb" else real_open(path, mode, *args, **kwargs)

    monkeypatch.setattr("builtins.open", full)
    with pytest.raises(InputError, match="No space left.*no partial file"):
        write_atomically(tmp_path / "m.safetensors", b"x" * 100000)
    assert not list(tmp_path.iterdir())


def test_info_prints_what_is_in_it(model, tmp_path):
    model.save(tmp_path / "m.safetensors")
    done = run_python("-m", "soapgap", "info", "m.safetensors", folder=tmp_path)
    assert done.status == 0, done.stderr
    assert model.checksum in done.stdout
    for symbol in model.species:
        assert symbol in done.stdout


def test_the_command_line_says_one_line_and_leaves_with_2(tmp_path):
    (tmp_path / "m.safetensors").write_bytes(b"nonsense, much longer than ten bytes")
    done = run_python("-m", "soapgap", "info", "m.safetensors", folder=tmp_path)
    assert done.status == 2
    assert done.stdout == ""
    assert done.stderr.startswith("soapgap: ")
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("name", ["format_2", "format_2_reduced", "format_2_few_body", "format_2_channels"])
def test_released_files_are_read_as_they_were_written(name):
    """A golden file per format and version: made once by tests/golden/make_*.py, never again."""
    from pathlib import Path

    from ase import Atoms

    from soapgap.potential import Potential

    golden = Path(__file__).parent / "golden"
    expected = json.loads((golden / f"{name}.json").read_text())
    model = Model.load(golden / f"{name}.safetensors")
    assert model.checksum == expected["checksum"]
    result = Potential(model).compute(Atoms(expected["symbols"], expected["positions"], cell=expected["cell"], pbc=True))
    for quantity in {"energy", "energies", "forces", "virial"} & set(expected):
        numbers = np.array(expected[quantity])
        np.testing.assert_allclose(getattr(result, quantity), numbers, rtol=0, atol=1e-10 * np.abs(numbers).max())
