"""Files that are complete or not there."""

import os
from pathlib import Path

from soapgap.errors import InputError

__all__ = ["write_atomically"]


def write_atomically(path, content: bytes | str) -> None:
    """Write a file under a temporary name in the same folder, then rename it: complete or not there.

    Parameters
    ----------
    path : path-like
    content : bytes or str
        Text is written as UTF-8.

    Raises
    ------
    InputError
        If it cannot be written (folder missing, no permission, disk full); nothing is left behind.
    """
    path = Path(path)
    content = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise InputError(f"cannot write {path} ({len(content)} bytes): {error.strerror}; nothing was left behind: "
                         "free space, or choose another place") from None
