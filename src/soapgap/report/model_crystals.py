"""Crystals in a data set: which frames are one, the primitive cell of each, and the frames that are the same at another volume.

A crystal is a frame that is bonded in three dimensions and on whose atoms there are no forces, or that occurs at several
volumes. Two frames are the same crystal if their distances, divided by the cube root of the volume per atom, are the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import gcd

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.geometry import minkowski_reduce
from ase.geometry.dimensionality.rank_determination import RDA

from soapgap.data.structure import Structure
from soapgap.errors import InputError
from soapgap.neighbours.arrays import neighbour_arrays

SMALL_FORCE = 0.05  # eV/Angstrom: an atom at rest in a crystal
BOND = 1.3  # bonds reach to this many times the sum of the covalent radii
LONGEST_CONTACT = 6.0  # Angstrom: between atoms without bonds, as in solid argon
N_SHELL = 24  # distances of an atom that tell two crystals apart
SAME, SIMILAR = 2e-3, 0.1  # largest difference of reduced distances: the same crystal; one that is only strained
MOST_ATOMS, SMALL_CELL = 200, 8
MOST_FRAMES = 1000
MIN_VOLUMES = 5  # frames that are the same crystal at so many volumes are an E(V) curve
N_CRYSTALS = 6


@dataclass
class Crystal:
    """A crystal of the data.

    Attributes
    ----------
    frame : Structure
        The frame of lowest energy per atom.
    atoms : Atoms
        Its primitive cell.
    energy : float
        Its energy per atom less the energies of the isolated atoms (eV).
    volumes, energies : ndarray
        Of all frames that are this crystal, per atom (A^3, eV), sorted by volume.
    """

    frame: Structure
    atoms: Atoms
    energy: float
    volumes: np.ndarray = field(default_factory=lambda: np.empty(0))
    energies: np.ndarray = field(default_factory=lambda: np.empty(0))

    @property
    def formula(self) -> str:
        """Reduced formula, such as Si or O2Si."""
        return reduced_formula(self.atoms)


def reduced_formula(atoms: Atoms) -> str:
    """Numbers of atoms of each element without their common factor."""
    counts = Counter(atoms.get_chemical_symbols())
    divisor = gcd(*counts.values())
    return "".join(symbol + (str(n // divisor) if n > divisor else "") for symbol, n in sorted(counts.items()))


def bonded_dimensions(atoms: Atoms) -> int:
    """In how many dimensions the network of bonds goes on: 0 for molecules, 2 for a slab, 3 for a crystal or a liquid metal.

    By ASE's rank determination (P. M. Larsen et al., Phys. Rev. Mater. 3, 034003 (2019)). Bonds are distances below 1.3 times
    the sum of the covalent radii, or, if there is none, below 1.2 times the shortest.
    """
    i, j, vectors = _bonds(atoms)
    cells = np.rint((atoms.positions[i] + vectors - atoms.positions[j]) @ atoms.cell.reciprocal().T).astype(int)
    network = RDA(len(atoms))
    for first, second, cell in zip(i.tolist(), j.tolist(), map(tuple, cells.tolist()), strict=True):
        network.insert_bond(first, second, cell)
    return int(np.flatnonzero(network.check())[-1])


def _bonds(atoms: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First atom, second atom and vector (A) of every bond, in both directions."""
    radii = covalent_radii[atoms.numbers]
    species = sorted(set(atoms.get_chemical_symbols()))
    pairs = neighbour_arrays(atoms, max(2.0 * BOND * radii.max(), LONGEST_CONTACT), species)
    r = np.linalg.norm(pairs.vectors, axis=1)
    i, j = np.repeat(np.arange(len(atoms)), np.diff(pairs.offsets)), pairs.neighbour_atom
    bonds = r < BOND * (radii[i] + radii[j])
    if len(r) and not bonds.any():
        bonds = r < 1.2 * r.min()
    return i[bonds], j[bonds], pairs.vectors[bonds]


def fingerprint(atoms: Atoms) -> np.ndarray:
    """Mean distances to the 24 nearest neighbours, in units of the cube root of the volume per atom, (n_species, 24).

    It does not depend on the choice of the cell, on its size or on its orientation.
    """
    length = (atoms.get_volume() / len(atoms)) ** (1.0 / 3.0)
    symbols = np.array(atoms.get_chemical_symbols())
    species = sorted(set(symbols.tolist()))
    reach = 2.5 * length
    while True:
        pairs = neighbour_arrays(atoms, reach, species)
        if np.diff(pairs.offsets).min() >= N_SHELL:
            break
        reach *= 1.3
    r = np.linalg.norm(pairs.vectors, axis=1) / length
    shells = np.array([np.sort(r[a:b])[:N_SHELL] for a, b in zip(pairs.offsets[:-1], pairs.offsets[1:], strict=True)])
    return np.array([shells[symbols == symbol].mean(axis=0) for symbol in species])


def primitive_cell(atoms: Atoms, tolerance: float = 1e-3) -> Atoms:
    """The smallest cell that repeats to the same crystal.

    Translations that carry every atom onto one of its kind are found by trying all vectors from the first atom of the
    rarest species to the others; the three shortest independent ones are a basis of the lattice.

    Parameters
    ----------
    tolerance : float
        How far an atom may miss the other's place (A).
    """
    symbols = atoms.get_chemical_symbols()
    rarest = min(Counter(symbols).items(), key=lambda item: (item[1], item[0]))[0]
    places = [k for k, symbol in enumerate(symbols) if symbol == rarest]
    scaled, cell = atoms.get_scaled_positions(), atoms.cell.array
    shifts = [np.zeros(3)]
    for place in places[1:]:
        shift = scaled[place] - scaled[places[0]]
        if _maps_onto_itself(atoms.numbers, scaled, cell, shift, tolerance):
            shifts.append(shift - np.round(shift))
    if len(shifts) == 1:
        return _compact(atoms)
    grid = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3), -1).reshape(-1, 3)
    vectors = (np.array(shifts)[:, None] + grid[None]).reshape(-1, 3) @ cell
    vectors = vectors[np.argsort(np.round(np.linalg.norm(vectors, axis=1), 6), kind="stable")]
    basis: list[np.ndarray] = []
    for vector in vectors:
        if np.linalg.matrix_rank([*basis, vector], tol=0.1) > len(basis):
            basis.append(vector)
        if len(basis) == 3:
            break
    lattice = np.array(basis)
    kept = _one_of_each(atoms, lattice, tolerance)
    n_cells = atoms.get_volume() / abs(np.linalg.det(lattice))
    if abs(n_cells / len(shifts) - 1.0) > 1e-3 or len(kept) * len(shifts) != len(atoms):
        return _compact(atoms)  # the tolerance allowed what is no translation
    return _compact(Atoms(atoms.numbers[kept], atoms.positions[kept], cell=lattice, pbc=True))


def _compact(atoms: Atoms) -> Atoms:
    """The same crystal with the shortest cell vectors, right-handed, and the atoms inside."""
    lattice = minkowski_reduce(atoms.cell.array)[0]
    found = Atoms(atoms.numbers, atoms.positions, cell=lattice * np.sign(np.linalg.det(lattice)), pbc=True)
    found.wrap()
    return found


def _maps_onto_itself(numbers, scaled, cell, shift, tolerance: float) -> bool:
    for kind in np.unique(numbers):
        own = scaled[numbers == kind]
        apart = own[:, None] + shift - own[None]
        apart = (apart - np.round(apart)) @ cell
        if np.linalg.norm(apart, axis=2).min(axis=1).max() > tolerance:
            return False
    return True


def _one_of_each(atoms: Atoms, lattice: np.ndarray, tolerance: float) -> list[int]:
    """One atom of each set that the vectors of the lattice make equal."""
    scaled = atoms.positions @ np.linalg.inv(lattice)
    kept: list[int] = []
    for k in range(len(atoms)):
        apart = scaled[k] - scaled[[m for m in kept if atoms.numbers[m] == atoms.numbers[k]]]
        apart = (apart - np.round(apart)) @ lattice
        if len(apart) == 0 or np.linalg.norm(apart, axis=1).min() > 3.0 * tolerance:
            kept.append(k)
    return kept


def cohesive_energy(structure: Structure, e0: dict[str, float]) -> float:
    """Energy per atom less the energies of the isolated atoms (eV)."""
    return (structure.total_energy - sum(e0[symbol] for symbol in structure.symbols)) / len(structure.atoms)


def _is_candidate(structure: Structure) -> bool:
    atoms = structure.atoms
    return bool(structure.total_energy is not None and len(atoms) <= MOST_ATOMS and atoms.pbc.all()
                and atoms.get_volume() < 400.0 * len(atoms))  # one atom in a large box is no crystal


def _at_rest(structure: Structure) -> bool:
    if structure.forces is None or not structure.used("force").any():
        return False
    return bool(np.abs(structure.forces[structure.used("force")]).max() < SMALL_FORCE)


@dataclass
class _Group:
    formula: str
    shape: np.ndarray
    frames: list[Structure]

    @property
    def n_volumes(self) -> int:
        return len({round(_volume(s), 3) for s in self.frames})

    def differs(self, others: Sequence[_Group]) -> bool:
        """True if this is none of the others under a small strain."""
        return not any(g.formula == self.formula and np.abs(g.shape - self.shape).max() < SIMILAR for g in others)


def _volume(structure: Structure) -> float:
    return structure.atoms.get_volume() / len(structure.atoms)


def _groups(candidates: Sequence[Structure]) -> list[_Group]:
    """Candidates that are the same crystal; groups and frames stay in the order of the candidates."""
    groups: list[_Group] = []
    known: dict[str, list[_Group]] = {}
    for structure in candidates:
        formula, shape = reduced_formula(structure.atoms), fingerprint(structure.atoms)
        same = known.setdefault(formula, [])
        apart = np.abs(np.array([g.shape for g in same]) - shape).max(axis=(1, 2)) if same else np.empty(0)
        if len(apart) and apart.min() < SAME:
            same[int(np.argmin(apart))].frames.append(structure)
        else:
            same.append(_Group(formula, shape, [structure]))
            groups.append(same[-1])
    return groups


def find_crystals(structures: Sequence[Structure], e0: dict[str, float]) -> tuple[list[Crystal], str]:
    """The crystals of a data set, lowest energy first.

    A group of frames is a crystal if it has at least 5 different volumes, or if a frame of it has no force above 0.05 eV/A and
    it is not one of the others under a small strain. If there is no crystal, the bonded frame of lowest energy stands in.

    Parameters
    ----------
    e0 : dict of str to float
        Energies of the isolated atoms (eV).

    Returns
    -------
    crystals : list of Crystal
        At most 6.
    remark : str
        One line for the reader: why there is none, that the only one has forces on its atoms, or how many are left out.
    """
    candidates = sorted((s for s in structures if _is_candidate(s)), key=lambda s: cohesive_energy(s, e0))
    if not candidates:
        return [], ("no training frame is periodic in three directions, has an energy, at most "
                    f"{MOST_ATOMS} atoms and no large empty space")
    orderly = [s for s in candidates if len(s.atoms) <= SMALL_CELL or _at_rest(s)][:MOST_FRAMES]
    groups = _groups(orderly)
    found = [g for g in groups if g.n_volumes >= MIN_VOLUMES and _is_bonded(g.frames[0])]
    for group in groups:
        if group.n_volumes < MIN_VOLUMES and any(map(_at_rest, group.frames)) and group.differs(found):
            found += [group] * _is_bonded(group.frames[0])
    if found:
        found.sort(key=lambda g: cohesive_energy(g.frames[0], e0))
        left = len(found) - N_CRYSTALS
        return [_crystal(g, e0) for g in found[:N_CRYSTALS]], f"{left} more of higher energy are left out" if left > 0 else ""
    for structure in candidates[:20]:
        if _is_bonded(structure):
            return [_crystal(_Group("", np.empty(0), [structure]), e0)], (
                f"no training frame is a crystal at rest (forces below {SMALL_FORCE:g} eV/Å) or occurs at {MIN_VOLUMES} "
                "volumes: the periodic frame of lowest energy stands in")
    return [], "no periodic training frame is bonded in three dimensions: molecules and slabs have no curve E(V)"


def _is_bonded(structure: Structure) -> bool:
    try:
        return bonded_dimensions(structure.atoms) == 3
    except InputError:  # a cell that has no neighbour list has no bonds either
        return False


def _crystal(group: _Group, e0: dict[str, float]) -> Crystal:
    frames = sorted(group.frames, key=_volume)
    lowest = group.frames[0]
    volumes, energies = np.array([_volume(s) for s in frames]), np.array([cohesive_energy(s, e0) for s in frames])
    return Crystal(lowest, primitive_cell(lowest.atoms), cohesive_energy(lowest, e0), volumes, energies)
