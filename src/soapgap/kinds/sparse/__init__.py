"""Sparse points: which environments, pairs and triplets the kernels of a fit stand on."""
