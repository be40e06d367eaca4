"""What i-PI and the way to it cost beside the evaluation, and what two clients, threads or ranks gain.

    python benchmarks/ipi_overhead.py [--rounds 5] [--steps 400] [--model FILE] [--skip-scaling]

Overhead: 64 atoms of silicon, 8 beads, one thread. A run's time per step, less the bare evaluation of the same beads
(`Potential`, kept lists, one after the other or together as the route has it), divided by 8. i-PI's own integrator and
thermostat (PILE-G) are in it; its output, which is slow, comes every 20 steps. Rounds are interleaved: in each, the bare
evaluation is timed beside the runs. "No pairs" is the same with a model whose cutoff no pair is within: i-PI, the protocol and
little else.

Scaling: 4 beads of so many atoms that each takes more than 50 ms: one client with one thread against two clients, one client
with two threads, batches, and two MPI ranks; beside them the throughput of two independent processes over that of one, the
machine's ceiling.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is imported

import numpy as np
from ase.build import bulk
from ase.io import write
from common import one_core_environment
from rich.console import Console
from rich.table import Table

from soapgap.model import Model, PairTerm
from soapgap.potential import Potential
from soapgap.programs import background, count_lines, tail
from soapgap.radial.table import radial_table

HERE = Path(__file__).resolve().parent
BEADS = 8
LONG = 600.0  # seconds; no run takes longer
STRIDE = 20  # steps between lines of output
INPUT = """\
<simulation verbosity="low" safe_stride="1000000">
  <output prefix="run"><properties stride="{stride}" filename="out">[step, conserved]</properties></output>
  <total_steps>{steps}</total_steps>
  <prng><seed>11</seed></prng>
  {forcefield}
  <system>
    <initialize nbeads="{beads}">
      <file mode="ase">start.xyz</file><velocities mode="thermal" units="kelvin">300</velocities>
    </initialize>
    <forces><force forcefield="soapgap"/></forces>
    <motion mode="dynamics">
      <dynamics mode="nvt"><timestep units="femtosecond">1</timestep>
        <thermostat mode="pile_g"><tau units="femtosecond">50</tau></thermostat></dynamics>
    </motion>
    <ensemble><temperature units="kelvin">300</temperature></ensemble>
  </system>
</simulation>
"""
SOCKET = """<ffsocket name="soapgap" mode="{mode}" pbc="false"><address>{address}</address><port>{port}</port>
    <consolidate_messages>{consolidate}</consolidate_messages>{options}</ffsocket>"""
DEFAULTS = {"forcefield": SOCKET, "mode": "unix", "address": "run", "port": 1, "consolidate": "True", "options": ""}
BATCH = {"options": f"<batch_size>{BEADS}</batch_size>"}
LATENCY = "<latency>1e-5</latency>"  # seconds that i-PI sleeps between two looks; 1e-4 by default
PES = HERE.parent / "src" / "soapgap" / "ipi" / "soapgap_ipi_pes.py"
#: name: settings of i-PI, options of the driver (None: inside i-PI), whether beads are evaluated together
ROUTES = {
    "unix socket, one client": ({}, [], False),
    "unix socket, batch of 8": (BATCH, [], True),
    "unix socket, latency 1e-5": ({"options": LATENCY}, [], False),
    "batch of 8, latency 1e-5": ({"options": BATCH["options"] + LATENCY}, [], True),
    "not consolidated": ({"consolidate": "False"}, [], False),
    "TCP, one client": ({"mode": "inet"}, [], False),
    "TCP, batch of 8": ({"mode": "inet", **BATCH}, [], True),
    "shared memory, batch of 8": ({"mode": "shm", **BATCH}, [], True),
    "inside i-PI": ({}, None, False),
    "inside i-PI, batch of 8": ({}, None, True),
}


def crystal(side: int):
    """Rattled diamond silicon."""
    atoms = bulk("Si", cubic=True, a=5.43) * (side, side, side)
    atoms.rattle(0.03, seed=1)
    return atoms


def direct(model: Path, together: bool) -> dict:
    """The forcefield inside i-PI."""
    text = (f'<ffdirect name="soapgap" pbc="false"><pes>custom</pes><pes_path>{PES}</pes_path>'
            f"<batch_size>{BEADS if together else 1}</batch_size>"
            f"<parameters>{{{{model: {model}, structure: start.xyz, threads: 1}}}}</parameters></ffdirect>")
    return {"forcefield": text}


def step_seconds(atoms, model: Path, settings: dict, driver: list[str] | None, steps: int, ranks: int = 1) -> float:
    """Wall time of a step: of a run of i-PI, its first tenth left out."""
    with tempfile.TemporaryDirectory(prefix="sg", dir="/tmp") as name:  # short: it is part of the socket's path
        folder, prefix = Path(name), f"{name}/"
        run = DEFAULTS | {"steps": steps, "stride": STRIDE, **settings}
        where = ["--unix=run", f"--prefix={prefix}"]
        if run["mode"] == "inet":
            run |= {"address": "127.0.0.1", "port": free_port()}
            where = ["--host=127.0.0.1", f"--port={run['port']}"]
        write(folder / "start.xyz", atoms, format="extxyz")
        (folder / "input.xml").write_text(INPUT.format(**run | {"forcefield": run["forcefield"].format(**run)}))
        with background(["i-pi", "-S", prefix, "input.xml"], folder, "ipi.log") as ipi:
            if driver is None:
                return _seconds(ipi, folder, steps)
            command = [*(["mpiexec", "-n", str(ranks)] if ranks > 1 else []), "soapgap", "drive", str(model), "start.xyz",
                       "--every", "0", *driver, *where]
            with background(command, folder, "drive.log"):
                return _seconds(ipi, folder, steps)


def free_port() -> int:
    """A port that nobody listens to."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def _seconds(ipi: subprocess.Popen, folder: Path, steps: int) -> float:
    """Waits for the run's last line, and measures from a tenth of it on."""
    end, start, begun = time.monotonic() + LONG, None, 0
    while ipi.poll() is None and time.monotonic() < end:
        done = STRIDE * (count_lines(folder / "run.out") - 2)  # the last line may still be half written
        if start is None and done >= steps // 10:
            start, begun = time.perf_counter(), done
        if done >= steps - STRIDE:
            return (time.perf_counter() - start) / (done - begun)
        time.sleep(0.005)
    raise RuntimeError(tail(folder / "ipi.log", 20))


def no_pairs() -> Model:
    """A pair term whose cutoff no pair of the crystal is within."""
    cutoff = 1.2

    def well(r, lo, hi):
        x = cutoff - r
        return np.stack([x**4, -4.0 * x**3, 12.0 * x**2])[:, :, None]

    term = PairTerm(("Si", "Si"), cutoff, radial_table(well, [0.8, cutoff]), {"kind": "distance_2b"})
    return Model(["Si"], {"Si": 0.0}, [term])


def bare_seconds(potential: Potential, beads: list, together: bool, seconds: float = 0.5) -> float:
    """Evaluation of all beads with kept lists, as `drive` does it: together or one after the other."""
    n, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        if together:
            potential.compute_batch(beads)
        else:
            for atoms in beads:
                potential.compute(atoms)
        n += 1
    return (time.perf_counter() - start) / n


def overhead(model: Path, rounds: int, steps: int, screen: Console) -> None:
    """The table of routes."""
    atoms, rng = crystal(2), np.random.default_rng(2)
    beads = [atoms.copy() for _ in range(BEADS)]
    for bead in beads:
        bead.positions += rng.normal(scale=0.03, size=bead.positions.shape)
    with tempfile.TemporaryDirectory() as folder:
        models = [model, Path(folder) / "no-pairs.safetensors"]
        no_pairs().save(models[1])
        potentials = [Potential(each, n_threads=1, skin=0.5, n_lists=64) for each in models]
        samples = {name: [] for name in ROUTES}
        for _ in range(rounds):
            for name, (settings, driver, together) in ROUTES.items():
                row = []
                for each, potential in zip(models, potentials, strict=True):
                    row.append(bare_seconds(potential, beads, together))
                    route = {"beads": BEADS, **(direct(each, together) if driver is None else settings)}
                    row.append(step_seconds(atoms, each, route, None if driver is None else [*driver, "--threads", "1"], steps))
                samples[name].append(row)
    table = Table(title=f"64 atoms, {BEADS} beads, {steps} steps: medians of {rounds} interleaved rounds, ms")
    for column in ("route", "bare evaluation", "step", "overhead per bead", "lowest", "highest", "no pairs: overhead"):
        table.add_column(column, justify="left" if column == "route" else "right")
    for name, rows in samples.items():
        bare, whole, bare_without, whole_without = 1e3 * np.array(rows).T
        each, without = (whole - bare) / BEADS, (whole_without - bare_without) / BEADS
        table.add_row(name, *(f"{np.median(x):.2f}" for x in (bare, whole)),
                      *(f"{x:.3f}" for x in (np.median(each), each.min(), each.max(), np.median(without))))
    screen.print(table)


CEILING = """
import sys, time
sys.path.insert(0, {here!r})
from ipi_overhead import crystal
from soapgap.potential import Potential
potential, atoms = Potential({model!r}, n_threads=1, skin=0.5), crystal({side})
potential.compute(atoms)
print("ready", flush=True)
for _ in sys.stdin:
    n, start = 0, time.perf_counter()
    while time.perf_counter() - start < 3.0:
        potential.compute(atoms)
        n += 1
    print((time.perf_counter() - start) / n, flush=True)
"""


class Independent:
    """A process that evaluates by itself."""

    def __init__(self, model: Path, side: int):
        code = CEILING.format(here=str(HERE), model=str(model), side=side)
        self.process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=one_core_environment())
        assert self.process.stdout.readline().strip() == "ready"

    def begin(self) -> None:
        """A sample of three seconds."""
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def seconds(self) -> float:
        """Of one evaluation in the sample."""
        return float(self.process.stdout.readline())


def long_enough(model: Path, seconds: float = 0.055) -> int:
    """Cells along a side of the crystal, for an evaluation of more than 50 ms."""
    potential = Potential(model, n_threads=1, skin=0.5)
    for side in range(4, 20):
        atoms = crystal(side)
        potential.compute(atoms)
        if bare_seconds(potential, [atoms], together=False) > seconds:
            return side
    raise RuntimeError("no crystal of 64,000 atoms is large enough")


def scaling(model: Path, rounds: int, steps: int, screen: Console) -> None:
    """One against two of everything."""
    side = long_enough(model)
    atoms, beads = crystal(side), 4
    batch = {"options": f"<batch_size>{beads}</batch_size>"}
    half = {"options": f"<batch_size>{beads // 2}</batch_size>"}
    one, two = ["--threads", "1"], ["--threads", "2"]
    cases = {
        "one client": ({}, one, 1), "two clients": ({}, [*one, "--clients", "2"], 1),
        "two clients, not consolidated": ({"consolidate": "False"}, [*one, "--clients", "2"], 1),
        "one client, two threads": ({}, two, 1),
        "batch, one thread": (batch, one, 1), "batch, two threads": (batch, two, 1),
        "batches of 2, two clients": (half, [*one, "--clients", "2"], 1),
        "two ranks (atoms)": ({}, one, 2), "batch, two ranks (beads)": (batch, one, 2),
    }
    processes = [Independent(model, side) for _ in range(2)]
    samples, ceilings, alone = {name: [] for name in cases}, [], []
    for _ in range(rounds):
        processes[0].begin()
        alone.append(processes[0].seconds())
        for one_process in processes:
            one_process.begin()
        ceilings.append(alone[-1] * sum(1.0 / p.seconds() for p in processes))
        for name, (settings, driver, ranks) in cases.items():
            samples[name].append(step_seconds(atoms, model, {"beads": beads, **settings}, driver, steps, ranks))
    for one_process in processes:
        one_process.process.kill()
    table = Table(title=f"{len(atoms)} atoms, {beads} beads, one evaluation {1e3 * np.median(alone):.0f} ms; "
                        f"ceiling {np.median(ceilings):.3f}")
    for column in ("what", "step, ms", "speed-up", "of the ceiling"):
        table.add_column(column, justify="left" if column == "what" else "right")
    reference = {False: np.array(samples["one client"]), True: np.array(samples["batch, one thread"])}
    for name, times in samples.items():
        ratio = reference["batch" in name] / np.array(times)
        table.add_row(name, f"{1e3 * np.median(times):.1f}", f"{np.median(ratio):.3f}", f"{np.median(ratio / ceilings):.2f}")
    screen.print(table)


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=HERE.parent / "examples" / "models" / "si.safetensors")
    parser.add_argument("--large-model", type=Path, help="model of the second table; default: the same")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=400, help="of the first table")
    parser.add_argument("--scaling-steps", type=int, default=100, help="of the second table")
    parser.add_argument("--skip-scaling", action="store_true")
    parser.add_argument("--skip-overhead", action="store_true")
    options = parser.parse_args()
    screen = Console(width=110)
    if not options.skip_overhead:
        overhead(options.model.resolve(), options.rounds, options.steps, screen)
    if not options.skip_scaling:
        scaling((options.large_model or options.model).resolve(), options.rounds, options.scaling_steps, screen)


if __name__ == "__main__":
    main()
