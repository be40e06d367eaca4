"""Everything that can go wrong between i-PI and `soapgap drive`: the run goes on or stops, never hangs, and loses nothing.

Runs that were disturbed are compared, bit by bit, with one that was not.
"""

import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import ase.io
import ipi_runs
import numpy as np
import pytest
from ase.units import Hartree
from ipi_faults import (
    FRAMES,
    STEPS,
    Starved,
    break_off,
    command,
    connected,
    faulty,
    gone,
    healthy,
    held,
    running,
    running_again,
    spoiled,
    struck,
    wait_until,
    with_fault,
)
from ipi_runs import crystal, crystal_model
from ipi_tools import Driver, Toy
from programs import LIMIT

from soapgap.errors import InputError
from soapgap.ipi import LostConnection
from soapgap.ipi.supervise import ComputeDied
from soapgap.potential import Potential

pytest.importorskip("ipi")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts on Linux's signals and limits")

@pytest.fixture(scope="module")
def model():
    return crystal_model()


@pytest.fixture(autouse=True)
def faults_can_be_found(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, model):
    with running(tmp_path_factory.mktemp("undisturbed")) as run:
        driver = healthy(run, model)
        table = run.finish()
        assert driver.wait().frames == FRAMES
    assert len(table) == STEPS + 1
    assert np.ptp(table[:, 2]) > 1e-4  # it moves
    return table


class TestComputeDies:
    @pytest.mark.parametrize(("mode", "consolidate"), [("unix", "False"), ("inet", "True")])
    def test_killed_and_another_comes(self, tmp_path, model, undisturbed, mode, consolidate):
        """kill -9 while it computes: status 4, one line; i-PI waits for the next driver and loses nothing."""
        with (running(tmp_path, mode=mode, consolidate=consolidate) as run,
              command(run, with_fault(model, "wait", 3, tmp_path)) as driver):
            os.kill(struck(tmp_path), signal.SIGKILL)
            assert driver.status() == 4
            assert driver.last_line().startswith("soapgap: the computing process was killed (SIGKILL")
            assert "Traceback" not in driver.text()
            assert run.running.poll() is None
            other = healthy(run, model)
            np.testing.assert_array_equal(run.finish(), undisturbed)
            assert other.wait().reason == "exit"

    @pytest.mark.parametrize("consolidate", ["True", "False"])
    def test_killed_and_another_is_there(self, tmp_path, model, undisturbed, consolidate):
        with (running(tmp_path, consolidate=consolidate) as run,
              command(run, with_fault(model, "wait", 2, tmp_path)) as driver):
            with held(run):
                other = healthy(run, model, log=tmp_path / "other.log")
                connected(tmp_path / "other.log")
                driver.said("\nconnected\n")
            os.kill(struck(tmp_path), signal.SIGKILL)
            assert driver.status() == 4
            np.testing.assert_array_equal(run.finish(), undisturbed)
            assert other.wait().frames == FRAMES - 1  # the other one's first frame is not computed twice

    @pytest.mark.parametrize(("mode", "consolidate", "options"), [
        ("unix", "True", ""), ("inet", "False", ""), ("shm", "True", "<batch_size>2</batch_size>")])
    def test_every_way_to_die(self, tmp_path, model, undisturbed, mode, consolidate, options):
        """All in one run, one after the other, each while it computes its first frame."""
        ends = {"kill": "was killed", "abort": "crashed .SIGABRT", "segfault": "crashed .SIGSEGV",
                "leave": "ended with status 7"}
        with running(tmp_path, mode=mode, consolidate=consolidate, options=options) as run:
            drivers = {faulty(run, model, what): words for what, words in ends.items()}
            drivers[spoiled(run, model, "raise", dump=tmp_path / "bad.xyz", respawn=1)] = (
                "the evaluation failed .ZeroDivisionError: as ordered")
            for driver, words in drivers.items():
                with pytest.raises(ComputeDied, match=words):
                    driver.wait()
            other = healthy(run, model)
            np.testing.assert_array_equal(run.finish(), undisturbed)
            assert other.wait().frames == FRAMES - bool(options)  # in a batch, the beads' equal first frames are one
        frames = ase.io.read(tmp_path / "bad.xyz", ":")
        assert [len(frame) for frame in frames] == [32]

    def test_out_of_memory(self, tmp_path, model, undisturbed):
        """The evaluator itself wants more than the system gives."""
        with running(tmp_path) as run:
            driver = Driver(Starved(model), crystal(), separate=True, dump=tmp_path / "bad.xyz", **run.where)
            with pytest.raises(ComputeDied) as error:
                driver.wait()
            print(error.value)
            other = healthy(run, model)
            np.testing.assert_array_equal(run.finish(), undisturbed)
            assert other.wait().frames == FRAMES

    def test_respawn(self, tmp_path, model, undisturbed):
        """--respawn: the same driver goes on by itself; nobody else is there."""
        with (running(tmp_path) as run,
              command(run, with_fault(model, "kill", 3, tmp_path), "--respawn=1") as driver):
            np.testing.assert_array_equal(run.finish(), undisturbed)
            assert driver.status() == 0
            assert driver.text().count("Starting it again") == 1
            # what the dead process did in its last moments is not counted
            found = int(re.search(r"i-PI sent EXIT: (\d+) frames", driver.last_line())[1])
            assert FRAMES - 3 <= found <= FRAMES

    def test_exit_on_disconnect(self, tmp_path, model, undisturbed):
        """i-PI is told to stop when a driver leaves: RESTART is whole, and the run is completed from it."""
        with running(tmp_path, options="<exit_on_disconnect>True</exit_on_disconnect>") as run:
            driver = faulty(run, model, "kill", 4)
            with pytest.raises(ComputeDied):
                driver.wait()
            assert run.running.wait(LIMIT) == 0
            first = run.table()
            assert 0 < len(first) < STEPS + 1
            with running_again(run, "RESTART") as again:
                other = healthy(run, model)
                assert again.wait(LIMIT) == 0
                assert other.wait().reason == "exit"
            second = run.table()
        np.testing.assert_array_equal(first, undisturbed[:len(first)])
        np.testing.assert_allclose(second, undisturbed[-len(second):], rtol=1e-8, atol=1e-9)  # RESTART has 9 digits
        assert second[0, 0] <= first[-1, 0] + 1  # no step is missing

    def test_while_idle(self, tmp_path, model, undisturbed):
        """Killed between two of its frames: it is noticed at the next one, which another driver gets."""
        with running(tmp_path) as run:
            with held(run):
                one = faulty(run, model, "wait", 2, log=tmp_path / "one.log")
                two = faulty(run, model, "raise", 99, log=tmp_path / "two.log", every=1)
                connected(tmp_path / "one.log")
                connected(tmp_path / "two.log")
            struck(tmp_path / "wait")
            wait_until(lambda: "frame 2:" in (tmp_path / "two.log").read_text(), "its second frame")
            os.kill(int((tmp_path / "raise" / "computing").read_text()), signal.SIGKILL)
            (tmp_path / "wait" / "go").touch()
            with pytest.raises(ComputeDied, match="was killed"):
                two.wait()
            np.testing.assert_array_equal(run.finish(), undisturbed)
            assert one.wait().frames == FRAMES - 2

    @pytest.mark.parametrize("what", ["kill", "segfault"])
    def test_while_making_ready(self, tmp_path, model, server, what):
        """In the first evaluation: nothing was connected, so i-PI never hears of it."""
        with pytest.raises(ComputeDied):
            Driver(with_fault(model, what, 0, tmp_path), crystal(), unix=server.address, allow_external=True).wait()
        server.listener.settimeout(0.0)
        with pytest.raises(BlockingIOError):
            server.accept()


class TestOtherClients:
    @pytest.mark.parametrize("consolidate", ["True", "False"])
    def test_half_replies(self, tmp_path, model, undisturbed, consolidate):
        """Clients that break off within their answer, alone or beside this driver, who gives what they owe."""
        with running(tmp_path, consolidate=consolidate) as run:
            wait_until(Path(run.where["prefix"] + "run").exists, "i-PI's socket")
            for n_bytes in (12, 20, 24, 24 + 24 * 32 + 72):
                break_off(run.where, 32, n_bytes)
            with held(run):
                driver = healthy(run, model, log=tmp_path / "log")
                connected(tmp_path / "log")
                other = threading.Thread(target=break_off, args=(run.where, 32, 300), daemon=True)
                other.start()
            np.testing.assert_array_equal(run.finish(), undisturbed)
            assert driver.wait().frames == FRAMES
            other.join(LIMIT)

    def test_half_reply_and_silence(self, tmp_path, model, undisturbed):
        """i-PI waits two seconds for the rest, then drops the client."""
        with running(tmp_path) as run:
            wait_until(Path(run.where["prefix"] + "run").exists, "i-PI's socket")
            break_off(run.where, 32, 300, silent=True)
            driver = healthy(run, model)
            np.testing.assert_array_equal(run.finish(), undisturbed)
            assert driver.wait().frames == FRAMES


class TestServer:
    def test_killed(self, tmp_path, model):
        """kill -9 of i-PI: status 3 for the driver that computes, at once; the idle one just ends."""
        with running(tmp_path) as run, command(run, with_fault(model, "wait", 2, tmp_path)) as driver:
            with held(run):
                other = healthy(run, model, log=tmp_path / "log")
                connected(tmp_path / "log")
                driver.said("\nconnected\n")
            pid = struck(tmp_path)
            time.sleep(1.0)  # for i-PI to collect the other one's forces: only then is that one idle
            run.running.kill()
            assert driver.status() == 3
            assert driver.last_line().startswith("soapgap: i-PI closed the connection before it collected the forces")
            wait_until(lambda: gone(pid), "the end of the computing process")
            assert other.wait().reason == "closed"

    def test_killed_and_restarted(self, tmp_path, model, undisturbed, monkeypatch):
        """--reconnect: drivers wait, past the stale socket; i-PI goes on from its checkpoint, and they with it."""
        checkpoint = '<checkpoint stride="1" filename="check" overwrite="True"/></output>'
        monkeypatch.setattr(ipi_runs, "INPUT", ipi_runs.INPUT.replace("</output>", checkpoint))
        with (running(tmp_path) as run,
              command(run, with_fault(model, "wait", 4, tmp_path), "--reconnect", f"--wait={LIMIT:g}") as driver):
            with held(run):
                other = healthy(run, model, log=tmp_path / "log", reconnect=True)
                connected(tmp_path / "log")
                driver.said("\nconnected\n")
            struck(tmp_path)
            run.running.kill()
            run.running.wait(LIMIT)
            first = run.table()
            driver.said("connecting to", times=2)
            wait_until(lambda: (tmp_path / "log").read_text().count("connecting to") > 1, "the second try")
            socket = Path(run.where["prefix"] + "run")
            assert socket.exists()
            (tmp_path / "go").touch()  # the answer that nobody waits for any more is ready before the next question, or not
            socket.unlink()
            with running_again(run, "run.check") as again:
                assert again.wait(LIMIT) == 0
            assert driver.status() == 0
            assert other.wait().reason == "exit"
            second = run.table()
        np.testing.assert_array_equal(first, undisturbed[:len(first)])
        np.testing.assert_allclose(second, undisturbed[-len(second):], rtol=1e-8, atol=1e-9)
        assert second[0, 0] <= first[-1, 0] + 1

    @pytest.mark.parametrize("consolidate", ["True", "False"])
    def test_told_to_stop_while_a_frame_is_computed(self, tmp_path, model, consolidate):
        """SIGTERM to i-PI, which takes the frame first; not consolidated it does not, and neither does the driver finish it."""
        with (running(tmp_path, consolidate=consolidate) as run,
              command(run, with_fault(model, "wait", 3, tmp_path)) as driver):
            struck(tmp_path)
            run.running.send_signal(signal.SIGTERM)
            if consolidate == "True":
                wait_until(lambda: "Kill signal received" in (tmp_path / "ipi.log").read_text(), "i-PI's decision to stop")
                (tmp_path / "go").touch()
            assert driver.status() == 0
            ending = "i-PI sent EXIT: 3" if consolidate == "True" else "i-PI sent EXIT while a frame was computed: [12]"
            assert re.search(f"{ending} frames", driver.last_line())
            assert run.running.wait(LIMIT) == 0
            assert (tmp_path / "RESTART").exists()

    def test_gone_for_good(self, structure, server):
        """--reconnect has an end."""
        driver = Driver(Toy(), structure, unix=server.address, reconnect=True, wait=0.5)
        server.handshake()
        server.listener.close()  # first, or the driver may come back in between
        server.sock.close()
        with pytest.raises(LostConnection, match="i-PI closed the connection, but i-PI did not come back: .* within 0.5 s"):
            driver.wait()

    def test_late(self, tmp_path, model, undisturbed):
        """The driver is there first."""
        with running(tmp_path) as run:
            run.running.send_signal(signal.SIGSTOP)
            driver = healthy(run, model, log=tmp_path / "log")
            wait_until(lambda: (tmp_path / "log").exists() and "connecting to" in (tmp_path / "log").read_text(), "a try")
            assert not Path(run.where["prefix"] + "run").exists()
            run.running.send_signal(signal.SIGCONT)
            np.testing.assert_array_equal(run.finish(), undisturbed)
            assert driver.wait().reason == "exit"

    def test_never(self, tmp_path, model):
        class Nowhere:
            folder, where = tmp_path, {"unix": str(tmp_path / "nowhere")}

        crystal().write(tmp_path / "start.xyz", format="extxyz")
        with command(Nowhere, model, "--wait=0.3") as driver:
            assert driver.status() == 2
            assert "did not open within 0.3 s" in driver.last_line()

    @pytest.mark.parametrize("stop", [False, True], ids=["slow", "stopped"])
    def test_timeout(self, tmp_path, model, undisturbed, stop):
        """A frame that takes longer than i-PI's <timeout>, or SIGSTOP: i-PI says EXIT to the driver, another does the frame.

        With <consolidate_messages>False i-PI 3.3 loses that frame, and waits for it for ever.
        """
        with (running(tmp_path, options="<timeout>0.7</timeout>") as run,
              command(run, with_fault(model, "wait", 2, tmp_path)) as driver):
            with held(run):
                other = healthy(run, model, log=tmp_path / "log")
                connected(tmp_path / "log")
                driver.said("\nconnected\n")
            pid = struck(tmp_path)
            if stop:
                os.kill(pid, signal.SIGSTOP)
            np.testing.assert_array_equal(run.finish(), undisturbed)
            assert other.wait().frames == FRAMES - 1
            assert driver.status() == 0
            assert "i-PI sent EXIT while a frame was computed: 1 frames" in driver.last_line()
            wait_until(lambda: gone(pid), "the end of the computing process")


class TestWrongNumbers:
    @pytest.mark.parametrize("consolidate", ["True", "False"])
    def test_left_unsent(self, tmp_path, model, undisturbed, consolidate):
        """What must not be sent is not sent: each driver leaves with a reason, the run goes on with the next."""
        bad = "frame 1 has an energy, force or virial that is not finite; the frame is in"
        with running(tmp_path, consolidate=consolidate) as run:
            drivers = {spoiled(run, model, what): bad for what in ("energy", "forces")}
            drivers[faulty(run, model, "push", max_force=100.0)] = (
                "frame 1 has a force of 1e.04 eV/Angstrom, above the limit of 100; the frame is in")
            drivers[faulty(run, model, "raise")] = "ArithmeticError: as ordered"
            drivers[faulty(run, model, "nan")] = "not finite"
            drivers[Driver(model, crystal()[:-1], **run.where)] = "a frame of 32 atoms; .* has 31"
            for driver, words in drivers.items():
                with pytest.raises(InputError, match=words):
                    driver.wait()
            other = healthy(run, model)
            np.testing.assert_array_equal(run.finish(), undisturbed)
            assert other.wait().frames == FRAMES
        for name in ("energy", "forces", "push", "raise", "nan"):
            moved = ase.io.read(tmp_path / f"{name}.xyz").get_scaled_positions() - crystal().get_scaled_positions()
            np.testing.assert_allclose(moved - np.round(moved), 0.0, atol=1e-7)

    def test_status(self, tmp_path, model, undisturbed):
        with running(tmp_path) as run:
            with command(run, with_fault(model, "push", 3, tmp_path), "--max-force=100") as driver:
                assert driver.status() == 2
                assert "above the limit of 100; the frame is in soapgap-bad-frame.xyz. Nothing was sent" in driver.last_line()
                assert "Traceback" not in driver.text()
            assert len(ase.io.read(tmp_path / "soapgap-bad-frame.xyz")) == 32
            other = healthy(run, model)
            np.testing.assert_array_equal(run.finish(), undisturbed)
            assert other.wait().frames == FRAMES - 2

    def test_dumped(self, tmp_path, model, undisturbed, capfd):
        """on_nan = "dump": the frame is written, the result sent as it is, and only its own row is spoilt."""
        with running(tmp_path) as run:
            driver = spoiled(run, model, "energy", 5, on_nan="dump", dump=tmp_path / "bad.xyz")
            table = run.finish()
            assert driver.wait().frames == FRAMES
        assert len(ase.io.read(tmp_path / "bad.xyz")) == 32
        assert "frame 5 has an energy, force or virial that is not finite; the frame is in" in capfd.readouterr().err
        spoilt = ~np.isfinite(table[:, 2])
        assert np.flatnonzero(spoilt).tolist() == [2]  # the fifth of two frames a step
        np.testing.assert_array_equal(table[~spoilt], undisturbed[~spoilt])

    def test_positions_not_finite(self, tmp_path, model):
        """What comes of sending such forces; i-PI waits for another driver, and can be stopped."""
        with running(tmp_path) as run:
            driver = spoiled(run, model, "forces", 3, on_nan="dump", dump=tmp_path / "bad.xyz")
            with pytest.raises(InputError, match="positions that are not finite .*blown up"):
                driver.wait()
            assert not np.isfinite(ase.io.read(tmp_path / "bad-2.xyz").positions).all()
            run.running.send_signal(signal.SIGTERM)
            assert run.running.wait(LIMIT) == 0


class TestProcesses:
    @pytest.mark.parametrize("consolidate", ["True", "False"])
    def test_supervisor_killed(self, tmp_path, model, undisturbed, consolidate):
        """kill -9 of what the user started: the computing process leaves i-PI in good order in its place, in mid-frame."""
        with (running(tmp_path, consolidate=consolidate) as run,
              command(run, with_fault(model, "wait", 3, tmp_path)) as driver):
            pid = struck(tmp_path)
            driver.running.kill()
            wait_until(lambda: gone(pid), "the end of the computing process")
            other = healthy(run, model)
            np.testing.assert_array_equal(run.finish(), undisturbed)
            assert other.wait().frames == FRAMES - 2

    def test_supervisor_killed_while_idle(self, tmp_path, model, undisturbed):
        with (running(tmp_path, consolidate="False") as run,
              command(run, with_fault(model, "raise", 99, tmp_path), "--every=1") as driver):
            with held(run):
                other = faulty(run, model, "wait", 2, log=tmp_path / "log")
                connected(tmp_path / "log")
                driver.said("\nconnected\n")
            struck(tmp_path / "wait")
            driver.said("frame 2:")
            driver.running.kill()
            pid = int((tmp_path / "computing").read_text())
            wait_until(lambda: gone(pid), "the end of the computing process")
            (tmp_path / "wait" / "go").touch()
            np.testing.assert_array_equal(run.finish(), undisturbed)
            assert other.wait().frames == FRAMES - 2

    def test_one_of_two_clients(self, tmp_path, model, undisturbed):
        """--clients 2, and the compute of one is killed: the other goes on; the status tells."""
        with (running(tmp_path) as run,
              command(run, with_fault(model, "kill", 2, tmp_path), "--clients=2") as driver):
            np.testing.assert_array_equal(run.finish(), undisturbed)
            assert driver.status() == 4
            assert "was killed" in driver.last_line()
            assert "i-PI sent EXIT" in driver.text()

    def test_whole_group_told_to_leave(self, tmp_path, model, undisturbed):
        """SIGTERM to supervisor and compute, as from a batch system: the frame in hand is delivered."""
        with running(tmp_path) as run, command(run, with_fault(model, "wait", 3, tmp_path)) as driver:
            struck(tmp_path)
            os.killpg(driver.pid, signal.SIGTERM)
            time.sleep(0.3)
            assert driver.running.poll() is None
            (tmp_path / "go").touch()
            assert driver.status() == 0
            assert "stopped by a signal: 3 frames" in driver.last_line()
            other = healthy(run, model)
            np.testing.assert_array_equal(run.finish(), undisturbed)
            assert other.wait().frames == FRAMES - 3  # none is computed twice


def test_extras_arrive(tmp_path, model, undisturbed, monkeypatch):
    """Energies of the atoms in i-PI's own trajectory of extras, in Hartree."""
    trajectory = '<trajectory filename="extra" extra_type="atom_energies">extras</trajectory></output>'
    monkeypatch.setattr(ipi_runs, "INPUT", ipi_runs.INPUT.replace("</output>", trajectory))
    with running(tmp_path) as run:
        driver = Driver(model, crystal(), threads=1, extras=("atom_energies",), **run.where)
        np.testing.assert_array_equal(run.finish(), undisturbed)
        assert driver.wait().reason == "exit"
    numbers = np.loadtxt(tmp_path / "run.extra_0")
    assert numbers.shape == (STEPS + 1, 32)
    np.testing.assert_allclose(numbers[0] * Hartree, Potential(model, n_threads=1).compute(crystal()).energies, atol=1e-6)
    np.testing.assert_allclose(2 * numbers[0].sum(), 2 * undisturbed[0, 2], rtol=1e-6)
