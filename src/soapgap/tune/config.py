"""What a user asks of a search: the schema of the settings of `soapgap tune`, a TOML file beside `fit.toml`."""

from __future__ import annotations

import copy
import itertools
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from soapgap.config import FitConfig, read_config
from soapgap.config.errors import describe
from soapgap.config.section import Section, is_number, wrong
from soapgap.errors import InputError
from soapgap.learn.usage import as_bytes

_PATH = re.compile(r"terms\[(\d+|\*)\]\.(\w+)|(\w+)(?:\.(\w+))?")
_REFUSED = {"output": "it does not change the fit", "data": "tuning keeps to the training data of the fit",
            "config_type_sigma": "sigmas are tuned by themselves, see `sigmas`",
            "default_sigma": "sigmas are tuned by themselves, see `sigmas`",
            "sparse_jitter": "it is no property of the potential"}


def _bytes(value: Any) -> int:
    if not isinstance(value, str):
        raise wrong(f'expected an amount of memory such as "4GB" or "500MB", got {value!r}')
    try:
        return as_bytes(value)
    except InputError as error:
        raise wrong(str(error)) from None


def _range(value: Mapping) -> list[float]:
    keys = {"low", "high", "points", "log"}
    if not {"low", "high", "points"} <= value.keys() <= keys:
        raise wrong("expected a list of values or a table { low = ..., high = ..., points = ... } (and log = true for a "
                    f"geometric one), got {dict(value)!r}")
    low, high, points = value["low"], value["high"], value["points"]
    log = value.get("log", False)
    if not (is_number(low) and is_number(high) and low < high and isinstance(points, int) and points >= 2) or \
            not isinstance(log, bool) or (log and low <= 0):
        raise wrong(f"expected low < high, points >= 2 (and low > 0 if log = true), got {dict(value)!r}")
    values = np.geomspace(low, high, points) if log else np.linspace(low, high, points)
    return [float(f"{v:.6g}") for v in values]


def _search(value: Any) -> dict[str, tuple]:
    if not isinstance(value, Mapping):
        raise wrong(f'expected a table of lists such as "terms[1].zeta" = [2, 4], got {value!r}')
    found = {}
    for path, choices in value.items():
        if not _PATH.fullmatch(path):
            raise wrong(f'{path!r}: expected a key of the fit such as "terms[0].cutoff" (written in quotes), "terms[*].cutoff" '
                        'for all terms that have it, or "sigma_per_atom"')
        refused = _REFUSED.get(path.split(".")[0])
        if refused:
            raise wrong(f"{path!r} cannot be searched: {refused}")
        values = _range(choices) if isinstance(choices, Mapping) else choices
        if not isinstance(values, list) or not values:
            raise wrong(f"{path!r}: expected a list of values, got {choices!r}")
        found[path] = tuple(values)
    return found


class CurveConfig(Section):
    """`[learning_curve]`: errors of the best settings against the number of training frames."""

    sizes: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)] = ()
    seeds: Annotated[int, Field(ge=1)] = 3


class TuneConfig(Section):
    """The whole of the file."""

    objective: Literal["kfold", "likelihood"] = "kfold"
    energy_weight: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    folds: Annotated[int, Field(ge=2)] = 5
    fold_by: Literal["random", "block"] = "random"
    deltas: bool = True
    sigmas: Literal["kind", "config_type", "fixed"] = "kind"
    restarts: Annotated[int, Field(ge=0)] = 1
    max_sparse: Annotated[int, Field(ge=10)] = 1000
    memory: Annotated[int, BeforeValidator(_bytes), Field(ge=1)] = 2 * 2**30
    method: Literal["auto", "grid", "halving"] = "auto"
    max_trials: Annotated[int, Field(ge=1)] = 40
    seed: Annotated[int, Field(ge=0)] = 0
    leave_one_out: bool = True
    search: Annotated[dict[str, tuple], BeforeValidator(_search)] = Field(default_factory=dict)
    learning_curve: CurveConfig | None = None

    @model_validator(mode="after")
    def _check_deltas(self) -> TuneConfig:
        inner = [path for path in self.search if path.endswith(".delta")]
        if inner and self.deltas:
            raise wrong(f"{inner[0]!r} is tuned by itself: remove it from [search], or set deltas = false")
        return self

    @property
    def n_candidates(self) -> int:
        """Number of combinations of the values of [search]."""
        return int(np.prod([len(values) for values in self.search.values()], dtype=object)) if self.search else 1


SECTIONS = {"": TuneConfig, "learning_curve": CurveConfig}


def read_tune_config(source: Mapping[str, Any] | str | os.PathLike | None) -> tuple[TuneConfig, Path | None]:
    """Read and check the settings of a search.

    Parameters
    ----------
    source : path of a TOML file, its content as nested dictionaries, or None for the defaults

    Returns
    -------
    settings : TuneConfig
    path : Path or None
        Of the file.

    Raises
    ------
    InputError
        No such file, not TOML, or something in it that is unknown, of the wrong type or out of range.
    """
    path, name, content = None, "settings", source or {}
    if not isinstance(content, Mapping):
        path = Path(content)
        name, content = path.name, read_toml(path)
    try:
        return TuneConfig.model_validate(dict(content)), path
    except ValidationError as error:
        known = {where: tuple(section.model_fields) for where, section in SECTIONS.items()}
        raise InputError(f"{name}: " + "; ".join(describe(error.errors(), known))) from None


def read_toml(path: Path) -> dict[str, Any]:
    """Content of a TOML file.

    Raises
    ------
    InputError
        It is missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a TOML file: {error}") from None


def changed(content: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a `fit.toml` with other values at some paths.

    Parameters
    ----------
    values : dict of str to object
        By path, such as "terms[1].zeta", "terms[*].cutoff" (of all terms that have the key) or "default_sigma".

    Raises
    ------
    InputError
        There is no such term.
    """
    new = copy.deepcopy(dict(content))
    for path, value in values.items():
        number, key, top, inner = _PATH.fullmatch(path).groups()
        if number is None:
            place = new if inner is None else new.setdefault(top, {})
            place[top if inner is None else inner] = value
            continue
        terms = new["terms"]
        if number == "*":
            chosen = [term for term in terms if key in term]
            if not chosen:
                raise InputError(f"{path!r}: no term has the key {key}")
        elif int(number) < len(terms):
            chosen = [terms[int(number)]]
        else:
            raise InputError(f"{path!r}: the fit has {len(terms)} terms, counted from 0")
        for term in chosen:
            term[key] = copy.deepcopy(value)
    return new


def candidates(settings: TuneConfig, content: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The combinations of values to try, the fit as it is first; all of them are checked before the first is tried.

    All combinations if there are not more than `max_trials` (or method = "grid"), else as many drawn at random.

    Raises
    ------
    InputError
        A combination that is no valid configuration.
    """
    axes = list(settings.search.items())
    shape = [len(values) for _, values in axes]
    total = settings.n_candidates
    if settings.method == "grid" or total <= settings.max_trials:
        chosen: Sequence = list(itertools.product(*(range(n) for n in shape)))
    else:
        rng = np.random.default_rng([settings.seed, 1])
        drawn: dict[tuple, None] = {}
        while len(drawn) < settings.max_trials:
            drawn[tuple(int(rng.integers(n)) for n in shape)] = None
        chosen = list(drawn)
    found, seen = [{}], [_checked(content, {}, name)]
    for indices in chosen:
        values = {path: choices[k] for (path, choices), k in zip(axes, indices, strict=True)}
        config = _checked(content, values, name)
        if config not in seen:
            found.append(values)
            seen.append(config)
    return found


def _checked(content: Mapping[str, Any], values: Mapping[str, Any], name: str) -> FitConfig:
    try:
        return read_config(changed(content, values))[0]
    except InputError as error:
        if not values:
            raise InputError(str(error).replace("config:", f"{name}:", 1)) from None
        raise InputError(f"[search], with {values}: {str(error).removeprefix('config: ')}") from None
