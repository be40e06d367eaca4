"""`[[terms]]`: what all kinds of terms of a fit have in common, and which kinds there are.

A kind is a table of `fit.toml`: a subclass of `TermConfig` whose `kind` is a `Literal` of its name. `register` makes it known
to `soapgap.config`; `soapgap.kinds.kernel` says what else it needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, Field, model_validator

from soapgap.config.section import Positive, Section, is_number, wrong

#: Methods that get the points from a file or take all, and need no number of them.
FROM_FILE = ("file", "index_file")
WITHOUT_NUMBER = (*FROM_FILE, "all")


def _is_count(n: Any) -> bool:
    return isinstance(n, int) and not isinstance(n, bool) and n >= 1


def _table(value: Any, good) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(k, str) and good(v) for k, v in value.items())


def _n_sparse(value: Any) -> int | dict[str, int]:
    if _is_count(value):
        return value
    if _table(value, _is_count):
        return dict(value)
    raise wrong(f"expected an integer >= 1 or one per centre species such as {{Si = 1000, O = 500}}, got {value!r}")


def _of_types(value: Any) -> dict[str, int]:
    if _table(value, _is_count):
        return dict(value)
    raise wrong(f"expected integers >= 1 by config type such as {{bulk = 500, liquid = 300}}, got {value!r}")


def _of_types_and_species(value: Any) -> dict[str, int | dict[str, int]]:
    if _table(value, lambda n: _is_count(n) or _table(n, _is_count)):
        return {kind: n if _is_count(n) else dict(n) for kind, n in value.items()}
    raise wrong("expected integers >= 1 by config type such as {bulk = 500, liquid = 300}, or tables by centre species in "
                f"their place such as {{bulk = {{Si = 500, O = 200}}}}, got {value!r}")


def _files(value: Any) -> str | dict[str, str]:
    def good(name: Any) -> bool:
        return isinstance(name, str) and bool(name)

    if good(value):
        return value
    if _table(value, good):
        return dict(value)
    raise wrong('expected a path, or paths by species such as {Si = "Si.dat", O = "O.dat"} (soap), {"Si-O" = "SiO.dat"} '
                f'(pairs), {{"O-Si-Si" = "OSiSi.dat"}} (triplets), got {value!r}')


def _three(value: Any) -> tuple[float, float, float]:
    items = [value] * 3 if is_number(value) else value
    if not isinstance(items, (list, tuple)) or len(items) != 3 or not all(is_number(t) and t > 0 for t in items):
        raise wrong(f"expected a number > 0, or three of them, one for each component, got {value!r}")
    return tuple(float(t) for t in items)


NSparse = Annotated[int | dict[str, int], BeforeValidator(_n_sparse)]
OfTypes = Annotated[dict[str, int], BeforeValidator(_of_types)]
OfTypesAndSpecies = Annotated[dict[str, int | dict[str, int]], BeforeValidator(_of_types_and_species)]
SparseFile = Annotated[str | dict[str, str], BeforeValidator(_files)]
ThreeNumbers = Annotated[tuple[float, float, float], BeforeValidator(_three)]


class TermConfig(Section):
    """What every kind has: a range, a size, and sparse points."""

    kind: str
    cutoff: Positive
    cutoff_transition_width: Positive = 0.5
    delta: Positive
    n_sparse: Annotated[int, Field(ge=1)] | None = None
    config_type_n_sparse: OfTypes | None = None
    sparse_method: str
    sparse_file: SparseFile | None = None

    @model_validator(mode="after")
    def _check(self) -> TermConfig:
        width = self.cutoff_transition_width
        if width > self.cutoff:
            raise wrong(f"cutoff_transition_width = {width:g} must not exceed cutoff = {self.cutoff:g}")
        self._check_sparse()
        return self

    def _check_sparse(self) -> None:
        """Each method has what it needs and nothing else."""
        method = self.sparse_method
        counts = [key for key in ("n_sparse", "config_type_n_sparse") if getattr(self, key) is not None]
        if len(counts) == 2:
            raise wrong("n_sparse and config_type_n_sparse are both given; expected one of them: a number for all the data, or "
                        "one for each config type")
        if method in WITHOUT_NUMBER and counts:
            raise wrong(f'{counts[0]} has no effect with sparse_method = "{method}": remove it')
        if method not in WITHOUT_NUMBER and not counts:
            raise wrong(f'n_sparse is missing: sparse_method = "{method}" needs the number of sparse points')
        if method == "grid" and counts != ["n_sparse"]:
            raise wrong('config_type_n_sparse has no effect with sparse_method = "grid", which takes no points from the data; '
                        'choose another method such as "uniform"')
        if (method in FROM_FILE) != (self.sparse_file is not None):
            raise wrong(f'sparse_method = "{method}" needs a sparse_file' if method in FROM_FILE else
                        f'sparse_file has no effect with sparse_method = "{method}"; expected "file" or "index_file"')

    def with_known_points(self) -> TermConfig:
        """The same term of a fit whose sparse points are known, so that how they were chosen does not matter."""
        return self.model_copy(update={"config_type_n_sparse": None, "sparse_file": None, "n_sparse": 1,
                                       "sparse_method": "random"})


def check_theta(term):
    """Exactly one of theta and theta_fac."""
    if (term.theta is None) == (term.theta_fac is None):
        got = "both" if term.theta is not None else "neither"
        raise wrong(f"expected either theta (length scale) or theta_fac (in units of the range of the data), got {got}")
    return term


#: The kinds of `[[terms]]`, by name.
KINDS: dict[str, type[TermConfig]] = {}


def register(config: type[TermConfig]) -> type[TermConfig]:
    """Make a kind known to `fit.toml`, as a decorator of its class.

    Parameters
    ----------
    config : type of TermConfig
        Its table; the annotation of `kind` is a `Literal` of its name.
    """
    (name,) = get_args(config.model_fields["kind"].annotation)
    KINDS[name] = config
    return config
