"""The i-PI driver around the protocol: connecting, folding, first-frame checks, and the command as a process."""

import signal
import sys
import time
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ipi_tools import BOHR, CELL, POSITIONS, Driver, Server, Toy, check_answer, header, posdata_bytes
from programs import LIMIT, environment, process, run_python

from soapgap.errors import HostError, InputError
from soapgap.ipi import drive
from soapgap.ipi.frames import check_first_frame, describe_species, read_structure
from soapgap.ipi.protocol import parse_init


class TestConnecting:
    def test_late_server(self, address, structure):
        driver = Driver(Toy(), structure, unix=address)
        time.sleep(0.4)
        server = Server(address)
        server.handshake().exit()
        assert driver.wait().reason == "exit"
        server.close()

    def test_socket_never_opens(self, address, structure):
        start = time.monotonic()
        with pytest.raises(HostError, match=r"did not open within 0.3 s \(No such file.*Start i-PI"):
            drive(Toy(), structure, unix=address, wait=0.3, quiet=True)
        assert 0.3 <= time.monotonic() - start < 10.0

    def test_stale_socket(self, server, structure):
        server.listener.close()
        with pytest.raises(HostError, match="nobody listens.*remove it"):
            drive(Toy(), structure, unix=server.address, wait=0.0, quiet=True)

    def test_port_never_opens(self, tcp_server, structure):
        port = tcp_server.address[1]
        tcp_server.listener.close()
        with pytest.raises(HostError, match=f"127.0.0.1 port {port} did not open"):
            drive(Toy(), structure, host="127.0.0.1", port=port, wait=0.2, quiet=True)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({}, "no address"),
            ({"unix": "x", "port": 3}, "both"),
            ({"unix": "x" * 108}, "107 bytes"),
            ({"port": 70000}, "port 70000"),
            ({"unix": "x", "pbc": "yes"}, "three letters"),
            ({"unix": "x", "log": "/nowhere/log"}, "log file /nowhere/log"),
        ],
    )
    def test_bad_arguments(self, structure, arguments, message):
        with pytest.raises(InputError, match=message):
            drive(Toy(), structure, quiet=True, wait=0.0, **arguments)

    def test_bad_structure_before_connecting(self, server, structure):
        """A structure that cannot be evaluated is an error before the server hears anything."""
        toy = Toy()
        structure.positions[0] = np.nan
        with pytest.raises(InputError, match="structure itself"):
            drive(toy, structure, unix=server.address, quiet=True)
        server.listener.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.listener.accept()


class TestFrames:
    @pytest.mark.parametrize(
        ("positions", "cell", "messages"),
        [
            (POSITIONS + 0.3, CELL, 0),
            (POSITIONS + [[1, 0, 0], [0, -2, 0], [3, 3, 3]] @ CELL, CELL, 0),
            (POSITIONS * 1.02, CELL * 1.02, 0),
            (POSITIONS @ [[0, 1, 0], [0, 0, 1], [1, 0, 0]], CELL @ [[0, 1, 0], [0, 0, 1], [1, 0, 0]], 0),
            (POSITIONS * BOHR, CELL * BOHR, "bohr"),
            (POSITIONS / BOHR, CELL / BOHR, "bohr"),
            (POSITIONS / BOHR, CELL, "atoms of i-PI's first frame"),
            (POSITIONS[[1, 0, 2]], CELL, "order of atoms"),
            (POSITIONS, CELL * 1.3, "cell differs"),
        ],
    )
    def test_first_frame(self, structure, positions, cell, messages):
        warnings = check_first_frame(structure, np.array(cell), np.array(positions))
        assert (not warnings) if not messages else messages in " ".join(warnings)

    def test_first_frame_warning_is_seen(self, server, structure, capfd):
        driver = Driver(Toy(), structure, unix=server.address)
        server.handshake()
        server.send(posdata_bytes(CELL * BOHR, POSITIONS * BOHR) + header("GETFORCE"))
        server.answer(3)
        server.exit()
        driver.wait()
        assert "bohr and Angstrom" in capfd.readouterr().err

    def test_parse_init(self):
        init = parse_init(3, b" a : 1 , , batch_size:2")
        assert (init.bead, init.parameters, init.batch_size) == (3, {"a": "1", "batch_size": "2"}, 2)
        assert parse_init(0, b" ").batch_size == parse_init(0, b"\0").batch_size == parse_init(0, b"").batch_size == 1
        with pytest.raises(HostError, match="many"):
            _ = parse_init(0, b"batch_size:many").batch_size

    def test_species_order(self):
        assert describe_species(ase.Atoms("Si3OH2")) == "Si 1-3, O 4, H 5-6"

    @pytest.mark.parametrize(
        ("comment", "factor"),
        [
            ("# CELL(abcABC): 6.0 5.70088 6.59924 97.6 83.9 74.7 positions{angstrom} cell{angstrom}", 1.0),
            ("# CELL{H}: 6 1.5 0.7 0 5.5 -0.9 0 0 6.5 Traj: positions{atomic_unit} cell{angstrom}", BOHR),
            ("# CELL(H): 6 1.5 0.7 0 5.5 -0.9 0 0 6.5 positions{angstrom} cell{angstrom}", 1.0),
            ("# CELL(GENH): 6 1.5 0.7 0 5.5 -0.9 0 0 6.5 positions{angstrom} cell{angstrom}", 1.0),
        ],
    )
    def test_ipi_xyz(self, tmp_path, comment, factor):
        """i-PI's own xyz, checked against i-PI's own reader."""
        read_xyz = pytest.importorskip("ipi.utils.io").read_file
        text = f"3\n{comment}\n" + "".join(f"{s} {x} {y} {z}\n" for s, (x, y, z) in zip("SOS", POSITIONS, strict=True))
        (tmp_path / "a.xyz").write_text(text)
        atoms = read_structure(tmp_path / "a.xyz")
        assert atoms.pbc.all()
        assert str(atoms.symbols) == "SOS"
        with open(tmp_path / "a.xyz") as file:
            theirs = read_xyz("xyz", file)
        np.testing.assert_allclose(atoms.positions, theirs["atoms"].q.reshape(-1, 3) * BOHR, rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(atoms.cell, theirs["cell"].h.T * BOHR, rtol=1e-7, atol=1e-7)
        if "GENH" not in comment:
            np.testing.assert_allclose(atoms.positions, POSITIONS * factor, rtol=1e-8)

    @pytest.mark.parametrize("text", ["", "3\n\nSi 0 0 0\n", "no structure"])
    def test_unreadable_structure(self, tmp_path, text):
        (tmp_path / "a.xyz").write_text(text)
        with pytest.raises(InputError, match=r"a\.xyz"):
            read_structure(tmp_path / "a.xyz")
        with pytest.raises(InputError, match="there is no structure file"):
            read_structure(tmp_path / "b.xyz")


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from ipi_tools import Slow
import soapgap.cli.main
import soapgap.ipi.driver as driver

Job = driver.Job
driver.Job = lambda model, *rest: Job(Slow({pause}), *rest)
sys.argv = ["soapgap", *{arguments!r}]
soapgap.cli.main.main()
"""


class TestProcess:
    """The command in a process of its own: exit status and signals."""

    @staticmethod
    def start(tmp_path, structure, address, pause=0.0):
        ase.io.write(tmp_path / "a.xyz", structure, format="extxyz")
        files = {"structure": str(tmp_path / "a.xyz"), "log": str(tmp_path / "log")}
        arguments = ["drive", "model", files["structure"], "--unix", address, "--every", "1", "--log", files["log"]]
        script = SCRIPT.format(tests=str(Path(__file__).parent), pause=pause, arguments=arguments)
        return process([sys.executable, "-c", script], tmp_path, tmp_path / "out", env=environment())

    def test_exit_status_0(self, tmp_path, server, structure):
        with self.start(tmp_path, structure, server.address) as running:
            server.handshake()
            server.send(posdata_bytes(CELL, POSITIONS) + header("GETFORCE"))
            check_answer(server.answer(3), POSITIONS)
            server.exit()
            assert running.wait(LIMIT) == 0
        out = (tmp_path / "out").read_text()
        assert "order: Si 1, O 2, Si 3; periodic: TTT" in out
        assert "frame 1: energy" in out
        assert "i-PI sent EXIT: 1 frames" in out
        assert "frame 1: energy" in (tmp_path / "log").read_text()

    def test_exit_status_2(self, tmp_path, server, structure):
        with self.start(tmp_path, structure, server.address) as running:
            server.handshake()
            server.send(posdata_bytes(CELL, POSITIONS[:2]) + header("GETFORCE"))
            assert server.at_end()
            server.sock.close()
            assert running.wait(LIMIT) == 2
        out = (tmp_path / "out").read_text()
        assert "soapgap: i-PI sent a frame of 2 atoms" in out
        assert "Traceback" not in out

    def test_exit_status_3(self, tmp_path, server, structure):
        with self.start(tmp_path, structure, server.address) as running:
            server.handshake()
            server.send(posdata_bytes(CELL, POSITIONS)[:50])
            server.sock.close()
            assert running.wait(LIMIT) == 3
        out = (tmp_path / "out").read_text()
        assert "soapgap: the connection to i-PI broke" in out
        assert "Traceback" not in out

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_signal_while_computing(self, tmp_path, server, structure, number):
        """The frame in hand is delivered, then the driver leaves with status 0 and an orderly end of stream."""
        with self.start(tmp_path, structure, server.address, pause=1.0) as running:
            server.handshake()
            server.send(posdata_bytes(CELL, POSITIONS) + header("GETFORCE"))
            time.sleep(0.3)
            running.send_signal(number)
            check_answer(server.answer(3), POSITIONS)
            server.send(header("STATUS"))
            assert server.at_end()
            server.sock.close()
            assert running.wait(LIMIT) == 0
        assert "stopped by a signal: 1 frames" in (tmp_path / "out").read_text()

    def test_signal_when_idle(self, tmp_path, server, structure):
        with self.start(tmp_path, structure, server.address) as running:
            server.handshake()
            running.send_signal(signal.SIGTERM)
            assert server.at_end()
            server.sock.close()
            assert running.wait(LIMIT) == 0

    def test_signal_before_connecting(self, tmp_path, address, structure):
        with self.start(tmp_path, structure, address) as running:
            end = time.monotonic() + LIMIT
            while "connecting" not in (tmp_path / "out").read_text() and time.monotonic() < end:
                time.sleep(0.05)
            running.send_signal(signal.SIGTERM)
            assert running.wait(LIMIT) == 0

    def test_needs_no_ipi(self):
        """The driver itself imports nothing of i-PI."""
        code = (
            "import sys, soapgap.ipi.driver, soapgap.cli.drive, soapgap.ipi.worker\n"
            "assert not [m for m in sys.modules if m.split('.')[0] == 'ipi']"
        )
        assert run_python("-c", code).status == 0
