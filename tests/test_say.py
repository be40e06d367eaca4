"""What programs say, on a terminal and in a file."""

import io
import sys
import threading

import pytest

from soapgap import say
from soapgap.errors import InputError
from soapgap.say import Log, Reporter, clock


class Terminal(io.StringIO):
    def isatty(self):
        return True


def make_terminal(monkeypatch) -> Terminal:
    """Standard output that says it is a terminal of 100 columns (not as a fixture: pytest sets its own after those)."""
    monkeypatch.setattr(sys, "stdout", Terminal())
    for name, value in {"TERM": "xterm", "COLUMNS": "100", "LINES": "24"}.items():
        monkeypatch.setenv(name, value)
    return sys.stdout


def test_clock():
    assert [clock(x) for x in (0.4, 89.4, 90, 3600, 5400, 7800)] == ["0 s", "89 s", "1:30 min", "60:00 min", "1:30 h", "2:10 h"]


class TestReporter:
    def test_lines_as_they_are(self, capsys):
        """Nothing is taken for markup or a smiley, and nothing is folded."""
        text = "[bold] :smile: " + 300 * "x"
        Reporter().line(text)
        assert capsys.readouterr().out == text + "\n"

    def test_warnings_are_remembered(self, capsys):
        for quiet in (False, True):
            reporter = Reporter(quiet)
            reporter.warning("look")
            assert reporter.warnings == ["look"]
        assert capsys.readouterr().out == "warning: look\n"

    def test_a_task_in_a_log_file(self, monkeypatch, capsys):
        now = [0.0]
        monkeypatch.setattr(say.time, "monotonic", lambda: now[0])
        with Reporter().task("rows", 100, done=20) as task:
            for _ in range(4):
                now[0] += 0.6 * say.LOG_SECONDS
                task.advance(10)
        assert capsys.readouterr().out == "rows: 40 %, 72 s left\nrows: 60 %, 48 s left\n"

    def test_a_task_on_a_terminal(self, monkeypatch):
        terminal = make_terminal(monkeypatch)
        with Reporter().task("rows", 100) as task:
            task.advance(30)
        assert "30/100" in terminal.getvalue()


class TestLog:
    def test_in_a_file_and_on_a_pipe(self, tmp_path, capsys):
        log = Log(tmp_path / "log")
        log.line("a line")
        log.named("client 2: ").warning("look")
        log.progress("not due", due=False)
        log.progress("due", due=True)
        log.close()
        out, err = capsys.readouterr()
        assert (out, err) == ("a line\ndue\n", "soapgap: warning: client 2: look\n")
        lines = [line.split(" ", 2)[2] for line in (tmp_path / "log").read_text().splitlines()]
        assert lines == ["a line", "warning: client 2: look", "due"]

    def test_quiet(self, capsys):
        log = Log(quiet=True)
        log.line("a line")
        log.progress("due", due=True)
        log.warning("look")
        assert capsys.readouterr() == ("", "soapgap: warning: look\n")

    @pytest.mark.parametrize(("steps", "shown"), [(None, ["frame 7"]), ((0, 40), ["frame 7", "7/40"])])
    def test_on_a_terminal(self, monkeypatch, steps, shown):
        """A live line, or a bar where the length is known; lines that stay go above it."""
        terminal = make_terminal(monkeypatch)
        log = Log(steps=steps)
        assert log.is_live
        threads = [threading.Thread(target=log.progress, args=("frame 7", False, 7)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        log.line("it stays")
        log.close()
        assert not log.is_live
        assert all(text in terminal.getvalue() for text in shown)
        assert terminal.getvalue().rstrip().endswith("it stays")

    def test_nobody_reads(self, monkeypatch):
        """A driver goes on when its launcher is dead; `ipi-run` ends with its terminal."""
        class Gone(io.StringIO):
            def write(self, text):
                raise BrokenPipeError
        monkeypatch.setattr(sys, "stdout", Gone())
        Log().line("unread")
        with pytest.raises(BrokenPipeError):
            Log(unread=False).line("unread")

    def test_no_place_for_the_file(self, tmp_path):
        with pytest.raises(InputError, match=r"cannot write the log file .*none.log: No such file"):
            Log(tmp_path / "none" / "none.log")
