"""Turning the radial functions of a SOAP term so that few of its features are left.

Within each l, any orthogonal rotation of n leaves |p| and every X . x as they are. Two are made, one after the other: to the
principal axes of the tabulated functions, where those that vanish can be cut, and within what is left, for each neighbour
species, to those of the sparse points.
"""

import numpy as np

__all__ = ["Rotations"]


class Rotations:
    """Rotated sparse points of one term, remembered by how many radial functions of each l are kept.

    Parameters
    ----------
    term : SoapTerm
    """

    def __init__(self, term):
        self._term = term
        self._listed = term.channels is not None and term.channels.pairs is not None
        self._done = {}
        if self._listed:  # the features are a list of products that no rotation keeps
            return
        self._blocks = _unpack(term.sparse_points, term.l_max + 1, term.n_channels * term.n_max)
        self._principal = [self._principal_axes(l) for l in range(term.l_max + 1)]

    def __call__(self, smallest: float):
        """Radial functions not larger than `smallest` times the largest of all are cut.

        Returns
        -------
        n_of_l : list of int
        axes : list of list of ndarray, [l][channel] -> shape (n_max, n_l)
            Column k says of which R_nl the rotated function k is made.
        points : ndarray, shape (n_sparse, features of the rotated functions)
        """
        if self._listed:
            term = self._term
            return ([term.n_max] * (term.l_max + 1), [[np.eye(term.n_max)] * term.n_channels] * (term.l_max + 1),
                    np.asarray(term.sparse_points, dtype=np.float64))
        largest = max(np.abs(self._term.table.values[..., 0, :]).max(), np.finfo(float).tiny)
        n_of_l = [int(np.count_nonzero(sizes > smallest * largest)) for _, sizes in self._principal]
        if tuple(n_of_l) not in self._done:
            self._done[tuple(n_of_l)] = self._rotated(n_of_l)
        return n_of_l, *self._done[tuple(n_of_l)]

    def _principal_axes(self, l):
        """Axes of the tabulated functions of one l, and the largest value of each turned function, descending."""
        term = self._term
        tables = term.table.values.reshape(-1, *term.table.values.shape[-2:])
        functions = tables[:, 0, l * term.n_max:(l + 1) * term.n_max]
        if l == 0:
            functions = np.vstack([functions, term.centre_values])
        axes = np.linalg.svd(functions, full_matrices=True)[2].T if len(functions) >= term.n_max else np.eye(term.n_max)
        return axes, np.abs(functions @ axes).max(axis=0)

    def _rotated(self, n_of_l):
        n, n_channels = self._term.n_max, self._term.n_channels
        axes, columns = [], []
        for l, n_l in enumerate(n_of_l):
            blocks, principal = self._blocks[:, l], self._principal[l][0][:, :n_l]
            whole, of_l = np.zeros((n_channels * n, n_channels * n_l)), []
            for channel in range(n_channels):
                rows = blocks[:, channel * n:(channel + 1) * n]
                inner = principal.T @ np.einsum("sij,skj->ik", rows, rows, optimize=True) @ principal
                of_l.append(principal @ np.linalg.eigh(inner)[1][:, ::-1])
                whole[channel * n:(channel + 1) * n, channel * n_l:(channel + 1) * n_l] = of_l[-1]
            axes.append(of_l)
            columns.append(_pack(whole.T @ blocks @ whole))
        return axes, np.concatenate(columns, axis=1)


def _unpack(points, n_l, n):
    """[s][features] -> [s][l][I][J] symmetric; off-diagonal features hold sqrt(2) times the product."""
    rows, columns = np.tril_indices(n)
    values = points.reshape(len(points), n_l, len(rows)) * np.where(rows == columns, 1.0, np.sqrt(0.5))
    blocks = np.empty((len(points), n_l, n, n))
    blocks[:, :, rows, columns] = values
    blocks[:, :, columns, rows] = values
    return blocks


def _pack(block):
    rows, columns = np.tril_indices(block.shape[-1])
    return block[:, rows, columns] * np.where(rows == columns, 1.0, np.sqrt(2.0))
