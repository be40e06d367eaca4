"""Structures and models that the tables measure: real fits, kept in the output folder, and synthetic models for sweeps."""

import hashlib
import json
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.io import read, write
from common import fit_in_child

import soapgap
from soapgap.errors import ModelFileError
from soapgap.model import Model, SoapTerm
from soapgap.neighbours.arrays import neighbour_arrays
from soapgap.radial.bases import make_basis
from soapgap.reduction.model import reduce_model

CUTOFF = 5.0
CANCELLATION = 5e5  # eV, sum |weights| delta^2 of the silicon fits with 1000 points is 3e5 to 1.4e6
ETHANOL_VOLUME = 96.9  # A^3 per molecule: 46.07 g/mol at 0.789 g/cm^3
ELEMENTS = ("Si", "C", "Ge", "Sn")  # of the synthetic models; only their number matters


@lru_cache(maxsize=1)
def _box(path: str) -> Atoms:
    return read(path)


def structure(spec: dict, seed: int) -> Atoms:
    """The structure with this seed: diamond silicon (its sites shared out at random among `species`), or a file's.

    Parameters
    ----------
    spec : dict
        {"n_atoms": about so many, "species": [...]} or {"file": path}; "rattle" in Angstrom.
    seed : int
        Of the displacements (normal), so that no program sees a structure twice.
    """
    if "file" in spec:
        atoms = _box(spec["file"]).copy()
    else:
        side = max(2, round((spec["n_atoms"] / 8) ** (1 / 3)))
        atoms = bulk("Si", cubic=True) * (side, side, side)
        species = spec.get("species", ["Si"])
        if len(species) > 1:
            atoms.symbols = np.random.default_rng(0).choice(species, len(atoms))
    atoms.positions += np.random.default_rng(seed).normal(0.0, spec.get("rattle", 0.1), atoms.positions.shape)
    return atoms


def mean_neighbours(atoms: Atoms, cutoff: float) -> float:
    """Mean number of neighbours within the cutoff."""
    return len(neighbour_arrays(atoms, cutoff, sorted(set(atoms.symbols))).vectors) / len(atoms)


def ethanol_box(data, folder, n_side: int = 3) -> Path:
    """A periodic box of n_side^3 ethanol molecules at the density of the liquid; the path of its file.

    Molecules of the data stand on a simple cubic grid; each is turned so that it keeps farthest from those that stand
    already, out of 200 random rotations.
    """
    path = Path(folder, f"ethanol_{n_side**3}.xyz")
    molecules, rng = read(data, f":{n_side**3}"), np.random.default_rng(0)
    step = ETHANOL_VOLUME ** (1 / 3)
    box = Atoms(cell=np.eye(3) * step * n_side, pbc=True)
    for k, molecule in enumerate(molecules):
        centre = step * (np.array(np.unravel_index(k, (n_side,) * 3)) + 0.5)
        best = None
        for _ in range(200):
            trial = box + Atoms(molecule.symbols)
            rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
            trial.positions[len(box):] = (molecule.positions - molecule.positions.mean(axis=0)) @ rotation + centre
            gap = _smallest_gap(trial, len(box))
            if best is None or gap > best[0]:
                best = gap, trial
        box = best[1]
    write(path, box, format="extxyz")
    return path


def _smallest_gap(atoms: Atoms, first_new: int) -> float:
    """Shortest distance between old and new atoms, minimum image of the cubic box."""
    if first_new == 0:
        return 0.0
    d = atoms.positions[first_new:, None] - atoms.positions[None, :first_new]
    side = atoms.cell.array[0, 0]
    return float(np.linalg.norm(d - side * np.round(d / side), axis=-1).min())


def _fitted(settings: dict, data: Path, folder: Path, screen) -> Path:
    """The model of these settings, from the output folder or fitted now, reduced by the soapgap that is measured.

    The key is the settings and the content of the data, not the place of the data. The fit is kept as it is
    (`unreduced` finds it); its reduction is made again in every run, so that it is that of the present code.
    """
    settings = settings | {"exact": True}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode() + data.read_bytes()).hexdigest()[:16]
    place = folder / "models" / digest
    path = place / "model.safetensors"
    try:
        Model.load(path)
    except ModelFileError:  # not there, or from a version that wrote another format
        place.mkdir(parents=True, exist_ok=True)
        sizes = ", ".join(f"{key} {settings['terms'][0][key]}" for key in ("n_max", "l_max", "zeta", "n_sparse"))
        screen.line(f"fitting {data.name}: {sizes}")
        whole = settings | {"output": str(path), "data": settings["data"] | {"train": str(data.resolve())}}
        done = fit_in_child(whole, place)
        screen.line(f"  {done['seconds']:.0f} s, {done['bytes'] / 1e9:.2f} GB")
    return _reduced(path)


@cache
def _reduced(path: Path) -> Path:
    """The reduced form beside a fitted model, made once per run."""
    reduced = path.with_name("reduced.safetensors")
    reduce_model(Model.load(path)).save(reduced)
    return reduced


def unreduced(path: Path) -> Path:
    """The fit itself of a path that `silicon_fit` or `ethanol_fit` gave."""
    return path.with_name("model.safetensors")


def _soap(n_max, l_max, n_sparse, zeta) -> dict:
    """A SOAP term that QUIP knows too: equispaced Gaussians, cosine cutoff."""
    return {"kind": "soap", "n_max": n_max, "l_max": l_max, "cutoff": CUTOFF, "cutoff_transition_width": 0.5,
            "cutoff_function": "cosine", "atom_sigma": 0.5, "zeta": zeta, "delta": 1.0, "n_sparse": n_sparse,
            "sparse_method": "cur", "radial_basis": "equispaced"}


def silicon_fit(options, screen, n_max, l_max, n_sparse=1000, zeta=4) -> Path:
    """A model fitted to mlearn silicon with the published sigmas, or without that set to the data that soapgap ships."""
    settings = {"sparse_jitter": 1e-8, "seed": 0, "terms": [_soap(n_max, l_max, n_sparse, zeta)],
                "baseline": {"kind": "none"}}
    if options.mlearn:
        settings |= {"e0": {"Si": -0.79}, "default_sigma": [0.0005, 0.1, 0.05],
                     "data": {"virial_key": "", "stress_key": "", "config_type_key": "group"}}
        return _fitted(settings, options.mlearn / "Si_train.xyz", options.output, screen)
    settings |= {"e0": "isolated", "default_sigma": [0.001, 0.05, 0.02], "data": {}}
    shipped = Path(str(files("soapgap.demo"))) / "data" / "si_train.xyz"
    return _fitted(settings, shipped, options.output, screen)


def ethanol_fit(options, screen, n_max=8, l_max=6, n_sparse=1000) -> Path:
    """A model of H, C and O fitted to rMD17 ethanol, so many sparse points per element."""
    settings = {"e0": "fit", "sparse_jitter": 1e-8, "seed": 0, "default_sigma": [0.0005, 0.05, 0.05],
                "data": {"virial_key": "", "stress_key": ""}, "terms": [_soap(n_max, l_max, n_sparse, 4)],
                "baseline": {"kind": "none"}}
    return _fitted(settings, options.ethanol, options.output, screen)


def synthetic_model(n_max=8, l_max=6, n_sparse=1000, n_species=1, cutoff=CUTOFF, zeta=4.0) -> Model:
    """A reduced model of given sizes: sparse points from rattled and strained crystals, random weights.

    The sum of the weights' magnitudes is that of real fits, because it decides how far a kernel may be reduced.
    """
    species = list(ELEMENTS[:n_species])
    basis = make_basis("equispaced", n_max=n_max, l_max=l_max, cutoff=cutoff, atom_sigma=0.5, cutoff_transition_width=0.5)
    n = n_species * n_max
    terms = [SoapTerm(symbol, species, n_max, l_max, cutoff, zeta, 1.0, basis.table(), np.tile(basis.centre, (n_species, 1)),
                      np.empty((0, (l_max + 1) * n * (n + 1) // 2)), np.empty((1, 0)), basis=basis.parameters)
             for symbol in species]
    model = Model(species, dict.fromkeys(species, 0.0), terms)
    evaluator, rng, points = model.evaluator(), np.random.default_rng(1), [[] for _ in species]
    while min(sum(map(len, rows)) for rows in points) < n_sparse:
        atoms = bulk("Si", cubic=True) * (2, 2, 2)
        atoms.symbols = rng.permutation(np.resize(species, len(atoms)))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.05 * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.rattle(0.3, seed=int(rng.integers(1 << 30)))
        pairs = neighbour_arrays(atoms, cutoff, species)
        for index, rows in enumerate(points):
            rows.append(evaluator.features(index, pairs))
    for term, rows in zip(terms, points):
        term.sparse_points = np.concatenate(rows)[:n_sparse]
        term.weights = rng.normal(size=(1, n_sparse))
        term.weights *= CANCELLATION / np.abs(term.weights).sum()
    return reduce_model(model)


def kernel_flops(model: Model, atoms: Atoms, reduced: bool = False) -> float:
    """Floating-point operations per atom of the kernels: plain, 4 n_features n_sparse; or what the reduced form does."""
    per_species = dict.fromkeys(model.species, 0.0)
    for term in model.terms:
        if isinstance(term, SoapTerm):
            per_species[term.centre] += (reduced and term.reduced or term).flops
    return sum(per_species[symbol] for symbol in atoms.symbols) / len(atoms)


def describe_fit(options) -> str:
    """Where the silicon models come from, for the tables' notes."""
    data = "mlearn silicon, published sigmas" if options.mlearn else "the silicon data that soapgap ships"
    return f"models: real fits to {data}, cutoff {CUTOFF:g} A, equispaced basis (soapgap {soapgap.__version__})"
