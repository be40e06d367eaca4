"""QUIP's potential files: read and refused."""

import dataclasses
import re
import tracemalloc

import pytest
from quip_files import CHECKSUM, GLUE, MODEL, POINTS, SLICES, save

from soapgap.errors import InputError
from soapgap.quip.document import Coordinate, GapParams, GlueParams, GlueTable, GlueType, read_document
from soapgap.quip.strings import QuipParameters, integers, logical, parse_parameters, reals
from soapgap.quip.xml_tree import read_tree

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
    assert QuipParameters() == {}


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
            "", (GlueType(14, GlueTable((1.0, 3.0), (1.0, 0.0), (0.0, None)),
                          GlueTable((0.0, 1.0), (0.0, -1.0), (None, None))),),
            {(14, 14): GlueTable((1.0, 3.0), (3.0, 0.0), (0.0, None))})


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
