"""What is subtracted before a fit: short-range repulsion, potentials of other programs, energies of isolated atoms."""
