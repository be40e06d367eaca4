"""Choosing sparse points: each method against its definition, bounded memory against all in memory, skmatter."""

from dataclasses import replace

import numpy as np
import pytest
from training_tools import ANGLE, DISTANCES, PAIR, SOAP, configuration, isolated, toy_frames, write_frames

from soapgap.config import read_config
from soapgap.data.dataset import read_dataset
from soapgap.data.environments import shortest_distances
from soapgap.errors import InputError
from soapgap.kinds.kernel import rows_evaluator
from soapgap.kinds.sparse.select import farthest_points, leverage_scores, principal_basis, select
from soapgap.kinds.sparse.select_cholesky import pivots, polynomial
from soapgap.learn.plan import make_kernels, plan_kernels
from soapgap.neighbours.arrays import neighbour_arrays
from soapgap.say import Reporter

KINDS = ("bulk", "liquid", "slab")


class Setup:
    """Data in a file, their species, and kernels chosen from them."""

    def __init__(self, folder, frames, write=write_frames, **changes):
        write(folder / "train.xyz", frames)
        self.folder, self.changes = folder, changes
        config, _, _ = read_config(configuration(folder, terms=[PAIR], **changes))
        self.train = read_dataset(config.data.train, config.data)
        self.say = Reporter(quiet=True)

    def plan(self, *terms, **options):
        self.config, _, _ = read_config(configuration(self.folder, terms=terms, **self.changes))
        self.say = Reporter(quiet=True)
        found = self.train.structures
        shortest = shortest_distances(found, self.config.cutoff, self.train.species)
        return plan_kernels(self.config, self.train.species, shortest, found, self.say, folder=self.folder, **options)

    def kernels(self, *terms, threads=1, saved=None, origins=None, **options):
        plan = self.plan(*terms, **options)
        made = make_kernels(plan, threads, self.say, saved, origins)
        assert sum(k.n_sparse for k in made) <= plan.n_columns
        return made

    def environments(self, kernel):
        """Features of all environments of the centre, and their places in the data."""
        from soapgap.model import Model

        species = self.train.species
        evaluator = Model(species, dict.fromkeys(species, 0.0), [kernel.term], {}).evaluator(1)
        rows, places = [], []
        for number, structure in enumerate(self.train.structures):
            rows.append(evaluator.features(0, neighbour_arrays(structure.atoms, self.config.cutoff, species)))
            atoms = np.flatnonzero(np.array(structure.symbols) == kernel.term.centre)
            places.append(np.column_stack([np.full(len(atoms), number), atoms]))
        return np.concatenate(rows), np.concatenate(places)


def without(term, *keys):
    return {key: value for key, value in term.items() if key not in keys}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Thirty cells of two species in three config types, one frame twice."""
    frames = [isolated("Si"), isolated("C"), *toy_frames(30, seed=21, species=("Si", "C"))]
    frames.insert(5, frames[3].copy())
    frames[5].calc = frames[3].calc
    for k, atoms in enumerate(frames):
        atoms.info["config_type"] = KINDS[k % 3]
    return Setup(tmp_path_factory.mktemp("sparse"), frames)


def unit_rows(n, d, seed=0):
    rows = np.abs(np.random.default_rng(seed).standard_normal((n, d)) * 0.8 ** np.arange(d)) + 1e-9
    return rows / np.linalg.norm(rows, axis=1)[:, None]


# ---- methods ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("zeta", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("held", [400, 30, 3])
def test_pivots_take_the_largest_residual_variance(zeta, held):
    """Against the definition, point by point, however few candidates' factors are held in memory."""
    rows, n = unit_rows(400, 25), 24
    kernel = polynomial(zeta)
    matrix = kernel.between(rows, rows)
    chosen = pivots(rows, n, kernel, 8 * n * held)
    assert len(set(chosen)) == n
    for k in range(1, n):
        known = matrix[chosen[:k]]
        variance = np.diag(matrix) - np.einsum("ki,ki->i", known, np.linalg.solve(known[:, chosen[:k]], known))
        assert variance[chosen[k]] >= variance.max() - 1e-9 * variance.max() - 1e-12
    np.testing.assert_array_equal(chosen, pivots(rows, n, kernel, 10**9))


def test_pivots_stop_at_rounding():
    """A linear kernel on d features has rank d."""
    rows = unit_rows(300, 12)
    for held in (300, 5):
        assert len(pivots(rows, 100, polynomial(1.0), 8 * 100 * held)) == 12
    assert len(select(rows, 100, "cholesky", 0, polynomial(2.0))) == 78


def test_ridge_leverage_is_its_definition():
    rows = unit_rows(200, 15)
    values = np.linalg.eigvalsh(rows.T @ rows)[::-1]
    k = 7
    ridge = values[k:].sum() / k
    scores = np.einsum("ij,jk,ik->i", rows, np.linalg.inv(rows.T @ rows + ridge * np.eye(15)), rows)
    chosen = select(rows, 20, "leverage", 0)
    np.testing.assert_array_equal(chosen, np.sort(np.argsort(-scores)[:20]))
    np.testing.assert_array_equal(chosen, select(rows, 20, "leverage", 99))


def test_principal_basis_keeps_what_it_says():
    rows = unit_rows(500, 30)
    gram = rows.T @ rows
    sizes = []
    for most, tight, loose in ((30, 1e-6, 1e-2), (12, 1e-6, 1e-2), (1, 1e-6, 1e-2)):
        basis, outside = principal_basis(gram, most, tight, loose)
        rest = rows - rows @ basis @ basis.T
        assert (rest**2).sum() / (rows**2).sum() == pytest.approx(outside, rel=1e-6)
        assert outside <= loose
        sizes.append(basis.shape[1])
    assert sizes[0] > sizes[1] > sizes[2] >= 1
    assert principal_basis(gram, 30, 1e-6, 1e-3)[1] <= 1e-6


def test_farthest_points_are_those_of_skmatter():
    skmatter = pytest.importorskip("skmatter.sample_selection")
    rows = unit_rows(300, 20)
    theirs = skmatter.FPS(n_to_select=40, initialize=17).fit(rows).selected_idx_
    np.testing.assert_array_equal(farthest_points(rows, 40, 17), theirs)


def test_leverage_is_that_of_skmatter():
    """skmatter's CUR scores rows by the same singular vectors."""
    skmatter = pytest.importorskip("skmatter.sample_selection")
    rows = unit_rows(300, 20)
    for k in (3, 8):
        selector = skmatter.CUR(n_to_select=5, k=k, recompute_every=0).fit(rows)
        np.testing.assert_array_equal(selector.selected_idx_, np.argsort(-leverage_scores(rows, k))[:5])


# ---- bounded memory -------------------------------------------------------------------------------------------------

def same_places(first, second):
    return len({tuple(p) for p in first.origins} & {tuple(p) for p in second.origins})


@pytest.mark.parametrize("method", ["cur", "leverage", "fps", "cholesky"])
def test_two_passes_choose_what_one_would(data, method):
    """With memory for less than all environments: the same points, and their features are exact."""
    term = SOAP | {"sparse_method": method, "n_sparse": 25, "l_max": 0}
    at_once = data.kernels(term)
    n, d = min(len(data.environments(kernel)[0]) for kernel in at_once), at_once[0].term.n_features
    little = 8 * d * (n - 3)
    assert 24 * d**2 <= little
    for threads in (1, 2):
        for ours, theirs in zip(data.kernels(term, threads=threads, pool_bytes=little), at_once, strict=True):
            features, places = data.environments(ours)
            index = [int(np.flatnonzero((places == origin).all(axis=1))[0]) for origin in ours.origins]
            np.testing.assert_array_equal(ours.sparse_points, features[index])
            assert ours.n_sparse == 25
            assert same_places(ours, theirs) >= (25 if method in ("cur", "leverage") else 24)


def test_two_passes_see_copies(data):
    """A repeated frame gives no point twice, although the features are never all in memory."""
    term = SOAP | {"sparse_method": "fps", "n_sparse": 1000, "l_max": 0}
    (whole, _) = data.kernels(term)
    n = len(data.environments(whole)[0])
    made, _ = data.kernels(term | {"n_sparse": {"C": 60, "Si": 60}}, pool_bytes=8 * 36 * 121)
    assert made.n_sparse == 60
    assert len(np.unique(made.sparse_points.round(9), axis=0)) == 60
    assert whole.n_sparse < n  # copies


def test_a_draw_is_told(data, capsys):
    """If not even the projections fit, some environments are drawn, and a line says so."""
    lines = []
    plan = data.plan(SOAP | {"sparse_method": "fps", "n_sparse": 5}, pool_bytes=8 * 144 * 20)
    data.say.line = lines.append
    made = make_kernels(plan, 1, data.say)
    assert [k.n_sparse for k in made] == [5, 5]
    assert any("chosen from 20 of" in line and "environments of Si, drawn at random" in line for line in lines)
    assert plan.items[0].quotas[0].kept == 20


# ---- config types -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("method", ["cur", "fps", "random", "cholesky", "leverage"])
def test_points_by_config_type(data, method):
    wanted = {"liquid": 12, "bulk": {"Si": 4, "C": 7}}
    term = without(SOAP, "n_sparse") | {"sparse_method": method, "config_type_n_sparse": wanted}
    made = {k.term.centre: k for k in data.kernels(term)}
    for centre, n_bulk in (("Si", 4), ("C", 7)):
        kernel = made[centre]
        types = [data.train.structures[s].config_type for s, _ in kernel.origins]
        assert (types.count("liquid"), types.count("bulk"), types.count("slab")) == (12, n_bulk, 0)
        order = kernel.origins[:, 0] * 1000 + kernel.origins[:, 1]
        assert (np.diff(order) > 0).all()


@pytest.mark.parametrize("term", [ANGLE, DISTANCES, PAIR | {"sparse_method": "uniform"}], ids=lambda t: t["kind"])
def test_few_body_points_by_config_type(data, term):
    made = data.kernels(without(term, "n_sparse") | {"config_type_n_sparse": {"liquid": 6, "bulk": 3}})
    for kernel in made:
        types = [data.train.structures[s].config_type for s, _ in kernel.origins]
        assert (types.count("liquid"), types.count("bulk"), types.count("slab")) == (6, 3, 0)


@pytest.mark.parametrize("term", [SOAP, ANGLE, PAIR | {"sparse_method": "fps"}], ids=lambda t: t["kind"])
def test_mistakes_of_config_types(data, term):
    with pytest.raises(InputError, match=r"terms\[0\].config_type_n_sparse names gas; .* are bulk, liquid, slab"):
        data.kernels(without(term, "n_sparse") | {"config_type_n_sparse": {"liquid": 6, "gas": 3}})
    with pytest.raises(InputError, match=r"n_sparse and config_type_n_sparse are both given; expected one"):
        data.kernels(term | {"config_type_n_sparse": {"liquid": 6}})


# ---- what is chosen of pairs and triplets ----------------------------------------------------------------------------

def test_distances_from_the_data(data):
    pair = without(PAIR, "n_sparse")
    chosen = {}
    for method in ("uniform", "random", "fps"):
        for threads in (1, 2):
            made = data.kernels(pair | {"sparse_method": method, "n_sparse": 9}, threads=threads)
            assert [k.n_sparse for k in made] == [9, 9, 9]
            chosen.setdefault(method, made)
            for kernel, before in zip(made, chosen[method], strict=True):
                np.testing.assert_array_equal(kernel.sparse_points, before.sparse_points)
    everything = data.kernels(pair | {"sparse_method": "all"})
    for place, kernel in enumerate(everything):
        (f, r), limits = kernel.sparse_points.T, data.config.terms[0]
        assert (np.abs(f - 0.5 * (1 + np.cos(np.pi * np.clip(r - 3.0, 0, 1)))) < 1e-12).all()
        assert r.max() < limits.cutoff
        assert (np.diff(np.sort(r)) > 1e-10).all()
        for method in chosen:
            assert np.isin(chosen[method][place].sparse, r).all()
        span = np.ptp(r) / 8
        cells = np.rint((chosen["uniform"][place].sparse - r.min()) / span)
        assert len(set(cells)) == len(set(np.rint((r - r.min()) / span)))
        s, a = kernel.origins[0]
        atoms = data.train.structures[s].atoms
        near = np.linalg.norm(neighbour_arrays(atoms, 4.0, data.train.species).vectors, axis=1)
        assert np.abs(near - r[0]).min() < 1e-12
        assert atoms.symbols[a] in kernel.symbols


@pytest.mark.parametrize("term", [ANGLE, DISTANCES], ids=lambda t: t["kind"])
def test_triplets_by_cholesky(data, term):
    """In the kernel of the fit, with the weights of the points; far more different than a draw."""
    made = data.kernels(term | {"sparse_method": "cholesky", "n_sparse": 12})
    spread = data.kernels(term | {"sparse_method": "random", "n_sparse": 12})
    for ours, random in zip(made, spread, strict=True):
        assert np.linalg.slogdet(ours.covariance())[1] > np.linalg.slogdet(random.covariance())[1] + 5.0
    for item, kernel in zip(data.plan(term | {"sparse_method": "cholesky", "n_sparse": 12}).items, made, strict=True):
        ours = item.kernel.between().between(kernel.sparse_points, kernel.sparse_points)
        np.testing.assert_allclose(ours * term["delta"]**2, kernel.covariance(), rtol=1e-12)
        np.testing.assert_allclose(item.kernel.between().own(kernel.sparse_points), np.diag(ours), rtol=1e-12)


def test_all_environments(data):
    made = data.kernels(without(SOAP, "n_sparse") | {"sparse_method": "all"})
    for kernel in made:
        features, places = data.environments(kernel)
        _, first = np.unique(features.round(9), axis=0, return_index=True)
        np.testing.assert_array_equal(kernel.origins, places[np.sort(first)])


# ---- origins and what is saved ---------------------------------------------------------------------------------------

def test_origins_are_where_the_points_are(data):
    for kernel in data.kernels(SOAP, ANGLE):
        assert kernel.origins.shape == (kernel.n_sparse, 2)
        for (s, a), point in zip(kernel.origins, kernel.sparse_points, strict=True):
            atoms = data.train.structures[s].atoms
            if kernel.name.startswith("soap"):
                assert atoms.symbols[a] == kernel.term.centre
                continue
            vectors = neighbour_arrays(atoms, 4.0, data.train.species)
            mine = vectors.vectors[vectors.offsets[a]:vectors.offsets[a + 1]]
            r = np.linalg.norm(mine, axis=1)
            sums = (r[:, None] + r)[np.triu_indices(len(r), 1)]
            assert np.abs(sums - point[1]).min() < 1e-12
            assert atoms.symbols[a] == kernel.symbols[0]


@pytest.mark.parametrize("pair", [PAIR, PAIR | {"sparse_method": "uniform"}], ids=["grid", "uniform"])
def test_saved_points_and_origins_come_back(data, pair):
    terms = (pair, ANGLE | {"theta": 0.7}, SOAP)
    made = data.kernels(*terms)
    points, origins = [k.sparse_points for k in made], [k.origins for k in made]
    again = data.kernels(*terms, saved=points, origins=origins)
    for one, other in zip(made, again, strict=True):
        assert one.name == other.name
        np.testing.assert_array_equal(one.sparse_points, other.sparse_points)
        np.testing.assert_array_equal(one.origins, other.origins)
        np.testing.assert_array_equal(one.covariance(), other.covariance())
    assert (data.kernels(*terms, saved=points)[-1].origins == -1).all()
    grid = made[0].origins
    assert (grid == -1).all() == (pair is PAIR)


def test_weights_of_pair_points(data):
    """F_s scales the columns: K_MM, rows, and the fitted potential."""
    kernel = replace(data.kernels(PAIR | {"sparse_method": "uniform"})[2], index=0)  # the only one of the evaluator below
    plain = replace(kernel, cutoffs=None)
    f = kernel.cutoffs
    assert 0.0 < f.min() < 0.9
    assert f.max() == 1.0
    np.testing.assert_allclose(kernel.covariance(), f[:, None] * plain.covariance() * f, rtol=1e-14)
    nb = neighbour_arrays(data.train.structures[4].atoms, 4.0, data.train.species)
    ours_and_theirs = (k.rows(rows_evaluator(data.train.species, [k]), nb, local=True) for k in (kernel, plain))
    for ours, theirs in zip(*ours_and_theirs, strict=True):
        np.testing.assert_allclose(ours, theirs * f, rtol=0, atol=1e-13 * np.abs(theirs).max())
    alpha = np.random.default_rng(0).standard_normal(kernel.n_sparse)
    r = np.linspace(1.5, 4.2, 40)
    ours, theirs = (k.finished(weights)[0].table.evaluate(r)[0] for k, weights in ((kernel, alpha), (plain, alpha * f)))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-13)


# ---- length scales from the data ---------------------------------------------------------------------------------------

def test_theta_from_the_range_of_the_data(data):
    pair = without(PAIR, "theta") | {"theta_fac": 0.2}
    everything = data.kernels(without(PAIR, "n_sparse") | {"sparse_method": "all"})
    for kernel, all_of_it in zip(data.kernels(pair), everything, strict=True):
        assert kernel.theta == pytest.approx(0.2 * np.ptp(all_of_it.sparse), rel=1e-9)
    angle = without(ANGLE, "theta") | {"theta_fac": [0.1, 0.2, 0.3]}
    everything = data.kernels(without(ANGLE, "n_sparse") | {"sparse_method": "all"})
    for kernel, all_of_it in zip(data.kernels(angle), everything, strict=True):
        np.testing.assert_allclose(kernel.theta, [0.1, 0.2, 0.3] * np.ptp(all_of_it.points, axis=0), rtol=1e-9)
    clusters = without(DISTANCES, "theta") | {"theta_fac": 0.5, "species": ["C", "Si", "Si"]}
    (kernel,) = data.kernels(clusters)
    assert kernel.theta[0] == kernel.theta[1] != kernel.theta[2]
    kept = data.plan(pair, clusters).thetas
    assert kept["terms[1] C-Si-Si"] == pytest.approx(kernel.theta)
    other = {name: [2.0 * t for t in theta] for name, theta in kept.items()}
    assert data.plan(pair, clusters, thetas=other).thetas == other


@pytest.mark.parametrize(("change", "expected"), [
    ({"theta_fac": 0.2}, r"expected either theta .* or theta_fac .*, got both"),
    ({"theta": None}, r"expected either theta .* or theta_fac .*, got neither"),
    ({"sparse_method": "file"}, r"n_sparse has no effect with sparse_method = .file.: remove it"),
    ({"sparse_method": "all"}, r"n_sparse has no effect with sparse_method = .all.: remove it"),
    ({"n_sparse": None, "sparse_method": "file"}, r"sparse_method = .file. needs a sparse_file"),
    ({"n_sparse": None}, r"n_sparse is missing: sparse_method = .grid. needs the number"),
    ({"n_sparse": None, "config_type_n_sparse": {"bulk": 3}},
     r"config_type_n_sparse has no effect with sparse_method = .grid."),
    ({"sparse_file": "x.dat"}, r"sparse_file has no effect with sparse_method = .grid."),
    ({"sparse_method": "cur"}, r"terms\[0\].sparse_method: got 'cur', expected 'grid', 'uniform'"),
    ({"config_type_n_sparse": {"bulk": 0}}, r"config_type_n_sparse: expected integers >= 1 by config type"),
])
def test_mistakes(data, change, expected):
    term = {key: value for key, value in (PAIR | change).items() if value is not None}
    with pytest.raises(InputError, match=expected):
        data.plan(term)
