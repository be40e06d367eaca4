"""Errors of fits to published data sets: one TOML file per data set says what is fitted and how it is judged.

    python validation/accuracy.py NAME --data FOLDER [--output FOLDER] [--seeds 0 ...] [--sizes N ...]

NAME is a file of validation/accuracy, such as `mlearn_si`; its head says what FOLDER holds. A data set has either files of its
own for training and test, or one file of which `n_train` frames are drawn with the seed, or `folds` for cross-validation,
stratified by `group`; with `sizes` the first so many training frames are learnt from. Every fit runs on one core in a process
of its own. Mean absolute (MAE) and root mean square errors (RMSE), in meV/atom and eV/A.

The status is 1 if an error of the first seed exceeds its limit, or if published forces are better in a group that has any.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase.io import read, write

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
from common import fit_in_child

from soapgap import figures

HERE = Path(__file__).resolve().parent / "accuracy"


def parts(settings: dict, data: Path, folder: Path, seed: int, sizes: list[int]) -> Iterator[tuple[str, Path, Path]]:
    """What each fit is called, and its files with training and test frames."""
    train = data / settings["train"]
    if "folds" in settings:
        frames = read(train, ":")
        fold = folds([atoms.info[settings["group"]] for atoms in frames], settings["folds"], seed)
        chosen = {f"fold {k + 1}": (fold != k, fold == k) for k in range(settings["folds"])}
    elif "n_train" in settings:
        frames = read(train, ":")
        drawn = np.isin(np.arange(len(frames)), np.random.default_rng(seed).permutation(len(frames))[:settings["n_train"]])
        chosen = {"random": (drawn, ~drawn)}
    elif sizes:
        frames = [*read(train, f":{max(sizes)}"), *read(data / settings["test"], ":")]
        number = np.arange(len(frames))
        chosen = {f"{size} frames": (number < size, number >= max(sizes)) for size in sizes}
    else:
        yield "all frames", train, data / settings["test"]
        return
    for name, (learnt, tested) in chosen.items():
        for file, which in (("train", learnt), ("test", tested)):
            write(folder / f"{file}.xyz", [frames[k] for k in np.flatnonzero(which)], format="extxyz")
        yield name, folder / "train.xyz", folder / "test.xyz"


def folds(groups: list[str], n_folds: int, seed: int) -> np.ndarray:
    """Fold of every structure: each group is shuffled and dealt out, going on where the last group ended."""
    rng = np.random.default_rng(seed)
    fold, offset = np.empty(len(groups), int), 0
    for group in sorted(set(groups)):
        members = rng.permutation([k for k, g in enumerate(groups) if g == group])
        fold[members] = (offset + np.arange(len(members))) % n_folds
        offset += len(members)
    return fold


def one_fit(settings: dict, train: Path, test: Path, folder: Path, seed: int) -> dict:
    """A fit: errors on the test frames by config_type, time, memory, number of sparse points."""
    content = settings["fit"] | {
        "output": str(folder / "model.safetensors"), "seed": seed,
        "data": {"train": str(train), "test": str(test)} | settings["fit"].get("data", {}),
    }
    found = fit_in_child(content, folder)
    return {"errors": found["errors"]["test"], "seconds": found["seconds"], "gigabytes": found["bytes"] / 1e9,
            "n_sparse": found["n_sparse"], "steps": found["steps"], "warnings": found["warnings"]}


def together(runs: list[dict]) -> dict:
    """Errors of all values of several test sets, {group: {quantity: {"n", "mae", "rmse"}}}."""
    found: dict = {}
    for group, quantity in sorted({(g, q) for run in runs for g, entry in run["errors"].items() for q in entry}):
        entries = [run["errors"][group][quantity] for run in runs if quantity in run["errors"].get(group, {})]
        n = np.array([entry["n"] for entry in entries])
        mae, rmse = (np.array([entry[what] for entry in entries]) for what in ("mae", "rmse"))
        found.setdefault(group, {})[quantity] = {"n": int(n.sum()), "mae": float(n @ mae / n.sum()),
                                                 "rmse": float(np.sqrt(n @ rmse**2 / n.sum()))}
    return found


def published(path: Path) -> dict[str, dict[str, float]]:
    """Unweighted mean absolute errors of a table of FitSNAP: {group: {"energy": meV/atom, "force": eV/A}}."""
    found: dict[str, dict[str, float]] = {}
    for line in path.read_text().splitlines():
        if match := re.match(r"\| \('(\S+)', 'Unweighted', '(Energy|Force)'\)\s*\|\s*\d+ \|\s*(\S+)", line):
            group, what, value = match[1].replace("*ALL", "all"), match[2].lower(), float(match[3])
            found.setdefault(group, {})[what] = value * (1000.0 if what == "energy" else 1.0)
    return found


def print_errors(title: str, errors: dict, settings: dict, theirs: dict) -> None:
    """One line per group; beside it published errors, if there are any."""
    factor = settings.get("atoms", 1)
    for group, entry in sorted(errors.items(), key=lambda item: (item[0] == "all", item[0])):
        energy, force, n = {m: factor * entry["energy"][m] for m in ("mae", "rmse")}, entry["force"], entry["energy"]["n"]
        beside = f"   published: E {theirs[group]['energy']:.3f}  F {theirs[group]['force']:.3g}" if group in theirs else ""
        virial = f"  W RMSE {entry['virial']['rmse']:.3f}" if "virial" in entry else ""
        print(f"{title:22s} {group:16s}{n:6d}  E MAE {energy['mae']:8.3f} RMSE {energy['rmse']:8.3f}"
              f"  F MAE {force['mae']:.4g} RMSE {force['rmse']:.4g}{virial}{beside}", flush=True)


def misses(errors: dict, settings: dict, theirs: dict) -> list[str]:
    """What is outside its limit."""
    found = []
    for name, limit in settings.get("limits", {}).items():
        quantity, _, measure = name.partition("_")
        value = errors["all"][quantity][measure or "mae"]
        if not value <= limit:
            found.append(f"{name}: {value:.4g} exceeds {limit:g}")
    for group in sorted(errors.keys() & theirs.keys()):
        if not group.startswith(settings["without_forces"]) and not errors[group]["force"]["mae"] < theirs[group]["force"]:
            found.append(f"published forces of {group} are better")
    return found


def draw(path: Path, sizes: list[int], runs: list[dict], factor: float) -> None:
    """The learning curves; their slopes on the screen."""
    with figures.drawing(8.0, 3.6, 1, 2) as (figure, panels):
        for ax, quantity, unit in zip(panels[0], ("energy", "force"), ("meV/atom" if factor == 1 else "meV", "eV/A")):
            scale = factor if quantity == "energy" else 1.0
            curves = {m.upper(): [scale * run["errors"]["all"][quantity][m] for run in runs] for m in ("rmse", "mae")}
            figures.learning_curve(ax, sizes, curves, unit, quantity)
            print(f"{quantity}: MAE ~ n^{np.polyfit(np.log(sizes), np.log(curves['MAE']), 1)[0]:.2f}")
        figures.save(figure, path)


def main() -> int:
    """Fits, table, verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(path.stem for path in HERE.glob("*.toml")))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, help="folder of the model and of NAME.json; default: accuracy-NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--sizes", type=int, nargs="+", help="in place of those of the file")
    parser.add_argument("--folds", type=int, help="in place of those of the file")
    parser.add_argument("--exact", action="store_true", help="without reductions and splines")
    options = parser.parse_args()
    settings = tomllib.loads((HERE / f"{options.name}.toml").read_text())
    settings |= {"folds": options.folds} if options.folds else {}
    settings["fit"] |= {"exact": True} if options.exact else {}
    sizes, folder = options.sizes or settings.get("sizes", []), (options.output or Path(f"accuracy-{options.name}")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    theirs = published(options.data / settings["published"]) if "published" in settings else {}
    print(f"energies in {'meV/atom' if 'atoms' not in settings else 'meV per molecule'}, forces in eV/A, virials in meV/atom")
    content, found = [], []
    for seed in options.seeds:
        runs = []
        for name, train, test in parts(settings, options.data.resolve(), folder, seed, sizes):
            runs.append(one_fit(settings, train, test, folder, seed))
            run = runs[-1]
            if "folds" not in settings:
                print_errors(f"seed {seed}, {name}", run["errors"], settings, {})
            print(f"seed {seed}, {name}: {run['n_sparse']} sparse points, {run['seconds']:.0f} s, {run['gigabytes']:.2f} GB")
        errors = together(runs) if "folds" in settings else runs[-1]["errors"]
        if "folds" in settings:
            print_errors(f"seed {seed}, all folds", errors, settings, theirs)
        if seed == options.seeds[0]:
            found = misses(errors, settings, theirs)
        content.append({"seed": seed, "runs": runs, "errors": errors})
        if len(runs) > 1 and sizes:
            draw(folder / f"{options.name}.png", sizes, runs, settings.get("atoms", 1))
    (folder / f"{options.name}.json").write_text(json.dumps({"published": theirs, "seeds": content}, indent=1) + "\n")
    print("\n".join(found) or "all limits are kept")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
