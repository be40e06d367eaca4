"""What the check of the data has to say: findings with a severity, their places, and the words for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

SEVERITIES = ("error", "warning", "note")  # the worst first
EXIT_STATUS = {"error": 3, "warning": 1, "note": 0}  # 2 is wrong use, as in all commands
NAMED_RUNS = 5


@dataclass(frozen=True)
class Finding:
    """One thing that is noticed about the data.

    Attributes
    ----------
    severity : "error" (a fit would stop or learn something false), "warning" (look at it before the fit) or "note"
    code : str
        A short name that does not change between versions, for scripts.
    what : str
        What is there.
    means : str
        What it means and what to do.
    frames : tuple of int
        Indices into the frames of all files, in order; empty if the data as a whole are meant.
    values : dict of str to object
        The numbers behind it, for the JSON file.
    """

    severity: str
    code: str
    what: str
    means: str
    frames: tuple[int, ...] = ()
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Places:
    """File and number of every frame, for messages: frame k of all frames is `numbers[k]` of file `files[k]`."""

    names: Sequence[str]
    files: Sequence[int]
    numbers: Sequence[int]

    def by_file(self, frames: Iterable[int]) -> dict[str, list[int]]:
        """Numbers of the frames in their files, counted from 0."""
        found: dict[str, list[int]] = {}
        for k in frames:
            found.setdefault(self.names[self.files[k]], []).append(self.numbers[k])
        return found

    def words(self, frames: Sequence[int]) -> str:
        """A few of the frames by number, with the file if there are several, and how many there are; empty if none is."""
        if not frames:
            return ""
        if len(frames) == len(self.numbers) > 1:
            return "all frames"
        named, left = [], NAMED_RUNS
        for name, numbers in self.by_file(frames).items():
            if not left:
                break
            parts = runs(numbers)[:left]
            left -= len(parts)
            which = f"frame{'s' * (len(parts) > 1 or '-' in parts[0])} {', '.join(parts)}"
            named.append(which if len(self.names) == 1 else f"{name} {which}")
        text = "; ".join(named)
        if sum(len(runs(numbers)) for numbers in self.by_file(frames).values()) > NAMED_RUNS:
            return f"{text} and others, {len(frames)} in all"
        return text


def runs(numbers: Sequence[int]) -> list[str]:
    """Numbers in words, neighbours together: 1, 2, 3, 7 become "1-3" and "7"."""
    spans: list[list[int]] = []
    for k in sorted(numbers):
        if spans and k == spans[-1][1] + 1:
            spans[-1][1] = k
        else:
            spans.append([k, k])
    return [f"{a}-{b}" if b > a else str(a) for a, b in spans]


def worst(findings: Iterable[Finding]) -> str:
    """The worst severity among the findings; "note" if there is none."""
    return min((finding.severity for finding in findings), key=SEVERITIES.index, default="note")


def plural(n: int, noun: str) -> str:
    """"1 frame", "2 frames"."""
    return f"{n} {noun}{'s' * (n != 1)}"
