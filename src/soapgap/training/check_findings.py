"""What the check of the data has to say: findings with a severity, their places, and the words for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

SEVERITIES = ("error", "warning", "note")  # the worst first
EXIT_STATUS = {"error": 3, "warning": 1, "note": 0}  # 2 is wrong use, as in all commands
NAMED_FRAMES = 5


@dataclass(frozen=True)
class Finding:
    """One thing that is noticed about the data.

    Attributes
    ----------
    severity : "error" (a fit would stop or learn something false), "warning" (look at it before the fit) or "note"
    code : a short name that does not change between versions, for scripts
    what : what is there
    means : what it means and what to do
    frames : indices into the frames of all files, in order; empty if the data as a whole are meant
    values : the numbers behind it, for the JSON file
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
        """A few of the frames by name, and how many there are; empty if none is given."""
        if not frames:
            return ""
        named = self.by_file(frames[:NAMED_FRAMES])
        text = "; ".join(f"{name} frame{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
                         for name, numbers in named.items())
        more = len(frames) - NAMED_FRAMES
        return f"{text} and {more} more ({len(frames)} in all)" if more > 0 else text


def worst(findings: Iterable[Finding]) -> str:
    """The worst severity among the findings; "note" if there is none."""
    return min((finding.severity for finding in findings), key=SEVERITIES.index, default="note")


def plural(n: int, noun: str) -> str:
    """"1 frame", "2 frames"."""
    return f"{n} {noun}{'s' * (n != 1)}"
