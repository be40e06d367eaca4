"""What runs in processes of its own: one program per process, or a command whose time and memory are wanted.

    python workers.py serve     answers one request per line of standard input; `common.Worker` is the other end
    python workers.py launch    runs the command in the JSON on standard input; prints its wall time and peak memory
    python workers.py fit FILE  fits a model to the settings (JSON) in FILE on one core; prints its memory and errors

Every program has a process of its own so that its memory can be told apart and no program finds its caches, threads or
settings disturbed by another. The head of this file imports the standard library only: the memory of a small launcher
is the smallest that a launched command can be reported to have.
"""

import json
import os
import sys
import time

SEED_OF_COMPARISON = 77777  # far from the seeds of the timed structures


def peak_memory() -> int:
    """Largest resident memory of this process so far, bytes.

    From the kernel's VmHWM, not getrusage: ru_maxrss of a new process starts at the size of the process that made it.
    """
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


class Dgemm:
    """One matrix product of numpy (OpenBLAS), the roof of every kernel."""

    def __init__(self, spec):
        import numpy as np

        self.a, self.b = np.random.default_rng(0).normal(size=(2, spec["n"], spec["n"]))
        self.out = np.empty_like(self.a)

    def structure(self, seed):
        return None

    def evaluate(self, _):
        self.a.dot(self.b, out=self.out)


class Soapgap:
    """Energy, forces and virial of a structure, its neighbour list made again: all of `Potential.compute`."""

    def __init__(self, spec):
        from soapgap.potential import Potential

        self.potential = Potential(spec["model"], n_threads=spec.get("threads", 1))
        self.spec = spec["structure"]

    def structure(self, seed):
        from systems import structure

        return structure(self.spec, seed)

    def evaluate(self, atoms):
        return self.potential.compute(atoms).forces


class EvaluatorAlone(Soapgap):
    """The evaluator without neighbour list and without gathering of forces: energies and all de_i/dr_ij."""

    def structure(self, seed):
        from soapgap.neighbours.arrays import neighbour_arrays

        if not hasattr(self, "pairs"):  # one structure will do: the evaluator keeps nothing between calls
            atoms = super().structure(seed)
            self.pairs = neighbour_arrays(atoms, self.potential.cutoff, self.potential.species)
        return self.pairs

    def evaluate(self, pairs):
        self.potential.evaluator.evaluate(pairs)


class Dynamics(Soapgap):
    """The same in a molecular dynamics run: a neighbour list with a skin of 1 Angstrom is kept from step to step."""

    def __init__(self, spec):
        from soapgap.potential import Potential

        self.potential = Potential(spec["model"], n_threads=spec.get("threads", 1), skin=1.0)
        self.spec, self.start = spec["structure"], None

    def structure(self, seed):
        import numpy as np

        if self.start is None:
            self.start = super().structure(0)
        atoms = self.start.copy()
        atoms.positions += np.random.default_rng(seed).normal(0.0, 0.02, atoms.positions.shape)
        return atoms


class Quip(Soapgap):
    """quippy with the same model as a QUIP file: energy, forces and stress in one pass."""

    def __init__(self, spec):
        from quip_oracle import quip_calculator, quip_evaluate

        self.calculator, self.quip_evaluate = quip_calculator(spec["xml"]), quip_evaluate
        self.spec = spec["structure"]

    def evaluate(self, atoms):
        return self.quip_evaluate(self.calculator, atoms)["forces"]


class Featomic(Soapgap):
    """featomic's SOAP power spectrum and its gradients: no kernel, no energies."""

    def __init__(self, spec):
        import featomic

        radial = {"type": "Gto", "max_radial": spec["n_max"] - 1}
        self.calculator = featomic.SoapPowerSpectrum(
            cutoff={"radius": spec["cutoff"], "smoothing": {"type": "ShiftedCosine", "width": 0.5}},
            density={"type": "Gaussian", "width": 0.5},
            basis={"type": "TensorProduct", "max_angular": spec["l_max"], "radial": radial})
        self.spec = spec["structure"]

    def evaluate(self, atoms):
        self.calculator.compute(atoms, gradients=["positions"])


PROGRAMS = {"dgemm": Dgemm, "soapgap": Soapgap, "evaluator": EvaluatorAlone, "dynamics": Dynamics,
            "quip": Quip, "featomic": Featomic}


def sample(program, first_seed: int, at_least: float) -> dict:
    """Evaluate structures that the program has not seen until so many seconds are spent; the mean time of one."""
    spent, count = 0.0, 0
    while count == 0 or spent < at_least:
        structure = program.structure(first_seed + count)
        start = time.perf_counter()
        program.evaluate(structure)
        spent += time.perf_counter() - start
        count += 1
    return {"seconds": spent / count, "count": count}


def serve():
    """Make the program that the first line describes, then answer requests until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a program prints must not get between the answers
    spec = json.loads(sys.stdin.readline())
    program, seed = PROGRAMS[spec["program"]](spec), 1
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "sample":
            answer = sample(program, seed, request["at_least"])
            seed += answer["count"]
        elif request["do"] == "forces":
            answer = {"forces": program.evaluate(program.structure(SEED_OF_COMPARISON)).tolist()}
        else:
            answer = {"bytes": peak_memory()}
        print(json.dumps(answer), file=answers, flush=True)


def launch():
    """Run a command to its end; its output goes to a file. Time from before its start, memory of its largest process."""
    import subprocess

    request = json.load(sys.stdin)
    with open(request["log"], "wb") as log:
        start = time.perf_counter()
        process = subprocess.Popen(request["command"], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                   cwd=request["folder"])
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
    print(json.dumps({"status": os.waitstatus_to_exitcode(status), "seconds": seconds, "bytes": usage.ru_maxrss * 1024}))


def fit(path):
    """One fit; what it took by step, its memory and its errors."""
    from soapgap.fitting import fit

    with open(path) as file:
        result = fit(json.load(file), threads=1, quiet=True, restart=True)
    n_sparse = sum(len(term.sparse_points) for term in result.model.terms if hasattr(term, "sparse_points"))
    print(json.dumps({"bytes": peak_memory(), "steps": result.seconds, "errors": result.errors, "n_sparse": n_sparse,
                      "warnings": result.warnings}))


if __name__ == "__main__":
    {"serve": serve, "launch": launch, "fit": fit}[sys.argv[1]](*sys.argv[2:])
