"""Messages of the i-PI driver: plain lines, or a single live line where the output is a terminal."""

import sys
import threading
import time
from pathlib import Path

from soapgap.errors import InputError


class Log:
    """Writes lines to standard output and, if asked, to a file.

    Parameters
    ----------
    path : path, optional
        Lines are appended to this file.
    live : bool
        Whether a terminal shows progress as it happens, instead of lines.
    quiet : bool
        Nothing on standard output but warnings (these go to standard error).
    """

    def __init__(self, path: str | Path | None = None, live: bool = True, quiet: bool = False):
        self.quiet = quiet
        self._lock = threading.RLock()  # clients are threads
        self._file = None
        self._status = None
        if path is not None:
            try:
                self._file = open(path, "a", encoding="utf-8")
            except OSError as error:
                raise InputError(f"cannot write the log file {path}: {error.strerror}") from error
        if not quiet and live and sys.stdout.isatty():
            from rich.console import Console

            self._status = Console(highlight=False).status("waiting for i-PI")

    def named(self, name: str) -> "Log | NamedLog":
        """This log for one of several who write to it; lines then begin with `name`."""
        return NamedLog(self, name) if name else self

    def line(self, text: str) -> None:
        """One line of information."""
        with self._lock:
            self._to_file(text)
            self._stop_live()
            if not self.quiet:
                _print(text, sys.stdout)

    def warning(self, text: str) -> None:
        """One line of warning, to standard error even when quiet."""
        with self._lock:
            self._to_file(f"warning: {text}")
            self._stop_live()
            _print(f"soapgap: warning: {text}", sys.stderr)

    def progress(self, text: str, due: bool) -> None:
        """How it goes: a line if one is due, otherwise for a terminal only."""
        with self._lock:
            if due:
                self._to_file(text)
            if self._status is not None:
                self._status.update(text)
                self._status.start()
            elif due and not self.quiet:
                _print(text, sys.stdout)

    def close(self) -> None:
        """Ends the live line and closes the file."""
        self._stop_live()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _stop_live(self) -> None:
        if self._status is not None:
            self._status.stop()

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


def _print(text: str, stream) -> None:
    try:
        print(text, file=stream, flush=True)
    except OSError:
        pass  # nobody reads any more (a launcher that died); i-PI must still be served, or left in good order
