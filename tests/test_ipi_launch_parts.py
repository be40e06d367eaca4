"""The parts of `soapgap ipi-run` that need no run: inputs, addresses, tables of progress, and how i-PI says that it ended."""

import re
import socket
import sys

import pytest
from ipi_runs import free_port
from ipi_tools import short_directory
from programs import run_program
from test_ipi_launch import COMMAND, DEFAULTS, INPUT

from soapgap.errors import HostError, InputError
from soapgap.ipi.launch.ending import soft_exit_reason
from soapgap.ipi.launch.input import PropertiesFile, choose_socket, read_input
from soapgap.ipi.launch.options import LaunchOptions
from soapgap.ipi.launch.place import free_place, place_of
from soapgap.ipi.launch.plan import make_plan
from soapgap.ipi.launch.progress import Watcher

pytest.importorskip("ipi")


def write(folder, text=INPUT, **settings):
    path = folder / "input.xml"
    path.write_text(text.format(**DEFAULTS | settings))
    return path


def two_sockets():
    second = '<ffsocket name="other" mode="inet"><port>4711</port></ffsocket>\n <system>'
    return INPUT.replace("<system>", second)


class TestInput:
    def test_what_is_read(self, tmp_path):
        run = read_input(write(tmp_path, beads=8, options="<batch_size> 4 </batch_size>", mode="shm"))
        assert (run.step, run.total_steps, run.n_replicas, run.total_time) == (0, 20, 8, 0.0)
        assert run.properties == PropertiesFile("run.out", 1, ("step", "conserved", "potential", "volume", "virial_md",
                                                               "kinetic_md"))
        chosen = choose_socket(run)
        assert (chosen.name, chosen.mode, chosen.address, chosen.batch_size) == ("soapgap", "shm", "run", 4)
        assert not chosen.nested

    def test_defaults_of_ipi(self, tmp_path):
        path = tmp_path / "input.xml"
        path.write_text('<simulation><ffsocket name="a"/><system prefix="s"><beads nbeads="3"/></system></simulation>')
        run = read_input(path)
        assert (run.total_steps, run.n_replicas, run.properties.name, run.properties.stride) == (1000, 3, "s_i-pi.md", 10)
        assert (run.sockets[0].mode, run.sockets[0].address, run.sockets[0].port) == ("inet", "localhost", 65535)

    @pytest.mark.parametrize(("text", "words"), [
        ("<simulation> </simulation>", "no <ffsocket>"),
        ("<simulation><ffmpi name='a'/></simulation>", "started by mpiexec"),
        ("<simulation", "is not XML"),
        ("<inputs/>", "expected <simulation>"),
        ("<simulation><total_steps>many</total_steps></simulation>", "<total_steps>many</total_steps>, expected a number"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><simulation/>', "a document type or entities"),
        ('<simulation><ffsocket name="a" mode="pipe"/></simulation>', "expected unix, inet or shm"),
    ])
    def test_errors(self, tmp_path, text, words):
        path = tmp_path / "input.xml"
        path.write_text(text)
        with pytest.raises(InputError, match=re.escape(words)):
            choose_socket(read_input(path))

    def test_two_sockets(self, tmp_path):
        """A choice is needed, and then other drivers must find the other socket where they look for it."""
        run = read_input(write(tmp_path, two_sockets()))
        with pytest.raises(InputError, match=r"2 <ffsocket>: 'soapgap', 'other'.*--forcefield NAME"):
            choose_socket(run)
        with pytest.raises(InputError, match="got the force field 'third', expected one of 'soapgap', 'other'"):
            choose_socket(run, "third")
        place = place_of(run, choose_socket(run, "soapgap"), "/tmp/private")
        assert (place.address, place.prefix) == ("/tmp/ipi_run", None)
        assert place_of(run, choose_socket(run, "other"), "/tmp/private").drive == ("--host", "localhost", "--port", "4711")

    def test_prefixes(self, tmp_path):
        run = read_input(write(tmp_path))
        assert place_of(run, run.sockets[0], "/tmp/private").prefix == "/tmp/private/"
        assert place_of(run, run.sockets[0], "/tmp/private").address == "/tmp/private/run"
        assert place_of(run, run.sockets[0], "/tmp/private", "/tmp/x_").address == "/tmp/x_run"
        text = INPUT.replace("<ffsocket", '<ffcommittee name="c"><ffsocket').replace("</ffsocket>", "</ffsocket></ffcommittee>")
        run = read_input(write(tmp_path, text))
        assert (run.sockets[0].nested, run.others) == (True, ("ffcommittee",))
        place = place_of(run, run.sockets[0], "/tmp/private")
        assert (place.address, place.prefix) == ("/tmp/ipi_run", None)

    @pytest.mark.parametrize(("settings", "arguments", "words"), [
        ({"steps": 0}, {}, "at step 0 of 0: nothing is left to do"),
        ({}, {"model": None}, "give MODEL and STRUCTURE"),
        ({}, {"folder": "none"}, "which does not exist"),
        ({}, {"drivers": 0}, "expected at least 1"),
        ({}, {"drive_options": ["--unix=a"]}, "which is not for them"),
    ])
    def test_plan(self, tmp_path, settings, arguments, words):
        arguments = {"model": "m", "structure": "s", "drive_options": [], "folder": tmp_path, **arguments}
        known = [arguments.pop(name) for name in ("model", "structure", "drive_options")]
        model, structure, words_of_drivers = known
        with pytest.raises(InputError, match=re.escape(words)):
            make_plan(write(tmp_path, **settings), model, structure, LaunchOptions(**arguments), words_of_drivers)

    def test_under_mpiexec(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PMI_SIZE", "2")
        with pytest.raises(InputError, match="on 2 MPI ranks"):
            make_plan(write(tmp_path), "m", "s", LaunchOptions(threads=1, folder=tmp_path))

    def test_exit_file(self, tmp_path):
        (tmp_path / "EXIT").touch()
        with pytest.raises(InputError, match="the file EXIT"):
            make_plan(write(tmp_path), "m", "s", LaunchOptions(threads=1, folder=tmp_path))

    def test_not_installed(self, tmp_path, monkeypatch):
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(HostError, match=re.escape('pip install "soapgap[ipi]"')):
            make_plan(write(tmp_path), "m", "s", LaunchOptions(threads=1, folder=tmp_path))

    def test_options_before_the_structure(self, tmp_path):
        words = [*COMMAND, "--skin", "0.5", str(write(tmp_path)), "model", "structure"]
        done = run_program(words, tmp_path)
        assert done.status == 2
        assert "after STRUCTURE" in done.stderr


class TestPlaces:
    def test_somebody_listens(self, tmp_path):
        with short_directory() as sockets, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{sockets}/run")
            listener.listen(1)
            run = read_input(write(tmp_path))
            with pytest.raises(InputError, match="another program listens"):
                free_place(place_of(run, run.sockets[0], str(sockets)), "run")
            assert (sockets / "run").exists()

    def test_a_file_in_the_way(self, tmp_path):
        """Only sockets are removed."""
        with short_directory() as sockets:
            (sockets / "run").write_text("precious")
            run = read_input(write(tmp_path))
            with pytest.raises(InputError, match="in the way of i-PI's socket"):
                free_place(place_of(run, run.sockets[0], str(sockets)), "run")
            assert (sockets / "run").read_text() == "precious"

    def test_ports(self, tmp_path):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            run = read_input(write(tmp_path, mode="inet", address="127.0.0.1", port=listener.getsockname()[1]))
            with pytest.raises(InputError, match="another program listens on port"):
                free_place(place_of(run, run.sockets[0], ""), "127.0.0.1")
        run = read_input(write(tmp_path, mode="inet", address="0.0.0.0", port=0))
        with pytest.raises(InputError, match="expected 1 to 65535"):
            place_of(run, run.sockets[0], "")
        run = read_input(write(tmp_path, mode="inet", address="203.0.113.7", port=free_port()))
        with pytest.raises(InputError, match="must be this machine"):
            free_place(place_of(run, run.sockets[0], ""), "203.0.113.7")


TABLE = """# cols.    1-6   --> virial_md : the virial
# column   7     --> step : the step
# column   8     --> potential{electronvolt} : energy: of the beads
# column   9     --> temperature(O){kelvin} : of some
"""


class TestProgress:
    def run_of(self, folder, quantities, stride, step=0):
        quantities = quantities.replace("{", "{{").replace("}", "}}")
        text = INPUT.replace("[step, conserved, potential, volume, virial_md, kinetic_md]", quantities)
        text = text.replace('stride="1"', f'stride="{stride}"').replace("<prng>", f"<step>{step}</step><prng>")
        return read_input(write(folder, text, steps=1000))

    def test_columns_and_old_files(self, tmp_path):
        """A table of an earlier run is not taken for this one; half a line is waited for; vectors take several columns."""
        table = tmp_path / "run.out"
        table.write_text(TABLE + " 0" * 6 + " 999 1 1\n")
        run = self.run_of(tmp_path, "[virial_md, step, potential{electronvolt}, temperature(O){kelvin}]", 5)
        watcher = Watcher(run, tmp_path)
        assert watcher.look([]).step is None
        table.rename(tmp_path / "#run.out#0#")
        table.write_text(TABLE + " 0" * 6 + " 0 -1.5 300\n" + " 0" * 6 + " 5 -1.25")
        state = watcher.look([])
        assert (state.step, state.values) == (0, {"potential": "-1.5 eV", "temperature": "300 K"})
        with open(table, "a") as file:
            file.write(" 310.5\n")
        state = watcher.look([])
        assert (state.step, state.values) == (5, {"potential": "-1.25 eV", "temperature": "310.5 K"})
        assert state.pace > 0

    @pytest.mark.parametrize(("step", "expected"), [(0, 20), (57, 80)])
    def test_rows_without_steps(self, tmp_path, step, expected):
        """Rows are counted: from step 0, or from the first multiple of the stride after a restart."""
        table = tmp_path / "run.out"
        if step:
            table.write_text("-1.0\n-1.0\n")  # of the run before
        watcher = Watcher(self.run_of(tmp_path, "[potential]", 10, step), tmp_path)
        with open(table, "a") as file:
            file.write("-1.0\n-2.0\n-3.0\n")
        state = watcher.look([])
        assert (state.step, state.values) == (expected, {"potential": "-3 Ha"})

    def test_log_alone(self, tmp_path):
        watcher = Watcher(self.run_of(tmp_path, "[potential]", 0), tmp_path)
        line = " @simulation.run: Average timings at MD step     100. t/step: 1.17e-02"
        assert watcher.look(["something else", line]).step == 101


@pytest.mark.parametrize(("line", "wanted", "words"), [
    ("(MainThread, started 1)>  @ SIMULATION: Exiting cleanly.", True, "Exiting cleanly."),
    ("(softexit, started 1)>  @SOFTEXIT: EXIT file detected.", True, "the file EXIT asked i-PI to end"),
    ("(softexit, started 1)>  @SOFTEXIT: Maximum wallclock time elapsed.", True, "<total_time> of the input is over"),
    ("(Thread-3, started 1)> Client shutdown.", False, "Client shutdown."),
    ("(softexit, started 1)>  @SOFTEXIT: Kill signal received", False, "Kill signal received"),
])
def test_soft_exits(line, wanted, words):
    """i-PI's status is 0 for all of these."""
    assert soft_exit_reason(["noise", f" @softexit.trigger:  SOFTEXIT CALLED FROM THREAD <Thread{line}"]) == (wanted, words)
