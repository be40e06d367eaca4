"""Local energies, curvatures, sigmas of single frames: rows against finite differences and against gap_fit's linear system."""

from dataclasses import replace

import numpy as np
import pytest
from ase.data import atomic_numbers
from evaluator_tools import structures
from quip_oracle import descriptor_string, to_quip_order
from test_training_gap_fit import sparse_file
from training_tools import (
    ANGLE,
    DISTANCES,
    E0,
    PAIR,
    SOAP,
    configuration,
    gap_fit,
    three_body_coordinate,
    toy_frames,
    write_columns,
)

from soapgap.config import read_config
from soapgap.config.baseline import BaselineConfig, PairRadii
from soapgap.data.dataset import Structure, read_dataset
from soapgap.data.environments import neighbours_of, shortest_distances
from soapgap.data.noise import sigmas
from soapgap.kinds.distance_2b.kernel import PairKernel
from soapgap.kinds.kernel import rows_evaluator
from soapgap.kinds.soap.kernel import SoapKernel
from soapgap.learn.baseline.baseline import baseline_terms, baseline_values
from soapgap.learn.design import DesignMatrix, targets
from soapgap.learn.errors import predict
from soapgap.learn.plan import make_kernels, plan_kernels
from soapgap.model import Model
from soapgap.potential import Potential
from soapgap.radial.bases import make_basis
from soapgap.say import Reporter

SPECIES = ["C", "Si"]
TERMS = {"pair": PAIR, "soap": SOAP | {"radial_basis": "equispaced", "n_sparse": 12}, "angle": ANGLE | {"n_sparse": 9},
         "distances": DISTANCES | {"n_sparse": 9}}
SIGMA = [0.002, 0.05, 0.02, 0.7]


class System:
    """Data in a file, and all kernels of the given terms with sparse points from them.

    `rtol` is that of the radial tables of SOAP terms: what is compared to more digits than those of a model needs finer ones.
    """

    def __init__(self, folder, frames, terms, rtol=1e-11, **changes):
        write_columns(folder / "train.xyz", frames)
        data = {"energy_key": "energy", "forces_key": "forces"} | changes.pop("data", {})
        content = configuration(folder, terms=terms, data=data, default_sigma=SIGMA, baseline={"kind": "none"}, e0=E0)
        self.config, _, _ = read_config(content | changes)
        self.train = read_dataset(self.config.data.train, self.config.data)
        say, found = Reporter(quiet=True), self.train.structures
        shortest = shortest_distances(found, self.config.cutoff, SPECIES)
        plan = plan_kernels(self.config, SPECIES, shortest, found, say)
        self.kernels = [self._finer(kernel, rtol) for kernel in make_kernels(plan, 1, say)]
        self.evaluator = rows_evaluator(SPECIES, self.kernels, exact=True)
        self.design = DesignMatrix(self.kernels, SPECIES, self.config)

    def _finer(self, kernel, rtol):
        if not isinstance(kernel, SoapKernel) or rtol == 1e-11:
            return kernel
        (soap,) = [term for term in self.config.terms if term.kind == "soap"]
        basis = make_basis(soap.radial_basis, n_max=soap.n_max, l_max=soap.l_max, cutoff=soap.cutoff,
                           atom_sigma=soap.atom_sigma, cutoff_transition_width=soap.cutoff_transition_width)
        return replace(kernel, term=replace(kernel.term, table=basis.table(rtol)))

    def rows(self, structure):
        return self.design.rows(self.evaluator, structure, targets(structure, E0))


def labelled(n, seed):
    """Cells of silicon and carbon with labels that mean nothing: what is compared is linear in them."""
    rng = np.random.default_rng(seed)
    frames = []
    for atoms in toy_frames(n, seed=seed, species=("Si", "C")):
        atoms.calc = None
        virial = rng.normal(size=(3, 3))
        atoms.info = {"energy": rng.normal() - 14.0, "virial": (virial + virial.T).ravel(), "config_type": "default"}
        atoms.arrays["forces"] = rng.normal(size=(len(atoms), 3))
        frames.append(atoms)
    return frames


def with_local_energies(atoms, seed, name="local_energy"):
    """The same with energies of the atoms in the place of the energy and the virial."""
    del atoms.info["energy"], atoms.info["virial"]
    atoms.arrays[name] = np.random.default_rng(seed).normal(size=len(atoms))
    return atoms


def with_curvatures(atoms, n, seed):
    """The same with n curvatures along directions of any length."""
    rng = np.random.default_rng(seed)
    atoms.info["n_hessian"] = n
    for i in range(1, n + 1):
        atoms.info[f"hessian{i}"] = rng.normal()
        atoms.arrays[f"hessian{i}"] = rng.normal(size=(len(atoms), 3))
    return atoms


# ---- rows against differences of energy rows -------------------------------------------------------------------------

@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """Every kind of kernel, with data of every kind."""
    frames = [*labelled(2, 1), with_local_energies(*labelled(1, 3), 4), with_curvatures(*labelled(1, 5), 2, 6)]
    return System(tmp_path_factory.mktemp("system"), frames, list(TERMS.values()))


@pytest.mark.parametrize("name", ["tiny", "triclinic", "slab", "molecule"])
def test_local_energies_add_up_and_are_the_model_s(system, name):
    """Rows of the atoms: their sum is the energy row, and times the weights they are what the potential calls energies."""
    atoms = structures(SPECIES, seed=3, breaks=(3.0, 4.0))[name]
    structure = Structure(atoms, "frame", "default")
    neighbours = neighbours_of(structure, 4.0, SPECIES)
    rng = np.random.default_rng(0)
    terms, energies = [], np.zeros(len(atoms))
    for kernel in system.kernels:
        energy, _, _, local = kernel.rows(system.evaluator, neighbours, False, False, local=True)
        np.testing.assert_allclose(local.sum(axis=0), energy, rtol=0, atol=1e-13 * max(np.abs(energy).max(), 1e-3))
        weights = rng.standard_normal(kernel.n_sparse)
        energies += local @ weights
        terms += kernel.finished(weights)
    found = Potential(Model(SPECIES, dict.fromkeys(SPECIES, 0.0), terms)).compute(atoms).energies
    assert np.ptp(energies) > 1e-3
    np.testing.assert_allclose(energies, found, rtol=0, atol=1e-9 * np.abs(energies).max())


@pytest.mark.parametrize("name", ["tiny", "triclinic", "molecule"])
def test_curvature_rows_are_second_differences_of_energies(system, name):
    """With a small displacement, the rows of all kernels, those with cutoff weights too, are second derivatives."""
    atoms = structures(SPECIES, seed=3, breaks=(2.4, 3.0, 3.2, 4.0))[name]
    directions = np.random.default_rng(1).standard_normal((2, len(atoms), 3))
    directions /= np.linalg.norm(directions, axis=(1, 2))[:, None, None]
    structure = Structure(atoms, "frame", "default", {"curvature": np.zeros(2), "directions": directions})
    design = DesignMatrix(system.kernels, SPECIES, system.config.model_copy(update={"hessian_delta": 1e-4}))
    rows = design.rows(system.evaluator, structure, targets(structure, E0))[:, :-1] * SIGMA[3]

    def energy(direction, size):
        moved = atoms.copy()
        moved.positions += size * direction
        neighbours = neighbours_of(Structure(moved, "", ""), 4.0, SPECIES)
        return np.concatenate([k.rows(system.evaluator, neighbours, False, False)[0] for k in system.kernels])

    h = 2e-3
    for row, e in zip(rows, directions, strict=True):
        at = {m: energy(e, m * h) for m in (-2, -1, 0, 1, 2)}
        second = (-at[-2] + 16 * at[-1] - 30 * at[0] + 16 * at[1] - at[2]) / (12 * h * h)
        np.testing.assert_allclose(row, second, rtol=0, atol=2e-6 * np.abs(second).max())
        assert np.abs(second).max() > 0.1


def test_the_baseline_is_subtracted(system):
    """Local energies and curvatures: what is left to learn is the data minus the baseline's own (gap_fit adds the latter)."""
    radii = BaselineConfig(pairs={pair: PairRadii(outer=2.8) for pair in ("C-C", "C-Si", "Si-Si")})
    terms = baseline_terms(radii, SPECIES, {})
    found = system.train.structures[2:]
    plain = [targets(s, E0) for s in found]
    rest = [targets(s, E0, v) for s, v in zip(found, baseline_values(terms, SPECIES, found), strict=True)]
    alone = Potential(Model(SPECIES, dict.fromkeys(SPECIES, 0.0), terms))
    energies = alone.compute(found[0].atoms).energies
    assert np.abs(energies).max() > 0.1
    np.testing.assert_allclose(plain[0]["local_energy"] - rest[0]["local_energy"], energies, rtol=0, atol=1e-12)
    for i, e in enumerate(found[1].directions):
        h, values = 1e-3, []
        for m in (-1, 0, 1):
            moved = found[1].atoms.copy()
            moved.positions += m * h * e
            values.append(alone.compute(moved).energy)
        second = (values[0] - 2 * values[1] + values[2]) / h**2
        assert abs(second) > 1.0
        assert plain[1]["curvature"][i] - rest[1]["curvature"][i] == pytest.approx(second, rel=1e-3)
    np.testing.assert_array_equal(predict(alone.evaluator, found[1], 0.01)["curvature"],
                                  baseline_values(terms, SPECIES, found)[1].known["curvature"])


def test_rows_are_counted(system):
    for structure in system.train.structures:
        assert len(system.rows(structure)) == structure.n_rows
    assert [s.n_rows for s in system.train.structures] == [31, 31, 32, 33]
    assert system.train.counts()["local_energies"] == 8
    assert system.train.counts()["curvatures"] == 2


# ---- gap_fit's linear system -----------------------------------------------------------------------------------------

def coordinates(system, folder):
    """gap_fit's description of all kernels, with their sparse points from files."""
    parts = []
    for n, kernel in enumerate(system.kernels):
        points = folder / f"sparse{n}.dat"
        if isinstance(kernel, SoapKernel):
            term = kernel.term
            sparse_file(points, to_quip_order(term.sparse_points, term.l_max))
            descriptor = descriptor_string(term).replace("{", "{{").replace("}", "}}")
            parts.append(f"{descriptor} covariance_type=dot_product zeta={term.zeta:g} delta={term.delta:g} "
                         f"n_sparse={kernel.n_sparse} sparse_method=FILE sparse_file={points.name} add_species=F")
        elif isinstance(kernel, PairKernel):
            k = kernel
            sparse_file(points, k.sparse[:, None])
            z1, z2 = (atomic_numbers[s] for s in k.symbols)
            parts.append(f"distance_2b cutoff={k.cutoff} cutoff_transition_width={k.cutoff_transition_width} Z1={z1} Z2={z2} "
                         f"covariance_type=ard_se theta_uniform={k.theta} delta={k.delta} n_sparse={k.n_sparse} "
                         f"sparse_method=FILE sparse_file={points.name} add_species=F")
        else:
            parts.append(three_body_coordinate(kernel, folder, f"sparse{n}", "FILE"))
    return parts


KINDS = ("energy", "local_energy", "force", "virial", "curvature")


def kinds_of(structure):
    """What our rows of a structure are, one word each."""
    counts = (structure.energy is not None, 0 if structure.local_energies is None else structure.used("local_energy").sum(),
              0 if structure.forces is None else 3 * structure.used("force").sum(), 6 * (structure.virial is not None),
              0 if structure.curvatures is None else len(structure.curvatures))
    return np.repeat(KINDS, np.array(counts, int))


def in_gap_fit_s_order(structures, blocks):
    """Kinds and rows: all energies and local energies, then all others by frames, virials in the order 11 12 13 22 23 33."""
    values, others = [], []
    for structure, block in zip(structures, blocks, strict=True):
        kinds = kinds_of(structure)
        order = np.arange(len(block))
        order[kinds == "virial"] = order[kinds == "virial"][[0, 5, 4, 1, 3, 2][:np.count_nonzero(kinds == "virial")]]
        early = np.isin(kinds, KINDS[:2])
        values.append((kinds[early], block[early]))
        others.append((kinds[~early], block[order][~early]))
    kinds, rows = zip(*values, *others, strict=True)
    return np.concatenate(kinds), np.concatenate(rows)


def gap_fit_rows(system, folder, options):
    """[K_nm | y] and lambda of gap_fit."""
    gap_fit(folder, coordinates(system, folder), E0, SIGMA, options)
    k_nm = np.loadtxt(folder / "dump_Kmn.0").reshape(-1, system.design.n_columns)
    return np.column_stack([k_nm, np.loadtxt(folder / "dump_globalY.0")]), np.loadtxt(folder / "dump_lambda.0")


def compare_with_gap_fit(system, folder, options, bound):
    """Rows and targets of every kind agree to `bound` of the largest value of the kind and kernel, sigmas to the last bit."""
    theirs, variance = gap_fit_rows(system, folder, options)
    found = system.train.structures
    sigma = [np.concatenate([*sigmas(s, system.config).values()]) / np.sqrt(s.weight) for s in found]
    blocks = [system.rows(s) * v[:, None] for s, v in zip(found, sigma, strict=True)]
    kinds, ours = in_gap_fit_s_order(found, blocks)
    np.testing.assert_allclose(in_gap_fit_s_order(found, [v[:, None] for v in sigma])[1][:, 0] ** 2, variance, rtol=1e-15)
    assert ours.shape == theirs.shape
    # gap_fit's local property is any quantity, from which no e0 is taken
    symbols = [np.array(s.symbols)[s.used("local_energy")] for s in found if s.local_energies is not None]
    theirs[kinds == "local_energy", -1] -= [E0[symbol] for symbol in np.concatenate([*symbols, []])]
    column, worst = 0, 0.0
    for width in (*(kernel.n_sparse for kernel in system.kernels), 1):
        here = slice(column, column := column + width)
        for kind in np.unique(kinds):
            expected = theirs[kinds == kind, here]
            difference = np.abs(ours[kinds == kind, here] - expected).max() / np.abs(expected).max()
            assert difference < bound, (kind, column, difference)
            worst = max(worst, difference)
    assert worst > 0.0


def test_sigmas_masks_and_local_energies_are_gap_fit_s(tmp_path):
    """Every rule of section "Noise", for kernels of pairs, triplets around a centre, and environments."""
    rng = np.random.default_rng(7)
    frames = labelled(7, 8)
    frames[0].info["config_type"] = "odd"
    frames[1].info["config_type"] = "unheard_of"
    frames[2].info.update(energy_sigma=0.3, force_sigma=0.4, virial_sigma=0.5)
    frames[3].arrays["force_atom_sigma"] = rng.uniform(0.1, 1.0, 8)
    frames[3].info["virial_component_sigma"] = rng.uniform(0.1, 1.0, 9)
    frames[3].arrays["force_mask"] = np.arange(8) % 3 == 0
    frames[4].arrays["force_component_sigma"] = rng.uniform(0.1, 1.0, (8, 3))
    frames[4].arrays["force_atom_sigma"] = rng.uniform(0.1, 1.0, 8)
    with_local_energies(frames[5], 9, "local_property").info["local_property_sigma"] = 0.6
    frames[5].arrays["local_property_mask"] = np.arange(8) % 2 == 0
    with_local_energies(frames[6], 10, "local_property")
    terms = [TERMS["pair"], TERMS["soap"], TERMS["angle"]]
    system = System(tmp_path, frames, terms, 1e-14, data={"local_energy_key": "local_property"}, local_energy_sigma=0.004,
                    config_type_sigma={"odd": [0.01, 0.02, 0.03], "default": [0.05, 0.06, 0.07]})
    options = ["config_type_sigma={odd:0.01:0.02:0.03:0.0:default:0.05:0.06:0.07:0.0}",
               "default_local_property_sigma=0.004"]
    compare_with_gap_fit(system, tmp_path, options, 1e-11)


def test_curvatures_are_gap_fit_s(tmp_path):
    """For soap alone, where gap_fit is right: rows, targets, and all ways to give the sigma."""
    frames = labelled(4, 11)
    with_curvatures(frames[0], 2, 12)
    with_curvatures(frames[1], 1, 13).info["hessian_sigma"] = 0.3
    with_curvatures(frames[2], 3, 14).info["config_type"] = "odd"
    system = System(tmp_path, frames, [TERMS["soap"]], 1e-14, config_type_sigma={"odd": [0.01, 0.02, 0.03, 0.5]})
    compare_with_gap_fit(system, tmp_path, ["config_type_sigma={odd:0.01:0.02:0.03:0.5}"], 1e-11)
