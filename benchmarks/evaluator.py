"""Cost of the evaluator on silicon, side by side with QUIP and featomic on one core.

    OMP_NUM_THREADS=1 python benchmarks/evaluator.py [--pairs 5] [--output evaluator.json]

Every ratio is the median over interleaved pairs of runs (ours, theirs, ours, theirs, ...), because machines are shared
and noisy. One evaluation is energy, forces and stress of one structure, neighbour list included for everybody; quippy is
asked for all properties in one `calculate` call. featomic computes SOAP with gradients only, no kernel.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from ase.build import bulk

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from quip_oracle import quip_calculator, quip_evaluate, write_quip_model

from soapgap.basis import make_basis
from soapgap.model import Model, SoapTerm
from soapgap.neighbours import neighbour_arrays
from soapgap.potential import Potential

SIZES = {"10, 12": (10, 12), "8, 8": (8, 8), "8, 6": (8, 6)}


def silicon(n_atoms_wanted: int, seed: int = 0):
    """Diamond silicon, rattled by 0.1 Angstrom, with about so many atoms."""
    side = max(2, round((n_atoms_wanted / 8) ** (1 / 3)))
    atoms = bulk("Si", cubic=True) * (side, side, side)
    atoms.rattle(0.1, seed=seed)
    return atoms


def silicon_model(n_max: int, l_max: int, n_sparse: int, cutoff: float = 5.0, zeta: float = 4.0) -> Model:
    """A model of given sizes whose sparse points are environments of rattled and strained silicon."""
    basis = make_basis("equispaced", n_max=n_max, l_max=l_max, cutoff=cutoff, atom_sigma=0.5, cutoff_transition_width=0.5)
    n_features = (l_max + 1) * n_max * (n_max + 1) // 2
    term = SoapTerm("Si", ["Si"], n_max, l_max, cutoff, zeta, 1.0, basis.table(), basis.centre[None, :],
                    np.empty((0, n_features)), np.empty((1, 0)), basis=basis.parameters)
    model = Model(["Si"], {"Si": 0.0}, [term])
    evaluator, rng, points = model.evaluator(), np.random.default_rng(1), []
    while sum(map(len, points)) < n_sparse:
        atoms = bulk("Si", cubic=True) * (2, 2, 2)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.05 * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.rattle(0.3, seed=int(rng.integers(1 << 30)))
        points.append(evaluator.features(0, neighbour_arrays(atoms, cutoff, ["Si"])))
    term.sparse_points = np.concatenate(points)[:n_sparse]
    term.weights = rng.normal(size=(1, n_sparse))
    return model


def seconds(work, *arguments, times: int = 1) -> float:
    """Wall time of one call, the mean over so many."""
    start = time.perf_counter()
    for _ in range(times):
        work(*arguments)
    return (time.perf_counter() - start) / times


def interleaved(ours, theirs, n_pairs: int):
    """Median times of both and the median of the pairwise ratios theirs / ours, after one warm-up each.

    Both get the number of the run and evaluate that run's structure: quippy keeps results of a structure it knows.
    """
    ours(0), theirs(0)
    pairs = np.array([(seconds(ours, k), seconds(theirs, k)) for k in range(1, n_pairs + 1)])
    return np.median(pairs[:, 0]), np.median(pairs[:, 1]), float(np.median(pairs[:, 1] / pairs[:, 0]))


def rattled(n_atoms: int, n: int) -> list:
    """Structures for the warm-up and n timed runs."""
    return [silicon(n_atoms, seed) for seed in range(n + 1)]


def against_quip(sizes, n_sparse: int, n_atoms: int, n_pairs: int) -> dict:
    """One row: soapgap and QUIP on the same model and structure; the results must agree, or the timing means nothing."""
    model = silicon_model(*sizes, n_sparse)
    ours, frames = Potential(model, n_threads=1), rattled(n_atoms, n_pairs)
    with tempfile.TemporaryDirectory() as folder:
        quip = quip_calculator(write_quip_model(model, folder))
        difference = np.abs(quip_evaluate(quip, frames[-1])["forces"] - ours.compute(frames[-1]).forces).max()
        t_ours, t_quip, ratio = interleaved(lambda k: ours.compute(frames[k]), lambda k: quip_evaluate(quip, frames[k]),
                                            n_pairs)
    per_atom = 1e6 / len(frames[0])
    return {"n_max": sizes[0], "l_max": sizes[1], "n_sparse": n_sparse, "n_atoms": len(frames[0]),
            "soapgap_us_per_atom": t_ours * per_atom, "quip_us_per_atom": t_quip * per_atom, "ratio": ratio,
            "largest_force_difference": float(difference)}


def against_featomic(sizes, n_atoms: int, n_pairs: int) -> dict:
    """featomic's SOAP power spectrum with gradients against our whole energy, forces and stress (1000 points)."""
    import featomic

    n_max, l_max = sizes
    calculator = featomic.SoapPowerSpectrum(
        cutoff={"radius": 5.0, "smoothing": {"type": "ShiftedCosine", "width": 0.5}},
        density={"type": "Gaussian", "width": 0.5},
        basis={"type": "TensorProduct", "max_angular": l_max, "radial": {"type": "Gto", "max_radial": n_max - 1}})
    ours, frames = Potential(silicon_model(n_max, l_max, 1000), n_threads=1), rattled(n_atoms, n_pairs)
    t_ours, t_theirs, ratio = interleaved(lambda k: ours.compute(frames[k]),
                                          lambda k: calculator.compute(frames[k], gradients=["positions"]), n_pairs)
    per_atom = 1e6 / len(frames[0])
    return {"n_max": n_max, "l_max": l_max, "n_atoms": len(frames[0]), "soapgap_us_per_atom": t_ours * per_atom,
            "featomic_us_per_atom": t_theirs * per_atom, "ratio": ratio}


def scaling(n_repeats: int) -> list[dict]:
    """Cost per atom from 64 to 8,000 atoms (evaluator alone, and with a new neighbour list); sizes are interleaved."""
    model = silicon_model(10, 12, 1000)
    potential = Potential(model, n_threads=1)
    cells = [silicon(n) for n in (64, 216, 512, 1728, 4096, 8000)]
    lists = [neighbour_arrays(atoms, potential.cutoff, potential.species) for atoms in cells]
    bare, whole = np.empty((n_repeats, len(cells))), np.empty((n_repeats, len(cells)))
    for pairs in lists:
        potential.evaluator.evaluate(pairs)
    for repeat in range(n_repeats):
        for k, (atoms, pairs) in enumerate(zip(cells, lists)):
            again = max(1, 512 // len(atoms))  # small cells are repeated, so that every sample takes some 50 ms
            bare[repeat, k] = seconds(potential.evaluator.evaluate, pairs, times=again)
            whole[repeat, k] = seconds(potential.compute, atoms, times=again)
    return [{"n_atoms": len(atoms), "evaluator_us_per_atom": float(np.median(bare[:, k]) / len(atoms) * 1e6),
             "with_neighbours_us_per_atom": float(np.median(whole[:, k]) / len(atoms) * 1e6)}
            for k, atoms in enumerate(cells)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5, help="interleaved pairs per ratio (at least 5)")
    parser.add_argument("--n-sparse", type=int, default=1000)
    parser.add_argument("--output", type=Path, default=Path("evaluator.json"))
    options = parser.parse_args()
    n_atoms, rows, featomic_rows = 64, [], []
    print(f"{'':8s}{'soapgap':>12s}{'QUIP':>12s}{'ratio':>9s}   us/atom, {n_atoms} atoms, {options.n_sparse} points")
    for name, sizes in SIZES.items():
        row = against_quip(sizes, options.n_sparse, n_atoms, options.pairs)
        rows.append(row)
        print(f"{name:8s}{row['soapgap_us_per_atom']:12.1f}{row['quip_us_per_atom']:12.1f}{row['ratio']:9.1f}"
              f"   forces differ by {row['largest_force_difference']:.1e} eV/A", flush=True)
    print(f"{'':8s}{'soapgap':>12s}{'featomic':>12s}{'ratio':>9s}   featomic: SOAP and gradients only")
    for name, sizes in SIZES.items():
        row = against_featomic(sizes, n_atoms, options.pairs)
        featomic_rows.append(row)
        print(f"{name:8s}{row['soapgap_us_per_atom']:12.1f}{row['featomic_us_per_atom']:12.1f}{row['ratio']:9.1f}",
              flush=True)
    sizes_rows = scaling(options.pairs)
    print(f"{'atoms':>8s}{'evaluator':>12s}{'with list':>12s}   us/atom, 10, 12")
    for row in sizes_rows:
        print(f"{row['n_atoms']:8d}{row['evaluator_us_per_atom']:12.1f}{row['with_neighbours_us_per_atom']:12.1f}")
    costs = [row["evaluator_us_per_atom"] for row in sizes_rows]
    print(f"spread of the evaluator's cost per atom: {(max(costs) / min(costs) - 1) * 100:.1f} % (largest over smallest)")
    options.output.write_text(json.dumps({"quip": rows, "featomic": featomic_rows, "scaling": sizes_rows}, indent=1))
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
