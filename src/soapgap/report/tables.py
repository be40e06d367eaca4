"""The tables of a report: every number is a cell that knows its place in the JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from soapgap.data.observables import OBSERVABLES
from soapgap.report.plots import crystal_name, error_unit, heading

LABELS = {"test": "test", "train": "training"}


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table: text, and for a number its value and its JSON pointer (RFC 6901)."""

    text: str
    value: float | None = None
    at: str = ""
    soft: bool = False


@dataclass
class Table:
    """Caption, two lines of headings, and groups of rows, each with a heading of its own ("" for none)."""

    caption: str
    head: Sequence[str]
    groups: list[tuple[str, list[list[Cell | str]]]] = field(default_factory=list)
    spans: Sequence[tuple[str, int]] = ()
    words: int = 1  # so many columns at the left are words


def pointer(*path: str | int) -> str:
    """The place of a value in a JSON document."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def look_up(content: Any, path: Sequence[str | int]) -> Any:
    """The value at a place; None if it is not there."""
    for part in path:
        try:
            content = content[part]
        except (KeyError, IndexError, TypeError):
            return None
    return content


def significant(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, never fewer than its integer part has."""
    if value == 0.0:
        return "0"
    size = int(np.floor(np.log10(abs(value))))
    if size < -4 or size > 6:
        mantissa, exponent = f"{value:.{digits - 2}e}".split("e")
        return f"{mantissa}·10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    return minus(f"{value:.{max(0, digits - 1 - size)}f}")


SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def minus(text: str) -> str:
    """With the sign that belongs to numbers, and none before a zero."""
    return (text.removeprefix("-") if re.fullmatch(r"-0(\.0*)?", text) else text).replace("-", "−")


def decimals(values: Iterable[float | None], digits: int = 3) -> int:
    """Decimals that give the middle one of the values so many significant digits."""
    sizes = [abs(v) for v in values if v]
    if not sizes:
        return 0
    return int(np.clip(digits - 1 - np.floor(np.log10(np.median(sizes))), 0, 6))


class Numbers:
    """Makes cells from the content of a report."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = content

    def cell(self, path: Sequence[str | int], places: int | None = None, *, factor: float = 1.0, unit: str = "",
             soft: bool = False) -> Cell:
        """The number at a place; empty if there is none.

        Parameters
        ----------
        places : int, optional
            Decimals; by default three significant digits (whole numbers as they are).
        factor : float
            The cell shows factor times the number.
        """
        value = look_up(self.content, path)
        if value is None:
            return Cell("")
        if isinstance(value, int) and factor == 1.0:
            text = f"{value:,}".replace(",", "\u2009")
        else:
            text = significant(value * factor) if places is None else minus(f"{value * factor:.{places}f}")
        return Cell(text + unit, value, pointer(*path), soft)

    def column(self, paths: Sequence[Sequence[str | int]], digits: int = 3, factor: float = 1.0) -> list[Cell]:
        """Numbers with the same decimals."""
        values = [look_up(self.content, path) for path in paths]
        places = decimals([v * factor for v in values if v is not None], digits)
        return [self.cell(path, places, factor=factor) for path in paths]


def places_of(numbers: Numbers, quantity: str) -> int:
    """Decimals of the errors of a quantity: the MAE of all test data, or else of all training data, has three digits."""
    for label in LABELS:
        mae = look_up(numbers.content, ("errors", label, "by_config_type", "all", quantity, "mae"))
        if mae is not None:
            return decimals([mae])
    return 0


def error_table(numbers: Numbers, by: str, caption: str, first: str) -> Table | None:
    """Errors of the test and the training data by config_type or by species.

    Parameters
    ----------
    by : "by_config_type" or "by_species"
    first : str
        Heading of the first column.
    """
    errors = numbers.content["errors"]
    groups = {label: errors[label][by] for label in LABELS if label in errors}
    present = [q for q in OBSERVABLES if any(q in entry for table in groups.values() for entry in table.values())]
    if not present:
        return None
    columns: dict[tuple[str, str], dict[tuple[str, str], Cell]] = {}
    rows = [(label, group) for label, table in groups.items() for group in table]
    for quantity in present:
        places = places_of(numbers, quantity)
        for measure in ("n", "mae", "rmse", "max"):
            columns[quantity, measure] = {
                (label, group): numbers.cell(("errors", label, by, group, quantity, measure), places, soft=measure == "n")
                for label, group in rows
            }
    head = [first] + [name for _ in present for name in ("n", "MAE", "RMSE", "max")]
    table = Table(caption, head, spans=[("", 1)] + [(heading(q), 4) for q in present])
    for label, entries in groups.items():
        lines = [[group, *(columns[key][label, group] for key in columns)] for group in entries]
        table.groups.append((LABELS[label], lines))
    return table


def distribution_table(numbers: Numbers) -> Table:
    """Percentiles of the errors of all data, beside the spread of the reference."""
    errors = numbers.content["errors"]
    table = Table("All data: how the errors are distributed. Spread is the standard deviation of the reference.",
                  ["quantity", "n", "MAE", "RMSE", "median", "90 %", "99 %", "max", "spread", "RMSE / spread"])
    for label in LABELS:
        if label in errors:
            rows = []
            for quantity, entry in errors[label]["by_config_type"]["all"].items():
                at = ("errors", label, "by_config_type", "all", quantity)
                places = places_of(numbers, quantity)
                cells = [numbers.cell((*at, m), places) for m in ("mae", "rmse", "p50", "p90", "p99", "max", "spread")]
                ratio = f"{100.0 * entry['rmse'] / entry['spread']:.2g} %" if entry["spread"] else ""
                rows.append([heading(quantity), numbers.cell((*at, "n"), soft=True), *cells, ratio])
            table.groups.append((LABELS[label], rows))
    return table


def data_table(numbers: Numbers) -> Table:
    """Frames and quantities of every config_type."""
    data = numbers.content["data"]
    keys = ("frames", "atoms", "smallest", "largest", "energies", "force_components", "virials")
    table = Table("By config_type; smallest and largest: atoms in a frame.",
                  ["config_type", "frames", "atoms", "smallest", "largest", "energies", "force components", "virials"])
    for label in ("train", "test"):
        if label in data:
            rows = [[name, *(numbers.cell(("data", label, "config_types", name, key)) for key in keys)]
                    for name in data[label]["config_types"]]
            table.groups.append((LABELS[label], rows))
    return table


def outlier_tables(numbers: Numbers) -> list[Table]:
    """One table per quantity: the worst of the test and of the training data."""
    content = numbers.content["outliers"]
    tables = []
    for quantity in OBSERVABLES:
        observable = OBSERVABLES[quantity]
        place = ["component"] if observable.component_names else ["atom"] if observable.column else []
        table = Table(f"{observable.label.removesuffix(' component')} ({error_unit(quantity)})",
                      ["frame", "config_type", *place, "reference", "model", "error", "× RMSE"], words=2 + len(place))
        for label in LABELS:
            entries = content.get(label, {}).get(quantity, [])
            rows = [_outlier(numbers, ("outliers", label, quantity, k), entry, bool(place)) for k, entry in enumerate(entries)]
            if rows:
                table.groups.append((LABELS[label], rows))
        if table.groups:
            tables.append(table)
    return tables


def _outlier(numbers: Numbers, at: tuple, entry: Mapping[str, Any], has_place: bool) -> list[Cell | str]:
    where = entry["component"] or f"{entry['species']} {entry['atom']}"
    file, _, frame = entry["frame"].rpartition(", ")
    if len(look_up(numbers.content, ("data", at[1], "files"))) > 1:
        frame = f"{file.rpartition('/')[2]}, {frame}"
    return [frame, entry["config_type"], *([where] if has_place else []), _value(numbers, (*at, "reference")),
            _value(numbers, (*at, "predicted")), numbers.cell((*at, "error")), numbers.cell((*at, "times_rmse"), 1)]


def _value(numbers: Numbers, path: tuple) -> Cell:
    """A number, or the three components of a force in one cell."""
    value = look_up(numbers.content, path)
    if not isinstance(value, list):
        return numbers.cell(path, decimals([value], 6) if abs(value) > 1000.0 else None)
    return Cell(minus("".join(f"{x:8.3f}" for x in value)).replace(" ", "\u2007"))  # figure spaces keep columns


def term_table(numbers: Numbers) -> Table:
    """Terms of the model."""
    terms = numbers.content["model"]["terms"]
    rows = [[t["kind"], t["species"], numbers.cell(("model", "terms", k, "cutoff"), decimals([t["cutoff"]])),
             numbers.cell(("model", "terms", k, "n_sparse"))] for k, t in enumerate(terms)]
    return Table("Terms of the model.", ["term", "species", "cutoff (Å)", "sparse points"], [("", rows)], words=2)


def dimer_table(numbers: Numbers) -> Table:
    """The well of every pair."""
    rows = []
    for k, curve in enumerate(numbers.content["checks"]["dimers"]["results"]):
        at = ("checks", "dimers", "results", k)
        bad = "no" if curve["attraction"] is None else minus(f"{curve['attraction'][0]:.2f} to {curve['attraction'][1]:.2f} Å")
        rows.append([curve["pair"].replace("-", "–"), numbers.cell((*at, "shortest"), 2),
                     numbers.cell((*at, "well", "distance"), 2), numbers.cell((*at, "well", "energy")), bad])
    return Table("", ["pair", "data begin at (Å)", "minimum at (Å)", "depth (eV)", "attraction below the data"],
                 [("", rows)])


def volume_table(numbers: Numbers) -> Table:
    """Minimum and bulk modulus of every crystal."""
    rows = []
    results = numbers.content["checks"]["energy_volume"]["results"]
    sources = ("model", "reference") if any(curve["reference"] for curve in results) else ("model",)
    for k, curve in enumerate(results):
        at = ("checks", "energy_volume", "results", k)
        row: list[Cell | str] = [crystal_name(curve), numbers.cell((*at, "n_atoms"))]
        for source in sources:
            row += [numbers.cell((*at, source, "volume"), 3), numbers.cell((*at, source, "energy"), 4),
                    numbers.cell((*at, source, "bulk_modulus"), 1)]
        rows.append(row)
    columns = ("V0 (Å³/atom)", "E0 (eV/atom)", "B (GPa)")
    return Table("Minimum of the Birch–Murnaghan equation of state; atoms: in the primitive cell.",
                 ["crystal", "atoms", *columns * len(sources)], [("", rows)], [("", 2), *((source, 3) for source in sources)])


def phonon_table(numbers: Numbers) -> Table:
    """Range of the frequencies of every crystal."""
    rows = []
    for k, entry in enumerate(numbers.content["checks"]["phonons"]["results"]):
        at = ("checks", "phonons", "results", k)
        cells = " × ".join(map(str, entry["repeats"]))
        rows.append([crystal_name(entry), f"{cells}, {entry['n_super']} atoms",
                     numbers.cell((*at, "n_modes")), numbers.cell((*at, "n_imaginary")), numbers.cell((*at, "lowest"), 2),
                     numbers.cell((*at, "highest"), 2), numbers.cell((*at, "highest"), 0, factor=33.35641)])
    head = ["crystal", "supercell", "modes", "imaginary", "lowest (THz)", "highest (THz)", "highest (cm⁻¹)"]
    return Table("All wave vectors of the supercell; negative stands for imaginary.", head, [("", rows)], words=2)


def condition_table(numbers: Numbers) -> Table:
    """Whatever is known of each matrix."""
    content = numbers.content["condition"]
    keys = list(dict.fromkeys(key for entry in content.values() for key in entry))
    names = {"condition": "condition number", "jitter": "jitter (eV²)", "n": "size"}
    rows = [[name, *(numbers.cell(("condition", name, key)) for key in keys)] for name in content]
    return Table("Condition numbers in the 1-norm.", ["matrix", *(names.get(key, key) for key in keys)], [("", rows)])


def tuning_table(numbers: Numbers, most: int = 10) -> Table:
    """The best trials."""
    tuning = numbers.content["tuning"]
    trials = tuning["trials"]
    done = [k for k, t in enumerate(trials) if t["objective"] is not None]
    best = sorted(done, key=lambda k: trials[k]["objective"])[:most]
    names = list(dict.fromkeys(name for k in best for name in trials[k]["parameters"]))
    values = numbers.column([("tuning", "trials", k, "objective") for k in best], 5)
    kinds = [q for q in OBSERVABLES if any(q in trials[k].get("rmse", {}) for k in best)]
    columns = [numbers.column([("tuning", "trials", k, "rmse", q) for k in best]) for q in kinds]
    columns.append([numbers.cell(("tuning", "trials", k, "seconds")) for k in best])
    rows = [[str(k + 1), *(_parameter(numbers, k, name) for name in names), values[row], *(column[row] for column in columns)]
            for row, k in enumerate(best)]
    errors = (f"{OBSERVABLES[q].label}, RMSE ({error_unit(q)})" for q in kinds)
    head = ["trial", *names, tuning["objective"], *errors, "seconds"]
    return Table(f"The best {len(best)} of {len(trials)} trials, the best first.", head, [("", rows)])


def _parameter(numbers: Numbers, trial: int, name: str) -> Cell | str:
    path = ("tuning", "trials", trial, "parameters", name)
    value = look_up(numbers.content, path)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return numbers.cell(path)
    return "" if value is None else str(value)


def learning_table(numbers: Numbers) -> Table:
    """Errors against the number of training frames."""
    points = numbers.content["learning_curve"]
    present = [q for q in OBSERVABLES if any(q in p["errors"] for p in points)]
    names = {"mae": "MAE", "rmse": "RMSE", "lowest": "lowest", "highest": "highest"}
    measures = [m for m in names if any(m in e for p in points for e in p["errors"].values())]
    columns = [numbers.column([("learning_curve", k, "errors", q, m) for k in range(len(points))])
               for q in present for m in measures]
    rows = [[numbers.cell(("learning_curve", k, "n_frames")), *(column[k] for column in columns)] for k in range(len(points))]
    return Table("", ["training frames", *([names[m] for m in measures] * len(present))], [("", rows)],
                 [("", 1)] + [(heading(q), len(measures)) for q in present])
