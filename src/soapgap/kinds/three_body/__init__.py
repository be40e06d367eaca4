"""`angle_3b` and `distance_3b`: one function per choice of three species."""
