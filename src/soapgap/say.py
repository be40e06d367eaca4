"""What programs say: lines, warnings and progress.

On a terminal and in a notebook progress moves; in a log file it is a line from time to time. `Reporter` is for work that
somebody waits for (a fit, a report, the demo), `Log` for programs that run beside others for days (drivers of i-PI). rich is
imported when something is to be shown: a driver in a queue needs none of it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from soapgap.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

LOG_SECONDS = 20.0  # between two lines about a task with an end in sight
PLAIN_INTERVAL = 15.0  # s between the lines that show that a long step is alive
LOG_WIDTH = 120  # characters of a table in a log file


def open_console() -> Console:
    """A rich console on standard output: as wide as the terminal, or as a log file may be."""
    from rich.console import Console

    return Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else LOG_WIDTH)


class Reporter:
    """Where the messages of a piece of work go.

    Parameters
    ----------
    quiet : bool
        Only collect the warnings.
    console : rich.console.Console, optional
        By default one on standard output.

    Attributes
    ----------
    warnings : list of str
        What the user should read once more at the end.
    """

    def __init__(self, quiet: bool = False, console: Console | None = None) -> None:
        self.quiet = quiet
        self.console = console or open_console()
        self.warnings: list[str] = []

    def line(self, text: str = "", style: str | None = None) -> None:
        """Say one line; its style shows on a terminal."""
        if not self.quiet:
            self.console.print(text, style=style, markup=False, soft_wrap=True)

    def warning(self, text: str) -> None:
        """Say one line that the user should read, and remember it."""
        self.warnings.append(text)
        self.line(f"warning: {text}")

    def heading(self, text: str) -> None:
        """The beginning of a step."""
        self.line()
        self.line(text, style="bold")

    def command(self, text: str) -> None:
        """A command as the user would type it."""
        self.line(f"  $ {text}", style="cyan")

    def block(self, text: str) -> None:
        """Several lines, indented."""
        for line in text.splitlines():
            self.line("  " + line)

    def show(self, renderable) -> None:
        """Show a rich table."""
        if not self.quiet:
            self.console.print(renderable)

    @contextmanager
    def task(self, label: str, total: int, done: int = 0) -> Iterator[Task]:
        """Progress of `total` units of work, of which `done` are finished already."""
        if not self._moves():
            yield LoggedTask(self, label, total, done)
            return
        from rich.progress import MofNCompleteColumn, TimeElapsedColumn, TimeRemainingColumn

        with _bar(self.console, MofNCompleteColumn(), TimeElapsedColumn(), "left", TimeRemainingColumn()) as bar:
            yield BarTask(bar, bar.add_task(label, total=total, completed=done))

    @contextmanager
    def progress(self, title: str) -> Iterator[Callable[..., None]]:
        """Within the block, call the value with (fraction or None, note) as often as you like."""
        if not self._moves():
            yield LoggedProgress(self, title)
            return
        from rich.progress import TextColumn, TimeElapsedColumn

        with _bar(self.console, TextColumn("{task.fields[note]}", markup=False), TimeElapsedColumn()) as bar:
            task = bar.add_task(f"  {title}", total=None, note="")

            def update(fraction: float | None = None, note: str = "") -> None:
                bar.update(task, total=None if fraction is None else 1.0, completed=fraction or 0.0, note=note)

            yield update

    def _moves(self) -> bool:
        return not self.quiet and (self.console.is_terminal or self.console.is_jupyter)


def _bar(console: Console, *columns) -> Progress:
    from rich.progress import BarColumn, Progress

    return Progress("{task.description}", BarColumn(), *columns, console=console, transient=True)


class BarTask:
    """Progress shown as a bar on a terminal."""

    def __init__(self, progress: Progress, handle) -> None:
        self._progress, self._handle = progress, handle

    def advance(self, amount: int) -> None:
        """Count `amount` more units as done."""
        self._progress.advance(self._handle, amount)


class LoggedTask:
    """Progress shown as a line every 20 seconds."""

    def __init__(self, reporter: Reporter, label: str, total: int, done: int) -> None:
        self._reporter, self._label, self._total = reporter, label, total
        self._first = self._done = done
        self._start = self._last = time.monotonic()

    def advance(self, amount: int) -> None:
        """Count `amount` more units as done."""
        self._done += amount
        now = time.monotonic()
        if now - self._last < LOG_SECONDS or self._done <= self._first:
            return
        self._last = now
        left = (now - self._start) * (self._total - self._done) / (self._done - self._first)
        self._reporter.line(f"{self._label}: {100 * self._done // self._total} %, {clock(left)} left")


Task = BarTask | LoggedTask


class LoggedProgress:
    """Progress of a program that is waited for: a line every 15 seconds."""

    def __init__(self, reporter: Reporter, title: str) -> None:
        self._reporter, self._title = reporter, title
        self._start = self._last = time.monotonic()

    def __call__(self, fraction: float | None = None, note: str = "") -> None:
        now = time.monotonic()
        if now - self._last < PLAIN_INTERVAL:
            return
        self._last = now
        done = "" if fraction is None else f", {100 * fraction:.0f} %"
        self._reporter.line(f"  ... {self._title}: {now - self._start:.0f} s{done}{', ' + note if note else ''}")


def clock(seconds: float) -> str:
    """Seconds as 45 s, 3:05 min or 2:10 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 90:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"


class Log:
    """Lines on standard output and, if asked, in a file; warnings on standard error; one live line where there is a terminal.

    Parameters
    ----------
    path : path-like, optional
        Lines are appended to this file.
    live : bool
        Whether a terminal shows progress as it happens, instead of lines.
    quiet : bool
        Nothing on standard output.
    steps : (int, int), optional
        Where a run of a known length begins and ends: the live line is then a bar.
    unread : bool
        Whether to go on when nobody reads standard output any more.
    """

    def __init__(self, path: str | Path | None = None, live: bool = True, quiet: bool = False,
                 steps: tuple[int, int] | None = None, unread: bool = True):
        self.quiet, self.unread = quiet, unread
        self._lock = threading.RLock()  # clients are threads
        self._file = None
        self._live = None
        if path is not None:
            try:
                self._file = open(path, "a", encoding="utf-8")
            except OSError as error:
                raise InputError(f"cannot write the log file {path}: {error.strerror}") from error
        if not quiet and live and sys.stdout.isatty():
            self._live = _LiveLine() if steps is None else _LiveBar(*steps)

    @property
    def is_live(self) -> bool:
        """Whether progress moves."""
        return self._live is not None

    def named(self, name: str) -> Log | NamedLog:
        """This log for one of several who write to it; lines then begin with `name`."""
        return NamedLog(self, name) if name else self

    def line(self, text: str) -> None:
        """One line of information."""
        with self._lock:
            self._to_file(text)
            self._stop_live()
            if not self.quiet:
                self._print(text, sys.stdout)

    def warning(self, text: str) -> None:
        """One line of warning, to standard error even when quiet."""
        with self._lock:
            self._to_file(f"warning: {text}")
            self._stop_live()
            self._print(f"soapgap: warning: {text}", sys.stderr)

    def progress(self, text: str, due: bool, step: int | None = None) -> None:
        """How it goes: a line if one is due, otherwise for a terminal only.

        Parameters
        ----------
        text : str
        due : bool
        step : int, optional
            For a bar.
        """
        with self._lock:
            if due:
                self._to_file(text)
            if self._live is not None:
                self._live.update(text, step)
            elif due and not self.quiet:
                self._print(text, sys.stdout)

    def close(self) -> None:
        """Ends the live line and closes the file."""
        with self._lock:
            self._stop_live()
            self._live = None
            if self._file is not None:
                self._file.close()
                self._file = None

    def _stop_live(self) -> None:
        if self._live is not None:
            self._live.stop()

    def _print(self, text: str, stream) -> None:
        try:
            print(text, file=stream, flush=True)
        except OSError:  # nobody reads any more (a launcher that died); i-PI must still be served, or left in good order
            if not self.unread:
                raise

    def _to_file(self, text: str) -> None:
        if self._file is None:
            return
        try:
            self._file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
            self._file.flush()
        except OSError as error:  # a full disk must not end a simulation for the sake of its log
            self._file = None
            self.warning(f"the log file is no longer written: {error.strerror}")


class NamedLog:
    """A `Log` whose lines say from whom they are."""

    def __init__(self, log: Log, name: str):
        self.log, self.name = log, name

    def line(self, text: str) -> None:
        """See `Log.line`."""
        self.log.line(self.name + text)

    def warning(self, text: str) -> None:
        """See `Log.warning`."""
        self.log.warning(self.name + text)

    def progress(self, text: str, due: bool) -> None:
        """See `Log.progress`."""
        self.log.progress(self.name + text, due)


class _LiveLine:
    """One line that changes; `stop` makes way for lines that stay."""

    def __init__(self):
        self._status = open_console().status("")

    def update(self, text: str, step: int | None) -> None:
        self._status.update(text)
        self._status.start()

    def stop(self) -> None:
        self._status.stop()


class _LiveBar:
    """A bar for the steps, and what else there is to know."""

    def __init__(self, start: int, total: int):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.table import Column

        width = Column(ratio=1, no_wrap=True, overflow="ellipsis")  # what the other columns leave
        self._bar = Progress(BarColumn(bar_width=16), MofNCompleteColumn(),
                             TextColumn("{task.fields[text]}", markup=False, table_column=width), console=open_console(),
                             transient=True, expand=True, refresh_per_second=4)
        self._task = self._bar.add_task("", total=total, completed=start, text="")

    def update(self, text: str, step: int | None) -> None:
        self._bar.update(self._task, completed=step, text=text)
        self._bar.start()

    def stop(self) -> None:
        self._bar.stop()
