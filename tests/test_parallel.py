"""Several MPI ranks give what one process gives; domains, shares and costs; errors; waiting; hosts under mpiexec."""

import functools
import os
import pickle
import sys
from dataclasses import replace

import numpy as np
import parallel_tools as tools
import pytest
from ase.io import read, write
from few_body_models import make_channels_model, make_few_body_model
from models import CUTOFF, make_two_species_model, random_structure
from programs import program, run_python

from soapgap import Potential
from soapgap.errors import HostError
from soapgap.evaluation import evaluate_file
from soapgap.model import Model, TripletTerm
from soapgap.neighbours.arrays import neighbour_arrays
from soapgap.parallel.cost import CostModel
from soapgap.parallel.domains import bisect, share_out
from soapgap.parallel.plans import Plans, RankPlan
from soapgap.reduction.model import reduce_model
from soapgap.reduction.triplet import tabulated

with_ranks = pytest.mark.skipif(program("mpiexec") is None, reason="no mpiexec")
RANKS = (1, 2, 3, 4)


@functools.cache
def serial(model, skin=0.0):
    return Potential(tools.MODELS[model](), n_threads=1, skin=skin)


def check(found, expected, name=""):
    """Energy, energies, forces and virial to 1e-10 of the largest, or None in both."""
    for quantity, a, b in zip(("energy", "energies", "forces", "virial"), found, tools.numbers(expected), strict=True):
        if b is None:
            assert a is None
            continue
        assert np.shape(a) == np.shape(b)
        scale = np.abs(b).max(initial=0.0)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 * scale, err_msg=f"{name}: {quantity}")


# ---- domains, shares and costs, without MPI -------------------------------------------------------------------------

@pytest.mark.parametrize("name", tools.STRUCTURES)
@pytest.mark.parametrize("n_domains", [1, 2, 3, 4, 7])
def test_domains_find_every_pair_once_and_in_order(name, n_domains):
    atoms = tools.STRUCTURES[name]()
    parts, _ = tools.pairs_by_domains(atoms, CUTOFF, n_domains)
    expected = tools.pairs_at_once(atoms, CUTOFF)
    for part in parts:
        assert sorted(map(tuple, part)) == list(map(tuple, part))
    together = np.concatenate(parts)
    np.testing.assert_array_equal(together[np.lexsort(together.T[::-1])], expected)


def test_domains_are_boxes_of_equal_cost():
    rng = np.random.default_rng(4)
    points, costs = rng.uniform(0.0, [30.0, 20.0, 5.0], (4000, 3)), rng.uniform(1.0, 3.0, 4000)
    shares = [(3, 0.5), (0, 0.2), (5, 0.3)]
    owner = bisect(points, costs, shares)
    for rank, share in shares:
        assert costs[owner == rank].sum() == pytest.approx(share * costs.sum(), rel=2e-3)
    boxes = {rank: (points[owner == rank].min(axis=0), points[owner == rank].max(axis=0)) for rank, _ in shares}
    for a, (low, high) in boxes.items():
        for b, (other_low, other_high) in boxes.items():
            assert a == b or ((high <= other_low) | (other_high <= low)).any(), "two boxes overlap"


@pytest.mark.parametrize(("n_frames", "n_ranks"), [(1, 4), (2, 3), (3, 2), (5, 4), (8, 4), (3, 1), (7, 3)])
def test_equal_frames_are_shared_out_evenly_and_whole_first(n_frames, n_ranks):
    shares = share_out([2.0] * n_frames, n_ranks)
    loads = np.zeros(n_ranks)
    for parts in shares:
        assert sum(part for _, part in parts) == pytest.approx(1.0)
        for rank, part in parts:
            loads[rank] += part
    np.testing.assert_allclose(loads, n_frames / n_ranks)
    assert sum(len(parts) > 1 for parts in shares) <= (0 if n_frames % n_ranks == 0 else n_ranks - 1)


def test_frames_that_must_stay_whole():
    shares = share_out([5.0, 1.0, 1.0, 1.0, 1.0, 1.0], 2, whole=True)
    assert all(len(parts) == 1 for parts in shares)
    assert [parts[0][0] for parts in shares] == [0, 1, 1, 1, 1, 1]
    assert share_out([0.0, 0.0], 3) == [[(0, 1.0)], [(0, 1.0)]]
    assert share_out([], 3) == []


def test_frames_are_not_cut_for_a_trifle():
    shares = share_out([1.0, 1.001, 0.999, 1.0], 4)
    assert [parts[0][0] for parts in shares] == [0, 1, 2, 3]
    assert all(len(parts) == 1 for parts in shares)


def test_costs_count_operations():
    few, many = (CostModel(tools.counted_model(n)) for n in (10, 1010))
    one = np.zeros(1, dtype=int)
    assert many(one, 0.0) - few(one, 0.0) == 4 * 1000 * 24  # 24 features of n_max 3, l_max 3, one species
    assert few(one, 20.0) > few(one, 10.0) > few(one, 0.0) > 0.0
    whole = tools.counted_model(30)
    assert CostModel(reduce_model(whole))(one, 20.0) < CostModel(whole)(one, 20.0)
    few_bodies = make_few_body_model()
    splines = replace(few_bodies, terms=[tabulated(next(t for t in few_bodies.terms if isinstance(t, TripletTerm)), 0.2)])
    for other in (few_bodies, splines, make_channels_model(), tools.averaged_model(), Model(["Si"], {"Si": 0.0}, [])):
        costs = CostModel(other)(np.array([0]), 30.0)
        assert np.isfinite(costs).all()
        assert (costs > 0.0).all()


def test_beads_that_take_turns_and_move_on(monkeypatch):
    """Each has one plan, replaced when it has moved on, so that two trials find it."""
    follow, trials = RankPlan.follow, []
    monkeypatch.setattr(RankPlan, "follow", lambda plan, *arguments: trials.append(plan) or follow(plan, *arguments))
    model, rng = tools.cheap_model(), np.random.default_rng(1)
    plans = Plans(model, model.evaluator(), 2, skin=0.6, n_lists=64)
    beads, added = [random_structure(3) for _ in range(5)], []
    for atoms in beads:
        atoms.positions += rng.normal(scale=0.2, size=atoms.positions.shape)
    for _ in range(50):
        trials.clear()
        before = len(added)
        for atoms in beads:
            atoms.positions += rng.normal(scale=0.01, size=atoms.positions.shape) + [0.015, 0.0, 0.0]
            if plans.find([atoms], atoms.positions.copy()) is None:
                added.append(plans.add([atoms], atoms.positions.copy()))
        assert len(added) > before or len(trials) <= 2 * len(beads)
    assert len(added) > 10
    assert [len(dropped) for _, dropped in added] == [0] * 5 + [1] * (len(added) - 5)


def true_imbalance(model, atoms, n_ranks):
    """Of the first division and of the one that comes after the neighbours are counted."""
    evaluator = model.evaluator()
    plans = Plans(model, evaluator, n_ranks, skin=0.0, n_lists=1)
    plan, _ = plans.add([atoms], atoms.positions)
    counts = np.diff(neighbour_arrays(atoms, evaluator.cutoff, evaluator.species).offsets).astype(float)
    costs = CostModel(model)(plan.batch.species, counts)
    first = plans.imbalance(costs, plan.batch.owner)
    plans.improve(plan, counts)
    return first, plans.imbalance(costs, plan.batch.owner)


def test_a_second_division_evens_out_what_the_first_did_not_know():
    """A dense half and a dilute half; then the same again, where the first division knows from the last time."""
    dense, thin = tools.crystal(4), tools.crystal(6)[::6]
    atoms = dense + thin
    atoms.positions[len(dense):] += [0.0, 0.0, 30.0]
    atoms.pbc = False
    first, second = true_imbalance(tools.cheap_model(), atoms, 3)
    assert first > 0.05
    assert second < 0.02


def test_species_of_unequal_cost_are_shared_out_by_cost():
    model = make_two_species_model()
    dear = replace(model.terms[0], sparse_points=np.tile(model.terms[0].sparse_points, (40, 1)),
                   weights=np.tile(model.terms[0].weights, (1, 40)))
    model = replace(model, terms=[dear, *model.terms[1:]])
    atoms = tools.crystal(4)
    atoms.symbols = np.where(atoms.positions[:, 0] < 8.0, "Si", "O")
    assert true_imbalance(model, atoms, 4)[1] < 0.02


# ---- on ranks -----------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Results of all comparisons on so many ranks, one start each."""
    return functools.cache(lambda n_ranks: tools.on_ranks(n_ranks, "compare_all", tmp_path_factory.mktemp("ranks")))


@functools.cache
def large():
    return serial("cheap").compute(tools.crystal(14))


@with_ranks
@pytest.mark.parametrize("n_ranks", RANKS)
def test_structures_on_ranks(compared, n_ranks):
    found = compared(n_ranks)[0]
    for name, (model, structure) in tools.cases().items():
        check(found[name], serial(model).compute(tools.STRUCTURES[structure]()), name)
    check(found["large"], large(), "21,952 atoms")


@with_ranks
@pytest.mark.parametrize("n_ranks", RANKS)
def test_batches_on_ranks(compared, n_ranks):
    found = compared(n_ranks)[0]
    batches = {f"{n} beads": ("soap", tools.beads(n)) for n in (1, 2, 3, 5)}
    batches |= {f"motley, {model}": (model, tools.motley()) for model in ("cheap", "averaged", "external", "few bodies")}
    for name, (model, frames) in batches.items():
        assert len(found[name]) == len(frames)
        for result, atoms in zip(found[name], frames):
            check(result, serial(model).compute(atoms), name)
    assert found["none"] == []


@with_ranks
@pytest.mark.parametrize("n_ranks", RANKS[1:])
def test_all_ranks_have_the_same_bits(compared, n_ranks):
    found = compared(n_ranks)
    assert all(pickle.dumps(other) == pickle.dumps(found[0]) for other in found[1:])


@with_ranks
def test_forces_and_virial_are_derivatives_on_three_ranks(tmp_path):
    (result, slopes), *_ = tools.on_ranks(3, "differences", tmp_path, step=1e-4)
    np.testing.assert_allclose(-slopes[:30].reshape(10, 3), result[2], rtol=0, atol=1e-6)
    np.testing.assert_allclose(-slopes[30:].reshape(3, 3), result[3], rtol=0, atol=1e-5)


@with_ranks
@pytest.mark.parametrize("n_ranks", [1, 2, 3])
def test_kept_lists_are_complete(tmp_path, n_ranks):
    (results, n_built, pair, n_more), *others = tools.on_ranks(n_ranks, "move", tmp_path, skin=0.6)
    frames, first, second = list(tools.trajectory()), *tools.beads(2)
    second.rattle(0.4, seed=3)
    for step, (result, atoms) in enumerate(zip(results, [*frames, *[first, second] * 3], strict=True)):
        check(result, serial("cheap").compute(atoms), f"step {step}")
    for result, atoms in zip(pair, [first, second] * 2, strict=True):
        check(result, serial("cheap").compute(atoms))
    assert 3 <= n_built <= 15
    assert n_more <= 4  # one for each of two that take turns, one for both at once; each may have been divided twice
    assert all(other[1] == n_built for other in others)


@with_ranks
@pytest.mark.parametrize("n_ranks", [1, 3])
def test_an_error_is_the_same_on_all_ranks(tmp_path, n_ranks):
    outcomes = tools.on_ranks(n_ranks, "errors", tmp_path)
    found, after = outcomes[0]
    assert found["no file"][0] == "ModelFileError"
    assert found["species"] == ("InputError", "the structure has Cu, the model knows Si, O: use a model that was trained for "
                                              "all elements of the structure")
    assert "position that is not finite" in found["position"][1]
    assert "periodic along" in found["cell"][1]
    assert found["one rank"] == ("InputError", "this rank has no evaluator today")
    assert found["no skin"][0] == "InputError"
    assert found["its lists"][0] == "RuntimeError"
    assert found["its lists"][1].startswith(f"rank {n_ranks - 1}: Traceback")
    check(after, serial("cheap").compute(tools.crystal(2)))
    for other, result in outcomes:
        assert {k: v for k, v in other.items() if k != "its place"} == {k: v for k, v in found.items() if k != "its place"}
        assert other["its place"][0] == "HostError"
        np.testing.assert_array_equal(result[2], after[2])


@with_ranks
def test_led_ranks_work_and_rest(tmp_path):
    outcomes = tools.on_ranks(3, "led", tmp_path, seconds=1.5)
    strange, one, batch, failing = outcomes[0][0]
    assert strange[0] == "InputError"
    assert failing == ("InputError", "this rank has no evaluator today")
    check(one, serial("cheap").compute(tools.crystal(2)))
    for result, atoms in zip(batch, tools.beads(3), strict=True):
        check(result, serial("cheap").compute(atoms))
    assert [results for results, _, _ in outcomes[1:]] == [[], []]
    assert all(spent < 0.75 for _, spent, _ in outcomes[1:]), "a rank that waits takes a core"


@with_ranks
def test_ranks_that_do_not_agree_on_who_leads(tmp_path):
    outcomes = tools.on_ranks(3, "half_led", tmp_path)
    assert outcomes[1] is None
    assert outcomes[0] == outcomes[2]
    assert outcomes[0][0] == "HostError"


# ---- hosts --------------------------------------------------------------------------------------------------------

@with_ranks
def test_dynamics_in_ase_on_two_ranks(tmp_path):
    outcomes = tools.on_ranks(2, "dynamics", tmp_path, steps=40)
    atoms = tools.run_dynamics(40)
    positions, energy, stress, energies = outcomes[0]
    np.testing.assert_allclose(positions, atoms.positions, rtol=0, atol=1e-9)
    np.testing.assert_allclose(stress, atoms.get_stress(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(energies, atoms.get_potential_energies(), rtol=0, atol=1e-9)
    assert energy == pytest.approx(atoms.get_total_energy(), abs=1e-9)
    assert all(np.array_equal(a, b) for a, b in zip(outcomes[0], outcomes[1]))


@with_ranks
@pytest.mark.parametrize("n_ranks", [2, 3])
def test_ranks_that_hold_different_structures_are_told(tmp_path, n_ranks):
    outcomes = tools.on_ranks(n_ranks, "refused", tmp_path)
    for rank, (found, energy) in enumerate(outcomes):
        kind, said = found.pop("stresses")
        assert (kind, "without comm" in said) == ("PropertyNotImplementedError", True)
        assert len(found) == 6
        for name, (kind, said) in found.items():
            assert kind == "InputError", name
            assert f"the {n_ranks} ranks of comm hold different structures (rank {rank}: " in said, name
            assert "SoapGAP(model) without comm" in said, name
        assert energy == pytest.approx(Potential(tools.cheap_model()).compute(tools.crystal(1)).energy, abs=1e-11)


@with_ranks
def test_a_band_of_images_one_on_each_rank(tmp_path):
    for refused, done, energies, expected in tools.on_ranks(2, "band", tmp_path):
        assert refused[0] == "InputError"
        assert "NEB(parallel=True)" in refused[1]
        assert done is None
        assert energies == expected
        assert energies[0] != energies[1]


@with_ranks
def test_calculators_on_ranks_can_be_copied(tmp_path):
    for energies, kept, changed, refused, strange, expected, n_ranks in tools.on_ranks(2, "copied", tmp_path):
        assert n_ranks == 2
        assert changed == {"skin": 1.5}
        assert kept == [1.5, 0.5, 0.5, 0.5, 0.5, 0.5]
        np.testing.assert_allclose(energies, expected, rtol=0, atol=1e-11)
        assert refused[0] == "HostError"
        assert "expected MPI.COMM_WORLD or MPI.COMM_SELF" in refused[1]
        assert strange[0] == "TypeError"
        assert "expected a communicator of mpi4py" in strange[1]


def test_the_world_of_ase_without_mpi(monkeypatch):
    from ase.parallel import DummyMPI

    from soapgap.calculator import SoapGAP
    from soapgap.errors import HostError

    calculator = SoapGAP(tools.cheap_model(), comm=DummyMPI(), n_threads=1)
    assert isinstance(calculator.potential, Potential)
    monkeypatch.setenv("PMI_SIZE", "4")
    with pytest.raises(HostError, match="launcher started 4.*before `import ase`"):
        SoapGAP(tools.cheap_model(), comm=DummyMPI(), n_threads=1)


@pytest.fixture
def files(tmp_path):
    """A model, structures, and structures of which the last has a strange element."""
    make_two_species_model().save(tmp_path / "model.safetensors")
    frames = [random_structure(seed, n_atoms=8 + 3 * seed, length=8.0) for seed in range(6)]
    write(tmp_path / "good.xyz", [*frames, tools.slab()])
    frames[-1].symbols[2] = "Cu"
    write(tmp_path / "bad.xyz", frames)
    return tmp_path


def evaluate(folder, n_ranks, source, output, **environment):
    words = ["-m", "soapgap", "evaluate", "model.safetensors", source, output]
    return tools.launch(n_ranks, words, folder, **environment)


@with_ranks
@pytest.mark.parametrize("n_ranks", [2, 3])
def test_evaluate_under_mpiexec(files, n_ranks):
    evaluate_file(files / "model.safetensors", files / "good.xyz", files / "one.xyz", 1)
    done = evaluate(files, n_ranks, "good.xyz", "many.xyz")
    assert done.status == 0, done.stderr
    one, many = read(files / "one.xyz", ":"), read(files / "many.xyz", ":")
    assert len(one) == len(many) == 7
    for a, b in zip(one, many):
        assert b.get_potential_energy() == pytest.approx(a.get_potential_energy(), abs=1e-10 * abs(a.get_potential_energy()))
        np.testing.assert_allclose(b.get_forces(), a.get_forces(), rtol=0, atol=2e-8)  # written to eight digits
        np.testing.assert_allclose(b.info["virial"], a.info["virial"], rtol=0, atol=1e-10 * np.abs(a.info["virial"]).max())
        np.testing.assert_allclose(b.get_stress(), a.get_stress(), rtol=0, atol=1e-10 * np.abs(a.get_stress()).max())


@with_ranks
def test_evaluate_under_mpiexec_says_one_error_once(files):
    done = evaluate(files, 2, "bad.xyz", "many.xyz")
    assert done.status == 2
    assert done.stderr.count("bad.xyz, structure 5: the structure has Cu") == done.stderr.count("soapgap:") == 1
    (files / "model.safetensors").unlink()
    done = evaluate(files, 2, "good.xyz", "many.xyz")
    assert done.status == 2
    assert done.stderr.count("model.safetensors: No such file") == done.stderr.count("soapgap:") == 1
    assert not (files / "many.xyz").exists()


def test_evaluate_under_the_launcher_of_another_mpi(files, monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(HostError, match="2 ranks, but mpi4py cannot be loaded"):
        evaluate_file(files / "model.safetensors", files / "good.xyz", files / "many.xyz", 1)


def test_one_process_never_imports_mpi():
    code = ("import sys; sys.modules['mpi4py'] = None; sys.path.insert(0, 'tests')\n"
            "import parallel_tools as tools, soapgap, soapgap.evaluation, soapgap.parallel.potential\n"
            "atoms = tools.tiny(); atoms.calc = soapgap.SoapGAP(tools.cheap_model(), n_threads=1); atoms.get_forces()")
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    done = run_python("-c", code, folder=folder)
    assert done.status == 0, done.stderr
