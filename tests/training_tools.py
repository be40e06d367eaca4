"""A known toy potential, small data sets made with it, and small configurations for the tests of the trainer."""

import copy
import xml.etree.ElementTree as ElementTree
from itertools import combinations, permutations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers
from ase.io import write
from programs import run_gap_fit

from soapgap.neighbours.arrays import neighbour_arrays
from soapgap.radial.cutoff import cutoff_function

CUTOFF, WIDTH = 4.0, 1.0
E0 = {"Si": -1.3, "C": -2.1}
DEPTH = {("Si", "Si"): (0.6, 2.35), ("C", "Si"): (0.9, 1.95), ("C", "C"): (1.2, 1.7)}


def toy_potential(atoms, many_body=True):
    """Energy (eV), forces (eV/A) and virial (eV): Morse pairs and an embedding energy -sqrt(sum_j rho(r_ij)).

    Every derivative is written out; nothing of the package but its neighbour list and cutoff function is used.
    """
    energies, forces, virial = toy_contributions(atoms, many_body)
    return energies.sum(), forces, virial


def toy_contributions(atoms, many_body=True):
    """The same with the energy atom by atom."""
    symbols = atoms.get_chemical_symbols()
    nb = neighbour_arrays(atoms, CUTOFF, sorted(set(symbols)))
    energies = np.array([E0[s] for s in symbols])
    forces, virial = np.zeros((len(atoms), 3)), np.zeros((3, 3))
    for i in range(len(atoms)):
        vectors = nb.vectors[nb.offsets[i]:nb.offsets[i + 1]]
        others = nb.neighbour_atom[nb.offsets[i]:nb.offsets[i + 1]]
        r = np.linalg.norm(vectors, axis=1)
        f, f1, _ = cutoff_function(r, CUTOFF, WIDTH)
        depth, r0 = np.array([DEPTH[tuple(sorted((symbols[i], symbols[j])))] for j in others]).reshape(-1, 2).T
        e = np.exp(-1.4 * (r - r0))
        v, v1 = depth * (e * e - 2.0 * e), depth * 1.4 * (2.0 * e - 2.0 * e * e)
        energies[i] += 0.5 * np.sum(v * f)
        slope = 0.5 * (v1 * f + v * f1)
        if many_body and len(r):
            rho, rho1 = np.exp(-2.0 * (r - 2.0)) * f, np.exp(-2.0 * (r - 2.0)) * (f1 - 2.0 * f)
            root = np.sqrt(rho.sum() + 0.01)
            energies[i] -= root - 0.1
            slope -= rho1 / (2.0 * root)
        gradient = slope[:, None] * vectors / r[:, None]
        forces[i] += gradient.sum(axis=0)
        np.add.at(forces, others, -gradient)
        virial -= vectors.T @ gradient
    return energies, forces, virial


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


def toy_curvature(atoms, direction, delta=0.01):
    """e^T H e (eV/A^2) of the toy potential along a direction, as a central difference of its forces."""
    e = direction / np.linalg.norm(direction)
    slopes = []
    for step in (delta, -delta):
        moved = atoms.copy()
        moved.positions += step * e
        slopes.append(-np.sum(toy_potential(moved)[1] * e))
    return (slopes[0] - slopes[1]) / (2 * delta)


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


def observed(atoms, *kinds, n_curvatures=3, seed=0):
    """A structure with only these kinds of observations of the toy potential."""
    energies, forces, virial = toy_contributions(atoms)
    bare = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
    if "energy" in kinds:
        bare.info["energy"] = energies.sum()
    if "virial" in kinds:
        bare.info["virial"] = virial.ravel()
    if "forces" in kinds:
        bare.arrays["forces"] = forces
    if "local_energy" in kinds:
        bare.arrays["local_energy"] = energies
    if "curvature" in kinds:
        rng = np.random.default_rng(seed)
        bare.info["n_hessian"] = n_curvatures
        for i in range(1, n_curvatures + 1):
            direction = rng.normal(size=(len(bare), 3))
            bare.info[f"hessian{i}"] = toy_curvature(atoms, direction)
            bare.arrays[f"hessian{i}"] = direction
    return bare


def silicon(n, seed, *kinds):
    """Cells of silicon with only these kinds of observations."""
    return [observed(atoms, *kinds, seed=k) for k, atoms in enumerate(toy_frames(n, seed=seed))]


def isolated_energy():
    """An isolated atom with its energy and nothing else."""
    return Atoms("Si", cell=[20.0] * 3, pbc=True, info={"energy": E0["Si"]})


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
ANGLE = {"kind": "angle_3b", "cutoff": 3.2, "cutoff_transition_width": 0.8, "theta": [1.2, 1.0, 0.9], "delta": 0.3,
         "n_sparse": 40}
DISTANCES = {"kind": "distance_3b", "cutoff": 3.2, "cutoff_transition_width": 0.8, "theta": 0.9, "delta": 0.5,
             "n_sparse": 40}


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


# ---- three-body kernels, slowly and by gap_fit

def f_c(r, kind):
    """GAP's cutoff function."""
    width, inner = kind.cutoff_transition_width, kind.cutoff - kind.cutoff_transition_width
    if r <= inner:
        return 1.0
    return 0.5 * (np.cos(np.pi * (r - inner) / width) + 1.0) if r < kind.cutoff else 0.0


def images(atoms, reach=4):
    """Index, cell shift and position of all atoms in the cells around."""
    shifts = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1) if p else [0] for p in atoms.pbc]), -1).reshape(-1, 3)
    return [(i, tuple(s), atoms.positions[i] + s @ atoms.cell.array) for s in shifts.tolist() for i in range(len(atoms))
            for s in [np.array(s)]]


def slow_angle_row(atoms, k):
    """The energy row of an angle_3b kernel: every centre with every ordered pair of neighbours, one by one."""
    centre, *pair = k.kind.species
    total = np.zeros(k.n_sparse)
    everyone = images(atoms)
    for i, symbol in enumerate(atoms.symbols):
        if symbol != centre:
            continue
        distances = [(np.linalg.norm(p - atoms.positions[i]), j, p) for j, _, p in everyone]
        near = [(r, j, p) for r, j, p in distances if 1e-9 < r < k.kind.cutoff]
        for (r1, j1, p1), (r2, j2, p2) in permutations(near, 2):
            if sorted([atoms.symbols[j1], atoms.symbols[j2]]) == sorted(pair):
                x = np.array([r1 + r2, (r1 - r2) ** 2, np.linalg.norm(p1 - p2)])
                total += f_c(r1, k.kind) * f_c(r2, k.kind) * np.exp(-0.5 * (((x - k.points) / k.theta) ** 2).sum(axis=1))
    return k.delta**2 * k.cutoffs * total


def similarity(x, y, species, theta):
    """s(x, y) over the orders of the atoms that keep their species."""
    names = {frozenset(b): n for n, b in enumerate(((0, 1), (0, 2), (1, 2)))}
    total = 0.0
    for order in permutations(range(3)):
        if all(species[a] == species[order[a]] for a in range(3)):
            moved = [x[names[frozenset((order[a], order[b]))]] for a, b in ((0, 1), (0, 2), (1, 2))]
            total += np.exp(-0.5 * sum(((u - v) / t) ** 2 for u, v, t in zip(moved, y, theta)))
    return total


def slow_cluster_row(atoms, k):
    """The energy row of a distance_3b kernel, one by one.

    Three different images that hang together, up to translation each once, weighted by their connected graphs.
    """
    species = k.kind.species
    everyone = images(atoms)
    total, done = np.zeros(k.n_sparse), set()
    for i in range(len(atoms)):
        far = [c for c in everyone if np.linalg.norm(c[2] - atoms.positions[i]) < 2 * k.kind.cutoff]
        for two in combinations([c for c in far if not (c[0] == i and c[1] == (0, 0, 0))], 2):
            members = sorted([(i, (0, 0, 0), atoms.positions[i]), *two], key=lambda c: atomic_numbers[atoms.symbols[c[0]]])
            if tuple(atoms.symbols[c[0]] for c in members) != species:
                continue
            (a, b, c) = (np.linalg.norm(members[m][2] - members[n][2]) for m, n in ((0, 1), (0, 2), (1, 2)))
            fa, fb, fc = (f_c(r, k.kind) for r in (a, b, c))
            weight = fa * fb * (1 - fc) + fa * (1 - fb) * fc + (1 - fa) * fb * fc + fa * fb * fc
            name = frozenset(frozenset((m[0], *np.subtract(m[1], o[1])) for m in members) for o in members)
            if weight == 0.0 or name in done:
                continue
            done.add(name)
            x, own = (a, b, c), similarity((a, b, c), (a, b, c), species, k.theta)
            for s, y in enumerate(k.points):
                total[s] += weight * similarity(x, y, species, k.theta) / np.sqrt(
                    own * similarity(y, y, species, k.theta))
    if len(set(species)) == 3:  # a single order: no normalisation, and none is needed
        assert own == pytest.approx(1.0, abs=0)
    return k.delta**2 * k.cutoffs * total


def gap_fit(folder, coordinates, e0, sigma, options=()):
    """Run gap_fit on train.xyz with these coordinates; returns the root of its XML and writes its matrices to dump_*."""
    e0 = ":".join(f"{s}:{e}" for s, e in e0.items())
    sigma = [*sigma, 0.0][:4]
    done = run_gap_fit(folder, "at_file=train.xyz", "gap={" + " : ".join(coordinates) + "}", "gp_file=gap.xml",
                       f"e0={{{e0}}}", f"default_sigma={{{' '.join(map(str, sigma))}}}", "sparse_jitter=1e-8",
                       "do_copy_at_file=F", "force_parameter_name=forces", "linear_system_dump_file=dump", *options)
    assert (folder / "gap.xml").exists(), done.stdout[-2000:] + done.stderr[-2000:]
    return ElementTree.parse(folder / "gap.xml").getroot()


def three_body_coordinate(k, folder, name, method):
    """gap_fit's description of a three-body kernel; its sparse points are in a file if that is the method."""
    numbers = [atomic_numbers[s] for s in k.kind.species]
    if k.kind.angle:
        what = f"angle_3b Z={numbers[0]} Z1={numbers[1]} Z2={numbers[2]}"
    else:
        what = f"distance_Nb order=3 compact_clusters=F Z={{{{{' '.join(map(str, numbers))}}}}}"
    (folder / f"{name}.theta").write_text(" ".join(f"{t:.17g}" for t in k.theta) + "\n")
    np.savetxt(folder / f"{name}.dat", np.column_stack([k.cutoffs, k.points]).reshape(-1, 1), fmt="%.17e")
    how = f"sparse_method=FILE sparse_file={name}.dat" if method == "FILE" else f"sparse_method={method}"
    return (f"{what} cutoff={k.kind.cutoff} cutoff_transition_width={k.kind.cutoff_transition_width} covariance_type=ard_se "
            f"theta_file={name}.theta delta={k.delta} n_sparse={k.n_sparse} add_species=F {how}")


def write_columns(path, frames):
    """Extended XYZ with everything in `info` and `arrays`, all digits, as ASE and QUIP both read it."""
    lines = []
    for atoms in frames:
        columns = {name: np.asarray(a) for name, a in atoms.arrays.items() if name not in ("numbers", "positions")}
        kinds = {name: "L" if a.dtype == bool else "R" for name, a in columns.items()}
        width = {name: 1 if a.ndim == 1 else a.shape[1] for name, a in columns.items()}
        extra = "".join(f":{name}:{kinds[name]}:{width[name]}" for name in columns)
        info = "".join(f' {name}="{_words(value)}"' for name, value in atoms.info.items())
        lines.append(f"{len(atoms)}")
        lines.append(f'Lattice="{_words(atoms.cell.array)}" Properties=species:S:1:pos:R:3{extra}{info} pbc="T T T"')
        for i, symbol in enumerate(atoms.symbols):
            lines.append(f"{symbol} {_words(atoms.positions[i])} " + " ".join(_words(a[i]) for a in columns.values()))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def _words(value):
    flat = np.ravel(value)
    if flat.dtype == bool:
        return " ".join("FT"[int(v)] for v in flat)
    return " ".join(str(v) if flat.dtype.kind in "iuU" else repr(float(v)) for v in flat)
