"""Small models and structures for the tests of the evaluator."""

import ase
import numpy as np
import reference as ref
from scipy.spatial.transform import Rotation

from soapgap.model import Model, PairTerm, SoapTerm
from soapgap.neighbours.arrays import neighbour_arrays
from soapgap.radial.bases import make_basis
from soapgap.radial.table import radial_table

#: A cell much smaller than the cutoffs used here, without any symmetry.
TRICLINIC = np.array([[3.1, 0.2, 0.1], [0.9, 3.4, -0.3], [-0.5, 0.7, 2.9]])
#: No distance comes this near to a place where the cutoff function's second derivative jumps (Angstrom).
CLEARANCE = 0.008


def structures(species, seed=0, breaks=()):
    """One random structure of each kind, with atoms neither on top of one another nor at a distance in `breaks`.

    Parameters
    ----------
    species : sequence of str
        Elements to use, all of them in every structure.
    seed : int
    breaks : sequence of float
        Distances to keep clear of (Angstrom).

    Returns
    -------
    dict of str to ase.Atoms
    """
    kinds = {"tiny": (3, TRICLINIC, (True, True, True)),
             "triclinic": (5, 1.5 * TRICLINIC, (True, True, True)),
             "slab": (4, 1.3 * TRICLINIC, (True, True, False)),
             "chain": (3, 1.1 * TRICLINIC, (False, False, True)),
             "molecule": (5, 1.4 * TRICLINIC, (False, False, False))}
    return {name: _structure(species, n, cell, pbc, np.random.default_rng((seed, index)), breaks)
            for index, (name, (n, cell, pbc)) in enumerate(kinds.items())}


def _structure(species, n, cell, pbc, rng, breaks):
    for _ in range(20000):
        positions = rng.random((n, 3)) @ cell
        near = ref.neighbours(positions, cell, pbc, max(breaks, default=1.8) + 0.1)
        distances = np.array([np.linalg.norm(vector) for row in near for _, vector in row])
        if distances.size and distances.min() < 1.5:
            continue
        if all(np.abs(distances - place).min(initial=np.inf) > CLEARANCE for place in breaks):
            symbols = [species[i % len(species)] for i in range(n)]
            return ase.Atoms(symbols, positions, cell=cell if any(pbc) else None, pbc=pbc)
    raise RuntimeError("no structure found that keeps clear of the given distances")


def soap_term(centre, neighbours, n_max=4, l_max=3, cutoff=4.0, zeta=4.0, delta=1.0, n_sparse=6, seed=0,
              normalise=True, radial_basis="gto", central_weight=1.0, **basis):
    """A soap term with environments of random structures as sparse points and random weights."""
    rng = np.random.default_rng((seed, n_max, l_max))
    basis = make_basis(radial_basis, n_max=n_max, l_max=l_max, cutoff=cutoff, central_weight=central_weight,
                       **{"atom_sigma": 0.5, "cutoff_transition_width": 1.0, **basis})
    centre_values = np.array([basis.centre if symbol == centre else np.zeros(n_max) for symbol in neighbours])
    points = []
    for _ in range(n_sparse):
        environment = [(neighbours[k % len(neighbours)], vector) for k, vector in
                       enumerate(rng.normal(size=(8, 3)) * cutoff / 2.5) if np.linalg.norm(vector) < cutoff]
        points.append(ref.features(environment, ref.exact_radial(basis), neighbours, n_max, l_max, centre_values,
                                   normalise))
    table = basis.table()
    weights = rng.normal(size=(1, n_sparse))
    n_features = (l_max + 1) * len(neighbours) * n_max * (len(neighbours) * n_max + 1) // 2
    return SoapTerm(centre, list(neighbours), n_max, l_max, cutoff, zeta, delta, table, centre_values,
                    np.reshape(points, (n_sparse, n_features)), weights, normalise, basis.parameters)


def pair_term(species, cutoff=3.5, width=1.0, depth=0.3, exponent=2.0):
    """V(r) = depth exp(-exponent (r - 2)) f_c(r) from 0.8 Angstrom on."""

    def function(r, lo, hi):
        u, k = 0.5 * np.pi * (cutoff - r) / width, 0.5 * np.pi / width
        f = [np.ones_like(r), 0.0 * r, 0.0 * r]
        if lo >= cutoff - width:
            f = [np.sin(u) ** 2, -k * np.sin(2 * u), 2 * k**2 * np.cos(2 * u)]
        g = depth * np.exp(-exponent * (r - 2.0))
        return np.array([f[0] * g, (f[1] - exponent * f[0]) * g,
                         (f[2] - 2 * exponent * f[1] + exponent**2 * f[0]) * g])[:, :, None]

    return PairTerm(tuple(species), cutoff, radial_table(function, [0.8, cutoff - width, cutoff]),
                    {"kind": "distance_2b", "cutoff": cutoff, "cutoff_transition_width": width})


def model(*terms, e0=None):
    """A model of some terms; its species are theirs, e0 zero unless given."""
    species = []
    for term in terms:
        names = [term.centre, *term.neighbours] if isinstance(term, SoapTerm) else term.species
        species += [name for name in dict.fromkeys(names) if name not in species]
    return Model(species, e0 or dict.fromkeys(species, 0.0), list(terms))


def breaks(*terms):
    """Distances at which some cutoff function's second derivative jumps."""
    return sorted({stop for term in terms for _, stop, _ in term.table.segments})


def run(evaluator, atoms):
    """Energies, forces and virial of a structure."""
    arrays = neighbour_arrays(atoms, evaluator.cutoff, evaluator.species)
    energies, gradients = evaluator.evaluate(arrays)
    return energies, *evaluator.forces_and_virial(arrays, gradients)


def energy(evaluator, atoms):
    """Total energy alone."""
    return evaluator.evaluate(neighbour_arrays(atoms, evaluator.cutoff, evaluator.species), gradients=False)[0].sum()


def moved(atoms, positions, cell=None):
    """The same atoms at other places, and in another cell."""
    out = atoms.copy()
    if cell is not None:
        out.set_cell(cell)
    out.positions = positions
    return out


def equivalents(atoms, energies, forces, virial):
    """Structures that are the same but for a rotation, a reflection, a translation, lattice vectors, the order of their atoms,
    or a repetition; each with what energies, forces and virial must then be."""
    for turn in [*Rotation.random(2, random_state=1).as_matrix(), -np.eye(3), np.diag([1.0, 1.0, -1.0])]:
        yield (moved(atoms, atoms.positions @ turn.T, atoms.cell.array @ turn.T),
               (energies, forces @ turn.T, turn @ virial @ turn.T))
    rng = np.random.default_rng(2)
    images = rng.integers(-3, 4, size=(len(atoms), 3)) * atoms.pbc
    yield moved(atoms, atoms.positions + rng.normal(size=3) * 20), (energies, forces, virial)
    yield moved(atoms, atoms.positions + images @ atoms.cell.array), (energies, forces, virial)
    order = rng.permutation(len(atoms))
    yield atoms[order], (energies[order], forces[order], virial)
    if atoms.pbc.any():
        repeats = np.where(atoms.pbc, [2, 3, 1], 1)
        n = int(repeats.prod())
        yield atoms.repeat(repeats), (np.tile(energies, n), np.tile(forces, (n, 1)), n * virial)


def reference_energies(potential, atoms):
    """The slow reference's energies of all atoms for a whole model."""
    place = list(atoms.symbols), atoms.positions, atoms.cell.array, atoms.pbc
    total = np.array([potential.e0[symbol] for symbol in atoms.symbols])
    for term in potential.terms:
        if isinstance(term, SoapTerm):
            total += ref.soap_energies(term, ref.table_radial(term.table), *place)
        else:
            total += ref.pair_energies(term, *place)
    return total
