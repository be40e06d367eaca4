"""Energy conservation in LAMMPS: `soapgap` beside native Stillinger-Weber, solid and liquid silicon.

    python validation/nve.py [--model MODEL] [--ps 10] [--ranks 2] [--json nve.json]

512 atoms, solid at 300 K and liquid at 2500 K. Each potential is equilibrated for itself; then every time step (0.5, 1,
2 fs) starts from the same state and covers the same time at constant energy. The total energy is sampled at the same
times. Its fluctuation is the standard deviation about a straight line, and must grow as dt^2 (velocity Verlet
conserves a neighbouring Hamiltonian, H + dt^2 H_2 + ...: E. Hairer, C. Lubich and G. Wanner, Acta Numerica 12, 399
(2003)); the slope of the line is the drift, with a standard error that allows for correlation.

The status is 1 if an exponent is outside 1.9-2.1, or if soapgap's drift exceeds twice the native one by more than two
standard errors.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from soapgap import programs
from soapgap.files import write_atomically
from soapgap.physics.series import linear_drift, power_law_exponent
from soapgap.physics.stillinger_weber import PARAMETERS
from soapgap.programs import count_lines

N_CELLS = 4  # 8 N^3 = 512 atoms
N_ATOMS = 8 * N_CELLS**3
TIME_STEPS = (0.0005, 0.001, 0.002)  # ps
SAMPLE = 0.002  # ps between samples
PHASES = {
    # lattice constant in A (the melt is denser), temperature in K, highest temperature on the way
    "solid": (5.431, 300.0, 300.0),
    "liquid": (5.32, 2500.0, 4000.0),
}
EXPONENTS = (1.9, 2.1)

PREPARE = """\
units           metal
atom_modify     map yes
lattice         diamond {lattice}
region          box block 0 {n} 0 {n} 0 {n}
create_box      1 box
create_atoms    1 box
mass            1 28.085
pair_style      sw
pair_coeff      * * "{sw}" Si
neighbor        1.0 bin
neigh_modify    every 1 delay 0 check yes
timestep        0.001
velocity        all create {twice} 2026 mom yes rot no dist gaussian
fix             integrate all nve
fix             bath all langevin {hot} {hot} 0.1 1985
run             {melting}
unfix           bath
fix             bath all langevin {temperature} {temperature} 0.1 1986
run             4000
pair_style      {style}
pair_coeff      * * "{file}" Si
run             2000
velocity        all zero linear
write_data      start.data
"""

RUN = """\
units           metal
atom_modify     map yes
read_data       start.data
pair_style      {style}
pair_coeff      * * "{file}" Si
neighbor        1.0 bin
neigh_modify    every 1 delay 0 check yes
timestep        {dt}
fix             integrate all nve
thermo          1000
variable        ps equal time
variable        temperature equal temp
variable        energy equal etotal
fix             series all print {every} "$(v_ps:%.7f) $(v_temperature:%.5f) $(v_energy:%.12f)" file energy.txt screen no
run             {steps}
"""


def lammps(folder, text, name, ranks, progress):
    """Run one input; a moving count of samples on standard error if that is a terminal."""
    write_atomically(folder / name, text)

    def tick():
        if sys.stderr.isatty():
            print(f"\r{progress} {count_lines(folder / 'energy.txt') * SAMPLE:8.2f} ps", end="", file=sys.stderr)

    command = ["mpiexec", "-n", ranks, "lmp", "-in", name, "-log", "none"]
    programs.run(command, folder, f"{name}.out", 7200, tick)


def measure(phase, potential, style, file, options, folder):
    """Equilibrate, then one run per time step: a list of results."""
    lattice, temperature, hot = PHASES[phase]
    values = dict(
        lattice=lattice, n=N_CELLS, sw=PARAMETERS, temperature=temperature, hot=hot,
        twice=2 * hot, melting=0 if hot == temperature else 10000, style=style, file=file,
    )  # fmt: skip
    label = f"{phase:7s}{potential:8s}"
    lammps(folder, PREPARE.format(**values), "in.prepare", options.ranks, f"{label} equilibration")
    results = []
    for dt in TIME_STEPS:
        (folder / "energy.txt").unlink(missing_ok=True)
        text = RUN.format(style=style, file=file, dt=dt, every=round(SAMPLE / dt), steps=round(options.ps / dt))
        lammps(folder, text, "in.run", options.ranks, f"{label} dt {1000 * dt:3.1f} fs")
        time, kelvin, energy = np.loadtxt(folder / "energy.txt").T
        line = linear_drift(time, energy * 1000 / N_ATOMS)  # meV/atom and ps
        results.append(
            {
                "phase": phase,
                "potential": potential,
                "dt_fs": 1000 * dt,
                "mean_temperature_K": float(kelvin.mean()),
                "fluctuation_meV_per_atom": line.fluctuation,
                "drift_meV_per_atom_per_ns": 1000 * line.slope,
                "drift_standard_error": 1000 * line.standard_error,
            }
        )
        print_row(results[-1])
    return results


def print_row(r):
    """One line of the table."""
    print(
        f"{r['phase']:8s}{r['potential']:10s}{r['dt_fs']:6.1f}{r['mean_temperature_K']:9.0f}"
        f"{r['fluctuation_meV_per_atom']:16.5f}{r['drift_meV_per_atom_per_ns']:+16.3f} +- "
        f"{r['drift_standard_error']:.3f}",
        flush=True,
    )


def judge(results):
    """Exponents, and drift against the native potential: lists of dicts with ``passed``."""
    verdicts = []
    for phase in PHASES:
        for potential in ("sw", "soapgap"):
            rows = [r for r in results if r["phase"] == phase and r["potential"] == potential]
            exponent = power_law_exponent(
                [r["dt_fs"] for r in rows], [r["fluctuation_meV_per_atom"] for r in rows]
            )
            passed = EXPONENTS[0] <= exponent <= EXPONENTS[1]
            verdicts.append({"what": f"exponent, {phase}, {potential}", "value": exponent, "passed": passed})
        for dt in TIME_STEPS:
            native, ours = (
                next(r for r in results if (r["phase"], r["potential"], r["dt_fs"]) == (phase, name, 1000 * dt))
                for name in ("sw", "soapgap")
            )
            verdicts.append(compare_drift(phase, native, ours))
    return verdicts


def compare_drift(phase, native, ours):
    """|drift| - 2 |native drift| must not be positive beyond two of its standard errors."""
    key, error = "drift_meV_per_atom_per_ns", "drift_standard_error"
    excess = abs(ours[key]) - 2 * abs(native[key])
    uncertainty = float(np.hypot(ours[error], 2 * native[error]))
    return {
        "what": f"|drift| - 2 |native|, {phase}, {ours['dt_fs']:.1f} fs, meV/atom/ns",
        "value": excess,
        "standard_error": uncertainty,
        "passed": bool(excess <= 2 * uncertainty),
    }


def main(arguments=None):
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    example = Path(__file__).resolve().parent.parent / "examples" / "models" / "si.safetensors"
    parser.add_argument("--model", type=Path, default=example, help="silicon model (default: the example's)")
    parser.add_argument("--ps", type=float, default=10.0, help="length of each run")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write everything to this file")
    options = parser.parse_args(arguments)
    potentials = {
        "sw": ("sw", PARAMETERS),
        "soapgap": ("soapgap", options.model.resolve()),
    }
    print(f"{N_ATOMS} atoms, {options.ps:g} ps each, {options.ranks} ranks")
    print(f"{'phase':8s}{'potential':10s}{'dt/fs':>6s}{'T/K':>9s}{'fluct. meV/atom':>16s}{'drift meV/atom/ns':>20s}")
    results = []
    with tempfile.TemporaryDirectory(prefix="soapgap-nve-") as folder:
        for phase in PHASES:
            for potential, (style, file) in potentials.items():
                results += measure(phase, potential, style, file, options, Path(folder))
    verdicts = judge(results)
    for verdict in verdicts:
        error = f" +- {verdict['standard_error']:.3f}" if "standard_error" in verdict else ""
        print(f"{'ok    ' if verdict['passed'] else 'FAILED'} {verdict['what']}: {verdict['value']:.3f}{error}")
    if options.json:
        content = {"atoms": N_ATOMS, "ps": options.ps, "ranks": options.ranks, "runs": results, "verdicts": verdicts}
        write_atomically(options.json, json.dumps(content, indent=1) + "\n")
    return 0 if all(verdict["passed"] for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
