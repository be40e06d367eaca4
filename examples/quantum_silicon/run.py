"""Quantum against classical silicon: kinetic energy and heat capacity from path integrals in i-PI.

    python run.py [--quick] [--threads 2] [--picoseconds 24] [--output quantum-silicon]

Runs the crystal at several temperatures as classical particles (one bead) and as ring polymers, with the small model that
comes with soapgap and `soapgap ipi-run`; compares with the phonons of the same model; writes two figures and numbers.json.
Runs that are complete are kept: the same command again goes on where it was interrupted. README.md explains the physics.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # matrices are small; the cores are for the runs

import numpy as np
from ase.build import bulk
from ase.io import write
from figures import draw_heat_capacity, draw_kinetic_energy
from results import Phonons, analyse, heat_capacities
from scipy.optimize import minimize_scalar

from soapgap import Potential, programs
from soapgap.errors import HostError
from soapgap.files import write_atomically

MODEL = Path(__file__).resolve().parent.parent / "models" / "si.safetensors"
TEMPERATURES = (100, 200, 300, 450, 600, 800, 1000)  # K
PICOSECONDS = 24.0
QUICK = (200, 400), 0.8
TIME_STEP = {"classical": 1.0, "quantum": 2.0}  # fs; the classical kinetic energy is that of momenta, which need the shorter
BEAD_ERROR = 0.025  # of the harmonic kinetic energy: what too few beads may miss
SAMPLE = 10.0  # fs
OVERHEAD = 0.0005  # s per frame and per step, of i-PI and its socket: for the estimate only
INPUT = """\
<!-- {kind} silicon; model {checksum} -->
<simulation verbosity="low" safe_stride="1000">
  <output prefix="run">
    <properties stride="{stride}" filename="out">
      [ potential{{electronvolt}}, kinetic_cv{{electronvolt}}, kinetic_md{{electronvolt}},
        virial_fq{{electronvolt}}(ref=sites.txt;units=angstrom) ]
    </properties>
  </output>
  <total_steps>{steps}</total_steps>
  <prng><seed>{seed}</seed></prng>
  <ffsocket name="soapgap" mode="unix" pbc="false"><address>silicon</address><batch_size>{beads}</batch_size></ffsocket>
  <system>
    <initialize nbeads="{beads}">
      <file mode="ase">start.xyz</file>
      <velocities mode="thermal" units="kelvin">{temperature}</velocities>
    </initialize>
    <forces><force forcefield="soapgap"/></forces>
    <motion mode="dynamics">
      <dynamics mode="nvt" splitting="baoab">
        <timestep units="femtosecond">{dt}</timestep>
        <thermostat mode="pile_l"><tau units="femtosecond">100</tau></thermostat>
      </dynamics>
    </motion>
    <ensemble><temperature units="kelvin">{temperature}</temperature></ensemble>
  </system>
</simulation>
"""


@dataclass(frozen=True)
class Run:
    """One run of i-PI, in a folder of its own."""

    kind: str  # "classical" or "quantum"
    temperature: float  # K
    beads: int
    picoseconds: float

    @property
    def name(self):
        """Of its folder."""
        return f"{self.kind}-{self.temperature:g}K-{self.beads}"

    @property
    def steps(self):
        """Number of time steps."""
        return round(1000 * self.picoseconds / TIME_STEP[self.kind])

    @property
    def stride(self):
        """Steps between samples."""
        return round(SAMPLE / TIME_STEP[self.kind])

    def input(self, checksum):
        """i-PI's input."""
        seed = int(self.temperature) + (0 if self.kind == "classical" else 5000)
        return INPUT.format(kind=self.kind, checksum=checksum, stride=self.stride, steps=self.steps, seed=seed,
                            beads=self.beads, temperature=self.temperature, dt=TIME_STEP[self.kind])

    def estimate(self, seconds_per_frame):
        """Seconds that it takes, roughly."""
        return self.steps * (self.beads * (seconds_per_frame + OVERHEAD) + OVERHEAD)

    def samples(self, folder):
        """Its table: potential, kinetic_cv, kinetic_md, virial_fq (eV), one row a sample; None if it is not complete."""
        path = folder / self.name / "run.out"
        if not path.exists():
            return None
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        return np.array([line.split() for line in lines], float) if len(lines) == self.steps // self.stride + 1 else None


def equilibrium_crystal(potential):
    """64 atoms of diamond silicon at the model's own lattice constant."""
    def energy(a):
        return potential.compute(bulk("Si", cubic=True, a=a)).energy

    a = minimize_scalar(energy, bounds=(5.3, 5.6), method="bounded", options={"xatol": 1e-6}).x
    return bulk("Si", cubic=True, a=a) * (2, 2, 2)


def seconds_per_frame(potential, crystal):
    """Measured on a slightly moved crystal."""
    moved = crystal.copy()
    moved.rattle(0.05, seed=1)
    potential.compute(moved)
    start = time.perf_counter()
    for _ in range(20):
        moved.positions += 1e-4
        potential.compute(moved)
    return (time.perf_counter() - start) / 20


def is_complete(run, folder, text):
    """Whether an earlier call has done this very run."""
    path = folder / run.name / "input.xml"
    return path.exists() and path.read_text() == text and run.samples(folder) is not None


def simulate(run, folder, crystal, checksum, stop):
    """Do a run in its folder, unless it is there already; the seconds that it took."""
    text, place = run.input(checksum), folder / run.name
    if is_complete(run, folder, text):
        return 0.0
    start = time.monotonic()
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    write(place / "start.xyz", crystal, format="extxyz")
    np.savetxt(place / "sites.txt", crystal.positions)
    write_atomically(place / "input.xml", text)
    command = [sys.executable, "-m", "soapgap", "ipi-run", "input.xml", MODEL, "start.xyz", "--threads", "1", "--every", "0"]

    def look():
        if stop.is_set():
            raise HostError(f"{run.name} was ended")

    programs.run(command, place, "ipi-run.log", 600 + 20 * run.estimate(0.001), look)
    if run.samples(folder) is None:
        tail = programs.tail(place / "ipi-run.log")
        raise HostError(f"{run.name} has not done all its steps. Last lines of ipi-run.log:\n{tail}")
    return time.monotonic() - start


def plan(phonons, temperatures, picoseconds):
    """The runs: at each temperature the classical one, and one with enough beads for the model's phonons."""
    runs = [Run("classical", temperature, 1, picoseconds) for temperature in temperatures]
    for temperature in temperatures:
        runs.append(Run("quantum", temperature, phonons.n_beads(temperature, BEAD_ERROR), picoseconds))
    return runs


def perform(runs, folder, crystal, checksum, n_threads):
    """All runs, ``n_threads`` at a time, the longest first; a line for each. Ends the others if one fails."""
    stop = threading.Event()
    with ThreadPoolExecutor(n_threads) as pool:
        longest_first = sorted(runs, key=lambda run: -run.estimate(0.001))
        tasks = {pool.submit(simulate, run, folder, crystal, checksum, stop): run for run in longest_first}
        try:
            for task in as_completed(tasks):
                seconds = task.result()
                print(f"  {tasks[task].name}: " + (f"{seconds:.0f} s" if seconds else "was there"), flush=True)
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def report(runs, folder, crystal, ground, phonons):
    """Analyse, print, draw, and write numbers.json."""
    points = [analyse(run.samples(folder), run, crystal, ground, phonons) for run in runs]
    capacities = heat_capacities(points, phonons)
    print("\nkinetic energy, meV/atom\n  T/K        P    measured +- error   phonons, P  phonons, P=inf   classical")
    for point in points:
        print("  {temperature:<6g} {kind:>9}{beads:3d}{kinetic:10.2f} +-{kinetic_error:6.2f}{kinetic_phonons:13.2f}"
              "{kinetic_phonons_infinite:17.2f}{kinetic_classical:12.2f}".format(**point))
    print("\nheat capacity at constant volume, k per atom\n  from .. to K        measured +- error   harmonic")
    for row in capacities:
        print("  {low:4g} .. {high:<4g} {kind:>9}{capacity:9.3f} +-{error:6.3f}{phonons:10.3f}".format(**row))
    figures = [folder / "kinetic_energy.png", folder / "heat_capacity.png"]
    draw_kinetic_energy(figures[0], points, phonons)
    draw_heat_capacity(figures[1], capacities, phonons)
    numbers = {"atoms": len(crystal), "lattice_constant": crystal.cell[0, 0] / 2, "points": points,
               "heat_capacities": capacities}
    write_atomically(folder / "numbers.json", json.dumps(numbers, indent=1) + "\n")
    print("\nwritten: " + ", ".join(str(path) for path in [*figures, folder / "numbers.json"]))


def interrupt(*_):
    """SIGTERM ends the runs as Ctrl-C does."""
    raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two temperatures, 0.8 ps: less than a minute")
    parser.add_argument("--threads", type=int, default=2, help="runs at the same time, each with one core (2)")
    parser.add_argument("--picoseconds", type=float, default=PICOSECONDS, help=f"length of each run ({PICOSECONDS:g})")
    parser.add_argument("--output", type=Path, default=Path("quantum-silicon"), help="folder (quantum-silicon)")
    options = parser.parse_args()
    if options.threads < 1 or options.picoseconds < 0.5:
        parser.error("--threads must be at least 1, and --picoseconds 0.5, of which 0.3 are not looked at")
    signal.signal(signal.SIGTERM, interrupt)
    programs.find_program("i-pi", "ipi")
    folder = options.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    potential = Potential(MODEL, n_threads=1, skin=0.5)
    crystal = equilibrium_crystal(potential)
    ground = potential.compute(crystal).energy
    phonons = Phonons(potential, crystal)
    temperatures, picoseconds = QUICK if options.quick else (TEMPERATURES, options.picoseconds)
    runs = plan(phonons, temperatures, picoseconds)
    checksum = hashlib.sha256(MODEL.read_bytes()).hexdigest()
    left = [run for run in runs if not is_complete(run, folder, run.input(checksum))]
    frame = seconds_per_frame(potential, crystal)
    minutes = sum(run.estimate(frame) for run in left) / 60 / min(options.threads, max(len(left), 1))
    print(f"{len(crystal)} silicon atoms, a = {crystal.cell[0, 0] / 2:.4f} A, {1000 * frame:.2f} ms per frame\n"
          f"{len(runs)} runs of {runs[0].picoseconds:g} ps, {len(left)} of them to do, {options.threads} at a time: "
          f"about {minutes:.1f} minutes", flush=True)
    perform(runs, folder, crystal, checksum, options.threads)
    report(runs, folder, crystal, ground, phonons)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on with the runs that are not complete")
    except HostError as error:
        sys.exit(f"error: {error}")
