"""Fitting: soapgap beside gap_fit, the same data and settings; time and memory of whole processes."""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from ase.io import read, write
from common import Table, fit_in_child, installed, interleaved, launch, median, pairwise

from soapgap.model import Model

COLUMNS = [("frames", "frames", "d"), ("n_sparse", "sparse points", "d"),
           ("soapgap_s", "soapgap s", ".1f"), ("gap_fit_s", "gap_fit s", ".1f"),
           ("ratio", "ratio", ".1f"), ("ratio_low", "lowest", ".1f"), ("ratio_high", "highest", ".1f"),
           ("soapgap_gb", "soapgap GB", ".2f"), ("gap_fit_gb", "gap_fit GB", ".2f"), ("memory_ratio", "ratio", ".1f"),
           ("soapgap_mae", "soapgap F MAE eV/A", ".4f"), ("gap_fit_mae", "gap_fit F MAE", ".4f")]


def published_settings(folder: Path, output: str, basis: str, seed: int) -> dict:
    """The settings of Zuo et al. (J. Phys. Chem. A 124, 731 (2020)) for silicon; energies and forces only, no baseline."""
    return {
        "output": output,
        "e0": {"Si": -0.79},
        "default_sigma": [0.0005, 0.1, 0.05],
        "sparse_jitter": 1e-8,
        "seed": seed,
        "data": {
            "train": str(folder / "Si_train.xyz"),
            "test": str(folder / "Si_test.xyz"),
            "virial_key": "",
            "stress_key": "",
            "config_type_key": "group",
        },
        "terms": [
            {"kind": "soap", "n_max": 8, "l_max": 8, "cutoff": 5.4, "cutoff_transition_width": 0.5, "atom_sigma": 0.5,
             "zeta": 4, "delta": 1.0, "n_sparse": 1000, "sparse_method": "cur", "radial_basis": basis},
        ],
        "baseline": {"kind": "none"},
    }


def gap_fit_program() -> str | None:
    """gap_fit beside this Python (quippy-ase brings it), else of the PATH."""
    beside = Path(sys.executable).parent / "gap_fit"
    return str(beside) if beside.exists() else shutil.which("gap_fit")


def gap_fit_command(program, settings) -> list[str]:
    """gap_fit told what `settings` tells soapgap."""
    term = settings["terms"][0]
    sigma = " ".join(map(str, settings["default_sigma"]))
    soap = (f"soap cutoff={term['cutoff']} cutoff_transition_width={term['cutoff_transition_width']} n_max={term['n_max']} "
            f"l_max={term['l_max']} atom_sigma={term['atom_sigma']} zeta={term['zeta']} delta={term['delta']} "
            f"n_sparse={term['n_sparse']} covariance_type=dot_product sparse_method=cur_points add_species=T")
    e0 = ":".join(f"{symbol}:{energy}" for symbol, energy in settings["e0"].items())
    return [program, "at_file=train.xyz", f"gap={{{soap}}}", "gp_file=gap.xml", f"e0={{{e0}}}",
            f"default_sigma={{{sigma} 0.0}}", f"sparse_jitter={settings['sparse_jitter']}",
            "energy_parameter_name=energy", "force_parameter_name=forces", "do_copy_at_file=F", "sparse_separate_file=T"]


def write_training_frames(path: Path, frames) -> None:
    """Energy and forces only, one file for both programs."""
    for atoms in frames:
        atoms.info = {"dft_energy": atoms.get_potential_energy()}
        atoms.arrays["dft_forces"] = atoms.get_forces()
        atoms.calc = None
    write(path, frames, format="extxyz")
    # ASE writes no quantity under the names that calculators use, so they are renamed in the text
    path.write_text(path.read_text().replace("dft_", ""))


def measure(options, screen):
    """On a part of the frames, interleaved; and once on all of them if asked."""
    if not options.mlearn:
        screen.line("fit: no --mlearn FOLDER: skipped")
        return
    program = gap_fit_program() if installed("quippy", screen, "gap_fit (quippy-ase)") else None
    rows = [one_row(program, options, options.fit_every, options.pairs, screen)]
    if options.full_fit:
        rows.append(one_row(program, options, 1, 1, screen))
    notes = ["n_max 8, l_max 8, cutoff 5.4 A, zeta 4, 1000 sparse points by CUR (all environments where the frames hold "
             "fewer different ones), energies and forces, one core",
             "whole processes; soapgap's time includes the errors of all training frames and the parity plot; F MAE: on "
             "mlearn's 25 test structures (where not all environments are taken, each program draws its own)"]
    yield Table("fit", f"Fitting mlearn silicon, published settings; {options.pairs} interleaved rounds (all frames: one)",
                COLUMNS, rows, notes)


def one_row(program, options, every, n_rounds, screen) -> dict:
    """Both programs on the same file, from nothing each time; no warm-up, a fit is long enough."""
    with tempfile.TemporaryDirectory() as folder:
        frames = read(options.mlearn / "Si_train.xyz", f"::{every}")
        write_training_frames(Path(folder, "train.xyz"), frames)
        n_frames = len(frames)
        settings = published_settings(options.mlearn, str(Path(folder, "model.safetensors")), "equispaced", 0)
        settings["data"] = {"train": str(Path(folder, "train.xyz")), "virial_key": "", "stress_key": ""}
        measures = {"soapgap": lambda: fit_in_child(settings, folder)}
        if program:
            measures["gap_fit"] = lambda: launch(gap_fit_command(program, settings), folder, "gap_fit.log")
        runs = interleaved(measures, n_rounds, lambda text: screen.progress(f"fit, {n_frames} frames: {text}"), warm_up=False)
        row = {"frames": n_frames}
        for name, results in runs.items():
            row |= {f"{name}_s": median([r["seconds"] for r in results]), f"{name}_gb": max(r["bytes"] for r in results) / 1e9,
                    f"{name}_seconds": [r["seconds"] for r in results], f"{name}_mae": test_error(name, folder, options)}
        row["n_sparse"] = len(Model.load(Path(folder, "model.safetensors")).terms[0].sparse_points)
        row["soapgap_steps"] = runs["soapgap"][-1]["steps"]
        if program:
            row |= pairwise(row["gap_fit_seconds"], row["soapgap_seconds"])
            row["memory_ratio"] = row["gap_fit_gb"] / row["soapgap_gb"]
    return row


def test_error(name, folder, options) -> float:
    """Mean absolute error of forces on the test set: that both programs did the same work."""
    from quip_oracle import quip_evaluate

    from soapgap.potential import Potential

    if name == "soapgap":
        potential = Potential(Path(folder, "model.safetensors"), n_threads=1)
    else:
        from quippy.potential import Potential as QuipPotential

        quip = QuipPotential("", param_filename=str(Path(folder, "gap.xml")))
    errors = []
    for atoms in read(options.mlearn / "Si_test.xyz", ":"):
        forces = potential.compute(atoms).forces if name == "soapgap" else quip_evaluate(quip, atoms)["forces"]
        errors.append(np.abs(forces - atoms.get_forces()).ravel())
    return float(np.concatenate(errors).mean())


def plot(figure, tables):
    """Time and memory of both programs."""
    rows = tables[0].rows
    for axes, unit, label in zip(figure.subplots(1, 2), ("s", "gb"), ("wall time, s", "peak memory, GB")):
        for k, name in enumerate(("soapgap", "gap_fit")):
            values = [row.get(f"{name}_{unit}", np.nan) for row in rows]
            bars = axes.bar(np.arange(len(rows)) + 0.4 * (k - 0.5), values, 0.4, label=name)
            axes.bar_label(bars, [f"{value:.3g}" for value in values])
        axes.set_xticks(np.arange(len(rows)), [f"{row['frames']} frames" for row in rows])
        axes.set(ylabel=label)
        axes.legend(loc="upper left")
