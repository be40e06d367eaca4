"""`soapgap convert` as a user types it: both directions, what is printed, and one line for everything that cannot be."""

import re
import shutil
import sys
from pathlib import Path

import pytest
from convert_tools import PAIR, SOAP, assert_same, numbers
from programs import run_python
from quip_fits import gap_fit, quip_results, small_cell, training_frames

from soapgap.cli import main as cli
from soapgap.errors import InputError
from soapgap.model import Model
from soapgap.quip import read_quip
from soapgap.quip.convert import convert

ROOT = Path(__file__).parent.parent
WILDCARD = SOAP.replace("add_species=T", "add_species=F") + " n_species=1 species_Z={{0}} Z=0"


def structures():
    return [small_cell(seed, species=("Si",)) for seed in (51, 52)]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """The folder of a pair and SOAP model of silicon by gap_fit, gap.xml."""
    folder = tmp_path_factory.mktemp("convert")
    gap_fit(folder, f"{SOAP} : {PAIR}", frames=training_frames(("Si",), 3))
    return folder


@pytest.fixture
def gap(fitted, tmp_path):
    """A copy of it that may be spoilt."""
    for file in fitted.glob("gap.xml*"):
        shutil.copy(file, tmp_path)
    return tmp_path / "gap.xml"


@pytest.fixture
def typed(monkeypatch, capsys, tmp_path):
    """Runs `soapgap convert` in this process: exit status, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["soapgap", "convert", *map(str, words)])
        try:
            cli.main()
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
        return status, *capsys.readouterr()

    return run


def in_a_shell(folder, *words):
    done = run_python("-m", "soapgap", "convert", *words, folder=folder)
    return done.status, done.stdout, done.stderr


def test_in_and_out_again(gap):
    """The numbers are QUIP's, and what comes out again is what went in."""
    status, out, err = in_a_shell(gap.parent, "gap.xml", "model.safetensors")
    assert (status, err) == (0, "")
    first, second = out.splitlines()
    assert first == "model.safetensors: 2 terms, elements Si"
    assert re.match(r"soap \(Si\): radial functions 3 -> .* one symmetric matrix .*forces on probe structures", second)
    model = Model.load(gap.parent / "model.safetensors")
    assert any(getattr(term, "reduced", None) is not None for term in model.terms)
    theirs = quip_results(gap, structures())
    assert min(abs(forces).max() for _, forces, _, _ in theirs) > 0.1
    assert_same(numbers(model, structures()), theirs, 1e-8)

    status, out, err = in_a_shell(gap.parent, "model.safetensors", "again.xml")
    assert (status, err) == (0, "")
    assert out == "again.xml: 2 terms, elements Si; files of sparse points beside it\n"
    assert read_quip(gap.parent / "again.xml").checksum == read_quip(gap).checksum
    assert_same(quip_results(gap.parent / "again.xml", structures()), theirs, 1e-10)


def test_exact(gap, typed):
    status, out, err = typed("gap.xml", "model.safetensors", "--exact")
    assert (status, err) == (0, "")
    assert out.splitlines()[1:] == ["soap (Si): no reduction, 576 operations per atom in its kernel"]
    model = Model.load("model.safetensors")
    assert [getattr(term, "reduced", None) for term in model.terms] == [None, None]
    assert model.checksum == read_quip(gap).checksum


def test_species(tmp_path, typed):
    """A model that takes any element: those with an e0, or those that are asked for."""
    gap_fit(tmp_path, WILDCARD, frames=training_frames(("Si",), 2))
    for words, elements in (((), "Si"), (("--species", "O Si"), "O, Si"), (("--species", "Ti,Si"), "Si, Ti")):
        status, out, err = typed("gap.xml", "model.safetensors", "--exact", *words)
        assert (status, err) == (0, "")
        assert out.splitlines()[0].endswith(f"elements {elements}")
        assert Model.load("model.safetensors").species == elements.split(", ")
    nameless = tmp_path / "nameless.xml"
    nameless.write_text(re.sub(r"<e0 [^>]*>", "", (tmp_path / "gap.xml").read_text()))
    refused(typed("nameless.xml", "other.safetensors"), "--species")
    assert not Path("other.safetensors").exists()


def test_label(gap, typed):
    label = re.search('<GAP_params label="([^"]*)"', gap.read_text())[1]
    assert typed("gap.xml", "model.safetensors", "--exact", "--label", label)[0] == 0
    refused(typed("gap.xml", "other.safetensors", "--label", "another"), "'another'")


def refused(result, *words):
    """Status 2, nothing on standard output, one line on standard error that says these words."""
    status, out, err = result
    assert (status, out) == (2, ""), err
    assert err.startswith("soapgap: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    for word in words:
        assert word in err


@pytest.mark.parametrize(("source", "output", "options", "words"), [
    ("gap.xml", "other.xml", (), ("gap.xml and other.xml", "one file of QUIP (.xml) and one model file")),
    ("gap.XML", "gap.xml", (), ("one file of QUIP",)),
    ("model.safetensors", "other.safetensors", (), ("model.safetensors and other.safetensors",)),
    ("model.safetensors", "other.xml", ("--exact",), ("not for writing one",)),
    ("model.safetensors", "other.xml", ("--species", "Si"), ("not for writing one",)),
    ("gap.xml", "other.safetensors", ("--species", "O"), ("names Si", "asked for are O")),
    ("gap.xml", "other.safetensors", ("--species", "Si O"), ("does not contain O",)),
    ("gap.xml", "other.safetensors", ("--species", "Si Xy"), ("Si, Xy", "chemical symbols")),
    ("gap.xml", "nowhere/other.safetensors", (), ("cannot write nowhere/other.safetensors",)),
    ("none.xml", "other.safetensors", (), ("none.xml", "No such file")),
    ("none.safetensors", "other.xml", (), ("none.safetensors",)),
])
def test_wrong_words(gap, typed, source, output, options, words):
    read_quip(gap).save(gap.parent / "model.safetensors")
    before = contents(gap.parent)
    refused(typed(source, output, *options), *words)
    assert contents(gap.parent) == before


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def soap_with_another_kernel(text):
    """All that an ard_se kernel needs, on the soap descriptor."""
    head, soap, rest = text.partition('covariance_type="2"')
    rest = re.sub(' zeta="[^"]*"', "", rest, count=1)
    rest = rest.replace("<descriptor>", f"<theta> {'1.0 ' * 19} </theta><descriptor>", 1)
    ones = " ".join(map(str, range(1, 20)))
    return head + 'covariance_type="1"' + re.sub(r"(<permutation[^>]*>)[^<]*", rf"\g<1>{ones} ", rest, count=1)


def with_dtd(dtd, reference=""):
    return lambda text: f"<!DOCTYPE x [{dtd}]>\n" + text.replace("<command_line>", f"<command_line>{reference}", 1)


BOMB = '<!ENTITY a "ha">' + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi"))
FAULTS = {
    "half of it": (lambda text: text[:len(text) // 2], "not well-formed XML"),
    "empty": (lambda text: "", "is empty"),
    "another MD5": (lambda text: re.sub('md5sum="[^"]*"', f'md5sum="{"0" * 32}"', text), "MD5 checksum"),
    "short MD5": (lambda text: re.sub('md5sum="(.{8})[^"]*"', r'md5sum="\1"', text), "MD5 checksum"),
    "no sparse file": (lambda text: text.replace("gap.xml.sparseX", "lost.xml.sparseX"), "lost.xml.sparseX"),
    "sparse file elsewhere": (lambda text: text.replace('filename="gap', 'filename="../gap'), "bare file name"),
    "behler": (lambda text: text.replace("<descriptor>soap", "<descriptor>behler"), "of the type behler"),
    "coordination": (lambda text: text.replace("distance_2b cutoff", "coordination cutoff"), "of the type coordination"),
    "residues": (lambda text: text.replace("distance_2b cutoff", "distance_2b only_intra=T cutoff"), "only_intra"),
    "radial basis": (lambda text: text.replace("soap cutoff", "soap radial_basis=SPHERICAL cutoff"), "SPHERICAL"),
    "bond_real_space": (lambda text: text.replace('covariance_type="1"', 'covariance_type="3"'), "bond_real_space"),
    "soap with ard_se": (soap_with_another_kernel, "a soap descriptor with covariance_type ard_se is not supported"),
    "IP ZBL": (lambda text: text.replace('"IP GAP', '"IP ZBL'), "'ZBL' is not supported"),
    "a baseline that is not there": (lambda text: text.replace('do_core="F"', 'do_core="T"'), "do_core"),
    "a word changed": (lambda text: text.replace("l_max=2", "l_max=3"), "do not belong together"),
    "unknown element": (lambda text: text.replace("<command_line>", "<extra/><command_line>", 1), "<extra>"),
    "entity bomb": (with_dtd(BOMB, "&i;"), "do not trust this file"),
    "external entity": (with_dtd('<!ENTITY a SYSTEM "file:///etc/passwd">', "&a;"), "do not trust this file"),
    "external DTD": (lambda text: '<!DOCTYPE x SYSTEM "http://127.0.0.1/x.dtd">' + text, "do not trust this file"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(gap, typed, fault):
    spoil, word = FAULTS[fault]
    text = gap.read_text()
    gap.write_text(spoil(text))
    assert gap.read_text() != text
    before = contents(gap.parent)
    refused(typed("gap.xml", "model.safetensors"), word)
    assert contents(gap.parent) == before


def test_a_fault_in_a_shell(gap):
    text = gap.read_text()
    gap.write_text(text[:len(text) // 2])
    refused(in_a_shell(gap.parent, "gap.xml", "model.safetensors"), "gap.xml", "not well-formed XML")
    assert not (gap.parent / "model.safetensors").exists()


def test_an_older_model_file_survives_a_fault(gap, typed):
    Path("model.safetensors").write_bytes(b"precious")
    gap.write_text("<GAP>")
    refused(typed("gap.xml", "model.safetensors"), "gap.xml")
    assert Path("model.safetensors").read_bytes() == b"precious"


def test_what_quip_cannot_express(tmp_path, typed):
    """The shipped example has the septic cutoff function."""
    shipped = ROOT / "examples" / "models" / "si.safetensors"
    refused(typed(shipped, "si.xml"), "QUIP cannot express the pair term Si-Si", "septic")
    assert list(tmp_path.iterdir()) == []


def test_the_function_says_the_same(gap, tmp_path, capsys):
    model = convert(gap, tmp_path / "model.safetensors", exact=True)
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'model.safetensors'}: 2 terms, elements Si\n")
    assert Model.load(tmp_path / "model.safetensors").checksum == model.checksum
    with pytest.raises(InputError, match="expected one file of QUIP"):
        convert(gap, tmp_path / "other.xml")
