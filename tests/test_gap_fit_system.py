"""`soapgap gap-fit` beside gap_fit: the same linear system, the same predictions."""

import numpy as np
from gap_fit_oracle import (
    ANGLE,
    CLUSTER,
    PAIR,
    SOAP,
    assert_same_predictions,
    assert_same_system,
    labelled_cells,
    ours,
    program,
)
from gap_fit_oracle import with_files as strings_with_files
from quip_files import GLUE
from training_tools import E0, isolated, observed, toy_frames, write_columns

SIGMA = "default_sigma={0.002 0.05 0.02 0.0}"
COMMON = ["force_parameter_name=forces", "do_copy_at_file=F", SIGMA]


def data(species, *kinds, n=6, seed=11):
    """Isolated atoms (the last species first), then cells, with two config types."""
    frames = [observed(isolated(s), "energy") for s in reversed(species)]
    frames += labelled_cells(n, seed, species, *kinds)
    for k, atoms in enumerate(frames):
        atoms.info["config_type"] = "odd" if k % 2 else "even"
    return frames


def fit_twice(folder, monkeypatch, frames, strings, *options):
    """gap_fit chooses points; then both programs fit with them. Returns the command line."""
    write_columns(folder / "train.xyz", frames)
    first = "gap={" + " : ".join(f"{{{s} sparse_method={'cur_points' if s.startswith('soap') else 'uniform'}}}"
                                 for s in strings) + "}"
    words = ["at_file=train.xyz", *COMMON, *options]
    said = program(folder, first, "gp_file=first.xml", "rnd_seed=4", *words)
    assert (folder / "first.xml").exists(), said[-2000:]
    again = "gap={" + " : ".join(strings_with_files(folder, "first.xml")) + "}"
    said = program(folder, again, "gp_file=theirs.xml", "linear_system_dump_file=theirs", *words)
    assert (folder / "theirs.xml").exists(), said[-2000:]
    (folder / "train.xyz.idx").unlink()
    ours(monkeypatch, folder, again, "gp_file=ours.xml", "linear_system_dump_file=ours", *words)
    return [again, *words]


def unseen(species):
    return toy_frames(3, seed=12, species=species)


def test_one_species_with_pairs_angles_and_soap(tmp_path, monkeypatch):
    """Energies, forces and virials, sigmas by config type."""
    frames = data(("Si",), "energy", "forces", "virial")
    fit_twice(tmp_path, monkeypatch, frames, [PAIR, f"{ANGLE} theta_uniform=0.8", SOAP],
              "config_type_sigma={odd:0.004:0.1:0.05:0.0}")
    numbers = assert_same_system(tmp_path, "theirs", "ours")
    assert numbers["K_nm"].shape == (1 + 6 * (1 + 24 + 6), 8 + 12 + 14)
    assert_same_predictions(tmp_path, "theirs.xml", "ours.xml", unseen(("Si",)), E0)


def test_two_species_with_masks_and_own_sigmas(tmp_path, monkeypatch):
    """Pairs, clusters of three and soap for every choice of species; the order of appearance is not that of the numbers."""
    species = ("C", "Si")
    frames = data(species, "energy", "forces", "virial")
    assert frames[0].symbols[0] == "Si"
    frames[3].arrays["force_mask"] = np.arange(8) % 3 == 0
    frames[4].arrays["force_atom_sigma"] = np.linspace(0.05, 0.2, 8)
    frames[5].arrays["force_component_sigma"] = np.linspace(0.05, 0.2, 24).reshape(8, 3)
    frames[5].info |= {"energy_sigma": 0.03, "virial_sigma": 0.4}
    frames[6].info |= {"force_sigma": 0.3, "virial_component_sigma": np.array([1.0, 2, 3, 2, 5, 6, 3, 6, 9])}
    fit_twice(tmp_path, monkeypatch, frames, [PAIR, CLUSTER, SOAP], "e0={Si:-1.3:C:-2.1}")
    numbers = assert_same_system(tmp_path, "theirs", "ours")
    assert numbers["K_nm"].shape[1] == 3 * 8 + 4 * 12 + 2 * 14
    assert_same_predictions(tmp_path, "theirs.xml", "ours.xml", unseen(species), E0)


def test_local_properties_and_curvatures_of_soap(tmp_path, monkeypatch):
    """Without e0, so that gap_fit's omission of it does not matter; some atoms are masked."""
    frames = data(("Si",), "energy", "forces", n=3)
    cells = toy_frames(4, seed=14)
    some = [observed(atoms, "local_energy", seed=3) for atoms in cells[:2]]
    for atoms in some:
        atoms.arrays["local_property"] = atoms.arrays.pop("local_energy")
        atoms.info["config_type"] = "local"
    some[1].arrays["local_property_mask"] = np.arange(8) % 2 == 0
    bent = [observed(atoms, "curvature", n_curvatures=2, seed=5) for atoms in cells[2:]]
    for atoms in bent:
        atoms.info["config_type"] = "odd"
    options = ["e0=0.0", "default_local_property_sigma=0.003", "hessian_delta=0.02",
               "config_type_sigma={odd:0.004:0.1:0.05:0.7}"]
    fit_twice(tmp_path, monkeypatch, [*frames, *some, *bent], [SOAP], *options)
    n_bent = 4
    numbers = assert_same_system(tmp_path, "theirs", "ours", leave_out=n_bent)
    assert_same_system(tmp_path, "theirs", "ours", 1e-10)  # differences of slopes, divided by 2 hessian_delta
    assert len(numbers["y"]) == 4 + 8 + 4 + 3 * 24 + n_bent


def test_a_baseline_is_subtracted(tmp_path, monkeypatch):
    """QUIP's Glue potential, in the targets and in the potential that is written."""
    (tmp_path / "glue.xml").write_text(GLUE)
    frames = data(("Si",), "energy", "forces", "virial", n=4)
    fit_twice(tmp_path, monkeypatch, frames, [PAIR, SOAP], "core_ip_args={IP Glue}", "core_param_file=glue.xml")
    numbers = assert_same_system(tmp_path, "theirs", "ours")
    assert abs(numbers["y"][1] - (frames[1].info["energy"] - 8 * E0["Si"])) > 1.0
    assert_same_predictions(tmp_path, "theirs.xml", "ours.xml", unseen(("Si",)), E0)


def test_a_config_file_with_quotes_braces_and_aliases(tmp_path, monkeypatch):
    """The same options in a file; clusters of two, length scales from the data, sigmas of whole frames."""
    frames = data(("Si",), "energy", "forces", "virial", n=4)
    strings = [PAIR.replace("distance_2b", "distance_Nb order=2"), f"{ANGLE} theta_fac=0.4", SOAP]
    words = fit_twice(tmp_path, monkeypatch, frames, strings, "kernel_regularisation_is_per_atom=F", "e0_method=average")
    assert_same_system(tmp_path, "theirs", "ours")
    assert_same_predictions(tmp_path, "theirs.xml", "ours.xml", unseen(("Si",)), E0)
    text = "\n".join(words).replace("at_file=train", "atoms_filename = train").replace(" : ", "\n :\n  ")
    text = text.replace(SIGMA, 'default_kernel_regularisation = "0.002 0.05\n  0.02 0.0"')
    (tmp_path / "fit.cfg").write_text(f"{text}\ngap_file='again.xml'\nlinear_system_dump_file=again\n")
    ours(monkeypatch, tmp_path, "config_file=fit.cfg")
    assert_same_system(tmp_path, "ours", "again", 0.0)
    program(tmp_path, "config_file=fit.cfg")
    assert_same_system(tmp_path, "again", "theirs", 0.0)
