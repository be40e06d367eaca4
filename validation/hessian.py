"""What curvatures teach: one minimum with its Hessian against forces of one displaced cell, judged in 216 atoms.

    python validation/hessian.py [--output FOLDER]

The reference is Stillinger-Weber silicon. Model A knows one 8-atom cell: its energy, its zero forces and its 21 Hessian
eigenpairs that are no translations. Models B know the same energy and the 24 force components of one cell with normal
displacements, 0.05 or 0.1 A per component, five seeds each; per test amplitude the best counts. Both have the same
sparse points, taken from displaced cells without any reference values, and the same kernel. They are judged by their
forces in randomised 216-atom cells.

What B can make of its forces depends on how far it may trust them, so it is fitted with three force sigmas: the
0.1 eV/A of the published silicon fits, with A's 0.01 eV/A^2 (J. Phys. Chem. A 124, 731 (2020)), and smaller ones. For
comparison "harmonic" is the exact harmonic model of the 216 atoms. By symmetry the 21 eigenvalues are only four
numbers, all harmonic; the forces of a displaced cell depend on the same four and on the anharmonicity besides.

For each kernel and sigma it is printed up to which amplitude A is better than the best B. The status is 1 unless there
is a kernel with which A is better than every B, whatever its sigma, at all amplitudes up to 0.1 A.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.io import write

import soapgap
from soapgap import figures
from soapgap.physics.phonons import second_derivatives
from soapgap.physics.stillinger_weber import StillingerWeber

LATTICE = 5.430949821  # A, the minimum of Stillinger-Weber
AMPLITUDES = (0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15)  # A, standard deviation of each coordinate
SEEDS = range(5)
FORCE_AMPLITUDES = (0.05, 0.1)
FORCE_SIGMAS = (0.1, 0.01, 0.001)
KERNELS = {
    "published, septic": {"n_max": 8, "l_max": 8, "cutoff": 5.4, "cutoff_transition_width": 1.0, "cutoff_function": "septic",
                          "atom_sigma": 0.5, "zeta": 4, "delta": 1.0},
    "published": {"n_max": 8, "l_max": 8, "cutoff": 5.4, "cutoff_transition_width": 0.5, "cutoff_function": "cosine",
                  "atom_sigma": 0.5, "zeta": 4, "delta": 1.0},
    "short": {"n_max": 6, "l_max": 6, "cutoff": 3.7, "cutoff_transition_width": 1.5, "cutoff_function": "septic",
              "atom_sigma": 0.5, "zeta": 2, "delta": 1.0},
    "smooth": {"n_max": 6, "l_max": 6, "cutoff": 3.7, "cutoff_transition_width": 1.5, "cutoff_function": "septic",
               "atom_sigma": 1.0, "zeta": 2, "delta": 1.0},
}


class Reference:
    """Stillinger-Weber energies (eV) and forces (eV/A)."""

    def __init__(self) -> None:
        self.calculator = StillingerWeber()

    def __call__(self, atoms: Atoms) -> tuple[float, np.ndarray]:
        atoms = atoms.copy()
        atoms.calc = self.calculator
        return atoms.get_potential_energy(), atoms.get_forces()

    def compute(self, atoms: Atoms) -> SimpleNamespace:
        """As a `Potential` answers."""
        return SimpleNamespace(forces=self(atoms)[1])

    def hessian(self, atoms: Atoms) -> np.ndarray:
        """d2E/dR2 (eV/A^2) by central differences of the forces."""
        matrix = second_derivatives(self, atoms, delta=1e-4).reshape(3 * len(atoms), -1)
        return (matrix + matrix.T) / 2


def crystal(repeat: int = 1) -> Atoms:
    """The minimum, 8 repeat^3 atoms."""
    return bulk("Si", cubic=True, a=LATTICE) * (repeat, repeat, repeat)


def displaced(amplitude: float, seed: int, repeat: int = 1) -> Atoms:
    """The crystal with normal displacements of every coordinate."""
    atoms = crystal(repeat)
    atoms.positions += np.random.default_rng(seed).normal(0.0, amplitude, atoms.positions.shape)
    return atoms


def minimum(reference: Reference) -> Atoms:
    """The cell with its energy and forces of zero."""
    atoms = crystal()
    atoms.info["energy"], atoms.arrays["forces"] = reference(atoms)
    return atoms


def with_hessian(reference: Reference) -> Atoms:
    """The minimum and its 21 eigenpairs."""
    atoms = minimum(reference)
    values, vectors = np.linalg.eigh(reference.hessian(atoms))
    atoms.info["n_hessian"] = 21
    for number in range(1, 22):
        atoms.info[f"hessian{number}"] = values[number + 2]
        atoms.arrays[f"hessian{number}"] = vectors[:, number + 2].reshape(-1, 3)
    return atoms


def with_forces(reference: Reference, amplitude: float, seed: int) -> Atoms:
    """A displaced cell with its 24 force components and nothing else."""
    atoms = displaced(amplitude, seed)
    atoms.arrays["forces"] = reference(atoms)[1]
    return atoms


def fitted(folder: Path, frames: list[Atoms], kernel: dict, force_sigma: float) -> soapgap.Potential:
    """A model of these frames; sparse points from 25 displaced cells, of which only the positions are known."""
    path = folder / "train.xyz"
    write(path, frames + [displaced(0.1, 1000 + k) for k in range(25)], format="extxyz")
    settings = {
        "output": str(folder / "model.safetensors"),
        "e0": {"Si": 0.0},
        "default_sigma": [1e-4, force_sigma, 0.05, 0.01],
        "sparse_jitter": 1e-10,
        "exact": True,
        "data": {"train": str(path)},
        "terms": [{"kind": "soap", "n_sparse": 400, "sparse_method": "fps"} | kernel],
        "baseline": {"kind": "none"},
    }
    return soapgap.Potential(soapgap.fit(settings, threads=1, quiet=True, restart=True).model, n_threads=1)


class Judge:
    """Root mean square force errors (eV/A) in two randomised 216-atom cells per amplitude."""

    def __init__(self, reference: Reference) -> None:
        self.cells = [[displaced(amplitude, seed, 3) for seed in (5001, 5002)] for amplitude in AMPLITUDES]
        self.forces = [[reference(atoms)[1] for atoms in cells] for cells in self.cells]
        self.typical = np.sqrt([np.mean(np.square(forces)) for forces in self.forces])

    def __call__(self, predict) -> np.ndarray:
        """One number per amplitude; `predict` gives the forces of a structure."""
        return np.array([np.sqrt(np.mean([(predict(atoms) - true) ** 2 for atoms, true in zip(cells, forces)]))
                         for cells, forces in zip(self.cells, self.forces)])

    def model(self, potential: soapgap.Potential) -> np.ndarray:
        """Errors of a fitted model."""
        return self(lambda atoms: potential.compute(atoms).forces)

    def harmonic(self, reference: Reference) -> np.ndarray:
        """Errors of the exact harmonic model; the Hessian from one cell's 24 displacements and translations."""
        big = crystal(3)
        matrix = reference.hessian(big)
        return self(lambda atoms: -(matrix @ (atoms.positions - big.positions).ravel()).reshape(-1, 3))


def compare(name: str, folder: Path, reference: Reference, judge: Judge) -> dict:
    """A and all B with one kernel; prints its lines of the table."""
    kernel = KERNELS[name]
    errors = {"A": judge.model(fitted(folder, [with_hessian(reference)], kernel, 0.1)).tolist()}
    print_line(f"{name}: A, Hessian", errors["A"])
    for sigma in FORCE_SIGMAS:
        runs = [[judge.model(fitted(folder, [minimum(reference), with_forces(reference, amplitude, seed)], kernel, sigma))
                 for seed in SEEDS] for amplitude in FORCE_AMPLITUDES]
        errors[f"B {sigma:g}"] = np.min(runs, axis=(0, 1)).tolist()
        errors[f"B {sigma:g} median"] = np.median(np.reshape(runs, (-1, len(AMPLITUDES))), axis=0).tolist()
        print_line(f"{name}: B, sigma_F {sigma:g}, best", errors[f"B {sigma:g}"])
        print_line(f"{name}: B, sigma_F {sigma:g}, median", errors[f"B {sigma:g} median"])
    return errors


def print_line(title: str, values) -> None:
    """One row."""
    print(f"{title:40s}" + "".join(f"{value:9.4f}" for value in values), flush=True)


def better_up_to(ours, others) -> float:
    """The largest amplitude up to which all errors are smaller than the others, or 0."""
    reach = 0.0
    for amplitude, a, b in zip(AMPLITUDES, ours, others):
        if not a < b:
            break
        reach = amplitude
    return reach


def draw(path: Path, results: dict, harmonic, typical) -> None:
    """Relative force error against the amplitude, a panel per kernel."""
    with figures.drawing(3.6 * len(results), 3.6, 1, len(results), sharey=True) as (figure, ((*panels,),)):
        for panel, (name, errors) in zip(panels, results.items()):
            panel.loglog(AMPLITUDES, np.array(errors["A"]) / typical, "ko-", label="A: minimum and 21 eigenpairs")
            for sigma, colour in zip(FORCE_SIGMAS, ("tab:red", "tab:orange", "tab:blue")):
                panel.loglog(AMPLITUDES, np.array(errors[f"B {sigma:g}"]) / typical, "s-", color=colour, markersize=4,
                             label=f"B: 24 forces, best of {len(SEEDS) * len(FORCE_AMPLITUDES)}, sigma_F = {sigma:g} eV/A")
            panel.loglog(AMPLITUDES, harmonic / typical, ":", color="grey", label="exact harmonic model")
            panel.set(title=f"{name}: cutoff {KERNELS[name]['cutoff']} A, atom_sigma {KERNELS[name]['atom_sigma']} A",
                      xlabel="displacement in 216 atoms (A)")
            panel.title.set_fontsize(9)
        panels[0].set_ylabel("RMS force error / RMS force")
        panels[0].legend(fontsize=6)
        figures.save(figure, path)


def main() -> int:
    """All kernels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("hessian"))
    folder = parser.parse_args().output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    reference = Reference()
    judge = Judge(reference)
    print_line("displacement, A", AMPLITUDES)
    print_line("RMS force, eV/A", judge.typical)
    harmonic = judge.harmonic(reference)
    print_line("error, eV/A: exact harmonic model", harmonic)
    results = {name: compare(name, folder, reference, judge) for name in KERNELS}
    draw(folder / "hessian.png", results, harmonic, judge.typical)
    (folder / "hessian.json").write_text(json.dumps({
        "amplitudes": AMPLITUDES, "rms_force": judge.typical.tolist(), "harmonic": harmonic.tolist(), "errors": results,
        "seconds": time.perf_counter() - start}, indent=1) + "\n")
    print(f"{time.perf_counter() - start:.0f} s")
    for name, errors in results.items():
        for sigma in FORCE_SIGMAS:
            reach = better_up_to(errors["A"], errors[f"B {sigma:g}"])
            print(f"{name}, sigma_F {sigma:g}: " + (f"A is better up to {reach:g} A" if reach else "the best B is better"))
    return 0 if any(all(better_up_to(errors["A"], errors[f"B {sigma:g}"]) >= 0.1 for sigma in FORCE_SIGMAS)
                    for errors in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
