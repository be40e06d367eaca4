"""Maps of the data with the sparse points: kernel principal components, pictures, files for chemiscope.org."""

import json

import numpy as np
import pytest
from test_training_sparse import Setup
from training_tools import ANGLE, E0, SOAP, isolated, toy_frames
from typer import Typer
from typer.testing import CliRunner

from soapgap.cli.sparse_map import sparse_map as command
from soapgap.errors import InputError
from soapgap.model import Model
from soapgap.report.sparse_map import draw_sparse_map, sparse_map, write_chemiscope
from soapgap.report.sparse_map_file import write_maps

TERM = SOAP | {"sparse_method": "fps", "n_sparse": 15}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    frames = [isolated("Si"), isolated("C"), *toy_frames(10, seed=51, species=("Si", "C"))]
    for k, atoms in enumerate(frames):
        atoms.info["config_type"] = "bulk" if k % 2 else "liquid"
    return Setup(tmp_path_factory.mktemp("map"), frames)


@pytest.fixture(scope="module")
def made(data):
    return data.kernels(TERM, ANGLE)


def maps_of(data, kernels, **options):
    return sparse_map(kernels, data.train.structures, data.train.species, data.config.cutoff, **options)


def test_coordinates_are_kernel_principal_components(data, made):
    KernelPCA = pytest.importorskip("sklearn.decomposition").KernelPCA
    maps = maps_of(data, made)
    assert [one.name for one in maps] == ["soap (C)", "soap (Si)"]
    for one, kernel in zip(maps, made, strict=False):
        features, places = data.environments(kernel)
        np.testing.assert_array_equal(np.column_stack([one.structures, one.atoms]), places)
        matrix = (features @ features.T) ** kernel.term.zeta
        reference = KernelPCA(2, kernel="precomputed", eigen_solver="dense").fit(matrix)
        theirs = reference.transform(matrix)
        theirs *= np.sign((theirs * one.coordinates).sum(axis=0))
        np.testing.assert_allclose(one.coordinates, theirs, rtol=0, atol=1e-9)
        np.testing.assert_allclose(one.coordinates[one.selected], one.points, rtol=0, atol=1e-9)
        assert one.selected.sum() == kernel.n_sparse == 15
        types = [data.train.structures[s].config_type for s in one.structures]
        assert one.config_types.tolist() == types
        assert 0.2 < one.variance[0] <= 1.0
        assert 0.0 < one.variance[1] < one.variance[0]


def test_a_draw_keeps_all_sparse_points(data, made):
    """Twenty environments are drawn; the fifteen points are added and lie where they lie on their own."""
    one = maps_of(data, made, most=20)[1]
    assert 20 <= len(one.coordinates) <= 35
    assert one.total > 35
    assert one.selected.sum() == 15
    np.testing.assert_allclose(one.coordinates[one.selected], one.points, rtol=0, atol=1e-9)
    again = maps_of(data, made, most=20, threads=2)[1]
    np.testing.assert_array_equal(one.coordinates, again.coordinates)
    assert not np.array_equal(one.atoms, maps_of(data, made, most=20, seed=1)[1].atoms)


def test_points_without_origins_are_found(data, made):
    """As those of a model file: by their features."""
    nameless = [type(k)(k.term, index=k.index) for k in made[:2]]
    for one, other in zip(maps_of(data, made), maps_of(data, nameless), strict=True):
        np.testing.assert_array_equal(one.selected, other.selected)
    moved = nameless[0].term.sparse_points.copy()
    moved[:, 0] += 1e-6
    nameless[0].term.sparse_points, kept = moved, nameless[0].term.sparse_points
    assert maps_of(data, nameless[:1])[0].selected.sum() == 0
    nameless[0].term.sparse_points = kept
    assert maps_of(data, made[2:]) == []


def test_picture(data, made):
    pytest.importorskip("matplotlib")
    maps = maps_of(data, made)
    figure = draw_sparse_map(maps)
    assert len(figure.axes) == 2
    for axes, one in zip(figure.axes, maps, strict=True):
        drawn = [line.get_xydata() for line in axes.lines]
        assert sum(map(len, drawn[:-1])) == len(one.coordinates)
        np.testing.assert_array_equal(drawn[-1], one.points)
        assert {text.get_text() for text in axes.get_legend().get_texts()} == {"bulk", "liquid", "15 sparse points"}
    assert len(draw_sparse_map(maps[0]).axes) == 1


def test_chemiscope(data, made, tmp_path):
    pytest.importorskip("chemiscope")
    one = maps_of(data, made, most=30)[0]
    write_chemiscope(tmp_path / "map.json", one, data.train.structures)
    content = json.loads((tmp_path / "map.json").read_text())
    n = len(one.coordinates)
    assert len(content["environments"]) == n
    values = {name: entry["values"] for name, entry in content["properties"].items()}
    np.testing.assert_array_equal(values["kernel principal component 1"], one.coordinates[:, 0])
    assert values["selected"].count("sparse point") == one.selected.sum()
    assert values["config_type"] == one.config_types.tolist()
    assert content["settings"]["map"]["x"]["property"] == "kernel principal component 1"
    for k in (0, n // 2, n - 1):
        place, structure = content["environments"][k], data.train.structures[one.structures[k]]
        shown = content["structures"][place["structure"]]
        assert place["center"] == one.atoms[k]
        np.testing.assert_allclose(shown["x"], structure.atoms.positions[:, 0])
        assert shown["names"][place["center"]] == "C"
        assert values["energy per atom"][k] == pytest.approx(structure.energy / len(structure.atoms))


def test_command(data, made, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    terms = [term for kernel in made for term in kernel.finished(np.zeros(kernel.n_sparse))]
    Model(data.train.species, E0, terms, {}).save(tmp_path / "m.safetensors")
    app = Typer()
    app.command()(command)
    monkeypatch.chdir(tmp_path)
    train = str(data.folder / "train.xyz")
    done = CliRunner().invoke(app, ["m.safetensors", train, "--output", "map.png", "--threads", "1"])
    assert done.exit_code == 0, done.output
    assert done.output.strip().endswith("map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    pytest.importorskip("chemiscope")
    done = CliRunner().invoke(app, ["m.safetensors", train, "--output", "map.json", "--most", "40"])
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in tmp_path.glob("*.json")) == ["map-1-C.json", "map-2-Si.json"]
    content = json.loads((tmp_path / "map-2-Si.json").read_text())
    assert content["properties"]["selected"]["values"].count("sparse point") == 15
    for output, expected in (("map.pdf", "expected a name that ends in .png"), ("m.safetensors", "expected a name")):
        with pytest.raises(InputError, match=expected):
            write_maps(tmp_path / "m.safetensors", [data.folder / "train.xyz"], tmp_path / output)
    with pytest.raises(InputError, match="absent.xyz: cannot be read"):
        write_maps(tmp_path / "m.safetensors", [tmp_path / "absent.xyz"], tmp_path / "map.png")
    Model(data.train.species, E0, terms[2:], {}).save(tmp_path / "few.safetensors")
    with pytest.raises(InputError, match="few.safetensors has no soap term"):
        write_maps(tmp_path / "few.safetensors", [data.folder / "train.xyz"], tmp_path / "map.png")
