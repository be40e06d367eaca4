"""The i-PI driver against a scripted server: exact bytes, every legal order, every way to end."""

import socket
import struct
import threading
import time

import ase
import ase.io
import numpy as np
import pytest
from ipi_tools import CELL, POSITIONS, Driver, Toy, check_answer, header, init_bytes, posdata_bytes
from programs import LIMIT

from soapgap.errors import HostError, InputError
from soapgap.ipi import LostConnection


class TestOrders:
    def test_consolidated(self, server, structure):
        """i-PI 3.3 by default: POSDATA and GETFORCE in one write, STATUS between frames."""
        toy = Toy()
        driver = Driver(toy, structure, unix=server.address)
        server.accept()
        assert server.status() == header("NEEDINIT")
        assert server.status() == header("NEEDINIT")  # the handshake's and the dispatcher's
        server.send(init_bytes(" a : 1 , b : x , "))
        for _ in range(3):
            assert server.status() == header("READY")
            server.send(posdata_bytes(CELL, POSITIONS) + header("GETFORCE"))
            check_answer(server.answer(3), POSITIONS)
        server.exit()
        report = driver.wait()
        assert (report.reason, report.frames) == ("exit", 3)
        assert len(toy.frames) == 4  # and one warm-up, before anything was sent
        np.testing.assert_allclose(toy.frames[1].cell, CELL, atol=1e-8)
        np.testing.assert_allclose(toy.frames[1].positions, POSITIONS, atol=1e-8)
        assert server.at_end()

    def test_not_consolidated(self, server, structure):
        """Older i-PI, ASE, <consolidate_messages>False: STATUS -> HAVEDATA, then GETFORCE."""
        driver = Driver(Toy(), structure, unix=server.address)
        server.handshake()
        for shift in (0.0, 0.1):
            server.send(posdata_bytes(CELL, POSITIONS + shift))
            assert server.status() == header("HAVEDATA")
            assert server.status() == header("HAVEDATA")
            server.send(header("GETFORCE"))
            check_answer(server.answer(3), POSITIONS + shift)
            assert server.status() == header("READY")
        server.exit()
        assert driver.wait().reason == "exit"

    def test_mixture(self, server, structure):
        """No STATUS at all, a second INIT, a frame replaced by another before it is collected."""
        driver = Driver(Toy(), structure, unix=server.address)
        server.handshake()
        server.send((posdata_bytes(CELL, POSITIONS) + header("GETFORCE")) * 2)
        for _ in range(2):
            check_answer(server.answer(3), POSITIONS)
        server.send(init_bytes(" ", bead=1) + posdata_bytes(CELL, POSITIONS) + posdata_bytes(CELL, POSITIONS + 0.2))
        server.send(header("GETFORCE"))
        check_answer(server.answer(3), POSITIONS + 0.2)
        server.exit()
        assert driver.wait().frames == 4

    @pytest.mark.parametrize("kind", ["unix", "tcp"])
    def test_byte_by_byte(self, request, structure, kind):
        server = request.getfixturevalue("server" if kind == "unix" else "tcp_server")
        where = {"unix": server.address} if kind == "unix" else {"host": "127.0.0.1", "port": server.address[1]}
        driver = Driver(Toy(), structure, **where)
        server.trickle = True
        server.handshake(" a : 1 , , batch_size:1")
        server.send(posdata_bytes(CELL, POSITIONS) + header("GETFORCE"))
        check_answer(server.answer(3), POSITIONS)
        server.exit()
        assert driver.wait().reason == "exit"

    def test_ase_server(self, address, structure):
        """ASE's SocketIOCalculator, which speaks the protocol in its own way (INIT with one zero byte, an inverse
        cell of its own making)."""
        from ase.calculators.socketio import SocketIOCalculator

        name = address.removeprefix("/tmp/").replace("/", "_")
        driver = Driver(Toy(), structure, unix=name)  # ASE knows i-PI's default prefix only
        with SocketIOCalculator(unixsocket=name, timeout=LIMIT) as calculator:
            structure.calc = calculator
            np.testing.assert_allclose(structure.get_forces(), -POSITIONS, rtol=1e-8)
            stress = structure.get_stress(voigt=False)
        symmetric = -POSITIONS.T @ POSITIONS + 0.05 * (1 + np.eye(3))
        np.testing.assert_allclose(stress, -symmetric / structure.get_volume(), rtol=1e-8)
        assert driver.wait().reason in ("exit", "closed")


class TestEndings:
    def test_end_of_stream_when_idle(self, server, structure):
        driver = Driver(Toy(), structure, unix=server.address)
        server.handshake()
        server.sock.close()
        assert driver.wait().reason == "closed"

    @pytest.mark.parametrize("cut", [1, 11, 12, 13, 100, 160, 200])
    def test_end_of_stream_inside_a_message(self, server, structure, cut):
        driver = Driver(Toy(), structure, unix=server.address)
        server.handshake()
        server.send(posdata_bytes(CELL, POSITIONS)[:cut])
        server.sock.close()
        with pytest.raises(LostConnection, match="end of the stream"):
            driver.wait()

    def test_end_of_stream_with_a_frame_owed(self, server, structure):
        driver = Driver(Toy(), structure, unix=server.address)
        server.handshake()
        server.send(posdata_bytes(CELL, POSITIONS))
        assert server.status() == header("HAVEDATA")
        server.sock.close()
        with pytest.raises(LostConnection, match="before it collected the forces"):
            driver.wait()

    def test_reset_inside_a_message(self, tcp_server, structure):
        driver = Driver(Toy(), structure, port=tcp_server.address[1], host="127.0.0.1")
        tcp_server.handshake()
        tcp_server.send(b"POSD")
        time.sleep(0.1)  # the driver has read it
        tcp_server.reset()
        with pytest.raises(LostConnection, match="reset"):
            driver.wait()

    def test_reset_when_idle(self, tcp_server, structure):
        driver = Driver(Toy(), structure, port=tcp_server.address[1], host="127.0.0.1")
        tcp_server.handshake()
        tcp_server.reset()
        assert driver.wait().reason == "closed"

    @pytest.mark.parametrize("last", [b"", header("EXIT")])
    def test_state_not_read(self, server, structure, last):
        """i-PI is killed, or ends, between a STATUS and its answer: nothing is lost."""
        driver = Driver(Toy(), structure, unix=server.address)
        server.handshake()
        server.send(header("STATUS") + last)
        time.sleep(0.1)  # the answer lies in the server's buffer: closing it resets the connection
        server.sock.close()
        assert driver.wait().reason == ("exit" if last else "closed")

    def test_state_not_sent(self, server, structure):
        """The same, and the answer comes too late to be sent at all."""
        driver = Driver(Toy(), structure, unix=server.address)
        server.handshake()
        server.sock.sendall(header("STATUS"))
        server.sock.shutdown(socket.SHUT_RDWR)
        assert driver.wait().reason == "closed"

    def test_forces_not_read(self, server, structure):
        driver = Driver(Toy(), structure, unix=server.address)
        server.handshake()
        server.send(posdata_bytes(CELL, POSITIONS) + header("GETFORCE"))
        assert server.read(12) == header("FORCEREADY")  # and no more
        server.sock.close()
        with pytest.raises(LostConnection, match="before it collected the forces"):
            driver.wait()

    @pytest.mark.parametrize("kind", ["unix", "tcp"])
    def test_exit_while_computing(self, request, structure, kind):
        """i-PI ends while a frame is being computed: the reply cannot be sent, but the EXIT behind it is found."""
        server = request.getfixturevalue("server" if kind == "unix" else "tcp_server")
        where = {"unix": server.address} if kind == "unix" else {"host": "127.0.0.1", "port": server.address[1]}
        going = threading.Event()
        driver = Driver(Toy(lambda result: going.wait(LIMIT)), structure, **where)
        server.handshake()
        server.send(posdata_bytes(CELL, POSITIONS) + header("GETFORCE") + header("EXIT"))
        server.sock.shutdown(socket.SHUT_RDWR)
        server.sock.close()
        going.set()
        # over TCP the reply may still be accepted by the system
        assert driver.wait().reason in (("dropped",) if kind == "unix" else ("dropped", "exit"))

    def test_silence_inside_a_message(self, server, structure, monkeypatch):
        monkeypatch.setattr("soapgap.ipi.client.Connection.__init__.__defaults__", (0.3,))
        driver = Driver(Toy(), structure, unix=server.address)
        server.handshake()
        server.send(posdata_bytes(CELL, POSITIONS)[:100])
        assert server.at_end()
        server.sock.close()
        with pytest.raises(LostConnection, match="silence"):
            driver.wait()

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"HTTP/1.1 200", "is the program|Is the program"),
            (header("GETFORCE"), "no POSDATA"),
            (header("INIT") + struct.pack("=ii", 0, -5), "byte order"),
        ],
    )
    def test_not_the_protocol(self, server, structure, data, message):
        driver = Driver(Toy(), structure, unix=server.address)
        server.handshake()
        server.send(data)
        assert server.at_end()
        server.sock.close()
        with pytest.raises(LostConnection, match=message):
            driver.wait()


class TestRefusals:
    """Errors of the input: the driver says so and closes so that the server reads an end of stream, never a reset."""

    @pytest.mark.parametrize("kind", ["unix", "tcp"])
    @pytest.mark.parametrize("n", [2, 4, 0, -1])
    def test_atom_count(self, request, structure, kind, n):
        server = request.getfixturevalue("server" if kind == "unix" else "tcp_server")
        where = {"unix": server.address} if kind == "unix" else {"host": "127.0.0.1", "port": server.address[1]}
        driver = Driver(Toy(), structure, **where)
        server.handshake()
        data = posdata_bytes(CELL, np.ones((max(n, 0), 3)))
        server.send(data[:156] + struct.pack("=i", n) + data[160:] + header("GETFORCE"))
        assert server.at_end()
        server.send(header("EXIT"))  # as i-PI does; the driver still reads
        server.sock.close()
        with pytest.raises(InputError, match=f"a frame of {n} atoms; .* has 3"):
            driver.wait()

    @pytest.mark.parametrize("what", ["energy", "forces", "virial"])
    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_results_not_finite(self, server, structure, tmp_path, what, value):
        def spoil(result):
            if what == "energy":
                result.energy = value
            else:
                getattr(result, what)[1, 2] = value

        driver = Driver(Toy(spoil), structure, unix=server.address, dump=tmp_path / "bad.xyz")
        server.handshake()
        server.send(posdata_bytes(CELL, POSITIONS) + header("GETFORCE"))
        assert server.at_end()
        server.sock.close()
        with pytest.raises(InputError, match="frame 1 .*not finite.*bad.xyz"):
            driver.wait()
        frame = ase.io.read(tmp_path / "bad.xyz")
        assert frame.get_chemical_formula() == "OSi2"
        np.testing.assert_allclose(frame.positions, POSITIONS, atol=1e-7)
        assert list(tmp_path.iterdir()) == [tmp_path / "bad.xyz"]

    def test_dump_cannot_be_written(self, server, structure, tmp_path):
        driver = Driver(
            Toy(lambda result: result.forces.fill(np.nan)), structure, unix=server.address, dump=tmp_path / "no" / "x"
        )
        server.handshake()
        server.send(posdata_bytes(CELL, POSITIONS) + header("GETFORCE"))
        server.sock.shutdown(socket.SHUT_WR)
        with pytest.raises(InputError, match="not finite.*could not be written"):
            driver.wait()

    def test_positions_not_finite(self, server, structure, tmp_path):
        driver = Driver(Toy(), structure, unix=server.address, dump=tmp_path / "bad.xyz")
        server.handshake()
        server.send(posdata_bytes(CELL, POSITIONS * np.nan) + header("GETFORCE"))
        assert server.at_end()
        server.sock.close()
        with pytest.raises(InputError, match="blown up"):
            driver.wait()
        assert (tmp_path / "bad.xyz").exists()

    def test_cell_without_volume(self, server, structure):
        driver = Driver(Toy(), structure, unix=server.address)
        server.handshake()
        data = bytearray(posdata_bytes(CELL, POSITIONS) + header("GETFORCE"))
        data[12:156] = bytes(144)
        server.send(data)
        assert server.at_end()
        server.sock.close()
        with pytest.raises(InputError, match="cell without volume"):
            driver.wait()

    def test_evaluation_fails(self, server, structure, tmp_path, capfd):
        def spoil(result):
            raise MemoryError("no memory")

        driver = Driver(Toy(spoil), structure, unix=server.address, dump=tmp_path / "bad.xyz")
        server.handshake()
        server.send(posdata_bytes(CELL, POSITIONS) + header("GETFORCE"))
        assert server.at_end()
        server.sock.close()
        with pytest.raises(MemoryError, match="no memory"):
            driver.wait()
        assert "frame 1 failed (MemoryError)" in capfd.readouterr().err
        assert (tmp_path / "bad.xyz").exists()

    @pytest.mark.parametrize("text", ["many", "0", "-3", "1e3", "9999999999"])
    def test_batch_size(self, server, structure, text):
        driver = Driver(Toy(), structure, unix=server.address)
        server.accept()
        assert server.status() == header("NEEDINIT")
        server.send(init_bytes(f" , batch_size:{text}") + header("STATUS"))
        assert server.at_end()
        server.sock.close()
        with pytest.raises(HostError, match="batch_size"):
            driver.wait()
