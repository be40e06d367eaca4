"""Radial functions of the density expansion: their formulas, and the tables that models carry."""
