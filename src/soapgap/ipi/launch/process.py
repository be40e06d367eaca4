"""Processes that always end, and files that are read as they grow."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from soapgap.errors import InputError

__all__ = ["Child", "Leash", "Tail", "python_module"]


def python_module(*words: str) -> list[str]:
    """The command line of a module of this Python; modules in the current folder do not come in its way (-P)."""
    return [sys.executable, "-P", "-m", *words]


class Leash:
    """Another process that ends ours if this one is killed (`launch_leash`).

    Parameters
    ----------
    folder : Path
        Removed in the end.
    """

    def __init__(self, folder: Path):
        self._process = subprocess.Popen(
            python_module("soapgap.ipi.launch.leash", str(folder)), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True)

    def add(self, leader: int) -> None:
        """A process to be ended with us."""
        self._tell(f"+{leader}\n")

    def remove(self, leader: int) -> None:
        """A process that has ended."""
        self._tell(f"-{leader}\n")

    def close(self, limit: float = 10.0) -> None:
        """Lets the other process end."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(limit)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tell(self, line: str) -> None:
        with contextlib.suppress(OSError):  # it was killed: the run continues without it
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()


class Child:
    """A process in a group of its own; the whole group ends with it.

    Parameters
    ----------
    command : list of str
    folder : Path
    environment : dict, optional
        As for `subprocess.Popen`.
    output, errors : Path
        Files to which standard output and standard error are appended.
    leash : Leash
    """

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str], output: Path, errors: Path, leash: Leash):
        self._leash = leash
        try:
            with open(output, "ab") as out, open(errors, "ab") as err:
                # A session of its own: Ctrl-C in the terminal reaches only the program that starts and ends them all.
                self._process = subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out,
                                                 stderr=err, start_new_session=True)
        except OSError as error:
            raise InputError(f"cannot start {command[0]} in {folder}, with output to {output}: "
                             f"{error.strerror or error}") from error
        self.started = time.monotonic()
        leash.add(self._process.pid)

    @property
    def status(self) -> int | None:
        """The exit status, negative for the number of a signal; None while it runs."""
        known = self._process.returncode
        if known is None and self._process.poll() is not None:
            self._signal(signal.SIGKILL, group=True)  # what the process may have left behind of its own
            self._leash.remove(self._process.pid)
        return self._process.returncode

    def wait(self, seconds: float) -> bool:
        """Whether it has ended within this many seconds."""
        end = time.monotonic() + seconds
        while self.status is None:
            if time.monotonic() >= end:
                return False
            time.sleep(0.02)
        return True

    def ask(self) -> None:
        """SIGTERM to the process, which then ends its own children."""
        if self.status is None:
            self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL to the group, and waits for the end."""
        if self.status is None:
            self._signal(signal.SIGKILL, group=True)
            self._process.wait()
            self._leash.remove(self._process.pid)

    def _signal(self, number: int, group: bool = False) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            (os.killpg if group else os.kill)(self._process.pid, number)


class Tail:
    """Whole lines that were appended to a file since the last look.

    Parameters
    ----------
    path : Path
    start : int
        Bytes that are skipped.
    """

    def __init__(self, path: Path, start: int = 0):
        self.path = path
        self._position = start

    @classmethod
    def from_end(cls, path: Path) -> "Tail":
        """Passes over all that is in the file now."""
        return cls(path, path.stat().st_size if path.exists() else 0)

    def lines(self, all_of_it: bool = False) -> list[str]:
        """New lines, the unfinished last one only if it is the end of the file for good (`all_of_it`)."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self._position)
                data = file.read()
        except FileNotFoundError:
            return []
        if not all_of_it:
            data = data[: data.rfind(b"\n") + 1]
        self._position += len(data)
        return data.decode(errors="replace").splitlines()
