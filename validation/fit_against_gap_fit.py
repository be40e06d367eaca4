"""Errors of soapgap and gap_fit on the mlearn sets with the same sparse points (Zuo et al., J. Phys. Chem. A 124, 731 (2020)).

    python validation/fit_against_gap_fit.py MLEARN_FOLDER OUTPUT_FOLDER [--elements Si Li Cu] [--threads 1]

gap_fit fits with the published settings and chooses the sparse points (19 minutes for Li, more for Cu, on one core; a gap.xml
that is there already is taken); soapgap fits the same data with the points of that file. Mean absolute errors on the test
sets; status 1 if one of soapgap's exceeds gap_fit's by more than 3 %.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from ase.io import read

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
from table_fit import gap_fit_command, gap_fit_program, published_settings, write_training_frames

from soapgap import read_quip
from soapgap.fitting import fit
from soapgap.potential import Potential

CUTOFF = {"Si": 5.4, "Li": 4.8, "Cu": 4.1}
N_SPARSE = {"Si": 1000, "Li": 4000, "Cu": 4000}
E0 = {"Si": -0.79, "Li": -0.21, "Cu": -0.65}
WITHIN = 0.03


def settings(element: str, folder: Path, place: Path) -> dict:
    """The published settings; energies and forces only, no baseline."""
    content = published_settings(folder, str(place / "soapgap.safetensors"), "equispaced", 0)
    content["terms"][0] |= {"cutoff": CUTOFF[element], "n_sparse": N_SPARSE[element]}
    data = {"train": str(place / "train.xyz"), "test": str(folder / f"{element}_test.xyz"), "virial_key": "", "stress_key": ""}
    return content | {"e0": {element: E0[element]}, "data": data}


def mean_errors(model, frames) -> tuple[float, float]:
    """MAE of energies (meV/atom) and force components (eV/A)."""
    potential = Potential(model, n_threads=1)
    results = [potential.compute(atoms) for atoms in frames]
    energies = [abs(r.energy - a.get_potential_energy()) / len(a) for r, a in zip(results, frames, strict=True)]
    forces = [np.abs(r.forces - a.get_forces()).ravel() for r, a in zip(results, frames, strict=True)]
    return 1000.0 * float(np.mean(energies)), float(np.mean(np.concatenate(forces)))


def one_element(element: str, options) -> bool:
    """Both fits and a line of the table."""
    place = options.output / element
    place.mkdir(parents=True, exist_ok=True)
    write_training_frames(place / "train.xyz", read(options.folder / f"{element}_train.xyz", ":"))
    content = settings(element, options.folder, place)
    if not (place / "gap.xml").exists():
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with open(place / "gap_fit.log", "w") as log:
            subprocess.run(gap_fit_command(gap_fit_program(), content), cwd=place, env=environment, stdout=log,
                           stderr=subprocess.STDOUT, check=True)
    theirs = read_quip(place / "gap.xml", [element])
    theirs.save(place / "gap_fit.safetensors")
    term = content["terms"][0]
    del term["n_sparse"]
    term |= {"sparse_method": "file", "sparse_file": str(place / "gap_fit.safetensors")}
    start = time.perf_counter()
    ours = fit(content, threads=options.threads, report=False).model
    seconds = time.perf_counter() - start
    frames = read(options.folder / f"{element}_test.xyz", ":")
    errors = {"gap_fit": mean_errors(theirs, frames), "soapgap": mean_errors(ours, frames)}
    for program, (energy, force) in errors.items():
        print(f"{element:3s} {program:8s} E {energy:7.4f} meV/atom   F {force:.5f} eV/A")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{element:3s} soapgap: {seconds:.0f} s, peak of this process so far {peak:.2f} GB", flush=True)
    return all(a <= (1.0 + WITHIN) * b for a, b in zip(errors["soapgap"], errors["gap_fit"], strict=True))


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--elements", nargs="+", default=["Si", "Li", "Cu"], choices=sorted(E0))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    return 0 if all([one_element(element, options) for element in options.elements]) else 1


if __name__ == "__main__":
    sys.exit(main())
