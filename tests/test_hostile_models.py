"""Model files that are damaged or made to do harm: each is refused in words, and no size is believed before it is checked."""

import functools
import json
import struct
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluator_build import build_evaluator, write_structures
from few_body_models import make_average_model, make_channels_model, make_few_body_model
from hostile_models import changed, mutants, packed, places, unpacked
from models import make_two_species_model, random_structure
from programs import run_program, run_python

import soapgap
from soapgap.errors import InputError, ModelFileError
from soapgap.evaluation import evaluate_file
from soapgap.model import Model, PairTerm, RadialTable
from soapgap.potential import Potential
from soapgap.quip.exporter import document_of
from soapgap.reduction.soap import reduce_term
from soapgap.reduction.triplet import tabulated
from soapgap.report.model_info import print_info

GOLDEN = Path(__file__).parent / "golden"
TERMS = ("properties", 0, "terms")


def small_models() -> dict[str, Model]:
    """Every kind of term and form, few numbers."""
    small = make_two_species_model(n_max=2, l_max=2, n_sparse=24)
    reduced = replace(small, terms=[*(reduce_term(term, 1e-7) for term in small.terms[:2]), *small.terms[2:]])
    return {"soap": small, "reduced": reduced, "few bodies": splined_model(), "channels": make_channels_model(),
            "average": make_average_model()}


def refused(content: bytes, words: str) -> None:
    """In words, and at once."""
    start = time.monotonic()
    with pytest.raises(ModelFileError, match=words):
        Model.from_bytes(content)
    assert time.monotonic() - start < 5.0


@pytest.mark.parametrize(("path", "value", "words"), [
    (("features", "l_factors"), [1.0, 0.9, 0.8, 0.7], "differ in.*features.*centre alone"),
    (("features", "normalise"), False, "differ in.*centre alone"),
    (("kernel", "zeta"), 3.0, "differ in.*centre alone"),
    (("centre",), "Si", "same centre"),
])
def test_terms_of_one_average_are_alike(path, value, words):
    meta, arrays = unpacked(make_average_model().to_bytes())
    refused(packed(changed(meta, (*TERMS, 1, *path), value), arrays), words)


def average_of(*shapes) -> bytes:
    """Averaged terms of Si and O, each with its own (n_max, l_max) and one feature for each l, so often that they have as
    many."""
    meta, _ = unpacked(make_average_model().to_bytes())
    terms, arrays = [], {}
    n_features = int(np.prod([l_max + 1 for _, l_max in shapes]))
    for number, (term, (n_max, l_max)) in enumerate(zip(meta["properties"][0]["terms"], shapes, strict=True)):
        term["source"].update(n_max=n_max, l_max=l_max, segments=[[0.0, 4.0, 1]],
                              channels={"of_neighbour": [0, 0], "n": 1, "table_per_neighbour": False})
        term["features"]["l_factors"] = [1.0] * (l_max + 1)
        term["kernel"]["n_sparse"] = 1
        n_pairs = n_features // (l_max + 1)
        own = {"radial": np.ones((2, 3, (l_max + 1) * n_max)), "centre_values": np.ones((1, n_max)),
               "sparse_points": np.ones((1, n_features)), "weights": np.ones((1, 1)),
               "pairs": np.array([[n_max - 1, n_max - 1, 1.0]] * n_pairs)}
        term["tensors"] = {role: f"{number}.{role}" for role in own}
        arrays |= {f"{number}.{role}": array for role, array in own.items()}
        terms.append(term)
    return packed(meta, arrays)


def test_averaged_terms_of_unequal_shells_are_refused():
    """As many coefficients, 64, and as many features in both: read with the shells of the other they overflow."""
    Model.from_bytes(average_of((4, 3), (4, 3)))
    refused(average_of((64, 0), (4, 3)), "differ in n_max, l_max")


@functools.cache
def splined_model() -> Model:
    """Terms of few bodies, those of three with coarse splines."""
    model = make_few_body_model()
    return replace(model, terms=[tabulated(term, 1.0) if term.kind == "triplet" else term for term in model.terms])


def few_bodies(path, value) -> bytes:
    meta, arrays = unpacked(splined_model().to_bytes())
    return packed(changed(meta, (*TERMS, *path), value), arrays)


@pytest.mark.parametrize(("path", "value", "words"), [
    # more than 2^31 rows in all, each segment within bounds
    ((0, "source", "segments"), [[k / 200, (k + 1) / 200, 9999999] for k in range(800)], "fewer than 2"),
    ((0, "source", "segments"), [[0.0, 4.0, 2**32 + 145]], "n_intervals.*expected whole numbers from 1"),
    ((0, "source", "segments"), [[0.0, 4.0, 1e300]], r"expected \[start, stop, n_intervals\]"),
    ((0, "source", "segments"), {"a": [0.0, 4.0, 145]}, "not a list"),
    ((0, "source", "segments"), [[0.0, 5e-324, 128], [5e-324, 4.0, 16]], "step between the knots.*positive"),
    ((11, "energy", "segments"), [[-1.7e308, 1.7e308, 16]], "step between the knots.*finite"),
    ((11, "energy", "segments"), [[0.0, 1e-310, 16]], "step between the knots.*positive"),
    ((11, "energy", "segments"), [[0.0, 0.0, 16]], "do not join"),
    ((11, "densities", 0, "segments"), [[0.0, 1e-320, 16]], "step between the knots.*positive"),
    ((3, "grid", "n_intervals"), [1e300, 5, 5], "n_intervals is out of range"),
    ((3, "grid", "n_intervals"), [2**32 + 1, 5, 5], "n_intervals is out of range"),
])
def test_rows_and_steps_of_tables_are_checked(path, value, words):
    refused(few_bodies(path, value), words)


@pytest.mark.parametrize("deep", ["[" * 200_000 + "]" * 200_000, '{"a":' * 100_000 + "1" + "}" * 100_000])
@pytest.mark.parametrize("inside", [True, False])
def test_deep_json_is_refused_before_it_is_parsed(deep, inside):
    meta, arrays = unpacked(make_few_body_model().to_bytes())
    content = packed(changed(meta, ("provenance", "command"), "DEEP"), arrays)
    n = struct.unpack("<Q", content[:8])[0]
    header = content[8:8 + n]
    if inside:
        header = header.replace(b'\\"DEEP\\"', json.dumps(deep)[1:-1].encode())
    else:
        header = header[:-1] + b',"deep":' + deep.encode() + b"}"
    refused(struct.pack("<Q", len(header)) + header + content[8 + n:], "its (header|metadata) .*than 64 deep.*make it again")


def test_brackets_in_texts_are_not_depth():
    model = replace(make_few_body_model(), provenance={"command": "[{" * 500 + '\\"' * 50})
    assert Model.from_bytes(model.to_bytes()).provenance == model.provenance


def bomb_of_functions() -> bytes:
    """Products of 20000 functions with one another would take 3.2 GB."""
    meta, _ = unpacked(make_channels_model().to_bytes())
    term = meta["properties"][0]["terms"][1]
    term["source"].update(n_max=100, l_max=0, segments=[[0.0, 4.0, 1]],
                          channels={"of_neighbour": [0, 1], "n": 200, "table_per_neighbour": False})
    term["features"]["l_factors"], term["kernel"]["n_sparse"] = [1.0], 1
    arrays = {"radial": np.zeros((2, 3, 100)), "centre_values": np.zeros((200, 100)), "pairs": np.array([[0.0, 0.0, 1.0]]),
              "sparse_points": np.ones((1, 1)), "weights": np.ones((1, 1))}
    term["tensors"] = {role: role for role in arrays}
    meta["properties"][0]["terms"] = [term]
    return packed(meta, arrays)


def bomb_of_shared_arrays() -> bytes:
    """A table of 1 MB that 2000 terms share would take 2 GB."""
    meta, arrays = unpacked(Model(["Si"], {"Si": 0.0}, make_two_species_model().terms[2:3]).to_bytes())
    term = meta["properties"][0]["terms"][0]
    term["source"]["segments"] = [[0.0, 4.0, 40000]]
    meta["properties"][0]["terms"] = [term] * 2000
    return packed(meta, {name: np.zeros((40001, 3, 1)) for name in arrays})


def bomb_of_outputs() -> bytes:
    """A term without points has weights of no bytes for as many outputs as there are: 100 of them 20 MB each."""
    meta, _ = unpacked(Model(["Si"], {"Si": 0.0}, make_few_body_model().terms[3:4]).to_bytes())
    entry = meta["properties"][0]
    entry.update(n_out=100_000, offsets=[[0] * 100_000])
    entry["terms"][0]["kernel"]["n_sparse"] = 0
    entry["terms"] = entry["terms"] * 100
    return packed(meta, {"0.sparse_points": np.zeros((0, 3)), "0.weights": np.zeros((100_000, 0))})


@pytest.mark.parametrize(("make", "words"), [(bomb_of_functions, "expansion has 20000 functions.*at most 4096.*reduce n_max"),
                                             (bomb_of_shared_arrays, "more memory than a file of this size"),
                                             (bomb_of_outputs, "more memory than a file of this size")])
def test_small_files_cannot_ask_for_much_memory(make, words):
    content = make()
    assert len(content) < 3_000_000
    refused(content, words)


def test_shapes_beyond_the_bytes_present_are_refused():
    meta, arrays = unpacked(make_few_body_model().to_bytes())

    def larger(header):
        header["0.radial"]["shape"] = [2**40, 3, 1]

    refused(packed(meta, arrays, larger), "does not lie within the file")
    refused(few_bodies((3, "kernel", "n_sparse"), 99_999_999), "shape")
    refused(few_bodies((3, "kernel", "n_sparse"), 2**63), "out of range")


@pytest.mark.parametrize("shift", [-24, 24])
def test_overlapping_arrays_are_refused(shift):
    """Two arrays of equal size at one place, the bytes that this leaves free at another: the sum of sizes is right."""
    meta, arrays = unpacked(make_few_body_model().to_bytes())

    def overlap(header):
        header["1.radial"]["data_offsets"] = [at + shift for at in header["1.radial"]["data_offsets"]]

    refused(packed(meta, arrays, overlap), "overlap or leave a gap")


@pytest.mark.parametrize(("path", "value"), [
    ((0, "origin"), [1]), ((0, "origin"), None), ((3, "origin"), "x"), ((11, "origin"), 1), ((3, "grid", "report"), 7),
    ((11, "neighbours"), {"a": "O", "b": "Si"}), ((3, "kernel", "permutations"), [[0.0, 1.0, 2.0]]),
    ((3, "kernel", "permutations"), [[0, 1, 2]] * 7), ((0, "species"), "Si"), ((), {"0": 1}), ((0,), None),
    ((0, "tensors"), [])])
def test_values_of_another_type_are_refused_in_words(path, value):
    refused(few_bodies(path, value), ".")


@pytest.mark.parametrize("species", [["Si", "Si"], [], ["Si"] * 300, {"Si": 1}, [1, 2]])
def test_species_are_a_list_of_different_elements(species):
    meta, arrays = unpacked(make_few_body_model().to_bytes())
    refused(packed(meta | {"species": species}, arrays), "species|not understood")


# ---- mutations --------------------------------------------------------------------------------------------------------


def outcome(content: bytes):
    """A mutant is refused as a model file, or it computes, or it says why it does not: nothing else."""
    try:
        model = Model.from_bytes(content)
    except ModelFileError:
        return "refused"
    try:
        result = Potential(model).compute(random_structure(3, n_atoms=6, length=6.0))
    except InputError:
        return "read"
    assert np.isfinite(result.energy)
    assert np.isfinite(result.forces).all()
    return "computed"


@pytest.mark.parametrize("name", ["soap", "reduced", "few bodies", "channels", "average"])
def test_seeded_mutants_are_refused_or_computed(name):
    content = small_models()[name].to_bytes()
    assert outcome(packed(*unpacked(content))) == "computed"
    found = [outcome(mutant) for mutant in mutants(content, 120, seed=len(name))]
    assert found.count("refused") > 60
    assert found.count("computed") > 0


def test_what_a_model_says_of_its_origin_may_be_anything(tmp_path):
    """Information and export refuse in words what they cannot use."""
    meta, arrays = unpacked((GOLDEN / "format_2_few_body.safetensors").read_bytes())
    quip = {"coordinate": 1, "delta": 0.1, "theta": [1.0]}
    meta["properties"][0]["terms"][0]["origin"] = {"kind": "distance_2b", "quip": quip}
    refusals = 0
    for path in places(meta):
        inside = path[:1] == ("provenance",) or "origin" in path[:-1]
        for value in (..., 3, {"quip": 7}) if inside and len(path) > 1 else ():
            model = Model.from_bytes(packed(changed(meta, path, value), arrays))
            model.save(tmp_path / "m.safetensors")
            for work, argument, error in ((document_of, model, InputError),
                                          (print_info, tmp_path / "m.safetensors", ModelFileError)):
                try:
                    work(argument)
                except error:
                    refusals += 1
    assert refusals > 0


@pytest.mark.slow
def test_mutants_under_the_sanitizers(tmp_path):
    """Read, evaluated and made rows of, or refused: without a memory error and with no allocation above 2 GB."""
    build = build_evaluator(tmp_path, "-DSOAPGAP_SANITIZE=address,undefined,float-cast-overflow", "-DSOAPGAP_SELFTEST=ON")
    write_structures(tmp_path / "structures.txt", [random_structure(3, n_atoms=6, length=6.0)])
    for seed, (name, model) in enumerate(small_models().items()):
        with open(tmp_path / "models", "wb") as file:
            for mutant in mutants(model.to_bytes(), 800, seed=1000 + seed):
                file.write(struct.pack("<Q", len(mutant)) + mutant)
        done = run_program([build / "soapgap_selftest", "--survive", tmp_path / "models", tmp_path / "structures.txt"],
                           ASAN_OPTIONS="detect_leaks=1:max_allocation_size_mb=2000", UBSAN_OPTIONS="halt_on_error=1")
        assert done.status == 0, name + done.stderr[-3000:]
        assert done.stderr == ""
        read, refused = (int(word) for word in done.stdout.split() if word.isdigit())
        assert read > 100, name
        assert refused > 500, name


# ---- results that are not finite --------------------------------------------------------------------------------------


def overflowing_model() -> Model:
    """Finite numbers whose sums are not: a pair function of 1e308 eV."""
    values = np.zeros((3, 3, 1))
    values[:, 0] = [[1.7e308], [1.7e308], [1.7e308]]
    values[:, 1] = [[-1.7e308], [1.7e308], [0.0]]
    return Model(["Si"], {"Si": 0.0}, [PairTerm(("Si", "Si"), 4.0, RadialTable([(0.0, 4.0, 2)], values), {"kind": "table"})])


NOT_FINITE = "energy or forces of the model are not finite.*expected.*look for atoms on one site.*fit it again"


def test_a_result_that_is_not_finite_is_an_error_in_every_host(tmp_path):
    atoms = random_structure(3, n_atoms=6, length=6.0, species=["Si"])
    overflowing_model().save(tmp_path / "m.safetensors")
    with pytest.raises(InputError, match=NOT_FINITE):
        Potential(tmp_path / "m.safetensors").compute(atoms)
    atoms.calc = soapgap.SoapGAP(tmp_path / "m.safetensors")
    with pytest.raises(InputError, match=NOT_FINITE):
        atoms.get_potential_energy()
    atoms.calc = None
    atoms.write(tmp_path / "s.xyz")
    with pytest.raises(InputError, match="structure 0: the energy or forces"):
        evaluate_file(tmp_path / "m.safetensors", tmp_path / "s.xyz", tmp_path / "out.xyz")
    assert not (tmp_path / "out.xyz").exists()
    done = run_python("-m", "soapgap", "evaluate", "m.safetensors", "s.xyz", "out.xyz", folder=tmp_path)
    assert done.status == 2
    assert "not finite" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_density_that_is_not_finite_is_an_error():
    model, values = make_few_body_model(), np.zeros((2, 3, 1))
    values[:, 0] = 1.7e308
    flat = RadialTable([(0.0, 4.0, 1)], values)
    huge = [replace(term, densities=dict.fromkeys(term.densities, flat)) for term in model.terms if term.kind == "embedding"]
    with pytest.raises(InputError, match="density of an embedded atom is not finite"):
        Potential(replace(model, terms=huge)).compute(random_structure(3))


@pytest.mark.parametrize("ranks", [1, 2])
def test_lammps_stops_at_a_result_that_is_not_finite(tmp_path, ranks):
    from lammps_tools import header, lmp, write_data

    overflowing_model().save(tmp_path / "m.safetensors")
    write_data(tmp_path / "data.lammps", random_structure(3, n_atoms=12, length=8.0, species=["Si"]), ["Si"])
    run = lmp(tmp_path, header() + "pair_style soapgap\npair_coeff * * m.safetensors Si\nrun 0\n", ranks)
    assert run.status != 0
    text = run.stdout + run.stderr
    assert "ERROR" in text
    assert "energy or forces of the model are not finite, first at atom" in text
