"""soapgap in ASE beside QUIP and featomic: one core, the same models, structures and quantities."""

import tempfile

import numpy as np
from common import DGEMM_SIZE, Table, dgemm_rate, installed, interleaved, median, pairwise, workers
from systems import (
    CUTOFF,
    describe_fit,
    ethanol_box,
    ethanol_fit,
    kernel_flops,
    mean_neighbours,
    silicon_fit,
    structure,
    unreduced,
)

from soapgap.model import Model

N_ATOMS = 216
AGREEMENT = 1e-7  # of the largest force: rounding, with weights of the kernel that cancel one another, and some margin
COLUMNS = [
    ("case", "case", ""), ("n_atoms", "atoms", "d"), ("neighbours", "neighb.", ".0f"), ("soapgap_us", "soapgap", ".1f"),
    ("exact_us", "exact", ".1f"), ("quip_us", "QUIP", ".0f"), ("quip_ratio", "ratio", ".1f"),
    ("quip_ratio_low", "lowest", ".1f"), ("quip_ratio_high", "highest", ".1f"),
    ("featomic_us", "featomic", ".0f"), ("featomic_ratio", "ratio", ".1f"),
]
DETAILS = [
    ("case", "case", ""), ("dgemm_gflops", "dgemm GFLOP/s", ".1f"), ("plain_gflops", "plain GFLOP/s", ".1f"),
    ("plain_share", "of dgemm", ".0%"), ("done_gflops", "done GFLOP/s", ".1f"), ("done_share", "of dgemm", ".0%"),
    ("floor_us", "floor us/atom", ".1f"), ("soapgap_mb", "soapgap MB", ".0f"), ("quip_mb", "QUIP MB", ".0f"),
    ("featomic_mb", "featomic MB", ".0f"), ("largest_force", "largest F", ".2f"), ("force_difference", "QUIP dF", ".0e"),
    ("reduction_difference", "exact dF", ".0e"),
]
CASES = [  # name, n_max, l_max, n_sparse, zeta
    ("10, 12", 10, 12, 1000, 4), ("8, 8", 8, 8, 1000, 4), ("8, 8 zeta 2", 8, 8, 1000, 2), ("8, 6", 8, 6, 1000, 4),
]


def measure(options, screen):
    """The table, case by case."""
    rows = []
    cases = CASES + ([("10, 12, 9000 points", 10, 12, 9000, 4)] if options.large else [])
    have = {"quip": installed("quippy", screen, "QUIP (quippy-ase)"), "featomic": installed("featomic", screen, "featomic")}
    for name, n_max, l_max, n_sparse, zeta in cases:
        path = silicon_fit(options, screen, n_max, l_max, n_sparse, zeta)
        rows.append(one_case(name, path, {"n_atoms": N_ATOMS, "rattle": 0.1}, have, options, screen))
    if options.ethanol:
        path = ethanol_fit(options, screen)
        box = ethanol_box(options.ethanol, options.output)
        rows.append(one_case("H, C, O 8, 6", path, {"file": str(box), "rattle": 0.02}, have, options, screen))
    else:
        screen.line("H, C, O: no --ethanol FILE (rMD17, extended XYZ): skipped")
    notes = [
        "energy, forces and virial of structures never seen before, new neighbour list included; exact: soapgap without "
        "reduction of its kernels",
        "featomic: SOAP and gradients only, other radial functions (GTO); ratio: median of the rounds' ratios to soapgap",
        describe_fit(options),
    ]
    notes += [f"{row['case']}: the forces of soapgap and QUIP differ by more than {AGREEMENT:g} of the largest "
              f"({row['largest_force']:.2f} eV/A): they do not compute the same, so there is no ratio"
              for row in rows if row.get("disagrees")]
    yield Table("ase", f"ASE, us/atom, one core, medians of {options.pairs} interleaved rounds", COLUMNS, rows, notes)
    details = [
        "plain: 4 x features x sparse points, the two products of an evaluation without reduction, over soapgap's whole time "
        "(above 100 %: work was saved); done: what the reduced kernel does",
        f"dgemm: {DGEMM_SIZE} x {DGEMM_SIZE}, the same core in the same rounds; floor: the plain products at that rate",
        "MB: peak of the whole process; dF: largest difference of a force of soapgap from QUIP's, from exact's (eV/A)"]
    yield Table("ase_details", "the same: arithmetic, memory, agreement", DETAILS, [dict(row) for row in rows], details)


def one_case(name, path, spec, have, options, screen) -> dict:
    """One row: every program in a process of its own, interleaved; the results of QUIP are compared with ours."""
    from quip_oracle import write_quip_model

    model, atoms = Model.load(path), structure(spec, 0)
    term = model.terms[0]
    row = {"case": name, "n_atoms": len(atoms), "n_max": term.n_max, "l_max": term.l_max, "zeta": term.zeta,
           "n_sparse": [len(t.sparse_points) for t in model.terms], "n_features": term.n_features,
           "neighbours": mean_neighbours(atoms, CUTOFF), "plain_flops": kernel_flops(model, atoms),
           "done_flops": kernel_flops(model, atoms, reduced=True)}
    with tempfile.TemporaryDirectory() as folder:
        specs = {"soapgap": {"program": "soapgap", "model": path, "structure": spec},
                 "exact": {"program": "soapgap", "model": unreduced(path), "structure": spec},
                 "dgemm": {"program": "dgemm", "n": DGEMM_SIZE}}
        if have["quip"]:
            specs["quip"] = {"program": "quip", "xml": write_quip_model(model, folder), "structure": spec}
        if have["featomic"]:
            specs["featomic"] = {"program": "featomic", "n_max": term.n_max, "l_max": term.l_max, "cutoff": CUTOFF,
                                 "structure": spec}
        with workers(specs) as programs:
            times = interleaved({k: w.seconds for k, w in programs.items()}, options.pairs,
                                lambda text: screen.progress(f"{name}: {text}"))
            row |= results(times, programs, row)
    return row


def results(times, programs, row) -> dict:
    """What the measured times, memories and forces say."""
    rates, ours = dgemm_rate(times["dgemm"]), np.array(times["soapgap"]) / row["n_atoms"]
    out = {"dgemm_gflops": median(rates), "floor_us": 1e-3 * row["plain_flops"] / median(rates), "seconds": times}
    for kind in ("plain", "done"):
        gflops = 1e-9 * row[f"{kind}_flops"] / ours
        out |= {f"{kind}_gflops": median(gflops), f"{kind}_share": median(gflops / rates)}
    for name in ("soapgap", "exact", "quip", "featomic"):
        if name in programs:
            out[f"{name}_us"] = 1e6 * median(times[name]) / row["n_atoms"]
            out[f"{name}_mb"] = programs[name].peak_bytes() / 1e6
    for name in ("quip", "featomic"):
        if name in programs:
            out |= {f"{name}_{key}": value for key, value in pairwise(times[name], times["soapgap"]).items()}
    forces = programs["soapgap"].forces()
    out["reduction_difference"] = float(np.abs(forces - programs["exact"].forces()).max())
    out["largest_force"] = float(np.abs(forces).max())
    if "quip" in programs:
        out["force_difference"] = float(np.abs(forces - programs["quip"].forces()).max())
        if not out["force_difference"] <= AGREEMENT * out["largest_force"]:
            out |= {"disagrees": True, "quip_ratio": None, "quip_ratio_low": None, "quip_ratio_high": None}
    return out


def plot(figure, tables):
    """Cost per atom of each program, logarithmic."""
    rows, axes = tables[0].rows, figure.subplots()
    for k, name in enumerate(("soapgap", "featomic", "quip")):
        values = [row.get(f"{name}_us", np.nan) for row in rows]
        bars = axes.bar(np.arange(len(rows)) + 0.27 * (k - 1), values, 0.26, label=name)
        if name != "soapgap":
            ratios = [f"{row[f'{name}_ratio']:.0f}x" if row.get(f"{name}_ratio") else "" for row in rows]
            axes.bar_label(bars, ratios, fontsize=8)
    axes.set_xticks(np.arange(len(rows)), [row["case"] for row in rows])
    axes.set(yscale="log", ylabel="us / atom", title="energy, forces, virial in ASE (featomic: SOAP and gradients)")
    axes.legend()
