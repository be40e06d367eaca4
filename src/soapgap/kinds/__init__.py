"""Kinds of terms of a fit, one folder for each."""
