"""What an observable is: a linear map of the outputs of the centres and of their derivatives.

    y = sign * L[E, E_i, dE/dR, dE/dstrain]

E is a column of the design matrix, the energy of a model or that of a baseline: the same map L makes rows, predictions and what
a baseline takes from the targets. `OBSERVABLES` holds all of them, in the one order that rows, tables and files of errors have;
`register` adds one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any

import numpy as np
from ase import Atoms

from soapgap.config.data import DataConfig
from soapgap.data.lookup import lookup, numbers
from soapgap.errors import InputError


@dataclass(frozen=True)
class Outputs:
    """What kernels, a model or a baseline give for one structure; None for what was not asked for.

    The axes of a kernel's columns, if there are any, come last.

    Attributes
    ----------
    energy : ndarray or float
        (...,) eV, the sum over the centres.
    local : ndarray or None
        (n_atoms, ...) eV, the energies of the atoms.
    gradient : ndarray or None
        (3 n_atoms, ...) eV/Angstrom, dE/dR, atom by atom.
    strain : ndarray or None
        (6, ...) eV, dE/dstrain, xx yy zz yz xz xy.
    """

    energy: np.ndarray | float
    local: np.ndarray | None = None
    gradient: np.ndarray | None = None
    strain: np.ndarray | None = None

    def __add__(self, other: Outputs) -> Outputs:
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(Outputs))
        return Outputs(*(None if a is None or b is None else a + b for a, b in pairs))


@dataclass(frozen=True)
class SigmaRule:
    """Where the standard deviation of an observable comes from.

    Attributes
    ----------
    place : int or None
        In `default_sigma` and `config_type_sigma`, or None.
    setting : str or None
        If there is no place, the key of the configuration.
    value : float
        If there is no key either, the number itself.
    extensive : bool
        Times sqrt(N) with `sigma_per_atom`.
    own : dict of str to tuple or None
        Keys of the frame that replace it, a later one an earlier one, with their shapes: () for a number of the frame, (n,)
        for n columns, None for any numbers of the frame.
    """

    place: int | None = None
    setting: str | None = None
    value: float = np.nan
    extensive: bool = False
    own: Mapping[str, tuple[int, ...] | None] = field(default_factory=dict)

    @property
    def configured(self) -> bool:
        """Whether a key of the configuration has it."""
        return self.place is not None or self.setting is not None


class Observable:
    """One kind of observation. A subclass sets what differs: name, unit, sigma, and `map` (or `rows`) at least.

    Attributes
    ----------
    name : str
        In files of errors and in this program.
    label : str
        For plots and headings of a report; by default the name.
    unit : str
        Of a value, as it is compared with its prediction (`per_atom`).
    error_unit : str
        Of an error; by default `unit`.
    factor : float
        What an error in `unit` is multiplied by to be in `error_unit`.
    tally : str
        The key in counts of data; by default the name.
    common : bool
        Counted in every data set, even if it has none.
    settings : tuple of str
        Keys of `[data]` with the names of the quantity in a frame; the first one is named in messages.
    key : str or None
        If there are no such settings, the name itself; by default `name`.
    column : bool
        A column, not a value of the whole frame.
    mask : str or None
        A logical column of the frame that excludes atoms; None if there is none.
    mask_includes : bool
        The column includes atoms, instead.
    order : int
        Of the derivative: 0 for energies, 1 for forces and virials, 2 for curvatures.
    sign : float
        y = sign * L[...]; rows are L[...] and targets are sign * y.
    convention : str
        Of the sign, if data often have the other one: the fit then warns where that would fit better.
    per_atom : bool
        Compared and reported divided by the number of atoms.
    vector : int
        So many numbers, one after another, make one vector, whose error is the length of the difference.
    component_names : tuple of str
        Of the numbers of a structure that is reported number by number.
    needs : frozenset of str or set of str
        What `map` takes of `Outputs`: "energy", "local", "gradient", "strain".
    elsewhere : bool
        Rows are made at other positions than those of the structure (`rows`).
    sigma : SigmaRule
    """

    name: str
    label: str
    unit: str
    error_unit: str
    factor: float = 1.0
    tally: str
    common: bool = False
    settings: tuple[str, ...] = ()
    key: str | None = None
    column: bool = False
    mask: str | None = None
    mask_includes: bool = False
    order: int = 0
    sign: float = 1.0
    convention: str = ""
    per_atom: bool = False
    vector: int = 1
    component_names: tuple[str, ...] = ()
    needs: frozenset[str] | set[str] = frozenset({"energy"})
    elsewhere: bool = False
    sigma: SigmaRule = SigmaRule()

    def __init_subclass__(cls) -> None:
        for attribute, default in (("label", "words"), ("tally", "name"), ("error_unit", "unit")):
            if not hasattr(cls, attribute):
                setattr(cls, attribute, property(attrgetter(default)))

    @property
    def words(self) -> str:
        """The name in a sentence."""
        return self.name.replace("_", " ")

    @property
    def decimals(self) -> int:
        """Digits after the point of an error in a table."""
        return 4 if self.factor == 1.0 else 2

    @property
    def to_unread(self) -> str:
        """What to set so that the observable is not read."""
        return " and ".join(f'data.{setting} = ""' for setting in self.settings) or f"no {self.key or self.name} in the frames"

    # ---- what a frame says ----

    def read(self, frame: Atoms, keys: DataConfig, own: Mapping[str, np.ndarray], where: str) -> dict[str, Any]:
        """What a frame says, under the name of the observable, and what its rows need beside it; empty if it says nothing.

        Parameters
        ----------
        frame : Atoms
        keys : DataConfig
        own : dict of str to ndarray
            Masks and sigmas of the frame.
        where : str
            File and frame, for messages.

        Raises
        ------
        InputError
            A value that cannot be used.
        """
        key = getattr(keys, self.settings[0]) if self.settings else self.key or self.name
        value = lookup(frame, key, per_atom=self.column)
        return {} if value is None else {self.name: numbers(value, None, f"the {self.words} ({key})", where)}

    def frame_key(self, key: str) -> str:
        """The name that a frame must have for a setting of `[data]`; "" if it is not read."""
        return key

    def used(self, structure) -> np.ndarray:
        """Atoms that the mask of the frame leaves, (n_atoms,)."""
        mask = structure.overrides.get(self.mask)
        if mask is None:
            return np.ones(len(structure.atoms), bool)
        return (mask if self.mask_includes else ~mask.astype(bool)).reshape(-1).astype(bool)

    def values(self, structure) -> np.ndarray:
        """The observations of a structure that count, (n_rows,), in the order of their rows."""
        return np.reshape(structure.known[self.name], -1)

    def n_rows(self, structure) -> int:
        """How many rows a structure makes."""
        return len(self.values(structure)) if self.name in structure.known else 0

    def atoms(self, structure) -> np.ndarray | None:
        """The atom of every row, (n_rows,); None if a row is not that of one atom."""
        return None

    def spread(self, value: np.ndarray, key: str | None, structure) -> np.ndarray:
        """A sigma as one for each row, (n_rows,).

        Parameters
        ----------
        value : ndarray
            One number, or numbers of the frame.
        key : str, optional
            Of the frame that gives it, None if it is the configuration's.
        structure : Structure
        """
        return np.full(self.n_rows(structure), value.item())

    # ---- the linear map ----

    def map(self, outputs: Outputs, structure) -> np.ndarray:
        """L[outputs], (n_rows, ...)."""
        raise NotImplementedError

    def rows(self, at: Callable[[Any, Callable[[Outputs], np.ndarray]], np.ndarray], structure, delta: float) -> np.ndarray:
        """L of any source, (n_rows, ...).

        Parameters
        ----------
        at : callable
            (structure, map of its outputs) -> that map of the source's outputs for that structure.
        structure : Structure
        delta : float
            Displacement for second derivatives (Angstrom).
        """
        return at(structure, lambda outputs: self.map(outputs, structure))

    def evaluations(self, structure) -> int:
        """How often the whole structure is evaluated for the rows, beyond the once that all observables share."""
        return 0


#: By name, in the order of rows, tables and files.
OBSERVABLES: dict[str, Observable] = {}


def register(observable: Observable) -> Observable:
    """Add an observable after those that are there.

    Raises
    ------
    InputError
        There is one of this name.
    """
    if observable.name in OBSERVABLES:
        raise InputError(f"the observable {observable.name!r} exists already; expected another name")
    OBSERVABLES[observable.name] = observable
    return observable


def present(structure) -> list[Observable]:
    """The observables that a structure has, in the order of its rows."""
    return [observable for name, observable in OBSERVABLES.items() if name in structure.known]


def error_units() -> dict[str, str]:
    """The unit of the errors of every observable, by name."""
    return {name: observable.error_unit for name, observable in OBSERVABLES.items()}


def values_of(source: Callable[[Any, set[str]], Outputs], structure, delta: float) -> dict[str, np.ndarray]:
    """What a model or a baseline gives for the observables that a structure has, (n_rows,) each, in their units and sign.

    Parameters
    ----------
    source : callable
        (structure, what is needed of them) -> its outputs.
    structure : Structure
    delta : float
        Displacement for second derivatives (Angstrom).
    """
    wanted, found = present(structure), {}
    here = set().union(*(o.needs for o in wanted if not o.elsewhere))
    outputs = source(structure, here) if here else None
    for o in wanted:
        if o.elsewhere:
            value = o.rows(lambda moved, linear, o=o: linear(source(moved, set(o.needs))), structure, delta)
        else:
            value = o.map(outputs, structure)
        found[o.name] = o.sign * value
    return found
