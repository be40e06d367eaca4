"""What ASE's reader of XYZ files passes over in silence."""

from ase.io.formats import open_with_compression

from soapgap.errors import InputError

__all__ = ["refuse_hidden_frames"]


def refuse_hidden_frames(path, name: str) -> None:
    """Frames after a blank line are not read by ASE, which takes it for the end of the file; that must not go unnoticed.

    Parameters
    ----------
    path : path-like
        An XYZ file, possibly compressed; anything else about it is left to the reader.
    name : str
        For the message.

    Raises
    ------
    InputError
        If text follows a blank line where a frame should begin.
    """
    with open_with_compression(str(path), "r") as file:
        frame, number = 0, 0
        for line in file:
            number += 1
            if not line.strip():
                break
            try:
                n_atoms = int(line)
            except ValueError:
                return  # not XYZ: the reader says so
            for _ in range(n_atoms + 1):
                number += 1
                next(file, None)
            frame += 1
        else:
            return
        for line in file:
            if line.strip():
                raise InputError(f"{name}: line {number} is blank and more follows; a reader would stop there, after {frame} "
                                 "frames: remove the blank lines between frames (a file may end with some)")
