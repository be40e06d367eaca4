"""Several right-hand sides in one triangle: as that many fits, with checkpoints, added data and ranks.

As a program under mpiexec (`python test_training_rhs.py FOLDER`) it factorises with all ranks and writes FOLDER/ranks.npy.
"""

import os
import shutil
import subprocess
import sys
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from training_tools import PAIR, SOAP, configuration, isolated, toy_frames, write_frames

from soapgap.config import read_config
from soapgap.fitting.assemble import solve
from soapgap.learn.factorise import Checkpoints, factorise
from soapgap.learn.plan import make_kernels
from soapgap.learn.prior import make_prior
from soapgap.learn.problem import read_problem
from soapgap.learn.state import FitState, load_state, pack, unpack
from soapgap.learn.streaming_qr import StreamingQR
from soapgap.ranks import Ranks, start_ranks
from soapgap.say import Reporter

MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
SAY = Reporter(quiet=True)


def with_columns(problem, columns):
    """The problem with these right-hand sides: its own, a multiple of it, and one that has nothing to do with it."""
    def several(target):
        return {name: np.column_stack([y, -2.0 * y, np.cos(np.arange(len(y)) + y)])[:, columns] for name, y in target.items()}

    return replace(problem, targets=[several(target) for target in problem.targets])


class Fit:
    """A problem with its kernels and prior; `weights` factorises and solves."""

    def __init__(self, folder):
        self.problem = read_problem(read_config(configuration(folder, terms=[PAIR, SOAP]))[0], folder, SAY)
        p = self.problem
        self.kernels = make_kernels(p.plan, 1, SAY)
        self.prior = make_prior(self.kernels, 1e-7, p.train, SAY)

    def solver(self, n_rhs, triangle=None):
        return StreamingQR(sum(k.n_sparse for k in self.kernels), n_rhs, triangle)

    def factorise(self, columns, solver=None, done=0, ranks=None, checkpoints=None):
        problem = with_columns(self.problem, columns)
        assert problem.n_rhs == len(columns)
        solver = solver or self.solver(len(columns))
        factorise(problem, self.kernels, self.prior, solver, done, 60, 1, ranks or Ranks(),
                  checkpoints or Checkpoints.none(), SAY)
        return solver

    def weights(self, columns, **options):
        return solve(self.factorise(columns, **options), self.prior, SAY)[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rhs")
    write_frames(folder / "train.xyz", [isolated("Si"), *toy_frames(9, seed=1)])
    return folder


@pytest.fixture(scope="module")
def made(folder):
    return Fit(folder)


def assert_same_predictions(made, found, expected):
    """K_mm times weights: weights themselves cancel."""
    column = 0
    for kernel in made.kernels:
        here = slice(column, column := column + kernel.n_sparse)
        values, wanted = (kernel.covariance() @ weights[here] for weights in (found, expected))
        np.testing.assert_allclose(values, wanted, rtol=0, atol=1e-9 * np.abs(wanted).max())
        assert np.abs(wanted).max() > 1e-3


def test_columns_are_separate_fits(made):
    together = made.weights([0, 1, 2])
    assert together.shape == (made.solver(1).n_columns, 3)
    for k in range(3):
        assert_same_predictions(made, together[:, [k]], made.weights([k]))
    assert_same_predictions(made, together[:, 1], -2.0 * together[:, 0])


def test_a_checkpoint_and_what_follows_give_the_same_bits(made, tmp_path):
    """Through the file: the triangle at a checkpoint, taken up again, ends as that of a fit in peace."""
    peace, saved = made.factorise([0, 1, 2]).triangle, []
    path = tmp_path / "m.fit"

    def save(solver, n_done):
        if not saved:
            FitState("x", n_done, False, pack(solver.triangle), [], n_rhs=solver.n_rhs).save(path)
        saved.append(n_done)

    made.factorise([0, 1, 2], checkpoints=Checkpoints(save, 0.0))
    state = load_state(path)
    assert 0 < state.n_done < len(made.problem.targets)
    resumed = made.factorise([0, 1, 2], made.solver(state.n_rhs, unpack(state.packed)), state.n_done)
    np.testing.assert_array_equal(resumed.triangle, peace)


def test_added_data_count_as_if_they_had_always_been_there(made):
    """The triangle of some structures and the rows of the others, and all rows at once."""
    p = made.problem
    few, rest = copy(made), copy(made)
    for part, here in ((few, slice(None, 4)), (rest, slice(4, None))):
        part.problem = replace(p, train=replace(p.train, structures=p.train.structures[here]), targets=p.targets[here])
    earlier = unpack(pack(few.factorise([0, 2]).triangle))
    assert_same_predictions(made, rest.weights([0, 2], solver=made.solver(2, earlier)), made.weights([0, 2]))


@pytest.mark.skipif(MPIEXEC is None, reason="no mpiexec")
def test_two_ranks(made, folder):
    done = subprocess.run([MPIEXEC, "-n", "2", sys.executable, __file__, str(folder)], capture_output=True, text=True,
                          timeout=200, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert_same_predictions(made, np.load(folder / "ranks.npy"), made.weights([0, 1, 2]))


def main(folder):
    """Every rank factorises its blocks; the root solves."""
    ranks = start_ranks()
    assert ranks.size == 2
    made = Fit(folder)
    solver = made.factorise([0, 1, 2], ranks=ranks)
    if ranks.is_root:
        np.save(folder / "ranks.npy", solve(solver, made.prior, SAY)[0])
    else:
        assert not solver.triangle.any()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
