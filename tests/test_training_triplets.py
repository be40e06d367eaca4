"""Three-body terms: rows against slow loops and differences, symmetries, the model's term, sparse points."""


import numpy as np
import pytest
from ase import Atoms
from evaluator_tools import run, structures
from test_training_terms import difference, strained
from training_tools import (
    ANGLE,
    DISTANCES,
    PAIR,
    configuration,
    similarity,
    slow_angle_row,
    slow_cluster_row,
    toy_frames,
    write_frames,
)

from soapgap.errors import InputError
from soapgap.fitting import fit
from soapgap.kinds.kernel import rows_evaluator
from soapgap.kinds.three_body.kernel import TripletKernel
from soapgap.kinds.three_body.triplets import TripletKind, count_triplets, triplet_chunks
from soapgap.learn.state import load_state
from soapgap.model import Model
from soapgap.neighbours.arrays import neighbour_arrays

SPECIES = ["H", "C", "Si"]
CUTOFF, WIDTH, DELTA = 3.8, 1.5, 0.7
ANGLES = [("Si", "C", "H"), ("C", "C", "C"), ("H", "C", "C"), ("C", "C", "Si")]
CLUSTERS = [("H", "C", "Si"), ("C", "C", "C"), ("C", "C", "Si"), ("H", "Si", "Si")]
KINDS = [(True, s) for s in ANGLES] + [(False, s) for s in CLUSTERS]
NAMES = [("angle_3b " if angle else "distance_3b ") + "-".join(s) for angle, s in KINDS]
FRAMES = structures(SPECIES, seed=8, breaks=(CUTOFF - WIDTH, CUTOFF))
MOLECULE = Atoms("CSiCHCSiHSi", [[0, 0, 0], [2.3, 0.2, 0], [0.4, 2.4, 0.3], [1.6, 1.5, 1.3], [2.6, 2.1, -0.7],
                                 [0.1, -0.3, 2.5], [-1.5, 0.7, 0.2], [2.2, -0.4, 2.2]])
#: In this one every choice of three species occurs.
SMALL = Atoms("CCSiSiHH", [[0.2, 0, 0], [1.9, 0.3, 0.4], [0.3, 2.1, 0.5], [2.4, 2.3, -0.4], [1.2, 1.3, 1.9], [3.3, 1.0, 2.1]],
              cell=[[3.9, 0.4, 0.2], [0.7, 4.2, -0.3], [-0.6, 0.8, 4.4]], pbc=True)


def kernel(angle, species, n_sparse=7):
    """A kernel with random sparse points and weights, and a theta of its own for every distance that may have one."""
    rng = np.random.default_rng(5)
    kind = TripletKind(angle, species, CUTOFF, WIDTH)
    points = np.column_stack([rng.uniform(3, 6, n_sparse), rng.uniform(0, 2, n_sparse), rng.uniform(1.5, 6, n_sparse)])
    theta = np.array([1.2, 0.8, 1.5])
    if not angle:
        points = rng.uniform(1.5, 4.0, (n_sparse, 3))
        same = kind.permutations.max(axis=0)  # distances that are exchanged share the number of the last of them
        theta = theta[same]
    return TripletKernel(kind, theta, DELTA, points, rng.uniform(0.2, 1.0, n_sparse))


def rows(atoms, k, gradients=False, strain=False):
    return k.rows(rows_evaluator(SPECIES, [k]), neighbour_arrays(atoms, CUTOFF + 0.5, SPECIES), gradients, strain)[:3]


@pytest.mark.parametrize(("angle", "species"), KINDS, ids=NAMES)
def test_rows_are_the_formulas(angle, species):
    k = kernel(angle, species)
    chain = SMALL.copy()
    chain.pbc = (True, False, False)
    for atoms in (chain, MOLECULE):
        slow = slow_angle_row(atoms, k) if angle else slow_cluster_row(atoms, k)
        assert np.abs(slow).max() > 1e-3
        np.testing.assert_allclose(rows(atoms, k)[0], slow, rtol=0, atol=1e-13 * np.abs(slow).max())


# ---- derivatives and symmetries --------------------------------------------------------------------------------------

@pytest.mark.parametrize(("angle", "species"), KINDS, ids=NAMES)
@pytest.mark.parametrize("atoms", [SMALL, MOLECULE], ids=["triclinic", "molecule"])
def test_rows_by_finite_differences(atoms, angle, species):
    k = kernel(angle, species)
    _, gradients, strains = rows(atoms, k, True, True)
    scale = np.abs(gradients).max()
    assert scale > 1e-3

    def displaced(index, axis, size):
        moved = atoms.copy()
        moved.positions[index, axis] += size
        return rows(moved, k)[0]

    for index in range(len(atoms)):
        for axis in range(3):
            numeric = difference(lambda h, i=index, x=axis: displaced(i, x, h))
            np.testing.assert_allclose(gradients[3 * index + axis], numeric, rtol=0, atol=1e-8 * scale)
    for row, (a, b) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        numeric = difference(lambda h, i=a, j=b: rows(strained(atoms, i, j, h), k)[0])
        np.testing.assert_allclose(strains[row], numeric, rtol=0, atol=1e-8 * np.abs(strains).max())


@pytest.mark.parametrize("angle", [True, False], ids=["angle_3b", "distance_3b"])
@pytest.mark.parametrize("r", [CUTOFF - WIDTH, CUTOFF], ids=["inner", "outer"])
def test_across_the_cutoff(angle, r):
    """A distance of the middle or of the far atoms passes an end of the transition: value and slope are continuous."""
    k = kernel(angle, ("C", "C", "C"))
    for line in ([0.0, 1.7, 1.7 + r], [0.0, 1.7, r]):  # r is a bond, or the distance between the outer atoms
        atoms = Atoms("C3", [[x, 0.0, 0.0] for x in line])
        found = []
        for h in (-1e-6, 0.0, 1e-6):
            moved = atoms.copy()
            moved.positions[2, 0] += h
            energy, gradients, _ = rows(moved, k, True)
            found.append((energy, gradients[6]))
        (e1, g1), (_, g), (e2, g2) = found
        scale = max(np.abs(g).max(), 0.1)
        np.testing.assert_allclose(e2 - e1, 2e-6 * g, rtol=0, atol=1e-10 * scale)
        np.testing.assert_allclose(g1, g, rtol=0, atol=1e-4 * scale)
        np.testing.assert_allclose(g2, g, rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize(("angle", "species"), KINDS, ids=NAMES)
def test_symmetries(angle, species):
    """Order of the atoms, rotation, the choice of the cell."""
    atoms, k = SMALL, kernel(angle, species)
    energy, gradients, strains = rows(atoms, k, True, True)
    scale = np.abs(gradients).max()
    order = np.random.default_rng(2).permutation(len(atoms))
    for mine, other in zip(rows(atoms[order], k, True, True),
                           (energy, gradients.reshape(-1, 3, 7)[order].reshape(-1, 7), strains), strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-12 * scale)
    q = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    turned = Atoms(atoms.symbols, atoms.positions @ q, cell=atoms.cell.array @ q, pbc=True)
    energy_turned, gradients_turned, _ = rows(turned, k, True, False)
    np.testing.assert_allclose(energy_turned, energy, rtol=0, atol=1e-12 * scale)
    expected = np.einsum("ixs,xy->iys", gradients.reshape(-1, 3, 7), q).reshape(-1, 7)
    np.testing.assert_allclose(gradients_turned, expected, rtol=0, atol=1e-12 * scale)
    doubled = rows(atoms.repeat((2, 1, 1)), k, True, True)
    np.testing.assert_allclose(doubled[0], 2 * energy, rtol=0, atol=1e-12 * scale)
    np.testing.assert_allclose(doubled[1], np.vstack([gradients] * 2), rtol=0, atol=1e-12 * scale)
    np.testing.assert_allclose(doubled[2], 2 * strains, rtol=0, atol=1e-12 * np.abs(strains).max())


def test_batches_do_not_matter():
    """More centres of one species than one batch has (128)."""
    k, n = kernel(False, ("C", "C", "Si")), 72
    whole, many = rows(SMALL, k, True, True), rows(SMALL.repeat((4, 6, 3)), k, True, True)
    for mine, other in zip(many, (n * whole[0], np.tile(whole[1], (n, 1)), n * whole[2]), strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-11 * np.abs(other).max())


@pytest.mark.parametrize(("angle", "species"), KINDS, ids=NAMES)
def test_rows_of_atoms(angle, species):
    """A triplet of angle_3b is its centre's, one of distance_3b belongs to its three atoms alike: a lone triangle."""
    k = kernel(angle, species)
    triangle = Atoms(species, [[0, 0, 0], [2.1, 0.2, 0.1], [0.4, 2.3, -0.3]])
    energy, _, _, local = k.rows(rows_evaluator(SPECIES, [k]), neighbour_arrays(triangle, CUTOFF, SPECIES), local=True)
    assert np.abs(energy).max() > 1e-3
    if not angle:
        np.testing.assert_allclose(local, np.tile(energy / 3, (3, 1)), rtol=0, atol=1e-14 * np.abs(energy).max())
        return
    np.testing.assert_allclose(local.sum(axis=0), energy, rtol=0, atol=1e-14 * np.abs(energy).max())
    others = [index for index, symbol in enumerate(triangle.symbols) if symbol != species[0]]
    assert not local[others].any()


@pytest.mark.parametrize(("angle", "species"), KINDS, ids=NAMES)
def test_counts_and_chunks(angle, species):
    kind = TripletKind(angle, species, CUTOFF, WIDTH)
    for atoms in (SMALL, MOLECULE, *FRAMES.values()):
        nb = neighbour_arrays(atoms, CUTOFF + 0.3, SPECIES)
        counts = count_triplets(nb, 3, CUTOFF)
        for view in kind.views:
            chunks = list(triplet_chunks(nb, SPECIES, view, CUTOFF, 5))
            where = tuple(SPECIES.index(s) for s in (view.centre, *view.neighbours))
            assert sum(c.atoms.shape[1] for c in chunks) == counts[where]
            for c in chunks:
                assert (np.array(atoms.symbols)[c.atoms] == np.array([[view.centre], *([n] for n in view.neighbours)])).all()
                assert c.distances[:, :2].max() < CUTOFF


@pytest.mark.parametrize(("angle", "species"), KINDS, ids=NAMES)
def test_covariance(angle, species):
    """K_MM is F_s F_t k, and symmetric; equal points after an exchange of equal atoms are one point."""
    k = kernel(angle, species)
    covariance = k.covariance()
    labels = ("a", "b", "c") if angle else species
    for s, t in ((0, 0), (1, 3), (4, 2), (6, 6)):
        own = [similarity(x, x, labels, k.theta) for x in (k.points[s], k.points[t])]
        expected = DELTA**2 * k.cutoffs[s] * k.cutoffs[t] * similarity(k.points[s], k.points[t], labels, k.theta)
        assert covariance[s, t] == pytest.approx(expected / np.sqrt(own[0] * own[1]), rel=1e-13)
    np.testing.assert_array_equal(covariance, covariance.T)
    np.testing.assert_allclose(np.diag(covariance), (DELTA * k.cutoffs) ** 2, rtol=1e-13)
    for order in k.kind.permutations:
        twin = TripletKernel(k.kind, k.theta, DELTA, k.points[:, order], k.cutoffs)
        np.testing.assert_allclose(twin.covariance(), covariance, rtol=1e-12)
        np.testing.assert_allclose(rows(SMALL, twin)[0], rows(SMALL, k)[0], rtol=1e-12)


@pytest.mark.parametrize(("angle", "species"), KINDS, ids=NAMES)
def test_terms_are_the_kernel(angle, species):
    """What the evaluator runs gives what the rows times the weights give, and goes through a file."""
    k = kernel(angle, species)
    weights = np.random.default_rng(1).standard_normal(k.n_sparse) * 5
    terms = k.finished(weights)
    assert len(terms) == (1 if angle else len(set(species)))
    model = Model.from_bytes(Model(SPECIES, dict.fromkeys(SPECIES, 0.0), terms).to_bytes())
    evaluator = model.evaluator()
    for atoms in (SMALL, MOLECULE, *FRAMES.values()):
        energy, gradients, strains = rows(atoms, k, True, True)
        energies, forces, virial = run(evaluator, atoms)
        np.testing.assert_allclose(energies.sum(), energy @ weights, rtol=0, atol=1e-11)
        np.testing.assert_allclose(forces.ravel(), -gradients @ weights, rtol=0, atol=1e-11)
        np.testing.assert_allclose(virial[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], -strains @ weights, rtol=0, atol=1e-11)
    first = model.terms[0]
    assert first.shared is not angle
    assert first.origin["kind"] == ("angle_3b" if angle else "distance_Nb")
    np.testing.assert_array_equal(first.sparse["sparse_cutoff"], k.cutoffs)


# ---- sparse points ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("species", CLUSTERS, ids="-".join)
def test_candidates_are_clusters_once(species):
    """Different points of a cell without symmetry: the weights are those of the slow loop, each cluster once."""
    kind = TripletKind(False, species, CUTOFF, WIDTH)
    far = TripletKernel(kind, np.full(3, 1e9), 1.0, np.ones((1, 3)), np.ones(1))  # the kernel is 1: a row sums the weights
    for atoms in (SMALL, MOLECULE, FRAMES["tiny"]):
        nb = neighbour_arrays(atoms, CUTOFF + 0.3, SPECIES)
        found = [points[valid] for points, valid, _ in kind.candidates(nb, SPECIES)]
        points = np.concatenate([np.empty((0, 4)), *found])
        row, *_ = far.rows(rows_evaluator(SPECIES, [far]), nb, False, False)
        np.testing.assert_allclose(points[:, 0].sum(), row, rtol=1e-10, atol=1e-14)
        for order in kind.permutations:
            assert (points[:, 1:] <= points[:, 1:][:, order] + 1e-12)[:, 0].all()


def three_body_config(tmp_path, term):
    config = configuration(tmp_path, terms=[PAIR, term], baseline={"kind": "none"}, e0={"Si": -1.3, "C": -2.1},
                           exact=True)
    write_frames(tmp_path / "train.xyz", toy_frames(3, seed=4, species=("Si", "C")))
    return config


def sparse_points_of(tmp_path):
    """The three-body sparse points of the fit, by species."""
    state = load_state(tmp_path / "model.safetensors.fit")
    return [points for points in state.sparse if points.ndim == 2 and points.shape[1] == 4]


@pytest.mark.parametrize("term", [ANGLE, DISTANCES], ids=["angle_3b", "distance_3b"])
def test_one_kernel_for_each_choice_of_species(tmp_path, term):
    result = fit(three_body_config(tmp_path, term | {"n_sparse": 20}), quiet=True, threads=1)
    terms = [t for t in result.model.terms if hasattr(t, "centre")]
    found = {tuple(t.origin["species"]) for t in terms}
    if term is ANGLE:
        assert found == {(c, a, b) for c in ("C", "Si") for a, b in (("C", "C"), ("C", "Si"), ("Si", "Si"))}
    else:
        assert found == {("C", "C", "C"), ("C", "C", "Si"), ("C", "Si", "Si"), ("Si", "Si", "Si")}
    points = sparse_points_of(tmp_path)
    assert [p.shape for p in points] == [(20, 4)] * len(found)
    for p in points:
        assert 0.0 < p[:, 0].min() < p[:, 0].max() <= 1.0
        assert len(np.unique(p, axis=0)) == 20


def test_named_species_and_methods(tmp_path):
    """`species` picks one choice; the methods are deterministic and differ; n_sparse stops at the data."""
    chosen = {}
    for method in ("uniform", "fps", "random"):
        term = ANGLE | {"species": ["C", "Si", "Si"], "sparse_method": method}
        config = three_body_config(tmp_path, term)
        for threads in (1, 2):
            fit(config, quiet=True, threads=threads, restart=True)
            (points,) = sparse_points_of(tmp_path)
            assert np.array_equal(points, chosen.setdefault(method, points))
    assert not np.array_equal(chosen["uniform"], chosen["fps"])
    assert not np.array_equal(chosen["uniform"], chosen["random"])
    nearest = {name: np.mean(np.sort(np.linalg.norm(points[:, None, 1:] - points[:, 1:], axis=2))[:, 1])
               for name, points in chosen.items()}
    assert nearest["random"] < nearest["uniform"]
    assert nearest["random"] < nearest["fps"]
    result = fit(three_body_config(tmp_path, DISTANCES | {"species": ["Si", "C", "Si"], "n_sparse": 100000}), quiet=True,
                 threads=1)
    assert any("different triplets of distance_3b (C-Si-Si): n_sparse reduced from 100000" in w for w in result.warnings)


def test_a_pool_that_is_drawn(tmp_path, monkeypatch):
    """More triplets than are kept: sparse points are some of them, whatever the number of threads."""
    monkeypatch.setattr("soapgap.kinds.three_body.plan.POOL_TRIPLETS", 60)
    term = DISTANCES | {"species": ["Si", "Si", "C"], "n_sparse": 20}
    frames = toy_frames(3, seed=4, species=("Si", "C"))
    kind = TripletKind(False, ("C", "Si", "Si"), term["cutoff"], term["cutoff_transition_width"])
    everything = np.concatenate([points[valid] for atoms in frames for points, valid, _ in
                                 kind.candidates(neighbour_arrays(atoms, 4.0, ["C", "Si"]), ["C", "Si"])])
    assert len(everything) > 100
    found = []
    for threads in (1, 2):
        fit(three_body_config(tmp_path, term), quiet=True, threads=threads, restart=True)
        found += sparse_points_of(tmp_path)
    np.testing.assert_array_equal(*found)
    apart = np.abs(found[0][:, None] - everything).max(axis=2).min(axis=1)
    assert apart.max() < 1e-6  # the file has the positions to eight digits


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"theta": [1.0, 2.0]}, r"terms\[1\].theta: expected a number > 0, or three of them"),
        ({"theta": -1.0}, r"terms\[1\].theta: expected a number > 0"),
        ({"theta": [1.0, 1.0, True]}, r"terms\[1\].theta: expected a number > 0"),
        ({"species": ["Si", "Si"]}, r'terms\[1\].species: expected three chemical symbols such as \["O", "Si", "Si"\]'),
        ({"species": ["Si", "Si", "Ge"]}, r"terms\[1\].species names Ge; the species of the training data are C, Si"),
        ({"cutoff": 1.0}, r"terms\[1\]: no three atoms of the training data are within cutoff = 1 A"),
        ({"sparse_method": "cur"}, r"terms\[1\].sparse_method: got 'cur', expected 'uniform', 'fps', 'random', 'cholesky'"),
        ({"theta_fac": 1.0}, r"terms\[1\]: expected either theta .* or theta_fac .*, got both"),
        ({"cutoff_transition_width": 4.0}, r"cutoff_transition_width = 4 must not exceed cutoff = 3.2"),
        ({"kind": "angle_2b"}, r"terms\[1\].kind: got 'angle_2b'.*did you mean 'angle_3b'"),
        ({"kind": "distance_3b", "theta": [1.0, 2.0, 2.0]}, r"terms\[1\].theta = \[1, 2, 2\] belongs to .*C-C, C-C, C-C"),
    ],
)
def test_mistakes(tmp_path, change, expected):
    with pytest.raises(InputError, match=expected):
        fit(three_body_config(tmp_path, {**ANGLE, "cutoff_transition_width": 0.8, **change}), quiet=True, threads=1)
