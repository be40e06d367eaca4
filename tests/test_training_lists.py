"""Neighbour lists of a fit: one for each structure, the same numbers as without sharing, never more memory than is allowed."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase import Atoms
from models import SPECIES, random_structure
from training_tools import ANGLE, DISTANCES, E0, PAIR, SOAP, configuration, isolated_energy, silicon, write_columns

import soapgap.fitting.pipeline as pipeline
from soapgap.config import read_config
from soapgap.data.dataset import read_dataset
from soapgap.data.environments import neighbours_of, with_lists
from soapgap.fitting import fit
from soapgap.neighbours import arrays
from soapgap.neighbours.arrays import neighbour_arrays
from soapgap.neighbours.shared import SharedLists, within

FIELDS = ("centre_atom", "centre_species", "offsets", "neighbour_atom", "neighbour_species", "vectors")
SMALL = Atoms("SiOSi", np.random.default_rng(5).uniform(0.0, 3.0, (3, 3)), cell=[[2.9, 0, 0], [0.8, 3.1, 0], [-0.5, 0.6, 2.7]],
              pbc=True)
STRUCTURES = {"cell smaller than the cutoff": SMALL, "random": random_structure(4), "no pairs": Atoms("Si"),
              "slab": Atoms(SMALL.symbols, SMALL.positions, cell=SMALL.cell, pbc=[True, True, False])}


def same(first, second):
    for name in FIELDS:
        one, other = getattr(first, name), getattr(second, name)
        assert one.dtype == other.dtype, name
        np.testing.assert_array_equal(one, other, name)
    assert first.n_atoms == second.n_atoms


@pytest.fixture
def made(monkeypatch):
    """How often the list of each structure was made, by its positions, and with which cutoffs."""
    search, counts, cutoffs = arrays._pairs_in_box, Counter(), []

    def counted(positions, box, pbc, cutoff):
        counts[positions.tobytes()] += 1
        cutoffs.append(cutoff)
        return search(positions, box, pbc, cutoff)

    monkeypatch.setattr(arrays, "_pairs_in_box", counted)
    return counts, cutoffs


# ---- one list --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("cutoff", [1.0, 3.3, 4.6, 6.0])
def test_a_list_cut_down_is_the_list_of_the_smaller_cutoff(name, cutoff):
    """To the last bit, order included."""
    same(within(neighbour_arrays(STRUCTURES[name], 6.0, SPECIES), cutoff), neighbour_arrays(STRUCTURES[name], cutoff, SPECIES))


def test_a_list_is_made_once_or_once_more_for_a_larger_cutoff(made):
    atoms, (counts, cutoffs) = random_structure(4), made
    lists = SharedLists([atoms], 4.0, SPECIES, 2**20)
    for cutoff in (2.0, 4.0, 3.0, 5.0, 4.0, 4.5, 5.0):
        same(lists.find(atoms, cutoff, SPECIES), neighbour_arrays(atoms.copy(), cutoff, SPECIES))
    assert [c for c in cutoffs if c in (4.0, 5.0)].count(5.0) == 1 + 2  # the second time for the comparison
    assert counts[atoms.positions.tobytes()] == 2 + 7


def test_displaced_copies_and_other_species_have_lists_of_their_own(made):
    atoms = random_structure(4)
    lists = SharedLists([atoms], 4.0, SPECIES, 2**20)
    lists.find(atoms, 4.0, SPECIES)
    moved = atoms.copy()
    moved.positions[0] += 0.3
    for _ in range(2):
        same(lists.find(moved, 4.0, SPECIES), neighbour_arrays(moved, 4.0, SPECIES))
    assert made[0][moved.positions.tobytes()] == 4
    other = SPECIES[::-1]
    same(lists.find(atoms, 4.0, other), neighbour_arrays(atoms, 4.0, other))
    same(lists.find(atoms, 4.0, SPECIES), neighbour_arrays(atoms, 4.0, SPECIES))


def test_what_does_not_fit_is_made_anew(made):
    """The lists never take more than they may; the first stay, the others are made with the cutoff that is asked for."""
    frames = [random_structure(seed) for seed in range(6)]
    sizes = [sum(getattr(neighbour_arrays(atoms, 4.0, SPECIES), name).nbytes for name in FIELDS) for atoms in frames]
    made[0].clear()
    lists = SharedLists(frames, 4.0, SPECIES, sum(sizes[:3]) + sizes[3] // 2)
    for _ in range(3):
        for atoms in frames:
            lists.find(atoms, 3.0, SPECIES)
    assert [made[0][atoms.positions.tobytes()] for atoms in frames] == [1, 1, 1, 3, 3, 3]
    assert sum(getattr(kept, name).nbytes for _, kept in lists._kept.values() for name in FIELDS) == sum(sizes[:3])
    assert made[1][-1] == 3.0


def test_threads_share_lists():
    frames = [random_structure(seed) for seed in range(20)]
    lists = SharedLists(frames, 4.0, SPECIES, 2**24)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda k: lists.find(frames[k % 20], 3.5, SPECIES), range(200)))
    for k, one in enumerate(found):
        same(one, neighbour_arrays(frames[k % 20], 3.5, SPECIES))
    assert len(lists._kept) == 20


# ---- a whole fit -----------------------------------------------------------------------------------------------------

FEW = {"n_sparse": 10}
FITS = {
    "pair and soap": [PAIR | FEW, SOAP | FEW],
    "chosen from the data": [PAIR | FEW | {"sparse_method": "uniform", "cutoff": 3.5}, SOAP | FEW | {"sparse_method": "fps"}],
    "three bodies": [{k: v for k, v in ANGLE.items() if k != "theta"} | FEW | {"theta_fac": 0.3}, DISTANCES | FEW],
    "two soaps": [SOAP | FEW | {"sparse_method": "cholesky", "cutoff": 3.0}, SOAP | FEW | {"sparse_method": "leverage"}],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lists")
    frames = [*silicon(4, 1, "energy", "forces", "virial"), *silicon(2, 2, "local_energy", "forces")]
    write_columns(folder / "train.xyz", [isolated_energy(), *frames])
    write_columns(folder / "test.xyz", silicon(2, 3, "energy", "forces"))
    write_columns(folder / "curved.xyz", silicon(2, 4, "energy", "curvature"))
    return folder


def settings(folder, tmp_path, terms, train="train", **changes):
    files = {"train": [str(folder / f"{name}.xyz") for name in train.split()], "test": str(folder / "test.xyz"),
             "energy_and_local_energy": True}
    content = configuration(folder, terms=terms, data=files, default_sigma=[0.001, 0.01, 0.01, 0.05])
    return content | {"output": str(tmp_path / "model.safetensors")} | changes


@pytest.mark.parametrize("name", FITS)
def test_a_fit_makes_one_list_for_each_structure(data, tmp_path, made, name):
    """From the shortest distances to the table of errors; the same bytes as when no list is kept."""
    counts, _ = made
    result = fit(settings(data, tmp_path, FITS[name]), quiet=True, threads=2)
    read = read_config(settings(data, tmp_path, FITS[name]))[0].data
    for file in (read.train, read.test):
        for structure in read_dataset(file, read).structures:
            assert counts[structure.atoms.positions.tobytes()] == 1, structure.where
    together = result.files.model.read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "list_bytes", lambda memory: 0)
        counts.clear()
        fit(settings(data, tmp_path, FITS[name]), quiet=True, threads=2)
    assert max(counts.values()) > 4
    assert result.files.model.read_bytes() == together


def test_curvatures_and_a_wide_baseline(data, tmp_path, made):
    """Displaced structures have lists of their own; a baseline that reaches further than the terms costs one more each."""
    wide = fit(settings(data, tmp_path, [PAIR | FEW | {"cutoff": 5.0}]), quiet=True, threads=1).files.model
    wide = wide.rename(tmp_path / "wide.safetensors")
    counts, cutoffs = made
    counts.clear()
    content = settings(data, tmp_path, [SOAP | FEW], "train curved", e0={"Si": E0["Si"]},
                       baseline={"potentials": [{"kind": "file", "file": str(wide)}]})
    fit(content, quiet=True, threads=1)
    assert max(cutoffs) == 5.0
    read = read_config(content)[0].data
    structures = read_dataset(read.train, read).structures
    assert {counts[s.atoms.positions.tobytes()] for s in structures if len(s.atoms) > 1} == {2}


def test_data_keep_their_lists_for_the_same_model_only(data):
    read = read_config(settings(data, data, [SOAP | FEW]))[0].data
    first = with_lists(read_dataset(read.train, read), 4.0, ["Si"])
    assert with_lists(first, 4.0, ["Si"]) is first
    for other in (with_lists(first, 4.5, ["Si"]), with_lists(first, 4.0, ["C", "Si"])):
        assert other.structures[0].lists is not first.structures[0].lists
    one = first.structures[1]
    assert neighbours_of(one, 4.0, ["Si"]) is neighbours_of(one, 4.0, ["Si"])
