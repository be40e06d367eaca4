"""A slow, plain SOAP in numpy, written from the formulas and sharing nothing with the evaluator.

Conventions are those of cython/evaluator/soapgap.hpp: real Y_lm ordered l, then m = -l .. l; channels
I = species * n_max + n; features p_l,IJ with l slowest, then I, then J = 0 .. I. Radial functions come in as a
callable r -> (n_r, (l_max + 1) n_max), function index l n_max + n: `exact_radial` and `table_radial` make one.
"""

import itertools

import numpy as np
from scipy.special import sph_harm_y


def neighbours(positions, cell, pbc, cutoff):
    """Every image within the cutoff, found by trying all of them.

    Returns one list per atom of pairs (index of the neighbour, vector r_j - r_i).
    """
    positions, cell = np.asarray(positions, float), np.asarray(cell, float)
    ranges = [range(0, 1)] * 3
    if any(pbc):
        inverse = np.linalg.inv(cell)
        heights = 1.0 / np.linalg.norm(inverse, axis=0)
        spread = np.ptp(positions @ inverse, axis=0)
        ranges = [range(-n, n + 1) if periodic else range(0, 1)
                  for n, periodic in zip(np.ceil(cutoff / heights + spread).astype(int) + 1, pbc)]
    out = [[] for _ in positions]
    for shift in itertools.product(*ranges):
        vectors = positions + np.array(shift) @ cell - positions[:, None]
        near = np.linalg.norm(vectors, axis=2) < cutoff
        if not any(shift):
            np.fill_diagonal(near, False)
        for i, j in np.argwhere(near):
            out[i].append((int(j), vectors[i, j]))
    return out


def real_harmonics(vectors, l_max):
    """Real orthonormal Y_lm, (n, (l_max + 1)^2): Y_1 = sqrt(3/4 pi) (y, z, x), and so on without a sign (-1)^m."""
    vectors = np.asarray(vectors, float).reshape(-1, 3)
    x, y, z = vectors.T
    theta, phi = np.arctan2(np.hypot(x, y), z), np.arctan2(y, x)
    columns = []
    for l in range(l_max + 1):
        for m in range(-l, l + 1):
            value = sph_harm_y(l, abs(m), theta, phi)
            part = value.real if m >= 0 else value.imag
            columns.append(part if m == 0 else (-1) ** m * np.sqrt(2) * part)
    return np.array(columns).T


def exact_radial(basis):
    """Radial functions from a basis' formulas."""
    return lambda r: basis.radial(r)[0]


def table_radial(table):
    """Radial functions from a table."""
    return lambda r: table.evaluate(r)[0]


def coefficients(environment, radial, species, n_max, l_max, centre_values):
    """c_{lm,I}, ((l_max + 1)^2, len(species) n_max), of one centre.

    environment: pairs (species of the neighbour, vector); those not in `species` are not seen.
    centre_values: (len(species), n_max), added to the coefficients of l = 0.
    """
    c = np.zeros(((l_max + 1) ** 2, len(species) * n_max))
    c[0] = np.asarray(centre_values, float).ravel()
    angular = np.repeat(np.arange(l_max + 1), 2 * np.arange(l_max + 1) + 1)
    seen = [(species.index(symbol) * n_max, vector) for symbol, vector in environment if symbol in species]
    if seen:
        vectors = np.array([vector for _, vector in seen])
        r_nl = radial(np.linalg.norm(vectors, axis=1)).reshape(len(seen), l_max + 1, n_max)[:, angular]
        for (channel, _), term in zip(seen, r_nl * real_harmonics(vectors, l_max)[:, :, None]):
            c[:, channel:channel + n_max] += term
    return c


def power_spectrum(c):
    """p_l,IJ = (2l + 1)^(-1/2) f_IJ sum_m c_{lm,I} c_{lm,J}, J <= I; f_IJ = 1 for I = J, else sqrt 2."""
    l_max, n_channels = int(np.sqrt(len(c))) - 1, c.shape[1]
    p = []
    for l in range(l_max + 1):
        block = c[l * l:(l + 1) ** 2]
        for i in range(n_channels):
            for j in range(i + 1):
                p.append(block[:, i] @ block[:, j] / np.sqrt(2 * l + 1) * (1.0 if i == j else np.sqrt(2)))
    return np.array(p)


def normalised(p):
    """p / |p|, or zero where |p| is."""
    norm = np.linalg.norm(p)
    return p / norm if norm > 0 else np.zeros_like(p)


def to_quip_order(p, n_channels, l_max):
    """Reorder features for QUIP: I slowest, then J <= I, then l; and one last element, 0."""
    by_l = np.asarray(p).reshape(l_max + 1, n_channels * (n_channels + 1) // 2)
    return np.append(by_l.T.ravel(), 0.0)


def features(environment, radial, species, n_max, l_max, centre_values, normalise=True):
    """Features of one centre, as Evaluator.features gives them."""
    p = power_spectrum(coefficients(environment, radial, species, n_max, l_max, centre_values))
    return normalised(p) if normalise else p


def environments(symbols, positions, cell, pbc, cutoff):
    """One environment per atom: pairs (species of the neighbour, vector)."""
    return [[(symbols[j], vector) for j, vector in near] for near in neighbours(positions, cell, pbc, cutoff)]


def kernel_energy(x, sparse_points, weights, delta, zeta):
    """sum_s weights_s delta^2 (x . X_s)^zeta."""
    return float(np.sum(np.asarray(weights) * delta**2 * (np.asarray(sparse_points) @ x) ** zeta))


def soap_energies(term, radial, symbols, positions, cell, pbc):
    """Energy of every atom from one soap term; `term` has the fields of soapgap.model.SoapTerm.

    Features, and so the energy, of an environment with p = 0 are zero.
    """
    energies = np.zeros(len(symbols))
    for i, environment in enumerate(environments(symbols, positions, cell, pbc, term.cutoff)):
        if symbols[i] == term.centre:
            x = features(environment, radial, list(term.neighbours), term.n_max, term.l_max, term.centre_values,
                         term.normalise)
            energies[i] = kernel_energy(x, term.sparse_points, np.ravel(term.weights), term.delta, term.zeta)
    return energies


def pair_energies(term, symbols, positions, cell, pbc):
    """Energy of every atom from one pair term: the sum of V(r) over its neighbours of the matching species."""
    energies = np.zeros(len(symbols))
    for i, environment in enumerate(environments(symbols, positions, cell, pbc, term.cutoff)):
        for symbol, vector in environment:
            if sorted((symbols[i], symbol)) == sorted(term.species):
                energies[i] += term.table.evaluate(np.array([np.linalg.norm(vector)]))[0][0, 0]
    return energies


def difference(function, x, step):
    """Fourth-order central difference of function(x + s) over every element of x; function gives a number or array."""
    x = np.asarray(x, float)
    out = []
    for index in np.ndindex(x.shape):
        unit = np.zeros_like(x)
        unit[index] = step
        out.append((8 * (function(x + unit) - function(x - unit)) - (function(x + 2 * unit) - function(x - 2 * unit)))
                   / (12 * step))
    return np.array(out).reshape(x.shape + np.shape(out[0]))


def forces(energy, positions, step=1e-3):
    """-dE/dR by fourth-order differences; energy: positions -> E."""
    return -difference(energy, positions, step)


def virial(energy, positions, cell, step=1e-4):
    """W_ab = -dE/d(strain_ab) by fourth-order differences; energy: (positions, cell) -> E."""
    positions, cell = np.asarray(positions, float), np.asarray(cell, float)

    def strained(strain):
        # r_a -> r_a + sum_b strain_ab r_b, for rows: r (1 + strain)^T
        deform = np.eye(3) + strain.T
        return energy(positions @ deform, cell @ deform)

    return -difference(strained, np.zeros((3, 3)), step)
