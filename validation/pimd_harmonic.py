"""Path integrals of a cold silicon crystal in i-PI against the exact sum over its phonons.

    python validation/pimd_harmonic.py [--temperatures 50] [--beads 4 16] [--steps 4000] [--json pimd_harmonic.json]

At 50 K the kinetic energy of silicon is 5.6 times the classical 3/2 kT; with 4 beads it is 3 times, with 16 beads 5.1 times.
For harmonic ring polymers of P beads the centroid-virial estimator averages, mode by mode, to

    K = 1/(2 beta) sum_k w^2 / (w^2 + w_k^2),    w_k = (2 P / (beta hbar)) sin(pi k / P),    k = 0 .. P-1,

with w the phonon frequencies of the same supercell (all the wave vectors that it has), here from central differences of the
model's forces. i-PI's `kinetic_cv` counts 3/2 kT for the centroids of all atoms, so the three translations contribute kT/2
each, whether the centre of mass is held (`<fixcom>`, i-PI's default) or not (`--free-centre`): they feel no force.

Two systems go through the same driver: the harmonic expansion of the model, for which the sum is exact, and the model. Both
must agree with the sum within 3 standard errors (correlations included), and these must be 1.5 % or less; status 1
otherwise. The model is not quite harmonic at any temperature, because the zero-point amplitude stays. The last table says by
how much: both runs get the same random numbers, so their noise nearly cancels in the difference.

The splitting is BAOAB because its time-step error is small: at 1 fs it raises K by less than 0.03 % here, that of i-PI's
default (OBABO) by 0.2 % (from the covariance of the discrete harmonic Langevin equation).
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # matrices are small, and i-PI wants the other core

import ase
import numpy as np
from ase.build import bulk
from ase.io import write
from ase.units import _amu, _e, _hbar, _k, kB
from scipy.optimize import minimize_scalar

from soapgap import programs
from soapgap.errors import HostError, InputError
from soapgap.files import write_atomically
from soapgap.ipi import drive
from soapgap.physics.phonons import ring_polymer_kinetic_energy, second_derivatives
from soapgap.physics.series import correlation_time
from soapgap.potential import Potential

MODEL = Path(__file__).resolve().parent.parent / "examples" / "models" / "si.safetensors"
SAMPLE = 5  # steps between samples
SETTLE = 0.1, 300.0  # of each run, and at least these fs, are not looked at: the beads start on the lattice sites
DISPLACEMENT = 0.005  # Angstrom, of the finite differences
HEADING = "  system       T/K    P   measured +- error   relative   exact, P   P=infinity   classical   deviation/error   s"
LINE = ("  {system:<9}{temperature:7.1f}{beads:5d}{measured:11.4f} +-{error:6.4f}{relative_error:11.2%}{exact:11.4f}"
        "{exact_infinite:13.4f}{classical:12.4f}{deviation_in_errors:+18.2f}{seconds:4.0f}{verdict}")
INPUT = """\
<simulation verbosity="low" safe_stride="1000000">
  <output prefix="run">
    <properties stride="{stride}" filename="out">[ kinetic_cv{{electronvolt}} ]</properties>
  </output>
  <total_steps>{steps}</total_steps>
  <prng><seed>{seed}</seed></prng>
  <ffsocket name="soapgap" mode="unix" pbc="false"><address>pimd</address><batch_size>{beads}</batch_size></ffsocket>
  <system>
    <initialize nbeads="{beads}">
      <file mode="ase">start.xyz</file>
      <velocities mode="thermal" units="kelvin">{temperature}</velocities>
    </initialize>
    <forces><force forcefield="soapgap"/></forces>
    <motion mode="dynamics"><fixcom>{fixcom}</fixcom>
      <dynamics mode="nvt" splitting="baoab"><timestep units="femtosecond">{dt}</timestep>
        <thermostat mode="pile_l"><tau units="femtosecond">100</tau></thermostat></dynamics>
    </motion>
    <ensemble><temperature units="kelvin">{temperature}</temperature></ensemble>
  </system>
</simulation>
"""


@dataclass
class Result:
    """What the driver asks of a potential."""

    energy: float
    forces: np.ndarray
    virial: np.ndarray


class Harmonic:
    """E = u.H.u / 2 about a crystal, u the displacements, H its Hessian (eV/Angstrom^2).

    The driver folds positions into the cell. H does not change when the whole crystal moves, so displacements are taken
    relative to the first atom's and folded back to the nearest image.
    """

    def __init__(self, crystal, hessian):
        self.sites = crystal.positions.copy()
        self.cell = crystal.cell.array.copy()
        self.hessian = hessian

    def displacements(self, atoms):
        """u, Angstrom, [N, 3], the first atom's being zero."""
        u = atoms.positions - self.sites
        u = u - u[0]
        return u - np.rint(np.linalg.solve(self.cell.T, u.T).T) @ self.cell

    def compute(self, atoms):
        """Energy and forces; no virial, the cell is fixed."""
        u = self.displacements(atoms).ravel()
        forces = -self.hessian @ u
        return Result(-0.5 * float(u @ forces), forces.reshape(-1, 3), np.zeros((3, 3)))


def crystal_of(potential, n_cells):
    """Cubic cells of diamond silicon at the model's own lattice constant."""
    def energy(a):
        return potential.compute(bulk("Si", cubic=True, a=a)).energy

    a = minimize_scalar(energy, bounds=(5.3, 5.6), method="bounded", options={"xatol": 1e-6}).x
    return bulk("Si", cubic=True, a=a) * n_cells


@dataclass
class Crystal:
    """A crystal, its two potentials by name, and its phonons: squared angular frequencies, 1/s^2, [3N]."""

    atoms: ase.Atoms
    potentials: dict
    omega2: np.ndarray


def prepare(model, n_cells):
    """The crystal of ``n_cells``^3 cubic cells of a model at its own lattice constant.

    The three translations get frequency zero exactly. A model whose crystal is not stable is refused.
    """
    potential = Potential(model, n_threads=1, skin=0.5)
    atoms = crystal_of(potential, n_cells)
    hessian = second_derivatives(potential, atoms, delta=DISPLACEMENT).reshape(3 * len(atoms), -1)
    hessian = 0.5 * (hessian + hessian.T)
    masses = np.repeat(atoms.get_masses(), 3)
    eigenvalues = np.linalg.eigvalsh(hessian / np.sqrt(np.outer(masses, masses)))
    if eigenvalues[3] <= 1e-3 * eigenvalues[-1] or np.abs(eigenvalues[:3]).max() > 1e-6 * eigenvalues[-1]:
        raise InputError(
            f"the squared frequencies of the diamond crystal begin with {eigenvalues[:4]} (largest {eigenvalues[-1]:.3g}); "
            "expected three zeros and then positive ones. The model has no stable diamond crystal: use another model"
        )
    eigenvalues[:3] = 0.0
    return Crystal(atoms, {"harmonic": Harmonic(atoms, hessian), "model": potential}, eigenvalues * _e / (_amu * 1e-20))


def exact_kinetic_energy(omega2, temperature, n_beads=None):
    """Kinetic energy (eV) of all modes; without ``n_beads`` that of P = infinity, hbar w / 4 coth(hbar w / 2 kT)."""
    if n_beads is not None:
        return ring_polymer_kinetic_energy(omega2, temperature, n_beads)
    x = _hbar * np.sqrt(omega2[omega2 > 0]) / (2 * _k * temperature)
    return 0.5 * kB * temperature * float((x / np.tanh(x)).sum() + (omega2 <= 0).sum())


def sample(core, atoms, temperature, n_beads, options):
    """Kinetic energies (eV) from a run of i-PI with ``core`` as its potential, every `SAMPLE` steps, settled part."""
    with tempfile.TemporaryDirectory(prefix="sg", dir="/tmp") as name:  # short: it is part of the socket's path
        folder, prefix = Path(name), f"{name}/"
        write(folder / "start.xyz", atoms, format="extxyz")
        settings = {"stride": SAMPLE, "steps": options.steps, "seed": options.seed, "beads": n_beads, "dt": options.dt,
                    "temperature": temperature, "fixcom": not options.free_centre}
        write_atomically(folder / "input.xml", INPUT.format(**settings))
        server, log, failures = ["i-pi", "-S", prefix, "input.xml"], folder / "i-pi.log", []

        def serve():
            try:
                drive(core, atoms, unix="pimd", prefix=prefix, quiet=True, dump=folder / "bad.xyz")
            except Exception as error:
                failures.append(error)

        def check():
            if failures:
                raise failures[0]

        client = threading.Thread(target=serve, daemon=True)
        with programs.background(server, folder, log) as ipi:
            client.start()
            programs.wait(ipi, server, log, options.time_limit, check)
        client.join(30)
        check()
        kinetic = np.loadtxt(folder / "run.out")
        if len(kinetic) != options.steps // SAMPLE + 1:
            raise HostError(f"i-PI wrote {len(kinetic)} of {options.steps // SAMPLE + 1} samples:\n{programs.tail(log)}")
    return kinetic[max(round(SETTLE[0] * len(kinetic)), round(SETTLE[1] / (SAMPLE * options.dt))):]


def mean_and_error(series):
    """Mean and its standard error, std sqrt(2 tau / n), tau the integrated autocorrelation time in samples."""
    return float(series.mean()), float(series.std() * np.sqrt(2 * correlation_time(series) / len(series)))


def compare(crystal, temperature, n_beads, options):
    """Rows of the table, one a potential, and the difference of the two potentials; energies in meV per atom."""
    unit = 1000 / len(crystal.atoms)
    exact = exact_kinetic_energy(crystal.omega2, temperature, n_beads) * unit
    limit = exact_kinetic_energy(crystal.omega2, temperature) * unit
    rows, series = [], {}
    for name, core in crystal.potentials.items():
        start = time.monotonic()
        series[name] = sample(core, crystal.atoms, temperature, n_beads, options) * unit
        mean, error = mean_and_error(series[name])
        rows.append({
            "system": name, "temperature": temperature, "beads": n_beads, "measured": mean, "error": error,
            "exact": exact, "exact_infinite": limit, "classical": 1500 * kB * temperature,
            "deviation_in_errors": (mean - exact) / error, "relative_error": error / exact,
            "passes": bool(abs(mean - exact) <= options.n_sigma * error and error <= options.largest_error * exact),
            "seconds": time.monotonic() - start,
        })  # fmt: skip
        print(LINE.format(**rows[-1], verdict="" if rows[-1]["passes"] else "  OUTSIDE"), flush=True)
    difference, error = mean_and_error(series["model"] - series["harmonic"])
    return rows, {"temperature": temperature, "beads": n_beads, "model_minus_harmonic": difference, "error": error,
                  "relative": difference / exact}


def interrupt(*_):
    """SIGTERM ends i-PI as Ctrl-C does."""
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--cells", type=int, default=2, help="cubic cells of 8 atoms along each direction (2)")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[50.0], help="K (50)")
    parser.add_argument("--beads", type=int, nargs="+", default=[4, 16], help="(4 16)")
    parser.add_argument("--steps", type=int, default=4000, help="of each run (4000)")
    parser.add_argument("--dt", type=float, default=1.0, help="time step, fs (1)")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--free-centre", action="store_true", help="do not hold the centre of mass")
    parser.add_argument("--n-sigma", type=float, default=3.0, help="largest deviation, standard errors (3)")
    parser.add_argument("--largest-error", type=float, default=0.015, help="largest relative standard error (0.015)")
    parser.add_argument("--time-limit", type=float, default=3600.0, help="s, of one run of i-PI (3600)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, interrupt)
    crystal = prepare(options.model, (options.cells,) * 3)
    print(f"{len(crystal.atoms)} atoms, a = {crystal.atoms.cell[0, 0] / options.cells:.4f} A; kinetic energy, meV/atom")
    print(HEADING)
    rows, differences = [], []
    for temperature in options.temperatures:
        for n_beads in options.beads:
            new, difference = compare(crystal, temperature, n_beads, options)
            rows += new
            differences.append(difference)
    print("\nmodel minus its harmonic expansion, same random numbers: what is not harmonic")
    for difference in differences:
        print("{temperature:8.1f} K, P = {beads:3d}: {model_minus_harmonic:+.4f} +- {error:.4f} meV/atom, "
              "{relative:+.3%} of the kinetic energy".format(**difference))
    if options.json:
        write_atomically(options.json, json.dumps({"rows": rows, "differences": differences}, indent=1) + "\n")
    sys.exit(0 if all(row["passes"] for row in rows) else 1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted")
