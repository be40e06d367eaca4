"""Neighbour lists: complete in any cell and wherever the atoms are, in one order, kept only as long as they are complete."""

import itertools

import numpy as np
import pytest
from ase import Atoms
from few_body_models import make_average_model
from models import SPECIES, make_two_species_model, random_structure

from soapgap.errors import InputError
from soapgap.neighbours.arrays import concatenate, find_pairs, neighbour_arrays, sort_pairs
from soapgap.neighbours.cache import NeighbourCache, _KeptList
from soapgap.potential import Potential

CUTOFF, SKIN = 4.0, 0.6
CELLS = {
    "triclinic": [[7.5, 0.0, 0.0], [1.9, 7.2, 0.0], [-1.1, 1.3, 7.4]],
    "left-handed": [[0.3, 7.2, 0.0], [7.5, 0.2, 0.0], [1.1, 1.3, 7.4]],
    "smaller than the cutoff": [[2.9, 0.0, 0.0], [0.8, 3.1, 0.0], [-0.5, 0.6, 2.7]],
}


def by_force(positions, cell, pbc, cutoff):
    """All (i, j, shift) by going through every image: sorted."""
    reach = 8
    ranges = [range(-reach, reach + 1) if periodic else (0,) for periodic in pbc]
    found = []
    for shift in itertools.product(*ranges):
        for i, j in itertools.product(range(len(positions)), repeat=2):
            if (i != j or any(shift)) and np.linalg.norm(positions[j] - positions[i] + np.array(shift) @ cell) <= cutoff:
                found.append((i, j, *shift))
    return np.array(sorted(found)).reshape(-1, 5)


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, False, False)], ids=str)
@pytest.mark.parametrize("kind", CELLS)
def test_all_pairs_in_order(kind, pbc):
    cell = np.array(CELLS[kind])
    positions = np.random.default_rng(3).uniform(-0.3, 1.4, (5, 3)) @ cell
    offsets, j, shift = find_pairs(positions, cell, pbc, CUTOFF)
    i = np.repeat(np.arange(5), np.diff(offsets))
    np.testing.assert_array_equal(np.column_stack([i, j, shift]), by_force(positions, cell, pbc, CUTOFF))


def test_pairs_of_atoms_that_are_not_there():
    pair, shift = np.array([0, 1]), np.zeros((2, 3), np.int32)
    for i, j in ((pair, pair + 1), (pair - 1, pair)):
        with pytest.raises(InputError, match="holds indices .*, expected 0 to 1"):
            sort_pairs(2, i, j, shift)
    with pytest.raises(InputError, match="shift is int64"):
        sort_pairs(2, pair, pair, shift.astype(np.int64))
    arrays = neighbour_arrays(random_structure(1), CUTOFF, SPECIES)
    with pytest.raises(InputError, match="positions is"):
        arrays.move(np.zeros((arrays.n_atoms - 1, 3)), np.eye(3))
    arrays.offsets[1] = -1
    with pytest.raises(InputError, match="offsets decrease"):
        arrays.move(np.zeros((arrays.n_atoms, 3)), np.eye(3))


def test_atoms_far_away():
    """A thousand cells away, each its own way: the same pairs, whose shifts know it."""
    atoms = random_structure(2)
    atoms.set_cell(CELLS["triclinic"], scale_atoms=True)
    away = np.random.default_rng(1).integers(-1000, 1000, (len(atoms), 3))
    here, there = neighbour_arrays(atoms, CUTOFF, SPECIES), atoms.copy()
    there.positions += away @ atoms.cell.array
    there = neighbour_arrays(there, CUTOFF, SPECIES)
    np.testing.assert_array_equal(here.neighbour_atom, there.neighbour_atom)
    centre = np.repeat(np.arange(len(atoms)), np.diff(here.offsets))
    np.testing.assert_array_equal(there.shift, here.shift + away[centre] - away[here.neighbour_atom])
    np.testing.assert_allclose(there.vectors, here.vectors, rtol=0, atol=1e-10)


def test_old_lists_give_the_same_bits():
    """Whenever a list was made, and for whatever skin: the pairs within the cutoff come in one order."""
    model, rng = make_two_species_model(), np.random.default_rng(5)
    atoms = random_structure(6)
    kept = Potential(model, n_threads=1, skin=SKIN)
    for _ in range(10):
        atoms.positions += rng.normal(scale=0.02, size=atoms.positions.shape)
        a, b = kept.compute(atoms), Potential(model, n_threads=1).compute(atoms)
        assert a.energy == b.energy
        np.testing.assert_array_equal(a.forces, b.forces)
        np.testing.assert_array_equal(a.virial, b.virial)
    assert kept.neighbours.n_built < 8


def within(arrays, cutoff):
    """Pairs within the cutoff, as a set."""
    centre = np.repeat(np.arange(arrays.n_atoms), np.diff(arrays.offsets))
    keep = np.linalg.norm(arrays.vectors, axis=1) < cutoff
    return {(i, j, *np.round(v, 6)) for i, j, v in zip(centre[keep], arrays.neighbour_atom[keep], arrays.vectors[keep],
                                                        strict=True)}


class TestKept:
    @staticmethod
    def check(cache, atoms, built):
        assert within(cache.update(atoms), CUTOFF) == within(neighbour_arrays(atoms, CUTOFF, SPECIES), CUTOFF)
        assert cache.n_built == built

    def test_small_move(self):
        atoms, cache = random_structure(7), NeighbourCache(CUTOFF, SPECIES, SKIN)
        self.check(cache, atoms, 1)
        atoms.positions[2] += [0.29, 0, 0]
        self.check(cache, atoms, 1)
        atoms.positions[2] += [0.02, 0, 0]
        self.check(cache, atoms, 2)

    @pytest.mark.parametrize("pbc", [True, (True, True, False)], ids=str)
    def test_cell_that_takes_its_atoms_along(self, pbc):
        """Strains and rotations keep the list, as far as the skin allows: barostats need no new list at every step."""
        atoms, cache = random_structure(7), NeighbourCache(CUTOFF, SPECIES, SKIN)
        atoms.pbc = pbc
        self.check(cache, atoms, 1)
        strain = np.array([[0.02, 0.01, -0.015], [0.0, -0.02, 0.01], [0.005, 0.0, 0.01]])
        turn = np.array([[0.8, 0.6, 0.0], [-0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
        before = atoms.copy()
        for deform in (np.eye(3) + strain, turn, (np.eye(3) - strain) @ turn):
            atoms.set_cell(before.cell.array @ deform)
            atoms.positions = before.positions @ deform
            atoms.positions[3] += 0.05
            self.check(cache, atoms, 1)
        atoms.set_cell(before.cell.array * 0.85, scale_atoms=True)
        self.check(cache, atoms, 2)

    def test_cell_that_leaves_its_atoms(self):
        atoms, cache = random_structure(7), NeighbourCache(CUTOFF, SPECIES, SKIN)
        self.check(cache, atoms, 1)
        atoms.set_cell(atoms.cell.array * 1.002)  # 0.02 Angstrom at most
        self.check(cache, atoms, 1)
        atoms.set_cell(atoms.cell.array * 1.1)
        self.check(cache, atoms, 2)

    def test_a_jump_over_a_face_is_no_move(self):
        atoms, cache = random_structure(8), NeighbourCache(CUTOFF, SPECIES, SKIN)
        self.check(cache, atoms, 1)
        jumps = np.random.default_rng(1).integers(-3, 4, (len(atoms), 3))
        atoms.positions += jumps @ atoms.cell.array + 0.01
        self.check(cache, atoms, 1)
        atoms.pbc = (True, True, False)
        self.check(cache, atoms, 2)
        atoms.positions[0] += atoms.cell.array[2]  # not a lattice vector now
        self.check(cache, atoms, 3)

    def test_not_a_number_ends_a_list(self):
        atoms, cache = random_structure(8), NeighbourCache(CUTOFF, SPECIES, SKIN)
        cache.update(atoms)
        atoms.positions[1, 1] = np.nan
        with pytest.raises(Exception, match="not finite"):
            cache.update(atoms)

    def test_beads_that_take_turns(self):
        """Each bead finds its own list; with too few lists, or too little memory, the oldest goes."""
        beads = [random_structure(seed) for seed in range(4)]
        cache = NeighbourCache(CUTOFF, SPECIES, SKIN, n_lists=4)
        for turn in range(3):
            for number, atoms in enumerate(beads):
                atoms.positions += 0.01
                self.check(cache, atoms, 4 if turn else number + 1)
        few = NeighbourCache(CUTOFF, SPECIES, SKIN, n_lists=3)
        for atoms in beads * 2:
            few.update(atoms)
        assert few.n_built == 8

    @pytest.mark.parametrize("together", [False, True])
    def test_outgrown_lists_go(self, monkeypatch, together):
        """Beads of a liquid: each has one list, replaced when it has moved on, so a list is found in two trials at most."""
        follow, trials = _KeptList.follow, []
        monkeypatch.setattr(_KeptList, "follow", lambda one, atoms: trials.append(one) or follow(one, atoms))
        rng = np.random.default_rng(1)
        beads = [random_structure(3) for _ in range(6)]
        for atoms in beads:
            atoms.positions += rng.normal(scale=0.2, size=atoms.positions.shape)
        cache = NeighbourCache(CUTOFF, SPECIES, SKIN, n_lists=64)
        for _ in range(60):
            flow = rng.normal(scale=0.01, size=beads[0].positions.shape) + [0.015, 0.0, 0.0]
            for atoms in beads:
                atoms.positions += flow
            trials.clear()
            before = cache.n_built
            for group in [beads] if together else [[atoms] for atoms in beads]:
                cache.update_many(group)
            assert cache.n_built > before or len(trials) <= 2 * len(beads)
        assert cache.n_built > 12
        assert len(cache._lists) == 6

    def test_memory_is_bounded(self, monkeypatch):
        monkeypatch.setattr("soapgap.neighbours.cache.MEMORY", 0)
        cache = NeighbourCache(CUTOFF, SPECIES, SKIN, n_lists=4)
        for _ in range(2):
            for seed in (1, 2):
                cache.update(random_structure(seed))
        assert cache.n_built == 4

    def test_a_batch_has_arrays_of_its_own(self):
        """Frames that could share a list do not share its vectors."""
        atoms = random_structure(4)
        moved = atoms.copy()
        moved.positions[0] += 0.1
        cache = NeighbourCache(CUTOFF, SPECIES, SKIN, n_lists=1)  # fewer than the batch: it keeps its lists all the same
        for _ in range(2):
            first, second = cache.update_many([atoms, moved])
            assert within(first, CUTOFF) == within(neighbour_arrays(atoms, CUTOFF, SPECIES), CUTOFF)
            assert within(second, CUTOFF) == within(neighbour_arrays(moved, CUTOFF, SPECIES), CUTOFF)
        assert cache.n_built == 2


class TestBatch:
    @pytest.mark.parametrize("skin", [0.0, SKIN])
    def test_as_one_by_one(self, skin):
        """Different sizes, cells and periodicities, an empty one and a lone atom among them."""
        model = make_two_species_model()
        frames = [random_structure(1), random_structure(2, n_atoms=9, length=5.0), Atoms(cell=[5, 5, 5], pbc=True),
                  Atoms("O", cell=[9, 9, 9], pbc=True), random_structure(3)]
        frames[1].pbc = (True, False, False)
        together, alone = Potential(model, n_threads=2, skin=skin, n_lists=8), Potential(model, n_threads=1)
        for _ in range(2):
            for atoms, result in zip(frames, together.compute_batch(frames), strict=True):
                expected = alone.compute(atoms)
                assert result.energy == pytest.approx(expected.energy, rel=1e-13, abs=1e-13)
                for name in ("energies", "forces", "virial"):
                    np.testing.assert_allclose(getattr(result, name), getattr(expected, name), rtol=0, atol=1e-12)

    def test_large_ones_go_alone(self, monkeypatch):
        monkeypatch.setattr("soapgap.potential.TOGETHER", 30)
        model, frames = make_two_species_model(), [random_structure(seed, n_atoms=n) for seed, n in enumerate((12, 14, 24, 6))]
        potential = Potential(model, n_threads=1, skin=SKIN, n_lists=8)
        for atoms, result in zip(frames, potential.compute_batch(frames), strict=True):
            assert result.energy == pytest.approx(Potential(model).compute(atoms).energy, rel=1e-13)
        assert potential.compute_batch([]) == []

    def test_models_of_whole_structures(self):
        """average=T: the energy of two structures together is not the sum of theirs."""
        model = make_average_model()
        frames = [random_structure(1), random_structure(2)]
        for atoms, result in zip(frames, Potential(model).compute_batch(frames), strict=True):
            assert result.energy == pytest.approx(Potential(model).compute(atoms).energy, rel=1e-12)

    def test_concatenate_numbers_atoms_through(self):
        parts = [neighbour_arrays(random_structure(seed), CUTOFF, SPECIES) for seed in (1, 2)]
        both = concatenate(parts)
        assert both.n_atoms == parts[0].n_atoms + parts[1].n_atoms
        assert both.offsets[-1] == len(both.vectors) == len(parts[0].vectors) + len(parts[1].vectors)
        assert both.neighbour_atom[both.offsets[parts[0].n_atoms]:].min() >= parts[0].n_atoms
        assert concatenate(parts[:1]) is parts[0]
