"""`pair_style soapgap` in LAMMPS beside SNAP, POD and Stillinger-Weber, and on one and two ranks."""

import math
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
from common import Table, installed, interleaved, launch, median, pairwise
from systems import CUTOFF, describe_fit, mean_neighbours, silicon_fit, structure

from soapgap.errors import HostError
from soapgap.physics.stillinger_weber import PARAMETERS
from soapgap.programs import find_program

N_CELLS = 8  # 8 N^3 = 4096 atoms
N_ATOMS = 8 * N_CELLS**3
SKIN = 1.0
SECONDS = 1.5  # of one measured run
REFERENCE = "soapgap 8, 6"
RANK_PROGRAMS = (REFERENCE, "SNAP 8")

INPUT = """\
units           metal
atom_modify     map yes
lattice         diamond 5.431
region          box block 0 {n} 0 {n} 0 {n}
create_box      1 box
create_atoms    1 box
mass            1 28.0855
{style}
neighbor        {skin} bin
neigh_modify    every 1 delay 0 check yes
velocity        all create 600 4928459
timestep        0.001
fix             1 all nve
thermo          1000000
run             {steps}
"""

# Two, three and four-body descriptors, 1 + 6 + 45 + 77 = 129 coefficients. Other partitions of 129 take 1.3 to 1.7
# times as long: this is the hardest to beat.
POD = {"species": "Si", "pbc": "1 1 1", "rin": "0.9", "rcut": f"{CUTOFF}", "bessel_polynomial_degree": "4",
       "inverse_polynomial_degree": "8", "onebody": "1", "twobody_number_radial_basis_functions": "6",
       "threebody_number_radial_basis_functions": "9", "threebody_angular_degree": "4",
       "fourbody_number_radial_basis_functions": "7", "fourbody_angular_degree": "4"}
POD_COEFFICIENTS = 129
SNAP_COEFFICIENTS = {6: 30, 8: 55}

SECTION = re.compile(r"^(Pair|Neigh|Comm)\s*\|\s*\S+\s*\|\s*(\S+)\s*\|", re.MULTILINE)  # the average over ranks
COLUMNS = [("program", "program", ""), ("pair_us", "Pair us/atom/step", ".2f"), ("ratio", "over " + REFERENCE, ".2f"),
           ("ratio_low", "lowest", ".2f"), ("ratio_high", "highest", ".2f"), ("step_us", "loop us/atom/step", ".2f"),
           ("neigh_us", "Neigh", ".2f"), ("comm_us", "Comm", ".2f"), ("megabytes", "MB", ".0f")]
RANK_COLUMNS = [("program", "program", ""), ("one_us", "1 rank us/atom/step", ".2f"), ("two_us", "2 ranks", ".2f"),
                ("ratio", "speed-up", ".3f"), ("ratio_low", "lowest", ".3f"), ("ratio_high", "highest", ".3f"),
                ("pair_ratio", "of Pair", ".3f"), ("ghosts_one", "ghosts, 1", ".0f"), ("ghosts_two", "ghosts, 2", ".0f")]


def write_rivals(folder: Path, rng) -> dict:
    """Files of SNAP and POD, and the input lines of every rival.

    The coefficients are tiny random numbers: speed does not depend on them, and the atoms of a run of some femtoseconds
    stay where atoms at 600 K are.
    """
    styles = {}
    for twojmax, n in SNAP_COEFFICIENTS.items():
        values = "\n".join(f"{value:.8e}" for value in 1e-8 * rng.normal(size=n + 1))
        Path(folder, f"snap{twojmax}.snapcoeff").write_text(f"1 {n + 1}\nSi 0.5 1.0\n{values}\n")
        # the cutoff is rcutfac times the sum of two radii, 0.5 each
        Path(folder, f"snap{twojmax}.snapparam").write_text(
            f"rcutfac {CUTOFF}\ntwojmax {twojmax}\nrfac0 0.99363\nrmin0 0\nbzeroflag 0\nquadraticflag 0\n")
        styles[f"SNAP {twojmax}"] = ("pair_style snap\n"
                                     f"pair_coeff * * snap{twojmax}.snapcoeff snap{twojmax}.snapparam Si")
    Path(folder, "pod.param").write_text("".join(f"{key} {value}\n" for key, value in POD.items()))
    Path(folder, "pod.coeff").write_text(f"model_coefficients: {POD_COEFFICIENTS} 0 0\n" + "".join(
        f"{value:.8e}\n" for value in 1e-8 * rng.normal(size=POD_COEFFICIENTS)))
    styles[f"POD {POD_COEFFICIENTS}"] = "pair_style pod\npair_coeff * * pod.param pod.coeff Si"
    styles["SW"] = f'pair_style sw\npair_coeff * * "{PARAMETERS}" Si'
    return styles


def read_log(text: str, n_atoms: int) -> dict:
    """Seconds per step of the loop and its sections, ghosts per rank, from a LAMMPS log."""
    loop = re.search(r"^Loop time of (\S+) on \d+ procs for (\d+) steps with (\d+) atoms", text, re.MULTILINE)
    if loop is None or int(loop[3]) != n_atoms:
        raise RuntimeError("no loop time in LAMMPS's log, or another number of atoms: " + text[-500:])
    sections = {name.lower(): float(value) / int(loop[2]) for name, value in SECTION.findall(text)}
    return {"loop": float(loop[1]) / int(loop[2]), **sections,
            "ghosts": float(re.search(r"^Nghost:\s+(\S+)", text, re.MULTILINE)[1]),
            "neighbours_in_list": float(re.search(r"Ave neighs/atom = (\S+)", text)[1])}


class Runner:
    """Runs of one pair style, as many steps as take `SECONDS` (a first short run tells)."""

    def __init__(self, style: str, folder: Path, ranks: int = 1, n_cells: int = N_CELLS):
        self.style, self.folder, self.ranks, self.n_cells, self.steps = style, folder, ranks, n_cells, None

    def __call__(self) -> dict:
        steps = self.steps or 3
        Path(self.folder, "in.run").write_text(INPUT.format(n=self.n_cells, style=self.style, skin=SKIN, steps=steps))
        command = [find_program("lmp"), "-in", "in.run", "-log", "log.lammps", "-screen", "none"]
        if self.ranks > 1:
            command = [find_program("mpiexec"), "-n", self.ranks, *command]
        usage = launch(command, self.folder)
        result = read_log(Path(self.folder, "log.lammps").read_text(), 8 * self.n_cells**3) | {"bytes": usage["bytes"]}
        self.steps = self.steps or max(3, math.ceil(SECONDS / result["loop"]))
        return result


def lammps_is_there(screen) -> bool:
    """Whether LAMMPS and mpiexec can be run; one line if not."""
    if not installed("lammps", screen, "LAMMPS"):
        return False
    try:
        find_program("lmp"), find_program("mpiexec")
    except HostError as error:
        screen.line(f"lammps: {error}: skipped")
        return False
    return True


def measure(options, screen):
    """First all pair styles on one rank, then one rank against two."""
    if not lammps_is_there(screen):
        return
    with tempfile.TemporaryDirectory() as place:
        folder, styles = Path(place), {}
        for n_max, l_max in ((8, 6), (8, 8), (10, 12)):
            name = f"model_{n_max}_{l_max}.safetensors"
            shutil.copy(silicon_fit(options, screen, n_max, l_max), folder / name)
            styles[f"soapgap {n_max}, {l_max}"] = f"pair_style soapgap\npair_coeff * * {name} Si"
        styles |= write_rivals(folder, np.random.default_rng(0))
        yield one_rank(styles, folder, options, screen)
        yield two_ranks({name: styles[name] for name in RANK_PROGRAMS}, folder, options, screen)


def usable(styles, folder, screen) -> dict:
    """The runners of the styles that this LAMMPS has; one line for each that it has not."""
    runners = {}
    for name, style in styles.items():
        runner = Runner(style, folder)
        try:
            runner()
        except RuntimeError as error:
            screen.line(f"{name} does not run in this LAMMPS: skipped ({str(error).strip().splitlines()[-1]})")
        else:
            runners[name] = runner
    return runners


def one_rank(styles, folder, options, screen) -> Table:
    """Cost of every pair style, LAMMPS's own clock."""
    runners = usable(styles, folder, screen)
    runs = interleaved(runners, options.pairs, lambda text: screen.progress(f"lammps: {text}"))
    rows = []
    for name, results in runs.items():
        def us(key, results=results):
            return 1e6 * median([result[key] for result in results]) / N_ATOMS
        row = {"program": name, "pair_us": us("pair"), "step_us": us("loop"), "neigh_us": us("neigh"), "comm_us": us("comm"),
               "megabytes": max(result["bytes"] for result in results) / 1e6, "steps": runners[name].steps,
               "neighbours_in_list": results[0]["neighbours_in_list"], "seconds": [result["pair"] for result in results]}
        if REFERENCE in runs:
            row |= pairwise([r["pair"] for r in results], [r["pair"] for r in runs[REFERENCE]])
        rows.append(row)
    crystal = structure({"n_atoms": 512, "rattle": 0.0}, 0)
    notes = [f"{N_ATOMS} atoms, diamond Si at 600 K, NVE, skin {SKIN:g} A for all, newton on; every cutoff is {CUTOFF:g} A "
             f"({mean_neighbours(crystal, CUTOFF):.0f} neighbours), that of SW its own 3.77 A",
             "1000 sparse points; " + describe_fit(options),
             "SNAP and POD: coefficients are tiny random numbers; MB: the largest process (lmp has a Python wrapper)"]
    return Table("lammps", f"LAMMPS, one rank, medians of {options.pairs} interleaved rounds", COLUMNS, rows, notes)


def two_ranks(styles, folder, options, screen) -> Table:
    """Speed-up of two ranks; that of SNAP, which hardly communicates for its cost, is what the machine allows."""
    runners = {}
    for name, runner in usable(styles, folder, screen).items():
        runners[name, 1], runners[name, 2] = runner, Runner(runner.style, folder, ranks=2)
    runs = interleaved(runners, options.pairs, lambda text: screen.progress(f"ranks: {text}"))
    rows = []
    for name in dict.fromkeys(name for name, _ in runners):
        one, two = runs[name, 1], runs[name, 2]
        row = {"program": name, **pairwise([r["loop"] for r in one], [r["loop"] for r in two]),
               "pair_ratio": pairwise([r["pair"] for r in one], [r["pair"] for r in two])["ratio"]}
        for label, results in (("one", one), ("two", two)):
            row[f"ghosts_{label}"] = results[0]["ghosts"]
            for key, unit in (("loop", "us"), ("pair", "pair_us"), ("neigh", "neigh_us"), ("comm", "comm_us")):
                row[f"{label}_{unit}"] = 1e6 * median([result[key] for result in results]) / N_ATOMS
        rows.append(row)
    notes = [f"{N_ATOMS} atoms; loop time, neighbour lists and communication included; SNAP's speed-up is the machine's own; "
             "both cores must be idle"]
    return Table("ranks", f"LAMMPS, one rank against two, medians of {options.pairs} interleaved rounds", RANK_COLUMNS, rows,
                 notes)


def plot(figure, tables):
    """Pair times, and speed-ups."""
    axes = figure.subplots(1, len(tables), squeeze=False, width_ratios=[3, 1][: len(tables)])[0]
    rows = tables[0].rows
    bars = axes[0].barh([row["program"] for row in rows], [row["pair_us"] for row in rows],
                        color=["C0" if row["program"].startswith("soapgap") else "C2" for row in rows])
    axes[0].bar_label(bars, [f" {row['pair_us']:.1f}" for row in rows], fontsize=8)
    axes[0].set(xscale="log", xlabel="Pair, us / atom / step", title="LAMMPS, one rank")
    axes[0].invert_yaxis()
    if len(tables) > 1:
        rows = tables[1].rows
        axes[1].bar([row["program"] for row in rows], [row["ratio"] for row in rows], color=["C0", "C2"])
        axes[1].set(ylim=(1, max(2.05, *(1.02 * row["ratio"] for row in rows))), ylabel="speed-up", title="two ranks")
        axes[1].tick_params(axis="x", rotation=20)
