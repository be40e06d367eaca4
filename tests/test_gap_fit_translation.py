"""From gap_fit's command line to a configuration of ours: what is set, what is said, what is refused."""

import numpy as np
import pytest
from gap_fit_oracle import labelled_cells
from training_tools import isolated, observed, toy_frames, write_columns

from soapgap.config import read_config
from soapgap.data.dataset import read_dataset
from soapgap.errors import InputError
from soapgap.gap_fit.config import translate
from soapgap.gap_fit.words import read_command_line
from soapgap.learn.baseline.e0 import atom_energies

PAIR = "distance_2b cutoff=4.0 delta=1.0 theta_uniform=0.5 covariance_type=ard_se n_sparse=10"
SOAP = "soap n_max=4 l_max=3 cutoff=4.0 atom_sigma=0.5 zeta=2 delta=1 covariance_type=dot_product n_sparse=20"
ANGLE = "angle_3b cutoff=3.0 delta=0.3 theta_fac=0.5 covariance_type=ard_se n_sparse=10 sparse_method=uniform"
CLUSTER = "distance_Nb order=3 compact_clusters=F cutoff=3.0 delta=0.3 theta_uniform=1 covariance_type=ard_se n_sparse=10"
OURS = ("soap n_max=4 l_max=3 cutoff=4.0 atom_sigma=0.5 zeta=2 delta=1 covariance_type=dot_product add_species=F n_species=2 "
        "species_Z={{14 6}}")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two species, silicon first."""
    monkeypatch.chdir(tmp_path)
    frames = [observed(isolated(s), "energy") for s in ("Si", "C")]
    write_columns(tmp_path / "two.xyz", [*frames, *labelled_cells(2, 3, ("C", "Si"), "energy", "forces", "virial")])
    write_columns(tmp_path / "one.xyz", [frames[0], *labelled_cells(2, 3, ("Si",), "energy", "forces", "virial")])
    return tmp_path


def translated(*words, file="two.xyz"):
    return translate(read_command_line([f"at_file={file}", "default_sigma={0.001 0.1 0.05 0}", "force_parameter_name=forces",
                                        *words]))


def terms(text, file="one.xyz"):
    return translated(f"gap={{{text}}}", file=file)


def test_what_a_fit_of_ours_would_do_otherwise_is_set(folder):
    """Jitter, baseline, radial basis, sparse method, seed; the schema accepts it."""
    result = translated(f"gap={{{PAIR} : {SOAP} sparse_method=cur_points}}", "gp_file=gap.xml", "rnd_seed=7")
    config, _, _ = read_config(result.config)
    assert (config.sparse_jitter, config.baseline.kind, config.seed, config.output) == (1e-10, "none", 7, "gap.safetensors")
    assert (config.e0, config.e0_offset, config.hessian_delta, config.sigma_per_atom) == ("isolated", 0.0, 0.01, True)
    assert config.default_sigma == (0.001, 0.1, 0.05, 0.0)
    pair, soap = config.terms
    assert (pair.kind, pair.sparse_method, pair.theta, pair.cutoff_transition_width) == ("distance_2b", "random", 0.5, 0.5)
    assert (soap.radial_basis, soap.sparse_method, soap.central_weight, soap.zeta) == ("equispaced", "cur", 1.0, 2.0)
    assert result.notes == []
    assert [(c.term, c.species) for c in result.terms.coordinates] == [
        (0, ("Si", "Si")), (0, ("C", "Si")), (0, ("C", "C")), (1, ("Si",)), (1, ("C",))]


def test_triplets_of_all_kinds(folder):
    """theta_fac, three numbers, a file of them; gap_fit's order of the kernels."""
    (folder / "theta").write_text("1.0 2.0\n3.0\n")
    from_file, three = ANGLE.replace("theta_fac=0.5", "theta_file=theta"), ANGLE.replace("=0.5", "={1 2 3}")
    result = terms(f"{ANGLE} : {from_file} : {{{three}}} : {CLUSTER}", "two.xyz")
    kinds = [(t["kind"], t.get("theta_fac"), t.get("theta"), t["sparse_method"]) for t in result.config["terms"]]
    assert kinds == [("angle_3b", 0.5, None, "uniform"), ("angle_3b", None, [1.0, 2.0, 3.0], "uniform"),
                     ("angle_3b", [1.0, 2.0, 3.0], None, "uniform"), ("distance_3b", None, 1.0, "random")]
    assert [c.species for c in result.terms.coordinates if c.term == 0][:4] == [
        ("Si", "Si", "Si"), ("Si", "C", "Si"), ("Si", "C", "C"), ("C", "Si", "Si")]
    assert [c.species for c in result.terms.coordinates if c.term == 3] == [
        ("Si", "Si", "Si"), ("C", "Si", "Si"), ("C", "C", "Si"), ("C", "C", "C")]
    read_config(result.config)


def test_clusters_of_two_are_pairs(folder):
    """gap_fit counts them twice, as distance_2b, unless they are connected clusters."""
    pair = PAIR.replace("distance_2b", "distance_Nb order=2")
    assert terms(pair).config["terms"] == terms(PAIR).config["terms"]
    with pytest.raises(InputError, match="order=2 with compact_clusters=F counts a pair once"):
        terms(f"{pair} compact_clusters=F")


def test_strings_for_single_elements_become_one_term(folder):
    """As far as they differ in nothing else."""
    result = terms(f"{OURS} Z=14 n_sparse=30 : {OURS} Z=6 n_sparse=20", "two.xyz")
    (soap,) = result.config["terms"]
    assert soap["n_sparse"] == {"Si": 30, "C": 20}
    for name in ("a", "b", "c"):
        (folder / name).write_text("1 2 1 3\n")
    pair = f"{PAIR} sparse_method=file add_species=F".replace("n_sparse=10", "n_sparse=2")
    result = terms(" : ".join(f"{pair} Z1={a} Z2={b} sparse_file={name}" for a, b, name in
                              ((14, 14, "a"), (14, 6, "b"), (6, 6, "c"))), "two.xyz")
    assert result.config["terms"][0]["sparse_file"] == {"Si-Si": "a", "C-Si": "b", "C-C": "c"}
    assert "n_sparse" not in result.config["terms"][0]
    result = terms(f"{ANGLE} add_species=F Z=6 Z1=14 Z2=6 : {CLUSTER} add_species=F Z={{{{14 14 6}}}}", "two.xyz")
    assert [t["species"] for t in result.config["terms"]] == [["C", "C", "Si"], ["C", "Si", "Si"]]
    result = terms(f"{SOAP} sparse_method=cur_points add_species=F : {PAIR} add_species=F Z1=14 Z2=14")  # there is one element
    assert [t["n_sparse"] for t in result.config["terms"]] == [20, 10]


def test_numbers_by_config_type(folder):
    """And all points, and a greedy choice."""
    result = terms(f"{SOAP.replace('n_sparse=20', 'config_type_n_sparse={odd:3:even:4}')} : {PAIR} sparse_method=NONE : "
                   f"{SOAP} sparse_method=COVARIANCE")
    assert result.config["terms"][0]["config_type_n_sparse"] == {"odd": 3, "even": 4}
    assert [t["sparse_method"] for t in result.config["terms"]] == ["random", "all", "cholesky"]
    read_config(result.config)


@pytest.mark.parametrize(("text", "message"), [
    (PAIR.replace("delta=1.0", ""), "distance_2b: delta or energy_scale is missing"),
    (PAIR.replace("n_sparse=10", ""), "n_sparse or config_type_n_sparse is missing"),
    (PAIR.replace("theta_uniform=0.5", ""), "got no length scale, expected one of theta_uniform, theta_fac, theta_file"),
    (f"{PAIR} zeta=2", "got theta_uniform and zeta, expected one of"),
    (f"{PAIR} config_type_n_sparse={{a:1}}", "got n_sparse and config_type_n_sparse"),
    (f"{PAIR} sparse_method=silly", "gap_fit has no such method"),
    (f"{PAIR} sparse_method=kmeans", "sparse_method=kmeans is not available for distance_2b; expected one of random, uniform"),
    (f"{SOAP} sparse_method=cluster", "sparse_method=cluster is not available for soap"),
    (f"{PAIR} sparse_file=x", "sparse_file has no effect with sparse_method=random"),
    (f"{PAIR} sparse_method=file", "sparse_method=file needs a sparse_file"),
    (f"{PAIR} sparse_method=file sparse_file=points", "n_sparse=10, but points holds 2 points"),
    (f"{SOAP} sparse_method=file sparse_file=points", "n_sparse=20, but points holds 0.0952381 points"),
    (f"{SOAP} sparse_method=file sparse_file=points print_sparse_index=x", "points from a file have no number in the data"),
    (f"{SOAP} sparse_method=index_file sparse_file=none", "cannot read none: No such file"),
    (f"{PAIR} print_sparse_index=x", "print_sparse_index: pairs and triplets are not numbered"),
    (PAIR.replace("ard_se", "pp"), "covariance_type=pp is not fitted here, only ard_se"),
    (SOAP.replace("dot_product", "ard_se"), "soap kernels are fitted with dot_product only"),
    (CLUSTER.replace("compact_clusters=F", ""), "compact_clusters=T .* counts a triplet up to three times"),
    (f"{PAIR} Z1=14 Z2=14", "Z1, Z2 beside add_species=T"),
    (f"{PAIR} add_species=F Z1=14 Z2=8", "atomic number 8 is named, but the data have Si only"),
    (f"{SOAP} xml_version=1", "xml_version=1 asks for what soap meant in older versions"),
    (f"{SOAP} add_species=F species_Z={{{{14 6}}}} n_species=2", r"species_Z=\{14 6\}, expected \{14\}"),
    (f"{SOAP} add_species=F n_species=2", "n_species=2, but the data have 1 elements"),
])
def test_terms_that_are_refused(folder, text, message):
    """One line each."""
    (folder / "points").write_text("1.0 2.0\n1.0 3.0\n")
    with pytest.raises(InputError, match=message):
        terms(text)


@pytest.mark.parametrize(("text", "message"), [
    (f"{PAIR} add_species=F Z1=14 Z2=14", "there is no such string for C-Si, C-C"),
    (f"{PAIR} add_species=F", "no element is named"),
    (f"{OURS} Z=14 n_sparse=3 : {OURS} Z=14 n_sparse=3", "this kernel is given already"),
    (f"{OURS} Z=14 n_sparse=3 : {OURS} Z=6 config_type_n_sparse={{{{a:2}}}}", "must have the same config_type_n_sparse"),
    (f"{PAIR} sparse_method=file sparse_file=x", "is one file for the kernels of several elements"),
    (f"{SOAP} central_reference_all_species", "belongs to the channel of its own species"),
])
def test_terms_of_two_species_that_are_refused(folder, text, message):
    """One line each."""
    with pytest.raises(InputError, match=message):
        terms(text, "two.xyz")


def test_e0(folder):
    """One number, by species, by method, with an offset; local_property0 instead."""
    for words, expected in ((["e0=-1.5"], {"Si": -1.5, "C": -1.5}), (["e0={Si:-1.0:6:-2d0}"], {"Si": -1.0, "C": -2.0}),
                            (["e0={Si:-1.0:O:-3.0}"], {"Si": -1.0, "C": 0.0}), (["e0_method=average"], "average")):
        assert translated(f"gap={{{PAIR}}}", *words).config["e0"] == expected
    assert "e0 of C is not given and is 0, as in gap_fit" in translated(f"gap={{{PAIR}}}", "e0={Si:-1.0}").notes
    config = translated(f"gap={{{PAIR}}}", "e0_offset=0.5").config
    assert (config["e0"], config["e0_offset"]) == ("isolated", 0.5)
    with pytest.raises(InputError, match="local_property0: gap_fit takes it off local properties only"):
        translated(f"gap={{{PAIR}}}", "local_property0=-1")
    with pytest.raises(InputError, match="e0: got 'Sj', expected a chemical symbol"):
        translated(f"gap={{{PAIR}}}", "e0={Sj:1}")


def test_the_mean_energy_per_atom_and_an_offset(folder):
    """e0_method=average is the mean over frames, not over atoms."""
    structures = read_dataset(["two.xyz"], read_config(translated(f"gap={{{PAIR}}}").config)[0].data).structures
    expected = np.mean([s.energy / len(s.atoms) for s in structures])
    found = atom_energies("average", structures, ["C", "Si"], 4.0, [0.0] * len(structures), 0.25)
    assert found == pytest.approx({"C": expected + 0.25, "Si": expected + 0.25}, abs=1e-14)
    found = atom_energies({"C": 1.0, "Si": 2.0}, structures, ["C", "Si"], 4.0, [], -0.5)
    assert found == {"C": 0.5, "Si": 1.5}


def test_sigmas(folder):
    """By config type, five words each."""
    config = translated(f"gap={{{PAIR}}}", "config_type_sigma={a:1:2:3:0:b:.1:.2:.3:.4:}", "sigma_per_atom=F").config
    assert config["config_type_sigma"] == {"a": [1, 2, 3, 0], "b": [0.1, 0.2, 0.3, 0.4]}
    assert not config["sigma_per_atom"]
    with pytest.raises(InputError, match="five words for each type"):
        translated(f"gap={{{PAIR}}}", "config_type_sigma={a:1:2:3}")
    with pytest.raises(InputError, match="default_sigma has 3 numbers, expected 4"):
        translate(read_command_line(["at_file=one.xyz", f"gap={{{PAIR}}}", "default_sigma={1 2 3}"]))


def test_names_of_the_data(folder):
    """What no frame has is not read, and energies and forces that nobody has are told."""
    text = (folder / "one.xyz").read_text()
    (folder / "pre.xyz").write_text(text.replace(" energy=", " dft_energy=").replace(":forces:", ":dft_force:"))
    result = translate(read_command_line(["at_file=pre.xyz", f"gap={{{PAIR}}}", "default_sigma={1 1 1 1}",
                                          "parameter_name_prefix=dft_"]))
    data = result.config["data"]
    assert (data["energy_key"], data["forces_key"], data["virial_key"], data["config_type_key"]) == (
        "dft_energy", "dft_force", "", "dft_config_type")
    result = translate(read_command_line(["at_file=one.xyz", f"gap={{{PAIR}}}", "default_sigma={1 1 1 1}"]))
    assert result.config["data"]["forces_key"] == ""
    assert result.notes == ["no frame has 'force' (force_parameter_name): as in gap_fit, it is not fitted; names that "
                            "exist: forces"]
    (folder / "sigma.xyz").write_text(text.replace(" energy=", " energy_foo=0.3 energy_sigma=0.2 energy="))
    with pytest.raises(InputError, match="sigma.xyz has energy_foo, which kernel_regularisation_parameter_name"):
        translated(f"gap={{{PAIR}}}", "sigma_parameter_name=foo", file="sigma.xyz")
    with pytest.raises(InputError, match="sigma.xyz has energy_sigma, which gap_fit would not read"):
        translated(f"gap={{{PAIR}}}", "sigma_parameter_name=bar", file="sigma.xyz")
    with pytest.raises(InputError, match="cannot read at_file=none.xyz"):
        translated(f"gap={{{PAIR}}}", file="none.xyz")


def test_a_stress_beside_a_virial_is_not_read(folder):
    """As in gap_fit, the virial wins; a stress alone counts."""
    text = (folder / "one.xyz").read_text()
    stressed = text.replace(" energy=", ' stress="1.0 0.0 0.0 0.0 1.0 0.0 0.0 0.0 1.0" energy=')
    (folder / "both.xyz").write_text(stressed)
    assert translated(f"gap={{{PAIR}}}", file="both.xyz").config["data"]["stress_key"] == "stress"  # the single atom's
    (folder / "both.xyz").write_text(stressed.replace(' stress="', ' strain="', 1))
    assert translated(f"gap={{{PAIR}}}", file="both.xyz").config["data"]["stress_key"] == ""


def test_data_that_gap_fit_would_pass_over_or_get_wrong(folder):
    """Integers, frames without periodicity, curvatures, local properties."""
    frames = [observed(isolated("Si"), "energy"), *labelled_cells(1, 3, ("Si",), "energy", "virial")]
    frames += [observed(atoms, *kinds) for kinds in (("curvature",), ("local_energy",)) for atoms in toy_frames(1, seed=1)]
    path = folder / "odd.xyz"
    write_columns(path, frames)
    text = path.read_text().replace("local_energy", "local_property")
    lines = text.split("\n")
    lines[1] = lines[1].replace("energy=\"-1.3\"", "energy=-1")
    lines[4] = lines[4].replace('pbc="T T T"', 'pbc="T T F"').split(" virial=")[0] + ' virial="1 2 3 2 5 6 3 6 9" pbc="T T F"'
    path.write_text("\n".join(lines))
    words = [f"gap={{{PAIR} : {CLUSTER}}}", "core_ip_args={IP Glue}", "core_param_file=glue.xml"]
    notes = translated(*words, file="odd.xyz").notes
    for part in ("1 frames have an energy written as an integer: it is read; gap_fit takes it as missing",
                 "1 frames have a virial that is not nine real numbers", "1 frames are not periodic in all directions",
                 "the data have curvatures: the rows of soap kernels are gap_fit's; those of pairs and triplets are not",
                 "the data have local properties: e0 is subtracted", "a triplet of distance_Nb belongs to its three atoms",
                 "the curvature of the baseline is subtracted",
                 "no frame has 'forces'"):
        assert any(part in note for note in notes), (part, notes)
    notes = translated(f"gap={{{SOAP}}}", file="odd.xyz").notes
    assert not any("pairs" in note or "triplet" in note for note in notes)


def test_a_baseline(folder):
    """Only QUIP's Glue, and only if it is asked for."""
    config = translated(f"gap={{{PAIR}}}", "core_ip_args={IP Glue label=a}", "core_param_file=glue.xml").config
    assert config["baseline"] == {"kind": "none", "potentials": [{"kind": "file", "file": "glue.xml", "label": "a"}]}
    result = translated(f"gap={{{PAIR}}}", "core_param_file=glue.xml")
    assert result.config["baseline"] == {"kind": "none"}
    assert "glue.xml is not read" in result.notes[0]
    with pytest.raises(InputError, match=r"core_ip_args=\{IP ZBL\} is not supported, only \{IP Glue\}"):
        translated(f"gap={{{PAIR}}}", "core_ip_args={IP ZBL}")


@pytest.mark.parametrize(("word", "message"), [("gp_file=", "gap_file is empty"), ("rnd_seed=-5", "rnd_seed=-5, expected"),
                                               ("gp_file=a.safetensors", "this is where the XML goes")])
def test_other_values_that_are_refused(folder, word, message):
    """One line each."""
    with pytest.raises(InputError, match=message):
        translated(f"gap={{{PAIR}}}", word)
