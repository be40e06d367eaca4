"""Whole models across the border to QUIP: trained here and exported, sums with a Glue potential, and old layouts of files."""

import re
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from convert_tools import GLUE, PAIR, SOAP, assert_same, numbers
from lammps_tools import MEASURE, header, lmp_ok, measured, write_data
from quip_fits import gap_fit, quip_results, small_cell, training_frames
from training_tools import ANGLE, DISTANCES, E0, configuration, isolated, toy_frames, write_frames
from training_tools import PAIR as PAIR_2B
from training_tools import SOAP as SOAP_GTO

from soapgap.errors import InputError
from soapgap.fitting import fit
from soapgap.model import Channels, EmbeddingTerm, PairTerm, SoapTerm, TripletTerm
from soapgap.potential import Potential
from soapgap.quip import read_quip, write_quip
from soapgap.quip.document import read_document
from soapgap.quip.glue import density
from soapgap.reduction.model import reduce_model


def of_kind(model, kind):
    return [term for term in model.terms if isinstance(term, kind)]


def repulsion(model):
    """The terms of the short-range baseline."""
    return [term for term in of_kind(model, PairTerm) if term.origin["kind"] == "zbl"]


# ---- trained here ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A fit of all kinds of terms that QUIP has, with the default baseline."""
    folder, species = tmp_path_factory.mktemp("trained"), ("Si", "C")
    write_frames(folder / "train.xyz", [*map(isolated, species), *toy_frames(6, seed=11, species=species)])
    terms = [PAIR_2B | {"n_sparse": 8}, SOAP_GTO | {"radial_basis": "equispaced", "n_sparse": 10}, ANGLE | {"n_sparse": 8},
             DISTANCES | {"n_sparse": 8}]
    config = configuration(folder, terms=terms, e0={s: E0[s] for s in species}, exact=True)
    return fit(config, quiet=True, threads=1).model


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "model.xml"
    write_quip(trained, path)
    return path


def training_like():
    """Two frames like the training data, where the repulsion is zero."""
    return toy_frames(2, seed=12, species=("Si", "C"))


def squeezed():
    """The first of them at 0.75 of its lengths, and dimers: within the switch, and below where the tables begin."""
    dense = training_like()[0].copy()
    dense.set_cell(0.75 * dense.cell.array, scale_atoms=True)
    return [dense, *(Atoms(pair, [[0, 0, 0], [0, 0, r]], cell=[20.0] * 3, pbc=True)
                     for pair, r in (("Si2", 1.2), ("SiC", 0.97), ("C2", 0.3), ("SiC", 0.11), ("Si2", 0.05)))]


def test_the_repulsion_is_where_these_structures_say(trained):
    assert {type(term) for term in trained.terms} == {PairTerm, SoapTerm, TripletTerm}
    alone = replace(trained, terms=repulsion(trained), e0=dict.fromkeys(trained.species, 0.0))
    assert [float(energy) for energy, *_ in numbers(alone, training_like())] == [0.0, 0.0]
    assert min(float(energy) for energy, *_ in numbers(alone, squeezed())) > 1.0


def test_trained_models_are_the_same_in_quip(trained, exported):
    structures = training_like() + squeezed()
    theirs = quip_results(exported, structures)
    assert_same(numbers(trained, structures), theirs, 1e-8)
    assert_same(numbers(read_quip(exported), structures), theirs, 1e-9)


def test_exported_imported_exported(exported):
    """The same bytes, all files, but for the name of the XML in its references."""
    write_quip(read_quip(exported), exported.with_name("again.xml"))
    files = sorted(exported.parent.glob("model.xml*"))
    assert len(files) == 1 + 3 + 2 + 6 + 4  # the XML; pairs, centres, angles, and clusters whichever atom is the centre
    for file in files:
        again = file.with_name(file.name.replace("model.xml", "again.xml"))
        assert again.read_bytes() == file.read_bytes().replace(b"model.xml.sparseX", b"again.xml.sparseX")


def test_reductions_and_splines_are_not_exported(trained, exported, tmp_path):
    """What is written are the sparse points, whatever evaluation uses in their place."""
    loose = reduce_model(trained, tolerance=1e-6, triplet_tolerance=0.1)
    assert any(term.reduced is not None for term in of_kind(loose, SoapTerm))
    assert any(term.grid is not None for term in of_kind(loose, TripletTerm))
    write_quip(loose, tmp_path / "model.xml")
    for file in tmp_path.iterdir():
        assert file.read_bytes() == (exported.parent / file.name).read_bytes()


@pytest.mark.parametrize("pair", [("H", "H"), ("C", "Si"), ("U", "U")])
def test_the_spline_of_the_repulsion(pair):
    """Relative to the largest value and slope of each octave: 1e-11 and 5e-9."""
    from soapgap.learn.baseline.baseline import zbl_term
    from soapgap.quip import glue
    from soapgap.quip.exporter import _dense

    term = zbl_term(pair, 0.9, 1.5)
    curve, rng = glue.pair(_dense(term)), np.random.default_rng(1)
    for start, stop, _ in term.table.segments:
        r = rng.uniform(start, stop, 2000)
        for ours, theirs, bound in zip(term.table.evaluate(r), curve.evaluate(r), (1e-11, 5e-9)):
            np.testing.assert_allclose(0.5 * theirs, ours[:, 0], rtol=0.0, atol=bound * np.abs(ours).max())


def changed(model, kind, change):
    """The model with the first term of a kind changed."""
    done = []

    def one(term):
        if isinstance(term, kind) and not done:
            done.append(term)
            return change(term)
        return term

    return replace(model, terms=[one(term) for term in model.terms])


@pytest.mark.parametrize(("kind", "change", "message"), [
    (SoapTerm, lambda t: replace(t, basis=t.basis | {"radial_basis": "gto"}), "the soap term of C: its radial basis is gto"),
    (SoapTerm, lambda t: replace(t, basis=t.basis | {"cutoff_function": "septic"}), "the soap term of C: .* septic"),
    (SoapTerm, lambda t: replace(t, channels=Channels([0, 1], 2, [1.0] * 4)), "the soap term of C: its channels"),
    (PairTerm, lambda t: replace(t, origin=t.origin | {"cutoff_function": "septic"}), "the pair term C-C: .* septic"),
    (PairTerm, lambda t: replace(t, origin={"kind": "dispersion"}), "the pair term C-C: it is a dispersion"),
])
def test_what_quip_cannot_express(trained, tmp_path, kind, change, message):
    with pytest.raises(InputError, match=message):
        write_quip(changed(trained, kind, change), tmp_path / "model.xml")
    assert list(tmp_path.iterdir()) == []


# ---- sums with a Glue potential ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def summed(tmp_path_factory):
    """A GAP fitted by gap_fit to what a Glue potential leaves."""
    folder = tmp_path_factory.mktemp("sum")
    (folder / "glue.xml").write_text(GLUE)
    return gap_fit(folder, f"{SOAP} : {PAIR}", "core_param_file=glue.xml", "core_ip_args={IP Glue}",
                   frames=training_frames(("Si", "O"), 4))


def from_close_to_far():
    """Cells, one of them dense, and dimers from below all first knots to beyond all last ones."""
    dense = small_cell(9, n_atoms=12, species=("Si", "O"))
    dense.set_cell(0.7 * dense.cell.array, scale_atoms=True)
    dimers = [Atoms(pair, [[0, 0, 0], [0, 0, r]], cell=[20.0] * 3, pbc=True) for pair in ("Si2", "SiO", "O2")
              for r in (0.6, 1.25, 1.45, 2.95, 3.1, 3.4, 3.55)]
    return [small_cell(7, species=("Si", "O")), small_cell(8, n_atoms=12, species=("Si", "O")), dense, *dimers]


def test_sum_of_glue_and_gap(summed):
    """Below, within and beyond the knots of n, U and V."""
    structures, model = from_close_to_far(), read_quip(summed)
    assert [len(of_kind(model, kind)) for kind in (EmbeddingTerm, PairTerm, SoapTerm)] == [2, 2 + 3, 2]
    assert_same(numbers(model, structures), quip_results(summed, structures), 1e-8)


def test_the_structures_reach_beyond_the_embedding_tables(summed):
    types = {t.atomic_number: density(t) for t in read_document(summed).parts[0].types}
    last = {14: 3.0, 8: 4.0}
    beyond = {z: False for z in last}
    for atoms in from_close_to_far()[:3]:
        around = atoms.repeat(5)
        middle = len(atoms) * (len(around) // len(atoms) // 2)
        for i in range(middle, middle + len(atoms)):
            r = around.get_distances(i, range(len(around)))
            rho = sum(types[z].evaluate(x)[0, 0] for x, z in zip(r, around.numbers) if 0.0 < x < 3.3)
            beyond[around.numbers[i]] |= rho > last[around.numbers[i]]
    assert all(beyond.values())


def test_sum_there_and_back(summed, tmp_path):
    model = read_quip(summed)
    write_quip(model, tmp_path / "again.xml")
    assert read_quip(tmp_path / "again.xml").checksum == model.checksum
    structures = from_close_to_far()[:4]
    assert_same(quip_results(tmp_path / "again.xml", structures), quip_results(summed, structures), 1e-9)


def test_glue_alone_there_and_back(tmp_path):
    (tmp_path / "glue.xml").write_text(GLUE)
    model, structures = read_quip(tmp_path / "glue.xml"), from_close_to_far()
    write_quip(model, tmp_path / "again.xml")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["again.xml", "glue.xml"]
    assert read_quip(tmp_path / "again.xml").checksum == model.checksum
    assert_same(numbers(model, structures), quip_results(tmp_path / "again.xml", structures, "IP Glue"), 1e-10)


def test_sum_in_lammps(summed, tmp_path):
    """Energy, forces, virial and local energies, embedded atoms among them, as in ASE."""
    model, species = read_quip(summed), ["O", "Si"]
    model.save(tmp_path / "model.safetensors")
    atoms = small_cell(8, n_atoms=12, species=("Si", "O"))
    atoms.set_cell(np.tril(atoms.cell.array), scale_atoms=True)
    write_data(tmp_path / "data.lammps", atoms, species)
    lmp_ok(tmp_path, header() + f"pair_style soapgap\npair_coeff * * model.safetensors {' '.join(species)}\n" + MEASURE)
    theirs, ours = measured(tmp_path), Potential(model, 1).compute(atoms)
    virial = ours.virial[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
    for got, expected in ((theirs.energy, ours.energy), (theirs.forces, ours.forces), (theirs.virial, virial),
                          (theirs.energies, ours.energies)):
        np.testing.assert_allclose(got, expected, rtol=0.0, atol=1e-9 * max(1.0, np.abs(expected).max()))


# ---- files as they were published --------------------------------------------------------------------------------------

NB = ("distance_Nb order=3 cutoff=3.2 cutoff_transition_width=0.9 delta=0.3 n_sparse=8 sparse_method=random "
      "covariance_type=ard_se theta_uniform=1.1 add_species=T")


@pytest.fixture(scope="module")
def inline(tmp_path_factory):
    """One file with all sparse points in it, as gap_fit wrote it, under a label that does not change."""
    path = gap_fit(tmp_path_factory.mktemp("inline"), f"{SOAP} : {NB}", "sparse_separate_file=F",
                   frames=training_frames(("Si", "O"), 4))
    assert list(path.parent.glob("*.sparseX*")) == []
    text = path.read_text()
    assert "sparseX_slice" in text
    path.write_text(text.replace(re.search('<GAP_params label="([^"]*)"', text)[1], "GAP_old"))
    return path


def one_number_a_line(text):
    """QUIP's XML reader may lose the blanks between the numbers of a long line, but not line ends."""
    return re.sub(r"(<sparseX[^>/]*>)([^<]+)(?=<)", lambda m: m[1] + "\n".join(m[2].split()) + "\n", text)


def old_zeta(text):
    """Where it stood before there was an attribute for it."""
    text = re.sub(' zeta="[^"]*"', "", text)
    return text.replace("<descriptor>soap", "<theta> 2.0 </theta>\n<descriptor>soap")


LAYOUTS = {
    "as it is": lambda text: text,
    "no version": lambda text: re.sub(' gap_version="[^"]*"', "", text),
    "version 1426512067": lambda text: re.sub('gap_version="[^"]*"', 'gap_version="1426512067"', text),
    "version 1596837813": lambda text: re.sub('gap_version="[^"]*"', 'gap_version="1596837813"', text),
    "zeta in theta": old_zeta,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_published_layouts(inline, layout, tmp_path):
    """Each version means something else by the same numbers."""
    text = one_number_a_line(inline.read_text())
    old = LAYOUTS[layout](text)
    assert (old == text) == (layout == "as it is")
    path = tmp_path / "old.xml"
    path.write_text(old)
    structures, model = from_close_to_far()[:2], read_quip(path)
    ours = numbers(model, structures)
    assert_same(ours, quip_results(path, structures), 1e-8)
    usual = numbers(read_quip(inline), structures)
    moved = max(abs(float(a[0] - b[0])) for a, b in zip(ours, usual))
    assert moved > 1.0 if "version" in layout else moved < 1e-12
    write_quip(model, tmp_path / "again.xml")
    assert read_quip(tmp_path / "again.xml").checksum == model.checksum
