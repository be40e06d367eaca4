"""Compressions of QUIP's soap descriptor, against quippy; the plain numpy descriptor here also serves test_quip_radial."""

import itertools
import math
import re

import numpy as np
import pytest
from ase import Atoms
from scipy.special import sph_harm_y

from soapgap.errors import InputError
from soapgap.quip.compression import random_normals, read_coupling
from soapgap.radial.bases import equispaced_basis

CUTOFF, WIDTH, SIGMA = 4.0, 0.5, 0.5
POSITIONS = np.array([(0, 0, 0), (2.3, 0.1, -0.2), (0.4, 2.5, 0.7), (-1.0, 1.0, -2.0), (-1.4, -0.6, 1.3)])
THREE_ELEMENTS = (8, 22, 8, 1, 22)
SPECIES = (8, 22, 1)


# ---- plain numpy and quippy ---------------------------------------------------------------------------------------

def parameters_of(options: str) -> dict[str, str]:
    """'K=2 Z_map={8, 1 22}' -> {"K": "2", "Z_map": "8, 1 22"}."""
    return {key: value.strip("{}") for key, value in re.findall(r"(\w+)=(\{[^}]*\}|\S+)", options)}


def coefficients(numbers, species, radial, centre, n_max, l_max):
    """c^alpha_{nlm} around every atom, (n_atoms, n_species, n_max, (l_max + 1)^2); radial: r -> R_nl, (l_max + 1, n_max).

    A neighbour goes to the last channel of its element; a wildcard sends every element to the first channel, except those
    that follow it in the list.
    """
    out = np.zeros((len(numbers), len(species), n_max, (l_max + 1) ** 2), dtype=complex)
    orders = [(l, m) for l in range(l_max + 1) for m in range(-l, l + 1)]
    for i, j in itertools.product(range(len(numbers)), repeat=2):
        matches = [alpha for alpha, z in enumerate(species) if z in (0, numbers[j])]
        if i == j:
            out[i, matches, :, 0] += centre
            continue
        x, y, z = POSITIONS[j] - POSITIONS[i]
        r = math.sqrt(x * x + y * y + z * z)
        if r < CUTOFF and matches:
            channel = matches[-1] if species[matches[-1]] != 0 else 0
            theta, phi = math.atan2(math.hypot(x, y), z), math.atan2(y, x)
            values = radial(r)
            for k, (l, m) in enumerate(orders):
                out[i, channel, :, k] += values[l] * sph_harm_y(l, m, theta, phi)
    return out


def power_spectrum(c, coupling, l_max):
    """The products of one centre in QUIP's order, not normalised, with the last element zero; c: (n_species, n_max, :)."""
    channels = c.reshape(-1, c.shape[2]) if coupling.mixing is None else np.einsum("anm,ank->km", c, coupling.mixing)
    pairs, factors = coupling.pairs, coupling.factors
    if pairs is None:
        pairs = [(i, j) for i in range(len(channels)) for j in range(i + 1)]
        factors = [1.0 if i == j else math.sqrt(2.0) for i, j in pairs]
    blocks = [slice(l * l, (l + 1) ** 2) for l in range(l_max + 1)]
    products = [factor * np.vdot(channels[j, block], channels[i, block]).real / math.sqrt(2 * l + 1)
                for (i, j), factor in zip(pairs, factors) for l, block in enumerate(blocks)]
    return np.array([*products, 0.0])


def quip_descriptors(numbers, species, n_max, l_max, options, normalise="F"):
    from quippy.descriptors import Descriptor

    listed = " ".join(map(str, species))
    text = (f"soap cutoff={CUTOFF} cutoff_transition_width={WIDTH} n_max={n_max} l_max={l_max} atom_sigma={SIGMA} "
            f"n_species={len(species)} species_Z={{{listed}}} central_reference_all_species=F normalise={normalise} {options}")
    atoms = Atoms(numbers=numbers, positions=POSITIONS[:len(numbers)], cell=[20.0] * 3, pbc=True)
    return np.asarray(Descriptor(text).calc(atoms)["data"])


def equispaced_coefficients(numbers, species, n_max, l_max, central_weight=1.0):
    basis = equispaced_basis(n_max, l_max, CUTOFF, SIGMA, WIDTH, central_weight)
    return coefficients(numbers, species, lambda r: basis.radial(r)[0, 0].reshape(l_max + 1, n_max), basis.centre, n_max, l_max)


def relative_error(got, expected):
    """The largest difference over the length of the vector, which is what it is after normalisation; (n_atoms, d) each."""
    assert got.shape == expected.shape
    return np.abs((got - expected) / np.linalg.norm(expected, axis=1)[:, None]).max()


def compare(options, numbers, species, n_max=3, l_max=2):
    coupling = read_coupling(parameters_of(options), n_max, species)
    got = np.array([power_spectrum(c, coupling, l_max) for c in equispaced_coefficients(numbers, species, n_max, l_max)])
    assert relative_error(got, quip_descriptors(numbers, species, n_max, l_max, options)) < 1e-13
    return coupling


# ---- against quippy -----------------------------------------------------------------------------------------------

MIXES = [f"R_mix={r} Z_mix={z} sym_mix={s} coupling={c} K=2 mix_shift=5"
         for r, z in ("TT", "FT", "TF") for s, c in itertools.product("TF", repeat=2)]
OPTIONS = [
    "", "diagonal_radial=T", "coupling=F", "coupling=false nu_S=0", "coupling=F nu_R=0", "coupling=F nu_R=0 nu_S=0",
    *[f"nu_R={r} nu_S={s}" for r, s in itertools.product(range(3), repeat=2)],
    "Z_map={8, 1 22}", "Z_map={8, 22}", "Z_map={22,8,1}", "Z_map={8, 8, 1 22}", "Z_map={8, 1 22} coupling=F",
    "Z_map={8, 1 22 : 8 1 22}", "Z_map={8,22,1 : 8,22,1}", "Z_map={8, 1 22 : 8 1, 22} coupling=F", "Z_map={8, 1 22} nu_S=0",
    *MIXES, "Z_mix=T K=2 mix_shift=-300",
]


@pytest.mark.parametrize("options", OPTIONS)
def test_three_species(options):
    compare(options, THREE_ELEMENTS, SPECIES)


@pytest.mark.parametrize("species", [(14,), (0,), (14, 8), (0, 14), (14, 0), (8, 0, 14)])
@pytest.mark.parametrize("options", ["", "nu_R=1", "nu_S=1", "nu_S=0", "diagonal_radial=T", "coupling=F", "Z_mix=T K=2",
                                     "R_mix=T K=4 sym_mix=T"])
def test_other_species(options, species):
    compare(options, (14, 8, 14, 22), species)


@pytest.mark.parametrize("options", ["nu_R=1", "coupling=F", "diagonal_radial=T", "Z_mix=T K=2 coupling=F"])
def test_one_radial_function(options):
    compare(options, THREE_ELEMENTS, SPECIES, n_max=1, l_max=3)


def test_normalised_with_covariance_sigma0():
    options = "Z_map={8, 1 22 : 8 1 22} covariance_sigma0=0.3 central_weight=0.4"
    coupling = read_coupling(parameters_of(options), 4, SPECIES)
    c = equispaced_coefficients(THREE_ELEMENTS, SPECIES, 4, 3, central_weight=0.4)
    got = np.array([power_spectrum(one, coupling, 3) for one in c])
    got /= np.linalg.norm(got, axis=1)[:, None]
    got[:, -1] = 0.3
    np.testing.assert_allclose(got, quip_descriptors(THREE_ELEMENTS, SPECIES, 4, 3, options, "T"), rtol=0, atol=1e-13)


# ---- the coupling itself ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("options", ["", "nu_R=2 nu_S=2", "Z_map={8,22,1}", "K=3 mix_shift=7", "coupling=TRUE Z_map={}",
                                     "R_mix=F Z_mix=.false. sym_mix=f delta=0.1"])
def test_nothing_compressed(options):
    coupling = read_coupling(parameters_of(options), 4, SPECIES)
    assert coupling.mixing is coupling.pairs is coupling.factors is None


def test_one_species_needs_no_species_compression():
    assert read_coupling({"nu_S": "0"}, 4, (14,)).mixing is None
    coupling = read_coupling({"nu_S": "1"}, 4, (14,))  # not symmetric for QUIP: all pairs, no sqrt 2
    assert coupling.mixing is None
    np.testing.assert_array_equal(coupling.pairs, list(itertools.product(range(4), repeat=2)))
    np.testing.assert_array_equal(coupling.factors, 1.0)


def test_nu_r_joins_the_columns_of_both_densities():
    coupling = read_coupling({"nu_R": "1"}, 2, SPECIES)
    assert coupling.mixing.shape == (3, 2, 9)
    flat = coupling.mixing.reshape(6, 9)
    np.testing.assert_array_equal(flat[:, :6], np.eye(6))
    np.testing.assert_array_equal(flat[:, 6:], np.kron(np.eye(3), np.ones((2, 1))))
    np.testing.assert_array_equal(coupling.pairs, list(itertools.product(range(6), range(6, 9))))
    np.testing.assert_array_equal(coupling.factors, 1.0)


def test_equal_columns_of_the_second_density_are_reused():
    coupling = read_coupling({"Z_map": "8, 1 22 : 1 22, 22 8"}, 1, SPECIES)
    np.testing.assert_array_equal(coupling.mixing[:, 0].T, [[1, 0, 0], [0, 1, 1], [1, 1, 0]])
    np.testing.assert_array_equal(coupling.pairs, [(0, 1), (0, 2), (1, 1), (1, 2)])


def test_elementwise_factor_is_single_precision():
    coupling = read_coupling(parameters_of("Z_mix=T sym_mix=T coupling=F K=1"), 2, SPECIES)
    np.testing.assert_array_equal(coupling.pairs, [(0, 0), (1, 0), (1, 1)])
    np.testing.assert_array_equal(coupling.factors, [1.0, np.float32(2) ** np.float32(0.5), 1.0])
    assert coupling.factors[1] != math.sqrt(2.0)


def test_diagonal_radial_pairs():
    coupling = read_coupling({"diagonal_radial": "T"}, 2, (8, 22))
    assert coupling.mixing is None
    np.testing.assert_array_equal(coupling.pairs, [(0, 0), (1, 1), (2, 0), (2, 2), (3, 1), (3, 3)])
    np.testing.assert_array_equal(coupling.factors, [1, 1, math.sqrt(2), 1, math.sqrt(2), 1])


def test_random_normals():
    normals = random_normals(201)
    np.testing.assert_allclose([next(normals) for _ in range(3)], [0.484085152560371, -1.34764033829141, -0.326825716936603],
                               rtol=0, atol=5e-15)
    many = np.array(list(itertools.islice(random_normals(7), 20000)))
    assert abs(many.mean()) < 4 / math.sqrt(20000)
    assert abs(many.std() - 1) < 4 / math.sqrt(40000)


@pytest.mark.parametrize(("options", "message"), [
    ("nu_R=3", "nu_R is 3, expected 0, 1 or 2"),
    ("nu_S=-1", "nu_S is -1, expected 0, 1 or 2"),
    ("nu_R=two", "nu_R is 'two', expected a whole number"),
    ("coupling=no", "coupling is 'no', expected T or F"),
    ("R_mix=T", "K is 0, expected the number of mixed channels"),
    ("sym_mix=T", "sym_mix without R_mix or Z_mix"),
    ("R_mix=T K=2 nu_R=1", "R_mix or Z_mix together with nu_R or nu_S"),
    ("Z_mix=T K=2 Z_map={8, 1 22}", "R_mix or Z_mix together with Z_map"),
    ("Z_map={8, 1 22} nu_R=0", "Z_map together with nu_R"),
    ("diagonal_radial=T nu_R=1", "diagonal_radial together with another compression"),
    ("diagonal_radial=T Z_map={8, 1 22}", "diagonal_radial together with another compression"),
    ("diagonal_radial=T coupling=F", "diagonal_radial together with another compression"),
    ("coupling=F nu_R=1", "9 and 3 channels, expected equal numbers"),
    ("coupling=F Z_map={8, 1 22 : 8 1 22}", "6 and 3 channels, expected equal numbers"),
    ("Z_map={8, 1 22 6}", r"Z_map names 6, expected atomic numbers of species_Z \(8, 22, 1\)"),
    ("Z_map={8,, 22}", "Z_map is '8,, 22', expected groups"),
    ("Z_map={8 : 22 : 1}", "at most one colon"),
    ("Z_map={8, O}", "Z_map is '8, O', expected groups"),
    ("Z_map={8 : }", "Z_map is '8 : ', expected groups"),
    ("Z_mix=T K=2 mix_shift=-208", "the seed is 0"),
])
def test_refuses(options, message):
    with pytest.raises(InputError, match=message):
        read_coupling(parameters_of(options), 3, SPECIES)
