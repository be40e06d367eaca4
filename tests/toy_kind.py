"""A kind of term that the package does not know: Gaussians of the distance about the third neighbour shell of diamond.

    V(r) = c(r) sum_s alpha_s delta^2 exp(-(r - X_s)^2 / (2 width^2)),   c(r) = (1 - r^2/cutoff^2)^3
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from soapgap.config.kind import TermConfig, register
from soapgap.config.section import Positive
from soapgap.data.virials import STRAINS
from soapgap.kinds.kernel import Kernel, Planned, plan
from soapgap.model import PairTerm
from soapgap.radial.table import weighted_table


@register
class ShellConfig(TermConfig):
    kind: Literal["toy_shell"]
    width: Positive = 0.3
    sparse_method: Literal["grid"] = "grid"


@dataclass(frozen=True)
class ShellKernel(Kernel):
    config: ShellConfig
    symbols: tuple[str, str]
    sparse_points: np.ndarray
    name = "toy_shell"

    def radial(self, r, *_):
        rc, w = self.config.cutoff, self.config.width
        u, s, x = (r[:, None] - self.sparse_points) / w, 1.0 - (r[:, None] / rc) ** 2, -6.0 * r[:, None] / rc**2
        g, c, c1, c2 = self.config.delta**2 * np.exp(-0.5 * u * u), s**3, x * s**2, -6.0 / rc**2 * s**2 + x * x * s / 1.5
        return np.stack([c * g, (c1 - c * u / w) * g, (c2 - 2.0 * c1 * u / w + c * (u * u - 1.0) / w**2) * g])

    def covariance(self):
        u = (self.sparse_points[:, None] - self.sparse_points) / self.config.width
        return self.config.delta**2 * np.exp(-0.5 * u * u)

    def rows(self, evaluator, neighbours, gradients=True, strain=True, local=False):
        centre, d = np.repeat(neighbours.centre_atom, np.diff(neighbours.offsets)), neighbours.vectors
        r = np.linalg.norm(d, axis=1)
        (k, slope, _), unit = self.radial(r) * (r < self.config.cutoff)[:, None], d / r[:, None]
        gradient, pull = np.zeros((neighbours.n_atoms, 3, self.n_sparse)), unit[:, :, None] * slope[:, None]
        np.add.at(gradient, np.append(neighbours.neighbour_atom, centre), np.concatenate([pull, -pull]))
        strains = np.array([(unit[:, a] * d[:, b]) @ slope for a, b in STRAINS])
        return k.sum(axis=0), gradient.reshape(-1, self.n_sparse), strains, None

    def finished(self, weights):
        return [PairTerm(self.symbols, self.config.cutoff, weighted_table(self.radial, [0.0, self.config.cutoff], weights), {})]


@plan.register
def _(config: ShellConfig, number, context):
    ((pair, shortest),) = context.shortest.items()
    points = np.sqrt(11.0 / 3.0) * shortest + config.width * (np.arange(config.n_sparse) - config.n_sparse // 2)
    return [Planned(ShellKernel(config, pair, points), (number, 0), given=points)]
