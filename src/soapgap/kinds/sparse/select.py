"""Choosing sparse points: the few environments whose kernels span the model.

Duplicates are removed first. All methods are deterministic for a given seed and return ascending indices.
"""

from __future__ import annotations

import numpy as np

from soapgap.kinds.sparse.select_cholesky import Covariance, pivots

DUPLICATE_TOLERANCE = 1e-10
CHUNK_ROWS = 4096


def unique_rows(features: np.ndarray) -> np.ndarray:
    """Indices (ascending) of the rows that are not copies of an earlier one.

    Two rows are copies if no component differs by more than 1e-10. Rows are sorted by a fixed projection, on which
    copies fall within sqrt(d) 1e-10 of one another, so only neighbours in that order are compared.

    Parameters
    ----------
    features : ndarray, shape (n, d)
    """
    n, d = features.shape
    direction = np.random.default_rng(20130503).standard_normal(d)
    direction /= np.linalg.norm(direction)
    keys = features @ direction
    order = np.argsort(keys, kind="stable")
    window = 2.0 * np.sqrt(d) * DUPLICATE_TOLERANCE
    keep = np.ones(n, bool)
    gap_ends = np.flatnonzero(np.diff(keys[order]) > window) + 1
    for run in np.split(order, gap_ends):
        if len(run) > 1:
            _mark_copies(features, np.sort(run), keep)
    return np.flatnonzero(keep)


def _mark_copies(features: np.ndarray, run: np.ndarray, keep: np.ndarray) -> None:
    remaining = run
    while len(remaining) > 1:
        first, others = remaining[0], remaining[1:]
        copies = np.abs(features[others] - features[first]).max(axis=1) <= DUPLICATE_TOLERANCE
        keep[others[copies]] = False
        remaining = others[~copies]


def select(features: np.ndarray, n_sparse: int, method: str, seed, covariance: Covariance | None = None,
           n_bytes: int = 512 * 2**20) -> np.ndarray:
    """Choose rows of the features as sparse points.

    Parameters
    ----------
    features : ndarray, shape (n, d)
        Unit norm for normalised terms, duplicates removed.
    n_sparse : int
        How many; all rows if there are not more.
    method : "cur", "fps", "random", "leverage", "cholesky", or "uniform" (for features of few components); "all": all
    seed : int or sequence of int
        Seed or sequence of seeds of `numpy.random.default_rng`.
    covariance : Covariance, optional
        The kernel on rows of the features, for "cholesky".
    n_bytes : int
        Memory that "cholesky" may use.

    Returns
    -------
    indices : ndarray
        Ascending; fewer than n_sparse if "cholesky" finds no more that differ.
    """
    n = len(features)
    if method == "all" or n_sparse >= n:
        return np.arange(n)
    rng = np.random.default_rng(seed)
    if method == "fps":
        chosen = farthest_points(features, n_sparse, int(rng.integers(n)))
    elif method == "cur":
        chosen = draw(leverage_scores(features), n_sparse, rng)
    elif method == "leverage":
        chosen = largest(row_norms(features, ridge_basis(features.T @ features)), n_sparse)
    elif method == "cholesky":
        chosen = pivots(features, n_sparse, covariance, n_bytes)
    elif method == "uniform":
        chosen = grid_sample(features, n_sparse, rng)
    else:
        chosen = rng.choice(n, n_sparse, replace=False)
    return np.sort(chosen)


def farthest_points(features: np.ndarray, n_points: int, first: int) -> np.ndarray:
    """Farthest-point sampling: each new point is the one farthest from all points chosen so far.

        i_{k+1} = argmax_i  min_{j <= k} |x_i - x_{i_j}|

    (T. F. Gonzalez, Theor. Comput. Sci. 38, 293 (1985)). For unit vectors the order of the distances is that of any
    kernel (x . y)^zeta. Ties go to the smaller index.

    Parameters
    ----------
    features : ndarray, shape (n, d)
    n_points : int
        Number of points, at most n.
    first : int
        Index of the first point.

    Returns
    -------
    indices : ndarray
        In the order of their choice.
    """
    norms = np.einsum("ij,ij->i", features, features)
    chosen = np.empty(n_points, np.int64)
    nearest = np.full(len(features), np.inf)
    for k in range(n_points):
        chosen[k] = first
        distance = norms + norms[first] - 2.0 * (features @ features[first])
        np.minimum(nearest, distance, out=nearest)
        nearest[first] = -1.0
        first = int(np.argmax(nearest))
    return chosen


def leverage_scores(features: np.ndarray, rank: int | None = None) -> np.ndarray:
    """Normalised statistical leverage of the rows.

        l_i = (1/k) sum_{j <= k} u_ij^2,    X = U S V^T,    sum_i l_i = 1

    (M. W. Mahoney and P. Drineas, PNAS 106, 697 (2009), for environments: G. Imbalzano et al., J. Chem. Phys. 148,
    241730 (2018)). u_ij = x_i . v_j / s_j comes from the eigenvectors of X^T X, in chunks of rows, so the memory is
    d^2 beside the features.

    Parameters
    ----------
    features : ndarray, shape (n, d)
    rank : int, optional
        k; by default half the number of singular values above 1e-7 of the largest, as GAP takes half of them.

    Returns
    -------
    scores : ndarray, shape (n,)
    """
    scores = row_norms(features, leverage_basis(features.T @ features, rank))
    return scores / scores.sum()


def leverage_basis(gram: np.ndarray, rank: int | None = None) -> np.ndarray:
    """W with l_i = |x_i W|^2 / k, (d, k): v_j / s_j from the Gram matrix X^T X; see `leverage_scores`."""
    eigenvalues, vectors = _descending(gram)
    rank = half_rank(eigenvalues) if rank is None else rank
    return vectors[:, :rank] / np.sqrt(eigenvalues[:rank])


def ridge_basis(gram: np.ndarray) -> np.ndarray:
    """W such that |x_i W|^2 is the ridge leverage of a row, (d, r).

        l_i = x_i^T (X^T X + lambda)^(-1) x_i,    lambda = |X - X_k|_F^2 / k,    k as in `leverage_scores`

    The rows with the largest l_i span what all rows span up to the errors of the best rank k, if the l_i decay (S. McCurdy,
    Adv. Neural Inf. Process. Syst. 31 (2018); M. B. Cohen, C. Musco and C. Musco, Proc. SODA 2017, 1758).

    Parameters
    ----------
    gram : ndarray, shape (d, d)
        X^T X.
    """
    eigenvalues, vectors = _descending(gram)
    k = half_rank(eigenvalues)
    ridge = np.maximum(eigenvalues[k:], 0.0).sum() / k
    used = eigenvalues > 1e-14 * eigenvalues[0]
    return vectors[:, used] / np.sqrt(eigenvalues[used] + ridge)


def principal_basis(gram: np.ndarray, most: int, tight: float, loose: float) -> tuple[np.ndarray, float]:
    """The leading eigenvectors of X^T X, (d, r), and the fraction of sum_i |x_i|^2 that lies outside them.

    Parameters
    ----------
    gram : ndarray, shape (d, d)
        X^T X.
    most : int
        r should be at most this.
    tight, loose : float
        That fraction is at most `tight` if `most` allows it, and at most `loose` whatever r that takes.
    """
    eigenvalues, vectors = _descending(gram)
    beyond = np.append(np.cumsum(np.maximum(eigenvalues[::-1], 0.0))[::-1], 0.0)  # of this one and all smaller ones
    beyond /= beyond[0]
    enough, least = (max(1, int(np.count_nonzero(beyond > tolerance))) for tolerance in (tight, loose))
    r = max(least, min(enough, most))
    return np.ascontiguousarray(vectors[:, :r]), float(beyond[r])


def half_rank(eigenvalues: np.ndarray) -> int:
    """Half the number of singular values above 1e-7 of the largest, from their squares in descending order."""
    return max(1, int(np.count_nonzero(eigenvalues > 1e-14 * eigenvalues[0])) // 2)


def _descending(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    eigenvalues, vectors = np.linalg.eigh(gram)
    return eigenvalues[::-1], vectors[:, ::-1]


def row_norms(features: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """|x_i W|^2 of all rows, in chunks, (n,)."""
    norms = np.empty(len(features))
    for start in range(0, len(features), CHUNK_ROWS):
        projected = features[start:start + CHUNK_ROWS] @ basis
        norms[start:start + CHUNK_ROWS] = np.einsum("ij,ij->i", projected, projected)
    return norms


def draw(scores: np.ndarray, n_points: int, rng: np.random.Generator) -> np.ndarray:
    """CUR: distinct rows drawn with probabilities proportional to their leverage.

    The draw without replacement takes the n_points largest keys log(u_i)/l_i, u_i uniform in (0, 1) (P. S. Efraimidis
    and P. G. Spirakis, Inf. Process. Lett. 97, 181 (2006)).
    """
    scores = np.maximum(scores, np.finfo(float).tiny)
    with np.errstate(over="ignore"):
        keys = np.log(1.0 - rng.random(len(scores))) / scores
    return largest(keys, n_points)


def largest(keys: np.ndarray, n_points: int) -> np.ndarray:
    """Indices of the largest keys, ties to the smaller index."""
    return np.argsort(-keys, kind="stable")[:n_points]


def grid_sample(features: np.ndarray, n_points: int, rng: np.random.Generator) -> np.ndarray:
    """GAP's UNIFORM: the first row in each cell of an even grid.

    The grid has ceil(n_points^(1/d)) cells along each component, centred at equally spaced values from its smallest to its
    largest one. If fewer cells than points are occupied, the others are drawn at random, first one more from each cell
    that has more, then another, and so on, so that they too are spread evenly.

    Parameters
    ----------
    features : ndarray, shape (n, d)
        d small.
    n_points : int
        Number of points, at most n.

    Returns
    -------
    indices : ndarray
        In the order of their choice.
    """
    n, d = features.shape
    side = next(m for m in range(1, n_points + 1) if m**d >= n_points)
    low, width = features.min(axis=0), np.ptp(features, axis=0)
    steps = np.rint((features - low) / np.where(width > 0.0, width, 1.0) * (side - 1)).astype(np.int64)
    cells = np.ravel_multi_index(tuple(steps.T), (side,) * d)
    first = np.sort(np.unique(cells, return_index=True)[1])[:n_points]
    rest = rng.permutation(np.setdiff1d(np.arange(n), first))
    order = np.argsort(cells[rest], kind="stable")
    _, starts, counts = np.unique(cells[rest][order], return_index=True, return_counts=True)
    turn = np.empty(len(rest), np.int64)
    turn[order] = np.arange(len(rest)) - np.repeat(starts, counts)  # how many of its cell come before
    return np.concatenate([first, rest[np.argsort(turn, kind="stable")][:n_points - len(first)]])
