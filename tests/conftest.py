"""Fixtures that several test files share."""

import ase
import pytest
from ipi_tools import CELL, POSITIONS, Server, short_directory


@pytest.fixture
def structure():
    return ase.Atoms("SiOSi", POSITIONS, cell=CELL, pbc=True)


@pytest.fixture
def address():
    with short_directory() as path:
        yield str(path / "s")


@pytest.fixture
def server(address):
    server = Server(address)
    yield server
    server.close()


@pytest.fixture
def tcp_server():
    server = Server(("127.0.0.1", 0))
    yield server
    server.close()
