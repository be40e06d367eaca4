"""Step: molecular dynamics at constant energy in LAMMPS on two MPI ranks."""

import numpy as np

from soapgap.demo import plots
from soapgap.demo.workflow import Check, StepResult
from soapgap.physics.series import linear_drift
from soapgap.programs import count_lines

TITLE = "Molecular dynamics at constant energy: LAMMPS on 2 MPI ranks"
TEXT = (
    "216 silicon atoms, started at 600 K on the perfect lattice and left to themselves; time step 1 fs. The pair style is "
    "in the wheel and registers itself, so a plain LAMMPS input is all that is needed (in.nve). Energy is conserved if "
    "forces are exact derivatives of the energy: what is left is the wobble of the integrator and no slope."
)
N_ATOMS = 216
SAMPLE_STEPS = 2
FLUCTUATION_LIMIT = 0.5  # meV/atom; velocity Verlet with 1 fs gives a few hundredths
DRIFT_LIMIT = 0.05  # meV/atom per ps, on top of three standard errors


def run(flow):
    """Run LAMMPS, fit a line to the total energy."""
    steps = 1000 if flow.quick else 5000
    flow.copy("in.nve")
    (flow.folder / "nve.txt").unlink(missing_ok=True)
    command = ["mpiexec", "-n", "2", "lmp", "-in", "in.nve", "-var", "steps", str(steps), "-log", "nve.log"]
    flow.run(
        command, "nve.out", 600, f"{steps} steps", lambda: count_lines(flow.folder / "nve.txt") * SAMPLE_STEPS / steps
    )
    time, temperature, energy = np.loadtxt(flow.folder / "nve.txt").T
    drift = linear_drift(time, energy)
    meV = 1000.0 / N_ATOMS
    slope, error, fluctuation = drift.slope * meV, drift.standard_error * meV, drift.fluctuation * meV
    levels = [(300.0, "300 K")]
    second = ("temperature", "temperature, K", temperature, levels)
    plots.conserved_series(flow.folder / "nve.svg", time, energy, drift, second, N_ATOMS)
    numbers = {
        "atoms": N_ATOMS,
        "length_ps": drift.length,
        "fluctuation_meV_per_atom": fluctuation,
        "drift_meV_per_atom_per_ps": slope,
        "drift_standard_error": error,
        "mean_temperature_K": float(temperature.mean()),
    }
    return StepResult(
        summary=(
            f"Over {drift.length:.1f} ps the total energy fluctuates by {fluctuation:.4f} meV/atom and drifts by "
            f"{slope:+.5f} ± {error:.5f} meV/atom per ps at a mean temperature of {temperature.mean():.0f} K."
        ),
        figures=[("nve.svg", "total energy and temperature against time")],
        checks=[
            Check("energy fluctuation", fluctuation, FLUCTUATION_LIMIT, "meV/atom"),
            Check("size of the energy drift", abs(slope), DRIFT_LIMIT + 3 * error, "meV/atom per ps"),
        ],
        numbers=numbers,
    )
