"""The same function with fewer operations, compiled into a model."""
