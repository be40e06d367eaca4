"""Radial bases, their tables and the cutoff function."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import gamma, hyp1f1, ive

import soapgap.radial.cutoff
from soapgap.errors import InputError
from soapgap.radial.bases import gto_basis, make_basis
from soapgap.radial.cutoff import cutoff_function
from soapgap.radial.gto import gto_functions
from soapgap.radial.smearing import scaled_bessel
from soapgap.radial.table import RadialTable, radial_table

CASES = {
    "small": dict(n_max=3, l_max=2, cutoff=4.0, atom_sigma=0.5, cutoff_transition_width=0.5),
    "usual": dict(n_max=10, l_max=12, cutoff=5.0, atom_sigma=0.5, cutoff_transition_width=0.5),
    "sharp": dict(n_max=12, l_max=6, cutoff=5.0, atom_sigma=0.2, cutoff_transition_width=1.0),
    "broad": dict(n_max=8, l_max=6, cutoff=4.0, atom_sigma=1.0, cutoff_transition_width=4.0),
    "septic": dict(n_max=8, l_max=6, cutoff=5.0, atom_sigma=0.5, cutoff_transition_width=1.0, cutoff_function="septic"),
    "large": dict(n_max=16, l_max=14, cutoff=10.0, atom_sigma=0.4, cutoff_transition_width=0.7),
}
BASES = [(name, case) for name in ("gto", "equispaced") for case in CASES]


@pytest.fixture(scope="module")
def made():
    """Every basis and its table, made once."""
    return {(name, case): (basis := make_basis(name, **CASES[case]), basis.table()) for name, case in BASES}


def integrate(function, stop, n_panels):
    """Gauss-Legendre on equal panels of [0, stop]; function: (n,) -> (n, ...)."""
    node, weight = np.polynomial.legendre.leggauss(24)
    half = stop / (2 * n_panels)
    x = (half * (2 * np.arange(n_panels)[:, None] + 1 + node)).ravel()
    return np.tensordot(np.tile(half * weight, n_panels), function(x), axes=1)


# ---- cutoff function ----------------------------------------------------------------------------------------------

def test_cutoff_function_values():
    r = np.array([0.0, 3.0, 3.5, 3.75, 4.0, 5.0])
    f, f1, f2 = cutoff_function(r, 4.0, 1.0)
    np.testing.assert_allclose(f, [1, 1, 0.5, 0.5 * (1 + math.cos(0.75 * math.pi)), 0, 0], rtol=0, atol=1e-15)
    assert f[-2] == f[-1] == 0.0
    assert f[0] == f[1] == 1.0
    assert f1[-2] == f2[-2] == f1[1] == f2[1] == 0.0
    np.testing.assert_allclose(f1[2], -math.pi / 2, rtol=1e-15)


def test_septic_cutoff_function_has_three_continuous_derivatives():
    r = np.array([0.0, 3.0, 3.5, 4.0, 5.0])
    f, f1, f2 = cutoff_function(r, 4.0, 1.0, "septic")
    np.testing.assert_allclose(f, [1, 1, 0.5, 0, 0], rtol=0, atol=1e-15)
    np.testing.assert_allclose(f1, [0, 0, -35 / 16, 0, 0], rtol=0, atol=1e-15)
    np.testing.assert_allclose(f2, 0, rtol=0, atol=1e-15)
    for end in (3.0, 4.0):  # the curve itself: the second derivative leaves zero quadratically, the third continuously
        near = end + np.array([-1e-3, 1e-3]) * (1 if end == 3.0 else -1)
        assert np.abs(cutoff_function(near, 4.0, 1.0, "septic")[2]).max() < 4.3e-4
        assert np.abs(cutoff_function(near, 4.0, 1.0)[2]).max() > 4.9  # the cosine jumps


@pytest.mark.parametrize("shape", ["cosine", "septic"])
def test_cutoff_function_derivatives(shape):
    def cutoff_function(r, cutoff, width):
        return soapgap.radial.cutoff.cutoff_function(r, cutoff, width, shape)

    r = np.random.default_rng(1).uniform(3.02, 3.98, 50)
    f, f1, f2 = cutoff_function(r, 4.0, 1.0)
    best = np.inf
    for step in (4e-3, 1e-3, 2.5e-4):
        first = sum(c * (cutoff_function(r + k * step, 4.0, 1.0)[0] - cutoff_function(r - k * step, 4.0, 1.0)[0])
                    for k, c in ((1, 8 / 12), (2, -1 / 12))) / step
        second = sum(c * (cutoff_function(r + k * step, 4.0, 1.0)[1] - cutoff_function(r - k * step, 4.0, 1.0)[1])
                     for k, c in ((1, 8 / 12), (2, -1 / 12))) / step
        best = min(best, max(np.abs(first - f1).max(), np.abs(second - f2).max()))
    assert best < 1e-10
    assert np.abs(f2).max() > 1


@pytest.mark.parametrize(("cutoff", "width"), [(4.0, 0.0), (4.0, -1.0), (4.0, 4.1), (math.nan, 0.5), (4.0, math.nan)])
def test_cutoff_function_refuses(cutoff, width):
    with pytest.raises(InputError, match="0 < width <= cutoff"):
        cutoff_function([1.0], cutoff, width)


# ---- Bessel functions ---------------------------------------------------------------------------------------------

def test_scaled_bessel_against_closed_forms():
    t = np.concatenate([[1e-8, 1e-3], np.logspace(-2, 4, 200)])
    e = np.exp(-2 * t)
    got = scaled_bessel(t, 16)
    assert got.shape == (17, 202)
    assert np.isfinite(got).all()
    assert (got > 0).all()
    np.testing.assert_allclose(got[0], -np.expm1(-2 * t) / (2 * t), rtol=1e-15)
    large = t > 1
    one = ((1 + e) - (1 - e) / t) / (2 * t)
    np.testing.assert_allclose(got[1, large], one[large], rtol=2e-15)
    # scipy's own error reaches 3e-14 here
    np.testing.assert_allclose(got, [ive(k + 0.5, t) * np.sqrt(np.pi / (2 * t)) for k in range(17)], rtol=1e-12)


def test_scaled_bessel_series_near_zero():
    t = np.array([0.0, 1e-6, 1e-2, 0.3])
    got = scaled_bessel(t, 8)
    for order in range(9):
        odd = math.prod(range(1, 2 * order + 2, 2))
        terms = [(t**2 / 2) ** k / math.factorial(k) / math.prod(range(2 * order + 3, 2 * order + 2 * k + 2, 2))
                 for k in range(12)]
        np.testing.assert_allclose(got[order], np.exp(-t) * t**order / odd * sum(terms), rtol=3e-15)


# ---- Gaussian-type functions --------------------------------------------------------------------------------------

@pytest.mark.parametrize(("n_max", "cutoff"), [(1, 3.0), (2, 5.0), (6, 4.0), (12, 6.0), (16, 10.0), (20, 5.0)])
def test_gto_functions_are_orthonormal(n_max, cutoff):
    stop = 9.5 * cutoff / math.sqrt(min(n_max, 9)) + cutoff
    gram = integrate(lambda x: np.einsum("xn,xm->xnm", f := gto_functions(x, n_max, cutoff), f) * x[:, None, None]**2,
                     stop, math.ceil(stop * n_max / cutoff / 2))
    np.testing.assert_allclose(gram, np.eye(n_max), rtol=0, atol=1e-13)


def double_precision_gto(n_max, cutoff):
    """x -> R_n(x), (n_x, n_max), orthonormalised with eigenvectors in double precision: for a small n_max."""
    n = np.arange(n_max)
    sigma = cutoff * np.maximum(np.sqrt(n), 1) / n_max
    a, b = 0.5 * (n[:, None] + n + 3), 0.5 * (1 / sigma[:, None] ** 2 + 1 / sigma**2)
    raw = gamma(a) / (2 * b**a)
    norm = 1 / np.sqrt(np.diag(raw))
    eigenvalues, vectors = np.linalg.eigh(raw * norm[:, None] * norm)
    lowdin = vectors @ np.diag(eigenvalues**-0.5) @ vectors.T * norm[:, None]
    return lambda x: (x[:, None] ** n * np.exp(-(x[:, None] ** 2) / (2 * sigma**2))) @ lowdin, lowdin, sigma


def bessel_i(order, t):
    """exp(-t) i_l(t) from scipy, for t > 0."""
    return ive(order + 0.5, t) * np.sqrt(np.pi / (2 * t))


def test_gto_functions_are_lowdin_of_the_primitives():
    x = np.linspace(0, 8, 41)
    # what remains are the eigenvectors in double precision; the functions reach 5
    np.testing.assert_allclose(gto_functions(x, 5, 4.0), double_precision_gto(5, 4.0)[0](x), rtol=0, atol=1e-13)


@pytest.mark.parametrize("distance", [1e-3, 0.4, 1.7, 4.4])
def test_gto_coefficient_against_adaptive_quadrature(distance):
    sigma, functions = 0.5, double_precision_gto(6, 5.0)[0]
    got = gto_basis(6, 12, 5.0, sigma, 0.5).radial([distance])[0, 0].reshape(13, 6)
    for l, n in ((0, 0), (0, 5), (1, 4), (5, 3), (12, 5)):
        def integrand(x, l=l, n=n):
            x = np.array([x])
            return (x**2 * functions(x)[:, n] * np.exp(-((distance - x) ** 2) / (2 * sigma**2))
                    * bessel_i(l, distance * x / sigma**2))[0]

        value = quad(integrand, max(1e-9, distance - 4.5), distance + 4.5, epsabs=1e-14, epsrel=1e-13, limit=100)[0]
        assert abs(got[l, n] - 4 * math.pi * (math.pi * sigma**2) ** -0.75 * value) < 1e-13


def test_gto_coefficient_of_a_large_basis_against_fine_quadrature():
    n_max, cutoff, sigma = 16, 10.0, 0.2
    basis = gto_basis(n_max, 14, cutoff, sigma, 0.5)
    r = np.array([0.01, 0.5, 3.3, 9.4])

    def integrand(x):
        t = x[:, None] * r / sigma**2
        kernel = np.array([bessel_i(l, t) for l in (0, 3, 14)]) * np.exp(-((x[:, None] - r) ** 2) / (2 * sigma**2))
        return np.einsum("lxr,xn->xrln", kernel, gto_functions(x, n_max, cutoff) * x[:, None] ** 2)

    expected = 4 * math.pi * (math.pi * sigma**2) ** -0.75 * integrate(integrand, 12.0, 60)
    got = basis.radial(r)[0].reshape(len(r), 15, n_max)[:, [0, 3, 14]]
    # scipy's Bessel function carries 3e-14
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13)
    assert np.abs(expected).max() > 1


@pytest.mark.parametrize("sigma", [0.3, 0.5, 1.0])
def test_gto_coefficient_against_closed_form(sigma):
    """The 1F1 expression, for a basis small enough that double precision suffices for it."""
    n_max, l_max, cutoff = 4, 5, 4.0
    basis = gto_basis(n_max, l_max, cutoff, sigma, 0.5)
    n, (_, lowdin, widths) = np.arange(n_max), double_precision_gto(n_max, cutoff)
    r = np.linspace(0.05, 3.5, 60)
    got = basis.radial(r)[0].reshape(len(r), l_max + 1, n_max)
    c, d = 0.5 / sigma**2, 0.5 / widths**2
    for l in range(l_max + 1):
        order = 0.5 * (n + l + 3)
        z = (c * r[:, None]) ** 2 / (c + d)
        primitive = ((math.pi / sigma**2) ** 0.75 * np.exp(-c * r**2) * (c * r) ** l)[:, None] * (
            gamma(order) / gamma(l + 1.5) * (c + d) ** -order) * hyp1f1(order, l + 1.5, z)
        # the remaining difference is that of 1F1 and of the eigenvectors in double precision
        np.testing.assert_allclose(got[:, l], primitive @ lowdin, rtol=0, atol=3e-13)


# ---- both bases ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("name", "case"), BASES)
def test_derivatives_against_eighth_order_differences(made, name, case):
    basis = made[name, case][0]
    width = basis.parameters["cutoff_transition_width"]
    rng = np.random.default_rng(3)
    lo, inner, hi = 0.2, basis.cutoff - width, basis.cutoff
    pieces = [(inner, hi)] if inner <= lo else [(lo, inner), (inner, hi)]
    step = 0.02 * min(1.0, basis.parameters["atom_sigma"] / 0.5)
    weights = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}
    for lo, hi in pieces:
        r = rng.uniform(max(lo, 0.2) + 4 * step, hi - 4 * step, 40)
        errors = []
        for h in (step, step / 2, step / 4):
            difference = sum(w * (basis.radial(r + k * h) - basis.radial(r - k * h)) for k, w in weights.items()) / h
            exact = basis.radial(r)
            errors.append([np.abs(difference[k] - exact[k + 1]).max() / np.abs(exact[k + 1]).max() for k in (0, 1)])
        assert np.abs(exact[1]).max() > 1e-3
        assert np.min(errors, axis=0).max() < 5e-12, errors


@pytest.mark.parametrize(("name", "case"), BASES)
def test_behaviour_at_the_origin(made, name, case):
    """R_l ~ r^l: values, slopes and curvatures at r = 0 that do not vanish belong to l = 0, 1 and 0, 2."""
    basis = made[name, case][0]
    value, slope, curvature = basis.radial([0.0]).reshape(3, basis.l_max + 1, basis.n_max)
    np.testing.assert_array_equal(value[1:], 0.0)
    np.testing.assert_array_equal(np.delete(slope, 1, axis=0), 0.0)
    np.testing.assert_array_equal(np.delete(curvature, [0, 2], axis=0), 0.0)
    assert np.abs(value[0]).max() > 1e-3
    assert np.abs(slope[1]).max() > 1e-5
    if name == "gto":
        np.testing.assert_allclose(basis.centre, value[0] / math.sqrt(4 * math.pi), rtol=0, atol=1e-15)


@pytest.mark.parametrize(("name", "case"), BASES)
def test_table_bounds(made, name, case):
    basis, table = made[name, case]
    r = np.random.default_rng(99).uniform(0.0, basis.cutoff, 3000)
    value, slope = table.evaluate(r)
    exact = basis.radial(r)
    largest = np.abs(exact[0]).max()
    assert np.isfinite(value).all()
    assert largest > 1e-3
    assert np.abs(value - exact[0]).max() <= 1e-11 * largest
    assert np.abs(slope - exact[1]).max() <= 1e-9 * largest


@pytest.mark.parametrize(("name", "case"), BASES)
def test_table_is_zero_beyond_the_cutoff_and_reaches_it_smoothly(made, name, case):
    basis, table = made[name, case]
    beyond = np.array([basis.cutoff, np.nextafter(basis.cutoff, 99), basis.cutoff + 1])
    for array in (*table.evaluate(beyond), *basis.radial(beyond)):
        np.testing.assert_array_equal(array, 0.0)
    np.testing.assert_array_equal(table.values[-1, 0], 0.0)
    np.testing.assert_array_equal(table.values[-1, 1], 0.0)
    value, slope = table.evaluate([basis.cutoff - 1e-7])
    assert 0 < np.abs(value).max() < 1e-9
    assert 0 < np.abs(slope).max() < 1e-3


@pytest.mark.parametrize("name", ["gto", "equispaced"])
def test_table_has_one_sided_knots_at_the_transition(made, name):
    basis, table = made[name, "usual"]
    (start, inner, n), (same, end, _) = table.segments
    assert start == 0.0
    assert inner == same == 4.5
    assert end == basis.cutoff
    left, right = table.values[n], table.values[n + 1]
    np.testing.assert_allclose(left[:2], right[:2], rtol=0, atol=1e-14)
    jump = -0.5 * (math.pi / 0.5) ** 2 * left[0]
    np.testing.assert_allclose(right[2] - left[2], jump, rtol=0, atol=1e-13 * np.abs(jump).max())
    assert np.abs(jump).max() > 1e-2
    inside, end = np.nextafter(5.0, 0) - 1e-3, 0.5 * (math.pi / 0.5) ** 2
    smeared = basis.radial([inside])[0, 0] / cutoff_function(inside, 5.0, 0.5)[0]
    np.testing.assert_allclose(table.values[-1, 2], end * smeared, rtol=0, atol=0.01 * end * np.abs(smeared).max())


def test_table_is_continuous_in_value_slope_and_curvature(made):
    _, table = made["gto", "usual"]
    start, stop, n = table.segments[0]
    h = (stop - start) / n
    knots = start + h * np.arange(1, n)
    tiny = 1e-6 * h
    left, right, at = table.evaluate(knots - tiny), table.evaluate(knots + tiny), table.values[1:n]
    for side, offset in ((left, -tiny), (right, tiny)):
        scale = np.abs(at).max(axis=(0, 2))
        np.testing.assert_allclose(side[0], at[:, 0] + offset * at[:, 1], rtol=0, atol=1e-13 * scale[0])
        np.testing.assert_allclose(side[1], at[:, 1] + offset * at[:, 2], rtol=0, atol=1e-12 * scale[1])
    step = 1e-3 * h
    for sign in (-1, 1):  # curvature by one-sided differences of the slope, fourth order
        slopes = [table.evaluate(knots + sign * k * step)[1] for k in range(1, 6)]
        curvature = sum(w * s for w, s in zip((-77 / 12, 107 / 6, -39 / 2, 61 / 6, -25 / 12), slopes)) * sign / step
        np.testing.assert_allclose(curvature, at[:, 2], rtol=0, atol=1e-7 * np.abs(at[:, 2]).max())


def test_table_slope_is_the_derivative_of_its_value(made):
    _, table = made["equispaced", "usual"]
    r = np.random.default_rng(8).uniform(0.1, 4.95, 200)
    errors = []
    for h in (1e-3, 5e-4, 2e-4):
        difference = sum(w * (table.evaluate(r + k * h)[0] - table.evaluate(r - k * h)[0])
                         for k, w in ((1, 8 / 12), (2, -1 / 12))) / h
        errors.append(np.abs(difference - table.evaluate(r)[1]).max())
    assert min(errors) < 1e-9 * np.abs(table.evaluate(r)[1]).max()


def test_quintic_polynomials_are_reproduced():
    coefficients = np.random.default_rng(2).normal(size=(6, 3))

    def function(r, lo, hi):
        return np.array([np.polynomial.polynomial.polyval(r, np.polynomial.polynomial.polyder(coefficients, d)).T
                         for d in range(3)])

    table = radial_table(function, [0.5, 1.0, 2.5])
    assert [n for _, _, n in table.segments] == [16, 16]
    assert table.n_functions == 3
    assert table.cutoff == 2.5
    r = np.linspace(0.5, 2.49, 57)
    value, slope = table.evaluate(r)
    exact = function(r, 0, 0)
    np.testing.assert_allclose(value, exact[0], rtol=0, atol=1e-13 * np.abs(exact[0]).max())
    np.testing.assert_allclose(slope, exact[1], rtol=0, atol=1e-12 * np.abs(exact[1]).max())
    value, slope = table.evaluate([0.2])
    at = function(np.array([0.5]), 0, 0)[:, 0]
    np.testing.assert_allclose(value[0], at[0] - 0.3 * at[1], rtol=1e-13)
    np.testing.assert_allclose(slope[0], at[1], rtol=1e-13)


def test_tables_are_reproducible():
    one, two = (gto_basis(4, 3, 4.0, 0.5, 0.5).table() for _ in range(2))
    assert one.segments == two.segments
    assert one.values.tobytes() == two.values.tobytes()


def test_table_bounds_follow_the_stated_scale():
    def coulomb(r, lo, hi):
        return np.array([1 / r, -1 / r**2, 2 / r**3])[:, :, None]

    by_largest, by_one = radial_table(coulomb, [0.1, 3.0]), radial_table(coulomb, [0.1, 3.0], scale=0.1)
    assert by_one.segments[0][2] > by_largest.segments[0][2]
    r = np.random.default_rng(5).uniform(0.1, 3.0, 5000)
    value, slope = by_one.evaluate(r)
    assert np.abs(value[:, 0] - 1 / r).max() < 1e-12
    assert np.abs(slope[:, 0] + 1 / r**2).max() < 1e-10


@pytest.mark.parametrize(("function", "breaks", "message"), [
    (lambda r, lo, hi: np.array([np.abs(r - 1.03), np.sign(r - 1.03), 0 * r])[:, :, None], [0, 2], "not smooth"),
    (lambda r, lo, hi: np.array([np.sin(r), np.sin(r), np.sin(r)])[:, :, None], [0, 2], "check its derivatives"),
    (lambda r, lo, hi: np.array([r, r, np.full_like(r, np.nan)])[:, :, None], [0, 2], "not finite"),
    (lambda r, lo, hi: np.zeros((2, len(r), 1)), [0, 2], r"\(3, \d+, n_functions\)"),
    (lambda r, lo, hi: np.zeros((3, len(r), 1)), [0, 0, 2], "ascending"),
    (lambda r, lo, hi: np.zeros((3, len(r), 1)), [1], "two or more"),
])
def test_table_builder_refuses(function, breaks, message):
    with pytest.raises(InputError, match=message):
        radial_table(function, breaks)


@pytest.mark.parametrize(("segments", "shape"), [
    ([], (0, 3, 1)), ([(0, 1, 4)], (4, 3, 1)), ([(0, 1, 4)], (5, 2, 1)), ([(0, 1, 4), (1.5, 2, 2)], (8, 3, 1)),
    ([(1, 1, 4)], (5, 3, 1)), ([(0, 1, 0)], (1, 3, 1)),
])
def test_table_refuses_inconsistent_arrays(segments, shape):
    with pytest.raises(InputError, match="radial table"):
        RadialTable(segments, np.zeros(shape))


@pytest.mark.parametrize(("name", "change", "message"), [
    ("gto", dict(n_max=0), "n_max is 0, expected a whole number from 1 to 32"),
    ("gto", dict(n_max=2.5), "n_max is 2.5, expected a whole"),
    ("gto", dict(l_max=-1), "l_max is -1"), ("gto", dict(cutoff=math.inf), "cutoff is inf, expected a finite"),
    ("gto", dict(atom_sigma=0.0), "atom_sigma is 0, expected a positive"), ("gto", dict(cutoff="4"), "cutoff is '4'"),
    ("equispaced", dict(cutoff_transition_width=4.5), "0 < width <= cutoff"),
    ("equispaced", dict(central_weight=-1), "central_weight"), ("equispaced", dict(n_max=30), "overlap too much"),
    ("gto", dict(basis_error_exponent=10.0), "gto_basis"), ("poly", {}, "expected one of 'gto', 'equispaced'"),
])
def test_make_basis_refuses(name, change, message):
    with pytest.raises(InputError, match=message):
        make_basis(name, **{**CASES["small"], "atom_sigma": 0.9, **change})


def test_parameters_make_the_basis_again():
    for name in ("gto", "equispaced"):
        first = make_basis(name, **CASES["small"], central_weight=0.5)
        again = make_basis(**first.parameters)
        assert again.parameters == first.parameters
        np.testing.assert_array_equal(again.matrix, first.matrix)
        full = make_basis(name, **CASES["small"])
        np.testing.assert_allclose(2 * first.centre, full.centre, rtol=1e-15)
