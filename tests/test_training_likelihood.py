"""Marginal likelihood, k-fold and leave-out errors of the sparse GP against dense evaluations and refits."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from soapgap.tune.grouped import TallRows, choose_folds, merge, merge_rows
from soapgap.tune.likelihood import (
    Covariances,
    Rows,
    combine,
    evidence,
    leave_each_out,
    left_out_residuals,
    residuals,
    weights_by_scale,
    weights_of,
)

JITTER = 1e-6
SIZES = (9, 6)
SIGMAS = (0.05, 0.2, 0.1)
COUNTS = (30, 8, 4)


def squared_exponential(x, y, theta):
    return np.exp(-0.5 * ((x[:, None] - y) / theta) ** 2)


def problem(seed=0, counts=COUNTS):
    """Two kernels (K_nm by group, K_mm) and targets of three groups of rows."""
    rng = np.random.default_rng(seed)
    points = [np.sort(rng.uniform(0, 4, m)) for m in SIZES]
    widths, deltas = (0.7, 1.5), (1.3, 0.4)
    cross, targets = [], []
    for n, sigma in zip(counts, SIGMAS):
        x = rng.uniform(0, 4, n)
        cross.append(np.hstack([d**2 * squared_exponential(x, p, w) for p, w, d in zip(points, widths, deltas)]))
        targets.append(np.sin(x) + sigma * rng.standard_normal(n))
    covariances = [d**2 * squared_exponential(p, p, w) for p, w, d in zip(points, widths, deltas)]
    return cross, targets, covariances


def groups_of(cross, targets):
    """The groups as the module wants them; the first has more rows than columns and becomes a triangle."""
    groups = []
    for k, y, sigma in zip(cross, targets, SIGMAS):
        rows = np.column_stack([k, y]) / sigma
        tall = TallRows(len(rows), rows.shape[1] - 1)
        for part in np.array_split(rows, 3):
            tall.add(part)
        groups.append(Rows(tall.finish(), len(rows), 2 * len(rows) * np.log(sigma)))
    return groups


def block_diagonal(blocks):
    whole = np.zeros((sum(map(len, blocks)),) * 2)
    row = 0
    for block in blocks:
        whole[row:row + len(block), row:row + len(block)] = block
        row += len(block)
    return whole


def dense(cross, targets, covariances, noise, scales):
    """-2 log p by scipy from the n x n covariance, with sigmas and deltas multiplied in by hand."""
    k_nm = np.vstack(cross) * np.repeat(np.square(scales), SIZES)
    k_mm = block_diagonal([s**2 * c for s, c in zip(scales, covariances)]) + JITTER * np.eye(sum(SIZES))
    sigma = np.concatenate([np.full(len(y), f * s) for y, f, s in zip(targets, noise, SIGMAS)])
    covariance = np.diag(sigma**2) + k_nm @ np.linalg.solve(k_mm, k_nm.T)
    return -2.0 * multivariate_normal(np.zeros(len(sigma)), covariance).logpdf(np.concatenate(targets))


@pytest.mark.parametrize(("noise", "scales"), [((1.0, 1.0, 1.0), (1.0, 1.0)), ((0.3, 2.0, 5.0), (0.4, 3.0))])
def test_evidence_is_that_of_the_dense_covariance(noise, scales):
    cross, targets, covariances = problem()
    groups = groups_of(cross, targets)
    assert groups[0].triangle.shape == (16, 16)
    found = evidence(groups, Covariances(covariances, JITTER), np.array(noise), np.array(scales)).value
    assert found == pytest.approx(dense(cross, targets, covariances, noise, scales), rel=1e-9)


def test_gradient_of_the_evidence_is_that_of_finite_differences():
    cross, targets, covariances = problem(1)
    groups, prior = groups_of(cross, targets), Covariances(covariances, JITTER)
    x = np.log([0.5, 2.0, 1.2, 0.6, 1.7])

    def value(x):
        return evidence(groups, prior, np.exp(x[:3]), np.exp(x[3:]))

    at = value(x)
    step = 1e-5
    numeric = [(value(x + step * e).value - value(x - step * e).value) / (2 * step) for e in np.eye(5)]
    np.testing.assert_allclose(np.concatenate([at.by_noise, at.by_scale]), numeric, rtol=1e-6, atol=1e-6)


def test_gradient_at_a_small_jitter():
    """With points so close that K_mm is singular but for the jitter, the closed form holds where differences are coarse."""
    cross, targets, covariances = problem(2)
    groups, prior = groups_of(cross, targets), Covariances([covariances[0] + 1e-13, covariances[1]], 1e-9)
    x = np.log([0.5, 2.0, 1.2, 0.6, 1.7])

    def value(x):
        return evidence(groups, prior, np.exp(x[:3]), np.exp(x[3:]))

    numeric = [(value(x + 1e-4 * e).value - value(x - 1e-4 * e).value) / 2e-4 for e in np.eye(5)]
    at = value(x)
    np.testing.assert_allclose(np.concatenate([at.by_noise, at.by_scale]), numeric, rtol=1e-4, atol=1e-4)


def test_merged_groups_are_the_same_evidence():
    cross, targets, covariances = problem(3)
    groups, prior = groups_of(cross, targets), Covariances(covariances, JITTER)
    apart = evidence(groups, prior, np.array([0.7, 0.7, 1.4]), np.array([1.2, 0.9]))
    together = evidence([merge_rows(groups[:2]), groups[2]], prior, np.array([0.7, 1.4]), np.array([1.2, 0.9]))
    assert together.value == pytest.approx(apart.value, rel=1e-12)
    np.testing.assert_allclose(together.by_noise, [apart.by_noise[:2].sum(), apart.by_noise[2]], rtol=1e-9)
    np.testing.assert_allclose(together.by_scale, apart.by_scale, rtol=1e-9)


def refit(rows, covariances, scales):
    """beta by numpy's least squares."""
    prior = Covariances(covariances, JITTER)
    factor = np.hstack([block_diagonal(prior.factors(np.array(scales))), np.zeros((sum(SIZES), 1))])
    stacked = np.vstack([rows, factor])
    return np.linalg.lstsq(stacked[:, :-1], stacked[:, -1], rcond=None)[0]


def test_weights_are_those_of_the_trainer_with_other_deltas():
    """s^2 alpha of a fit whose columns and K_mm are multiplied by s^2."""
    cross, targets, covariances = problem(4)
    scales = np.array([0.5, 2.0])
    rows = np.vstack([np.column_stack([k, y]) / s for k, y, s in zip(cross, targets, SIGMAS)])
    beta = weights_of(combine(Covariances(covariances, JITTER).triangle(scales), [rows]))
    per_column = np.repeat(scales**2, SIZES)
    k_mm = block_diagonal([s**2 * c for s, c in zip(scales, covariances)]) + JITTER * np.eye(sum(SIZES))
    a = rows[:, :-1] * per_column
    alpha = np.linalg.solve(a.T @ a + k_mm, a.T @ rows[:, -1])
    np.testing.assert_allclose(rows[:, :-1] @ beta, a @ alpha, atol=1e-7)


@pytest.mark.parametrize("n_folds", [2, 3, 5, 8])
def test_each_fold_left_out_is_a_refit(n_folds):
    cross, targets, covariances = problem(5)
    rows = np.vstack([np.column_stack([k, y]) / s for k, y, s in zip(cross, targets, SIGMAS)])
    folds = [rows[k::n_folds] for k in range(n_folds)]
    blocks = [[merge([fold[:3]]), fold[3:]] for fold in folds]
    seen = []
    for number, triangle in leave_each_out(Covariances(covariances, JITTER).triangle(np.array([0.8, 1.1])), blocks):
        others = np.vstack([fold for k, fold in enumerate(folds) if k != number])
        expected = residuals(folds[number], refit(others, covariances, [0.8, 1.1]))
        np.testing.assert_allclose(residuals(folds[number], weights_of(triangle)), expected, rtol=0, atol=1e-8)
        seen.append(number)
    assert sorted(seen) == list(range(n_folds))


def test_left_out_structures_are_refits():
    cross, targets, covariances = problem(6)
    rows = np.vstack([np.column_stack([k, y]) / s for k, y, s in zip(cross, targets, SIGMAS)])
    triangle = combine(Covariances(covariances, JITTER).triangle(np.ones(2)), [rows])
    for structure in np.array_split(np.random.default_rng(0).permutation(len(rows)), 6):
        others = np.delete(rows, structure, axis=0)
        expected = residuals(rows[structure], refit(others, covariances, [1.0, 1.0]))
        np.testing.assert_allclose(left_out_residuals(rows[structure], triangle), expected, rtol=0, atol=1e-8)
    one = rows[:1]
    leverage = np.sum(np.linalg.solve(triangle[:-1, :-1].T, one[0, :-1]) ** 2)
    np.testing.assert_allclose(left_out_residuals(one, triangle), residuals(one, weights_of(triangle)) / (1 - leverage))


def test_weights_follow_the_deltas():
    cross, targets, covariances = problem(7)
    rows = np.vstack([np.column_stack([k, y]) / s for k, y, s in zip(cross, targets, SIGMAS)])
    prior = Covariances(covariances, JITTER)
    form = np.random.default_rng(0).standard_normal(sum(SIZES))

    def solved(x):
        triangle = combine(prior.triangle(np.exp(x)), [rows])
        return triangle, weights_of(triangle)

    x = np.log([0.7, 1.6])
    triangle, weights = solved(x)
    r = triangle[:-1, :-1]
    along = np.linalg.solve(r, np.linalg.solve(r.T, form))
    numeric = [form @ (solved(x + 1e-5 * e)[1] - solved(x - 1e-5 * e)[1]) / 2e-5 for e in np.eye(2)]
    np.testing.assert_allclose(weights_by_scale(prior, np.exp(x), weights, along), numeric, rtol=1e-5)


def test_prior_says_how_large_a_delta_may_become():
    _, _, covariances = problem()
    prior = Covariances(covariances, JITTER)
    prior.factors(prior.largest_scales)
    with pytest.raises(np.linalg.LinAlgError):
        Covariances([np.ones((5, 5))], 1e-30).factors(np.ones(1))


class Frame:
    def __init__(self, config_type):
        self.config_type = config_type


def test_folds_are_even_within_every_type():
    frames = [Frame(t) for t in ["bulk"] * 23 + ["liquid"] * 10 + ["atom"]]
    folds = choose_folds(frames, 5, seed=3)
    for config_type, n in (("bulk", 23), ("liquid", 10)):
        counts = np.bincount(folds[[f.config_type == config_type for f in frames]], minlength=5)
        assert counts.sum() == n
        assert np.ptp(counts) <= 1
    assert np.ptp(np.bincount(folds, minlength=5)) <= 1
    np.testing.assert_array_equal(folds, choose_folds(frames, 5, seed=3))
    assert (folds != choose_folds(frames, 5, seed=4)).any()
    runs = choose_folds(frames, 5, seed=3, contiguous=True)[:23]
    assert np.count_nonzero(np.diff(runs)) == 4
