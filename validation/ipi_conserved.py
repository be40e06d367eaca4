"""The conserved quantity of i-PI with soapgap as its driver, at constant energy and at constant pressure.

    python validation/ipi_conserved.py [--npt] [--model MODEL] [--ps 20] [--beads N] [--json ipi_conserved.json]

Without --npt: ring-polymer molecular dynamics of 64 silicon atoms, 8 beads, 300 K (no thermostat, whose own random walk
of the conserved quantity would hide the driver's part) with time steps of 0.5 and 1 fs.

With --npt: 54 silicon atoms in a rhombohedral cell (all angles 60 degrees) at 300 K and 1 GPa, one bead unless --beads
says otherwise, under i-PI's isotropic and flexible barostats, without thermostats. The flexible barostat of i-PI 3.3
leaves out a part of the kinetic stress, so its conserved quantity is not one: its rows are printed and not judged. The
rows "completed" put that part into i-PI when it is loaded.

A straight line through the conserved quantity: slope x length must stay below a tenth of the fluctuation about it
(status 1 otherwise), and how far apart the means of six parts of the run lie tells wandering from drift; and the
fluctuation must fall with the square of the time step (with an exponent of 1.8 to 2.2).
"""

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.io import write
from ipi_completed import COMPLETED

from soapgap import programs
from soapgap.files import write_atomically
from soapgap.physics.series import linear_drift, power_law_exponent

SAMPLE = 0.004  # ps
SETTLE = 0.5  # ps, not looked at: the beads start on one another
TIME_STEPS = (0.5, 1.0)  # fs
TIME_LIMIT = 7200.0  # s, of one run

INPUT = """\
<simulation verbosity="low" safe_stride="1000000">
  <output prefix="run">
    <properties stride="{stride}" filename="out">[ time{{picosecond}}, conserved{{electronvolt}} ]</properties>
  </output>
  <total_steps>{steps}</total_steps>
  <prng><seed>2026</seed></prng>
  <ffsocket name="soapgap" mode="unix" pbc="false"><address>conserved</address></ffsocket>
  <system>
    <initialize nbeads="{beads}">
      <file mode="ase">start.xyz</file>
      <velocities mode="thermal" units="kelvin">300</velocities>
    </initialize>
    <forces><force forcefield="soapgap"/></forces>
    <motion mode="dynamics">
      <dynamics mode="{mode}"><timestep units="femtosecond">{dt}</timestep>{barostat}</dynamics>
    </motion>
    <ensemble><temperature units="kelvin">300</temperature>{pressure}</ensemble>
  </system>
</simulation>
"""


@dataclass(frozen=True)
class Ensemble:
    """One ensemble of i-PI: `barostat` None for constant energy; `judged` whether its numbers decide the exit status."""

    name: str
    barostat: str | None = None
    completed: bool = False
    judged: bool = True


NVE = (Ensemble("nve"),)
NPT = (
    Ensemble("isotropic", "isotropic"),
    Ensemble("flexible, as it is", "flexible", judged=False),
    Ensemble("flexible, completed", "flexible", completed=True),
)


def structure(ensemble):
    """Silicon: a cube of 64 atoms, or a rhombohedron of 54 in the orientation that i-PI wants."""
    if ensemble.barostat is None:
        atoms = bulk("Si", cubic=True, a=5.431) * (2, 2, 2)
    else:
        atoms = bulk("Si", a=5.431) * (3, 3, 3)
        atoms.set_cell(atoms.cell.standard_form()[0], scale_atoms=True)
    atoms.rattle(0.05, seed=1)
    return atoms


def conserved(ensemble, model, dt, ps, beads, folder):
    """Time (ps) and conserved quantity (meV/atom) of one run of i-PI."""
    atoms = structure(ensemble)
    write(folder / "start.xyz", atoms, format="extxyz")
    settings = {"stride": round(1000 * SAMPLE / dt), "steps": round(1000 * ps / dt), "beads": beads, "dt": dt}
    settings |= {"mode": "nve", "barostat": "", "pressure": ""}
    if ensemble.barostat is not None:
        barostat = f'<barostat mode="{ensemble.barostat}"><tau units="femtosecond">200</tau></barostat>'
        pressure = '<pressure units="gigapascal">1</pressure>'
        settings |= {"mode": "npt", "barostat": barostat, "pressure": pressure}
    write_atomically(folder / "input.xml", INPUT.format(**settings))
    prefix = f"{folder}/"
    server = [sys.executable, "-c", COMPLETED, prefix] if ensemble.completed else ["i-pi", "-S", prefix, "input.xml"]
    driver = ["soapgap", "drive", model.resolve(), "start.xyz", "--unix", "conserved", "--prefix", prefix]
    with programs.background(server, folder, "i-pi.log") as ipi, programs.background(driver, folder, "drive.log") as client:
        programs.wait(ipi, server, folder / "i-pi.log", TIME_LIMIT, others=[(client, driver, folder / "drive.log")])
    time, energy = np.loadtxt(folder / "run.out").T
    kept = time >= SETTLE
    return time[kept], energy[kept] * 1000 / len(atoms)


def measure(ensemble, options, beads):
    """Rows of one ensemble, one for each time step, printed as they come; whether they are good."""
    rows = []
    for dt in TIME_STEPS:
        with tempfile.TemporaryDirectory() as folder:
            time, energy = conserved(ensemble, options.model, dt, options.ps, beads, Path(folder))
        line = linear_drift(time, energy)
        sixths = float(np.ptp([part.mean() for part in np.array_split(energy, 6)]))
        rows.append({"ensemble": ensemble.name, "beads": beads, "dt_fs": dt, "ps": options.ps,
                     "fluctuation_meV_per_atom": line.fluctuation, "slope": line.slope,
                     "slope_standard_error": line.standard_error, "slope_x_length_over_fluctuation": line.relative,
                     "means_of_sixths_within_meV_per_atom": sixths})
        print(f"{ensemble.name:20s}{dt:6.1f}{line.fluctuation:22.5f}{line.slope:19.6f}{line.standard_error:11.6f}"
              f"{line.relative:20.3f}{sixths:34.5f}", flush=True)
    exponent = power_law_exponent(TIME_STEPS, [row["fluctuation_meV_per_atom"] for row in rows])
    print(f"{ensemble.name:20s}the fluctuation goes with the time step to the power {exponent:.2f}", flush=True)
    flat = all(row["slope_x_length_over_fluctuation"] < 0.1 for row in rows)
    return rows, (flat and 1.8 < exponent < 2.2) or not ensemble.judged


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--npt", action="store_true", help="constant pressure instead of constant energy")
    parser.add_argument("--model", type=Path, default=Path("examples/models/si.safetensors"))
    parser.add_argument("--ps", type=float, default=20.0, help="length of each run")
    parser.add_argument("--beads", type=int, help="default: 8, and 1 with --npt")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    beads = options.beads or (1 if options.npt else 8)
    print("ensemble           dt/fs  fluctuation meV/atom  slope meV/atom/ps   +- error   slope x length / fluctuation"
          "   means of sixths within")
    results = [measure(ensemble, options, beads) for ensemble in (NPT if options.npt else NVE)]
    if options.json:
        write_atomically(options.json, json.dumps([row for rows, _ in results for row in rows], indent=1) + "\n")
    sys.exit(0 if all(good for _, good in results) else 1)


if __name__ == "__main__":
    main()
