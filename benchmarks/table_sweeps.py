"""How cost and memory of the evaluator grow: atoms, sparse points, species, n_max, l_max, cutoff."""

import tempfile
from pathlib import Path

import numpy as np
from common import DGEMM_SIZE, Table, dgemm_rate, interleaved, median, workers
from systems import ELEMENTS, describe_fit, kernel_flops, mean_neighbours, silicon_fit, structure, synthetic_model

N_ATOMS = 512
ATOMS = (64, 216, 512, 1728, 4096, 8000, 13824, 32768)
FLAT_FROM = 512  # atoms: from here on the cost per atom should not change
SWEEPS = {  # what is varied of the synthetic model, and its values
    "atoms": ("n_atoms", ATOMS), "sparse": ("n_sparse", (100, 300, 1000, 3000, 10000)), "species": ("n_species", (1, 2, 3, 4)),
    "n_max": ("n_max", (4, 6, 8, 10, 12)), "l_max": ("l_max", (2, 4, 6, 8, 10, 12)), "cutoff": ("cutoff", (4.0, 5.0, 6.0, 7.0)),
}
COLUMNS = [("us_per_atom", "us/atom", ".2f"), ("low", "lowest", ".2f"), ("high", "highest", ".2f"),
           ("n_features", "features", "d"), ("kept_features", "kept", "d"),
           ("neighbours", "neighb.", ".0f"), ("kernel_gflops", "done GFLOP/s", ".1f"),
           ("share_of_dgemm", "of dgemm", ".0%"), ("megabytes", "peak MB", ".0f")]


def measure(options, screen):
    """One table per sweep."""
    for name in options.sweeps:
        parameter, values = SWEEPS[name]
        with tempfile.TemporaryDirectory() as folder:
            if name == "atoms":
                path = silicon_fit(options, screen, 10, 12)
                points = {n: (path, {"n_atoms": n}) for n in values}
                notes = ["n_max 10, l_max 12, 1000 sparse points; " + describe_fit(options)]
            else:
                points = {value: synthetic(parameter, value, folder, screen) for value in values}
                notes = ["otherwise: n_max 8, l_max 6, cutoff 5 A, 1000 sparse points per species, one species, "
                         f"{N_ATOMS} atoms; synthetic models (random weights, sparse points from rattled crystals), reduced"]
            rows = one_sweep(name, parameter, points, options, screen)
        if name == "atoms":
            notes += size_notes(rows)
        yield Table(name, f"sweep: {name}; evaluator alone, one core, medians of {options.pairs} interleaved rounds",
                    [(parameter, name, "g"), *COLUMNS], rows, notes)


def synthetic(parameter, value, folder, screen):
    """A model file and the structure that goes with it."""
    screen.progress(f"making the model with {parameter} {value}")
    path = Path(folder, f"{value}.safetensors")
    synthetic_model(**{parameter: value}).save(path)
    n_species = value if parameter == "n_species" else 1
    return path, {"n_atoms": N_ATOMS, "species": list(ELEMENTS[:n_species])}


def one_sweep(name, parameter, points, options, screen) -> list[dict]:
    """All points interleaved with one another, each in a process of its own."""
    from soapgap.model import Model

    specs = {value: {"program": "evaluator", "model": path, "structure": spec} for value, (path, spec) in points.items()}
    with workers(specs | {"dgemm": {"program": "dgemm", "n": DGEMM_SIZE}}) as programs:
        times = interleaved({value: program.seconds for value, program in programs.items()}, options.pairs,
                            lambda text: screen.progress(f"{name}: {text}"))
        memory = {value: programs[value].peak_bytes() for value in points}
    rates, rows = dgemm_rate(times.pop("dgemm")), []
    for value, (path, spec) in points.items():
        model, atoms = Model.load(path), structure(spec, 0)
        per_atom = np.array(times[value]) / len(atoms)
        gflops = 1e-9 * kernel_flops(model, atoms, reduced=True) / per_atom
        rows.append({
            parameter: len(atoms) if parameter == "n_atoms" else value, "n_atoms": len(atoms),
            "us_per_atom": 1e6 * median(per_atom), "low": 1e6 * per_atom.min(), "high": 1e6 * per_atom.max(),
            "n_features": model.terms[0].n_features, "kept_features": kept_features(model.terms[0]),
            "neighbours": mean_neighbours(atoms, model.terms[0].cutoff),
            "kernel_gflops": median(gflops), "share_of_dgemm": median(gflops / rates), "dgemm_gflops": median(rates),
            "megabytes": memory[value] / 1e6, "bytes": memory[value], "seconds": times[value]})
    return rows


def kept_features(term) -> int:
    """Features that the kernel sees."""
    return term.n_features if term.reduced is None else len(term.reduced.features)


def size_notes(rows) -> list[str]:
    """Flatness of the cost and slope of the memory."""
    large = [row for row in rows if row["n_atoms"] >= FLAT_FROM]
    # ratios within a round, as everywhere: the machine's speed drifts
    seconds = np.array([np.array(row["seconds"]) / row["n_atoms"] for row in large])
    relative = np.median(seconds / seconds[0], axis=1)
    slope, base = np.polyfit([row["n_atoms"] for row in large], [row["bytes"] for row in large], 1)
    largest = max(abs(slope * row["n_atoms"] + base - row["bytes"]) for row in large)
    first, last = large[0]["n_atoms"], large[-1]["n_atoms"]
    low, high = (100 * (extreme - 1) for extreme in (relative.min(), relative.max()))
    return [f"cost per atom from {first} to {last} atoms: {low:+.1f} to {high:+.1f} % from that of {first} (medians of ratios "
            "within a round)",
            f"peak memory of the process: {base / 1e6:.0f} MB + {slope:.0f} bytes per atom (neighbour list and all gradients "
            f"held at once; largest deviation from the line {largest / 1e6:.1f} MB)"]


def plot(figure, tables):
    """One panel per sweep."""
    columns = min(3, len(tables))
    panels = figure.subplots(-(-len(tables) // columns), columns, squeeze=False).ravel()
    for axes in panels[len(tables):]:
        axes.set_axis_off()
    for axes, table in zip(panels, tables):
        key = table.columns[0][0]
        values = [row[key] for row in table.rows]
        axes.plot(values, [row["us_per_atom"] for row in table.rows], "C0o-")
        axes.set(xlabel=table.name, ylabel="us / atom")
        if table.name == "sparse":
            axes.set_yscale("log")
        else:
            axes.set_ylim(0, None)
        if table.name in ("atoms", "sparse"):
            axes.set_xscale("log")
        if table.name == "atoms":
            twin = axes.twinx()
            twin.plot(values, [row["megabytes"] for row in table.rows], "C1s:")
            twin.set_ylabel("peak MB", color="C1")
