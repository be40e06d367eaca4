"""Small sets of training data without faults, and what a check says of a set: for the tests of the check."""

from functools import lru_cache
from importlib.resources import files

import numpy as np
from ase.build import bulk
from ase.io import read
from planted_faults import write_set
from training_tools import isolated, labelled, toy_frames

from soapgap.check.run import check

DEMO = files("soapgap") / "demo" / "data"


def toy_set():
    """Isolated atoms, strained cells, displaced atoms, and cells that are both: silicon carbide of the toy potential."""
    rng = np.random.default_rng(3)
    frames = [isolated("Si"), isolated("C")]
    crystal = bulk("SiC", "zincblende", a=4.6, cubic=True)
    crystal.positions += 0.05 * rng.standard_normal((8, 3))
    for _ in range(14):
        strained = crystal.copy()
        strained.set_cell(crystal.cell.array @ (np.eye(3) + 0.02 * rng.standard_normal((3, 3))), scale_atoms=True)
        frames.append(labelled(strained))
    for _ in range(14):
        moved = crystal.copy()
        moved.positions += 0.04 * rng.standard_normal((8, 3))
        frames.append(labelled(moved))
    return frames + toy_frames(24, seed=5, species=("Si", "C"))


def demo_set():
    """The shipped silicon data."""
    return read(str(DEMO / "si_train.xyz"), ":", format="extxyz")


@lru_cache(maxsize=1)
def small_sets():
    """Both by name; copy before any change."""
    return {"toy": toy_set(), "demo": demo_set()}


def checked(tmp_path, frames, **keys):
    """The result of a check of these frames."""
    return check([write_set(tmp_path / "data.xyz", frames)], **keys)


def serious(result):
    """Errors and warnings by code, with the frames."""
    return {f.code: f for f in result.findings if f.severity != "note"}


def notes(result):
    return {f.code: f for f in result.findings if f.severity == "note"}
