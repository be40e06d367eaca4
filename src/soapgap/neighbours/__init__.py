"""Pairs of atoms: neighbour lists as flat arrays, and lists that are kept while atoms move."""
