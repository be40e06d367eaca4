"""Structures, inputs and GLE matrices for the tests of `soapgap ipi-input`."""

import numpy as np
from ase.units import Hartree, kB

from soapgap.ipi.starter.settings import InputSettings
from soapgap.ipi.starter.write import write_input


def save(path, atoms):
    """Extended XYZ in full digits."""
    lattice = " ".join(f"{value:.15g}" for value in atoms.cell.array.ravel())
    pbc = " ".join("T" if flag else "F" for flag in atoms.pbc)
    lines = [f"{s} {x:.13f} {y:.13f} {z:.13f}" for s, (x, y, z) in zip(atoms.symbols, atoms.positions, strict=True)]
    path.write_text("\n".join([str(len(atoms)), f'Lattice="{lattice}" Properties=species:S:1:pos:R:3 pbc="{pbc}"', *lines, ""]))
    return path


def make(folder, atoms, output="input.xml", **settings):
    """Structure and input in a folder; the sentences."""
    return write_input(save(folder / "c.xyz", atoms), folder / output, InputSettings(**settings))


def white_noise(n_beads, temperature, tau=4134.0):
    """Matrices of a Langevin thermostat as optimal for free ring polymers (PILE): A [P, 1, 1] in atomic units, C in K."""
    omega = 2 * n_beads * temperature * kB / Hartree * np.sin(np.pi * np.arange(n_beads) / n_beads)
    a = np.where(omega > 0, 2 * omega, 1 / tau)
    return a[:, None, None], np.full((n_beads, 1, 1), n_beads * temperature)


def write_gle(path, a, c, units=' units="kelvin"', shape=None):
    shape = shape or a.shape
    path.write_text("# from the site\n<thermostat mode='nm_gle'>\n"
                    f"<A shape='{shape}'>\n[ {', '.join(map(str, a.ravel()))} ]\n</A>\n"
                    f"<C shape='{shape}'{units}>\n[ {', '.join(map(str, c.ravel()))} ]\n</C>\n</thermostat>\n")
    return path
