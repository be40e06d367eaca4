"""The record of a search, MODEL.tune.jsonl: one JSON object per line, only ever appended to.

Trials are skipped if the log has them for the same settings and training data. The log also tells when a test set was
evaluated, and with which settings.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from soapgap.errors import InputError

TRIAL, CURVE, LEFT_OUT = "trial", "learning curve", "leave one out"
TEST_BEGUN, TEST_DONE = "test evaluation begun", "test evaluated"


class TuneLog:
    """The log of one model.

    Parameters
    ----------
    path : Path
        The file; it need not exist.

    Raises
    ------
    InputError
        It exists and cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: list[dict[str, Any]] = []
        try:
            content = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise InputError(f"cannot read the log {path}: {error.strerror}") from None
        for line in content.splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # the line that a killed search was writing
                continue
            if isinstance(entry, dict):
                self.entries.append(entry)
        self._open_line = bool(content) and not content.endswith(b"\n")

    def find(self, event: str, identity: str) -> dict[str, Any] | None:
        """The last entry of this kind with this fingerprint."""
        found = [e for e in self.entries if e.get("event") == event and e.get("identity") == identity]
        return found[-1] if found else None

    def append(self, event: str, identity: str, **content: Any) -> dict[str, Any]:
        """Write one line, with the date.

        Raises
        ------
        InputError
            It cannot be written.
        """
        date = datetime.now(UTC).isoformat(timespec="seconds")
        entry = {"event": event, "identity": identity, "date": date, **content}
        line = "\n" * self._open_line + json.dumps(entry, sort_keys=False) + "\n"
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise InputError(f"cannot write the log {self.path}: {error.strerror}") from None
        self._open_line = False
        self.entries.append(entry)
        return entry

    def earlier_tests(self, test_sha256: str, identity: str) -> list[dict[str, Any]]:
        """Evaluations of this test set, the last one last.

        One that was begun and not finished counts if its settings were others (`identity`): its errors may have been seen.
        """
        ours = [e for e in self.entries if e.get("test_sha256") == test_sha256]
        done = [e for e in ours if e.get("event") == TEST_DONE]
        finished = {e.get("identity") for e in done}
        begun = [e for e in ours if e.get("event") == TEST_BEGUN and e.get("identity") not in finished | {identity}]
        return sorted(done + begun, key=lambda e: str(e.get("date")))
