"""i-PI and its drivers as one program: started together, watched, and ended together.

i-PI runs in its own process, and so does every `soapgap drive`; each leads a process group, so that nothing they start
stays behind. Where the input has no force field that needs drivers, i-PI runs alone.
"""

import contextlib
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from soapgap.errors import InputError
from soapgap.ipi.launch.ending import FolderMark, RunReport, soft_exit_reason
from soapgap.ipi.launch.options import LaunchOptions
from soapgap.ipi.launch.place import Place, free_place, place_of
from soapgap.ipi.launch.plan import LaunchPlan, make_plan
from soapgap.ipi.launch.process import Child, Leash, Tail, python_module
from soapgap.ipi.launch.progress import Display, Watcher

__all__ = ["RunReport", "run_ipi"]

BLAS_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
CONNECTED = re.compile(r"\bconnected\b")  # in the log of a driver
POLL = 0.1  # seconds between looks at the processes
CONNECT = 600.0  # seconds that drivers wait for i-PI; if i-PI fails they are ended at once
GRACE = 30.0  # seconds that i-PI may take to end after it has dismissed its drivers
PATIENCE = 60.0  # seconds that i-PI may take to write RESTART and end when it is asked to
LEAVE = 5.0  # seconds that drivers may take to leave by themselves, and again when they are asked to
DONE = "all steps are done"
BROKEN = ("a thread of i-PI has broken down (see its log), and it would wait without end. If a driver was killed in the middle "
          "of a frame: <consolidate_messages>False</consolidate_messages> in <ffsocket> lets i-PI survive that")


def run_ipi(source: str | Path, model: str | Path | None = None, structure: str | Path | None = None,
            options: LaunchOptions | None = None, *, drive_options: Sequence[str] = (), **others) -> RunReport:
    """Runs i-PI with drivers until it ends, and shows progress on standard output.

    Parameters
    ----------
    source : path-like
        Input or checkpoint of i-PI (XML).
    model, structure : path-like, optional
        As for `soapgap.ipi.drive`; not used if the input has no <ffsocket>.
    options : LaunchOptions, optional
    drive_options : sequence of str
        Options of `soapgap drive`, as words.
    **others
        Fields of `LaunchOptions`, in place of those of `options`: ``run_ipi("input.xml", model, structure, drivers=2)``.

    Returns
    -------
    RunReport

    Raises
    ------
    InputError
        An input, address or argument that cannot be used, or a driver that could not start; i-PI does not run then.
    HostError
        i-PI is not installed.

    Notes
    -----
    SIGINT, SIGTERM and SIGHUP (if called in the main thread) let i-PI write RESTART; a second one kills all.
    """
    options = replace(options or LaunchOptions(), **others)
    plan = make_plan(source, model, structure, options, drive_options)
    private = Path(tempfile.mkdtemp(prefix="soapgap-", dir="/tmp" if os.access("/tmp", os.W_OK) else None))
    leash = Leash(private)
    try:
        place = place_of(plan.run, plan.socket, str(private), options.prefix) if plan.socket else None
        with _Signals() as signals:
            return _Launch(plan, place, private, leash, signals).go()
    finally:
        leash.close()
        shutil.rmtree(private, ignore_errors=True)


class _Signals:
    """Counts the signals that ask us to end, in place of their usual effect."""

    def __init__(self):
        self.first: int | None = None
        self.count = 0
        self._before = {}

    def __enter__(self) -> "_Signals":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) != signal.SIG_IGN:  # nohup
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number, frame) -> None:
        self.first = self.first or number
        self.count += 1


class _Driver:
    """One `soapgap drive`: its process, and what it says.

    Parameters
    ----------
    number : int
        From 1.
    """

    def __init__(self, number: int, plan: LaunchPlan, place: Place, private: Path, leash: Leash):
        self.name = f"driver {number}"
        self.log = plan.options.folder / f"drive-{number}.log"
        self.reported = False
        self.connected = False
        self.last = ""
        errors = private / f"drive-{number}.err"
        self._log_tail, self._tail = Tail.from_end(self.log), Tail(errors)
        command = python_module("soapgap", "drive", str(plan.model), str(plan.structure), *place.drive, "--threads",
                                str(plan.options.threads), "--wait", str(CONNECT), "--quiet", "--log", str(self.log))
        self.child = Child([*command, *plan.drive_options], plan.options.folder, dict(os.environ), errors, errors, leash)

    def look(self) -> list[str]:
        """Its new warnings. Other words on standard error (a traceback, a library's last words) go to its log."""
        ended = self.child.status is not None
        self.connected = self.connected or any(CONNECTED.search(line) for line in self._log_tail.lines())
        warnings = []
        for line in self._tail.lines(all_of_it=ended):
            if line.startswith("soapgap: warning: "):
                warnings.append(line.removeprefix("soapgap: warning: "))
                continue
            if re.search(r"\w", line):
                self.last = line.removeprefix("soapgap: ").strip("│ \n")  # wrong options are shown in a box
            with open(self.log, "a", encoding="utf-8") as file:
                file.write(line + "\n")
        return warnings

    def describe_end(self) -> str:
        """How it ended, in words."""
        status = self.child.status
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return f"{self.name} {how}" + (f": {self.last}" if self.last else "")


class _Launch:
    """A run from its start to its end."""

    def __init__(self, plan: LaunchPlan, place: Place | None, private: Path, leash: Leash, signals: _Signals):
        self.plan, self.place, self.private, self.leash, self.signals = plan, place, private, leash, signals
        self.drivers: list[_Driver] = []
        self.ipi: Child | None = None
        self.log = plan.options.folder / "ipi.log"
        self.log_lines: list[str] = []
        self._log_tail = Tail.from_end(self.log)
        self._no_driver_since: float | None = None
        self.mark = FolderMark(plan.options.folder)
        self.watcher = Watcher(plan.run, plan.options.folder)
        self.display: Display | None = None

    def go(self) -> RunReport:
        """Starts, watches, ends."""
        if self.place and (done := free_place(self.place, self.plan.socket.address)):
            print(f"soapgap: warning: {done}", file=sys.stderr)
        self.display = Display(self.plan.run.step, self.plan.run.total_steps)
        try:
            self._announce()
            self._start()
            status, reason = self._watch()
            if self.ipi.status is None:
                self._stop_ipi(gently=True)
            self._stop_drivers(LEAVE if any(driver.connected for driver in self.drivers) else 0.0)
            return self._report(status, reason)
        finally:
            self._end_all()
            self.display.close()
            if self.place and isinstance(self.place.address, str):
                with contextlib.suppress(InputError):  # a killed i-PI leaves its socket, and the next one refuses to start
                    free_place(self.place, "")

    def _announce(self) -> None:
        plan, run, drivers, threads = self.plan, self.plan.run, self.plan.options.drivers, self.plan.options.threads
        beads = f", {run.n_replicas} bead{'s' * (run.n_replicas > 1)}" if run.n_replicas else ""
        self.display.line(f"i-PI: {run.path.name}, steps {run.step} to {run.total_steps}{beads}; output in {self.log.name}")
        if plan.socket is None:
            self.display.line(f"no driver: {', '.join(run.others)} needs none")
            return
        where = self.place.address if isinstance(self.place.address, str) else "{} port {}".format(*self.place.address)
        self.display.line(f"{drivers} driver{'s' * (drivers > 1)} with {threads} "
                          f"thread{'s' * (threads > 1)}{' each' * (drivers > 1)} on {where}; output in drive-N.log")
        if run.n_replicas and drivers * plan.socket.batch_size > max(run.n_replicas, plan.socket.batch_size):
            batch = f", {plan.socket.batch_size} frames per message," if plan.socket.batch_size > 1 else ""
            self.display.warning(f"{drivers} drivers{batch} and {run.n_replicas} bead{'s' * (run.n_replicas > 1)}: some "
                                 "drivers will have nothing to do. More threads each would help more")

    def _start(self) -> None:
        prefix = ["-S", self.place.prefix] if self.place and self.place.prefix is not None else []
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        if self.place:  # i-PI's own BLAS threads would spin on the drivers' cores
            environment |= dict.fromkeys(BLAS_THREADS, "1")
        else:
            environment["OMP_NUM_THREADS"] = str(self.plan.options.threads)
        self.ipi = Child([*self.plan.ipi, *prefix, str(self.plan.run.path)], self.plan.options.folder, environment,
                         self.log, self.log, self.leash)
        if self.place:
            for number in range(1, self.plan.options.drivers + 1):
                self.drivers.append(_Driver(number, self.plan, self.place, self.private, self.leash))

    def _watch(self) -> tuple[int, str]:
        """Looks on until there is a reason to end: the exit status and the reason."""
        while True:
            ended = self.ipi.status  # before the files are read, so that nothing of them is missed
            self._look()
            if self.signals.first is not None:
                name = signal.Signals(self.signals.first).name
                self.display.line(f"{name}: i-PI is asked to write RESTART and end; a second signal kills all")
                return 128 + self.signals.first, f"stopped by {name}"
            if ended is not None:
                return self._judge(ended)
            if any("Exception in thread" in line for line in self.log_lines):
                return 3, BROKEN
            if (reason := self._without_drivers()) is not None:
                return 4, reason
            limit = self.plan.options.limit_seconds
            if limit is not None and time.monotonic() - self.ipi.started > limit:
                return 0, f"stopped after the limit of {limit:g} s"
            time.sleep(POLL)

    def _look(self, ended: bool = False) -> None:
        """Reads and shows what has been written."""
        lines = self._log_tail.lines(all_of_it=ended)
        self.log_lines = (self.log_lines + lines)[-1000:]
        self.display.update(self.watcher.look(lines))
        for driver in self.drivers:
            for warning in driver.look():
                self.display.warning(f"{driver.name}: {warning}")

    def _without_drivers(self) -> str | None:
        """Notes drivers that have ended; why the run cannot continue, if none is left."""
        for driver in self.drivers:
            status = driver.child.status
            if status is None or driver.reported:
                continue
            driver.look()  # its last words may have come after the last look
            driver.reported = True
            if status > 0 and not driver.connected:
                self._stop_ipi(gently=any(other.connected for other in self.drivers))
                self._stop_drivers(0.0)
                raise InputError(f"{driver.name} could not start: {driver.last or 'see ' + driver.log.name}")
            if status != 0:
                self.display.warning(driver.describe_end())
        if not self.drivers or any(driver.child.status is None for driver in self.drivers):
            return None
        if all(driver.child.status != 0 for driver in self.drivers):
            return "no driver is left"
        # The last ones left in good order: i-PI has dismissed them and is about to end, or somebody asked them to leave.
        self._no_driver_since = self._no_driver_since or time.monotonic()
        return "no driver is left" if time.monotonic() - self._no_driver_since > GRACE else None

    def _judge(self, status: int) -> tuple[int, str]:
        """The exit status and the reason after i-PI has ended by itself."""
        self._look(ended=True)
        if status != 0:
            how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"failed with status {status}"
            return 3, f"i-PI {how}"
        restart = self.mark.restart()
        if max(restart[1] if restart else 0, self.watcher.state.step or 0) >= self.plan.run.total_steps:
            return 0, DONE
        wanted, reason = soft_exit_reason(self.log_lines)
        if wanted:
            return 0, f"i-PI ended early: {reason}"
        lost = any(driver.child.status not in (None, 0) for driver in self.drivers)
        return 4 if lost else 3, f"i-PI ended early: {reason}"

    def _stop_ipi(self, gently: bool) -> None:
        """Ends i-PI: it writes RESTART and tells the drivers, unless a second signal or its silence cuts it short."""
        if gently:
            self.ipi.ask()
            limit = time.monotonic() + PATIENCE
            while not self.ipi.wait(POLL) and self.signals.count < 2 and time.monotonic() < limit:
                pass
        if self.ipi.status is None:
            if gently:
                self.display.warning("i-PI did not end; it is killed")
            self.ipi.kill()
        self._look(ended=True)

    def _stop_drivers(self, patience: float) -> None:
        """Waits for the drivers to leave, asks them to, and kills them."""
        for act in (None, Child.ask):
            for driver in self.drivers:
                if act is not None:
                    act(driver.child)
            limit = time.monotonic() + (patience if act is None else LEAVE)
            while any(driver.child.status is None for driver in self.drivers):
                if time.monotonic() > limit or self.signals.count > 1:
                    break
                time.sleep(0.02)
        for driver in self.drivers:
            if driver.child.status is None:
                self.display.warning(f"{driver.name} did not end; it is killed")
                driver.child.kill()
        self._look(ended=True)

    def _end_all(self) -> None:
        """Whatever happened (an output that is gone, for instance): nothing stays, and i-PI may write RESTART."""
        if self.ipi is not None:
            self.ipi.ask()
            self.ipi.wait(2 * LEAVE)
        for child in [self.ipi, *(driver.child for driver in self.drivers)]:
            if child is not None:
                child.kill()

    def _report(self, status: int, reason: str) -> RunReport:
        run, restart, state = self.plan.run, self.mark.restart(), self.watcher.state
        restart_path, restart_step = restart or (None, None)
        step = max(restart_step or 0, state.step or run.step)
        if step >= run.total_steps and (status in (0, 4) or reason is BROKEN):  # it was done when it was stopped
            status, reason = 0, DONE
        return RunReport(status, reason, step, run.total_steps, time.monotonic() - self.ipi.started, state.mean_pace,
                         restart_path, restart_step, self.mark.written())
