"""A known toy potential, small data sets made with it, and small configurations for the tests of the trainer."""

import copy

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from soapgap.basis import cutoff_function
from soapgap.neighbours import neighbour_arrays

CUTOFF, WIDTH = 4.0, 1.0
E0 = {"Si": -1.3, "C": -2.1}
DEPTH = {("Si", "Si"): (0.6, 2.35), ("C", "Si"): (0.9, 1.95), ("C", "C"): (1.2, 1.7)}


def toy_potential(atoms, many_body=True):
    """Energy (eV), forces (eV/A) and virial (eV): Morse pairs and an embedding energy -sqrt(sum_j rho(r_ij)).

    Every derivative is written out; nothing of the package but its neighbour list and cutoff function is used.
    """
    symbols = atoms.get_chemical_symbols()
    nb = neighbour_arrays(atoms, CUTOFF, sorted(set(symbols)))
    energy = sum(E0[s] for s in symbols)
    forces, virial = np.zeros((len(atoms), 3)), np.zeros((3, 3))
    for i in range(len(atoms)):
        vectors = nb.vectors[nb.offsets[i]:nb.offsets[i + 1]]
        others = nb.neighbour_atom[nb.offsets[i]:nb.offsets[i + 1]]
        r = np.linalg.norm(vectors, axis=1)
        f, f1, _ = cutoff_function(r, CUTOFF, WIDTH)
        depth, r0 = np.array([DEPTH[tuple(sorted((symbols[i], symbols[j])))] for j in others]).reshape(-1, 2).T
        e = np.exp(-1.4 * (r - r0))
        v, v1 = depth * (e * e - 2.0 * e), depth * 1.4 * (2.0 * e - 2.0 * e * e)
        energy += 0.5 * np.sum(v * f)
        slope = 0.5 * (v1 * f + v * f1)
        if many_body and len(r):
            rho, rho1 = np.exp(-2.0 * (r - 2.0)) * f, np.exp(-2.0 * (r - 2.0)) * (f1 - 2.0 * f)
            root = np.sqrt(rho.sum() + 0.01)
            energy -= root - 0.1
            slope -= rho1 / (2.0 * root)
        gradient = slope[:, None] * vectors / r[:, None]
        forces[i] += gradient.sum(axis=0)
        np.add.at(forces, others, -gradient)
        virial -= vectors.T @ gradient
    return energy, forces, virial


def pair_energy(first, second, r):
    """The Morse energy (eV) of one pair of atoms at the distances r (A)."""
    depth, r0 = DEPTH[tuple(sorted((first, second)))]
    e = np.exp(-1.4 * (r - r0))
    return depth * (e * e - 2.0 * e) * cutoff_function(r, CUTOFF, WIDTH)[0]


def toy_frames(n_frames, seed=0, species=("Si",), many_body=True):
    """Strained and rattled cells of 8 atoms with their energies, forces and virials (no labels)."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(n_frames):
        length = 5.43 if species == ("Si",) else 4.6
        atoms = bulk("Si", "diamond", a=length, cubic=True)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.03 * rng.standard_normal((3, 3))), scale_atoms=True)
        atoms.positions += 0.10 * rng.standard_normal((8, 3))
        atoms.set_chemical_symbols([species[int(k)] for k in rng.integers(len(species), size=8)])
        frames.append(labelled(atoms, many_body))
    return frames


def isolated(symbol):
    """An isolated atom with its energy."""
    return labelled(Atoms(symbol, cell=[20.0, 20.0, 20.0], pbc=True))


def labelled(atoms, many_body=True):
    """The atoms with the toy potential's energy, forces and virial under the default names."""
    energy, forces, virial = toy_potential(atoms, many_body)
    atoms = atoms.copy()
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    atoms.info["virial"] = virial.ravel()
    return atoms


def write_frames(path, frames):
    """Extended XYZ with all digits."""
    for frame in frames:
        if "virial" in frame.info:
            frame.info["virial"] = np.asarray(frame.info["virial"], float).reshape(3, 3)
    write(path, frames, format="extxyz")
    return str(path)


SOAP = {"kind": "soap", "n_max": 4, "l_max": 3, "cutoff": CUTOFF, "cutoff_transition_width": WIDTH, "atom_sigma": 0.5,
        "zeta": 2, "delta": 1.0, "n_sparse": 40}
PAIR = {"kind": "distance_2b", "cutoff": CUTOFF, "cutoff_transition_width": WIDTH, "theta": 0.6, "delta": 1.0,
        "n_sparse": 14}


def configuration(folder, terms=(PAIR, SOAP), **changes):
    """The content of a fit.toml for the data in `folder`/train.xyz."""
    config = {
        "output": str(folder / "model.safetensors"),
        "data": {"train": str(folder / "train.xyz")},
        "default_sigma": [0.001, 0.01, 0.01],
        "terms": [copy.deepcopy(term) for term in terms],
    }
    config["data"].update(changes.pop("data", {}))
    return config | changes
