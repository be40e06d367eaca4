"""Step: path integral molecular dynamics in i-PI, with soapgap as its driver."""

import os
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.io import write
from ase.units import _hbar, _k, kB

from ..errors import HostError
from ..files import write_atomically
from . import plots, process
from .analysis import correlation_time, linear_drift
from .workflow import Check, StepResult, count_lines

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
    flow.show(process.command_line(server) + " &")
    flow.show(driver)
    folder, out = flow.folder, flow.folder / "pimd.out"
    try:
        with (
            flow.screen.progress(f"{steps} steps") as update,
            process.background(server, folder, "i-pi.log") as ipi,
            process.background(driver, folder, "drive.log") as client,
        ):
            others = [(client, driver, folder / "drive.log")]
            process.wait(
                ipi, server, folder / "i-pi.log", 600, lambda: update(count_lines(out) * SAMPLE_STEPS / steps), others
            )
            process.wait(client, driver, folder / "drive.log", 30)
    finally:
        Path(PREFIX + address).unlink(missing_ok=True)
    found = count_lines(out)
    if found != steps // SAMPLE_STEPS + 1:
        raise HostError(
            f"i-PI wrote {found} of {steps // SAMPLE_STEPS + 1} lines of pimd.out and stopped. Last lines of i-pi.log:\n"
            f"{process.tail(folder / 'i-pi.log')}\nLast lines of drive.log:\n{process.tail(folder / 'drive.log')}"
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
    harmonic = harmonic_kinetic_energy(flow.folder / "si.safetensors", crystal, flow.threads) * per_atom
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


def harmonic_kinetic_energy(model, atoms, n_threads, displacement=0.01):
    """Kinetic energy (eV) of ``atoms`` as harmonic ring polymers of `N_BEADS` beads at `TEMPERATURE`.

    K = sum over modes of 1/(2 beta) sum_k w^2 / (w^2 + w_k^2), w_k = (2 P / beta hbar) sin(pi k / P), k = 0..P-1, which
    is what the centroid virial estimator of P beads averages to in a harmonic crystal (a mode without a frequency
    counts kT/2); see M. F. Herman, E. J. Bruskin and B. J. Berne, J. Chem. Phys. 76, 5150 (1982) for the estimator.
    """
    from ..potential import Potential

    potential = Potential(model, n_threads=n_threads, skin=0.5)
    omega2 = angular_frequencies_squared(potential, atoms, displacement)
    return ring_polymer_kinetic_energy(omega2, TEMPERATURE, N_BEADS)


def ring_polymer_kinetic_energy(omega2, temperature, n_beads):
    """The sum of `harmonic_kinetic_energy` (eV) for squared angular frequencies in 1/s^2."""
    k = np.arange(n_beads)
    omega_k = 2 * n_beads * _k * temperature / _hbar * np.sin(np.pi * k / n_beads)
    omega2 = np.maximum(np.asarray(omega2, dtype=float), 0.0)[:, None]
    ratio = np.divide(omega2, omega2 + omega_k**2, out=np.ones((len(omega2), n_beads)), where=omega2 + omega_k**2 > 0)
    return 0.5 * kB * temperature * float(ratio.sum())


def angular_frequencies_squared(potential, atoms, displacement):
    """Eigenvalues (1/s^2) of the dynamical matrix, from central differences of forces; masses as ASE has them."""
    from ase.units import _amu, _e

    moved = atoms.copy()
    n = len(atoms)
    hessian = np.empty((3 * n, 3 * n))
    for i in range(3 * n):
        rows = []
        for sign in (1, -1):
            moved.positions[:] = atoms.positions
            moved.positions[i // 3, i % 3] += sign * displacement
            rows.append(potential.compute(moved).forces.ravel())
        hessian[i] = (rows[1] - rows[0]) / (2 * displacement)
    masses = np.repeat(atoms.get_masses(), 3)
    dynamical = 0.5 * (hessian + hessian.T) / np.sqrt(np.outer(masses, masses))
    return np.linalg.eigvalsh(dynamical) * _e / (_amu * 1e-20)
