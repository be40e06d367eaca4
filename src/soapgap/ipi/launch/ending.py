"""How a run of i-PI ended, from what it left behind: its RESTART, its log and its folder."""

import re
from dataclasses import dataclass
from pathlib import Path

from soapgap.errors import InputError
from soapgap.ipi.launch.input import read_input

__all__ = ["FolderMark", "RunReport", "soft_exit_reason"]

SOFT_EXIT = re.compile(r"SOFTEXIT CALLED FROM THREAD <[^>]*>\s*(.*)")


@dataclass(frozen=True)
class RunReport:
    """How `run_ipi` ended.

    Attributes
    ----------
    status : int
        0: i-PI did all its steps, or ended early because its input, an EXIT file or a limit asked for it; 3: i-PI failed;
        4: no driver was left; 128 + n: a signal n ended it.
    reason : str
        In words.
    step, total_steps : int
        The last step that is known to be done, and that of the input.
    seconds : float
        From the start of the processes to the end of i-PI.
    seconds_per_step : float or None
        Without the start; None if fewer than two steps were seen.
    restart : Path or None
    restart_step : int or None
        The checkpoint that i-PI wrote at its end, and its step: earlier than `step` where <simulation safe_stride> is above 1.
    files : tuple of str
        What was written in the folder.
    """

    status: int
    reason: str
    step: int
    total_steps: int
    seconds: float
    seconds_per_step: float | None
    restart: Path | None
    restart_step: int | None
    files: tuple[str, ...]


class FolderMark:
    """What was in a folder at a moment.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._before = self._contents()

    def written(self) -> tuple[str, ...]:
        """Files that are new or changed, without i-PI's copies of older ones (#name#0#)."""
        changed = self._contents().items() - self._before.items()
        return tuple(sorted(name for name, _ in changed if not name.startswith("#")))

    def restart(self) -> tuple[Path, int] | None:
        """RESTART and its step, if it was written since."""
        path = self.folder / "RESTART"
        if path.name not in self.written():
            return None
        try:
            return path, read_input(path).step
        except InputError:  # i-PI was killed while it wrote
            return None

    def _contents(self) -> dict[str, tuple]:
        contents = {}
        for path in self.folder.iterdir():
            if path.is_file():
                stat = path.stat()
                contents[path.name] = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        return contents


def soft_exit_reason(log_lines: list[str]) -> tuple[bool, str]:
    """Whether i-PI ended early because it was asked to, and its own words for it.

    Its exit status does not say so: it is 0 also after failures that leave a RESTART.
    """
    words = ""
    for line in log_lines:
        if found := SOFT_EXIT.search(line):
            words = found[1].strip().removeprefix("@SOFTEXIT: ").removeprefix("@ SIMULATION: ").strip()
            break
    text = "\n".join(log_lines)
    if "EXIT file detected" in text:
        return True, "the file EXIT asked i-PI to end"
    if "Wall clock time expired" in text or "Maximum wallclock time elapsed" in text:
        return True, "<total_time> of the input is over"
    # A quiet i-PI does not say more; motions that end by themselves (optimisers) report success.
    return "Exiting cleanly" in words or "I-PI reports success" in text, words or "i-PI gave no reason"
