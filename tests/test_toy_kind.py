"""A kind of term from outside of the package: it is fitted, saved, loaded and evaluated like any other."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from toy_observables import BondForce

from soapgap.config import read_config, sections
from soapgap.config.kind import KINDS
from soapgap.data.observables import OBSERVABLES, register
from soapgap.errors import InputError
from soapgap.fitting.pipeline import fit
from soapgap.model import Model
from soapgap.potential import Potential

TERM = {"kind": "toy_shell", "cutoff": 5.0, "delta": 1.0, "n_sparse": 9}


@pytest.fixture(scope="module", autouse=True)
def toy():
    """The kind, known as long as these tests last."""
    module = importlib.import_module("toy_kind")
    KINDS["toy_shell"] = module.ShellConfig
    yield module
    del KINDS["toy_shell"]


def truth(atoms):
    """E and F of a potential that the kind can learn: one Gaussian of the distance about the third shell."""
    d = atoms.get_all_distances(mic=False, vector=True)
    shifts = np.array(np.meshgrid(*3 * [[-1, 0, 1]])).reshape(3, -1).T @ atoms.cell.array
    energy, forces = 0.0, np.zeros((len(atoms), 3))
    for shift in shifts:
        vectors = d + shift
        r = np.linalg.norm(vectors, axis=2)
        near = (r > 1e-9) & (r < 5.0)
        x, s = np.where(near, r, 1.0), np.where(near, 1.0 - (r / 5.0) ** 2, 0.0)
        g = 4.0 * np.exp(-0.5 * ((x - 4.4) / 0.3) ** 2)
        energy += (s**3 * g).sum()
        slope = -(6.0 * x / 25.0 * s**2 + s**3 * (x - 4.4) / 0.09) * g
        forces += 2.0 * (np.where(near, slope / x, 0.0)[:, :, None] * vectors).sum(axis=1)
    return energy, forces


def frames(n):
    rng = np.random.default_rng(3)
    for _ in range(n):
        atoms = bulk("Si", "diamond", a=5.43, cubic=True)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.02 * rng.standard_normal((3, 3))), scale_atoms=True)
        atoms.positions += 0.1 * rng.standard_normal((8, 3))
        energy, forces = truth(atoms)
        atoms.calc = SinglePointCalculator(atoms, energy=energy - 8.0, forces=forces)
        yield atoms


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    write(folder / "train.xyz", list(frames(12)), format="extxyz")
    fit({"output": str(folder / "toy.safetensors"), "data": {"train": str(folder / "train.xyz")}, "e0": {"Si": -1.0},
         "default_sigma": [1e-4, 1e-3, 0.0], "baseline": {"kind": "none"}, "terms": [TERM]}, quiet=True, report=False)
    return folder / "toy.safetensors"


def test_the_kind_is_short():
    lines = (Path(__file__).parent / "toy_kind.py").read_text().splitlines()
    assert len(lines) <= 60


def test_its_table_is_read_like_any_other():
    content = {"output": "m", "data": {"train": "a.xyz"}, "default_sigma": [1e-3, 0.1, 0.0], "terms": [TERM | {"width": 0.4}]}
    assert read_config(content)[0].terms[0].width == 0.4
    assert "width" in sections()["terms:toy_shell"].model_fields
    with pytest.raises(InputError, match=r"terms\[0\].widht: unknown key; did you mean 'width'"):
        read_config(content | {"terms": [TERM | {"widht": 0.4}]})
    with pytest.raises(InputError, match=r'terms\[0\].kind: got .toy., expected .*"distance_3b" or "toy_shell"'):
        read_config(content | {"terms": [TERM | {"kind": "toy"}]})


def test_it_learns_and_is_loaded_and_evaluated(model):
    potential = Potential(model)
    for atoms in list(frames(15))[12:]:
        found = potential.compute(atoms)
        assert found.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-2)
        np.testing.assert_allclose(found.forces, atoms.get_forces(), rtol=0, atol=1e-2)
    assert np.abs(atoms.get_forces()).max() > 0.5
    loaded = Model.load(model)
    assert loaded.to_bytes() == Path(model).read_bytes()
    assert loaded.provenance["config"]["terms"][0]["kind"] == "toy_shell"


def test_forces_and_virial_by_finite_differences(model):
    """Of the fitted model, so of the rows in Python and of the table that they become."""
    potential = Potential(model)
    atoms = next(frames(1))
    found = potential.compute(atoms)
    assert np.abs(found.forces).max() > 0.5

    def energy(change, h):
        moved = atoms.copy()
        change(moved, h)
        return potential.compute(moved).energy

    def slope(change):
        return (8 * (energy(change, 1e-3) - energy(change, -1e-3)) - (energy(change, 2e-3) - energy(change, -2e-3))) / 12e-3

    def shift(moved, h, atom, axis):
        moved.positions[atom, axis] += h

    for atom in range(len(atoms)):
        for axis in range(3):
            force = -slope(lambda moved, h, a=atom, x=axis: shift(moved, h, a, x))
            assert force == pytest.approx(found.forces[atom, axis], abs=1e-7)
    volume = -slope(lambda moved, h: moved.set_cell(moved.cell.array * (1.0 + h), scale_atoms=True))
    assert volume == pytest.approx(np.trace(found.virial), abs=1e-6)


def test_rows_times_weights_are_the_model(model, toy):
    """The Gaussian process that is fitted is the potential that is saved."""
    from soapgap.kinds.kernel import rows_evaluator
    from soapgap.neighbours.arrays import neighbour_arrays

    atoms = next(frames(1))
    kernel = toy.ShellKernel(toy.ShellConfig.model_validate(TERM), ("Si", "Si"), np.linspace(3.2, 5.0, 9))
    weights = np.random.default_rng(0).standard_normal(9)
    energy, gradient, strains, _ = kernel.rows(rows_evaluator(["Si"], [kernel]), neighbour_arrays(atoms, 5.5, ["Si"]))
    found = Potential(Model(["Si"], {"Si": 0.0}, kernel.finished(weights))).compute(atoms)
    assert found.energy == pytest.approx(energy @ weights, abs=1e-9)
    np.testing.assert_allclose(found.forces.ravel(), -gradient @ weights, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.virial[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], -strains @ weights, rtol=0, atol=1e-8)


def test_with_an_observable_from_outside(tmp_path):
    """Neither is known to the package: one number of each frame, a difference of forces, teaches the kind the potential."""
    def labels(atoms):
        u = atoms.positions[1] - atoms.positions[0]
        bare = atoms.copy()
        bare.calc, bare.info = None, {"bond_force": 0.5 * (truth(atoms)[1][1] - truth(atoms)[1][0]) @ u / np.linalg.norm(u)}
        return bare

    write(tmp_path / "train.xyz", [labels(atoms) for atoms in frames(30)], format="extxyz")
    observable = register(BondForce())
    try:
        result = fit({"output": str(tmp_path / "toy.safetensors"), "e0": {"Si": -1.0}, "default_sigma": [1e-4, 1e-3, 0.0],
                      "data": {"train": str(tmp_path / "train.xyz"), "energy_key": "", "forces_key": ""},
                      "baseline": {"kind": "none"}, "terms": [TERM]}, quiet=True, report=False)
    finally:
        del OBSERVABLES[observable.name]
    assert result.errors["train"]["all"].keys() == {"bond_force"}
    potential = Potential(tmp_path / "toy.safetensors", n_threads=1)
    errors = [np.abs(potential.compute(atoms).forces - truth(atoms)[1]).max() for atoms in frames(3)]
    assert max(errors) < 0.05 * np.abs(truth(next(frames(1)))[1]).max()
