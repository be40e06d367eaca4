"""Prints the table of docs/quip.md, soapgap beside QUIP for every form of term: `python tests/quip_table.py` (two minutes)."""

import tempfile
from pathlib import Path

import numpy as np
from quip_fits import gap_fit, quip_results
from test_quip_models import MODELS, structures

from soapgap.potential import Potential
from soapgap.quip import read_quip


def differences(xml) -> tuple[np.ndarray, np.ndarray]:
    """Largest differences and largest values of E, F, W and local energies over the structures of the tests."""
    potential, largest, values = Potential(read_quip(xml), 1), np.zeros(4), np.zeros(4)
    for atoms, theirs in zip(structures(), quip_results(xml, structures()), strict=True):
        r = potential.compute(atoms)
        ours = (r.energy, r.forces, r.virial, r.energies)
        largest = np.maximum(largest, [np.abs(np.subtract(a, b)).max() for a, b in zip(ours, theirs)])
        values = np.maximum(values, [np.abs(b).max() for b in theirs])
    return largest, values


def main():
    print("| form | E, eV | F, eV/A | W, eV | local E, eV | largest F |\n|---|---|---|---|---|---|")
    for number, (name, gap) in enumerate(MODELS.items()):
        with tempfile.TemporaryDirectory() as folder:
            largest, values = differences(gap_fit(Path(folder), gap, name=f"m{number}"))
        print(f"| {name} | " + " | ".join(f"{x:.0e}" for x in largest) + f" | {values[1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
