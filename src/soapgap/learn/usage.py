"""Memory: what the machine has, what this process has used, and sizes in words."""

from __future__ import annotations

import re
import resource

from soapgap.errors import InputError


def peak_bytes() -> int:
    """The most memory that this process has held so far."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def as_bytes(text: str) -> int:
    """Bytes from "4GB", "500 MB" or "2.5GiB" (all in powers of 1024).

    Raises
    ------
    InputError
        It is none of these.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([KMGT])i?B?\s*", text, re.IGNORECASE)
    if match is None:
        raise InputError(f"memory = {text!r}, expected a size such as 4GB or 500MB")
    return int(float(match[1]) * 1024 ** ("KMGT".index(match[2].upper()) + 1))


def size(n_bytes: int) -> str:
    """Bytes as 12 MB or 3.40 GB."""
    return f"{n_bytes / 2**30:.2f} GB" if n_bytes >= 2**29 else f"{n_bytes / 2**20:.0f} MB"


def available_memory() -> int | None:
    """Bytes that the machine has free, None if it does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None
