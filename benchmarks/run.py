"""Speed and memory of soapgap beside other programs, measured in one run on one machine.

    python benchmarks/run.py [TABLE ...] [--mlearn FOLDER] [--ethanol FILE] [--pairs N] [--output FOLDER]

Prints each table when it is measured and writes OUTPUT/TABLE.json and OUTPUT/TABLE.png. benchmarks/README.md says what
each table measures and how to read it.
"""

import argparse
import os
import sys
import time
from pathlib import Path

# before numpy is imported; children get theirs from common.one_core_environment
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import table_ase
import table_fit
import table_lammps
import table_outputs
import table_profile
import table_quip
import table_scaling
import table_sweeps
import table_threads
from common import Screen, machine, save

TABLES = {"ase": table_ase, "lammps": table_lammps, "scaling": table_scaling, "threads": table_threads, "sweeps": table_sweeps,
          "profile": table_profile, "outputs": table_outputs, "fit": table_fit, "quip": table_quip}


def command_line():
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"{', '.join(TABLES)} or all (default)")
    parser.add_argument("--mlearn", type=Path, help="folder with Si_train.xyz and Si_test.xyz of mlearn")
    parser.add_argument("--ethanol", type=Path, help="rMD17 ethanol as extended XYZ, for the case H, C, O")
    parser.add_argument("--pairs", type=int, default=5, help="interleaved rounds (fewer than 5 only to try things)")
    parser.add_argument("--output", type=Path, default=Path("benchmark-results"), help="folder of results and fitted models")
    parser.add_argument("--large", action="store_true", help="ase: also 9000 sparse points (a long fit)")
    parser.add_argument("--fit-every", type=int, default=10, help="fit: every so manieth training frame")
    parser.add_argument("--full-fit", action="store_true", help="fit: once more with all frames (ten minutes, 4 GB)")
    parser.add_argument("--sweeps", nargs="+", default=list(table_sweeps.SWEEPS), choices=list(table_sweeps.SWEEPS),
                        help="sweeps: only these")
    options = parser.parse_args()
    if options.pairs < 1 or options.fit_every < 1:
        parser.error("--pairs and --fit-every: expected 1 or more")
    unknown = set(options.tables) - {*TABLES, "all"}
    if unknown:
        parser.error(f"no table {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}, all")
    if not options.tables or "all" in options.tables:
        options.tables = list(TABLES)
    return options


def draw(module, tables, path):
    """The table's plot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    module.plot(figure, tables)
    figure.savefig(path, dpi=120)


def main():
    """Table by table; what is finished is on disk. Status 1 if programs that should agree do not."""
    options, screen, disagreements = command_line(), Screen(), 0
    options.output.mkdir(parents=True, exist_ok=True)
    options.output = options.output.resolve()
    about = machine()
    screen.line(f"{about['cpu']}, {about['cores']} cores, {' '.join(about['flags'])}; "
                f"load average {about['load_average_at_start']:.2f}")
    if options.pairs < 5:
        screen.line("fewer than five interleaved rounds: a trial, not a measurement")
    for name in options.tables:
        start, tables = time.perf_counter(), []
        for table in TABLES[name].measure(options, screen):
            screen.table(table)
            tables.append(table)
            disagreements += any(row.get("disagrees") for row in table.rows)
        if not tables:
            continue
        settings = {"pairs": options.pairs, "mlearn": bool(options.mlearn), "ethanol": bool(options.ethanol),
                    "seconds": time.perf_counter() - start}
        save(options.output / f"{name}.json", tables, settings)
        draw(TABLES[name], tables, options.output / f"{name}.png")
        screen.line(f"{name}: {settings['seconds']:.0f} s, written to {name}.json and {name}.png\n")
    return 1 if disagreements else 0


if __name__ == "__main__":
    sys.exit(main())
