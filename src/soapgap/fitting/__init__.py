"""The trainer: extended XYZ data in, a potential out.

`fit` is the whole of it; the modules are its steps, in this order: config, dataset (observations), noise, environments,
baseline, e0, sparse, kernels (pair_kernel, triplet_kernel), estimate, design (curvature), solve, state, validate, report.
Beside it stand check, tune, gap_fit and sparse.map, a command each.
"""

from soapgap.fitting.pipeline import FitResult, fit

__all__ = ["FitResult", "fit"]
