"""Programs that the tests start: found by name, with one thread each, and ended with all their children."""

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

LIMIT = 240.0  # seconds for one program: many times what any of them needs on a free core, since the core may not be free


def program(name):
    """Path of a program beside this Python, or on PATH; None if there is none."""
    return shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


def environment(**more):
    """This process's, with one thread for OpenMP and BLAS."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", **more}


@dataclass
class Run:
    """How a program ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def errors(self) -> list[str]:
        return [line for line in (self.stdout + self.stderr).splitlines() if "ERROR" in line]


@contextlib.contextmanager
def interruptible():
    """Within it, new processes react to SIGINT, also where a script has started pytest in its background.

    Shells let such commands ignore SIGINT, ignored signals are inherited, and our programs leave ignored ones ignored. A
    signal that has a handler here goes back to its default in the new process.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def process(command, cwd, output, **arguments):
    """A process in its own group, ended with all its children on the way out, by their ids."""
    with open(output, "w") as file, interruptible():
        running = subprocess.Popen(
            command, cwd=cwd, stdout=file, stderr=subprocess.STDOUT, start_new_session=True, **arguments
        )
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
        running.wait(LIMIT)


def run_program(command, folder=None, text="", **variables) -> Run:
    """Run a program to its end with `text` as its input, or end it and all its children after LIMIT seconds."""
    running = subprocess.Popen([str(word) for word in command], cwd=folder, text=True, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
                               env=environment(**variables))
    try:
        out, err = running.communicate(text, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        out, err = running.communicate()
        raise AssertionError(f"still running after {LIMIT} s: {command}\n{out}\n{err}") from None
    return Run(running.returncode, out, err)


def run_python(*words, folder=None, **variables) -> Run:
    """Run this Python: `"-c", code`, `"-m", "soapgap", ...` or a file."""
    return run_program([sys.executable, *words], folder, **variables)


def run_gap_fit(folder, *words) -> Run:
    """Run gap_fit; skips the test where there is none.

    The program in the wheel itself: the script that starts it takes a second to import quippy.
    """
    found = importlib.util.find_spec("quippy")
    own = Path(found.origin).parent / "gap_fit" if found else None
    command = own if own and own.exists() else program("gap_fit")
    if command is None:
        pytest.skip("gap_fit is not installed (pip install quippy-ase)")
    return run_program([command, *words], folder)
