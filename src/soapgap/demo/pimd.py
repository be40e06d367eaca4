"""Step: path integral molecular dynamics in i-PI, with soapgap as its driver."""

import os
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.io import write
from ase.units import kB

from soapgap import programs
from soapgap.demo import plots
from soapgap.demo.workflow import Check, StepResult
from soapgap.errors import HostError
from soapgap.files import write_atomically
from soapgap.physics.phonons import angular_frequencies_squared, ring_polymer_kinetic_energy
from soapgap.physics.series import correlation_time, linear_drift
from soapgap.potential import Potential
from soapgap.programs import count_lines

TITLE = "Path integrals: i-PI with 8 beads"
TEXT = (
    "64 silicon atoms at 300 K as ring polymers of 8 beads, so that the nuclei are quantum particles. i-PI moves them and asks "
    "the driver for forces over a socket. The kinetic energy of a quantum crystal exceeds the classical 3/2 kT; for small "
    "vibrations its value with 8 beads is a sum over the phonons of the same model, which is computed here for comparison."
)
N_BEADS = 8
TEMPERATURE = 300.0  # K
SAMPLE_STEPS = 2
KINETIC_LIMIT = 5.0  # percent
PREFIX = "/tmp/ipi_"  # where i-PI puts its sockets


def run(flow):
    """Start i-PI, attach the driver, wait for both."""
    steps = 200 if flow.quick else 2000
    crystal = bulk("Si", cubic=True, a=5.431) * (2, 2, 2)
    write(flow.folder / "pimd_start.xyz", crystal, format="extxyz")
    address = f"soapgap-demo-{os.getpid()}"
    flow.copy("pimd.xml")
    text = (flow.folder / "pimd.xml").read_text(encoding="utf-8")
    write_atomically(flow.folder / "pimd.xml", text.replace("ADDRESS", address).replace("STEPS", str(steps)))
    for name in ("pimd.out", "RESTART", "EXIT"):
        (flow.folder / name).unlink(missing_ok=True)
    simulate(flow, address, steps)
    return evaluate(flow, crystal, steps)


def simulate(flow, address, steps):
    """The two processes. i-PI's status is 0 whatever happens, so the number of steps is counted afterwards."""
    server = ["i-pi", "pimd.xml"]
    driver = ["soapgap", "drive", "si.safetensors", "pimd_start.xyz", "--unix", address, "--threads", str(flow.threads)]
    flow.show(programs.command_line(server) + " &")
    flow.show(driver)
    folder, out = flow.folder, flow.folder / "pimd.out"
    try:
        with (
            flow.screen.progress(f"{steps} steps") as update,
            programs.background(server, folder, "i-pi.log") as ipi,
            programs.background(driver, folder, "drive.log") as client,
        ):
            others = [(client, driver, folder / "drive.log")]
            programs.wait(
                ipi, server, folder / "i-pi.log", 600, lambda: update(count_lines(out) * SAMPLE_STEPS / steps), others
            )
            programs.wait(client, driver, folder / "drive.log", 30)
    finally:
        Path(PREFIX + address).unlink(missing_ok=True)
    found = count_lines(out)
    if found != steps // SAMPLE_STEPS + 1:
        raise HostError(
            f"i-PI wrote {found} of {steps // SAMPLE_STEPS + 1} lines of pimd.out and stopped. Last lines of i-pi.log:\n"
            f"{programs.tail(folder / 'i-pi.log')}\nLast lines of drive.log:\n{programs.tail(folder / 'drive.log')}"
        )


def evaluate(flow, crystal, steps):
    """Conserved quantity and kinetic energy."""
    _, time, conserved, _, kinetic, _ = np.loadtxt(flow.folder / "pimd.out").T
    n = len(crystal)
    settled = time >= 0.2 * time[-1]  # the beads start on the lattice sites and need a while
    drift = linear_drift(time[settled], conserved[settled])
    per_atom = 1000.0 / n
    mean = kinetic[settled].mean() * per_atom
    tau = correlation_time(kinetic[settled])
    error = kinetic[settled].std() * per_atom * np.sqrt(2 * tau / settled.sum())
    classical = 1500.0 * kB * TEMPERATURE
    potential = Potential(flow.folder / "si.safetensors", n_threads=flow.threads, skin=0.5)
    omega2 = angular_frequencies_squared(potential, crystal)
    harmonic = ring_polymer_kinetic_energy(omega2, TEMPERATURE, N_BEADS) * per_atom
    second = (
        "quantum kinetic energy (centroid virial)",
        "meV/atom",
        kinetic[settled] * per_atom,
        [(harmonic, "phonons, 8 beads"), (classical, "classical 3/2 kT")],
    )
    plots.conserved_series(flow.folder / "pimd.svg", time[settled], conserved[settled], drift, second, n)
    difference = 100 * abs(mean - harmonic) / harmonic
    limit = KINETIC_LIMIT + 300 * error / harmonic
    return StepResult(
        summary=(
            f"The kinetic energy is {mean:.2f} ± {error:.2f} meV/atom; the phonons of the model give {harmonic:.2f} meV/atom "
            f"with 8 beads, and the classical value is {classical:.2f}. The conserved quantity fluctuates by "
            f"{drift.fluctuation * per_atom:.4f} meV/atom and drifts by {drift.slope * per_atom:+.4f} ± "
            f"{drift.standard_error * per_atom:.4f} meV/atom per ps."
        ),
        figures=[("pimd.svg", "conserved quantity and kinetic energy against time")],
        checks=[Check("kinetic energy against the phonons' value", difference, limit, "%")],
        numbers={
            "beads": N_BEADS,
            "atoms": n,
            "steps": steps,
            "kinetic_energy_meV_per_atom": mean,
            "standard_error": error,
            "harmonic_meV_per_atom": harmonic,
            "classical_meV_per_atom": classical,
            "conserved_fluctuation_meV_per_atom": drift.fluctuation * per_atom,
            "conserved_drift_meV_per_atom_per_ps": drift.slope * per_atom,
            "conserved_drift_standard_error": drift.standard_error * per_atom,
        },
    )
