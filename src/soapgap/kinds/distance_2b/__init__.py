"""`distance_2b`: one pair potential per pair of species."""
