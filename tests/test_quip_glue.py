"""QUIP's Glue potential as piecewise polynomials: the formulas, the pieces, and quippy as an independent program."""

import itertools

import ase
import numpy as np
import pytest

from soapgap.errors import InputError
from soapgap.quip.document import Document, GlueParams, GlueTable, GlueType
from soapgap.quip.glue import PiecewiseCubic, density, embedding, pair
from soapgap.quip.writer import write_document

DENSITY = GlueTable((1.5, 2.0, 2.5, 3.5), (1.0, 0.5, 0.25, 0.05), (-0.5, 0.1))
EMBEDDING = GlueTable((0.0, 0.5, 1.0, 2.0), (0.0, -1.0, -1.3, -1.2), (None, None))
PAIR = GlueTable((1.0, 2.0, 2.5, 3.0), (5.0, 1.0, 0.2, 0.1))


def glue(spline):
    """Two elements, one with a splined density; clamped and natural ends; values that do not vanish at the last knots."""
    types = (GlueType(14, DENSITY, EMBEDDING, spline),
             GlueType(8, GlueTable((1.2, 2.0, 2.7, 3.1), (0.7, 0.4, 0.15, 0.05), (None, 0.1)),
                      GlueTable((0.1, 0.5, 1.0, 1.5), (0.0, -0.6, -1.0, -1.2), (-2.0, None)), not spline))
    return GlueParams("", types, {(14, 14): PAIR, (8, 14): GlueTable((1.0, 1.5, 2.5, 3.7), (5.0, 1.1, 0.2, -0.1), (None, None)),
                                  (8, 8): GlueTable((1.3, 3.3), (2.0, 0.3), (-4.0, None))})


def energy_and_forces(part, atoms):
    """The sum of the module's docstring, over the pairs of a cluster."""
    types = {t.atomic_number: t for t in part.types}
    z, n = atoms.numbers, len(atoms)
    n_of, u_of = ({key: make(t) for key, t in types.items()} for make in (density, embedding))
    v_of = {key: pair(table) for key, table in part.pairs.items()}
    rho, energy, forces = np.zeros(n), 0.0, np.zeros((n, 3))
    pairs = [(i, j) for i, j in itertools.permutations(range(n), 2) if z[i] in types and z[j] in types]
    for i, j in pairs:
        rho[i] += n_of[z[j]].evaluate(atoms.get_distance(i, j))[0, 0]
    u = np.array([u_of[key].evaluate(rho[i])[:2, 0] if key in types else (0.0, 0.0) for i, key in enumerate(z)])
    for i, j in pairs:
        d = atoms.get_distance(i, j, vector=True)
        r = np.linalg.norm(d)
        v = v_of[tuple(sorted((z[i], z[j])))].evaluate(r)[:, 0]
        energy += 0.5 * v[0]
        slope = 0.5 * v[1] + u[i, 1] * n_of[z[j]].evaluate(r)[1, 0]
        forces[i] += slope * d / r
        forces[j] -= slope * d / r
    return energy + u[:, 0].sum(), forces


def test_density_is_the_least_squares_cubic():
    r = np.array([0.7, 2.2, 3.4, 3.5, 4.0])
    x, y = np.array(DENSITY.x), np.array(DENSITY.y)
    p = np.linalg.lstsq(((x[-1] - x) ** 3)[:, None], y, rcond=None)[0][0]
    d = np.clip(x[-1] - r, 0.0, None)
    curve = density(GlueType(14, DENSITY, EMBEDDING))
    assert curve.breaks.tolist() == [3.5]
    np.testing.assert_allclose(curve.evaluate(r), [p * d**3, -3 * p * d**2, 6 * p * d], rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("table", [PAIR, EMBEDDING, GlueTable((1.0, 3.0), (2.0, 0.5), (None, -1.0))])
def test_spline_goes_through_the_knots_with_two_continuous_derivatives(table):
    curve = pair(table)
    x = np.array(table.x)
    assert curve.breaks.tolist() == x.tolist()
    np.testing.assert_allclose([curve.piece(b, a, b)[0, 0] for a, b in zip(x, x[1:])], table.y[1:], atol=1e-14)
    np.testing.assert_allclose(curve.evaluate(x[:-1])[0], table.y[:-1], atol=1e-14)
    for a, b, c in zip(x, x[1:], x[2:]):
        np.testing.assert_allclose(curve.piece(b, a, b), curve.piece(b, b, c), atol=1e-12)
    first, last = curve.piece(x[0], x[0], x[1])[:, 0], curve.piece(x[-1], x[-2], x[-1])[:, 0]
    for end, slope in zip((first, last), table.slopes):
        assert abs(end[2] if slope is None else end[1] - slope) < 1e-13


def test_below_the_first_knot_a_straight_line_and_nothing_from_the_last():
    element = GlueType(14, DENSITY, EMBEDDING, spline=True)
    for curve, table in ((pair(PAIR), PAIR), (density(element), DENSITY)):
        value, slope, curvature = curve.evaluate([table.x[0] - 0.5, table.x[0] - 1e-9])
        np.testing.assert_allclose(value, table.y[0] - table.slopes[0] * np.array([0.5, 1e-9]), rtol=1e-14)
        assert slope.tolist() == [table.slopes[0]] * 2
        assert curvature.tolist() == [0.0, 0.0]
        assert (curve.evaluate([table.x[-1], table.x[-1] + 1.0]) == 0.0).all()
        assert curve.evaluate(np.nextafter(table.x[-1], 0.0))[0, 0] == pytest.approx(table.y[-1], abs=1e-13)


def test_embedding_is_straight_on_both_sides():
    curve = embedding(GlueType(14, DENSITY, EMBEDDING))
    low, high = curve.piece([0.0], 0.0, 0.5)[:, 0], curve.piece([2.0], 1.0, 2.0)[:, 0]
    np.testing.assert_allclose(curve.evaluate([-3.0, 5.0])[0], [low[0] - 3 * low[1], high[0] + 3 * high[1]], rtol=1e-14)
    assert curve.piece([2.0], 2.0, np.inf)[1, 0] == pytest.approx(high[1])
    assert curve.evaluate(2.0)[2, 0] == 0.0


def test_derivatives_are_those_of_the_value():
    curve, h = pair(PAIR), 1e-5
    for lo, hi in ((-np.inf, 1.0), (1.0, 2.0), (2.0, 2.5), (2.5, 3.0), (3.0, np.inf)):
        x = np.array([0.8, 1.7, 2.2, 2.8, 3.3])
        minus, middle, plus = (curve.piece(x + s, lo, hi) for s in (-h, 0.0, h))
        np.testing.assert_allclose((plus[:2] - minus[:2]) / (2 * h), middle[1:], atol=1e-8)


def test_pieces_continue_past_their_ends():
    curve = PiecewiseCubic([1.0], [0.0, 1.0], [[1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 3.0, 1.0]])
    assert curve.evaluate([1.0, 2.0])[0].tolist() == [0.0, 4.0]
    assert curve.piece([1.0, 2.0], -1.0, 1.0).tolist() == [[3.0, 5.0], [2.0, 2.0], [0.0, 0.0]]
    for lo, hi in ((0.5, 1.5), (1.0, 1.0), (1.0, 0.5), (0.0, np.nan)):
        with pytest.raises(InputError, match="expected lo < hi"):
            curve.piece([1.0], lo, hi)


@pytest.mark.parametrize(("arguments", "match"), [
    (((1.0,), (1.0,)), "two or more"),
    (((1.0, 2.0), (1.0,)), "1 values"),
    (((1.0, 2.0, 2.0), (1.0, 0.5, 0.0)), "2 and 2"),
    (((2.0, 1.0), (1.0, 0.5)), "ascending"),
    (((1.0, np.inf), (1.0, 0.5)), "finite"),
    (((1.0, 2.0), (1.0, 0.5), (np.nan, 0.0)), "finite"),
    (((1.0, 2.0), (1.0, 0.5), (0.0,)), "end slopes"),
])
def test_bad_tables_are_refused(arguments, match):
    with pytest.raises(InputError, match=match):
        GlueTable(*arguments)


def test_bad_potentials_are_refused():
    one = GlueType(14, DENSITY, EMBEDDING)
    for types, pairs in (((), {}), ((one, one), {}), ((one,), {(8, 14): PAIR}), ((one,), {(14, 8): PAIR})):
        with pytest.raises(InputError, match="atomic numbers"):
            GlueParams("", types, pairs)


@pytest.mark.parametrize("spline", [False, True])
def test_energies_and_forces_equal_quippy_s(tmp_path, spline):
    potential = pytest.importorskip("quippy.potential").Potential
    path = tmp_path / f"glue_{spline}.xml"
    write_document(path, Document("", [glue(spline)]))
    calculator = potential("IP Glue", param_filename=str(path))
    largest = 0.0
    for formula in ("Si2", "SiO", "O2", "Si2O", "SiO2", "SiOC"):
        for x in np.linspace(0.4, 4.2, 39):  # from below all first knots to beyond all last ones
            positions = [[0, 0, 0], [x, 0, 0], [0.3, 1.7, 0.2]][:len(ase.Atoms(formula))]
            atoms = ase.Atoms(formula, positions, cell=[30, 30, 30], pbc=True)
            energy, forces = energy_and_forces(glue(spline), atoms)
            atoms.calc = calculator
            np.testing.assert_allclose(energy, atoms.get_potential_energy(), rtol=0, atol=1e-13)
            np.testing.assert_allclose(forces, atoms.get_forces(), rtol=0, atol=1e-13)
            largest = max(largest, np.abs(forces).max())
    assert largest > 1.0
