"""A run of i-PI with soapgap as its driver: begun, resumed, or recognised as finished."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from ase import Atoms
from ase.io import write

from soapgap import Potential
from soapgap.errors import HostError, InputError
from soapgap.files import write_atomically
from soapgap.ipi.launch import run_ipi

TEMPLATE = Path(__file__).with_name("water.xml")
TIME_STEP = 0.5e-15  # s, as in the template
STRIDE = 4  # steps between the lines of run.out, as in the template
SKIN = "1.0"  # A; beads are fast, and a wider skin than usual spares them new neighbour lists
LIMIT = 6 * 3600.0  # s; i-PI is then asked to write RESTART and end


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes
    ----------
    beads : int
        Of each ring polymer; 1 for classical nuclei.
    steps : int
        Of 0.5 fs.
    stride : int
        Steps between stored positions.
    temperature : float
        K.
    seed : int
    """

    beads: int
    steps: int
    stride: int = 40
    temperature: float = 300.0
    seed: int = 2026

    def input(self) -> str:
        """The input of i-PI."""
        comment, mark, text = TEMPLATE.read_text().partition("-->")  # the words of the comment stay
        for word in ("BEADS", "STEPS", "STRIDE", "TEMPERATURE", "SEED"):
            text = text.replace(word, f"{getattr(self, word.lower()):.12g}")
        return comment + mark + text


def seconds_per_frame(model, atoms: Atoms, n_threads: int) -> float:
    """Time of one evaluation, the best of three, after one that warms up."""
    potential = Potential(model, n_threads=n_threads, skin=float(SKIN))
    potential.compute(atoms)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        potential.compute(atoms)
        times.append(time.perf_counter() - start)
    return min(times)


def last_step(path) -> int:
    """The step of the last complete line of a table of i-PI; -1 without one."""
    if not Path(path).is_file():
        return -1
    lines = [line.split() for line in Path(path).read_text().splitlines(keepends=True) if line.endswith("\n")]
    return max((int(float(words[0])) for words in lines if words and words[0] != "#"), default=-1)


def newest_checkpoint(folder: Path) -> tuple[Path | None, int]:
    """The checkpoint of the latest step (None), and the step (0): i-PI's regular one, or RESTART, written at the end."""
    found = {0: None}
    for path in (folder / "run.checkpoint", folder / "RESTART"):
        text = path.read_text() if path.is_file() else ""
        step = re.search(r"<step>\s*(\d+)\s*</step>", text)  # i-PI leaves it out at step 0
        if step and int(step[1]) > 0 and "</simulation>" in text:
            found[int(step[1])] = path
    return found[max(found)], max(found)


def is_finished(folder: Path, plan: Plan) -> bool:
    """Whether i-PI has done all steps and written the lines of all of them."""
    return newest_checkpoint(folder)[1] >= plan.steps and last_step(folder / "run.out") >= plan.steps - plan.steps % STRIDE


def prepare(folder: Path, plan: Plan, model: Path, start: Atoms) -> None:
    """Lay out the folder of a run, or recognise one that was begun.

    Raises
    ------
    InputError
        The folder holds a run with other settings, another model or another start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    identity = asdict(plan) | {"model": hashlib.sha256(model.read_bytes()).hexdigest(),
                               "start": hashlib.sha256(start.positions.tobytes()).hexdigest()}
    label = folder / "settings.json"
    if label.is_file():
        if (before := json.loads(label.read_text())) != identity:
            other = ", ".join(name for name in identity if identity[name] != before.get(name))
            raise InputError(f"{folder} holds a run with other settings ({other}); remove it, or choose another --output")
        return
    bare = Atoms(start.symbols, start.positions, cell=start.cell, pbc=True)
    write(folder / "start.xyz", bare, format="extxyz")
    write_atomically(folder / "input.xml", plan.input())
    write_atomically(label, json.dumps(identity, indent=1) + "\n")


def simulate(folder: Path, plan: Plan, model: Path, start: Atoms, n_threads: int, limit_seconds: float = LIMIT) -> float:
    """Run, or go on with, one simulation; seconds that this call took (0 if it was finished before).

    Raises
    ------
    HostError
        It ended before its last step: i-PI or the driver failed, or somebody asked it to end.
    """
    prepare(folder, plan, model, start)
    if is_finished(folder, plan):
        print(f"{folder.name} run: finished earlier, kept", flush=True)
        return 0.0
    source, (checkpoint, step) = folder / "input.xml", newest_checkpoint(folder)
    if checkpoint is not None:
        source = folder / "continue.xml"
        shutil.copy(checkpoint, source)
        print(f"{folder.name} run: goes on from step {step}", flush=True)
    else:
        for path in folder.glob("run.*"):  # of a run that ended before its first checkpoint
            path.unlink()
    report = run_ipi(source, model, folder / "start.xyz", threads=n_threads, folder=folder, limit_seconds=limit_seconds,
                     drive_options=("--skin", SKIN))
    if not is_finished(folder, plan):
        raise HostError(f"the {folder.name} run stopped at step {report.step} of {plan.steps}: {report.reason}. See ipi.log "
                        f"and drive-1.log in {folder}. The same command goes on from the last checkpoint")
    return report.seconds
