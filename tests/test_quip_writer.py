"""QUIP's potential files: written; gap_fit and quippy as independent programs."""

import dataclasses

import ase
import numpy as np
import pytest
from ase.io import write
from evaluator_tools import model, soap_term
from programs import run_gap_fit
from quip_files import POINTS, coordinate, gap, glue, save

from soapgap.errors import InputError
from soapgap.quip.document import Document, GapParams, GlueParams, read_document
from soapgap.quip.exporter import write_quip
from soapgap.quip.writer import write_document

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
    folder = tmp_path_factory.mktemp("gap_fit")
    write(folder / "train.xyz", frames(), format="extxyz")
    write_document(folder / "core.xml", Document("core", [glue()]))
    terms = ("distance_2b cutoff=4.0 covariance_type=ard_se delta=0.5 theta_uniform=1.0 sparse_method=uniform n_sparse=5 : "
             "distance_Nb order=3 cutoff=3.0 covariance_type=pp delta=0.1 theta_uniform=2.0 sparse_method=uniform n_sparse=6 : "
             "soap cutoff=3.5 n_max=4 l_max=3 atom_sigma=0.5 covariance_type=dot_product zeta=2 delta=0.2 n_sparse=6 "
             "sparse_method=cur_points")
    for name, separate in (("beside", "T"), ("inline", "F")):
        done = run_gap_fit(folder, "at_file=train.xyz", f"gp_file={name}.xml", f"gap={{{terms}}}", "e0_method=isolated",
                           "default_sigma={0.01 0.1 0.1 0}", "core_param_file=core.xml", "core_ip_args={IP Glue}", "rnd_seed=7",
                           "sparse_jitter=1e-8", f"sparse_separate_file={separate}")
        assert done.status == 0, done.stderr
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


def test_a_model_with_several_energies_is_refused(tmp_path):
    """Only the first set of weights would be written."""
    term = soap_term("Si", ["Si"], radial_basis="equispaced")
    several = dataclasses.replace(term, weights=np.repeat(term.weights, 2, axis=0))
    with pytest.raises(InputError, match="2 energies for each centre, and a QUIP file holds one"):
        write_quip(model(several), tmp_path / "gap.xml")
    assert not list(tmp_path.iterdir())
