"""MPI ranks of soapgap's own evaluator: one rank against two beside what the machine allows, batches, and load balance.

    python benchmarks/parallel.py [--pairs N] [--output FILE]

Scaling: one process, two ranks, and two independent processes at once take turns; the last is the machine's ceiling. Load
balance: processor time of each rank against the cost that was counted (docs/parallel.md). Leave the machine alone meanwhile.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is imported

import numpy as np
from ase import Atoms
from ase.build import bulk
from common import Screen, Table, interleaved, median, one_core_environment, pairwise, save
from systems import synthetic_model

MODEL = {"n_max": 10, "l_max": 12, "n_sparse": 1000}  # one species
MIXED = {"n_max": 8, "l_max": 6, "n_sparse": 500, "n_species": 2}
BEADS = 8
AT_LEAST = 1.0  # seconds of a sample
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
#: name: (number of atoms along a side / 2, beads, whether lists are kept)
SCALING = {"512 atoms, lists kept": (4, 1, True), "1728 atoms, lists kept": (6, 1, True),
           "1728 atoms, new lists": (6, 1, False), "8 beads of 64 atoms, lists kept": (2, BEADS, True)}


# ---- what the ranks run -------------------------------------------------------------------------------------------

def crystal(side: int, seed: int, species=("Si",)) -> Atoms:
    """Rattled diamond silicon, sites shared out at random among species."""
    atoms, rng = bulk("Si", cubic=True) * (side, side, side), np.random.default_rng(seed)
    atoms.symbols = rng.choice(list(species), len(atoms))
    atoms.positions += rng.normal(0.0, 0.05, atoms.positions.shape)
    return atoms


def slab() -> Atoms:
    """4096 atoms of silicon with as much vacuum."""
    atoms = crystal(8, 1)
    atoms.center(vacuum=20.0, axis=2)
    return atoms


def uneven() -> Atoms:
    """One half dense and of silicon, one half dilute and of carbon, between them a boundary that no rank knows of."""
    dense, thin = crystal(6, 2), crystal(10, 3)[::5]
    thin.symbols = "C"
    thin.positions += [0.0, 0.0, 40.0]
    atoms = dense + thin
    atoms.pbc = False
    return atoms


def compressed() -> Atoms:
    """A crystal whose density falls by a factor of four from one end to the other, periodic in the plane."""
    atoms = crystal(8, 4, ("Si", "C"))
    z = atoms.positions[:, 2]
    atoms.positions[:, 2] = z * (0.6 + 0.7 * z / z.max())
    atoms.center(vacuum=3.0, axis=2)
    atoms.pbc = (True, True, False)
    return atoms


BALANCE = {"slab, vacuum as thick": slab, "dense Si beside dilute C": uneven, "density falls fourfold": compressed}


def sampled(potential, side: int, n_beads: int, seconds: float) -> tuple[float, float, int]:
    """Mean wall time and processor time of a batch (seconds), structures never the same; and how many there were."""
    frames = [crystal(side, bead) for bead in range(n_beads)]
    rng, spent, busy, count = np.random.default_rng(time.time_ns()), 0.0, 0.0, 0
    start = [atoms.positions.copy() for atoms in frames]
    while count < 2 or spent < seconds:
        for atoms, origin in zip(frames, start):
            atoms.positions = origin + rng.uniform(-0.1, 0.1, origin.shape)
        before, busy_before = time.perf_counter(), time.process_time()
        potential.compute_batch(frames)
        if count > 0:  # the first makes lists
            spent, busy = spent + time.perf_counter() - before, busy + time.process_time() - busy_before
        count += 1
    return spent / (count - 1), busy / (count - 1), count


def serve(folder: Path):
    """Answers requests on standard input; between two of them all ranks rest."""
    from soapgap.parallel import ParallelPotential
    from soapgap.potential import Potential
    from soapgap.ranks import under_launcher

    comm = None
    if under_launcher():
        from mpi4py import MPI

        comm = MPI.COMM_WORLD
    made = {}
    while True:
        line = sys.stdin.readline() if comm is None or comm.rank == 0 else None
        if comm is not None:
            waiting = comm.Ibarrier()
            while not waiting.Test():
                time.sleep(0.02)
            line = comm.bcast(line)
        if not line:
            return
        name, seconds = json.loads(line)
        side, n_beads, kept = SCALING[name]
        if kept not in made:
            options = {"n_threads": 1, "skin": 1.0 if kept else 0.0, "n_lists": BEADS}
            path = folder / "one.safetensors"
            made[kept] = Potential(path, **options) if comm is None else ParallelPotential(path, comm, **options)
        potential, wall, busy, count = made[kept], 0.0, 0.0, 0
        if comm is None:
            wall, busy, _ = sampled(potential, side, n_beads, seconds)
        else:
            before = sum(potential.seconds.values())
            with potential.leading() as leads:
                if leads:
                    wall, _, count = sampled(potential, side, n_beads, seconds)
            busy = max(comm.allgather((sum(potential.seconds.values()) - before) / comm.bcast(count)))
        if comm is None or comm.rank == 0:
            print(json.dumps({"wall": wall, "busy": busy}), flush=True)


def balance(folder: Path):
    """Counted and measured imbalance of each structure, by all ranks."""
    from mpi4py import MPI

    from soapgap.parallel import ParallelPotential

    comm = MPI.COMM_WORLD
    potential = ParallelPotential(folder / "two.safetensors", comm, n_threads=1, skin=0.5)
    for name, make in BALANCE.items():
        atoms = make()
        potential.compute(atoms)
        before = potential.seconds["evaluation"]
        for _ in range(5):
            potential.compute(atoms)
        spent = comm.gather((potential.seconds["evaluation"] - before) / 5)
        if comm.rank == 0:
            counts, counted = potential.loads()
            print(json.dumps({"what": name, "n_atoms": len(atoms), "n_ranks": comm.size,
                              "atoms": float(counts.max() / counts.mean() - 1.0),
                              "counted": float(counted.max() / counted.mean() - 1.0),
                              "measured": float(max(spent) / np.mean(spent) - 1.0), "seconds": spent}), flush=True)


# ---- what asks them -----------------------------------------------------------------------------------------------

class Server:
    """One process, or ranks, that sample when asked."""

    def __init__(self, folder: Path, n_ranks: int = 1):
        launcher = [MPIEXEC, "-n", str(n_ranks)] if n_ranks > 1 else []
        self.process = subprocess.Popen([*launcher, sys.executable, __file__, "serve", str(folder)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env=one_core_environment())

    def begin(self, *request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()

    def receive(self) -> dict:
        return json.loads(self.process.stdout.readline())

    def sample(self, *request) -> dict:
        self.begin(*request)
        return self.receive()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def scaling(folder: Path, n_pairs: int, screen: Screen) -> Table:
    """Two ranks against one process, beside two independent processes."""
    rows = []
    with ExitStack() as stack:
        one, other, ranks = (stack.enter_context(Server(folder, n)) for n in (1, 1, 2))
        for name in SCALING:
            def together(name=name):
                for server in (one, other):
                    server.begin(name, AT_LEAST)
                return {"wall": 2.0 / sum(1.0 / server.receive()["wall"] for server in (one, other))}

            samples = interleaved({"one": lambda name=name: one.sample(name, AT_LEAST), "together": together,
                                   "ranks": lambda name=name: ranks.sample(name, AT_LEAST)}, n_pairs,
                                  lambda text, name=name: screen.progress(f"{name}: {text}"))
            times = {key: [sample["wall"] for sample in of] for key, of in samples.items()}
            busy = [a["busy"] / b["busy"] for a, b in zip(samples["one"], samples["ranks"])]
            speed_up, ceiling = (f * np.array(times["one"]) / times[key] for f, key in ((1.0, "ranks"), (2.0, "together")))
            rows.append({"what": name, "one_ms": 1e3 * median(times["one"]), "ranks_ms": 1e3 * median(times["ranks"]),
                         **pairwise(times["one"], times["ranks"]), "ceiling": median(ceiling),
                         "of_ceiling": median(speed_up / ceiling), "busy": median(busy), "seconds": samples})
    columns = [("what", "what", ""), ("one_ms", "1 process ms", ".1f"), ("ranks_ms", "2 ranks ms", ".1f"),
               ("ratio", "speed-up", ".3f"), ("ratio_low", "lowest", ".3f"), ("ratio_high", "highest", ".3f"),
               ("ceiling", "ceiling", ".3f"), ("of_ceiling", "of ceiling", ".0%"),
               ("busy", "processor time", ".3f")]
    return Table("parallel", f"two ranks, medians of {n_pairs} interleaved rounds", columns, rows,
                 [f"synthetic model, {MODEL}", "ceiling: two independent processes at once",
                  "processor time: that of one process over that of the busier rank in lists and evaluation"])


def balances(folder: Path) -> Table:
    """All structures of `BALANCE` on 2, 3 and 4 ranks."""
    rows = []
    for n_ranks in (2, 3, 4):
        done = subprocess.run([MPIEXEC, "-n", str(n_ranks), sys.executable, __file__, "balance", str(folder)], check=True,
                              timeout=300, stdout=subprocess.PIPE, text=True, env=one_core_environment())
        rows += [json.loads(line) for line in done.stdout.splitlines()]
    columns = [("what", "structure", ""), ("n_atoms", "atoms", "d"), ("n_ranks", "ranks", "d"), ("atoms", "in atoms", ".1%"),
               ("counted", "counted cost", ".1%"), ("measured", "processor time", ".1%")]
    return Table("balance", "load: largest of a rank over the mean, less 1", columns, rows, [f"synthetic model, {MIXED}"])


def main():
    """Both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5, help="interleaved rounds")
    parser.add_argument("--output", type=Path, default=Path("benchmark-results/parallel.json"))
    options, screen = parser.parse_args(), Screen()
    if MPIEXEC is None:
        parser.error("no mpiexec: pip install mpich")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        synthetic_model(**MODEL).save(folder / "one.safetensors")
        synthetic_model(**MIXED).save(folder / "two.safetensors")
        screen.line(f"load average {os.getloadavg()[0]:.2f} before the first sample")
        tables = [scaling(folder, options.pairs, screen), balances(folder)]
    for table in tables:
        screen.table(table)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    save(options.output, tables, {"pairs": options.pairs, "at_least": AT_LEAST})


if __name__ == "__main__":
    if sys.argv[1:2] in (["serve"], ["balance"]):
        {"serve": serve, "balance": balance}[sys.argv[1]](Path(sys.argv[2]))
    else:
        main()
