r"""A radial basis of the density expansion: what all of them have in common.

Around a centre the neighbours are seen as a density of Gaussians, expanded in radial functions and real spherical
harmonics (Bartok, Kondor and Csanyi, Phys. Rev. B 87, 184115 (2013)). For a neighbour at the distance r the
coefficient is c_nlm = R_nl(r) Y_lm, and both bases offered here have the same form,

    R_nl(r) = f_c(r) sum_q h_l(r, x_q) M_qn,      h_l(r, x) = exp(-(r^2 + x^2)/2 sigma^2) i_l(r x / sigma^2),

where f_c is the cutoff function, i_l the modified spherical Bessel function of the first kind and h_l the radial part
of a Gaussian of width sigma at the distance r, as seen at the radius x. If neighbours are to count less the farther away
they are, f_c is multiplied by a weight u(r) (`soapgap.radial.cutoff`). A basis is its radii x_q and its matrix M:

* "gto": Gaussian-type functions, the x_q and M integrate h_l against them (`soapgap.radial.bases.gto_basis`);
* "equispaced": QUIP's Gaussians at equal spacing, fitted to h_l at their centres (`soapgap.radial.bases.equispaced_basis`).

Nothing else in the project knows these formulas: models carry the table that `SoapBasis.table` makes.
"""

from dataclasses import dataclass

import numpy as np

from soapgap.radial.cutoff import cutoff_function, cutoff_transition, product, radial_scaling
from soapgap.radial.smearing import smeared_gaussian
from soapgap.radial.table import RadialTable, radial_table

__all__ = ["SoapBasis"]


@dataclass(frozen=True)
class SoapBasis:
    """A radial basis of the density expansion.

    Attributes
    ----------
    n_max, l_max : int
        Radial functions n = 0 .. n_max - 1 and angular momenta l = 0 .. l_max.
    cutoff : float
        Angstrom; R_nl(r) = 0 for r >= cutoff.
    parameters : dict
        Everything needed to make the basis again with `make_basis`.
    centre : ndarray, shape (n_max,)
        What the centre's own Gaussian adds to c_{n00}: central_weight times its radial coefficient times Y_00.
    radii : ndarray, shape (n_radii,)
        x_q (Angstrom).
    matrix : ndarray, shape (n_radii, n_max) or (l_max + 1, n_radii, n_max)
        M_qn, the same for all l or one for each.
    """

    n_max: int
    l_max: int
    cutoff: float
    parameters: dict
    centre: np.ndarray
    radii: np.ndarray
    matrix: np.ndarray

    def radial(self, r) -> np.ndarray:
        """R_nl and its first two derivatives from the formulas (not from a table), at the distances r (Angstrom).

        Returns
        -------
        ndarray, shape (3, n_r, (l_max + 1) n_max)
            R, R', R''; the function index is l n_max + n. At rc - w the second derivative is that of the inner side.
        """
        r = np.atleast_1d(np.asarray(r, dtype=np.float64))
        width, shape = self.parameters["cutoff_transition_width"], self.parameters["cutoff_function"]
        return product(cutoff_function(r, self.cutoff, width, shape), self._weighted(np.minimum(r, self.cutoff)))

    def table(self, rtol: float = 1e-11) -> RadialTable:
        """The table of R_nl that a model carries: pieces [0, rc - w] and [rc - w, rc], function index l n_max + n.

        Parameters
        ----------
        rtol : float
            Bound of the error of a value, relative to max|R_nl|; that of a slope is 100 times as large (per Angstrom).

        Returns
        -------
        RadialTable
        """
        width, shape = self.parameters["cutoff_transition_width"], self.parameters["cutoff_function"]
        inner = self.cutoff - width

        def piece(r, lo, hi):
            weighted = self._weighted(r)
            return product(cutoff_transition(r, self.cutoff, width, shape), weighted) if lo >= inner else weighted

        return radial_table(piece, [0.0, inner, self.cutoff] if inner > 0 else [0.0, self.cutoff], rtol, 100.0 * rtol)

    def _weighted(self, r) -> np.ndarray:
        """R_nl without the cutoff function: `smeared` times u(r), if there is one."""
        scaling = self.parameters.get("radial_scaling")
        return self.smeared(r) if scaling is None else product(radial_scaling(r, **scaling), self.smeared(r))

    def smeared(self, r) -> np.ndarray:
        """R_nl without the cutoff function and without u(r): sum_q h_l(r, x_q) M_qn and its first two derivatives.

        Parameters
        ----------
        r : ndarray, shape (n_r,)
            Distances (Angstrom).

        Returns
        -------
        ndarray, shape (3, n_r, (l_max + 1) n_max)
        """
        # Blocks of neighbouring distances see only the radii within 9 sigma, where h_l is not below 1e-17.
        sigma = self.parameters["atom_sigma"]
        out = np.zeros((3, len(r), self.l_max + 1, self.n_max))
        order = np.argsort(r, kind="stable")
        for block in np.array_split(order, max(1, len(r) // 32)):
            if len(block) == 0:
                continue
            near = np.flatnonzero((self.radii >= r[block[0]] - 9 * sigma) & (self.radii <= r[block[-1]] + 9 * sigma))
            h = smeared_gaussian(r[block], self.radii[near], sigma, self.l_max)
            out[:, block] = np.matmul(h, self.matrix[..., near, :]).transpose(0, 2, 1, 3)
        return out.reshape(3, len(r), -1)
