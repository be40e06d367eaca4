"""Where i-PI listens, and connecting to it."""

import os
import socket
import time
from collections.abc import Callable

from soapgap.errors import HostError, InputError


def parse_address(unix: str | None, host: str | None, port: int | None, prefix: str) -> str | tuple[str, int]:
    """A path (unix socket) or a pair of host and port (TCP); `InputError` if the four do not name one of them."""
    if unix is not None:
        if host is not None or port is not None:
            raise InputError("got both a unix socket and a host or port; expected one of the two")
        path = unix if unix.startswith("/") else prefix + unix
        if not unix or len(os.fsencode(path)) > 107:
            raise InputError(
                f"got the unix socket path '{path}'; expected 1 to 107 bytes. Use a shorter <address> or prefix"
            )
        return path
    if host is None and port is None:
        raise InputError("no address: give the unix socket's name (--unix NAME, i-PI's <address>) or --host and --port")
    port = 31415 if port is None else port
    if not 0 < port < 65536:
        raise InputError(f"got port {port}; expected 1 to 65535")
    return host or "localhost", port


def describe_address(address: str | tuple[str, int]) -> str:
    """The address in words, for messages."""
    return f"unix socket {address}" if isinstance(address, str) else f"{address[0]} port {address[1]}"


def connect(
    address: str | tuple[str, int], wait: float, stop: Callable[[], bool] = lambda: False
) -> socket.socket | None:
    """A connected socket; trying again, ever less often, for `wait` seconds. None if `stop()` became true.

    Raises
    ------
    HostError
        The address did not open in time, or is not permitted.
    """
    end = time.monotonic() + wait
    pause = 0.05
    while not stop():
        try:
            return _connect_once(address)
        except PermissionError as error:
            raise HostError(f"may not open {describe_address(address)}: {error.strerror}") from error
        except OSError as error:
            if (left := end - time.monotonic()) <= 0:
                raise HostError(_never_opened(address, wait, error)) from error
        time.sleep(min(pause, left))
        pause = min(1.5 * pause, 1.0)
    return None


def _connect_once(address: str | tuple[str, int]) -> socket.socket:
    if isinstance(address, tuple):
        sock = socket.create_connection(address, timeout=10.0)
        if sock.getsockname() == sock.getpeername():  # a free local port can connect to itself
            sock.close()
            raise ConnectionRefusedError("nobody listens")
        return sock
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(10.0)
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def _never_opened(address: str | tuple[str, int], wait: float, error: OSError) -> str:
    text = f"{describe_address(address)} did not open within {wait:g} s ({error.strerror or error}). "
    if isinstance(address, tuple):
        return text + "Start i-PI, check <address> and <port> of <ffsocket> in its input, or wait longer (--wait)"
    if isinstance(error, ConnectionRefusedError):
        text += (
            "The file exists but nobody listens: if no i-PI is running, one that was killed left it behind; remove it. "
        )
    return text + (
        "Start i-PI, check <address> of <ffsocket> in its input (the file is /tmp/ipi_<address> unless i-pi was "
        "started with -S), or wait longer (--wait)"
    )
