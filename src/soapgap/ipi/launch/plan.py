"""What `soapgap ipi-run` is asked to do, looked at before anything is started."""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from soapgap.errors import HostError, InputError
from soapgap.ipi.launch.input import IPIInput, SocketForceField, choose_socket, read_input
from soapgap.ipi.launch.options import LaunchOptions
from soapgap.ranks import launched_ranks

__all__ = ["LaunchPlan", "make_plan"]

OURS = ("--unix", "--host", "--port", "--prefix", "--threads", "--log", "--quiet", "-q", "--help", "--check")


@dataclass(frozen=True)
class LaunchPlan:
    """A run of i-PI that can be started.

    Attributes
    ----------
    run : IPIInput
    socket : SocketForceField or None
        The force field to serve; None: i-PI runs alone.
    ipi : list of str
        How i-PI is called.
    model, structure : Path or None
        Absolute.
    options : LaunchOptions
        With the number of threads settled, and an absolute folder.
    drive_options : tuple of str
        Further words for each `soapgap drive`.
    """

    run: IPIInput
    socket: SocketForceField | None
    ipi: list[str]
    model: Path | None
    structure: Path | None
    options: LaunchOptions
    drive_options: tuple[str, ...]


def make_plan(source, model, structure, options: LaunchOptions, drive_options: Sequence[str] = ()) -> LaunchPlan:
    """All that can be checked before anything is started; parameters and errors as for `soapgap.ipi.launch.run_ipi`."""
    if launched_ranks() > 1:
        raise InputError(f"ipi-run was started on {launched_ranks()} MPI ranks, expected no mpiexec: it starts the processes "
                         "itself (--drivers). For drivers on MPI ranks start i-pi and `mpiexec soapgap drive` separately")
    ipi = _ipi_command()
    folder, drivers, threads = Path(options.folder).absolute(), options.drivers, options.threads
    if not folder.is_dir():
        raise InputError(f"got the folder {folder}, which does not exist; expected the one with the files that the i-PI input "
                         "names")
    run = read_input(Path(source).absolute())
    socket = choose_socket(run, options.forcefield)
    if run.step >= run.total_steps:
        raise InputError(f"{source} is at step {run.step} of {run.total_steps}: nothing is left to do. For more steps raise "
                         "<total_steps> in it")
    if (folder / "EXIT").exists():
        raise InputError(f"the file EXIT is in {folder}, and i-PI would end at once; remove it")
    if drivers < 1 or (threads is not None and threads < 1):
        raise InputError(f"got {drivers} drivers of {threads} threads, expected at least 1 of each")
    if socket and (model is None or structure is None):
        raise InputError(f"{source} waits for drivers (<ffsocket name=\"{socket.name}\">): give MODEL and STRUCTURE after it")
    for option in drive_options:
        if option.split("=")[0] in OURS:
            raise InputError(f"got {option} for the drivers, which is not for them: ipi-run takes addresses from the i-PI "
                             "input, and sets threads and logs itself")
    if threads is None:
        asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
        threads = int(asked) if asked.isdigit() and int(asked) > 0 else max(1, _n_cores() // drivers)
    paths = [None if path is None else Path(path).absolute() for path in (model, structure)]
    return LaunchPlan(run, socket, ipi, *paths, replace(options, folder=folder, threads=threads), tuple(drive_options))


def _ipi_command() -> list[str]:
    """How i-PI is called: a Python script, run by this Python if it is installed beside it."""
    beside = Path(sys.executable).parent / "i-pi"
    if beside.exists() and find_spec("ipi") is not None:
        return [sys.executable, str(beside)]
    if found := shutil.which("i-pi"):
        return [found]
    raise HostError('i-PI is not installed: there is no program i-pi beside this Python, nor on PATH. Install it with: pip '
                    'install "soapgap[ipi]"')


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
