"""Lattice constant and elastic constants with any ASE calculator."""

from dataclasses import dataclass

import numpy as np
from ase.optimize import BFGS
from ase.units import GPa
from scipy.optimize import brentq

from soapgap.errors import InputError

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@dataclass
class CubicConstants:
    """Lattice constant (Angstrom), cohesive energy (eV/atom, positive) and elastic constants (GPa) of a cubic crystal."""

    a0: float
    cohesive_energy: float
    c11: float
    c12: float
    c44: float
    c44_unrelaxed: float

    @property
    def bulk_modulus(self):
        """(C11 + 2 C12) / 3 in GPa."""
        return (self.c11 + 2 * self.c12) / 3


def lattice_constant(atoms, calculator, bracket=0.05):
    """Lattice constant of a cubic crystal: the edge at which the pressure vanishes.

    Parameters
    ----------
    atoms : ase.Atoms
        Conventional cubic cell; its edge is the first guess.
    calculator : ase.calculators.calculator.Calculator
        Gives ``stress``.
    bracket : float
        The root is looked for within this fraction of the first guess.

    Returns
    -------
    float
        Angstrom.

    Raises
    ------
    InputError
        The pressure does not change sign within the bracket.
    """
    trial = atoms.copy()
    trial.calc = calculator
    guess = trial.cell.lengths()[0]

    def pressure(a):
        trial.set_cell(np.eye(3) * a, scale_atoms=True)
        return -trial.get_stress()[:3].mean()

    low, high = guess * (1 - bracket), guess * (1 + bracket)
    if pressure(low) * pressure(high) > 0:
        raise InputError(
            f"no lattice constant between {low:.3f} and {high:.3f} A: the pressure is {pressure(low) / GPa:.3g} GPa at "
            f"one end and {pressure(high) / GPa:.3g} GPa at the other; start nearer to the minimum"
        )
    return brentq(pressure, low, high, xtol=1e-9)


def elastic_matrix(atoms, calculator, strain=4e-3, relax=True, fmax=1e-5, max_steps=500):
    """Elastic constants C_ij = d sigma_i / d epsilon_j of an unstressed crystal, Voigt order xx yy zz yz xz xy.

    Central differences of the Cauchy stress between ``+strain`` and ``-strain`` of each of the six components, atoms
    relaxed in the strained cell (Nye, Physical Properties of Crystals, 1957, chapter VIII; shear strains are
    engineering strains, epsilon_4 = 2 epsilon_yz).

    Parameters
    ----------
    atoms : ase.Atoms
        Any periodic crystal in equilibrium.
    calculator : ase.calculators.calculator.Calculator
        Gives ``forces`` and ``stress``.
    strain : float
        Size of each strain; the error of the difference is of second order in it.
    relax : bool
        Relax the atoms in each strained cell (otherwise they follow the strain: "unrelaxed" constants).
    fmax : float
        Largest force left after a relaxation, eV/Angstrom.
    max_steps : int
        Longest relaxation.

    Returns
    -------
    array (6, 6)
        eV/Angstrom^3.

    Raises
    ------
    InputError
        A relaxation did not converge.
    """
    matrix = np.empty((6, 6))
    for column, (a, b) in enumerate(VOIGT):
        stresses = []
        for sign in (1, -1):
            deformation = np.eye(3)
            deformation[a, b] += sign * strain * (1 if a == b else 0.5)
            deformation[b, a] = deformation[a, b]
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
            strained.calc = calculator
            if relax and not BFGS(strained, logfile=None).run(fmax=fmax, steps=max_steps):
                raise InputError(
                    f"the atoms did not relax to {fmax:g} eV/A in {max_steps} steps at strain component {column + 1}, "
                    f"largest force {np.abs(strained.get_forces()).max():.3g} eV/A; check that the crystal is stable"
                )
            stresses.append(strained.get_stress())
        matrix[:, column] = (stresses[0] - stresses[1]) / (2 * strain)
    return matrix


def cubic_constants(atoms, calculator, strain=4e-3, atom_energy=0.0):
    """a0, cohesive energy, C11, C12 and C44 of a cubic crystal.

    Parameters
    ----------
    atoms : ase.Atoms
        Conventional cubic cell of one element.
    calculator : ase.calculators.calculator.Calculator
    strain : float
        As in `elastic_matrix`.
    atom_energy : float
        Energy of an isolated atom, eV.

    Returns
    -------
    CubicConstants
    """
    crystal = atoms.copy()
    a0 = lattice_constant(crystal, calculator)
    crystal.set_cell(np.eye(3) * a0, scale_atoms=True)
    crystal.calc = calculator
    energy = crystal.get_potential_energy() / len(crystal)
    c = elastic_matrix(crystal, calculator, strain) / GPa
    frozen = elastic_matrix(crystal, calculator, strain, relax=False) / GPa
    off_diagonal = [c[i, j] for i in range(3) for j in range(3) if i != j]
    return CubicConstants(
        a0=float(a0),
        cohesive_energy=float(atom_energy - energy),
        c11=float(np.diag(c)[:3].mean()),
        c12=float(np.mean(off_diagonal)),
        c44=float(np.diag(c)[3:].mean()),
        c44_unrelaxed=float(np.diag(frozen)[3:].mean()),
    )
