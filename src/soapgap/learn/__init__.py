"""The mathematics of a fit: sparse points, covariances, rows of the design matrix, and their least-squares solution."""
