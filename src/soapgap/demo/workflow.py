"""What the steps of the demo share: the folder, how a command is run and shown, and how a result is recorded."""

import shutil
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from soapgap import programs
from soapgap.say import Reporter


@dataclass
class Check:
    """A number that has to be below a limit."""

    name: str
    value: float
    limit: float
    unit: str = ""

    @property
    def passed(self):
        """Whether value <= limit (never so for NaN)."""
        return bool(self.value <= self.limit)

    def __str__(self):
        unit = f" {self.unit}" if self.unit else ""
        sign = "<=" if self.passed else "> "
        return f"{'ok    ' if self.passed else 'FAILED'} {self.name}: {self.value:.3g} {sign} {self.limit:.3g}{unit}"


@dataclass
class StepResult:
    """What a step hands to the report.

    Attributes
    ----------
    summary : str
        One sentence with the main numbers.
    tables : list of (caption, header, rows)
        Rows are lists of strings.
    figures : list of (file name, alternative text)
        SVG files in the folder.
    checks : list of Check
    numbers : dict
        Everything measured, JSON values.
    """

    summary: str = ""
    tables: list = field(default_factory=list)
    figures: list = field(default_factory=list)
    checks: list = field(default_factory=list)
    numbers: dict = field(default_factory=dict)


@dataclass
class Workflow:
    """The folder of a demo and the programs started in it."""

    folder: Path
    threads: int
    quick: bool
    screen: Reporter
    commands: list = field(default_factory=list)

    def copy(self, name):
        """Copy a shipped file into the folder."""
        shutil.copyfile(files(__package__) / "data" / name, self.folder / name)

    def show(self, command):
        """Print a command as a user would type it, and remember it for the report."""
        text = command if isinstance(command, str) else programs.command_line(command)
        self.commands.append(text)
        self.screen.command(text)

    def run(self, command, log, time_limit, title, progress=None, shown=None):
        """Show a command and run it to its end in the folder.

        Parameters
        ----------
        command : list of str
        log : str
            File for its output, in the folder.
        time_limit : float
            Seconds.
        title : str
            For the moving line.
        progress : callable, optional
            Gives the fraction done, or None.
        shown : list of str, optional
            What to show in place of ``command`` (without the path of this Python).
        """
        self.show(shown or command)
        with self.screen.progress(title) as update:
            programs.run(command, self.folder, log, time_limit, tick=lambda: update(progress() if progress else None))
