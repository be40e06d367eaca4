"""`soapgap gap-fit` from the command line to the files that it leaves."""

import shlex
import tomllib

import numpy as np
import pytest
import typer
from gap_fit_oracle import ANGLE, PAIR, SOAP, labelled_cells, ours, program
from quip_fits import quip_results
from training_tools import E0, isolated, observed, toy_frames, write_columns
from typer.testing import CliRunner

from soapgap import read_quip
from soapgap.cli.gap_fit import gap_fit
from soapgap.errors import InputError
from soapgap.fitting import fit
from soapgap.model import Model, SoapTerm
from soapgap.neighbours.arrays import neighbour_arrays
from soapgap.potential import Potential

# The first from QUIP's own tutorial on fitting, the second from a study of hafnia; cutoffs and names as published.
TUTORIAL = """energy_parameter_name=energy force_parameter_name=forces do_copy_at_file=F sparse_separate_file=T
gp_file=GAP_3b.xml at_file=train.xyz default_sigma={0.008 0.04 0 0} gap={distance_2b cutoff=4.0 covariance_type=ard_se delta=0.5
theta_uniform=1.0 sparse_method=uniform add_species=T n_sparse=10 : angle_3b cutoff=3.5 covariance_type=ard_se delta=0.5
theta_fac=0.5 add_species=T n_sparse=30 sparse_method=uniform}"""
HAFNIA = """at_file=train.xyz gap={distance_2b cutoff=4.5 n_sparse=50 sparse_method=uniform delta=0.1 covariance_type=ard_se
theta_uniform=1.0 cutoff_transition_width=1.0 add_species : soap cutoff=4.5 n_sparse=100 covariance_type=dot_product
sparse_method=cur_points delta=1.0 zeta=4 l_max=4 n_max=8 atom_sigma=0.5 cutoff_transition_width=1.0 add_species}
gp_file=gap.xml default_sigma={0.001 0.1 0.01 0.0} sparse_jitter=1.0e-8 energy_parameter_name=energy
force_parameter_name=forces"""


def data(path, species, *kinds, n=6):
    frames = [observed(isolated(s), "energy") for s in reversed(species)] + labelled_cells(n, 5, species, *kinds)
    write_columns(path / "train.xyz", frames)
    return frames


def command_line(monkeypatch, folder, *words):
    """As the program calls it."""
    app = typer.Typer()
    app.command(name="gap-fit", context_settings={"ignore_unknown_options": True})(gap_fit)
    monkeypatch.chdir(folder)
    return CliRunner().invoke(app, ["--threads", "1", *words], catch_exceptions=True)


@pytest.mark.parametrize(("text", "name", "species"), [(TUTORIAL, "GAP_3b", ("C", "Si")), (HAFNIA, "gap", ("Si",))])
def test_published_command_lines(tmp_path, monkeypatch, text, name, species):
    """The shell takes the words apart. The XML is quippy's, the model file ours; both as good as what gap_fit makes."""
    data(tmp_path, species, "energy", "forces", n=10)
    done = command_line(monkeypatch, tmp_path, *shlex.split(text))
    assert done.exit_code == 0, done.output
    program(tmp_path, *shlex.split(text.replace(f"{name}.xml", "theirs.xml")), "rnd_seed=1")
    unseen = toy_frames(4, seed=12, species=species)
    errors = {}
    for xml in (f"{name}.xml", "theirs.xml"):
        results = quip_results(tmp_path / xml, unseen)
        errors[xml] = np.sqrt(np.mean([(r[1] - a.calc.results["forces"]) ** 2 for r, a in zip(results, unseen, strict=True)]))
    # Length scales are equal, sparse points are not: both programs draw some of them at random.
    assert errors[f"{name}.xml"] < 1.25 * errors["theirs.xml"] < 0.5
    model = Model.load(tmp_path / f"{name}.safetensors")
    assert model.provenance["command"].startswith("soapgap gap-fit ")
    exact = Potential(read_quip(tmp_path / f"{name}.xml"))
    for atoms, theirs in zip(unseen, quip_results(tmp_path / f"{name}.xml", unseen), strict=True):
        assert np.abs(exact.compute(atoms).forces - theirs[1]).max() < 1e-8
        assert np.abs(Potential(model).compute(atoms).forces - theirs[1]).max() < 2e-5  # splines of triplets: 1e-5


def test_the_same_command_gives_the_same_files(tmp_path, monkeypatch):
    """Names and contents; training data and sparse points within the XML, which quippy and we read."""
    data(tmp_path, ("C", "Si"), "energy", "forces")
    words = ["at_file=train.xyz", f"gap={{{PAIR} sparse_method=uniform : {SOAP}}}", "default_sigma={0.002 0.05 0.02 0.0}",
             "force_parameter_name=forces", "gp_file=gap.xml"]
    ours(monkeypatch, tmp_path, *words)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".png"}
    assert sum(".sparseX.GAP_" in name for name in first) == 3 + 2
    result = ours(monkeypatch, tmp_path, *words)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".png"} == first
    text = first["gap.xml"].decode()
    lines = map(str.strip, text.partition("<XYZ_data>")[2].splitlines())
    copied = [line.removeprefix("<![CDATA[").removesuffix("]]>") for line in lines if line.startswith("<![CDATA[")]
    assert copied == (tmp_path / "train.xyz").read_text().splitlines()
    ours(monkeypatch, tmp_path, *words[:-1], "gap_file=inline.xml", "sparse_separate_file=F", "do_copy_at_file=F")
    assert not list(tmp_path.glob("inline.xml.*"))
    assert "XYZ_data" not in (tmp_path / "inline.xml").read_text()
    unseen = toy_frames(2, seed=9, species=("C", "Si"))
    for a, b in zip(quip_results(tmp_path / "inline.xml", unseen), quip_results(tmp_path / "gap.xml", unseen), strict=True):
        assert a[0] == b[0]
        assert (a[1] == b[1]).all()
    (soap,) = (t for t in read_quip(tmp_path / "inline.xml").terms if isinstance(t, SoapTerm) and t.centre == "C")
    mine = next(t for t in result.model.terms if isinstance(t, SoapTerm) and t.centre == "C")
    assert np.array_equal(soap.sparse_points, mine.sparse_points)


def test_the_fit_toml_does_the_same_fit(tmp_path, monkeypatch):
    """--toml writes it, with paths from its own folder, and stops."""
    data(tmp_path, ("Si",), "energy", "forces")
    (tmp_path / "a").mkdir()
    words = ["at_file=train.xyz", f"gap={{{PAIR} : {ANGLE} theta_uniform=0.8 : {SOAP}}}", "gp_file=gap.xml", "e0={Si:-1.3}",
             "default_sigma={0.002 0.05 0.02 0.0}", "force_parameter_name=forces", "config_type_sigma={odd:0.1:0.1:0.1:0.1}"]
    done = command_line(monkeypatch, tmp_path, *words, "--toml", "a/fit.toml")
    assert done.exit_code == 0
    assert not (tmp_path / "gap.xml").exists()
    written = (tmp_path / "a" / "fit.toml").read_text()
    content = tomllib.loads(written)
    assert (content["output"], content["data"]["train"]) == ("../gap.safetensors", "../train.xyz")
    assert written.startswith("# soapgap gap-fit at_file=train.xyz ")
    mine = fit(tmp_path / "a" / "fit.toml", quiet=True, threads=1).model
    theirs = ours(monkeypatch, tmp_path, *words).model
    for a, b in zip(mine.terms, theirs.terms, strict=True):
        assert np.array_equal(a.sparse["weights"] if hasattr(a, "table") and not isinstance(a, SoapTerm) else a.weights,
                              b.sparse["weights"] if hasattr(b, "table") and not isinstance(b, SoapTerm) else b.weights)


def test_numbers_of_the_sparse_points(tmp_path, monkeypatch):
    """print_sparse_index: environments of the species, counted from 1; appended, as in gap_fit. They can be read again."""
    frames = data(tmp_path, ("C", "Si"), "energy", "forces")
    words = ["at_file=train.xyz", "default_sigma={0.002 0.05 0.02 0.0}", "force_parameter_name=forces", "gp_file=gap.xml"]
    result = ours(monkeypatch, tmp_path, *words, f"gap={{{SOAP} print_sparse_index=index}}")
    lines = [[int(word) for word in line.split()] for line in (tmp_path / "index").read_text().splitlines()]
    assert [len(line) for line in lines] == [14, 14]
    for symbol, numbers in zip(("Si", "C"), lines, strict=True):  # in gap_fit's order
        place = next(k for k, t in enumerate(result.model.terms) if t.centre == symbol)
        evaluator = result.model.evaluator(1)
        features = np.concatenate([evaluator.features(place, neighbour_arrays(atoms, 4.0, ["C", "Si"])) for atoms in frames
                                   if symbol in atoms.symbols])
        distances = np.abs(features[np.array(numbers) - 1][:, None] - result.model.terms[place].sparse_points).max(axis=2)
        assert (distances.min(axis=1) < 1e-12).all()
    for symbol, numbers in zip(("Si", "C"), lines, strict=True):
        (tmp_path / f"index.{symbol}").write_text("\n".join(map(str, numbers)) + "\n")
    alone = " : ".join(f"{SOAP} add_species=F n_species=2 species_Z={{{{14 6}}}} Z={z} sparse_method=INDEX_FILE "
                       f"sparse_file=index.{symbol}" for symbol, z in (("Si", 14), ("C", 6)))
    again = ours(monkeypatch, tmp_path, *words, f"gap={{{alone}}}")
    for a, b in zip(again.model.terms, result.model.terms, strict=True):
        assert np.array_equal(a.sparse_points, b.sparse_points)
        assert np.array_equal(a.weights, b.weights)


def test_a_dry_run_writes_nothing(tmp_path, monkeypatch):
    """But says what the fit would need, also within a limit of memory."""
    data(tmp_path, ("Si",), "energy", "forces")
    done = command_line(monkeypatch, tmp_path, "at_file=train.xyz", f"gap={{{SOAP}}}", "default_sigma={0.002", "0.05", "0",
                        "0}", "force_parameter_name", "=", "forces", "e0", "=", "-1.3", "dryrun", "--memory", "1GB")
    assert done.exit_code == 0, done.output
    assert "dryrun: 14 sparse points" in done.output
    assert "nothing is fitted" in done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.xyz"]


def test_errors_are_one_line(tmp_path, monkeypatch):
    """What is wrong raises an InputError, and no partial file remains."""
    data(tmp_path, ("Si",), "energy", "forces")
    done = command_line(monkeypatch, tmp_path, "at_file=train.xyz", f"gap={{{SOAP}}}", "default_sigma={0.002 0.05 0 0}",
                        "--tread", "2")
    assert isinstance(done.exception, InputError)
    assert "'--tread' is no option of gap_fit" in str(done.exception)
    with pytest.raises(InputError, match="linear_system_dump_file=none/x"):
        ours(monkeypatch, tmp_path, "at_file=train.xyz", f"gap={{{SOAP}}}", "default_sigma={0.002 0.05 0 0}",
             "force_parameter_name=forces", "linear_system_dump_file=none/x")


@pytest.mark.parametrize("method", ["isolated", "average"])
def test_e0_with_an_offset(tmp_path, monkeypatch, method):
    """The same numbers as in gap_fit's file."""
    data(tmp_path, ("C", "Si"), "energy", "forces")
    words = ["at_file=train.xyz", f"gap={{{PAIR} sparse_method=uniform}}", "default_sigma={0.002 0.05 0.02 0.0}",
             "do_copy_at_file=F", f"e0_method={method}", "e0_offset=0.25", "force_parameter_name=forces"]
    program(tmp_path, *words, "gp_file=theirs.xml")
    ours(monkeypatch, tmp_path, *words, "gp_file=ours.xml")
    found, expected = (read_quip(tmp_path / xml).e0 for xml in ("ours.xml", "theirs.xml"))
    assert found == pytest.approx(expected, abs=1e-13)
    assert method == "average" or found == pytest.approx({s: e + 0.25 for s, e in E0.items()})
