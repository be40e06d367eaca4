"""Streaming QR, sparse-point selection, the fit's state and the ordered map: parts that stand alone."""

import threading

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from soapgap.files import hash_json
from soapgap.kinds.sparse.select import farthest_points, leverage_scores, select, unique_rows
from soapgap.learn.prior import regulariser
from soapgap.learn.state import FitState, load_state, pack, unpack
from soapgap.learn.streaming_qr import StreamingQR
from soapgap.ordered_map import ordered_map


def problem(n_rows=400, n_columns=37, seed=0):
    """An ill-conditioned sparse-GP problem: rows, targets, covariance of the sparse points."""
    rng = np.random.default_rng(seed)
    x, points = rng.uniform(0, 5, n_rows), np.linspace(0, 5, n_columns)
    rows = np.exp(-0.5 * (x[:, None] - points) ** 2) / 0.01
    targets = (np.sin(x) + 0.01 * rng.standard_normal(n_rows)) / 0.01
    return rows, targets, np.exp(-0.5 * (points[:, None] - points) ** 2)


def solve(rows, targets, covariance, block, jitter=1e-8):
    solver = StreamingQR(rows.shape[1])
    augmented = np.column_stack([rows, targets])
    for start in range(0, len(rows), block):
        solver.update(np.asfortranarray(augmented[start:start + block]))
    return solver.regularised_solution([regulariser(covariance.copy(), jitter)])[:, 0]


@pytest.mark.parametrize("block", [1, 7, 64, 400, 1000])
def test_qr_equals_dense_least_squares(block):
    rows, targets, covariance = problem()
    factor = np.linalg.cholesky(covariance + 1e-8 * np.eye(37)).T
    dense = np.linalg.lstsq(np.vstack([rows, factor]), np.concatenate([targets, np.zeros(37)]), rcond=None)[0]
    weights = solve(rows, targets, covariance, block)
    predictions, expected = rows @ weights, rows @ dense
    np.testing.assert_allclose(predictions, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def test_triangle_and_residual():
    rows, targets, _ = problem(n_columns=6)
    solver = StreamingQR(6)
    for part in np.array_split(np.column_stack([rows, targets]), 5):
        solver.update(np.asfortranarray(part))
    triangle = solver.triangle
    np.testing.assert_array_equal(triangle, np.triu(triangle))
    np.testing.assert_allclose(triangle[:6, :6].T @ triangle[:6, :6], rows.T @ rows, rtol=1e-12)
    residual = np.linalg.lstsq(rows, targets, rcond=None)[1][0]
    assert abs(triangle[6, 6]) == pytest.approx(np.sqrt(residual), rel=1e-9)


def test_several_kernels_and_a_resumed_triangle():
    """Two kernels have a block-diagonal regulariser; a factorisation taken up again gives the same bits."""
    rows, targets, covariance = problem(n_columns=20)
    both = np.column_stack([rows, rows**2])
    block = np.column_stack([both, targets])
    factors = [regulariser(covariance.copy(), 1e-6), regulariser(4.0 * covariance, 1e-6)]
    one = StreamingQR(40)
    for part in np.array_split(block, 4):
        one.update(np.asfortranarray(part))
    first = StreamingQR(40)
    for part in np.array_split(block, 4)[:2]:
        first.update(np.asfortranarray(part))
    second = StreamingQR(40, triangle=unpack(pack(first.triangle)))
    for part in np.array_split(block, 4)[2:]:
        second.update(np.asfortranarray(part))
    np.testing.assert_array_equal(one.triangle, second.triangle)
    weights = one.regularised_solution(factors)[:, 0]
    dense_rows = np.vstack([both, np.block([[factors[0], np.zeros((20, 20))], [np.zeros((20, 20)), factors[1]]])])
    dense = np.linalg.lstsq(dense_rows, np.concatenate([targets, np.zeros(40)]), rcond=None)[0]
    expected = both @ dense
    np.testing.assert_allclose(both @ weights, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def test_several_right_hand_sides_are_one_after_another():
    """Solutions of n right-hand sides are those of n solvers; T^T T are the products of the residuals."""
    rows, targets, covariance = problem(n_columns=9)
    many = np.column_stack([targets, np.cos(targets), targets**2 + 1.0])
    factor = regulariser(covariance.copy(), 1e-8)
    solver = StreamingQR(9, 3)
    for part in np.array_split(np.column_stack([rows, many]), 5):
        solver.update(np.asfortranarray(part))
    triangle = solver.triangle
    np.testing.assert_array_equal(triangle, np.triu(triangle))
    left = many - rows @ np.linalg.lstsq(rows, many, rcond=None)[0]
    np.testing.assert_allclose(triangle[9:, 9:].T @ triangle[9:, 9:], left.T @ left, rtol=1e-9)
    found = solver.regularised_solution([factor])
    assert found.shape == (9, 3)
    for k in range(3):
        alone = rows @ solve(rows, many[:, k], covariance, 80)
        np.testing.assert_allclose(rows @ found[:, k], alone, rtol=0, atol=1e-11 * np.abs(alone).max())


def test_a_triangle_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"triangle has shape \(5, 5\), expected \(6, 6\)"):
        StreamingQR(4, 2, np.zeros((5, 5)))


# ---- sparse points ------------------------------------------------------------------------------------------------

def unit_rows(n, d, seed=0):
    rows = np.random.default_rng(seed).random((n, d))
    return rows / np.linalg.norm(rows, axis=1)[:, None]


def test_duplicates():
    rows = unit_rows(50, 8)
    copies = np.vstack([rows, rows[[3, 7, 7]] + 1e-14, rows[[0]] + 1e-6])
    np.testing.assert_array_equal(unique_rows(copies), [*range(50), 53])
    np.testing.assert_array_equal(unique_rows(np.repeat(rows[:1], 1000, axis=0)), [0])


def test_farthest_points():
    """Against the definition, point by point; the covering radius falls."""
    rows = unit_rows(200, 5)
    chosen = farthest_points(rows, 30, 11)
    distances = cdist(rows, rows)
    assert chosen[0] == 11
    radii = []
    for k in range(1, 30):
        nearest = distances[:, chosen[:k]].min(axis=1)
        assert nearest[chosen[k]] == pytest.approx(nearest.max(), rel=1e-9)
        radii.append(nearest.max())
    assert all(b <= a * (1 + 1e-12) for a, b in zip(radii, radii[1:], strict=False))
    random = distances[:, np.random.default_rng(0).choice(200, 30, replace=False)].min(axis=1).max()
    assert distances[:, chosen].min(axis=1).max() < random
    assert len(set(farthest_points(rows, 200, 0))) == 200


def test_leverage_scores():
    rows = unit_rows(300, 12)
    u, _, _ = np.linalg.svd(rows, full_matrices=False)
    np.testing.assert_allclose(leverage_scores(rows, 5), (u[:, :5] ** 2).sum(axis=1) / 5, rtol=1e-10)
    assert leverage_scores(rows).sum() == pytest.approx(1.0, rel=1e-12)
    lonely = np.vstack([np.tile(rows[0], (200, 1)) + 1e-3 * rows[:200], np.eye(12)[:1]])
    assert np.argmax(leverage_scores(lonely, 2)) == 200


@pytest.mark.parametrize("method", ["cur", "fps", "random"])
def test_selection(method):
    rows = unit_rows(300, 12)
    chosen = select(rows, 60, method, [1, 2])
    assert len(set(chosen)) == 60
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, select(rows, 60, method, [1, 2]))
    assert not np.array_equal(chosen, select(rows, 60, method, [1, 3]))
    np.testing.assert_array_equal(select(rows, 300, method, 0), np.arange(300))
    np.testing.assert_array_equal(select(rows, 301, method, 0), np.arange(300))


def test_cur_prefers_what_is_rare():
    rng = np.random.default_rng(3)
    common = rng.standard_normal((950, 4)) @ rng.standard_normal((4, 20))
    rare = rng.standard_normal((50, 20))
    rows = np.vstack([common, rare])
    rows /= np.linalg.norm(rows, axis=1)[:, None]
    hits = [np.count_nonzero(select(rows, 60, "cur", seed) >= 950) for seed in range(5)]
    assert min(hits) > 10  # a uniform draw finds 3


# ---- state and map ------------------------------------------------------------------------------------------------

def test_state_round_trip(tmp_path):
    triangle = np.triu(np.random.default_rng(0).standard_normal((6, 6)))
    np.testing.assert_array_equal(unpack(pack(triangle)), triangle)
    state = FitState(hash_json({"a": 1}, "hash", "1.0"), 7, False, pack(triangle), [np.ones((2, 3)), np.arange(3.0)],
                     [np.full((2, 2), -1), np.arange(6).reshape(3, 2)], {"e0": {"Si": -1.5}}, 2)
    path = tmp_path / "m.fit"
    state.save(path)
    again = load_state(path)
    assert (again.identity, again.n_done, again.complete) == (state.identity, 7, False)
    np.testing.assert_array_equal(again.packed, state.packed)
    np.testing.assert_array_equal(again.sparse[1], np.arange(3.0))
    np.testing.assert_array_equal(again.origins[1], [[0, 1], [2, 3], [4, 5]])
    assert (again.facts, again.n_rhs) == ({"e0": {"Si": -1.5}}, 2)
    before = path.read_bytes()
    state.save(path)
    assert path.read_bytes() == before
    path.write_bytes(before.replace(b'\\"format\\":3', b'\\"format\\":2'))  # without n_rhs
    assert load_state(path) is None
    path.write_bytes(before[:-5])
    assert load_state(path) is None
    path.write_bytes(b"")
    assert load_state(path) is None
    assert load_state(tmp_path / "absent.fit") is None
    assert [p.name for p in tmp_path.iterdir()] == ["m.fit"]


def test_identity_depends_on_everything():
    known = {hash_json({"a": 1}, "h", "1"), hash_json({"a": 2}, "h", "1"), hash_json({"a": 1}, "g", "1"),
             hash_json({"a": 1}, "h", "2")}
    assert len(known) == 4


@pytest.mark.parametrize("n_workers", [1, 3])
def test_ordered_map(n_workers):
    busy = [threading.Lock() for _ in range(n_workers)]

    def call(lock, item):
        assert lock.acquire(blocking=False), "two calls share a worker"
        lock.release()
        if item == 17:
            raise KeyError(item)
        return item * item

    assert list(ordered_map(call, range(17), busy)) == [k * k for k in range(17)]
    results = ordered_map(call, range(40), busy)
    with pytest.raises(KeyError):
        list(results)
