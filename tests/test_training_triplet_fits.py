"""Three-body terms beside gap_fit: its linear system, its models; and whole fits."""

import sys

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from test_training_gap_fit import quip_xyz
from test_training_triplets import ANGLES, CLUSTERS, DELTA, FRAMES, MOLECULE, SMALL, SPECIES, kernel
from training_tools import (
    ANGLE,
    DISTANCES,
    PAIR,
    configuration,
    gap_fit,
    isolated,
    three_body_coordinate,
    toy_frames,
    write_frames,
)

from soapgap.config import read_config
from soapgap.data.dataset import Structure
from soapgap.fitting import fit
from soapgap.kinds.kernel import numbered, rows_evaluator
from soapgap.kinds.three_body.kernel import TripletKernel
from soapgap.learn.design import DesignMatrix, targets
from soapgap.learn.state import load_state
from soapgap.model import Model
from soapgap.neighbours.arrays import neighbour_arrays
from soapgap.potential import Potential

# ---- gap_fit ---------------------------------------------------------------------------------------------------------

SIGMA = [0.002, 0.05, 0.02]
E0 = {"H": -0.5, "C": -2.1, "Si": -1.3}


def random_labels(atoms, rng):
    """Energies, forces and virials without any meaning: what is compared is linear in them."""
    atoms.calc = SinglePointCalculator(atoms, energy=rng.normal() + 10.0, forces=rng.normal(size=(len(atoms), 3)))
    virial = rng.normal(size=(3, 3))
    atoms.info.update(virial=(virial + virial.T).ravel(), config_type="default")
    return atoms


def oracle_frames():
    """Cells smaller than the cutoff, larger ones, and a molecule in a wide cell."""
    rng = np.random.default_rng(21)
    frames = [SMALL.copy(), FRAMES["tiny"].copy(), Atoms(MOLECULE, cell=[20.0] * 3, pbc=True), FRAMES["triclinic"].copy()]
    return [random_labels(atoms, rng) for atoms in frames]


def oracle(folder, coordinates):
    """gap_fit's XML for these coordinates."""
    return gap_fit(folder, coordinates, E0, SIGMA)


def scaled_rows(frames, kernels):
    """Our [Lambda^(-1/2) K_nm | Lambda^(-1/2) y] in gap_fit's order."""
    config, _, _ = read_config({"output": "a", "data": {"train": "a"}, "default_sigma": SIGMA, "terms": [PAIR]})
    design = DesignMatrix(numbered(kernels), SPECIES, config)
    evaluator = rows_evaluator(SPECIES, design.kernels)
    energies, others = [], []
    for atoms in frames:
        virial = atoms.info["virial"].reshape(3, 3)
        known = {"energy": atoms.calc.results["energy"], "force": atoms.calc.results["forces"], "virial": virial}
        structure = Structure(atoms, "frame", "default", known)
        block = design.rows(evaluator, structure, targets(structure, E0))
        energies.append(block[:1])
        others.append(block[1:-6])
        others.append(block[-6:][[0, 5, 4, 1, 3, 2]])  # 11 12 13 22 23 33
    return np.vstack(energies), np.vstack(others)


@pytest.mark.parametrize("angle", [True, False], ids=["angle_3b", "distance_Nb"])
def test_linear_system_is_gap_fit_s(tmp_path, angle):
    """K_mm, K_nm, targets and sigmas; sparse points from files, and the last kernel's chosen by gap_fit with its weights."""
    frames = oracle_frames()
    quip_xyz(tmp_path / "train.xyz", frames)
    kernels = [kernel(angle, species) for species in (ANGLES if angle else CLUSTERS)]
    own = kernel(angle, kernels[-1].kind.species, 9)
    parts = [three_body_coordinate(k, tmp_path, f"points{n}", "FILE") for n, k in enumerate(kernels)]
    root = oracle(tmp_path, [*parts, three_body_coordinate(own, tmp_path, "own", "UNIFORM")])
    last = root.findall(".//gpCoordinates")[-1]
    cutoffs = np.array([float(point.get("sparseCutoff")) for point in last.findall("sparseX")])
    points = np.loadtxt(tmp_path / last.get("sparseX_filename")).reshape(-1, 3)
    kernels.append(TripletKernel(own.kind, own.theta, DELTA, points, cutoffs))

    n = sum(k.n_sparse for k in kernels)
    k_mm, column = 1e-8 * np.eye(n), 0
    for k in kernels:
        here = slice(column, column := column + k.n_sparse)
        k_mm[here, here] += k.covariance()
    theirs = np.loadtxt(tmp_path / "dump_Kmm").reshape(n, n)
    np.testing.assert_allclose(k_mm, theirs, rtol=0, atol=1e-14)
    sigma = np.sqrt(np.loadtxt(tmp_path / "dump_lambda.0"))
    theirs = np.column_stack([np.loadtxt(tmp_path / "dump_Kmn.0").reshape(-1, n), np.loadtxt(tmp_path / "dump_globalY.0")])
    theirs /= sigma[:, None]
    ours = np.vstack(scaled_rows(frames, kernels))
    assert ours.shape == theirs.shape
    for rows_of in (slice(0, len(frames)), slice(len(frames), None)):
        largest = np.abs(theirs[rows_of]).max(axis=0)
        assert (largest > 1e-3).all()
        assert (np.abs(ours - theirs)[rows_of] / largest).max() < 1e-12

    # the weights of the points that gap_fit chose are those of our candidates
    nearest = []
    lists = [neighbour_arrays(atoms, 4.0, SPECIES) for atoms in frames]
    pool = np.concatenate([p for neighbours in lists for p, _, _ in own.kind.candidates(neighbours, SPECIES)])
    for cutoff, x in zip(cutoffs, points):
        twins = np.column_stack([np.full(len(own.kind.permutations), cutoff), x[own.kind.permutations]])
        nearest.append(np.abs(pool - twins[:, None]).max(axis=2).min())
    assert max(nearest) < 1e-12


@pytest.mark.parametrize("angle", [True, False], ids=["angle_3b", "distance_Nb"])
def test_model_is_gap_fit_s(tmp_path, angle):
    """With gap_fit's weights, the model's terms predict what QUIP predicts."""
    quippy = pytest.importorskip("quippy")
    frames = oracle_frames()
    quip_xyz(tmp_path / "train.xyz", frames[:3])
    kernels = [kernel(angle, species) for species in (ANGLES if angle else CLUSTERS)]
    root = oracle(tmp_path, [three_body_coordinate(k, tmp_path, f"points{n}", "FILE") for n, k in enumerate(kernels)])
    terms = []
    for k, c in zip(kernels, root.findall(".//gpCoordinates"), strict=True):
        terms += k.finished(np.array([float(point.get("alpha")) for point in c.findall("sparseX")]))
    potential = Potential(Model(SPECIES, E0, terms))
    theirs = quippy.potential.Potential("", param_filename=str(tmp_path / "gap.xml"))
    for atoms in frames:
        fresh = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
        theirs.calculate(fresh, properties=["energies", "forces", "stress"],
                         system_changes=["positions", "numbers", "cell", "pbc"])
        ours, found = potential.compute(fresh), theirs.results
        s = -fresh.get_volume() * found["stress"]
        virial = np.array([[s[0], s[5], s[4]], [s[5], s[1], s[3]], [s[4], s[3], s[2]]])
        for mine, expected in ((ours.energies, found["energies"]), (ours.forces, found["forces"]), (ours.virial, virial)):
            np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


# ---- fits ------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    species = ("Si", "C")
    write_frames(folder / "train.xyz", [*map(isolated, species), *toy_frames(16, seed=1, species=species)])
    write_frames(folder / "test.xyz", toy_frames(5, seed=2, species=species))
    return folder


def errors(data, tmp_path, terms, **changes):
    config = configuration(data, terms=terms, data={"test": str(data / "test.xyz")}, **changes)
    config["output"] = str(tmp_path / "model.safetensors")
    result = fit(config, quiet=True, threads=1)
    return {quantity: e["rmse"] for quantity, e in result.errors["test"]["all"].items()}, result


@pytest.mark.parametrize("term", [ANGLE, DISTANCES], ids=["angle_3b", "distance_3b"])
def test_three_body_terms_learn(data, tmp_path, term):
    """Pairs cannot know the embedding energy of the toy potential; three-body terms learn most of it."""
    pairs, _ = errors(data, tmp_path, [PAIR])
    both, result = errors(data, tmp_path, [PAIR, term])
    for quantity in pairs:
        assert both[quantity] < 0.4 * pairs[quantity], (pairs, both)
    exact, _ = errors(data, tmp_path, [PAIR, term], exact=True)
    assert exact == pytest.approx(both, rel=1e-3)
    assert Model.load(tmp_path / "model.safetensors").provenance["errors"]["test"]["all"]["force"]["n"] == 120
    assert result.model.terms[-4].origin["delta"] == term["delta"]


def test_an_interrupted_fit_goes_on(data, tmp_path, monkeypatch):
    """From the saved sparse points, to the same bytes."""
    monkeypatch.setattr("soapgap.learn.estimate.BLOCK_ROWS", (100,))
    config = configuration(data, terms=[PAIR, ANGLE | {"species": ["C", "C", "Si"]}, DISTANCES], exact=True)
    config["output"] = str(tmp_path / "model.safetensors")
    fit(config, quiet=True, threads=1)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors.fit").unlink()

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["soapgap.fitting.pipeline"]._Fit, "_solve", killed)
        with pytest.raises(KeyboardInterrupt):
            fit(config, quiet=True, threads=1, checkpoint_seconds=0.0)
    state = load_state(tmp_path / "model.safetensors.fit")
    assert not state.complete
    assert state.n_done == 18
    with monkeypatch.context() as patch:
        patch.setattr(TripletKernel, "choose", None)  # would fail if they were chosen again
        fit(config, quiet=True, threads=1)
    assert (tmp_path / "model.safetensors").read_bytes() == whole
