"""`soapgap ipi-input`: what it writes, what it chooses, and what it refuses (runs: test_ipi_input_runs.py)."""

import re
import shlex
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
import typer
from ase.build import bulk, molecule
from ase.units import Hartree, kB
from ipi_inputs import make, save, white_noise, write_gle
from ipi_runs import crystal
from typer.testing import CliRunner

from soapgap.cli.ipi_input import ipi_input
from soapgap.errors import InputError
from soapgap.ipi.starter.settings import InputSettings
from soapgap.ipi.starter.structure import readable_by_ipi, standard_setting
from soapgap.ipi.starter.text import comment
from soapgap.ipi.starter.write import default_beads, default_timestep, harmonic_deficit, highest_frequency, write_input

KINDS = ("nve", "nvt", "pimd", "npt", "npt-pimd", "rpmd")
MODES = ("unix", "inet", "shm", "ffdirect")


class TestText:
    def test_ipi_understands_every_kind_in_every_mode(self, tmp_path):
        pytest.importorskip("ipi")
        from ipi.inputs.simulation import InputSimulation
        from ipi.utils.io.inputs.io_xml import xml_parse_string

        for kind in KINDS:
            for mode in MODES:
                name = f"{kind}-{mode}.xml"
                make(tmp_path, crystal(), name, kind=kind, mode=mode, model="m.safetensors", temperature=250.0)
                text = (tmp_path / name).read_text()
                read = InputSimulation()
                read.parse(xml_parse_string(text).fields[0][1])
                fields = dict(read.extra)
                dynamics = fields["system"].motion.dynamics
                assert dynamics.mode.fetch() == {"pimd": "nvt", "rpmd": "nve", "npt-pimd": "npt"}.get(kind, kind)
                temperature = fields["system"].ensemble.temperature.fetch()
                assert temperature == pytest.approx(250 * kB / Hartree, rel=2e-6)  # i-PI's constants are older
                beads = {"pimd": 8, "rpmd": 8, "npt-pimd": 8}.get(kind, 1)
                assert int(fields["system"].initialize.nbeads.fetch()) == beads
                assert dynamics.timestep.fetch() == pytest.approx((1 if beads > 1 else 2) * 41.341373, rel=1e-6)
                if mode != "ffdirect":
                    assert fields["ffsocket"].consolidate_messages.fetch() is False
                    assert fields["ffsocket"].mode.fetch() == mode

    def test_matrices_arrive_unchanged(self, tmp_path):
        rng = np.random.default_rng(1)
        a = rng.normal(size=(3, 4, 4)) * 1e-3
        c = rng.normal(size=(3, 4, 4)) * 10
        c = c + c.transpose(0, 2, 1) + 900 * np.eye(4)
        c[0, 0, 0] = 900
        make(tmp_path, crystal(), kind="pimd", thermostat="piglet", gle=write_gle(tmp_path / "g", a, c), mode="unix")
        root = ElementTree.parse(tmp_path / "input.xml").getroot()
        assert root.find(".//thermostat").get("mode") == "nm_gle"
        for name, values in (("A", a), ("C", c)):
            block = root.find(f".//thermostat/{name}")
            assert block.get("shape") == "(3, 4, 4)"
            assert np.array_equal(np.array(re.split(r"[\s,]+", block.text.strip(" \n[]")), float), values.ravel())
        assert root.find(".//thermostat/C").get("units") == "kelvin"
        assert root.find(".//thermostat/A").get("units") is None

    def test_names_are_escaped_and_quoted(self, tmp_path):
        folder = tmp_path / "a -- b"
        folder.mkdir()
        turned = crystal()
        turned.rotate(30, "z", rotate_cell=True)
        structure = save(folder / "it's.xyz", turned)
        output = folder / "<1> & --2 ?>.xml"
        write_input(structure, output, InputSettings(kind="nve", model=folder / "m.safetensors"))
        write_input(structure, folder / "o.xml", InputSettings(kind="nve", model=tmp_path / "m.safetensors"))
        assert f"soapgap drive {tmp_path}/m.safetensors o-start.xyz" in (folder / "o.xml").read_text()
        text = output.read_text()
        root = ElementTree.fromstring(text)
        assert root.findtext(".//file") == "<1> & --2 ?>-start.xyz"
        assert (folder / root.findtext(".//file")).exists()
        lines = text[: text.index("?>\n<simulation")].splitlines()
        words = shlex.split(next(line for line in lines if "soapgap drive" in line))
        assert words[:4] == ["soapgap", "drive", "m.safetensors", "<1> & --2 ?>-start.xyz"]
        assert words[4:] == ["--unix", "it-s-nve"]
        assert comment("a -- b---c").count("--") == 2  # those of <!-- and -->

    def test_a_batch_needs_consolidated_messages(self, tmp_path):
        make(tmp_path, crystal(), kind="pimd", batch=4)
        root = ElementTree.parse(tmp_path / "input.xml").getroot()
        assert root.findtext(".//consolidate_messages") == "True"
        assert root.findtext(".//batch_size") == "4"

    def test_command(self, tmp_path):
        app = typer.Typer()
        app.command()(ipi_input)
        save(tmp_path / "c.xyz", crystal())
        arguments = [str(tmp_path / "c.xyz"), str(tmp_path / "in.xml"), "--kind", "pimd", "--temperature", "100", "--seed", "7"]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        assert "16 beads" in done.output or "20 beads" in done.output
        assert "soapgap drive MODEL.safetensors c.xyz --unix c-pimd" in done.output
        assert ElementTree.parse(tmp_path / "in.xml").findtext(".//seed") == "7"
        assert isinstance(CliRunner().invoke(app, arguments).exception, InputError)  # exists
        assert CliRunner().invoke(app, [*arguments, "--force"]).exit_code == 0


class TestChoices:
    def test_frequencies(self):
        assert highest_frequency(molecule("H2O"))[0] == pytest.approx(3700)
        heavy = molecule("H2O")
        heavy.set_masses([15.999, 2.014, 2.014])
        assert highest_frequency(heavy)[0] == pytest.approx(3700 * np.sqrt(1.008 / 2.014))
        # sqrt(k / m_reduced) / (2 pi c) by hand, 1302.79 sqrt(k / (mdyn/A) / (m / u))
        assert highest_frequency(bulk("C"))[0] == pytest.approx(1302.79 * np.sqrt(10 / (12.011 / 2)), rel=1e-5)
        assert highest_frequency(bulk("Si"))[0] == pytest.approx(1302.79 * np.sqrt(4 / (28.085 / 2)), rel=1e-5)

    def test_time_steps(self):
        steps = [(3700, 0.5, 0.25), (1682, 1.0, 0.5), (695, 2.0, 1.0)]
        for frequency, classical, quantum in steps:
            assert (default_timestep(frequency, 1), default_timestep(frequency, 8)) == (classical, quantum)

    def test_beads(self):
        assert default_beads(3700, 300) == 32  # the customary number for water
        assert default_beads(695, 300) == 8
        assert default_beads(100, 1000) == 4
        # hbar omega / k_B T = 5.4909 and the sums for 4 and 16 beads, known from a run of i-PI's harmonic trap
        frequency = 5.4909 * 300 / 1.438777
        assert harmonic_deficit(frequency, 300, 4) == pytest.approx(1 - 0.104450 / 0.126235, abs=2e-4)
        assert harmonic_deficit(frequency, 300, 16) == pytest.approx(1 - 0.124445 / 0.126235, abs=2e-4)
        assert harmonic_deficit(frequency, 300, 4000) < 1e-6

    def test_own_values_are_kept(self, tmp_path):
        make(tmp_path, crystal(), kind="pimd", beads=6, timestep=0.3, tau=55, seed=9, steps=77, stride=50, frequency=1000,
             thermostat="pile_g", address="si")
        root = ElementTree.parse(tmp_path / "input.xml").getroot()
        values = {tag: root.findtext(f".//{tag}") for tag in ("timestep", "tau", "seed", "total_steps", "address")}
        assert values == {"timestep": "0.3", "tau": "55", "seed": "9", "total_steps": "77", "address": "si"}
        assert root.find(".//initialize").get("nbeads") == "6"
        assert root.find(".//thermostat").get("mode") == "pile_g"


class TestStart:
    def test_standard_setting_is_a_rotation(self):
        atoms = crystal()
        atoms.pbc = [True, True, False]
        atoms.rotate(50, [1, 2, 3], rotate_cell=True)
        turned, notes = standard_setting(atoms)
        assert len(notes) == 1
        assert "rotated" in notes[0]
        np.testing.assert_allclose(turned.get_all_distances(mic=True), atoms.get_all_distances(mic=True), atol=1e-9)
        np.testing.assert_allclose(turned.cell.cellpar(), atoms.cell.cellpar(), atol=1e-9)
        np.testing.assert_allclose(turned.get_scaled_positions(wrap=False), atoms.get_scaled_positions(wrap=False), atol=1e-9)
        assert np.array_equal(turned.cell, np.tril(turned.cell))
        assert turned.pbc.tolist() == [True, True, False]
        assert np.linalg.det(atoms.get_all_distances(vector=True)[0, 1:4]) == pytest.approx(
            np.linalg.det(turned.get_all_distances(vector=True)[0, 1:4]))  # not a mirror image

    def test_a_slab_gets_a_third_vector(self):
        slab = bulk("Si", "fcc", a=3.8, cubic=True).repeat((2, 2, 1))
        slab.cell[2] = 0
        slab.pbc = [True, True, False]
        done, notes = standard_setting(slab)
        assert done.cell.cellpar()[2] == pytest.approx(20 + 1.9)
        assert "cell" in notes[0]
        np.testing.assert_allclose(done.get_all_distances(mic=True), slab.get_all_distances(mic=True), atol=1e-9)
        assert 0 < done.positions[:, 2].min()
        assert done.positions[:, 2].max() < done.cell[2, 2]

    def test_what_ipi_reads_as_it_is(self, tmp_path):
        atoms = crystal()
        good = save(tmp_path / "good.xyz", atoms)
        assert readable_by_ipi(good, atoms)
        ase.io.write(tmp_path / "two.xyz", [atoms, atoms], format="extxyz")  # would become two beads
        ase.io.write(tmp_path / "a.cif", atoms)
        plain = tmp_path / "plain.xyz"
        h = " ".join(map(str, atoms.cell.array.T.ravel()))
        units = "positions{angstrom} cell{angstrom}"
        lines = [str(len(atoms)), f"# CELL{{H}}: {h} {units}", *good.read_text().splitlines()[2:]]
        plain.write_text("\n".join([*lines, ""]))
        for path in ("two.xyz", "a.cif", "plain.xyz"):
            output = tmp_path / f"{path}.xml"
            write_input(tmp_path / path, output, InputSettings(kind="nve"))
            start = ase.io.read(tmp_path / f"{path}-start.xyz", ":")
            assert len(start) == 1
            np.testing.assert_allclose(start[0].get_all_distances(mic=True), atoms.get_all_distances(mic=True), atol=1e-4)

    def test_masses_are_taken_along(self, tmp_path):
        atoms = crystal()
        atoms.set_array("mass", np.full(32, 30.0))
        ase.io.write(tmp_path / "m.xyz", atoms, format="extxyz")
        lines = write_input(tmp_path / "m.xyz", tmp_path / "input.xml", InputSettings(kind="nve"))
        assert any("'masses'" in line for line in lines)
        assert np.array_equal(ase.io.read(tmp_path / "input-start.xyz").get_masses(), np.full(32, 30.0))


@pytest.mark.parametrize(("settings", "message"), [
    ({"kind": "npv"}, "expected one of nve, nvt"),
    ({"kind": "nvt", "mode": "tcp"}, "got mode 'tcp'"),
    ({"kind": "nvt", "temperature": 0.0}, "temperature 0"),
    ({"kind": "nvt", "temperature": float("nan")}, "temperature nan"),
    ({"kind": "nvt", "timestep": -1.0}, "timestep -1"),
    ({"kind": "nvt", "steps": 0}, "steps 0"),
    ({"kind": "nvt", "seed": -1}, "seed -1"),
    ({"kind": "nvt", "port": 70000}, "port 70000"),
    ({"kind": "nvt", "beads": 8}, "use kind pimd"),
    ({"kind": "nve", "beads": 8}, "use kind rpmd"),
    ({"kind": "pimd", "beads": 1}, "is classical"),
    ({"kind": "rpmd", "thermostat": "pile_l"}, "has no thermostat"),
    ({"kind": "nvt", "thermostat": "pile_l"}, "langevin, svr"),
    ({"kind": "pimd", "thermostat": "svr"}, "pile_l, pile_g, piglet"),
    ({"kind": "pimd", "thermostat": "piglet"}, "gle4md.org"),
    ({"kind": "pimd", "gle": "x"}, "without the thermostat piglet"),
    ({"kind": "nvt", "pressure": 1.0}, "no pressure"),
    ({"kind": "pimd", "barostat": "flexible"}, "no barostat"),
    ({"kind": "npt", "barostat": "anisotropic"}, "isotropic, flexible"),
    ({"kind": "npt", "pressure": float("inf")}, "finite number of GPa"),
    ({"kind": "nvt", "mode": "ffdirect"}, "--model"),
    ({"kind": "nvt", "mode": "ffdirect", "model": "a,b"}, "cannot read the file name"),
    ({"kind": "nvt", "mode": "ffdirect", "model": "m", "address": "x"}, "no socket"),
    ({"kind": "pimd", "beads": 4, "batch": 8}, "at most the number of beads"),
    ({"kind": "pimd", "beads": 4, "batch": 3, "mode": "ffdirect", "model": "m"}, "divisor"),
    ({"kind": "nvt", "address": "a/b"}, "without spaces"),
    ({"kind": "nvt", "address": "--x"}, "not beginning"),
    ({"kind": "nvt", "address": "a" * 99}, "98 bytes"),
])
def test_settings_that_do_not_fit(tmp_path, settings, message):
    with pytest.raises(InputError, match=re.escape(message)):
        make(tmp_path, crystal(), **settings)
    assert [path.name for path in tmp_path.iterdir()] == ["c.xyz"]


@pytest.mark.parametrize(("spoil", "message"), [
    (lambda text: text.replace("<C", "<D").replace("</C", "</D"), "got 0 blocks <C>"),
    (lambda text: text.replace("(4, 1, 1)", "(4, 2, 2)", 1), "4 numbers; expected 16"),
    (lambda text: text.replace("(4, 1, 1)", "(4, 1)"), "expected (P, n, n)"),
    (lambda text: text.replace("1200.0 ]", "nan ]"), "4 finite ones"),
    (lambda text: text.replace("1200.0 ]", "x ]"), "not a number"),
    (lambda text: text.replace(' units="kelvin"', ""), "units='kelvin'"),
    (lambda text: text.replace("<A ", "<A units='metre' "), "units 'metre'"),
    (lambda text: text.replace("1200.0", "1192.0", 1).replace("1200.0", "1192.0"), None),
    (lambda text: text.replace("1200.0", "1000.0"), "made for 250 K"),
])
def test_gle_files_that_do_not_fit(tmp_path, spoil, message):
    path = write_gle(tmp_path / "gle", *white_noise(4, 300.0))
    path.write_text(spoil(path.read_text()))
    settings = {"kind": "pimd", "thermostat": "piglet", "gle": path}
    if message is None:  # 298 K instead of 300
        make(tmp_path, crystal(), **settings)
        return
    with pytest.raises(InputError, match=re.escape(message)):
        make(tmp_path, crystal(), **settings)


def test_a_gle_file_for_another_number_of_beads(tmp_path):
    path = write_gle(tmp_path / "gle", *white_noise(4, 300.0))
    with pytest.raises(InputError, match="got 8 beads, but .* has matrices for 4"):
        make(tmp_path, crystal(), kind="pimd", thermostat="piglet", gle=path, beads=8)


def test_structures_that_cannot_be_used(tmp_path):
    nve = InputSettings(kind="nve")

    def refused(text, message, settings=nve):
        (tmp_path / "s.xyz").write_text(text)
        with pytest.raises(InputError, match=message):
            write_input(tmp_path / "s.xyz", tmp_path / "input.xml", settings)

    start = 'Properties=species:S:1:pos:R:3'
    refused("", "cannot read")
    refused(f"1\n{start}\nX 0 0 0\n", "expected a chemical element")
    refused(f"1\n{start}\nQq 0 0 0\n", "cannot read")
    refused(f"1\n{start}\nSi 0 0 nan\n", "not finite")
    refused(f'1\nLattice="5 0 0 0 5 0 0 0 0" {start} pbc="T T T"\nSi 0 0 0\n', "lattice vector 3 is zero")
    refused(f'1\nLattice="5 0 0 5 5 0 1 1 0" {start} pbc="T T T"\nSi 0 0 0\n', "in one plane")
    refused(f'1\nLattice="5 0 0 0 5 0 0 0 9" {start} pbc="T T F"\nSi 0 0 0\n', "periodic in all directions",
            InputSettings(kind="npt"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.xyz"]


def test_nothing_is_overwritten(tmp_path):
    turned = crystal()
    turned.rotate(30, "z", rotate_cell=True)
    structure, nve = save(tmp_path / "c.xyz", turned), InputSettings(kind="nve")
    before = structure.read_text()
    for output in (structure, Path(tmp_path / "sub" / ".." / "c.xyz")):
        with pytest.raises(InputError, match="would overwrite"):
            write_input(structure, output, nve, force=True)
    with pytest.raises(InputError, match="would overwrite"):  # by the start file
        write_input(save(tmp_path / "in-start.xyz", turned), tmp_path / "in.xml", nve, force=True)
    (tmp_path / "other-start.xyz").write_text("mine")
    with pytest.raises(InputError, match="other-start.xyz exists"):
        write_input(structure, tmp_path / "other.xml", nve)
    assert not (tmp_path / "other.xml").exists()
    assert (tmp_path / "other-start.xyz").read_text() == "mine"
    write_input(structure, tmp_path / "other.xml", nve, force=True)
    assert (tmp_path / "other-start.xyz").read_text() != "mine"
    assert structure.read_text() == before
    with pytest.raises(InputError, match="no partial file remains"):
        write_input(structure, tmp_path / "nowhere" / "input.xml", nve)
