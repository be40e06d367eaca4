"""`soapgap ipi-run`: i-PI and its drivers start, go on and end together, whatever happens to one of them."""

import contextlib
import os
import re
import signal
import socket
import sys
import time
from pathlib import Path

import ipi_runs
import numpy as np
import pytest
from ipi_runs import DEFAULTS, crystal, crystal_model, free_port
from ipi_tools import short_directory
from programs import LIMIT, environment, process

pytest.importorskip("ipi")
if not Path("/proc/self/cwd").exists():
    pytest.skip("needs /proc to see what is left running", allow_module_level=True)

from soapgap.ipi.launch.launcher import PATIENCE

COMMAND = [sys.executable, "-m", "soapgap", "ipi-run"]
MANY = 100000  # steps that are never reached
#: i-PI may write RESTART at any step.
INPUT = ipi_runs.INPUT.replace(' safe_stride="1000000"', "").replace("{forcefield}", ipi_runs.SOCKET)


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Model and structure, for all runs."""
    folder = tmp_path_factory.mktemp("material")
    crystal_model().save(folder / "model.safetensors")
    atoms = crystal()
    lines = [f"{symbol} {x:.12f} {y:.12f} {z:.12f}" for symbol, (x, y, z) in zip(atoms.symbols, atoms.positions)]
    h = " ".join(f"{value:.12f}" for value in atoms.cell.array.T.ravel())
    head = f"# CELL{{H}}: {h} positions{{angstrom}} cell{{angstrom}}"
    (folder / "start.xyz").write_text("\n".join([str(len(atoms)), head, *lines, ""]))
    return folder


def processes_in(folder: Path) -> dict[int, str]:
    """Process ids and command lines of all that run in a folder."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(path / "cwd") == str(folder):
                found[int(path.name)] = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


class Started:
    """`soapgap ipi-run` as a process in its folder."""

    def __init__(self, folder, running):
        self.folder, self.running = folder, running

    @property
    def output(self):
        return (self.folder / "ipi-run.out").read_text()

    def wait(self):
        """The exit status."""
        return self.running.wait(LIMIT)

    def step(self):
        """The last step in the table of properties."""
        table = self.folder / "run.out"
        return sum(not line.startswith("#") for line in table.read_text().splitlines()) - 1 if table.exists() else -1

    def wait_for_step(self, step):
        """Until it is in the table of properties."""
        end = time.monotonic() + LIMIT
        while self.step() < step:
            assert self.running.poll() is None, self.output
            assert time.monotonic() < end, self.output
            time.sleep(0.02)

    def wait_for_both_drivers(self):
        """Until each has computed a hundred frames."""
        self.wait_for_step(20)
        end = time.monotonic() + LIMIT
        while not all("frame 100" in (self.folder / f"drive-{i}.log").read_text() for i in (1, 2)):
            assert self.running.poll() is None, self.output
            assert time.monotonic() < end, self.output
            time.sleep(0.1)

    def signal_driver(self, number, what):
        """A signal to a driver with all its processes."""
        (leader,) = {os.getpgid(pid) for pid, line in processes_in(self.folder).items() if f"drive-{number}.log" in line}
        assert leader != os.getpgid(self.running.pid)
        os.killpg(leader, what)

    def ipi(self):
        """i-PI's process id."""
        (pid,) = [pid for pid, line in processes_in(self.folder).items() if "i-pi -S" in line]
        return pid

    def wait_until_asked(self, pid):
        """Until SIGTERM waits for a process that is stopped and cannot take it."""
        pending, end = 0, time.monotonic() + LIMIT
        while not pending & 1 << (signal.SIGTERM - 1):
            assert time.monotonic() < end, self.output
            pending = int(re.search(r"ShdPnd:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())[1], 16)
            time.sleep(0.02)

    def n_frames(self):
        """Frames that each driver says to have computed."""
        texts = [path.read_text() for path in sorted(self.folder.glob("drive-*.log"))]
        return [sum(int(n) for n in re.findall(r"(\d+) frames in", text)) for text in texts]


@contextlib.contextmanager
def ipi_run(folder, material, *options, source="input.xml", text=None, elements=("Si", "Ge"), **settings):
    """The command running in a folder; whatever is left there in the end is killed."""
    start = (material / "start.xyz").read_text()
    (folder / "start.xyz").write_text(start.replace("Si ", f"{elements[0]} ").replace("Ge ", f"{elements[1]} "))
    if source == "input.xml":
        (folder / source).write_text(text or INPUT.format(**DEFAULTS | settings))
    words = [*COMMAND, source, str(material / "model.safetensors"), "start.xyz", *options]
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(process(words, folder, folder / "ipi-run.out", env=environment()))
        started = Started(folder, running)
        try:
            yield started
        except BaseException:
            print(started.output, (folder / "ipi.log").read_text() if (folder / "ipi.log").exists() else "no ipi.log")
            raise
        finally:
            for pid in processes_in(folder):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def assert_nothing_left(folder, output):
    """Neither processes nor the private folder of the socket."""
    assert processes_in(folder) == {}
    where = re.search(r"on (\S*/soapgap-[^/]+)/", output)
    if where:
        assert not Path(where[1]).exists()


def restart_step(folder):
    return int(re.search(r"<step>\s*(\d+)\s*</step>", (folder / "RESTART").read_text())[1])


class TestRuns:
    def test_unix_one_driver_over_a_stale_socket(self, tmp_path, material):
        """All steps, with progress; a socket file that a killed i-PI has left is removed."""
        with short_directory() as sockets:
            with socket.socket(socket.AF_UNIX) as stale:
                stale.bind(f"{sockets}/run")
            with ipi_run(tmp_path, material, "--prefix", f"{sockets}/", "--skin", "0.7", steps=300) as run:
                assert run.wait() == 0, run.output
            assert f"removed the socket file {sockets}/run" in run.output
            assert list(sockets.iterdir()) == []
        lines = run.output.splitlines()
        assert any(re.match(r"step \d+/300  \d+ %", line) for line in lines)
        assert any(line.startswith("step 300/300  100 %") and "ms/step" in line and "potential -5.0" in line for line in lines)
        assert re.search(r"^step 300 of 300 in [\d.]+ s, [\d.]+ ms per step$", run.output, re.MULTILINE)
        assert "all steps are done" in run.output
        assert "raise <total_steps> in RESTART, then soapgap ipi-run RESTART" in run.output
        assert "--skin 0.7" in run.output
        assert "written in" in run.output
        assert "RESTART, drive-1.log, ipi-run.out, ipi.log, run.out" in run.output
        assert len(np.loadtxt(tmp_path / "run.out")) == 301
        assert run.n_frames() == [301]
        assert_nothing_left(tmp_path, run.output)

    def test_inet_two_drivers(self, tmp_path, material):
        """Beads are shared out, over TCP. The file EXIT is an early end in good order."""
        with ipi_run(tmp_path, material, "--drivers", "2", mode="inet", address="127.0.0.1", port=free_port(), beads=4,
                     steps=MANY) as run:
            run.wait_for_both_drivers()
            (tmp_path / "EXIT").touch()
            assert run.wait() == 0, run.output
        assert "2 drivers with 1 thread each on 127.0.0.1 port" in run.output
        assert "i-PI ended early: the file EXIT asked i-PI to end" in run.output
        step = restart_step(tmp_path)
        assert f"to continue from step {step}: soapgap ipi-run RESTART" in run.output
        assert 4 * step <= sum(run.n_frames()) <= 4 * (step + 2)
        assert_nothing_left(tmp_path, run.output)

    def test_interrupt_and_resume(self, tmp_path, material):
        """SIGINT: RESTART and 130. From there the run reaches its end, and the tables join."""
        with ipi_run(tmp_path, material, steps=1500) as run:
            run.wait_for_step(30)
            run.running.send_signal(signal.SIGINT)
            assert run.wait() == 130, run.output
        assert "stopped by SIGINT" in run.output
        step = restart_step(tmp_path)
        assert f"to continue from step {step}: soapgap ipi-run RESTART" in run.output
        assert 29 <= step < 1500
        assert_nothing_left(tmp_path, run.output)
        with ipi_run(tmp_path, material, source="RESTART") as run:
            assert run.wait() == 0, run.output
        assert f"steps {step} to 1500" in run.output
        assert "step 1500 of 1500" in run.output
        assert restart_step(tmp_path) == 1500
        steps = np.loadtxt(tmp_path / "run.out")[:, 0]
        assert np.array_equal(np.unique(steps), np.arange(1501))
        assert_nothing_left(tmp_path, run.output)

    def test_without_drivers(self, tmp_path, material):
        """A force field within i-PI: no driver is started. <total_time> is an early end in good order."""
        text = INPUT.format(**DEFAULTS | {"steps": MANY})
        text = re.sub(r"<ffsocket.*</ffsocket>", '<ffdirect name="soapgap"><pes>harmonic</pes><parameters>{k1: 0.1}'
                      "</parameters></ffdirect>", text, flags=re.DOTALL)
        text = text.replace("<prng>", "<total_time>1</total_time><prng>")
        with ipi_run(tmp_path, material, text=text) as run:
            assert run.wait() == 0, run.output
        assert "no driver: ffdirect needs none" in run.output
        assert "i-PI ended early: <total_time> of the input is over" in run.output
        assert f"to continue from step {restart_step(tmp_path)}:" in run.output
        assert 10 < restart_step(tmp_path) < MANY
        assert not list(tmp_path.glob("drive*"))
        assert_nothing_left(tmp_path, run.output)


class TestFailures:
    @pytest.mark.parametrize(("options", "elements", "words"), [((), ("Si", "C"), r"\bC\b"),
                                                                (("--skin", "-1"), ("Si", "Ge"), "--skin")])
    def test_a_driver_that_cannot_start(self, tmp_path, material, options, elements, words):
        """Wrong species, wrong option: the driver's own line, and i-PI goes with it."""
        with ipi_run(tmp_path, material, *options, elements=elements, steps=MANY) as run:
            assert run.wait() == 2, run.output
        errors = [line for line in run.output.splitlines() if line.startswith("soapgap: ")]
        assert len(errors) == 1
        assert "driver 1 could not start: " in errors[0]
        assert re.search(words, errors[0])
        assert_nothing_left(tmp_path, run.output)

    def test_one_of_two_drivers_is_killed(self, tmp_path, material):
        """The other one goes on."""
        with ipi_run(tmp_path, material, "--drivers", "2", beads=2, steps=MANY, consolidate="False") as run:
            run.wait_for_both_drivers()
            run.signal_driver(1, signal.SIGKILL)
            step = run.step()
            run.wait_for_step(step + 100)
            (tmp_path / "EXIT").touch()
            assert run.wait() == 0, run.output
        assert "soapgap: warning: driver 1 was ended by SIGKILL" in run.output
        assert restart_step(tmp_path) >= step + 100
        assert_nothing_left(tmp_path, run.output)

    def test_the_only_driver_is_killed(self, tmp_path, material):
        """Nothing can go on: i-PI writes RESTART, and the command says how to continue."""
        with ipi_run(tmp_path, material, steps=MANY, consolidate="False") as run:
            run.wait_for_step(20)
            run.signal_driver(1, signal.SIGKILL)
            assert run.wait() == 4, run.output
        assert "soapgap: no driver is left" in run.output
        assert f"to continue from step {restart_step(tmp_path)}: soapgap ipi-run RESTART" in run.output
        assert 19 <= restart_step(tmp_path) < MANY
        assert_nothing_left(tmp_path, run.output)

    def test_a_thread_of_ipi_breaks_down(self, tmp_path, material):
        """A driver killed with an unread request, by i-PI's default messages, would let i-PI hang with another one at hand.

        Each step waits for both beads. So while driver 2 is stopped, driver 1 becomes idle; stopped then, it cannot read
        its next frame, and its death resets the connection.
        """
        with ipi_run(tmp_path, material, "--drivers", "2", beads=2, steps=MANY) as run:
            run.wait_for_both_drivers()
            for number, what in ((2, signal.SIGSTOP), (1, signal.SIGSTOP), (2, signal.SIGCONT), (1, signal.SIGKILL)):
                run.signal_driver(number, what)
                time.sleep(0.7)
            assert run.wait() == 3, run.output
        assert "soapgap: a thread of i-PI has broken down" in run.output
        assert "<consolidate_messages>False" in run.output
        assert "ConnectionResetError" in run.output  # the last lines of i-PI's log
        assert 19 <= restart_step(tmp_path) < MANY
        assert_nothing_left(tmp_path, run.output)

    def test_ipi_cannot_start(self, tmp_path, material):
        """Its last words are shown, and drivers do not wait for it."""
        with ipi_run(tmp_path, material, text=INPUT.replace("<prng>", "<pigs/><prng>").format(**DEFAULTS)) as run:
            assert run.wait() == 3, run.output
        assert "soapgap: i-PI failed with status 1" in run.output
        assert "pigs" in run.output
        assert_nothing_left(tmp_path, run.output)

    def test_a_second_interrupt(self, tmp_path, material):
        """i-PI does not react (it is stopped): the second Ctrl-C kills it."""
        with ipi_run(tmp_path, material, steps=MANY) as run:
            run.wait_for_step(20)
            ipi = run.ipi()
            os.kill(ipi, signal.SIGSTOP)
            run.running.send_signal(signal.SIGINT)
            run.wait_until_asked(ipi)
            time.sleep(0.5)
            assert run.running.poll() is None
            run.running.send_signal(signal.SIGINT)
            start = time.monotonic()
            assert run.wait() == 130, run.output
            assert time.monotonic() - start < PATIENCE / 2
        assert "i-PI did not end; it is killed" in run.output
        assert "there is no RESTART of this run" in run.output
        assert_nothing_left(tmp_path, run.output)

    def test_ipi_is_killed(self, tmp_path, material):
        """Drivers leave, the last lines of i-PI's log are shown."""
        with ipi_run(tmp_path, material, steps=MANY) as run:
            run.wait_for_step(20)
            os.kill(run.ipi(), signal.SIGKILL)
            assert run.wait() == 3, run.output
        assert "soapgap: i-PI was ended by SIGKILL" in run.output
        assert "the last lines of ipi.log" in run.output
        assert_nothing_left(tmp_path, run.output)

    def test_ipi_run_is_killed(self, tmp_path, material):
        """Even then i-PI writes RESTART and nothing stays."""
        with ipi_run(tmp_path, material, steps=MANY) as run:
            run.wait_for_step(20)
            run.running.kill()
            run.wait()
            end = time.monotonic() + LIMIT
            while processes_in(tmp_path) and time.monotonic() < end:
                time.sleep(0.1)
        assert_nothing_left(tmp_path, run.output)
        assert 19 <= restart_step(tmp_path) < MANY
