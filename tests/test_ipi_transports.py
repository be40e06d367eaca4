"""Every way from i-PI to the evaluator gives the same run: 20 steps of four beads, compared in all digits."""

import functools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from ipi_runs import THERMOSTAT, crystal, crystal_model, ipi_running
from ipi_tools import Driver
from programs import LIMIT, environment, process, program

import soapgap.ipi

pytest.importorskip("ipi")

DIRECT = """<ffdirect name="soapgap" pbc="false" {threaded}>
  <pes>custom</pes> <pes_path>{file}</pes_path> <batch_size>{batch}</batch_size>
  <parameters>{{model: {model}, structure: start.xyz, threads: 1 {more}}}</parameters>
 </ffdirect>"""
RUN = {"beads": 4, "ensemble": "nvt", "dynamics": THERMOSTAT.format("pile_g")}
PES = Path(soapgap.ipi.__file__).with_name("soapgap_ipi_pes.py")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    crystal_model().save(path)
    return path


def direct(model, batch=1, threaded="", more=""):
    """The forcefield of a run without sockets."""
    text = DIRECT.format(file=PES, batch=batch, model=model, threaded=threaded, more=more)
    return {"forcefield": text.replace("{", "{{").replace("}", "}}")}


def drive_in_thread(model, atoms, run, **arguments):
    Driver(str(model), atoms, threads=1, **run.where, **arguments).wait()


def drive_by_command(model, atoms, run, *arguments):
    """`soapgap drive` as a user starts it."""
    command = [program("soapgap"), "drive", str(model), "start.xyz", "--threads", "1", "--quiet", *arguments,
               *(f"--{name}={value}" for name, value in run.where.items())]
    with process(command, run.folder, run.folder / "drive.log", env=environment()) as driving:
        run.running.wait(LIMIT)
        assert driving.wait(LIMIT) == 0, (run.folder / "drive.log").read_text()


@functools.cache
def reference(model):
    """One client over a unix socket."""
    with tempfile.TemporaryDirectory() as folder:
        return simulated(Path(folder), model, drive_in_thread)


def simulated(folder, model, serve, **settings):
    """What i-PI holds at the end, and its table."""
    atoms = crystal()
    with ipi_running(folder, atoms, whole=True, **RUN, **settings) as run:
        if serve is not None:
            serve(model, atoms, run)
        table = run.finish()
    assert len(table) == 21
    return dict(np.load(folder / "end.npz")), table


BATCH = {"options": "<batch_size>4</batch_size>"}
PADDED = {"options": "<batch_size>3</batch_size>"}
BITWISE = {
    "tcp": (drive_in_thread, {"mode": "inet"}),
    "shared memory": (drive_in_thread, {"mode": "shm"}),
    "not consolidated": (drive_in_thread, {"consolidate": "False"}),
    "two clients": (functools.partial(drive_in_thread, clients=2), {}),
    "the command": (drive_by_command, {}),
    "no skin": (functools.partial(drive_in_thread, skin=0.0), {}),
    "batch": (drive_in_thread, BATCH),
    "padded batch": (drive_in_thread, PADDED),
    "batch, shared memory": (drive_in_thread, {"mode": "shm", **BATCH}),
    "batch, two clients": (functools.partial(drive_in_thread, clients=2), {"options": "<batch_size>2</batch_size>"}),
    "batch, tcp": (drive_in_thread, {"mode": "inet", **BATCH}),
    "inside i-PI": (None, {}),
    "inside i-PI, batch": (None, {"batch": 4}),
    "inside i-PI, threads, batch of 3": (None, {"batch": 3, "threaded": 'threaded="true"'}),
}


@pytest.mark.parametrize("kind", BITWISE)
def test_same_bits(tmp_path, model, kind):
    serve, settings = BITWISE[kind]
    if serve is None:
        settings = direct(model, **settings)
    end, _ = simulated(tmp_path, model, serve, **settings)
    expected, _ = reference(model)
    assert np.ptp(expected["positions"], axis=0).max() > 0.01  # the beads are apart
    for name in ("positions", "energies", "forces"):
        np.testing.assert_array_equal(end[name], expected[name], err_msg=name)
    upper = np.triu_indices(3)  # i-PI keeps the upper triangle
    np.testing.assert_array_equal(end["virials"][(..., *upper)], expected["virials"][(..., *upper)])


class TestDirect:
    """Errors inside i-PI end it, in both of its modes."""

    @pytest.mark.parametrize("threaded", ["", 'threaded="true"'])
    def test_a_force_above_the_limit(self, tmp_path, model, threaded):
        settings = direct(model, threaded=threaded, more=f", max_force: 1e-6, dump: {tmp_path}/bad.xyz")
        with ipi_running(tmp_path, crystal(), **settings) as run:
            run.running.wait(LIMIT)  # its status is 0 or 1, as it likes
        text = (tmp_path / "ipi.log").read_text()
        assert "above the limit of 1e-06" in text
        assert (tmp_path / "bad.xyz").exists()
        assert run.steps() == 0

    @pytest.mark.parametrize(("more", "message"), [
        (", skins: 1", "has skins; expected"),
        (", extras: nothing", "got the extra 'nothing'"),
        (", pbc: TT", "three letters"),
    ])
    def test_parameters(self, tmp_path, model, more, message):
        with ipi_running(tmp_path, crystal(), **direct(model, more=more)) as run:
            assert run.running.wait(LIMIT) == 1
        assert message in (tmp_path / "ipi.log").read_text()
