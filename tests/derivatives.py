"""Forces, virials and rows against finite differences of energies: the best step of a sweep must be within a bound."""

import numpy as np
import reference as ref
from evaluator_tools import energy, moved, run

from soapgap.neighbours.arrays import neighbour_arrays

STEPS, STRAINS = (2e-3, 1e-3, 5e-4), (4e-4, 2e-4)
#: Rows of the strain block, and the element of the strain that each belongs to.
VOIGT = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]


def assert_same(got, expected, bound=1e-12):
    """Within `bound` of the largest value of each array, and of 1 where all are small; none is zero."""
    for one, two in zip(got, expected, strict=True):
        assert np.abs(two).max() > 1e-3
        np.testing.assert_allclose(one, two, rtol=0, atol=bound * max(1.0, np.abs(two).max()))


def assert_best(errors, scale, relative):
    """The best step of a sweep is within the bound; everything is finite and there was something to compare."""
    assert np.isfinite([*errors, scale]).all()
    assert scale > 1e-4
    assert min(errors) < relative * scale, (errors, scale)


def assert_derivatives(evaluator, atoms, relative=2e-10, steps=STEPS, strains=STRAINS, least=1.0):
    """Forces and virial are those of the energy; forces add up to zero, the virial is symmetric.

    `least`: the rounding of a virial smaller than this is that of a virial of this size.
    """
    _, forces, virial = run(evaluator, atoms)
    rounding = 1e-12 * max(least, np.abs(virial).max())

    def at(positions, cell=None):
        return energy(evaluator, moved(atoms, positions, cell))

    errors = [np.abs(ref.forces(at, atoms.positions, step) - forces).max() for step in steps]
    assert_best(errors, np.abs(forces).max(), relative)
    assert np.abs(forces.sum(axis=0)).max() < 1e-12 * max(1, np.abs(forces).max())
    np.testing.assert_allclose(virial, virial.T, rtol=0, atol=rounding)
    if atoms.pbc.any():
        errors = [np.abs(ref.virial(at, atoms.positions, atoms.cell.array, step) - virial).max() for step in strains]
        assert_best(errors, np.abs(virial).max(), relative)
    else:  # W = sum r_i F_i
        np.testing.assert_allclose(virial, atoms.positions.T @ forces, rtol=0, atol=rounding)


def assert_row_derivatives(evaluator, index, atoms, strains=STRAINS):
    """The rows of forces and strains of a term are the derivatives of its row of energies; they are returned."""
    def rows(atoms, **what):
        return evaluator.rows(index, neighbour_arrays(atoms, evaluator.cutoff, evaluator.species), **what)[:3]

    def at(positions, cell=None):
        return rows(moved(atoms, positions, cell), gradients=False, strain=False)[0]

    row, gradients, strain = rows(atoms)
    assert np.abs(gradients).max() > 1e-3
    errors = [np.abs(ref.difference(at, atoms.positions, step).reshape(-1, len(row)) - gradients).max() for step in STEPS]
    assert_best(errors, np.abs(gradients).max(), 2e-10)
    if atoms.pbc.any():
        slopes = [-ref.virial(at, atoms.positions, atoms.cell.array, step) for step in strains]
        errors = [np.abs([slope[place] for place in VOIGT] - strain).max() for slope in slopes]
        assert_best(errors, np.abs(strain).max(), 2e-10)
    return gradients, strain


def assert_slopes(at, grid, relative):
    """`at(x)`, an energy and the force along x, at the points of a grid; returns the forces there."""
    along, errors = np.array([at(x)[1] for x in grid]), []
    for step in STEPS:
        slopes = [(8 * (at(x + step)[0] - at(x - step)[0]) - (at(x + 2 * step)[0] - at(x - 2 * step)[0])) / (12 * step)
                  for x in grid]
        errors.append(np.abs(along + slopes).max())
    assert_best(errors, np.abs(along).max(), relative)
    return along
