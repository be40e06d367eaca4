"""What a fit says while it runs: lines, warnings, and progress with the time left.

On a terminal and in a notebook the progress is a bar; in a log file it is a line now and then.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LOG_SECONDS = 20.0
LOG_WIDTH = 120


class Reporter:
    """Where messages go.

    Parameters
    ----------
    quiet : only collect the warnings
    console : a rich console; by default one on standard output
    """

    def __init__(self, quiet: bool = False, console: Console | None = None) -> None:
        self.quiet = quiet
        self.console = console or Console(highlight=False, width=None if sys.stdout.isatty() else LOG_WIDTH)
        self.warnings: list[str] = []

    def line(self, text: str) -> None:
        """Say one line."""
        if not self.quiet:
            self.console.print(text, markup=False, soft_wrap=True)

    def warning(self, text: str) -> None:
        """Say one line that the user should read, and remember it."""
        self.warnings.append(text)
        self.line(f"warning: {text}")

    def show(self, renderable) -> None:
        """Show a rich table."""
        if not self.quiet:
            self.console.print(renderable)

    @contextmanager
    def task(self, label: str, total: int, done: int = 0) -> Iterator[Task]:
        """Progress of `total` units of work, of which `done` are finished already."""
        if self.quiet or not (self.console.is_terminal or self.console.is_jupyter):
            yield LoggedTask(self, label, total, done)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                   TextColumn("left"), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            handle = progress.add_task(label, total=total, completed=done)
            yield BarTask(progress, handle)


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


def clock(seconds: float) -> str:
    """Seconds as 45 s, 3:05 min or 2:10 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 90:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"
