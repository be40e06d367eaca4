"""The SOAP kernel of one centre species, k = delta^2 (x . X_s)^zeta, and its rows of the design matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from soapgap.kinds.kernel import Context, Kernel, Planned
from soapgap.kinds.soap.choose import choose_soap
from soapgap.model import SoapTerm
from soapgap.reduction.soap import reduce_term

#: What leaving out features may change in a kernel x . X_s of size 1, on average: so far below its last place that weights
#: of size 1e4, which cancel, do not bring it back.
_ROUNDING = 1e-20


@dataclass(frozen=True)
class SoapKernel(Kernel):
    """A SOAP kernel: the term of the model with its sparse points, but without weights."""

    term: SoapTerm

    @property
    def name(self) -> str:
        """See `Kernel.name`."""
        return f"soap ({self.term.centre})"

    @property
    def symbols(self) -> tuple[str]:
        """The centre."""
        return (self.term.centre,)

    @property
    def sparse_points(self) -> np.ndarray:
        """(n_sparse, d) features."""
        return self.term.sparse_points

    def covariance(self) -> np.ndarray:
        """K_MM = delta^2 (X_s . X_t)^zeta, (n_sparse, n_sparse), eV^2."""
        covariance = self.sparse_points @ self.sparse_points.T
        np.power(covariance, self.term.zeta, out=covariance)
        covariance *= self.term.delta**2
        return covariance

    def finished(self, weights: np.ndarray) -> list[SoapTerm]:
        """See `Kernel.finished`."""
        return [replace(self.term, weights=weights.reshape(1, -1))]

    def row_terms(self, exact: bool) -> list[SoapTerm]:
        """The term itself or, unless `exact`, without the features that vanish in all sparse points."""
        if exact:
            return [self.term]
        n = self.n_sparse
        even = np.full((1, n), 1.0 / (max(n, 1) * self.term.zeta * self.term.delta**2))  # not known yet: all alike
        return [reduce_term(replace(self.term, weights=even), _ROUNDING, collapse=False)]

    def with_points(self, points: np.ndarray, origins: np.ndarray | None = None) -> SoapKernel:
        """The kernel with these features, (n_sparse, d)."""
        term = replace(self.term, sparse_points=points, weights=np.zeros((1, len(points))))
        return replace(self, term=term, origins=origins)

    def trial_points(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Features of length 1."""
        points = rng.random((n, self.term.n_features))
        return points / np.linalg.norm(points, axis=1)[:, None]

    @staticmethod
    def choose(items: Sequence[Planned], context: Context) -> list[tuple[np.ndarray, np.ndarray]]:
        """See `Kernel.choose`."""
        return choose_soap(items, context)

    @property
    def point_bytes(self) -> int:
        """Its features."""
        return 8 * self.term.n_features

    @staticmethod
    def pool_bytes(items: Sequence[Planned]) -> int:
        """Features of the environments that are kept for the kernel that has most of them."""
        kept = [max([0 if i.indices is None else len(i.indices), *(quota.kept for quota in i.quotas)]) for i in items]
        return max(item.kernel.point_bytes * n for item, n in zip(items, kept, strict=True))
