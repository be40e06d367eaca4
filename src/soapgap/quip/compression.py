r"""Compressions of QUIP's `soap` descriptor: which mixtures of channels, and which of their products, it keeps.

The coefficients of the density around a centre are c^alpha_{nlm}, one set of n_max radial functions for each neighbour
species alpha. Taken together they form the plain channels I = alpha n_max + n, and the plain power spectrum is all
their products (Bartok, Kondor and Csanyi, Phys. Rev. B 87, 184115 (2013)), a number that grows as
(n_species n_max)^2. QUIP offers several ways of keeping fewer of them (Darby, Kermode and Csanyi, npj Comput. Mater.
8, 166 (2022), for `nu_R`, `nu_S` and the species maps; Darby et al., Phys. Rev. Lett. 131, 028001 (2023), for the
random mixing). All have one form, a `Coupling`: a linear map of the channels and a list of products. Indices count
from zero here.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from soapgap.errors import InputError

__all__ = ["Coupling", "random_normals", "read_coupling"]

MODULUS = 2**31 - 1
MULTIPLIER = 16807
DISCARDED_DRAWS = 100
# Element-wise coupling multiplies by a square root of two that was rounded to single precision.
SINGLE_SQRT_2 = float(np.float32(math.sqrt(2.0)))
TRUE_WORDS = ("t", "true", ".true.")
FALSE_WORDS = ("f", "false", ".false.")


@dataclass(frozen=True, eq=False)
class Coupling:
    r"""The mixing of the channels and the list of products that make up a power spectrum.

    With the mixed channels and the kept products p = (I, J)

        c'_{k,lm} = sum_{alpha,n} c^alpha_{nlm} mixing[alpha, n, k]
        x_{p,l}   = factors[p] (2l + 1)^(-1/2) sum_m c'_{I,lm} conj(c'_{J,lm}),    (I, J) = pairs[p],

    component p (l_max + 1) + l of the descriptor is x_{p,l}; then follow its normalisation and the last element.

    Attributes
    ----------
    mixing : ndarray, shape (n_species, n_max, n_mixed), or None
        None: nothing is mixed, the channels are the plain ones, I = alpha n_max + n.
    pairs : ndarray of int, shape (n_pairs, 2), or None
        None: the full lower triangle, for each I all J <= I, in this order.
    factors : ndarray, shape (n_pairs,), or None
        None, exactly when `pairs` is: 1 where I = J, else sqrt 2 (the product stands for both orders).
    """

    mixing: np.ndarray | None
    pairs: np.ndarray | None
    factors: np.ndarray | None


@dataclass(frozen=True)
class _Options:
    """The compression keywords of one descriptor string, checked."""

    nu_r: int
    nu_s: int
    r_mix: bool
    z_mix: bool
    sym_mix: bool
    full: bool
    diagonal: bool
    n_mix: int
    mix_shift: int
    groupings: tuple[tuple[tuple[int, ...], ...], ...]

    @property
    def mixes(self) -> bool:
        return self.r_mix or self.z_mix


def read_coupling(parameters: Mapping[str, str], n_max: int, species: tuple[int, ...]) -> Coupling:
    r"""The coupling that the parameters of a QUIP `soap` descriptor ask for.

    With the matrices W_1 (N x K_1) and W_2 (N x K_2), N = n_species n_max, of the two densities of a product:

    * `nu_R`, `nu_S` in {0, 1, 2}, the number of densities that keep their radial, their species index:
      W_j = B_j (x) A_j, A_j = identity(n_max) if nu_R >= j else a column of ones, B_j in the same way from nu_S;
      symmetric (W_1 = W_2) unless one of them is 1.
    * `Z_map`, groups of atomic numbers between commas: the species of a group are summed. A second grouping
      after a colon is that of the second density. `nu_S` is then without effect, as in QUIP.
    * `R_mix`, `Z_mix` with `K`: random weights of the radial functions, of the species or of both, from
      `random_normals` with the seeds Z_alpha + mix_shift + 200 j (only `R_mix`: n_max + mix_shift + 200 j). With both
      W_j[(alpha, n), k]; only `Z_mix` W_j[(alpha, n), k n_max + n]; only `R_mix` W_j[(alpha, n), alpha K + k], the same
      weights for every species; all others are zero. `sym_mix`: W_2 = W_1.
    * `coupling=F`: only the products of equal channels; only `Z_mix`: of equal k and all radial indices; only
      `R_mix`: of equal k and all species (with `sym_mix` once each, times sqrt 2 in single precision).
    * `diagonal_radial`: of the plain products those with equal radial index.

    Where W_1 = W_2, the mixed channels are their columns. Otherwise they are the columns of W_1 and then those columns
    of W_2 that are no column of W_1, and the products are all (I of W_1, J of W_2), J fastest, without sqrt 2. What turns
    out to compress nothing is returned as None.

    Parameters
    ----------
    parameters : mapping of str to str
        The key=value pairs of the descriptor string; other keys are not looked at.
    n_max : int
        Number of radial functions.
    species : tuple of int
        Atomic numbers of the neighbour species, in the order of `species_Z`; 0 is the wildcard.

    Returns
    -------
    Coupling

    Raises
    ------
    InputError
        If a value cannot be read or is out of range, or QUIP does not combine the keywords.
    """
    options = _read_options(parameters, species)
    first, second = _mixing_matrices(options, n_max, species)
    symmetric = second is None
    channels, of_second = (first, np.arange(first.shape[1])) if symmetric else _joined(first, second)
    if options.diagonal:
        pairs = _triangle(first.shape[1])
        pairs = pairs[pairs[:, 0] % n_max == pairs[:, 1] % n_max]
        factors = _factors(pairs, math.sqrt(2.0))
    elif options.full:
        pairs = _triangle(first.shape[1]) if symmetric else _rectangle(first.shape[1], second.shape[1])
        factors = _factors(pairs, math.sqrt(2.0) if symmetric else 1.0)
    else:
        pairs = _elementwise(options, n_max, len(species), first.shape[1], len(of_second))
        factors = _factors(pairs, SINGLE_SQRT_2 if symmetric else 1.0)
    pairs = np.column_stack([pairs[:, 0], of_second[pairs[:, 1]]])
    return _plainest(channels.reshape(len(species), n_max, -1), pairs, factors)


def random_normals(seed: int) -> Iterator[float]:
    """QUIP's normally distributed random numbers after seeding.

    The minimal standard generator i <- 16807 i mod (2^31 - 1) (Park and Miller, Commun. ACM 31, 1192 (1988)) starts
    from i = seed, and its first 100 numbers are discarded. From u = i / (2^31 - 1) follow pairs v = 2u - 1, w = 2u' - 1
    until s = v^2 + w^2 <= 1, and each such pair gives the number v sqrt(-2 ln s / s) (Marsaglia's polar method).

    Parameters
    ----------
    seed : int
        Not a multiple of 2^31 - 1, so that the generator does not stay at zero.

    Yields
    ------
    float

    Raises
    ------
    InputError
        If the seed is a multiple of 2^31 - 1.
    """
    if seed % MODULUS == 0:
        raise InputError(f"random mixing: the seed is {seed} (made from the atomic number or n_max, and mix_shift), expected "
                         f"a number that is not a multiple of {MODULUS}; take another mix_shift")
    draws = _uniforms(seed)
    for _ in range(DISCARDED_DRAWS):
        next(draws)
    while True:
        v, w = 2.0 * next(draws) - 1.0, 2.0 * next(draws) - 1.0
        s = v * v + w * w
        if s <= 1.0:
            yield v * math.sqrt(-2.0 * math.log(s) / s)


def _uniforms(seed):
    state = seed % MODULUS
    while True:
        state = MULTIPLIER * state % MODULUS
        yield state / MODULUS


# ---- keywords -----------------------------------------------------------------------------------------------------

def _read_options(parameters, species):
    options = _Options(
        nu_r=_whole(parameters, "nu_R", 2), nu_s=_whole(parameters, "nu_S", 2),
        r_mix=_logical(parameters, "R_mix", False), z_mix=_logical(parameters, "Z_mix", False),
        sym_mix=_logical(parameters, "sym_mix", False), full=_logical(parameters, "coupling", True),
        diagonal=_logical(parameters, "diagonal_radial", False), n_mix=_whole(parameters, "K", 0),
        mix_shift=_whole(parameters, "mix_shift", 0), groupings=_groupings(parameters.get("Z_map", ""), species))
    for name, value in (("nu_R", options.nu_r), ("nu_S", options.nu_s)):
        if not 0 <= value <= 2:
            raise InputError(f"soap descriptor: {name} is {value}, expected 0, 1 or 2")
    if options.mixes and options.n_mix < 1:
        raise InputError(f"soap descriptor: K is {options.n_mix}, expected the number of mixed channels, 1 or more, because "
                         "R_mix or Z_mix is true")
    nu = options.nu_r != 2 or options.nu_s != 2
    compressions = nu or options.mixes or options.groupings or not options.full or options.sym_mix
    for wrong, text in (
            (options.sym_mix and not options.mixes, "sym_mix without R_mix or Z_mix"),
            (options.mixes and nu, "R_mix or Z_mix together with nu_R or nu_S"),
            (options.mixes and options.groupings, "R_mix or Z_mix together with Z_map"),
            (options.groupings and options.nu_r != 2, "Z_map together with nu_R"),
            (options.diagonal and compressions, "diagonal_radial together with another compression")):
        if wrong:
            raise InputError(f"soap descriptor: got {text}, which QUIP does not combine; expected one kind of compression; "
                             "correct the descriptor string")
    return options


def _logical(parameters, name, default):
    text = parameters.get(name)
    if text is None:
        return default
    word = text.strip().lower()
    if word not in TRUE_WORDS + FALSE_WORDS:
        raise InputError(f"soap descriptor: {name} is {text!r}, expected T or F")
    return word in TRUE_WORDS


def _whole(parameters, name, default):
    text = parameters.get(name)
    try:
        return default if text is None else int(text)
    except ValueError:
        raise InputError(f"soap descriptor: {name} is {text!r}, expected a whole number") from None


def _groupings(text, species):
    """"8, 1 22 : 8 1 22" -> (((8,), (1, 22)), ((8, 1, 22),)); nothing for an empty text."""
    if not text.strip():
        return ()
    try:
        groupings = tuple(tuple(tuple(int(z) for z in group.split()) for group in part.split(","))
                          for part in text.split(":"))
    except ValueError:
        groupings = ((),)
    if len(groupings) > 2 or not all(group for grouping in groupings for group in grouping or [()]):
        raise InputError(f"soap descriptor: Z_map is {text!r}, expected groups of atomic numbers, with a comma between groups "
                         "and at most one colon between the groupings of the two densities, as in '8, 1 22 : 8 1 22'")
    unknown = sorted({z for grouping in groupings for group in grouping for z in group} - set(species))
    if unknown:
        raise InputError(f"soap descriptor: Z_map names {', '.join(map(str, unknown))}, expected atomic numbers of species_Z "
                         f"({', '.join(map(str, species))}); take the others out of Z_map")
    return groupings


# ---- mixing matrices ----------------------------------------------------------------------------------------------

def _mixing_matrices(options, n_max, species):
    """W_1 (N, K_1) and W_2 (N, K_2), or None for the second where it is the first."""
    if options.mixes:
        first = _random_mixing(options, n_max, species, 1)
        return first, None if options.sym_mix else _random_mixing(options, n_max, species, 2)
    radial = np.eye(n_max)
    if options.groupings:
        matrices = [np.kron(_membership(grouping, species), radial) for grouping in options.groupings]
        return matrices[0], matrices[1] if len(matrices) == 2 else None
    first, second = (np.kron(np.eye(len(species)) if options.nu_s >= j else np.ones((len(species), 1)),
                             radial if options.nu_r >= j else np.ones((n_max, 1))) for j in (1, 2))
    return first, second if 1 in (options.nu_r, options.nu_s) else None


def _membership(grouping, species):
    """(n_species, n_groups): 1 where the species is in the group."""
    return np.array([[float(z in group) for group in grouping] for z in species])


def _random_mixing(options, n_max, species, j):
    """W_j of R_mix and Z_mix, (N, K_j)."""
    n_mix, shift = options.n_mix, options.mix_shift + 200 * j
    if not options.z_mix:
        weights = _normals(n_max + shift, n_max, n_mix)
        return np.kron(np.eye(len(species)), weights)
    if options.r_mix:
        return np.concatenate([_normals(z + shift, n_max, n_mix) for z in species])
    return np.concatenate([np.kron(_normals(z + shift, 1, n_mix), np.eye(n_max)) for z in species])


def _normals(seed, n_rows, n_columns):
    """(n_rows, n_columns) random numbers, filled row by row."""
    numbers = random_normals(seed)
    return np.array([[next(numbers) for _ in range(n_columns)] for _ in range(n_rows)])


def _joined(first, second):
    """The columns of both without repetition, and where the columns of the second are among them."""
    known = {column.tobytes(): k for k, column in reversed(list(enumerate(first.T)))}
    columns, where = list(first.T), []
    for column in second.T:
        if column.tobytes() not in known:
            known[column.tobytes()] = len(columns)
            columns.append(column)
        where.append(known[column.tobytes()])
    return np.column_stack(columns), np.array(where)


# ---- products -----------------------------------------------------------------------------------------------------

def _triangle(n):
    """All (I, J) with J <= I, J fastest."""
    return np.column_stack(np.tril_indices(n))


def _rectangle(n_first, n_second):
    """All (I, J), J fastest."""
    return np.column_stack([index.ravel() for index in np.indices((n_first, n_second))])


def _factors(pairs, off_diagonal):
    return np.where(pairs[:, 0] == pairs[:, 1], 1.0, off_diagonal)


def _elementwise(options, n_max, n_species, n_first, n_second):
    """The products that coupling=F keeps, as (column of W_1, column of W_2)."""
    if options.r_mix == options.z_mix:
        if n_first != n_second:
            raise InputError(f"soap descriptor: coupling=F couples equal channels of the two densities, but the compression "
                             f"gives them {n_first} and {n_second} channels, expected equal numbers; leave coupling out, or "
                             "change nu_R, nu_S or Z_map")
        return np.column_stack([np.arange(n_first)] * 2)
    inner = _triangle if options.sym_mix else lambda n: _rectangle(n, n)
    if options.z_mix:
        return (n_max * np.arange(options.n_mix)[:, None, None] + inner(n_max)).reshape(-1, 2)
    return (options.n_mix * inner(n_species)[:, None] + np.arange(options.n_mix)[:, None]).reshape(-1, 2)


def _plainest(mixing, pairs, factors):
    """The coupling, with None for what is the identity or the full triangle."""
    n_mixed = mixing.shape[2]
    if n_mixed == mixing.shape[0] * mixing.shape[1] and np.array_equal(mixing.reshape(n_mixed, -1), np.eye(n_mixed)):
        mixing = None
    full = _triangle(n_mixed)
    if np.array_equal(pairs, full) and np.array_equal(factors, _factors(full, math.sqrt(2.0))):
        return Coupling(mixing, None, None)
    return Coupling(mixing, pairs, factors)
