"""Training in the style of an estimator: settings in `GapModel(...)`, learning in `.fit(frames)`, then `.predict(frames)`."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ase import Atoms
from threadpoolctl import threadpool_limits

import soapgap
from soapgap.config import read_config
from soapgap.data.dataset import dataset_of
from soapgap.errors import InputError
from soapgap.fitting.assemble import assemble, reduced, solve
from soapgap.learn.baseline.baseline_potentials import outside_values, with_outside
from soapgap.learn.errors import compare, errors
from soapgap.learn.estimate import fit_into
from soapgap.learn.factorise import Checkpoints, factorise
from soapgap.learn.plan import make_kernels
from soapgap.learn.prior import make_prior
from soapgap.learn.problem import Problem, list_bytes, pool_bytes, pose
from soapgap.learn.streaming_qr import StreamingQR
from soapgap.learn.summary import error_table
from soapgap.learn.usage import as_bytes
from soapgap.potential import Potential, Result, default_threads
from soapgap.ranks import Ranks
from soapgap.say import Reporter


class GapModel:
    """A SOAP-GAP potential that learns from structures in memory.

    The parameters are the keys of `fit.toml` (docs/training.md); nothing is checked before `fit`, and nothing written.

    Parameters
    ----------
    terms : list of dict
        Kernels, such as ``[{"kind": "soap", "n_max": 8, "l_max": 6, "cutoff": 5.0, "atom_sigma": 0.5, "n_sparse": 500}]``.
    default_sigma : sequence of float
        Standard deviations of energy (eV, times sqrt(N)), force component (eV/Angstrom), virial (eV, times sqrt(N)) and, if
        need be, curvature (eV/Angstrom^2).
    e0 : str or dict
        "isolated", "fit", "average", or energies of isolated atoms (eV) by species.
    data : dict, optional
        Names of the quantities: ``{"energy_key": "dft_energy", ...}``. By default energy, forces, virial and stress of the
        structures' calculators, ``info`` and ``arrays``.
    config_type_sigma, baseline, sparse_jitter, seed, exact : object
        Further keys of the top of `fit.toml`.
    **others
        The other keys of the top of `fit.toml`.

    Attributes
    ----------
    model_ : soapgap.Model
        The fitted potential.
    errors_ : dict
        Of the training structures, by "all" and config_type, by quantity: n, rmse, mae (`soapgap.fit`).
    conditions_ : Conditions
        Condition numbers and jitter.
    warnings_ : list of str
    sparse_origins_ : list of ndarray
        Structure and atom of every sparse point, by kernel; -1 where there is none.

    Examples
    --------
    >>> gap = soapgap.GapModel(terms=[...], default_sigma=[0.001, 0.1, 0.05]).fit(frames)
    >>> gap.predict(others)[0].forces
    >>> atoms.calc = soapgap.SoapGAP(gap.model_)
    >>> gap.save("silicon.safetensors")
    """

    def __init__(self, terms: Sequence[Mapping[str, Any]], default_sigma: Sequence[float], *,
                 e0: str | Mapping[str, float] = "isolated", data: Mapping[str, str] | None = None,
                 config_type_sigma: Mapping[str, Sequence[float]] | None = None, baseline: Mapping[str, Any] | None = None,
                 sparse_jitter: float | str = "auto", seed: int = 0, exact: bool = False, **others: Any) -> None:
        self.terms, self.default_sigma, self.e0, self.data = terms, default_sigma, e0, data
        self.config_type_sigma, self.baseline, self.sparse_jitter = config_type_sigma, baseline, sparse_jitter
        self.seed, self.exact, self.others = seed, exact, others

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The settings, by name."""
        names = [name for name in inspect.signature(type(self)).parameters if name != "others"]
        return {name: getattr(self, name) for name in names} | self.others

    def set_params(self, **params: Any) -> GapModel:
        """Change settings; what has been learnt stays until the next `fit`."""
        self.__init__(**(self.get_params() | params))
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self)).parameters
        changed = {k: v for k, v in self.get_params().items() if k not in defaults or v != defaults[k].default}
        return f"GapModel({', '.join(f'{name}={value!r}' for name, value in changed.items())})"

    def fit(self, frames: Iterable[Atoms], *, threads: int | None = None, memory: str | int | None = None,
            quiet: bool = False) -> GapModel:
        """Learn from structures.

        Parameters
        ----------
        frames : iterable of Atoms
            With energies, forces, ... in their calculators, `info` and `arrays`.
        threads : int, optional
            By default OMP_NUM_THREADS or all cores.
        memory : str or int, optional
            Bytes or "4GB"; by default no limit.
        quiet : bool
            Print nothing.

        Returns
        -------
        self

        Raises
        ------
        InputError
            A setting or a structure that cannot be used.
        """
        config, folder, _ = read_config(self._content())
        threads = default_threads() if threads is None else threads
        if threads < 1:
            raise InputError(f"threads = {threads}, expected at least 1")
        limit = as_bytes(memory) if isinstance(memory, str) else memory
        say = Reporter(quiet)
        with threadpool_limits(1, "blas"):
            problem = pose(config, dataset_of(list(frames), config.data), say, pool_bytes(limit), folder=folder,
                           list_bytes=list_bytes(limit))
            self._learn(problem, threads, limit, say)
        self.warnings_ = say.warnings
        return self

    def _content(self) -> dict[str, Any]:
        """The settings as the content of a `fit.toml`."""
        content = {k: v for k, v in self.get_params().items() if v is not None}
        return content | {"output": "none", "data": {"train": "frames", **content.get("data", {})}}

    def _learn(self, problem: Problem, threads: int, memory: int | None, say: Reporter) -> None:
        config, structures = problem.config, problem.train.structures
        _, threads, block_rows = fit_into(memory, problem.plan, structures, threads)
        kernels = make_kernels(problem.plan, threads, say)
        solver = StreamingQR(sum(k.n_sparse for k in kernels), problem.n_rhs)
        prior = make_prior(kernels, config.sparse_jitter, problem.train, say)
        factorise(problem, kernels, prior, solver, 0, block_rows, threads, Ranks(), Checkpoints.none(), say)
        weights, self.conditions_ = solve(solver, prior, say)
        model = reduced(assemble(problem, kernels, weights), config, say)
        outside = problem.reference.outside
        with say.task("errors", len(structures)) as task:
            found = compare(model, structures, threads, task.advance, config.hessian_delta)
        self.errors_ = errors(with_outside(found, structures, outside))
        model.provenance = {"program": f"soapgap {soapgap.__version__}", "command": "soapgap.GapModel(...).fit(frames)",
                            "config": config.recorded(prior.jitter), "training_data": problem.training_data,
                            "errors": {"train": self.errors_}}
        say.show(error_table({"train": self.errors_}))
        self.model_, self.sparse_origins_ = model, [k.origins for k in kernels]

    def _fitted(self):
        if not hasattr(self, "model_"):
            raise InputError("this GapModel has learnt nothing yet; call fit(frames) first")
        return self.model_

    def predict(self, frames: Iterable[Atoms], *, threads: int | None = None) -> list[Result]:
        """Energy (eV), energies of the atoms (eV), forces (eV/Angstrom) and virial (eV) of each structure."""
        potential = Potential(self._fitted(), n_threads=threads)
        return [potential.compute(atoms) for atoms in frames]

    def score(self, frames: Iterable[Atoms], *, threads: int | None = None) -> dict[str, Any]:
        """Errors on structures with known energies and forces: as `errors_`."""
        model = self._fitted()
        config = read_config(self._content())[0]
        data = dataset_of(list(frames), config.data)
        outside = outside_values(model.external, model.species, data.structures, config.hessian_delta, Reporter(True), "test")
        found = compare(model, data.structures, threads or default_threads(), hessian_delta=config.hessian_delta)
        return errors(with_outside(found, data.structures, outside))

    def save(self, path: str | Path) -> None:
        """Write the model file, for LAMMPS, i-PI and ASE."""
        self._fitted().save(path)
