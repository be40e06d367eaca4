"""The segments of shared memory in which i-PI's ``mode="shm"`` exchanges numbers; i-PI owns them."""

from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory

import numpy as np

from soapgap.errors import HostError

__all__ = ["Segments", "looks_shared"]


def looks_shared(lead: bytes) -> bool:
    """Whether a first POSDATA (its first 16 bytes) is one of shared memory: int32 N, int32 length, characters of a name.

    A frame on the wire begins with h_xx, whose upper half would be the length: a length of 1e-306 bohr. A batch on the wire
    has N, then h_xx and h_xy, whose bytes would all have to be printable.
    """
    return 0 < int(np.frombuffer(lead, np.int32, 1, 4)[0]) < 256 and all(33 <= byte < 127 for byte in lead[8:16])


class Segments:
    """i-PI's six arrays.

    Parameters
    ----------
    names : sequence of str
        Of the segments, in the order of `KINDS`.
    n_frames, n_atoms : int
        What the segments were made for.

    Raises
    ------
    HostError
        A segment cannot be opened, or is too small.
    """

    KINDS = ("pos", "h", "ih", "pot", "force", "vir")

    def __init__(self, names, n_frames: int, n_atoms: int):
        shapes = ((n_frames, n_atoms, 3), (n_frames, 3, 3), (n_frames, 3, 3), (n_frames,), (n_frames, n_atoms, 3),
                  (n_frames, 3, 3))
        self._open: list[SharedMemory] = []
        self._arrays: dict[str, np.ndarray] = {}
        try:
            for kind, name, shape in zip(self.KINDS, names, shapes, strict=True):
                self._arrays[kind] = self._attach(name, shape)
        except BaseException:
            self.close()
            raise

    def _attach(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        try:
            segment = SharedMemory(name=name)
        except (OSError, ValueError) as error:
            raise HostError(f"cannot open i-PI's segment of shared memory '{name}' ({error}): mode=\"shm\" needs i-PI and this "
                            'driver on one machine; use mode="unix" or mode="inet" in the i-PI input') from None
        # Python would remove the segment, which is i-PI's, when this process ends (until 3.13 there is no argument for it)
        resource_tracker.unregister(segment._name, "shared_memory")
        self._open.append(segment)
        if segment.size < 8 * int(np.prod(shape)):
            raise HostError(f"i-PI's segment of shared memory '{name}' has {segment.size} bytes; expected at least "
                            f"{8 * int(np.prod(shape))} for {shape}: give i-PI and this driver the same structure")
        return np.ndarray(shape, np.float64, segment.buf)

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Copies of the cells and positions."""
        return self._arrays["h"].copy(), self._arrays["pos"].copy()

    def write(self, energies: np.ndarray, forces: np.ndarray, virials: np.ndarray) -> None:
        """Results to where i-PI reads them; before FORCEREADY is sent."""
        self._arrays["pot"][:] = energies
        self._arrays["force"][:] = forces
        self._arrays["vir"][:] = virials

    def close(self) -> None:
        """Lets go of the segments."""
        self._arrays.clear()
        for segment in self._open:
            segment.close()
        self._open.clear()
