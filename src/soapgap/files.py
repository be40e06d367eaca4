"""Files that are complete or not there, and the fingerprints of what they hold."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from soapgap.errors import InputError

__all__ = ["hash_files", "hash_json", "write_atomically"]


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
        If it cannot be written (folder missing, no permission, disk full); no partial file remains.
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
        raise InputError(f"cannot write {path} ({len(content)} bytes): {error.strerror}; no partial file remains: "
                         "free space, or choose another place") from None


def hash_files(paths: Iterable[Path], what: str = "file") -> str:
    """SHA-256 (hexadecimal) of the content of files, one after the other.

    Parameters
    ----------
    paths : iterable of path
    what : str
        What they are called in an error.

    Raises
    ------
    InputError
        One cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            with open(path, "rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
        except OSError as error:
            raise InputError(f"cannot read the {what} {path}: {error.strerror or error}") from None
    return digest.hexdigest()


def hash_json(*content: Any) -> str:
    """SHA-256 (hexadecimal) of plain JSON values; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
