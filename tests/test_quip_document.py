"""QUIP's potential files: read, written, refused; gap_fit and quippy as independent programs."""

import dataclasses
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import ase
import numpy as np
import pytest
from ase.io import write

from soapgap.errors import InputError
from soapgap.quip.document import Coordinate, Document, GapParams, GlueParams, GlueType, Table, read_document
from soapgap.quip.strings import Parameters, integers, logical, parse_parameters, reals
from soapgap.quip.writer import write_document
from soapgap.quip.xml_tree import read_tree

SLICES = ('<sparseX_slice start="1" end="2"> .5E+000\n-1d-1 </sparseX_slice>\n'
          '<sparseX_slice start="3" end="3"> .25 </sparseX_slice>')
MODEL = """<GAP_x>
<Potential label="GAP_x" init_args="IP GAP label=GAP_x"/>
<GAP_params label="GAP_x" gap_version="1527075646">
  <GAP_data do_core="F">
    <e0 Z="1" value="-.5E+000"/>
    <e0 Z="8" value="4.5999999999999996"/>
  </GAP_data>
  <gpSparse label="GAP_x" n_coordinate="2" fitted="T">
    <gpCoordinates label="GAP_x1" dimensions="3" signal_variance=".5" signal_mean=".25" sparsified="T" n_permutations="2"
      covariance_type="1" n_sparseX="2" sparseX_filename="gap.xml.sparseX.GAP_x1" sparseX_md5sum="CHECKSUM">
      <theta>  0.1E+001 1 2 </theta>
      <descriptor> distance_Nb order=3 cutoff=4.0 Z={1 8 8} </descriptor>
      <permutation i="1">1 2 3 </permutation><permutation i="2">2 1 3 </permutation>
      <sparseX i="2" alpha="2.5" sparseCutoff=".5"/>
      <sparseX i="1" alpha="-3846416.8400410428" sparseCutoff="1.0000000000000000"/>
    </gpCoordinates>
    <gpCoordinates label="GAP_x2" dimensions="3" signal_variance=".1" signal_mean="0" sparsified="T" n_permutations="1"
      covariance_type="2" zeta="4.0" n_sparseX="2">
      <descriptor>soap cutoff=3.0 n_max=1 l_max=1</descriptor>
      <permutation i="1">1 </permutation>
      <sparseX i="1" alpha="1.0" sparseCutoff="1.0" sliced="T">SLICES</sparseX>
      <sparseX i="2" alpha="-1.0" sparseCutoff="1.0"> 1 2 3 </sparseX>
    </gpCoordinates>
  </gpSparse>
  <command_line><![CDATA[ at_file=x.xyz <&> ]]></command_line>
  <XYZ_data><![CDATA[ 2 ]]><b>anything</b><sparseX>not a number</sparseX></XYZ_data>
</GAP_params>
</GAP_x>
""".replace("SLICES", SLICES)
GLUE = """<Glue_params n_types="1">
  <per_type_data type="1" atomic_num="14">
    <density num_points="2" density_y1="0.0" density_yn="2e30"><point a="3.0" rho="0.0"/><point a="1.0" rho="1.0"/></density>
    <potential_density num_points="2"><point rho="0.0" E="0.0"/><point rho="1.0" E="-1.0"/></potential_density>
  </per_type_data>
  <per_pair_data type1="1" type2="1">
    <potential_pair num_points="2" yn="1e30"><point r="1.0" E="3.0"/><point r="3.0" E="0.0"/></potential_pair>
  </per_pair_data>
</Glue_params>
"""
POINTS = "".join(f"{x:.20e}\n" for x in (1.0, 2.0, 3.0, 0.1, 1 / 3, -2.5e-300))
CHECKSUM = hashlib.md5(POINTS.encode()).hexdigest()


def save(folder, old=None, new=None, text=MODEL, points=POINTS, checksum=CHECKSUM):
    """The model above, with one thing changed (which must be there)."""
    if old is not None:
        assert old in text
        text = text.replace(old, new)
    if points is not None:
        (folder / "gap.xml.sparseX.GAP_x1").write_text(points)
    (folder / "gap.xml").write_text(text.replace("CHECKSUM", checksum))
    return folder / "gap.xml"


def coordinate(label="GAP_y1", covariance="ard_se", m=4, d=3):
    rng = np.random.default_rng(5)
    points = rng.normal(size=(m, d)) * 10.0 ** rng.integers(-300, 300, (m, d))
    dot = covariance == "dot_product"
    return Coordinate(label, 'distance_Nb order=3 q="a & b" x=<1>', covariance, 0.1 + 0.2, rng.normal(), 1 / 3 if dot else None,
                      None if dot else rng.uniform(0.5, 2, d), None if dot else np.array([[0, 1, 2], [2, 1, 0]]),
                      1e6 * rng.normal(size=m), rng.uniform(size=m), points)


def gap(label="GAP_y", **changes):
    values = {"gap_version": 1596837814, "e0": {8: -1 / 3, 1: 5e-324}, "command_line": " a={b]]>c} <&> \u00e9\n",
              "coordinates": [coordinate(f"{label}1"), coordinate(f"{label}2", "dot_product"), coordinate(f"{label}3", "pp")]}
    return GapParams(label, **{**values, **changes})


def glue(label=""):
    table = Table((0.1, 1.0, 1 / 0.3), (3.0, 1 / 3, 0.1), (None, -0.1))
    return GlueParams(label, (GlueType(14, table, table, True), GlueType(8, table, table)), {(8, 14): table, (14, 14): table})


# Parameter strings

@pytest.mark.parametrize(("text", "expected"), [
    ("soap cutoff=3.0 species_Z={14 } n_Z=1", {"soap": "T", "cutoff": "3.0", "species_Z": "14 ", "n_Z": "1"}),
    ("a={b={c d} e} f='g h' i=\"j\"", {"a": "b={c d} e", "f": "g h", "i": "j"}),
    ("Z_map={8, 1 22},q=1", {"Z_map": "8, 1 22", "q": "1"}),
    ("a = 1\n b =2\tc={x y}", {"a": "1", "b": "2", "c": "x y"}),
    ("a=1 b=2 a=3", {"b": "2", "a": "3"}),
    ("a= b x==1 y=z=1 e=", {"a": "", "b": "T", "x": "=1", "y": "z=1", "e": ""}),
    ("a={}} b={{}}", {"a": "}", "b": "{}"}),
    ("", {}),
])
def test_parameter_strings(text, expected):
    assert parse_parameters(text) == expected


def test_keys_are_found_in_any_case():
    found = parse_parameters("Cutoff=3 species_z={1 8} CUTOFF=4")
    assert found == {"species_z": "1 8", "CUTOFF": "4"}
    assert found["cutoff"] == found.get("cutoff") == "4"
    assert found["species_Z"] == "1 8"
    assert "SPECIES_Z" in found
    assert "n_max" not in found
    assert found.get("n_max", "7") == "7"
    with pytest.raises(KeyError):
        found["n_max"]
    assert Parameters() == {}


@pytest.mark.parametrize(("text", "match"), [("a={b", "not closed"), ("a='b", "not closed"), ("=1", "key before")])
def test_bad_parameter_strings(text, match):
    with pytest.raises(InputError, match=match):
        parse_parameters(text)


def test_fortran_numbers():
    assert reals("  .5E+000 -.5 1d0 1.5-100 +3 7. -2D-2 ", "x").tolist() == [0.5, -0.5, 1.0, 1.5e-100, 3.0, 7.0, -0.02]
    assert integers(" 1 -2\n+3", "x").tolist() == [1, -2, 3]
    assert all(logical(word, "x") for word in ("T", "t", "TRUE", ".true.", ""))
    assert not any(logical(word, "x") for word in ("F", "false", ".FALSE."))
    assert reals("", "x").size == 0


@pytest.mark.parametrize("word", ["abc", "1.2.3", "nan", "inf", "1e999", "1_0", "\u0661", "1e", "--1"])
def test_what_is_not_a_number(word):
    with pytest.raises(InputError, match="^theta: got .*expected a finite number"):
        reals(f"1.0 {word}", "theta")


def test_what_is_not_a_whole_number_or_a_logical():
    for word in ("1.0", "1e3", "a", "9" * 30):
        with pytest.raises(InputError, match="^n: got .*expected a whole number"):
            integers(word, "n")
    with pytest.raises(InputError, match="^n: got 2 whole numbers, expected 3"):
        integers("1 2", "n", 3)
    with pytest.raises(InputError, match="^flag: got 'tomato', expected T or F"):
        logical("tomato", "flag")


# Reading

def test_everything_is_read(tmp_path):
    document = read_document(save(tmp_path))
    (part,) = document.parts
    assert (document.label, part.label, part.gap_version, part.e_scale) == ("GAP_x", "GAP_x", 1527075646, 1.0)
    assert (part.e0, part.e0_other) == ({1: -0.5, 8: 4.5999999999999996}, 0.0)
    assert part.command_line == " at_file=x.xyz <&> "
    first, second = part.coordinates
    assert first == Coordinate("GAP_x1", "distance_Nb order=3 cutoff=4.0 Z={1 8 8}", "ard_se", 0.5, 0.25, None, [1, 1, 2],
                               [[0, 1, 2], [1, 0, 2]], [-3846416.8400410428, 2.5], [1.0, 0.5],
                               [[1.0, 2.0, 3.0], [0.1, 1 / 3, -2.5e-300]])
    assert second == Coordinate("GAP_x2", "soap cutoff=3.0 n_max=1 l_max=1", "dot_product", 0.1, 0.0, 4.0, None, None,
                                [1.0, -1.0], [1.0, 1.0], [[0.5, -0.1, 0.25], [1.0, 2.0, 3.0]])
    assert first != second
    assert first != dataclasses.replace(first, theta=[1, 1, 3])


@pytest.mark.parametrize(("old", "new"), [
    (' sparseX_md5sum="CHECKSUM"', ""), ("CHECKSUM", ""), ("CHECKSUM", CHECKSUM.upper()),
    ('zeta="4.0" n_sparseX="2">', 'n_sparseX="2"><theta> .40E+001 </theta>'),
    (' sparsified="T"', ""), (' fitted="T"', ""), (' do_core="F"', ""),
    ('<Potential label="GAP_x" init_args="IP GAP label=GAP_x"/>', ""),
    ('<Potential label="GAP_x" init_args="IP GAP label=GAP_x"/>', '<Potential label="GAP_x" init_args="ip gap"/>'),
    ('<permutation i="1">1 </permutation>', '<permutation i="1">1 2 3</permutation>'),
])
def test_what_makes_no_difference(tmp_path, old, new):
    expected = read_document(save(tmp_path))
    assert read_document(save(tmp_path, old, new)) == expected


def test_old_files(tmp_path):
    part = read_document(save(tmp_path, ' gap_version="1527075646"', "")).parts[0]
    assert part.gap_version == 0
    part = read_document(save(tmp_path, 'do_core="F"', 'do_core="F" e0=".15E+001"')).parts[0]
    assert (part.e0, part.e0_other) == ({1: -0.5, 8: 4.5999999999999996}, 1.5)


def test_sums_in_their_order(tmp_path):
    arguments = "Sum init_args_pot1={IP Glue} init_args_pot2={Sum init_args_pot1={IP GAP label=GAP_x E_scale=2.5} " \
                "init_args_pot2={IP GAP label=GAP_x}}"
    text = MODEL.replace("IP GAP label=GAP_x", arguments).replace("<GAP_params", GLUE + "<GAP_params")
    for do_core in "FT":
        document = read_document(save(tmp_path, 'do_core="F"', f'do_core="{do_core}"', text))
        assert [type(part) for part in document.parts] == [GlueParams, GapParams, GapParams]
        assert [part.e_scale for part in document.parts[1:]] == [2.5, 1.0]
        assert document.parts[0] == GlueParams(
            "", (GlueType(14, Table((1.0, 3.0), (1.0, 0.0), (0.0, None)), Table((0.0, 1.0), (0.0, -1.0), (None, None))),),
            {(14, 14): Table((1.0, 3.0), (3.0, 0.0), (0.0, None))})


def test_which_potential(tmp_path):
    other = '<Potential label="q" init_args="IP GAP label=GAP_x E_scale=3"/>'
    path = save(tmp_path, "<Potential", other + "<Potential")
    assert read_document(path).parts[0].e_scale == 1.0  # the one labelled like the root
    assert read_document(path, "q").parts[0].e_scale == 3.0
    assert read_document(path, "q").label == "q"
    with pytest.raises(InputError, match="label 'r', expected one of 'GAP_x', 'q'"):
        read_document(path, "r")
    text = MODEL.replace("<GAP_x>", "<root>").replace("</GAP_x>", "</root>")
    assert read_document(save(tmp_path, text=text)).parts[0].e_scale == 1.0  # the only one
    with pytest.raises(InputError, match="2 <Potential> elements to choose from .labels 'q', 'GAP_x'"):
        read_document(save(tmp_path, "<Potential", other + "<Potential", text=text))
    assert read_document(save(tmp_path, 'Potential label="GAP_x"', 'Potential label="q"'), "GAP_x").label == "GAP_x"


def test_a_glue_potential_of_its_own(tmp_path):
    (part,) = read_document(save(tmp_path, text=GLUE)).parts
    assert isinstance(part, GlueParams)


def test_training_data_are_not_kept(tmp_path):
    path = save(tmp_path, "anything", "x" * 40 + "\n<![CDATA[" + "0.123456789 " * 2_000_000 + "]]>")
    tracemalloc.start()
    try:
        read_document(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 24e6
    assert peak < 8e6


# What is refused: (name, old, new, what the message says)
FAULTS = [
    ("cut", "</GAP_params>\n</GAP_x>\n", "", "not well-formed XML .* cut or damaged"),
    ("cut in a tag", "4.5999999999999996\"/>", "", "not well-formed XML"),
    ("encoding", "<GAP_x>\n<P", '<?xml version="1.0" encoding="nonsense"?><GAP_x>\n<P', "not well-formed XML"),
    ("dtd", "<GAP_x>\n<P", "<!DOCTYPE GAP_x><GAP_x>\n<P", "document type definition.*do not trust"),
    ("bomb", "<GAP_x>\n<P", '<!DOCTYPE l [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><GAP_x>\n<P', "entity"),
    ("external", "<GAP_x>\n<P", '<!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/hostname">]><GAP_x>\n<P', "external reference"),
    ("entity", "distance_Nb", "&nothing; distance_Nb", "not well-formed XML"),
    ("checksum", "CHECKSUM", "0" * 32, f"MD5 checksum {CHECKSUM}, expected {'0' * 32}"),
    ("short checksum", "CHECKSUM", CHECKSUM[:31], "MD5 checksum"),
    ("missing file", "sparseX.GAP_x1", "sparseX.GAP_z1", "sparse-point file .*gap.xml.sparseX.GAP_z1 is missing"),
    ("parent folder", "gap.xml.sparseX", "../gap.xml.sparseX", "bare file name"),
    ("subfolder", "gap.xml.sparseX", "a/gap.xml.sparseX", "bare file name"),
    ("windows path", "gap.xml.sparseX", "..\\gap.xml.sparseX", "bare file name"),
    ("absolute", "gap.xml.sparseX.GAP_x1", "/etc/hostname", "bare file name"),
    ("no name", "gap.xml.sparseX.GAP_x1", "", "bare file name"),
    ("dots", "gap.xml.sparseX.GAP_x1", "..", "bare file name"),
    ("number", ".25 <", ".2f5 <", "line 23, <sparseX_slice>: got '.2f5', expected a finite number"),
    ("nan", "1 2 3 </sparseX>", "1 nan 3 </sparseX>", "<sparseX>: got 'nan', expected a finite number"),
    ("few numbers", "1 2 3 </sparseX>", "1 2 </sparseX>", "<sparseX>: got 2 numbers of a sparse point, expected 3"),
    ("no numbers", "> 1 2 3 </sparseX>", "/>", "<sparseX>: got 0 numbers of a sparse point, expected 3"),
    ("numbers and slices", SLICES, SLICES + " 1 2 3", "either slices or numbers"),
    ("numbers, then slices", SLICES, "1 2 3 " + SLICES, "either slices or numbers"),
    ("slice missing", '<sparseX_slice start="3" end="3"> .25 </sparseX_slice>', "", "slices with 2 numbers, expected all 3"),
    ("slices overlap", 'start="3"', 'start="2"', "slice 2 to 3, expected slices that cover 1 to 3"),
    ("slice too far", 'start="3" end="3"', 'start="3" end="4"', "slice 3 to 4"),
    ("slice length", " .25 <", " .25 .3 <", "got 2 numbers of a sparse point, expected 1"),
    ("n_sparseX", 'n_sparseX="2" ', 'n_sparseX="3" ', "got 2 <sparseX>, 2 of them with different i, expected i = 1 to 3"),
    ("sparseX twice", 'i="2" alpha="2.5"', 'i="1" alpha="2.5"', "got 2 <sparseX>, 1 of them with different i"),
    ("dimensions", 'GAP_x1" dimensions="3"', 'GAP_x1" dimensions="2"', "<theta>: got 3 numbers, expected 2"),
    ("no dimensions", 'GAP_x1" dimensions="3"', 'GAP_x1"', "the attribute dimensions is missing"),
    ("dimension 0", 'GAP_x2" dimensions="3"', 'GAP_x2" dimensions="0"', "dimensions=0, expected 1 or more"),
    ("n_permutations", 'n_permutations="2"', 'n_permutations="3"', "got 2 <permutation>"),
    ("permutation", ">2 1 3 <", ">2 2 3 <", "permutations: got .*each of 0 to 2 once"),
    ("permutation index", ">2 1 3 <", ">2 1 4 <", "permutations: got .*each of 0 to 2 once"),
    ("permutation length", ">2 1 3 <", ">2 1 <", "<permutation>: got 2 whole numbers, expected 3"),
    ("n_coordinate", 'n_coordinate="2"', 'n_coordinate="3"', "got 2 <gpCoordinates>, expected n_coordinate = 3"),
    ("covariance 3", 'covariance_type="1"', 'covariance_type="3"', r"covariance_type 3 \(bond_real_space\) is not supported"),
    ("covariance 9", 'covariance_type="1"', 'covariance_type="9"', "covariance_type 9 is not supported"),
    ("zeta", ' zeta="4.0"', "", "zeta .*: got 0 numbers, expected 1"),
    ("zeta word", 'zeta="4.0"', 'zeta="four"', "zeta: got 'four', expected a finite number"),
    ("theta", "<theta>  0.1E+001 1 2 </theta>", "", "got 0 <theta> in it, expected one"),
    ("theta 0", "0.1E+001 1 2", "1 0 2", "theta of the ard_se kernel"),
    ("alpha", 'alpha="2.5"', 'alpha="2,5"', "alpha: got '2,5', expected a finite number"),
    ("alpha nan", 'alpha="2.5"', 'alpha="NaN"', "alpha: got 'NaN', expected a finite number"),
    ("no sparseCutoff", ' sparseCutoff=".5"', "", "attribute sparseCutoff is missing"),
    ("no descriptor", "<descriptor>soap cutoff=3.0 n_max=1 l_max=1</descriptor>", "", "got 0 <descriptor>"),
    ("new element", "<theta>", "<inverse_theta/><theta>", "<inverse_theta>: not supported inside <gpCoordinates>"),
    ("not fitted", 'fitted="T"', 'fitted="F"', "without a fit"),
    ("attribute twice", 'GAP_x1" dim', 'GAP_x1" sparsified="F" dim', "not well-formed"),
    ("full GP", 'sparsified="T" n_permutations="2"', 'sparsified="F" n_permutations="2"', "full Gaussian process"),
    ("core", 'do_core="F"', 'do_core="T"', 'do_core="T".*baseline'),
    ("attribute of GAP_data", 'do_core="F"', 'do_core="F" shift="1"', "attribute shift is not supported"),
    ("attribute of Potential", '<Potential ', '<Potential shift="1" ', "attribute shift is not supported"),
    ("other stanza", '<GAP_data', '<extra/><GAP_data', "<extra>: not supported inside <GAP_params>"),
    ("e0 twice", 'e0 Z="8"', 'e0 Z="1"', "got Z=1, expected an atomic number from 1 to 118, each once"),
    ("e0 of 0", 'e0 Z="8"', 'e0 Z="0"', "got Z=0, expected an atomic number"),
    ("gap_version", "1527075646", "new", "gap_version: got 'new', expected a whole number"),
    ("two gpSparse", "</gpSparse>", '</gpSparse><gpSparse n_coordinate="0"/>', "got 2 <gpSparse>"),
    ("label", 'init_args="IP GAP label=GAP_x"', 'init_args="IP GAP label=GAP_z"', 'got 0 <GAP_params> for the label "GAP_z"'),
    ("ZBL", "IP GAP label=GAP_x", "Sum init_args_pot1={IP ZBL} init_args_pot2={IP GAP}", "'ZBL' is not supported"),
    ("r_scale", "IP GAP label=GAP_x", "IP GAP r_scale=1.1", "'r_scale' is not supported"),
    ("rescale", "IP GAP label=GAP_x", "IP GAP do_rescale_E E_scale=2", "'do_rescale_E' is not supported"),
    ("E_scale of Glue", "IP GAP label=GAP_x", "IP Glue E_scale=2", "'E_scale' is not supported"),
    ("third term", "IP GAP label=GAP_x", "Sum init_args_pot1={IP GAP} init_args_pot2={IP GAP} init_args_pot3={IP GAP}",
     "'init_args_pot3' is not supported"),
    ("one term", "IP GAP label=GAP_x", "Sum init_args_pot1={IP GAP}", "init_args_pot2 is missing"),
    ("no type", "IP GAP label=GAP_x", "IP", "expected \"IP GAP label"),
    ("no IP", "IP GAP label=GAP_x", "GAP", "'GAP' is not supported"),
    ("brace", "IP GAP label=GAP_x", "Sum init_args_pot1={IP GAP", "not closed"),
    ("no init_args", 'init_args="IP GAP label=GAP_x"', "", "attribute init_args is missing"),
    ("depth", "IP GAP label=GAP_x", "Sum init_args_pot1={IP GAP} init_args_pot2={" * 3000 + "IP GAP" + "}" * 3000,
     "nested more than"),
    ("not QUIP", "GAP_params", "html", "neither <GAP_params> nor <Glue_params>"),
]
GLUE_FAULTS = [
    ("neighbours", "<potential_density", '<potential_neighbours/><potential_density', "numbers of neighbours"),
    ("no density", re.search("<density.*</density>", GLUE)[0], "", "got 0 <density>"),
    ("no slope", ' density_y1="0.0"', "", "attribute density_y1 is missing"),
    ("num_points", 'num_points="2" yn', 'num_points="3" yn', "got 2 <point>, expected num_points = 3"),
    ("one point", '<point r="3.0" E="0.0"/>', "", "got 1 <point>"),
    ("twice", 'r="3.0"', 'r="1.0"', "<potential_pair>: spline table: .*ascending"),
    ("attribute", 'yn="1e30"', 'yM="1e30"', "attribute yM is not supported"),
    ("n_types", 'n_types="1"', 'n_types="2"', "expected 1 to n_types = 2"),
    ("type", 'type1="1"', 'type1="2"', r"got the types \[2, 1\]"),
    ("number", 'E="3.0"', 'E="high"', "E: got 'high'"),
    ("element", '<point r="1.0" E="3.0"/>', '<knot r="1.0" E="3.0"/>', "<knot>: not supported inside <potential_pair>"),
]


@pytest.mark.parametrize(("old", "new", "match"), [pytest.param(*fault[1:], id=fault[0]) for fault in FAULTS])
def test_faults_are_named(tmp_path, old, new, match):
    path = save(tmp_path, old, new)
    with pytest.raises(InputError, match=f"(?s)^{re.escape(str(path))}: .*(?:{match})") as caught:
        read_document(path)
    assert caught.value.__cause__ is None
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(("old", "new", "match"), [pytest.param(*fault[1:], id=fault[0]) for fault in GLUE_FAULTS])
def test_faults_of_glue_are_named(tmp_path, old, new, match):
    path = save(tmp_path, old, new, text=GLUE)
    with pytest.raises(InputError, match=match):
        read_document(path)


def test_contradicting_pair_tables(tmp_path):
    second = GLUE[GLUE.index("<per_pair"):GLUE.index("</Glue")]
    same = read_document(save(tmp_path, "</Glue_params>", second + "</Glue_params>", GLUE))
    assert same == read_document(save(tmp_path, text=GLUE))
    with pytest.raises(InputError, match="second, different table"):
        read_document(save(tmp_path, "</Glue_params>", second.replace("3.0", "4.0") + "</Glue_params>", GLUE))
    with pytest.raises(InputError, match="got 2 <Glue_params>"):
        read_document(save(tmp_path, text=f"<a>{GLUE}{GLUE}</a>"))


@pytest.mark.parametrize(("points", "match"), [
    (POINTS[:-28], "does not end with a line end"), ("1.0\n" * 4, "got 4 numbers, expected 6"), (POINTS[:-5], "cut"),
    (POINTS + "1.0\n", "got 7 numbers, expected 6"), ("", "got 0 numbers"),
    (POINTS.replace("1.0", "one", 1), "got 'one.*', expected a finite number"), ("\x00\xff\n" * 6, "finite number"),
])
def test_faults_of_sparse_files_are_named(tmp_path, points, match):
    path = save(tmp_path, "CHECKSUM", "", points=points)
    with pytest.raises(InputError, match=f"sparse-point file gap.xml.sparseX.GAP_x1 .*{match}"):
        read_document(path)


def test_sparse_files_stay_in_the_folder(tmp_path):
    (tmp_path / "a").mkdir()
    path = save(tmp_path / "a")
    points = tmp_path / "a" / "gap.xml.sparseX.GAP_x1"
    points.rename(tmp_path / "elsewhere")
    points.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="link to another folder"):
        read_document(path)
    points.unlink()
    points.mkdir()
    with pytest.raises(InputError, match="is missing"):
        read_document(path)


@pytest.mark.parametrize(("content", "match"), [
    (b"", "empty"), (b" \n", "empty"), (b"hello", "not well-formed"), (b"\x89PNG\r\n\x00\xff" * 9, "not well-formed"),
    (b"<a/>", "neither"), (b"<a>\xff</a>", "not well-formed")])
def test_other_files(tmp_path, content, match):
    path = tmp_path / "other.xml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{re.escape(str(path))}: .*{match}"):
        read_document(path)


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.xml", tmp_path):
        with pytest.raises(InputError, match="cannot read it"):
            read_document(path)


def test_text_of_other_elements_is_not_kept(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text("<a>text<descriptor>x<b/>y</descriptor></a>")
    root = read_tree(path)
    assert root.text == ""
    assert root.only("descriptor").text == "xy"


# Writing

@pytest.mark.parametrize("document", [
    Document("GAP_y", [gap()]),
    Document("", [gap("", coordinates=[coordinate("1")])]),
    Document("sum", [glue(), gap(e_scale=0.1), gap(), gap("b", e0={}, e0_other=-1.5, gap_version=0, command_line="")]),
    Document("core", [glue("core")]),
], ids=["GAP", "no label", "sum", "Glue"])
def test_written_and_read_again(tmp_path, document):
    path = tmp_path / "my model.xml"
    write_document(path, document)
    again = read_document(path)
    assert again == document
    for old, new in zip(document.parts, again.parts):
        for a, b in zip(getattr(old, "coordinates", ()), getattr(new, "coordinates", ())):
            assert all(getattr(a, name).tobytes() == getattr(b, name).tobytes() for name in ("alpha", "sparse_points"))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    write_document(path, again)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    gaps = [part for part in document.parts if isinstance(part, GapParams)]
    assert set(before) == {path.name, *(f"{path.name}.sparseX.{c.label}" for part in gaps for c in part.coordinates)}


def test_read_model_is_written_the_same(tmp_path):
    document = read_document(save(tmp_path))
    (tmp_path / "b").mkdir()
    write_document(tmp_path / "b" / "gap.xml", document)
    assert read_document(tmp_path / "b" / "gap.xml") == document
    assert (tmp_path / "b" / "gap.xml.sparseX.GAP_x1").read_text() == POINTS


@pytest.mark.parametrize(("document", "match"), [
    (Document("x", []), "no parts"),
    (Document("x", [gap(coordinates=[])]), "no coordinates"),
    (Document("x", [gap(coordinates=[coordinate("other1")])]), 'label "other1" of coordinate 1, expected "GAP_y1"'),
    (Document("x y", [gap()]), "got the label 'x y'"),
    (Document("x", [gap("1a")]), "got the label '1a'"),
    (Document("x", [gap(), gap(e0={1: 1.0})]), "two different parts"),
    (Document("x", [gap(), gap("", coordinates=[coordinate("1")])]), "one without a label"),
    (Document("x", [gap(command_line="a\x00b")]), "command line.*character"),
    (Document("x", [gap(command_line="a\rb")]), "command line.*character"),
])
def test_what_cannot_be_written(tmp_path, document, match):
    with pytest.raises(InputError, match=match):
        write_document(tmp_path / "gap.xml", document)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_a_failed_write(tmp_path):
    (tmp_path / "gap.xml.sparseX.GAP_y3").mkdir()
    with pytest.raises(InputError, match="cannot write"):
        write_document(tmp_path / "gap.xml", Document("GAP_y", [gap()]))
    assert [file.name for file in tmp_path.iterdir()] == ["gap.xml.sparseX.GAP_y3"]
    with pytest.raises(InputError, match="cannot write"):
        write_document(tmp_path / "none" / "gap.xml", Document("GAP_y", [gap()]))


@pytest.mark.parametrize(("changes", "match"), [
    ({"alpha": np.ones(3)}, "alpha: got the shape .3,., expected .4,."),
    ({"sparse_points": np.ones(4)}, "sparse points: got the shape"),
    ({"sparse_points": np.full((4, 3), np.inf)}, "not finite"),
    ({"delta": np.nan}, "delta: got a number that is not finite"),
    ({"theta": None}, "theta of the ard_se kernel: got none"),
    ({"zeta": 2.0}, "theta of the ard_se kernel"),
    ({"permutations": None}, "permutations: got none"),
    ({"permutations": [[0, 1, 1]]}, "permutations: got .*each of 0 to 2 once"),
    ({"covariance": "bond_real_space"}, "covariance: got 'bond_real_space'"),
    ({"covariance": "dot_product"}, "dot_product kernel"),
])
def test_coordinates_are_checked_when_made(changes, match):
    with pytest.raises(InputError, match=match):
        dataclasses.replace(coordinate(), **changes)


# gap_fit and quippy

def gap_fit_program():
    beside = Path(sys.executable).parent / "gap_fit"
    return str(beside) if beside.exists() else shutil.which("gap_fit")


def frames():
    rng = np.random.default_rng(11)
    out = [ase.Atoms("Si", [[0, 0, 0]], cell=[20] * 3, pbc=True), ase.Atoms("O", [[0, 0, 0]], cell=[20] * 3, pbc=True)]
    out += [ase.Atoms("Si4O4", rng.uniform(0, 6, (8, 3)), cell=[6, 6.5, 7], pbc=True) for _ in range(3)]
    for atoms in out:
        atoms.info["energy"] = rng.normal() + 0.5
        if len(atoms) > 1:
            atoms.new_array("force", rng.normal(size=(8, 3)))
    return out


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """The same fit on a Glue baseline with the sparse points beside the XML and in it."""
    program = gap_fit_program()
    if program is None:
        pytest.skip("gap_fit is not installed (pip install quippy-ase)")
    folder = tmp_path_factory.mktemp("gap_fit")
    write(folder / "train.xyz", frames(), format="extxyz")
    write_document(folder / "core.xml", Document("core", [glue()]))
    terms = ("distance_2b cutoff=4.0 covariance_type=ard_se delta=0.5 theta_uniform=1.0 sparse_method=uniform n_sparse=5 : "
             "distance_Nb order=3 cutoff=3.0 covariance_type=pp delta=0.1 theta_uniform=2.0 sparse_method=uniform n_sparse=6 : "
             "soap cutoff=3.5 n_max=4 l_max=3 atom_sigma=0.5 covariance_type=dot_product zeta=2 delta=0.2 n_sparse=6 "
             "sparse_method=cur_points")
    for name, separate in (("beside", "T"), ("inline", "F")):
        subprocess.run([program, "at_file=train.xyz", f"gp_file={name}.xml", f"gap={{{terms}}}", "e0_method=isolated",
                        "default_sigma={0.01 0.1 0.1 0}", "core_param_file=core.xml", "core_ip_args={IP Glue}", "rnd_seed=7",
                        "sparse_jitter=1e-8", f"sparse_separate_file={separate}"], cwd=folder, check=True, capture_output=True,
                       timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return folder


def test_gap_fit_s_files(fitted):
    beside, inline = (read_document(fitted / f"{name}.xml") for name in ("beside", "inline"))
    assert [type(part) for part in beside.parts] == [GlueParams, GapParams]
    assert beside.parts[0] == glue()
    assert [c.covariance for c in beside.parts[1].coordinates] == ["ard_se"] * 3 + ["pp"] * 4 + ["dot_product"] * 2
    assert sorted(len(c.permutations) for c in beside.parts[1].coordinates[3:7]) == [2, 2, 6, 6]
    assert beside.parts[1].coordinates[-1].sparse_points.shape == (6, 4 * 8 * 9 // 2 + 1)
    assert len(beside.parts[1].e0) == 118
    for a, b in zip(beside.parts[1].coordinates, inline.parts[1].coordinates):
        b = dataclasses.replace(b, label=a.label, descriptor=a.descriptor)
        np.testing.assert_allclose(a.sparse_points, b.sparse_points, rtol=1e-16, atol=0)
        assert a == b


def test_quippy_reads_what_is_written(fitted, tmp_path):
    potential = pytest.importorskip("quippy.potential").Potential
    document = read_document(fitted / "beside.xml")
    written = tmp_path / "written_again.xml"
    document.parts[1].command_line += "<&>]]>"
    write_document(written, document)
    before, after = potential(param_filename=str(fitted / "beside.xml")), potential(param_filename=str(written))
    for atoms in frames():
        energies, forces = [], []
        for calculator in (before, after):
            atoms.calc = calculator
            energies.append(atoms.get_potential_energy())
            forces.append(atoms.get_forces())
        assert energies[0] == energies[1]
        np.testing.assert_array_equal(forces[0], forces[1])
    gap_alone = potential(f"IP GAP label={document.parts[1].label}", param_filename=str(written))
    atoms.calc = gap_alone
    assert atoms.get_potential_energy() != pytest.approx(energies[0])


def test_quippy_reads_nested_sums_and_scales(fitted, tmp_path):
    potential = pytest.importorskip("quippy.potential").Potential
    core, part = read_document(fitted / "beside.xml").parts
    path = tmp_path / "nested.xml"
    write_document(path, Document("nested", [core, dataclasses.replace(part, e_scale=2.5), part]))
    atoms = frames()[-1]
    energies = []
    for arguments in ("", "IP Glue", f"IP GAP label={part.label}"):
        atoms.calc = potential(arguments, param_filename=str(path))
        energies.append(atoms.get_potential_energy())
    np.testing.assert_allclose(energies[0], energies[1] + 3.5 * energies[2], rtol=1e-14)
