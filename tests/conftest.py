"""Fixtures that several test files share."""

import os
import sys

if "PYTEST_XDIST_WORKER" in os.environ:  # before NumPy and OpenMP are loaded: the workers are what shares out the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import ase
import pytest
from ipi_tools import CELL, POSITIONS, Server, short_directory


@pytest.fixture(autouse=True)
def no_report(monkeypatch, request):
    """Reports of fits take two seconds each and are tested by themselves, and where a test is marked `report`."""
    if "soapgap.fitting.pipeline" in sys.modules and not request.node.get_closest_marker("report"):
        monkeypatch.setattr(sys.modules["soapgap.fitting.pipeline"], "write_report_files", lambda *_: None)


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
