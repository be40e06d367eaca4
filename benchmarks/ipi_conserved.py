"""The conserved quantity of i-PI with soapgap as its driver: 64 silicon atoms, 8 beads, constant energy.

    python benchmarks/ipi_conserved.py [--model MODEL] [--ps 20] [--json ipi_conserved.json]

Ring-polymer molecular dynamics (no thermostat, whose own random walk of the conserved quantity would hide the driver's
part) at 300 K with time steps of 0.5 and 1 fs. A straight line through the conserved quantity: slope x length must stay
below a tenth of the fluctuation about it (status 1 otherwise), and the fluctuation must fall with the time step.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.io import write

from soapgap.demo import process
from soapgap.demo.analysis import linear_drift
from soapgap.files import write_atomically

N_ATOMS, N_BEADS = 64, 8
SAMPLE = 0.004  # ps
SETTLE = 0.5  # ps, not looked at: the beads start on one another
TIME_STEPS = (0.5, 1.0)  # fs

INPUT = """\
<simulation verbosity="low">
  <output prefix="run">
    <properties stride="{stride}" filename="out">[ time{{picosecond}}, conserved{{electronvolt}} ]</properties>
  </output>
  <total_steps>{steps}</total_steps>
  <prng><seed>2026</seed></prng>
  <ffsocket name="soapgap" mode="unix" pbc="false"><address>{address}</address></ffsocket>
  <system>
    <initialize nbeads="{beads}">
      <file mode="ase">start.xyz</file>
      <velocities mode="thermal" units="kelvin">300</velocities>
    </initialize>
    <forces><force forcefield="soapgap"/></forces>
    <motion mode="dynamics"><dynamics mode="nve"><timestep units="femtosecond">{dt}</timestep></dynamics></motion>
    <ensemble><temperature units="kelvin">300</temperature></ensemble>
  </system>
</simulation>
"""


def conserved(model: Path, dt: float, ps: float, folder: Path):
    """Time (ps) and conserved quantity (meV/atom) of one run of i-PI."""
    atoms = bulk("Si", cubic=True, a=5.431) * (2, 2, 2)
    atoms.rattle(0.05, seed=1)
    write(folder / "start.xyz", atoms, format="extxyz")
    address = f"soapgap-conserved-{os.getpid()}"
    steps = round(1000 * ps / dt)
    write_atomically(folder / "input.xml", INPUT.format(stride=round(1000 * SAMPLE / dt), steps=steps, address=address,
                                                        beads=N_BEADS, dt=dt))
    server, driver = ["i-pi", "input.xml"], ["soapgap", "drive", model.resolve(), "start.xyz", "--unix", address]
    try:
        with process.background(server, folder, "i-pi.log") as ipi, process.background(driver, folder, "drive.log") as client:
            process.wait(ipi, server, folder / "i-pi.log", 7200, others=[(client, driver, folder / "drive.log")])
    finally:
        Path(f"/tmp/ipi_{address}").unlink(missing_ok=True)
    time, energy = np.loadtxt(folder / "run.out").T
    kept = time >= SETTLE
    return time[kept], energy[kept] * 1000 / N_ATOMS


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("examples/models/si.safetensors"))
    parser.add_argument("--ps", type=float, default=20.0, help="length of each run")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    print("dt/fs  fluctuation meV/atom  slope meV/atom/ps  +- error   slope x length / fluctuation")
    for dt in TIME_STEPS:
        with tempfile.TemporaryDirectory() as folder:
            line = linear_drift(*conserved(options.model, dt, options.ps, Path(folder)))
        rows.append({"dt_fs": dt, "ps": options.ps, "fluctuation_meV_per_atom": line.fluctuation, "slope": line.slope,
                     "slope_standard_error": line.standard_error, "slope_x_length_over_fluctuation": line.relative})
        print(f"{dt:5.1f}{line.fluctuation:22.5f}{line.slope:19.6f}{line.standard_error:10.6f}{line.relative:20.3f}",
              flush=True)
    if options.json:
        write_atomically(options.json, json.dumps(rows, indent=1) + "\n")
    good = all(row["slope_x_length_over_fluctuation"] < 0.1 for row in rows)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
