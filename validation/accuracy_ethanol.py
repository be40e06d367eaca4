"""Learning curve for ethanol (rMD17): energy and force errors of models of 50 to 1000 structures.

    python benchmarks/accuracy_ethanol.py --data RMD17_FOLDER [--output FOLDER] [--sizes 50 100 200 500 1000]

RMD17_FOLDER holds rmd17_ethanol_train_01.xyz and rmd17_ethanol_test_01.xyz (A. S. Christensen and O. A. von Lilienfeld,
Mach. Learn.: Sci. Technol. 1, 045018 (2020)), 1000 structures each, eV and Angstrom. The first structures of the training
file are learnt from; all of the test file are predicted, once per model. One fit for all sizes: no setting depends on the
size. Mean absolute errors of the energy of the molecule in meV and of force components in meV/A.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import matplotlib
import numpy as np
from ase.io import read, write

import soapgap
from soapgap.model.terms.soap import SoapTerm

matplotlib.use("Agg")
import matplotlib.pyplot as plt

N_ATOMS = 9


def settings(folder: Path) -> dict:
    """Pairs, a SOAP that sees the whole molecule with less and less weight, and one for the bonds and angles."""
    return {
        "output": str(folder / "ethanol.safetensors"),
        "e0": "fit",
        "default_sigma": [0.001, 0.01, 0.0],
        "sparse_jitter": 1e-9,
        "exact": True,
        "data": {"train": str(folder / "train.xyz"), "test": str(folder / "test.xyz")},
        "terms": [
            {"kind": "distance_2b", "cutoff": 5.0, "cutoff_transition_width": 1.0, "theta": 0.7, "delta": 2.0, "n_sparse": 20},
            {"kind": "soap", "n_max": 10, "l_max": 6, "cutoff": 6.0, "cutoff_transition_width": 4.0, "atom_sigma": 0.4,
             "zeta": 2, "delta": 1.0, "n_sparse": {"H": 1200, "C": 600, "O": 400}},
            {"kind": "soap", "n_max": 8, "l_max": 6, "cutoff": 2.5, "cutoff_transition_width": 1.2, "atom_sigma": 0.2,
             "zeta": 2, "delta": 1.0, "n_sparse": {"H": 800, "C": 400, "O": 300}},
        ],
    }


def one_size(train: list, test: list, folder: Path) -> dict:
    """One fit and its errors on the test set."""
    start = time.perf_counter()
    write(folder / "train.xyz", train, format="extxyz")
    write(folder / "test.xyz", test, format="extxyz")
    result = soapgap.fit(settings(folder), threads=1, quiet=True, restart=True)
    errors = result.errors["test"]["all"]
    return {
        "n": len(train),
        "n_sparse": sum(len(term.sparse_points) for term in result.model.terms if isinstance(term, SoapTerm)),
        # of the molecule, not per atom; forces in meV/A
        "energy": {name: errors["energy"][name] * N_ATOMS for name in ("mae", "rmse")},
        "force": {name: errors["force"][name] * 1000.0 for name in ("mae", "rmse")},
        "seconds": time.perf_counter() - start,
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "steps": result.seconds,
        "warnings": result.warnings,
    }


def draw(path: Path, runs: list[dict]) -> None:
    """Both learning curves, with their slopes between the last two sizes."""
    figure, panels = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
    sizes = [run["n"] for run in runs]
    for panel, what, unit in zip(panels, ("energy", "force"), ("meV", "meV/A")):
        for measure, style in (("mae", "o-"), ("rmse", "s--")):
            panel.loglog(sizes, [run[what][measure] for run in runs], style, label=measure.upper())
        panel.set(xlabel="training structures", ylabel=f"{what} error, {unit}", title=f"rMD17 ethanol, {what}")
        panel.grid(True, which="both", alpha=0.3)
        panel.legend()
    figure.savefig(path, dpi=200)


def main() -> int:
    """One row per size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the rMD17 files")
    parser.add_argument("--output", type=Path, default=Path("accuracy-ethanol"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 100, 200, 500, 1000])
    options = parser.parse_args()
    folder = options.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    train = read(options.data / "rmd17_ethanol_train_01.xyz", ":")
    test = read(options.data / "rmd17_ethanol_test_01.xyz", ":")
    print(f"{'n':>6s}{'points':>8s}{'E MAE':>9s}{'E RMSE':>9s}{'F MAE':>9s}{'F RMSE':>9s}{'time':>8s}{'memory':>9s}")
    print(f"{'':>6s}{'':>8s}{'meV':>9s}{'meV':>9s}{'meV/A':>9s}{'meV/A':>9s}{'s':>8s}{'GB':>9s}")
    runs = []
    for size in options.sizes:
        run = one_size(train[:size], test, folder)
        print(f"{size:6d}{run['n_sparse']:8d}{run['energy']['mae']:9.2f}{run['energy']['rmse']:9.2f}{run['force']['mae']:9.2f}"
              f"{run['force']['rmse']:9.2f}{run['seconds']:8.0f}{run['gigabytes']:9.2f}", flush=True)
        runs.append(run)
    draw(folder / "accuracy_ethanol.png", runs)
    (folder / "accuracy_ethanol.json").write_text(json.dumps(runs, indent=1) + "\n")
    slopes = {what: float(np.polyfit(np.log(options.sizes), np.log([run[what]["mae"] for run in runs]), 1)[0])
              for what in ("energy", "force")} if len(runs) > 1 else {}
    print("MAE ~ n^slope: " + ", ".join(f"{what} {slope:.2f}" for what, slope in slopes.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
