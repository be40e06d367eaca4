"""Grouped rows and the objectives of tuning against refits of the trainer's own rows."""

import copy

import numpy as np
import pytest
from training_tools import CUTOFF, E0, WIDTH, configuration, labelled, toy_frames, write_frames

from soapgap.config import read_config
from soapgap.data.dataset import read_dataset
from soapgap.kinds.kernel import rows_evaluator
from soapgap.learn.design import DesignMatrix
from soapgap.learn.plan import make_kernels
from soapgap.learn.prior import regulariser
from soapgap.tune.config import TuneConfig, changed
from soapgap.tune.grouped import n_bytes, plan_groups, split
from soapgap.tune.likelihood import Covariances
from soapgap.tune.objectives import FoldObjective, LikelihoodObjective, fold_errors, kind_weights, make_parameters
from soapgap.tune.optimise import calibrated, optimise, tuned_values
from soapgap.tune.trial import (
    Bench,
    Tuned,
    make_system,
    memory_needed,
    pose_trial,
    prepare,
    some_frames,
    thinned,
)
from soapgap.tune.validate import default_sizes, learning_curve, leave_one_out

SOAP = {"kind": "soap", "n_max": 3, "l_max": 2, "cutoff": CUTOFF, "cutoff_transition_width": WIDTH, "atom_sigma": 0.5,
        "zeta": 2, "delta": 0.5, "n_sparse": 12}
PAIR = {"kind": "distance_2b", "cutoff": CUTOFF, "cutoff_transition_width": WIDTH, "theta": 0.6, "delta": 1.0, "n_sparse": 8}
JITTER = 1e-6


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Cells of two types and two sizes, one with sigmas of its own."""
    folder = tmp_path_factory.mktemp("tune")
    frames = toy_frames(44)
    frames += [labelled(atoms * (2, 1, 1)) for atoms in toy_frames(3, seed=1)]
    for k, atoms in enumerate(frames):
        atoms.info["config_type"] = "hot" if k % 2 else "cold"
    frames[4].info |= {"energy_sigma": 0.05, "force_sigma": 0.02}
    write_frames(folder / "train.xyz", frames)
    content = configuration(folder, terms=(PAIR, SOAP), sparse_jitter=JITTER, e0={"Si": E0["Si"]})
    content["config_type_sigma"] = {"hot": [0.002, 0.05, 0.03]}
    config = read_config(content)[0]
    return Bench(content, read_dataset(config.data.train, config.data), TuneConfig(folds=3), 1, 1000)


@pytest.fixture(scope="module")
def made(bench):
    prepared = prepare(bench, {})
    return prepared, make_system(prepared)


def tuned(made, sigmas="kind"):
    prepared, system = made
    parameters = make_parameters(system, sigmas, True)
    x = np.log(np.random.default_rng(0).uniform(0.4, 2.5, len(parameters.names)).round(2))
    return Tuned(prepared, system, parameters, x)


def trainer_rows(bench, made, values):
    """Rows of every structure by the trainer with other values in its configuration, and U, with the same sparse points."""
    config = read_config(changed(bench.content, values))[0]
    problem = pose_trial(Bench(changed(bench.content, values), bench.train, bench.settings, 1, 1000), {})[0]
    kernels = make_kernels(problem.plan, 1, None, [k.sparse_points for k in made[0].kernels])
    design, evaluator = DesignMatrix(kernels, problem.species, config), rows_evaluator(problem.species, kernels)
    rows = [design.rows(evaluator, s, t) for s, t in zip(bench.train.structures, problem.targets)]
    blocks = [regulariser(kernel.covariance(), JITTER) for kernel in kernels]
    factor = np.zeros((design.n_columns, design.n_columns + 1))
    row = 0
    for block in blocks:
        factor[row:row + len(block), row:row + len(block)] = block
        row += len(block)
    return rows, factor


def refit(rows, factor):
    stacked = np.vstack([*rows, factor])
    return np.linalg.lstsq(stacked[:, :-1], stacked[:, -1], rcond=None)[0]


def in_units(structure, rows, weights, config):
    """Errors by kind from rows of the trainer: eV/atom, eV/A, eV/atom, with the sigmas written out once more."""
    n = len(structure.atoms)
    default = config.config_type_sigma.get(structure.config_type, config.default_sigma)
    energy = float(structure.overrides.get("energy_sigma", default[0] * np.sqrt(n)))
    force = float(structure.overrides.get("force_sigma", default[1]))
    error = rows[:, -1] - rows[:, :-1] @ weights
    return {"energy": error[:1] * energy / n, "force": error[1:1 + 3 * n] * force,
            "virial": error[1 + 3 * n:] * default[2] / np.sqrt(n)}


def test_labels_name_the_rows_and_their_units(bench, made):
    prepared, _ = made
    problem = prepared.problem
    evaluator = prepared.evaluators()[0]
    for k in (0, 4, 45):
        structure = bench.train.structures[k]
        rows = prepared.design.rows(evaluator, structure, problem.targets[k])
        parts = {part.label.kind: (part, part.unit * own[:, -1]) for part, own in split(rows, prepared.parts[k])}
        n = len(structure.atoms)
        assert sum(len(part.sigma) for part, _ in parts.values()) == len(rows) == 7 + 3 * n
        np.testing.assert_allclose(parts["energy"][1], structure.energy / n - E0["Si"], rtol=1e-12)
        np.testing.assert_allclose(parts["force"][1], -structure.forces.ravel(), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(parts["virial"][1][:3], -np.diag(structure.virial) / n, rtol=1e-12)
        assert [part.label.own for part, _ in parts.values()] == [k == 4, k == 4, False]


def test_groups_hold_all_rows(bench, made):
    """The triangles have the inner products of the rows; groups of cells of two sizes have others for errors."""
    prepared, system = made
    evaluator = prepared.evaluators()[0]
    inner = {}
    for k, structure in enumerate(bench.train.structures):
        rows = prepared.design.rows(evaluator, structure, prepared.problem.targets[k])
        for part, own in split(rows, prepared.parts[k]):
            scaled, errors = inner.setdefault(part.label, [0.0, 0.0])
            inner[part.label] = [scaled + own.T @ own, errors + (part.unit[:, None] * own).T @ (part.unit[:, None] * own)]
    assert {g.label for g in system.groups} == set(inner)
    for group in system.groups:
        for triangle, expected in zip((group.rows.triangle, group.errors), inner[group.label]):
            np.testing.assert_allclose(triangle.T @ triangle, expected, rtol=0, atol=1e-10 * np.abs(expected).max())
    uneven = {g.label.kind for g in system.groups if g.unit is None}
    assert uneven == {"energy", "virial"}
    sizes = sum(g.rows.triangle.nbytes + (0 if g.own_errors is None else g.own_errors.nbytes) for g in system.groups)
    assert sizes <= n_bytes(plan_groups(prepared.parts), system.prior.n_columns)
    assert memory_needed(prepared.parts, system.prior.n_columns) >= 3 * sizes


@pytest.mark.parametrize("sigmas", ["kind", "config_type"])
def test_fold_errors_are_those_of_refits_with_the_tuned_configuration(bench, made, sigmas):
    """What is written into tuned.toml gives, fold by fold, the errors that the triangles promised."""
    found = tuned(made, sigmas)
    assert len(found.parameters.names) == (5 if sigmas == "kind" else 8)
    values = tuned_values(read_config(bench.content)[0], found.parameters, found.x)
    config = read_config(changed(bench.content, values))[0]
    rows, factor = trainer_rows(bench, made, values)
    folds = [parts[0].label.fold for parts in made[0].parts]
    squares, count = {}, {}
    for fold in range(3):
        weights = refit([r for r, f in zip(rows, folds) if f != fold], factor)
        for structure, own, of in zip(bench.train.structures, rows, folds):
            if of == fold:
                for kind, error in in_units(structure, own, weights, config).items():
                    for key in ((kind, "all"), (kind, structure.config_type)):
                        squares[key] = squares.get(key, 0.0) + np.sum(error**2)
                        count[key] = count.get(key, 0) + len(error)
    errors = fold_errors(found.system, found.parameters, found.x)
    log_error = 0.0
    for (kind, config_type), square in squares.items():
        expected = (1.0 if kind == "force" else 1000.0) * np.sqrt(square / count[kind, config_type])
        assert errors[config_type][kind]["rmse"] == pytest.approx(expected, rel=1e-7)
        assert errors[config_type][kind]["n"] == count[kind, config_type]
        if config_type == "all":
            log_error += {"energy": 0.6, "force": 0.2, "virial": 0.2}[kind] * np.log(expected)
    objective = FoldObjective(found.system, found.parameters, 0.6)
    assert objective.value(found.x)[0] == pytest.approx(log_error, abs=1e-7)


@pytest.mark.parametrize("sigmas", ["kind", "config_type"])
@pytest.mark.parametrize("make", [lambda s, p: FoldObjective(s, p, 0.7), LikelihoodObjective])
def test_gradients_are_those_of_finite_differences(made, make, sigmas):
    found = tuned(made, sigmas)
    objective = make(found.system, found.parameters)
    gradient = objective.value(found.x)[1]

    def slope(e, step):
        return (objective.value(found.x + step * e)[0] - objective.value(found.x - step * e)[0]) / (2 * step)

    numeric = [(4 * slope(e, 2e-3) - slope(e, 4e-3)) / 3 for e in np.eye(len(found.x))]  # of fourth order
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-6 * np.abs(numeric).max())


def test_likelihood_is_that_of_the_tuned_configuration(bench, made):
    """-2 log p from the covariance of all observations of the trainer with the tuned values, n x n."""
    _, system = made
    parameters = make_parameters(system, "kind", True)
    x = np.log([1.2, 0.8, 200.0, 100.0, 100.0])  # such large sigmas that the dense matrix has a condition number of 1e5
    values = tuned_values(read_config(bench.content)[0], parameters, x)
    rows, factor = trainer_rows(bench, made, values)
    scaled = np.vstack(rows)
    half = np.linalg.solve(factor[:, :-1].T, scaled[:, :-1].T)
    root = np.linalg.cholesky(np.eye(len(scaled)) + half.T @ half)
    minus_two_log_p = np.sum(np.linalg.solve(root, scaled[:, -1]) ** 2) + 2.0 * np.sum(np.log(np.diag(root)))
    log_sigma = 0.5 * len(scaled) * np.log(2.0 * np.pi)
    config = read_config(changed(bench.content, values))[0]
    for s in bench.train.structures:
        n, own = len(s.atoms), s.overrides
        default = config.config_type_sigma.get(s.config_type, config.default_sigma)
        log_sigma += np.log(own.get("energy_sigma", default[0] * np.sqrt(n))) + 6 * np.log(default[2] * np.sqrt(n))
        log_sigma += 3 * n * np.log(own.get("force_sigma", default[1]))
    value = LikelihoodObjective(system, parameters).value(x)[0]
    assert value == pytest.approx(minus_two_log_p + 2.0 * log_sigma, rel=1e-8)


def test_one_structure_left_out_is_a_refit(bench, made):
    found = tuned(made, "config_type")
    values = tuned_values(read_config(bench.content)[0], found.parameters, found.x)
    config = read_config(changed(bench.content, values))[0]
    rows, factor = trainer_rows(bench, made, values)
    errors = {}
    scores = []
    for k, structure in enumerate(bench.train.structures):
        weights = refit(rows[:k] + rows[k + 1:], factor)
        scores.append(np.sqrt(np.mean((rows[k][:, -1] - rows[k][:, :-1] @ weights) ** 2)))
        for kind, error in in_units(structure, rows[k], weights, config).items():
            errors.setdefault(kind, []).append(error)
    result = leave_one_out(found)
    for kind, parts in errors.items():
        error = np.concatenate(parts) * (1.0 if kind == "force" else 1000.0)
        assert result["errors"]["all"][kind]["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-8)
        assert result["errors"]["all"][kind]["mae"] == pytest.approx(np.mean(np.abs(error)), rel=1e-8)
    assert result["worst"][0]["where"] == bench.train.structures[int(np.argmax(scores))].where
    assert result["worst"][0]["rms_in_sigma"] == pytest.approx(max(scores), abs=0.006)


def test_learning_curve_ends_where_the_folds_are(made):
    found = tuned(made)
    curve = learning_curve(found, [5, 11, 1000], 3, seed=0)
    assert curve["sizes"][:2] == [5, 11]
    assert curve["sizes"][2] == min(sum(p[0].label.fold != f for p in made[0].parts) for f in range(3))
    force = np.array(curve["errors"]["force"])
    assert (force[0] > force[2]).all()
    squares = np.mean(force[2] ** 2)
    assert squares == pytest.approx(fold_errors(found.system, found.parameters, found.x)["all"]["force"]["rmse"] ** 2, rel=0.1)
    again = learning_curve(found, [11], 3, seed=0)
    np.testing.assert_allclose(again["errors"]["force"][0], force[1], rtol=1e-9)
    assert default_sizes(160) == (10, 20, 40, 80, 160)


@pytest.mark.parametrize("make", [lambda s, p: FoldObjective(s, p, 0.5), LikelihoodObjective])
def test_optimum_is_one(made, make):
    _, system = made
    parameters = make_parameters(system, "kind", True)
    objective = make(system, parameters)
    best = optimise(objective, parameters, restarts=1, seed=0)
    assert best.start == objective.value(np.zeros(5))[0]
    assert best.value < best.start
    assert (np.abs(best.x) <= np.log(1000.0) + 1e-12).all()
    for e in np.eye(5):
        for step in (-0.3, 0.3):
            moved = np.clip(best.x + step * e, *parameters.bounds.T)
            assert objective.value(moved)[0] > best.value - 1e-3 * abs(best.value)
    np.testing.assert_array_equal(best.x, optimise(objective, parameters, restarts=1, seed=0).x)


def test_common_factor_has_the_size_of_the_residuals(made):
    _, system = made
    groups = [g for g in system.groups if not g.label.own]
    # so small a jitter that it hardly matters
    without_own = type(system)(groups, Covariances(system.prior.covariances, 1e-9), system.terms)
    parameters = make_parameters(without_own, "kind", True)
    objective = FoldObjective(without_own, parameters, 0.5)
    x = np.full(5, np.log(0.3))
    new = calibrated(without_own, parameters, objective, x)
    assert np.ptp(new - x) < 0.02
    assert new.mean() > x.mean() + 0.5
    assert objective.value(new)[0] == pytest.approx(objective.value(x)[0], abs=1e-3)
    likelihood = LikelihoodObjective(without_own, parameters).value
    assert all(likelihood(new)[0] < likelihood(new + c)[0] for c in (-0.1, 0.1))
    fixed = make_parameters(system, "kind", True)  # some frames have sigmas of their own: the factor is not free
    np.testing.assert_array_equal(calibrated(system, fixed, FoldObjective(system, fixed, 0.5), x), x)


def test_sigmas_of_frames_and_of_few_observations_are_not_tuned(bench, made):
    _, system = made
    parameters = make_parameters(system, "config_type", True)
    assert all(not own for _, _, own in parameters.of_group)
    few = type(system)([g for g in system.groups if g.label.config_type == "hot"], system.prior, system.terms)
    assert ("sigma", "energy", "hot") in make_parameters(few, "config_type", True).names
    fewer = type(system)([g for g in few.groups if g.label.fold == 0], system.prior, system.terms)
    names = make_parameters(fewer, "config_type", True).names
    assert ("sigma", "force", "hot") in names
    assert not any(name[:2] == ("sigma", "energy") for name in names)
    mixed = [*fewer.groups, *(g for g in system.groups if g.label.config_type == "cold")]
    tied = make_parameters(type(system)(mixed, system.prior, system.terms), "config_type", True)
    assert tied.of_group["hot", "energy", False] == tied.of_group["cold", "energy", False]
    values = tuned_values(read_config(bench.content)[0], tied, np.full(len(tied.names), np.log(2.0)))
    assert values["config_type_sigma"] == {"cold": [0.002, 0.02, 0.02], "hot": [0.004, 0.1, 0.06]}
    assert values["default_sigma"] == [0.001, 0.01, 0.01]
    assert make_parameters(system, "fixed", False).names == ()


def test_weights_of_kinds():
    assert kind_weights(["energy", "force", "virial"], 0.5) == {"energy": 0.5, "force": 0.25, "virial": 0.25}
    assert kind_weights(["force"], 0.3) == {"force": 1.0}
    assert kind_weights(["energy"], 0.3) == {"energy": 1.0}
    assert kind_weights(["energy", "local_energy", "force"], 0.4) == {"energy": 0.2, "local_energy": 0.2, "force": 0.6}


def test_parts_of_the_frames_are_nested_and_balanced(bench):
    few, more = some_frames(bench.train, 12, 0), some_frames(bench.train, 24, 0)
    assert {s.where for s in few.structures} < {s.where for s in more.structures}
    assert sum(s.config_type == "hot" for s in few.structures) == 6
    problem, parts = pose_trial(bench, {}, 12)
    assert len(problem.train.structures) == len(parts) == 12


def test_fewer_sparse_points_while_tuning(bench):
    content = copy.deepcopy(bench.content)
    content["terms"][1]["n_sparse"] = 200
    few = thinned(read_config(content)[0], 208, 104)
    assert [term.n_sparse for term in few.terms] == [8, 100]
    problem, _ = pose_trial(Bench(content, bench.train, bench.settings, 1, 104), {})
    assert problem.plan.n_columns == 108


def test_terms_of_kernels(tmp_path):
    write_frames(tmp_path / "train.xyz", toy_frames(6, species=("Si", "C")))
    three_body = {"kind": "angle_3b", "cutoff": 3.0, "theta": 1.0, "delta": 0.1, "n_sparse": 5}
    content = configuration(tmp_path, terms=(PAIR, SOAP, three_body, PAIR), e0=E0)
    config = read_config(content)[0]
    bench = Bench(content, read_dataset(config.data.train, config.data), TuneConfig(folds=2), 1, 1000)
    problem, _ = pose_trial(bench, {})
    assert problem.plan.terms == [0] * 3 + [1] * 2 + [2] * 6 + [3] * 3
