"""What the user sees: a moving line when there is a terminal, plain lines otherwise."""

import time
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

PLAIN_INTERVAL = 15.0  # s between the lines that show that a long step is alive


class Screen:
    """Headings, commands, results and progress of the demo.

    Parameters
    ----------
    console : rich.console.Console, optional
        Where to write; standard output by default.
    """

    def __init__(self, console=None):
        self.console = console or Console(highlight=False, soft_wrap=True)

    def line(self, text="", style=None):
        """One line of text, without markup."""
        self.console.print(text, style=style, markup=False)

    def heading(self, text):
        """The beginning of a step."""
        self.line()
        self.line(text, style="bold")

    def command(self, text):
        """A command as the user would type it."""
        self.line(f"  $ {text}", style="cyan")

    def block(self, text):
        """Several lines, indented."""
        for line in text.splitlines():
            self.line("  " + line)

    @contextmanager
    def progress(self, title):
        """Within the block, call the value with (fraction or None, note) as often as you like."""
        if not self.console.is_terminal:
            yield PlainProgress(self, title)
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as bar:
            task = bar.add_task(f"  {title}", total=None, note="")

            def update(fraction=None, note=""):
                total = None if fraction is None else 1.0
                bar.update(task, total=total, completed=fraction or 0.0, note=note)

            yield update


class PlainProgress:
    """Progress without a terminal: a line now and then."""

    def __init__(self, screen, title):
        self.screen, self.title = screen, title
        self.start = self.last = time.monotonic()

    def __call__(self, fraction=None, note=""):
        now = time.monotonic()
        if now - self.last < PLAIN_INTERVAL:
            return
        self.last = now
        done = "" if fraction is None else f", {100 * fraction:.0f} %"
        self.screen.line(f"  ... {self.title}: {now - self.start:.0f} s{done}{', ' + note if note else ''}")
