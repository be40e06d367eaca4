"""Three-body terms: rows against slow loops and differences, symmetries, the model's term, gap_fit's linear system, fits."""

import sys

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from evaluator_tools import run, structures
from test_training_gap_fit import gap_fit_program, quip_xyz
from test_training_terms import difference, strained
from training_tools import (
    ANGLE,
    DISTANCES,
    PAIR,
    configuration,
    gap_fit,
    isolated,
    similarity,
    slow_angle_row,
    slow_cluster_row,
    three_body_coordinate,
    toy_frames,
    write_frames,
)

from soapgap.errors import InputError
from soapgap.model import Model
from soapgap.neighbours import neighbour_arrays
from soapgap.potential import Potential
from soapgap.training import fit
from soapgap.training.config import read_config
from soapgap.training.dataset import Structure
from soapgap.training.design import DesignMatrix, targets
from soapgap.training.kernels import ThreeBodyKernel
from soapgap.training.state import load_state
from soapgap.training.triplet_kernel import TripletKernel
from soapgap.training.triplets import TripletKind, count_triplets, triplet_chunks

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
    return k.rows(neighbour_arrays(atoms, CUTOFF + 0.5, SPECIES), SPECIES, gradients, strain)


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


def test_blocks_do_not_matter(monkeypatch):
    k = kernel(False, ("C", "C", "Si"))
    whole = rows(SMALL, k, True, True)
    for block in (1, 40):
        monkeypatch.setattr("soapgap.training.triplet_kernel.BLOCK", block)
        for mine, other in zip(rows(SMALL, k, True, True), whole, strict=True):
            np.testing.assert_allclose(mine, other, rtol=0, atol=1e-12 * np.abs(other).max())


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
    terms = k.terms(weights)
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
        found = [points[valid] for points, valid in kind.candidates(nb, SPECIES)]
        points = np.concatenate([np.empty((0, 4)), *found])
        np.testing.assert_allclose(points[:, 0].sum(), far.rows(nb, SPECIES, False, False)[0], rtol=1e-10, atol=1e-14)
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
    monkeypatch.setattr("soapgap.training.triplet_points.POOL_TRIPLETS", 60)
    term = DISTANCES | {"species": ["Si", "Si", "C"], "n_sparse": 20}
    frames = toy_frames(3, seed=4, species=("Si", "C"))
    kind = TripletKind(False, ("C", "Si", "Si"), term["cutoff"], term["cutoff_transition_width"])
    everything = np.concatenate([points[valid] for atoms in frames for points, valid in
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
        ({"sparse_method": "cur"}, r"terms\[1\].sparse_method: got 'cur', expected 'uniform', 'fps' or 'random'"),
        ({"theta_fac": 1.0}, r"terms\[1\].theta_fac: unknown key; did you mean 'theta'"),
        ({"cutoff_transition_width": 4.0}, r"cutoff_transition_width = 4 must not exceed cutoff = 3.2"),
        ({"kind": "angle_2b"}, r"terms\[1\].kind: got 'angle_2b'.*did you mean 'angle_3b'"),
        ({"kind": "distance_3b", "theta": [1.0, 2.0, 2.0]}, r"terms\[1\].theta = \[1, 2, 2\] belongs to .*C-C, C-C, C-C"),
    ],
)
def test_mistakes(tmp_path, change, expected):
    with pytest.raises(InputError, match=expected):
        fit(three_body_config(tmp_path, {**ANGLE, "cutoff_transition_width": 0.8, **change}), quiet=True, threads=1)


# ---- gap_fit ---------------------------------------------------------------------------------------------------------

SIGMA = [0.002, 0.05, 0.02]
E0 = {"H": -0.5, "C": -2.1, "Si": -1.3}


def random_labels(atoms, rng):
    """Energies, forces and virials without any meaning: what is compared is linear in them."""
    atoms.calc = SinglePointCalculator(atoms, energy=rng.normal() + 10.0, forces=rng.normal(size=(len(atoms), 3)))
    virial = rng.normal(size=(3, 3))
    atoms.info.update(virial=(virial + virial.T).ravel(), config_type="default")
    return atoms


def oracle_frames():
    """Cells smaller than the cutoff, larger ones, and a molecule in a wide cell."""
    rng = np.random.default_rng(21)
    frames = [SMALL.copy(), FRAMES["tiny"].copy(), Atoms(MOLECULE, cell=[20.0] * 3, pbc=True), FRAMES["triclinic"].copy()]
    return [random_labels(atoms, rng) for atoms in frames]


def oracle(folder, coordinates):
    """gap_fit's XML for these coordinates."""
    program = gap_fit_program()
    if program is None:
        pytest.skip("gap_fit is not installed (pip install quippy-ase)")
    return gap_fit(program, folder, coordinates, E0, SIGMA)


def scaled_rows(frames, kernels):
    """Our [Lambda^(-1/2) K_nm | Lambda^(-1/2) y] in gap_fit's order."""
    config, _, _ = read_config({"output": "a", "data": {"train": "a"}, "default_sigma": SIGMA, "terms": [PAIR]})
    design = DesignMatrix([ThreeBodyKernel(k, SPECIES) for k in kernels], SPECIES, config)
    energies, others = [], []
    for atoms in frames:
        virial = atoms.info["virial"].reshape(3, 3)
        structure = Structure(atoms, "frame", "default", atoms.calc.results["energy"], atoms.calc.results["forces"], virial)
        block = design.rows(None, structure, targets(structure, E0))
        energies.append(block[:1])
        others.append(block[1:-6])
        others.append(block[-6:][[0, 5, 4, 1, 3, 2]])  # 11 12 13 22 23 33
    return np.vstack(energies), np.vstack(others)


@pytest.mark.parametrize("angle", [True, False], ids=["angle_3b", "distance_Nb"])
def test_linear_system_is_gap_fit_s(tmp_path, angle):
    """K_mm, K_nm, targets and sigmas; sparse points from files, and the last kernel's chosen by gap_fit with its weights."""
    frames = oracle_frames()
    quip_xyz(tmp_path / "train.xyz", frames)
    kernels = [kernel(angle, species) for species in (ANGLES if angle else CLUSTERS)]
    own = kernel(angle, kernels[-1].kind.species, 9)
    parts = [three_body_coordinate(k, tmp_path, f"points{n}", "FILE") for n, k in enumerate(kernels)]
    root = oracle(tmp_path, [*parts, three_body_coordinate(own, tmp_path, "own", "UNIFORM")])
    last = root.findall(".//gpCoordinates")[-1]
    cutoffs = np.array([float(point.get("sparseCutoff")) for point in last.findall("sparseX")])
    points = np.loadtxt(tmp_path / last.get("sparseX_filename")).reshape(-1, 3)
    kernels.append(TripletKernel(own.kind, own.theta, DELTA, points, cutoffs))

    n = sum(k.n_sparse for k in kernels)
    k_mm, column = 1e-8 * np.eye(n), 0
    for k in kernels:
        here = slice(column, column := column + k.n_sparse)
        k_mm[here, here] += k.covariance()
    theirs = np.loadtxt(tmp_path / "dump_Kmm").reshape(n, n)
    np.testing.assert_allclose(k_mm, theirs, rtol=0, atol=1e-14)
    sigma = np.sqrt(np.loadtxt(tmp_path / "dump_lambda.0"))
    theirs = np.column_stack([np.loadtxt(tmp_path / "dump_Kmn.0").reshape(-1, n), np.loadtxt(tmp_path / "dump_globalY.0")])
    theirs /= sigma[:, None]
    ours = np.vstack(scaled_rows(frames, kernels))
    assert ours.shape == theirs.shape
    for rows_of in (slice(0, len(frames)), slice(len(frames), None)):
        largest = np.abs(theirs[rows_of]).max(axis=0)
        assert (largest > 1e-3).all()
        assert (np.abs(ours - theirs)[rows_of] / largest).max() < 1e-12

    # the weights of the points that gap_fit chose are those of our candidates
    nearest = []
    lists = [neighbour_arrays(atoms, 4.0, SPECIES) for atoms in frames]
    pool = np.concatenate([p for neighbours in lists for p, _ in own.kind.candidates(neighbours, SPECIES)])
    for cutoff, x in zip(cutoffs, points):
        twins = np.column_stack([np.full(len(own.kind.permutations), cutoff), x[own.kind.permutations]])
        nearest.append(np.abs(pool - twins[:, None]).max(axis=2).min())
    assert max(nearest) < 1e-12


@pytest.mark.parametrize("angle", [True, False], ids=["angle_3b", "distance_Nb"])
def test_model_is_gap_fit_s(tmp_path, angle):
    """With gap_fit's weights, the model's terms predict what QUIP predicts."""
    quippy = pytest.importorskip("quippy")
    frames = oracle_frames()
    quip_xyz(tmp_path / "train.xyz", frames[:3])
    kernels = [kernel(angle, species) for species in (ANGLES if angle else CLUSTERS)]
    root = oracle(tmp_path, [three_body_coordinate(k, tmp_path, f"points{n}", "FILE") for n, k in enumerate(kernels)])
    terms = []
    for k, c in zip(kernels, root.findall(".//gpCoordinates"), strict=True):
        terms += k.terms(np.array([float(point.get("alpha")) for point in c.findall("sparseX")]))
    potential = Potential(Model(SPECIES, E0, terms))
    theirs = quippy.potential.Potential("", param_filename=str(tmp_path / "gap.xml"))
    for atoms in frames:
        fresh = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
        theirs.calculate(fresh, properties=["energies", "forces", "stress"],
                         system_changes=["positions", "numbers", "cell", "pbc"])
        ours, found = potential.compute(fresh), theirs.results
        s = -fresh.get_volume() * found["stress"]
        virial = np.array([[s[0], s[5], s[4]], [s[5], s[1], s[3]], [s[4], s[3], s[2]]])
        for mine, expected in ((ours.energies, found["energies"]), (ours.forces, found["forces"]), (ours.virial, virial)):
            np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


# ---- fits ------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    species = ("Si", "C")
    write_frames(folder / "train.xyz", [*map(isolated, species), *toy_frames(16, seed=1, species=species)])
    write_frames(folder / "test.xyz", toy_frames(5, seed=2, species=species))
    return folder


def errors(data, tmp_path, terms, **changes):
    config = configuration(data, terms=terms, data={"test": str(data / "test.xyz")}, **changes)
    config["output"] = str(tmp_path / "model.safetensors")
    result = fit(config, quiet=True, threads=1)
    return {quantity: e["rmse"] for quantity, e in result.errors["test"]["all"].items()}, result


@pytest.mark.parametrize("term", [ANGLE, DISTANCES], ids=["angle_3b", "distance_3b"])
def test_three_body_terms_learn(data, tmp_path, term):
    """Pairs cannot know the embedding energy of the toy potential; three-body terms learn most of it."""
    pairs, _ = errors(data, tmp_path, [PAIR])
    both, result = errors(data, tmp_path, [PAIR, term])
    for quantity in pairs:
        assert both[quantity] < 0.4 * pairs[quantity], (pairs, both)
    exact, _ = errors(data, tmp_path, [PAIR, term], exact=True)
    assert exact == pytest.approx(both, rel=1e-3)
    assert Model.load(tmp_path / "model.safetensors").provenance["errors"]["test"]["all"]["force"]["n"] == 120
    assert result.model.terms[-4].origin["delta"] == term["delta"]


def test_an_interrupted_fit_goes_on(data, tmp_path, monkeypatch):
    """From the saved sparse points, to the same bytes."""
    import soapgap.training.design as design

    monkeypatch.setattr(design.DesignMatrix.blocks, "__defaults__", (0, 100))
    config = configuration(data, terms=[PAIR, ANGLE | {"species": ["C", "C", "Si"]}, DISTANCES], exact=True)
    config["output"] = str(tmp_path / "model.safetensors")
    fit(config, quiet=True, threads=1)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors.fit").unlink()

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["soapgap.training.fit"]._Fit, "_solve", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(config, quiet=True, threads=1, checkpoint_seconds=0.0)
    state = load_state(tmp_path / "model.safetensors.fit")
    assert not state.complete
    assert 0 < state.n_done < 18
    with monkeypatch.context() as patch:
        patch.setattr("soapgap.training.sparse_points.choose_triplets", None)  # would fail if they were chosen anew
        fit(config, quiet=True, threads=1)
    assert (tmp_path / "model.safetensors").read_bytes() == whole
