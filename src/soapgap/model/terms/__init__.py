"""The kinds of terms that a model can have, one module for each."""
