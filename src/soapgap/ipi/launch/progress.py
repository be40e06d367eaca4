"""How far i-PI has come, from the files that it writes, and showing it."""

import re
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from soapgap.ipi.launch.input import IPIInput
from soapgap.ipi.launch.process import Tail
from soapgap.say import Log

__all__ = ["Display", "State", "Watcher"]

SHOWN = {"potential": "Ha", "temperature": "a.u.", "conserved": "Ha"}  # and the unit if the input names none
UNITS = {"electronvolt": "eV", "kelvin": "K", "kilocal/mol": "kcal/mol", "kilojoule/mol": "kJ/mol"}
HEADER = re.compile(r"#\s*(?:column|cols\.)\s+(\d+)(?:-\d+)?\s*-->\s*(\S[^:]*?)\s*(?::|$)")
TIMING = re.compile(r"Average timings at MD step\s+(\d+)")
WINDOW = 30.0  # seconds over which the time per step is averaged


@dataclass
class State:
    """Where a run stands.

    Attributes
    ----------
    step : int or None
        Steps done; None as long as i-PI has written nothing.
    values : dict of str to str
        Quantities of the last line, as they are to be shown.
    pace : float or None
        Seconds per step, of late.
    mean_pace : float or None
        Seconds per step since the first one that was seen.
    """

    step: int | None = None
    values: dict[str, str] = field(default_factory=dict)
    pace: float | None = None
    mean_pace: float | None = None


class Watcher:
    """Reads i-PI's table of properties and its log as they grow. Made before i-PI starts.

    Parameters
    ----------
    run : IPIInput
    folder : Path
        i-PI's folder.
    """

    def __init__(self, run: IPIInput, folder: Path):
        self.state = State()
        self._run = run
        self._path = folder / run.properties.name if run.properties else None
        self._old = self._inode()
        self._tail = None
        self._columns: dict[int, str] | None = None
        self._n_rows = 0
        self._last: list[str] = []
        self._marks: deque[tuple[float, int]] = deque()
        self._first: tuple[float, int] | None = None
        if self._path is not None and run.step > 0:  # i-PI appends to what is there
            self._tail = Tail.from_end(self._path)

    def look(self, log_lines: list[str]) -> State:
        """The state now, with the lines that i-PI's log has gained."""
        step = self.state.step
        for line in log_lines:
            if found := TIMING.search(line):
                step = max(step or 0, int(found[1]) + 1)
        rows = self._new_rows()
        if rows:
            row_step = self._read(rows[-1].split())
            step = row_step if step is None else max(step, row_step)
        if step is not None and step != self.state.step:
            self._mark(step)
        return self.state

    def _inode(self) -> int | None:
        try:
            return None if self._path is None else self._path.stat().st_ino
        except OSError:
            return None

    def _new_rows(self) -> list[str]:
        if self._path is None:
            return []
        if self._tail is None:  # a run from the start: i-PI moves a table of the same name out of the way first
            if self._inode() in (None, self._old):
                return []
            self._tail = Tail(self._path)
        rows = [line for line in self._tail.lines() if line.strip() and not line.lstrip().startswith("#")]
        self._n_rows += len(rows)
        return rows

    def _read(self, words: list[str]) -> int:
        """Takes the quantities from a row of the table; its step."""
        if self._columns is None:
            self._columns = self._read_columns(len(words))
        table = self._run.properties
        done = self._run.step // table.stride * table.stride  # resumed runs have no row for the step they start from
        step = done + (self._n_rows - (self._run.step == 0)) * table.stride
        for column, quantity in self._columns.items():
            name, unit = re.match(r"([^({]*)[^{]*\{?([^}]*)", quantity).groups()
            name = name.strip()
            try:
                value = float(words[column])
            except (ValueError, IndexError):  # a line that i-PI could not finish
                continue
            if name == "step":
                step = round(value)
            elif name in SHOWN:
                self.state.values[name] = f"{value:.8g} {UNITS.get(unit, unit) or SHOWN[name]}"
        return step

    def _read_columns(self, n_columns: int) -> dict[int, str]:
        """Which quantity is where: some take several columns, and only the head of the file knows how many."""
        columns = {}
        with open(self._path, encoding="utf-8", errors="replace") as file:
            for line in file:
                if not line.startswith("#"):
                    break
                if found := HEADER.match(line):
                    columns[int(found[1]) - 1] = found[2]
        if not columns and n_columns == len(self._run.properties.quantities):
            columns = dict(enumerate(self._run.properties.quantities))
        return columns

    def _mark(self, step: int) -> None:
        now = time.monotonic()
        self.state.step = step
        if self._first is None:
            self._first = (now, step)
        elif step > self._first[1]:
            self.state.mean_pace = (now - self._first[0]) / (step - self._first[1])
        self._marks.append((now, step))
        while len(self._marks) > 2 and now - self._marks[0][0] > WINDOW:
            self._marks.popleft()
        (start, first), (end, last) = self._marks[0], self._marks[-1]
        if last > first:
            self.state.pace = (end - start) / (last - first)


class Display(Log):
    """A live bar on a terminal; elsewhere a line each ten seconds or each tenth of the run.

    Parameters
    ----------
    start, total : int
        First and last step of the run.
    interval : float
        Seconds between lines.
    """

    def __init__(self, start: int, total: int, interval: float = 10.0):
        super().__init__(steps=(start, total), unread=False)
        self._start, self._total, self._interval = start, total, interval
        self._next_time = time.monotonic() + interval
        self._next_step = start

    def update(self, state: State) -> None:
        """Shows the state, at the rate that the output can bear."""
        if self.is_live:
            self.progress("waiting for the first step" if state.step is None else self._details(state), False, state.step)
            return
        now = time.monotonic()
        if now < self._next_time and (state.step is None or state.step < self._next_step):
            return
        self._next_time = now + self._interval
        if state.step is None:
            self.line("waiting for the first step")
            return
        tenth = max((self._total - self._start) / 10, 1)
        self._next_step = self._start + tenth * (int((state.step - self._start) / tenth) + 1)
        percent = 100 * state.step / self._total
        self.line(f"step {state.step}/{self._total}  {percent:.0f} %  {self._details(state)}".rstrip())

    def _details(self, state: State) -> str:
        parts = []
        if state.pace is not None:
            left = round(state.pace * (self._total - state.step))
            parts = [f"{describe_pace(state.pace)}", f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"]
        return "  ".join(parts + [f"{name} {state.values[name]}" for name in SHOWN if name in state.values])


def describe_pace(seconds: float) -> str:
    """Time per step in words."""
    return f"{1000 * seconds:.3g} ms/step" if seconds < 1 else f"{seconds:.3g} s/step"
