"""What all kinds of terms have in common in a model file."""

__all__ = ["TERM_HEAD"]

#: Version, outputs and source of the densities.
TERM_HEAD = {"kind_version": 1, "n_out": 1, "irreps": "0e", "source": "pair_table"}
