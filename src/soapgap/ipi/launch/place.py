"""Where i-PI listens when `soapgap ipi-run` starts it, and whether the place is free."""

import errno
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from soapgap.errors import InputError
from soapgap.ipi.address import parse_address
from soapgap.ipi.launch.input import DEFAULT_PREFIX, IPIInput, SocketForceField

__all__ = ["Place", "free_place", "place_of"]


@dataclass(frozen=True)
class Place:
    """Where i-PI listens.

    Attributes
    ----------
    address : str or (str, int)
        Path of a unix socket, or host and port, as a driver connects.
    prefix : str or None
        i-PI's option -S; None where it has no effect or is not wanted.
    drive : tuple of str
        The options of `soapgap drive`.
    """

    address: str | tuple[str, int]
    prefix: str | None
    drive: tuple[str, ...]


def place_of(run: IPIInput, chosen: SocketForceField, private: str, wanted: str | None = None) -> Place:
    """Where i-PI is going to listen.

    Parameters
    ----------
    run : IPIInput
    chosen : SocketForceField
        The input, and its force field that the drivers serve.
    private : str
        A folder of this run alone. The socket goes there, so that two runs with one <address> do not meet, unless other
        force fields of the input wait for drivers that are started elsewhere.
    wanted : str, optional
        The prefix to be used instead.

    Raises
    ------
    InputError
        The socket's path is too long, the port is none.
    """
    if chosen.mode == "inet":
        if not 0 < chosen.port < 65536:
            raise InputError(f"{run.path}: got <port>{chosen.port}</port>, expected 1 to 65535 (i-PI cannot choose a free one)")
        host = "localhost" if chosen.address in ("", "0.0.0.0") else chosen.address
        return Place((host, chosen.port), None, ("--host", host, "--port", str(chosen.port)))
    if chosen.nested:  # i-PI passes -S on to force fields of the first level only
        prefix, option = DEFAULT_PREFIX, None
        if wanted is not None:
            raise InputError(f"got the prefix {wanted}, but i-PI uses {DEFAULT_PREFIX} for an <ffsocket> within another force "
                             "field; leave --prefix out")
    elif wanted is not None or len(run.sockets) == 1:
        prefix = option = wanted if wanted is not None else f"{private}/"
    else:
        prefix, option = run.sockets_prefix, None
    path = parse_address(os.path.abspath(prefix + chosen.address), None, None, "")
    return Place(path, option, ("--unix", path))


def free_place(place: Place, listen: str) -> str | None:
    """Makes sure that i-PI can listen there: removes a socket file on which no program listens.

    Parameters
    ----------
    place : Place
    listen : str
        The <address> on which i-PI itself listens (TCP only).

    Returns
    -------
    str or None
        What was done, in words.

    Raises
    ------
    InputError
        Somebody listens there already, the host is not this machine, or the folder of the socket cannot be made.
    """
    if isinstance(place.address, tuple):
        _free_port(listen, place.address[1])
        return None
    return _free_path(place.address)


def _free_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as i-PI does: ports of ended runs are free
        try:
            sock.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise InputError(f"another program listens on port {port} of {host}: another run of i-PI? Take another <port>, "
                                 'or <ffsocket mode="unix">, which needs none') from error
            raise InputError(f"i-PI cannot listen on {host} port {port}: {error.strerror or error}. <address> must be this "
                             "machine (localhost, or 0.0.0.0 for all its addresses), and <port> above 1024") from error


def _free_path(path: str) -> str | None:
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder of the socket {path}: {error.strerror}") from error
    if not os.path.lexists(path):
        return None
    if not Path(path).is_socket():
        raise InputError(f"{path} is in the way of i-PI's socket; expected no file there. Remove it, or change <address>")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(2.0)
        try:
            sock.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return f"removed the socket file {path}: no program listens there, a killed i-PI had left it"
        except OSError as error:
            raise InputError(f"{path} exists, and it cannot be seen whether another i-PI listens there: "
                             f"{error.strerror or error}. Remove it, or change <address>") from error
    raise InputError(f"another program listens on {path}: another run of i-PI? Wait for its end, or change <address>")
