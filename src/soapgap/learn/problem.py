"""What a fit has to solve: which data, with which baseline and e0, by which kernels. Nothing here writes a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import soapgap
from soapgap.config import FitConfig
from soapgap.data.dataset import Dataset, read_dataset
from soapgap.data.environments import LIST_BYTES, POOL_BYTES, shortest_distances, with_lists
from soapgap.data.noise import sigmas, unused_types
from soapgap.data.observables import OBSERVABLES
from soapgap.errors import InputError
from soapgap.files import hash_files, hash_json
from soapgap.learn.baseline.baseline import BaselineValues
from soapgap.learn.baseline.baseline_potentials import Reference, make_reference
from soapgap.learn.baseline.e0 import atom_energies
from soapgap.learn.design import Targets, targets
from soapgap.learn.plan import Plan, plan_kernels
from soapgap.learn.usage import peak_bytes
from soapgap.say import Reporter

_AFTER_THE_TRIANGLE = ("reduction_tolerance", "triplet_tolerance", "precision")


@dataclass(frozen=True)
class Fixed:
    """What an earlier fit has decided and further data do not change.

    Attributes
    ----------
    species : list of str
        Chemical symbols of the model.
    shortest : dict
        Shortest distance (Angstrom) of the pairs of species that occur within the cutoff.
    e0 : dict of str to float
        Energy of an isolated atom (eV).
    thetas : dict of str to list of float
        Length scales of pair and triplet kernels (`Plan.thetas`).
    n_sparse : int or None
        Number of sparse points of all kernels, None if they are to be chosen.
    """

    species: list[str]
    shortest: dict[tuple[str, str], float]
    e0: dict[str, float]
    thetas: dict[str, list[float]] = field(default_factory=dict)
    n_sparse: int | None = None


@dataclass(frozen=True)
class Problem:
    """Data and kernels of a fit.

    Attributes
    ----------
    config : FitConfig
    train : Dataset
        The data to learn from.
    species : list of str
        Chemical symbols of the model, by atomic number.
    shortest : dict
        Shortest training distance (Angstrom) of the pairs of species that occur within the cutoff.
    reference : Reference
        What is subtracted before the fit and belongs to the model.
    e0 : dict of str to float
        Energy of an isolated atom (eV).
    targets : list of Targets
        Of every structure, what is left to learn, (n_rows,) or (n_rows, n_rhs) for each observable.
    plan : Plan
        Kernels to be.
    folder : Path
        What relative paths in the configuration are relative to.
    """

    config: FitConfig
    train: Dataset
    species: list[str]
    shortest: dict[tuple[str, str], float]
    reference: Reference
    e0: dict[str, float]
    targets: list[Targets]
    plan: Plan
    folder: Path = Path(".")

    def identity(self, earlier: str | None = None) -> str:
        """Fingerprint of everything that decides the triangle.

        Parameters
        ----------
        earlier : str, optional
            That of the fit that the data are added to.
        """
        settings = {key: value for key, value in self.config.as_json().items() if key not in _AFTER_THE_TRIANGLE}
        settings["data"].pop("test", None)
        settings["frames"] = list(self.train.n_frames)  # which frames belong to which file, hence to which weight
        settings["added to"] = earlier
        settings["observables"], settings["n_rhs"] = list(OBSERVABLES), self.n_rhs
        settings["other files"] = self.reference.fingerprint | {str(path): hash_files([path]) for path in self.sparse_files}
        return hash_json(settings, self.train.sha256, soapgap.__version__)

    @property
    def n_rhs(self) -> int:
        """Number of right-hand sides: columns of the targets."""
        return next((v[0].size for target in self.targets for v in target.values() if len(v)), 1)

    @property
    def sparse_files(self) -> list[Path]:
        """The files that sparse points are read from."""
        return sparse_files(self.config, self.folder)

    @property
    def training_data(self) -> dict[str, Any]:
        """Files, fingerprint and counts of the training data."""
        return {"files": list(self.train.files), "sha256": self.train.sha256, **self.train.counts()}

    def facts(self, jitter: float, earlier: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
        """What a later fit that adds data must know, as plain JSON values.

        Parameters
        ----------
        jitter : float
            What was added to the diagonal of K_mm, eV^2.
        earlier : sequence of dict
            `training_data` of the fits that these data were added to.

        Returns
        -------
        dict
        """
        return {
            "config": self.config.recorded(jitter),
            "species": self.species,
            "shortest": [[a, b, r] for (a, b), r in self.shortest.items()],
            "e0": self.e0,
            "baseline_files": self.reference.fingerprint,
            "thetas": self.plan.thetas,
            "training_data": [*earlier, self.training_data],
        }


def sparse_files(config: FitConfig, folder: Path) -> list[Path]:
    """The files that sparse points are read from."""
    named = (term.sparse_file for term in config.terms if term.sparse_file is not None)
    return [folder / name for file in named for name in ([file] if isinstance(file, str) else file.values())]


def pool_bytes(memory: int | None) -> int:
    """How much of the memory (bytes; None: no limit) environments may take while sparse points are chosen from them."""
    return POOL_BYTES if memory is None else min(POOL_BYTES, max(memory - peak_bytes(), memory // 4) // 4)


def list_bytes(memory: int | None) -> int:
    """How much of the memory (bytes; None: no limit) neighbour lists of the training data may take."""
    return LIST_BYTES if memory is None else min(LIST_BYTES, max(memory - peak_bytes(), 0) // 16)


def read_problem(config: FitConfig, folder: Path, say: Reporter, pool_bytes: int = POOL_BYTES) -> Problem:
    """The problem of the training files of a configuration; no test file is opened.

    Parameters
    ----------
    folder : Path
        What relative paths are relative to.
    pool_bytes : int
        Memory for environments that sparse points are chosen from.

    Raises
    ------
    InputError
        See `read_dataset`, `pose`.
    """
    train = read_dataset(config.data.train, config.data, folder)
    return pose(config, train, say, pool_bytes, folder=folder)


def pose(config: FitConfig, train: Dataset, say: Reporter, pool_bytes: int = POOL_BYTES, fixed: Fixed | None = None,
         folder: Path = Path("."), list_bytes: int = LIST_BYTES) -> Problem:
    """Check the data against the configuration, subtract baseline and e0, plan the kernels.

    Parameters
    ----------
    config : FitConfig
    train : Dataset
        The data to learn from; those of the problem keep their neighbour lists.
    say : Reporter
    pool_bytes : int
        Memory for environments that sparse points are chosen from.
    fixed : Fixed or None
        From the fit that these data are added to.
    folder : Path
        What files that the configuration names are relative to.
    list_bytes : int
        Memory for the neighbour lists of the data.

    Returns
    -------
    Problem

    Raises
    ------
    InputError
        A sigma that is zero, atoms on one another, no energy for an isolated atom, a term that fits no species.
    """
    _check(config, train, say)
    species = _species(train, fixed)
    train = with_lists(train, config.cutoff, species, list_bytes)
    shortest = shortest_distances(train.structures, config.cutoff, species)
    if fixed is not None:
        shortest = fixed.shortest
    reference = make_reference(config, species, shortest, train.structures, folder, say)
    values = reference.values
    e0 = fixed.e0 if fixed is not None else atom_energies(config.e0, train.structures, species, config.cutoff,
                                                          [v.energy for v in values], config.e0_offset)
    _describe_reference(reference.repulsion, e0, say)
    goals = [targets(s, e0, v) for s, v in zip(train.structures, values, strict=True)]
    if fixed is None or fixed.n_sparse is None:
        plan = plan_kernels(config, species, shortest, train.structures, say, pool_bytes, folder)
    else:
        plan = _plan_of(fixed, config, train)
    return Problem(config, train, species, shortest, reference, e0, goals, plan, folder)


def _plan_of(fixed: Fixed, config: FitConfig, train: Dataset) -> Plan:
    """The kernels of an earlier fit: their sparse points are known, so how they were chosen does not matter."""
    terms = tuple(term.with_known_points() for term in config.terms)
    plan = plan_kernels(config.model_copy(update={"terms": terms}), fixed.species, fixed.shortest, train.structures,
                        Reporter(quiet=True), thetas=fixed.thetas)
    return replace(plan, saved=fixed.n_sparse)


def _check(config: FitConfig, train: Dataset, say: Reporter) -> None:
    """Errors and warnings that need no computation."""
    say.line(describe("train", train))
    for structure in train.structures:
        sigmas(structure, config)  # raises if one is zero
    strange = train.contradicting_sums()
    if strange:
        say.warning(f"in {len(strange)} training frames the local energies do not add up to the energy (by more than "
                    f"1 meV per atom), first in {strange[0].where}: do both contain the energies of the isolated atoms?")
    for kind in unused_types(train.structures, config):
        say.warning(f"config_type_sigma.{kind}: no training frame has this {config.data.config_type_key}")


def _species(train: Dataset, fixed: Fixed | None) -> list[str]:
    if fixed is None:
        return train.species
    strange = [symbol for symbol in train.species if symbol not in fixed.species]
    if strange:
        raise InputError(f"the added data contain {', '.join(strange)}, the model only {', '.join(fixed.species)}: a model "
                         "cannot learn a new species from added data; fit all data together")
    return fixed.species


def _describe_reference(values: Sequence[BaselineValues], e0: dict[str, float], say: Reporter) -> None:
    say.line("e0 (eV): " + ", ".join(f"{symbol} {energy:.6g}" for symbol, energy in e0.items()))
    touched = sum(bool(np.any(v.forces)) for v in values)
    if touched:
        say.line(f"the short-range baseline acts in {touched} training frames and is subtracted there")


def read_test(config: FitConfig, folder: Path, species: Sequence[str], say: Reporter) -> Dataset | None:
    """The test data, if there are any.

    Raises
    ------
    InputError
        They contain species that the model does not know.
    """
    if not config.data.test:
        return None
    test = read_dataset(config.data.test, config.data, folder)
    say.line(describe("test", test))
    strange = [symbol for symbol in test.species if symbol not in species]
    if strange:
        raise InputError(f"the test data contain {', '.join(strange)}, which the training data do not; add such frames to "
                         "the training data, or remove them from the test data")
    return test


def describe(label: str, data: Dataset) -> str:
    """One line of numbers about a data set."""
    counts = ", ".join(f"{number} {what.replace('_', ' ')}" for what, number in data.counts().items())
    return f"{label}: {counts}; species {', '.join(data.species)}"
