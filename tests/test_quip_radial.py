"""QUIP's POLY and GTO radial bases and the decay of the neighbour density, against quippy and from their definitions."""

import math

import numpy as np
import pytest
from test_quip_compression import (
    CUTOFF,
    POSITIONS,
    SIGMA,
    SPECIES,
    THREE_ELEMENTS,
    WIDTH,
    coefficients,
    parameters_of,
    power_spectrum,
    quip_descriptors,
    relative_error,
)

from soapgap.errors import InputError
from soapgap.quip.compression import read_coupling
from soapgap.quip.radial import decay, gto_fit, poly_fit
from soapgap.radial.bases import Y_00, equispaced_basis
from soapgap.radial.cutoff import cutoff_function
from soapgap.radial.smearing import smeared_gaussian


def decay_of(options):
    """D(r), a function of a float, from the keywords of a descriptor string."""
    given = parameters_of(options)
    m, r0, rho = int(given.get("cutoff_dexp", 0)), float(given.get("cutoff_scale", 1)), float(given.get("cutoff_rate", 1))
    return lambda r: decay(r, m, r0, rho)[0, 0]


def radial_functions(basis, n_max, l_max, options):
    """r -> R_nl(r), (l_max + 1, n_max), and the centre's coefficients with Y_00 and central_weight."""
    given = parameters_of(options)
    weight = float(given.get("central_weight", 1))
    factor = decay_of(options)
    if basis == "EQUISPACED_GAUSS":
        equispaced = equispaced_basis(n_max, l_max, CUTOFF, SIGMA, WIDTH, weight)
        return lambda r: factor(r) * equispaced.radial(r)[0, 0].reshape(l_max + 1, n_max), equispaced.centre
    exponent = float(given.get("basis_error_exponent", 10))
    if basis == "POLY":
        fit = poly_fit(n_max, CUTOFF, SIGMA, exponent)
    else:
        fit = gto_fit(n_max, l_max, CUTOFF, SIGMA, exponent)

    def radial(r):
        h = smeared_gaussian(np.array([r]), fit.radii, SIGMA, l_max)[0]  # (l, 1, q); M is (q, n) or (l, q, n)
        return factor(r) * cutoff_function(r, CUTOFF, WIDTH)[0] * np.matmul(h, fit.matrix)[:, 0]

    return radial, weight * Y_00 * fit.centre


def error_against_quippy(basis, n_max, l_max, options="", numbers=THREE_ELEMENTS, species=SPECIES):
    radial, centre = radial_functions(basis, n_max, l_max, options)
    coupling = read_coupling(parameters_of(options), n_max, species)
    c = coefficients(numbers, species, radial, centre, n_max, l_max)
    got = np.array([power_spectrum(one, coupling, l_max) for one in c])
    return relative_error(got, quip_descriptors(numbers, species, n_max, l_max, f"radial_basis={basis} {options}"))


# ---- POLY and GTO -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("options", ["", "central_weight=0.3", "basis_error_exponent=6", "nu_R=1", "Z_map={8, 1 22}",
                                     "cutoff_dexp=2 cutoff_scale=1.7 cutoff_rate=0.6"])
@pytest.mark.parametrize("n_max", [1, 2, 4])
@pytest.mark.parametrize("basis", ["POLY", "GTO"])
def test_bases_against_quippy(basis, n_max, options):
    assert error_against_quippy(basis, n_max, 3, options) < 1e-12


# Here the rounding of the overlap matrix decides, in QUIP too. Measured 2e-10, 7e-8 (2e-6 with other cutoffs), 1e-14, 2e-12
# and 1e-10; the last bits depend on the processor.
@pytest.mark.parametrize(("basis", "n_max", "bound"), [("POLY", 6, 1e-8), ("POLY", 8, 1e-5), ("GTO", 6, 1e-12),
                                                       ("GTO", 8, 1e-10), ("GTO", 10, 1e-8)])
def test_larger_bases_against_quippy(basis, n_max, bound):
    assert error_against_quippy(basis, n_max, 6, numbers=(14,) * 5, species=(0,)) < bound


def integrate(function, stop, n_panels):
    node, weight = np.polynomial.legendre.leggauss(24)
    half = stop / (2 * n_panels)
    x = (half * (2 * np.arange(n_panels)[:, None] + 1 + node)).ravel()
    return np.tensordot(np.tile(half * weight, n_panels), function(x), axes=1)


@pytest.mark.parametrize(("basis", "l"), [("POLY", 0), ("GTO", 0), ("GTO", 3)])
def test_matrix_is_the_least_squares_fit(basis, l):
    """The fit of a combination of the orthonormal functions is that combination; the overlap is integrated here."""
    n_max, end = 4, CUTOFF + SIGMA * math.sqrt(20 * math.log(10))

    def primitives(x):
        if basis == "POLY":
            return np.stack([(1 - x / end) ** (n + 2) for n in range(1, n_max + 1)], axis=1)
        reach = np.arange(1, n_max + 1) * end / n_max
        return x[:, None]**l * (0.001 / reach**l) ** ((x[:, None] / reach) ** 2)

    fit = poly_fit(n_max, CUTOFF, SIGMA) if basis == "POLY" else gto_fit(n_max, l, CUTOFF, SIGMA)
    matrix = fit.matrix if basis == "POLY" else fit.matrix[l]
    np.testing.assert_allclose(fit.radii, np.arange(12) * end / 12, rtol=1e-15)
    overlap = integrate(lambda x: np.einsum("xn,xm->xnm", f := primitives(x), f) * x[:, None, None]**2, end, 8)
    orthonormal = np.linalg.solve(np.linalg.cholesky(overlap), primitives(fit.radii).T).T
    np.testing.assert_allclose(matrix.T @ orthonormal, np.eye(n_max), rtol=0, atol=1e-10)
    projector = orthonormal @ matrix.T  # the fit is orthogonal on the grid
    np.testing.assert_allclose(projector, projector.T, rtol=0, atol=1e-10)
    gaussian = np.exp(-0.5 * (fit.radii / SIGMA) ** 2)
    if l == 0:
        np.testing.assert_allclose(fit.centre, np.linalg.lstsq(orthonormal, gaussian, rcond=None)[0], rtol=0, atol=1e-10)


@pytest.mark.parametrize(("arguments", "message"), [
    (dict(n_max=0), "n_max is 0, expected a whole number from 1 to 32"),
    (dict(n_max=2.5), "n_max is 2.5"),
    (dict(cutoff=0.0), "cutoff is 0.0, expected a positive number"),
    (dict(atom_sigma=math.nan), "atom_sigma is nan"),
    (dict(basis_error_exponent=-1.0), "basis_error_exponent is -1.0"),
    (dict(n_max=28), "28 functions overlap too much"),
])
@pytest.mark.parametrize("basis", ["POLY", "GTO"])
def test_bases_refuse(basis, arguments, message):
    arguments = dict(n_max=4, cutoff=4.0, atom_sigma=0.5) | arguments
    with pytest.raises(InputError, match=f"radial_basis {basis}: {message}"):
        poly_fit(**arguments) if basis == "POLY" else gto_fit(l_max=2, **arguments)


def test_gto_refuses_growing_functions_and_l_max():
    with pytest.raises(InputError, match="does not decay"):
        gto_fit(8, 20, 3.0, 0.3)
    with pytest.raises(InputError, match="l_max is -1"):
        gto_fit(4, -1, 4.0, 0.5)


# ---- decay --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("options", [
    "cutoff_dexp=0 cutoff_scale=2.0 cutoff_rate=0.5", "cutoff_dexp=1 cutoff_scale=1.5 cutoff_rate=0.5",
    "cutoff_dexp=2", "cutoff_dexp=3 cutoff_scale=2.5 cutoff_rate=0", "cutoff_dexp=5 cutoff_scale=3.0 cutoff_rate=2.0",
    "cutoff_dexp=1 cutoff_rate=0 central_weight=0.0", "cutoff_dexp=4 cutoff_scale=0.5 cutoff_rate=1 central_weight=2.0",
])
def test_decay_against_quippy(options):
    assert error_against_quippy("EQUISPACED_GAUSS", 4, 3, options) < 1e-13


@pytest.mark.parametrize(("m", "r0", "rho"), [(1, 2.0, 0.0), (3, 1.5, 0.0), (1, 1.5, 0.5), (2, 1.0, 1.0), (5, 2.5, 3.0),
                                              (12, 2.0, 0.01)])
def test_decay_derivatives(m, r0, rho):
    r = np.random.default_rng(1).uniform(0.7, 6.0, 60)
    value, first, second = decay(r, m, r0, rho)
    scale = (1 + m / r) ** 2 * np.abs(value)

    def slope(order, step):
        return sum(c * (decay(r + k * step, m, r0, rho)[order] - decay(r - k * step, m, r0, rho)[order])
                   for k, c in ((1, 45 / 60), (2, -9 / 60), (3, 1 / 60))) / step

    for order, exact in ((0, first), (1, second)):
        assert min(np.abs((slope(order, step) - exact) / scale).max() for step in (4e-3, 1e-3, 2.5e-4)) < 1e-9
    assert np.abs(second).max() > 1e-3


def test_decay_values():
    np.testing.assert_allclose(decay([1.0, 3.0], 2, 1.5, 0.5)[0], [0.5 / (0.5 + 4 / 9), 0.5 / 4.5], rtol=1e-15)
    np.testing.assert_allclose(decay([1.0, 3.0], 2, 1.5, 0.0)[0], [2.25, 0.25], rtol=1e-15)
    np.testing.assert_array_equal(decay([0.0, 3.0], 0, 1.5, 0.0), [[1, 1], [0, 0], [0, 0]])


@pytest.mark.parametrize(("m", "expected"), [(1, (1, -1 / (2.0 * 0.5), 2 / (2.0 * 0.5) ** 2)), (2, (1, 0, -2 / (0.5 * 2.0**2))),
                                             (3, (1, 0, 0)), (7, (1, 0, 0))])
def test_decay_at_zero(m, expected):
    np.testing.assert_allclose(decay(0.0, m, 2.0, 0.5)[:, 0], expected, rtol=1e-15)
    np.testing.assert_allclose(decay(1e-9, m, 2.0, 0.5)[:, 0], expected, rtol=0, atol=1e-7)
    np.testing.assert_array_equal(decay(0.0, m, 2.0, 0.0)[:, 0], [math.inf, -math.inf, math.inf])


def test_decay_does_not_overflow():
    far = decay([1e5], 80, 1.0, 0.5)
    np.testing.assert_array_equal(far, 0.0)
    near = decay([1.0, np.nextafter(1.0, 2.0)], 9, 1.0, 0.5)  # the two ways of evaluation meet at r0
    np.testing.assert_allclose(near[:, 0], near[:, 1], rtol=1e-13)


@pytest.mark.parametrize(("arguments", "message"), [
    ((1.0, -1, 1.0, 1.0), "cutoff_dexp is -1"), ((1.0, 1.5, 1.0, 1.0), "cutoff_dexp is 1.5"),
    ((1.0, 1, 0.0, 1.0), "cutoff_scale is 0.0"), ((1.0, 1, math.inf, 1.0), "cutoff_scale is inf"),
    ((1.0, 1, 1.0, -0.1), "cutoff_rate is -0.1"), (([1.0, -0.5], 1, 1.0, 1.0), "the smallest distance is -0.5"),
])
def test_decay_refuses(arguments, message):
    with pytest.raises(InputError, match=message):
        decay(*arguments)


def test_structure_has_pairs_in_the_transition():
    distances = np.linalg.norm(POSITIONS[:, None] - POSITIONS, axis=2)
    assert ((distances > CUTOFF - WIDTH) & (distances < CUTOFF)).any()
    assert (distances > CUTOFF).any()
