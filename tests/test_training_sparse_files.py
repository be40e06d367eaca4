"""Sparse points from files: QUIP's text, instance numbers, model files; gap_fit reads and writes the same."""


import numpy as np
import pytest
from quip_oracle import descriptor_string, to_quip_order
from test_training_sparse import Setup, without
from training_tools import (
    ANGLE,
    DISTANCES,
    E0,
    PAIR,
    SOAP,
    gap_fit,
    isolated,
    three_body_coordinate,
    toy_frames,
    write_columns,
)

from soapgap.errors import InputError, ModelFileError
from soapgap.kinds.kernel import rows_evaluator
from soapgap.kinds.soap.files import soap_points
from soapgap.kinds.sparse.files import read_indices, read_numbers
from soapgap.model import Model
from soapgap.neighbours.arrays import neighbour_arrays

QUIP_SOAP = SOAP | {"radial_basis": "equispaced", "n_sparse": 9}
FROM_FILE = {"sparse_method": "file"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    frames = [isolated("Si"), isolated("C"), *toy_frames(8, seed=31, species=("Si", "C"))]
    for k, atoms in enumerate(frames):
        atoms.info["config_type"] = "bulk" if k % 2 else "liquid"
    return Setup(tmp_path_factory.mktemp("files"), frames)


def from_file(term, file):
    return without(term, "n_sparse") | FROM_FILE | {"sparse_file": file}


def write_quip(path, cutoffs, rows):
    np.savetxt(path, np.column_stack([cutoffs, rows]).reshape(-1, 1), fmt="%.20e")


def model_of(data, *terms):
    kernels = data.kernels(*terms)
    found = [term for k in kernels for term in k.finished(np.linspace(-1.0, 1.0, k.n_sparse))]
    Model(data.train.species, E0, found, {}).save(data.folder / "earlier.safetensors")
    return kernels


def equal(first, second):
    for one, other in zip(first, second, strict=True):
        assert one.name == other.name
        np.testing.assert_array_equal(one.covariance(), other.covariance())


def test_quip_s_text_comes_back(data):
    """What is written in QUIP's order and layout is read as our points, for all kinds of kernels."""
    pair = PAIR | {"sparse_method": "uniform", "n_sparse": 5}
    terms = [pair, ANGLE | {"n_sparse": 7}, DISTANCES | {"n_sparse": 6}, QUIP_SOAP]
    made = data.kernels(*terms)
    files = [{} for _ in terms]
    for kernel in made:
        kind, name = kernel.name.split(" ")
        name = name.strip("()")
        place = [t["kind"] for t in terms].index(kind)
        files[place][name] = f"{kind}.{name}.dat"
        points = kernel.sparse_points
        if kind == "soap":
            points = np.column_stack([np.ones(len(points)), to_quip_order(points, kernel.term.l_max)])
        write_quip(data.folder / files[place][name], points[:, 0], points[:, 1:])
    again = data.kernels(*(from_file(term, names) for term, names in zip(terms, files, strict=True)))
    equal(again, made)
    assert all((kernel.origins == -1).all() for kernel in again)
    assert data.plan(*(from_file(t, n) for t, n in zip(terms, files, strict=True))).n_columns == sum(k.n_sparse for k in made)


def test_a_model_s_points_come_back(data):
    for terms in ([PAIR, ANGLE, DISTANCES | {"n_sparse": 6}, SOAP | {"n_sparse": 9}],
                  [PAIR | {"sparse_method": "random", "n_sparse": 5}, QUIP_SOAP | {"cutoff": 3.5}]):
        made = model_of(data, *terms)
        equal(data.kernels(*(from_file(term, "earlier.safetensors") for term in terms)), made)


def test_the_right_term_of_several(data):
    """A short and a long soap: each takes the points of its own like."""
    short, long = SOAP | {"n_sparse": 5}, SOAP | {"cutoff": 3.2, "n_sparse": 6, "sparse_method": "fps"}
    made = model_of(data, short, long)
    equal(data.kernels(from_file(long, "earlier.safetensors"), from_file(short, "earlier.safetensors")), made[2:] + made[:2])


@pytest.mark.parametrize(("term", "expected"), [
    (SOAP | {"n_max": 5}, r"earlier.safetensors: has no term .* soap kernel of C: n_max is 4, expected 5\."),
    (SOAP | {"atom_sigma": 0.4}, r"atom_sigma is 0.5, expected 0.4"),
    (SOAP | {"cutoff": 3.9, "l_max": 2}, r"l_max is 3, expected 2; cutoff is 4.0, expected 3.9"),
    (QUIP_SOAP, r"radial_basis is gto, expected equispaced"),
    (SOAP | {"radial_scaling": {"rate": 1.0, "scale": 2.0, "exponent": 3}}, r"radial_scaling is None, expected .*'rate': 1.0"),
    (PAIR | {"cutoff": 3.5}, r"distance_2b kernel of C-C: cutoff is 4, expected 3.5"),
    (DISTANCES, r"has no term with the descriptor of the distance_3b kernel of C-C-C\."),
])
def test_a_model_that_does_not_fit(data, term, expected):
    model_of(data, SOAP | {"n_sparse": 5}, PAIR, ANGLE)
    with pytest.raises(InputError, match=expected):
        data.plan(from_file(term, "earlier.safetensors"))


def test_index_files(data):
    (whole, _) = data.kernels(SOAP)
    features, places = data.environments(whole)
    (data.folder / "C.idx").write_text("7\n3\n20\n3\n")
    (data.folder / "Si.idx").write_text("1\n2\n")
    term = without(SOAP, "n_sparse") | {"sparse_method": "index_file", "sparse_file": {"Si": "Si.idx", "C": "C.idx"}}
    (kernel, _) = data.kernels(term)
    np.testing.assert_array_equal(kernel.sparse_points, features[[2, 6, 19]])
    np.testing.assert_array_equal(kernel.origins, places[[2, 6, 19]])
    for base in (ANGLE | {"species": ["C", "Si", "Si"]}, DISTANCES | {"species": ["C", "Si", "Si"]}):
        (every,) = data.kernels(without(base, "n_sparse") | {"sparse_method": "all"})
        (kernel,) = data.kernels(without(base, "n_sparse") | {"sparse_method": "index_file", "sparse_file": "C.idx"})
        np.testing.assert_array_equal(kernel.sparse_points, every.sparse_points[[2, 6, 19]])
        np.testing.assert_array_equal(kernel.origins, every.origins[[2, 6, 19]])
    (data.folder / "pairs.idx").write_text("5\n")
    files = {name: "pairs.idx" for name in ("C-C", "Si-C", "Si-Si")}
    made = data.kernels(without(PAIR, "n_sparse") | {"sparse_method": "index_file", "sparse_file": files})
    assert [k.n_sparse for k in made] == [1, 1, 1]


@pytest.mark.parametrize(("text", "expected"), [
    ("1.0\nx\n", r"bad.dat, line 2: got 'x', expected a number"),
    ("", r"bad.dat is empty; expected sparse points"),
    ("1.0\nnan\n", r"bad.dat holds a number that is not finite"),
    ("1.0\n2.0\n3.0\n", r"bad.dat: holds 3 numbers; expected 146 for each sparse point of the soap kernel of Si: sparseCutoff"),
    ("1.0\n" * 145 + "0.0\n", r"bad.dat: point 1 has the norm 12; expected normalised"),
    ("1.0\n" * 146, r"bad.dat: expected sparseCutoff = 1 and the last component covariance_sigma0 = 0"),
])
def test_bad_texts(data, text, expected):
    (data.folder / "bad.dat").write_text(text)
    (data.folder / "good.dat").write_text("1.0\n1.0\n" + "0.0\n" * 144)
    with pytest.raises(InputError, match=expected):
        data.plan(from_file(QUIP_SOAP, {"C": "good.dat", "Si": "bad.dat"}))


def test_files_that_do_not_fit(data, tmp_path):
    (data.folder / "one.dat").write_text("1.0\n2.0\n")
    with pytest.raises(InputError, match=r"sparse_file is one file, one.dat, but the term has 3 kernels, C-C, C-Si"):
        data.plan(from_file(PAIR, "one.dat"))
    with pytest.raises(InputError, match=r"sparse_file names C-C, Ge-C; expected one file for each kernel .* C-C, C-Si"):
        data.plan(from_file(PAIR, {"C-C": "one.dat", "Ge-C": "one.dat"}))
    with pytest.raises(InputError, match=r"QUIP's own basis; expected a term with radial_basis = .equispaced"):
        data.plan(from_file(SOAP, {"C": "one.dat", "Si": "one.dat"}))
    with pytest.raises(InputError, match=r"cannot read the file of sparse points .*absent.dat: No such file"):
        read_numbers(tmp_path / "absent.dat")
    (tmp_path / "i.dat").write_text("3\n9\n")
    with pytest.raises(InputError, match=r"got the number 9; expected .* from 1 to 8, the number of environments of Si"):
        read_indices(tmp_path / "i.dat", 8, "environments of Si")
    (tmp_path / "i.dat").write_text("1.5\n")
    with pytest.raises(InputError, match=r"got the number 1.5; expected whole numbers"):
        read_indices(tmp_path / "i.dat", 8, "environments of Si")


# ---- gap_fit ----------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def silicon(tmp_path_factory):
    """Data that gap_fit and we read alike."""
    folder = tmp_path_factory.mktemp("gap_fit")
    frames = [isolated("Si"), *toy_frames(5, seed=41)]
    for k, atoms in enumerate(frames):
        atoms.info["config_type"] = "bulk" if k % 2 else "liquid"
        atoms.info["energy"] = float(atoms.calc.results["energy"])
        atoms.arrays["forces"] = atoms.calc.results["forces"]
        atoms.calc = None
    return Setup(folder, frames, write_columns, data={"energy_key": "energy", "forces_key": "forces"})


def coordinate(term, *more):
    descriptor = descriptor_string(term).replace("{", "{{").replace("}", "}}")
    return " ".join([descriptor, f"covariance_type=dot_product zeta={term.zeta:g} delta={term.delta:g} add_species=F", *more])


def test_gap_fit_s_points_and_numbers_are_ours(silicon):
    """INDEX_FILE means the same environments to both, and its file of sparse points is read as the same features."""
    (kernel,) = silicon.kernels(QUIP_SOAP)
    features, _ = silicon.environments(kernel)
    (silicon.folder / "i.dat").write_text("3\n8\n20\n33\n")
    root = gap_fit(silicon.folder, [coordinate(kernel.term, "sparse_method=INDEX_FILE sparse_file=i.dat n_sparse=4")],
                   {"Si": E0["Si"]}, [0.002, 0.05, 0.02])
    points = np.loadtxt(silicon.folder / root.find(".//gpCoordinates").get("sparseX_filename")).reshape(4, -1)
    write_quip(silicon.folder / "theirs.dat", np.ones(4), points)
    (theirs,) = silicon.kernels(from_file(QUIP_SOAP, "theirs.dat"))
    (ours,) = silicon.kernels(without(QUIP_SOAP, "n_sparse") | {"sparse_method": "index_file", "sparse_file": "i.dat"})
    np.testing.assert_array_equal(ours.sparse_points, features[[2, 7, 19, 32]])
    np.testing.assert_allclose(theirs.sparse_points, ours.sparse_points, rtol=0, atol=1e-10)


def test_theta_fac_is_gap_fit_s(silicon):
    """The range of all instances, over exchanges of equal atoms, for pairs and both kinds of triplets."""
    numbers = {"distance_2b": "Z1=14 Z2=14", "angle_3b": "Z=14 Z1=14 Z2=14",
               "distance_Nb": "order=3 compact_clusters=F Z={{14 14 14}}"}
    for term, kind in ((PAIR, "distance_2b"), (ANGLE, "angle_3b"), (DISTANCES, "distance_Nb")):
        term = without(term, "theta") | {"theta_fac": 0.3}
        (kernel,) = silicon.kernels(term)
        text = (f"{kind} {numbers[kind]} cutoff={term['cutoff']} cutoff_transition_width={term['cutoff_transition_width']} "
                f"covariance_type=ard_se delta=1.0 theta_fac=0.3 n_sparse=4 sparse_method=UNIFORM add_species=F")
        root = gap_fit(silicon.folder, [text], {"Si": E0["Si"]}, [0.002, 0.05, 0.02])
        theirs = np.array(root.find(".//theta").text.split(), float)
        np.testing.assert_allclose(np.ravel(kernel.theta), theirs, rtol=1e-12)


def test_systems_of_pairs_with_weights_are_gap_fit_s(silicon):
    """F_s of a file: K_MM and the energy rows as gap_fit dumps them."""
    (kernel,) = silicon.kernels(PAIR | {"sparse_method": "random", "n_sparse": 6})
    write_quip(silicon.folder / "pairs.dat", kernel.sparse_points[:, 0], kernel.sparse_points[:, 1:])
    (kernel,) = silicon.kernels(from_file(PAIR, "pairs.dat"))
    assert kernel.cutoffs.min() < 0.9
    text = (f"distance_2b Z1=14 Z2=14 cutoff={PAIR['cutoff']} cutoff_transition_width={PAIR['cutoff_transition_width']} "
            f"covariance_type=ard_se delta={PAIR['delta']} theta_uniform={PAIR['theta']} n_sparse=6 sparse_method=FILE "
            "sparse_file=pairs.dat add_species=F")
    gap_fit(silicon.folder, [text], {"Si": E0["Si"]}, [0.002, 0.05, 0.02])
    theirs = np.loadtxt(silicon.folder / "dump_Kmm").reshape(6, 6)
    np.testing.assert_allclose(kernel.covariance() + 1e-8 * np.eye(6), theirs, rtol=0, atol=1e-12)
    rows = np.loadtxt(silicon.folder / "dump_Kmn.0").reshape(-1, 6)
    for theirs_row, structure in zip(rows, silicon.train.structures, strict=False):
        neighbours = neighbour_arrays(structure.atoms, 4.0, ["Si"])
        ours, *_ = kernel.rows(rows_evaluator(["Si"], [kernel]), neighbours, False, False)
        np.testing.assert_allclose(ours, theirs_row, rtol=1e-12, atol=1e-12)


def test_points_of_triplets_from_a_file_are_gap_fit_s(silicon):
    (kernel,) = silicon.kernels(ANGLE | {"n_sparse": 6})
    text = three_body_coordinate(kernel, silicon.folder, "angle", "FILE")
    gap_fit(silicon.folder, [text], {"Si": E0["Si"]}, [0.002, 0.05, 0.02])
    (again,) = silicon.kernels(from_file(ANGLE, "angle.dat"))
    theirs = np.loadtxt(silicon.folder / "dump_Kmm").reshape(6, 6)
    np.testing.assert_allclose(again.covariance() + 1e-8 * np.eye(6), theirs, rtol=0, atol=1e-12)


def test_soap_points_of_a_wrong_term(data, tmp_path):
    """A file that ends in .safetensors and is none is an error of the model reader."""
    (tmp_path / "x.safetensors").write_bytes(b"nothing")
    term = data.plan(SOAP).items[0].kernel.term
    with pytest.raises(ModelFileError, match="x.safetensors"):
        soap_points(tmp_path / "x.safetensors", term)
