"""The trainer: extended XYZ data in, a potential out.

`fit` is the whole of it; the modules are its steps, in this order: config, dataset (observations), noise, environments,
baseline, e0, sparse_points (sparsify, pair_kernel, kernels), estimate, design (curvature), solve, state, validate, report.
"""

from soapgap.training.fit import FitResult, fit

__all__ = ["FitResult", "fit"]
