"""Faults to order for the tests of the i-PI driver: computing that dies, waits or goes wrong, clients that break off, and runs
that have them.

`Fault` is a calculator of ASE, so that it can be part of a model file and be met by the real command; it adds exact zeros to
the model, so that runs with and without it can be compared bit by bit.
"""

import contextlib
import ctypes
import os
import resource
import signal
import socket
import struct
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from ipi_runs import crystal, ipi_running
from ipi_tools import Driver, header
from programs import LIMIT, environment, process, program

from soapgap.model.external import AsePotential
from soapgap.potential import Potential

MEBIBYTE = 1 << 20
BEADS, STEPS = 2, 6
FRAMES = BEADS * (STEPS + 1)


class Fault:
    """Adds nothing, except in its call number `at` (0: the warm-up), once in each `folder`, where it does `what`.

    "kill", "abort", "segfault" and "leave" end the process; "raise" raises; "nan" and "push" (a large force) spoil the numbers
    of that call; "wait" waits until a file `go` appears. Beforehand a file named `what` appears, with the process's id in it;
    the file `computing` holds that of the last process that began.
    """

    def __init__(self, what, at, folder):
        self.what, self.at, self.folder = what, at, Path(folder)
        self.count, self.energy = -1, 0.0
        (self.folder / "computing").write_text(str(os.getpid()))

    def get_forces(self, atoms):
        self.count += 1
        self.energy, forces = 0.0, np.zeros((len(atoms), 3))
        if self.count == self.at and self._first():
            self._strike(forces)
        return forces

    def get_potential_energy(self, atoms):
        return self.energy

    def get_potential_energies(self, atoms):
        return np.full(len(atoms), self.energy / len(atoms))

    def get_stress(self, atoms):
        return np.zeros(6)

    def _first(self):
        with contextlib.suppress(FileExistsError), open(self.folder / f"{self.what}.new", "x") as file:
            file.write(str(os.getpid()))
            file.close()
            os.link(self.folder / f"{self.what}.new", self.folder / self.what)  # appears whole
            return True
        return False

    def _strike(self, forces):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if self.what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.what == "abort":
            os.abort()
        elif self.what == "segfault":
            ctypes.string_at(0)
        elif self.what == "leave":
            os._exit(7)
        elif self.what == "raise":
            raise ArithmeticError("as ordered")
        elif self.what == "nan":
            self.energy = np.nan
        elif self.what == "push":
            forces[:2, 0] = 1e4, -1e4
        else:
            assert self.what == "wait"
            wait_until((self.folder / "go").exists, "the word to go on")


def with_fault(model, what, at, folder):
    """The model with a `Fault` in it; the folder is made."""
    Path(folder).mkdir(exist_ok=True)
    return replace(model, external=[AsePotential("ipi_faults:Fault", {"what": what, "at": at, "folder": str(folder)})])


class Starved:
    """A potential that after the warm-up has 64 MiB left, and wants more for 13824 times as many atoms."""

    def __init__(self, model):
        self.model, self.count = model, 0

    def compute(self, atoms):
        self.count += 1
        potential = Potential(self.model, n_threads=1)
        if self.count == 1:
            return potential.compute(atoms)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 64 * MEBIBYTE, used + 64 * MEBIBYTE))
        return potential.compute(atoms.repeat(24))


class Spoiled:
    """A potential whose evaluation number `at` (0: the warm-up) gives an energy or forces that are not finite, or raises."""

    def __init__(self, model, what, at=1):
        self.model, self.what, self.at, self.count = model, what, at, -1

    def compute(self, atoms):
        self.count += 1
        result = Potential(self.model, n_threads=1).compute(atoms)
        if self.count == self.at:
            if self.what == "raise":
                raise ZeroDivisionError("as ordered")
            if self.what == "energy":
                result.energy = np.nan
            else:
                result.forces[3] = np.nan
        return result


def wait_until(condition, what, limit=LIMIT):
    """Polls; the first true value of `condition()`."""
    end = time.monotonic() + limit
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {limit:g} s for {what}"
        time.sleep(0.02)
    return value


def gone(pid):
    """Whether a process has ended, waited for by its parent or not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return False


def break_off(where, n_atoms, n_bytes, silent=False):
    """A client that takes one frame of i-PI, sends the first bytes of an answer, and closes; or waits until i-PI does."""
    answer = header("FORCEREADY") + struct.pack("=di", 1.0, n_atoms) + bytes(24 * n_atoms + 72 + 4)
    assert n_bytes < len(answer)
    with socket.socket(socket.AF_UNIX) as sock, sock.makefile("rb") as stream:
        sock.settimeout(LIMIT)
        sock.connect(where["prefix"] + where["unix"])
        state = "NEEDINIT"
        while (name := stream.read(12).decode().strip()) != "GETFORCE":
            if name == "STATUS":
                sock.sendall(header(state))
            elif name == "INIT":
                stream.read(struct.unpack("=ii", stream.read(8))[1])
                state = "READY"
            else:
                assert name == "POSDATA"
                stream.read(144 + 4 + 24 * n_atoms)
                state = "HAVEDATA"
        sock.sendall(answer[:n_bytes])
        if silent:
            stream.read()


@contextlib.contextmanager
def running(folder, **settings):
    with ipi_running(folder, crystal(), beads=BEADS, **({"steps": STEPS} | settings)) as run:
        yield run


@contextlib.contextmanager
def running_again(run, source):
    """i-PI on a restart file, at the same address."""
    command = [sys.executable, program("i-pi"), "-S", run.where["prefix"], source]
    with process(command, run.folder, run.folder / "again.log", env=environment()) as again:
        yield again


class Command:
    """`soapgap drive` as users start it."""

    def __init__(self, running, log):
        self.running, self.log, self.pid = running, log, running.pid

    def status(self):
        return self.running.wait(LIMIT)

    def text(self):
        return self.log.read_text()

    def said(self, words, times=1):
        wait_until(lambda: self.text().count(words) >= times or self.running.poll() is not None, words)
        assert self.text().count(words) >= times

    def last_line(self):
        return self.text().splitlines()[-1]


@contextlib.contextmanager
def command(run, model, *options):
    """The command on the model, which may have a `Fault`."""
    model.save(run.folder / "model.safetensors")
    where = [f"--{name}={value}" for name, value in run.where.items()]
    words = [program("soapgap"), "drive", "model.safetensors", "start.xyz", "--threads=1", "--allow-external", *where, *options]
    with process(words, run.folder, run.folder / "drive.log", env=environment()) as running:
        yield Command(running, run.folder / "drive.log")


def healthy(run, model, **arguments):
    """A driver without faults, in a thread."""
    return Driver(Potential(model, n_threads=1, skin=0.5), crystal(), **run.where, **arguments)


def faulty(run, model, what, at=1, **arguments):
    """A driver in a thread, with its compute in a process that has a fault."""
    spoiled = with_fault(model, what, at, run.folder / what)
    arguments = {"dump": run.folder / f"{what}.xyz", **arguments}
    return Driver(spoiled, crystal(), **run.where, threads=1, allow_external=True, **arguments)


def spoiled(run, model, what, at=1, **arguments):
    """A driver in a thread that computes in a process what is wrong."""
    arguments = {"dump": run.folder / f"{what}.xyz", **arguments}
    return Driver(Spoiled(model, what, at), crystal(), separate=True, **run.where, **arguments)


def struck(folder, what="wait"):
    """Waits for the fault; the computing process."""
    return int(wait_until(lambda: (folder / what).exists() and (folder / what).read_text(), f"the fault '{what}'"))


@contextlib.contextmanager
def held(run):
    """i-PI stands still as soon as it listens, so that all who connect meanwhile are served together."""
    path = Path(run.where["prefix"] + run.where["unix"])
    wait_until(path.exists, "i-PI's socket")
    time.sleep(0.05)  # from bind to listen
    run.running.send_signal(signal.SIGSTOP)
    yield
    run.running.send_signal(signal.SIGCONT)


def connected(log):
    wait_until(lambda: log.exists() and " connected\n" in log.read_text(), "the connection")
