"""Batches, shared memory, extras and noise against a scripted server: exact bytes, without i-PI."""

import contextlib
import json
import struct
from multiprocessing.shared_memory import SharedMemory

import numpy as np
import pytest
from ipi_tools import (
    BOHR,
    CELL,
    HARTREE,
    POSITIONS,
    Driver,
    Toy,
    batch_bytes,
    check_answer,
    check_batch_answer,
    expected_bytes,
    header,
    init_bytes,
    posdata_bytes,
)
from programs import LIMIT

from soapgap.errors import HostError, InputError, SoapGAPError
from soapgap.ipi import LostConnection, extras

FRAMES = [POSITIONS, POSITIONS + 0.2, POSITIONS - 0.1]
CELLS = [CELL, CELL * 1.01, CELL @ [[0, 1, 0], [0, 0, 1], [1, 0, 0]]]


class BatchToy(Toy):
    """A Toy that is given the frames of a batch together; remembers how many."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def compute_batch(self, frames):
        self.batches.append(len(frames))
        return [self.compute(atoms) for atoms in frames]


class TestBatch:
    @pytest.mark.parametrize("toy", [Toy, BatchToy])
    def test_consolidated(self, server, structure, toy):
        toy = toy()
        driver = Driver(toy, structure, unix=server.address)
        server.handshake(" a : 1 , , batch_size:3")
        for shift in (0.0, 0.1):
            frames = [x + shift for x in FRAMES]
            server.send(batch_bytes(CELLS, frames) + header("GETFORCE"))
            check_batch_answer(server.batch_answer(3, 3), frames)
            assert server.status() == header("READY")
        server.exit()
        assert driver.wait().frames == 6
        for cell, atoms in zip(CELLS, toy.frames[1:4], strict=True):
            np.testing.assert_allclose(atoms.cell, cell, atol=1e-8)
        if isinstance(toy, BatchToy):
            assert toy.batches == [1, 3, 3]

    def test_padding_is_computed_once(self, server, structure):
        """i-PI fills an incomplete batch with copies of its last structure."""
        toy = BatchToy()
        driver = Driver(toy, structure, unix=server.address)
        server.handshake("batch_size:4")
        frames = [FRAMES[0], FRAMES[1], FRAMES[1], FRAMES[1]]
        server.send(batch_bytes([CELL] * 4, frames) + header("GETFORCE"))
        check_batch_answer(server.batch_answer(4, 3), frames)
        server.exit()
        assert driver.wait().frames == 2
        assert toy.batches == [1, 2]

    def test_not_consolidated_and_mixed(self, server, structure):
        """STATUS in between; a second INIT that ends the batches; GETFORCE only once."""
        driver = Driver(Toy(), structure, unix=server.address)
        server.handshake("batch_size:2")
        server.send(batch_bytes([CELL] * 2, FRAMES[:2]))
        assert server.status() == header("HAVEDATA")
        server.send(header("GETFORCE"))
        check_batch_answer(server.batch_answer(2, 3), FRAMES[:2])
        server.send(init_bytes(" ") + posdata_bytes(CELL, POSITIONS) + header("GETFORCE"))
        check_answer(server.answer(3), POSITIONS)
        server.exit()
        assert driver.wait().reason == "exit"

    def test_byte_by_byte(self, server, structure):
        driver = Driver(Toy(), structure, unix=server.address)
        server.trickle = True
        server.handshake("batch_size:2")
        server.send(batch_bytes([CELL] * 2, FRAMES[:2]) + header("GETFORCE"))
        check_batch_answer(server.batch_answer(2, 3), FRAMES[:2])
        server.exit()
        assert driver.wait().reason == "exit"

    @pytest.mark.parametrize("n", [2, 4, -1])
    def test_atom_count(self, server, structure, n):
        driver = Driver(Toy(), structure, unix=server.address)
        server.handshake("batch_size:2")
        data = batch_bytes([CELL] * 2, FRAMES[:2])
        server.send(data[:12] + struct.pack("=i", n) + data[16:] + header("GETFORCE"))
        assert server.at_end()
        server.sock.close()
        with pytest.raises(InputError, match=f"a frame of {n} atoms; .* has 3"):
            driver.wait()

    def test_one_bad_frame(self, server, structure, tmp_path):
        """Of a batch with one bad frame nothing is sent, and that frame is written."""
        def spoil(result):
            if abs(result.energy - 0.5 * (FRAMES[1]**2).sum()) < 1e-6:
                result.forces[0] = np.nan

        driver = Driver(Toy(spoil), structure, unix=server.address, dump=tmp_path / "bad.xyz")
        server.handshake("batch_size:3")
        server.send(batch_bytes(CELLS, FRAMES) + header("GETFORCE"))
        assert server.at_end()
        server.sock.close()
        with pytest.raises(InputError, match="frame 2 .*not finite"):
            driver.wait()
        assert np.loadtxt(tmp_path / "bad.xyz", skiprows=2, usecols=(1, 2, 3)) == pytest.approx(FRAMES[1], abs=1e-7)


@contextlib.contextmanager
def segments(n_frames, n_atoms, names="sgtest"):
    """i-PI's six segments, and arrays on them."""
    shapes = {"pos": (n_frames, n_atoms, 3), "h": (n_frames, 3, 3), "ih": (n_frames, 3, 3), "pot": (n_frames,),
              "force": (n_frames, n_atoms, 3), "vir": (n_frames, 3, 3)}
    made = {kind: SharedMemory(name=f"{names}_{kind}", create=True, size=8 * int(np.prod(shape)))
            for kind, shape in shapes.items()}
    arrays = {kind: np.ndarray(shapes[kind], np.float64, segment.buf) for kind, segment in made.items()}
    try:
        yield arrays, b"".join(struct.pack("=i", len(s.name)) + s.name.encode() for s in made.values())
    finally:
        arrays.clear()
        for segment in made.values():
            segment.close()
            segment.unlink()


class TestSharedMemory:
    @pytest.mark.parametrize("n_frames", [1, 3])
    def test_exchange(self, server, structure, tmp_path, n_frames):
        driver = Driver(Toy(), structure, unix=server.address)
        server.handshake(f"batch_size:{n_frames}")
        with segments(n_frames, 3, f"sg{tmp_path.name[-20:]}") as (arrays, names):
            for step, shift in enumerate((0.0, 0.1, 0.2)):
                for k in range(n_frames):
                    arrays["h"][k] = CELLS[k].T / BOHR
                    arrays["pos"][k] = (FRAMES[k] + shift) / BOHR
                server.send(header("POSDATA") + struct.pack("=i", 3) + (b"" if step else names) + header("GETFORCE"))
                assert server.read(12 + 4 * n_frames) == header("FORCEREADY") + bytes(4 * n_frames)
                for k in range(n_frames):
                    got = np.concatenate([arrays["pot"][k:k + 1], arrays["force"][k].ravel(), arrays["vir"][k].ravel()])
                    np.testing.assert_allclose(got, expected_bytes(FRAMES[k] + shift)[1], rtol=3e-9, atol=1e-12)
            server.exit()
            assert driver.wait().frames == 3 * n_frames
            del got

    def test_names_byte_by_byte(self, server, structure, tmp_path):
        driver = Driver(Toy(), structure, unix=server.address)
        server.trickle = True
        server.handshake()
        with segments(1, 3, f"sh{tmp_path.name[-20:]}") as (arrays, names):
            arrays["h"][0], arrays["pos"][0] = CELL.T / BOHR, POSITIONS / BOHR
            server.send(header("POSDATA") + struct.pack("=i", 3) + names + header("GETFORCE"))
            assert server.read(16) == header("FORCEREADY") + bytes(4)
            assert arrays["pot"][0] == pytest.approx(0.5 * (POSITIONS**2).sum() / HARTREE, rel=1e-8)
            server.exit()
            driver.wait()

    def test_no_such_segments(self, server, structure):
        driver = Driver(Toy(), structure, unix=server.address)
        server.handshake()
        names = 6 * (struct.pack("=i", 11) + b"sg_not_here")
        server.send(header("POSDATA") + struct.pack("=i", 3) + names + header("GETFORCE"))
        assert server.at_end()
        server.sock.close()
        with pytest.raises(HostError, match="cannot open i-PI's segment.*sg_not_here.*one machine"):
            driver.wait()

    def test_wrong_sizes(self, server, structure, tmp_path):
        driver = Driver(Toy(), structure, unix=server.address)
        server.handshake("batch_size:5000")  # segments come in whole pages
        with segments(1, 3, f"si{tmp_path.name[-20:]}") as (_, names):
            server.send(header("POSDATA") + struct.pack("=i", 3) + names + header("GETFORCE"))
            assert server.at_end()
            server.sock.close()
            with pytest.raises(HostError, match="expected at least"):
                driver.wait()


class TestExtras:
    @staticmethod
    def one(server, n_atoms):
        """One answer with extras: the JSON object."""
        data = server.read(12 + 8 + 4 + 24 * n_atoms + 72 + 4)
        return json.loads(server.read(struct.unpack("=i", data[-4:])[0]))

    def test_atom_energies(self, server, structure):
        driver = Driver(Toy(), structure, unix=server.address, extras=("atom_energies",))
        server.handshake()
        server.send(posdata_bytes(CELL, POSITIONS) + header("GETFORCE"))
        told = self.one(server, 3)
        assert told.keys() == {"atom_energies"}
        np.testing.assert_allclose(told["atom_energies"], 0.5 * (POSITIONS**2).sum(axis=1) / HARTREE, rtol=1e-8)
        server.exit()
        driver.wait()

    def test_one_for_each_frame_of_a_batch(self, server, structure):
        driver = Driver(Toy(), structure, unix=server.address, extras=("atom_energies",))
        server.handshake("batch_size:3")
        server.send(batch_bytes([CELL] * 3, [FRAMES[0], FRAMES[1], FRAMES[1]]) + header("GETFORCE"))
        server.read(12 + 4 + 3 * (8 + 72 + 72))
        for x in (FRAMES[0], FRAMES[1], FRAMES[1]):
            told = json.loads(server.read(struct.unpack("=i", server.read(4))[0]))
            np.testing.assert_allclose(told["atom_energies"], 0.5 * (x**2).sum(axis=1) / HARTREE, rtol=1e-8)
        server.exit()
        driver.wait()

    def test_own_provider(self, server, structure, monkeypatch):
        """What dipoles will use: a name, and a function of the result."""
        monkeypatch.setattr(extras, "_PROVIDERS", dict(extras._PROVIDERS))
        extras.register("dipole", lambda result: {"dipole": result.forces.sum(axis=0)})
        driver = Driver(Toy(), structure, unix=server.address, extras=("dipole", "atom_energies"))
        server.handshake()
        server.send(posdata_bytes(CELL, POSITIONS) + header("GETFORCE"))
        told = self.one(server, 3)
        np.testing.assert_allclose(told["dipole"], -POSITIONS.sum(axis=0), rtol=1e-8)
        server.exit()
        driver.wait()

    def test_what_cannot_be_told(self, address, structure, monkeypatch):
        """Found before anything is connected."""
        with pytest.raises(InputError, match=r"got the extra 'dipoles'; expected one of atom_energies"):
            Driver(Toy(), structure, unix=address, extras=("dipoles",)).wait()
        with pytest.raises(InputError, match="no extras of its own"):
            Driver(Toy(), structure, unix=address, extras=("result",)).wait()

        def silent(result):
            result.energies = None

        toy = Toy(silent)
        toy.frames.append(None)  # so that the warm-up is spoilt, too
        with pytest.raises(InputError, match="energies of the atoms"):
            Driver(toy, structure, unix=address, extras=("atom_energies",)).wait()

    def test_keys(self):
        assert json.loads(extras.pack([{"a": np.float64(1.5)}, {"b": np.arange(2)}])) == {"a": 1.5, "b": [0, 1]}
        with pytest.raises(InputError, match="same key, a"):
            extras.pack([{"a": 1}, {"a": 2}])
        with pytest.raises(InputError, match="'raw'"):
            extras.pack([{"raw": 1}])


class TestNoise:
    """A server that goes wrong: the driver ends, in time and in order, and says something; it never computes rubbish."""

    def test_altered_bytes(self, server, structure):
        """A right conversation with a few bytes changed, a hundred times."""
        rng = np.random.default_rng(20)
        right = (header("STATUS") + init_bytes(" , batch_size:2") + header("STATUS") + batch_bytes([CELL] * 2, FRAMES[:2])
                 + header("GETFORCE") + header("STATUS"))
        survived = 0
        for trial in range(100):
            data = bytearray(right)
            headers = rng.random() < 0.5  # half of the time where it hurts
            places = rng.integers(0, 90 if headers else len(data), rng.integers(1, 4))
            data[places[0]] = rng.integers(256)
            for place in places[1:]:
                data[place] ^= 1 << rng.integers(8)
            if trial % 5 == 0:
                del data[rng.integers(len(data)):]
            survived += self.survives(server, structure, bytes(data))
        assert 0 < survived < 100

    @staticmethod
    def survives(server, structure, data):
        driver = Driver(Toy(), structure, unix=server.address)
        server.accept()
        server.send(data)
        with contextlib.suppress(OSError):
            server.sock.shutdown(1)
        while server.sock.recv(65536):
            pass
        server.sock.close()
        driver.thread.join(LIMIT)
        assert not driver.thread.is_alive()
        assert driver.error is None or isinstance(driver.error, SoapGAPError), repr(driver.error)
        return driver.error is None

    def test_rubbish(self, server, structure):
        rng = np.random.default_rng(21)
        for _ in range(30):
            driver = Driver(Toy(), structure, unix=server.address)
            server.accept()
            server.send(rng.bytes(int(rng.integers(12, 2000))))
            with contextlib.suppress(OSError):
                server.sock.shutdown(1)
            while server.sock.recv(65536):
                pass
            server.sock.close()
            with pytest.raises(LostConnection):
                driver.wait()
