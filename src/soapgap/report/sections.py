"""The sections of a report: what each shows, its plots and its tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from soapgap.config.toml import to_toml, without_empty
from soapgap.data.observables import OBSERVABLES
from soapgap.figures import picture
from soapgap.learn.usage import size
from soapgap.report import plots, tables
from soapgap.report.input import ReportInput
from soapgap.report.tables import Cell, Numbers, Table
from soapgap.say import clock

TEXTS = {
    "warnings": ("Warnings",
        "What the fit and the checks below found worth a look before the model is used."),
    "data": ("Data",
        "The SHA-256 is that of the bytes of all files in this order: the same hash, the same data."),
    "errors": ("Errors",
        "Mean absolute error (MAE), root mean square error (RMSE) and the largest one. Energies and "
        "virials are per atom; forces and virials are counted by components."),
    "parity": ("Parity and distribution of errors",
        "On the line, model and reference agree. Sets of more than 20 000 values are drawn as a "
        "density. The histograms leave out the 0.5 % of largest errors."),
    "outliers": ("Largest outliers",
        "The frames that the model misses most, each with its worst value. Frames and atoms are counted from "
        "0. Forces are vectors (x, y, z) and the error is the length of their difference. One bad frame that "
        "stands alone is often a calculation that did not converge."),
    "dimers": ("Dimers",
        "The whole model for two atoms alone, less the energies of the isolated atoms. No training "
        "distance lies in the shaded range: there the curve should rise towards short distances. Red: it "
        "attracts. Circles: dimers of the training data."),
    "volume": ("Energy and volume",
        "Crystals of the training data, scaled isotropically, atoms following the cell. The equation of "
        "state is fitted within 10 % of the volume of the minimum, that of the reference within 25 %."),
    "phonons": ("Phonons",
        "At the model's equilibrium volume, by finite displacements in a supercell of at least two "
        "cutoffs. Imaginary modes mean that the crystal would distort: right for some crystals, wrong for "
        "one that exists."),
    "sparse": ("Terms and sparse points",
        "The terms of the model; if there is a map, dots are environments of the data and marks the "
        "sparse points among them."),
    "learning": ("Learning curve",
        "Errors of frames that were not fitted against the number of those that were. A straight line that "
        "falls: more data help. A flat one: the model, or the noise of the data, is the limit."),
    "tuning": ("Tuning",
        "Every trial and the best so far. Trials see training data only."),
    "condition": ("Conditioning",
        "The relative error of the weights by rounding is at most 1e-16 times the condition number of the "
        "whole system; predictions are much less sensitive."),
    "cost": ("Cost",
        "Wall time and peak memory of the fit as planned and as used, and the speed of the model."),
    "settings": ("Settings",
        "The whole configuration with its defaults, as it would stand in fit.toml."),
}


@dataclass
class Section:
    """One section of the page.

    Attributes
    ----------
    key : str
        Id on the page.
    text : str
        What it shows and how to read it, one or two sentences.
    remarks : list of str
        Lines for the reader: why there is nothing, what is left out.
    figures : list of str
        SVG elements.
    pictures : list of (str, str)
        Data URI and caption.
    facts : list of (str, Cell or str)
        Name and cell.
    code : str
        A block of text as it is.
    """

    key: str
    title: str
    text: str
    remarks: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)
    pictures: list[tuple[str, str]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    facts: list[tuple[str, Cell | str]] = field(default_factory=list)
    code: str = ""
    bars: list[tuple[str, Cell, float]] = field(default_factory=list)


def _section(key: str) -> Section:
    return Section(key, *TEXTS[key])


def warnings_section(numbers: Numbers, source: ReportInput) -> Section:
    """What the reader should have seen before using the model."""
    section = _section("warnings")
    section.remarks = [] if numbers.content["warnings"] else ["None."]
    return section


def data_section(numbers: Numbers, source: ReportInput) -> Section:
    """Files, hash and counts."""
    section = _section("data")
    for label, data in numbers.content["data"].items():
        name = tables.LABELS[label]
        section.facts.append((f"{name} files", ", ".join(data["files"])))
        section.facts.append((f"{name} SHA-256", data["sha256"]))
        atoms = ", ".join(f"{symbol} {n:,}".replace(",", "\u2009") for symbol, n in data["species"].items())
        section.facts.append((f"{name} atoms", atoms))
    if "test" not in numbers.content["data"]:
        section.remarks.append("There are no test data: errors on training data say little about new structures.")
    section.tables = [tables.data_table(numbers)]
    return section


def errors_section(numbers: Numbers, source: ReportInput) -> Section:
    """Errors by config_type and by species."""
    section = _section("errors")
    section.tables = [tables.distribution_table(numbers)]
    for by, caption, first in (("by_config_type", "By config_type.", "config_type"),
                               ("by_species", "By species of the atom.", "species")):
        table = tables.error_table(numbers, by, caption, first)
        if table is not None:
            section.tables.append(table)
    return section


def parity_section(numbers: Numbers, source: ReportInput) -> Section:
    """Parity plots and histograms of the errors."""
    section = _section("parity")
    for quantity, histogram in numbers.content["histograms"].items():
        section.figures += [plots.parity(quantity, source.comparisons), plots.error_histogram(quantity, histogram)]
    return section


def outliers_section(numbers: Numbers, source: ReportInput) -> Section:
    """The values that the model misses most."""
    section = _section("outliers")
    section.tables = tables.outlier_tables(numbers)
    return section


def dimers_section(numbers: Numbers, source: ReportInput) -> Section:
    """Two atoms alone."""
    results = numbers.content["checks"]["dimers"]["results"]
    section = _section("dimers")
    if len(results) > plots.MOST_PAIRS:
        section.remarks.append(f"The first {plots.MOST_PAIRS} of {len(results)} pairs are drawn.")
    section.figures, section.tables = plots.dimers(results), [tables.dimer_table(numbers)]
    return section


def volume_section(numbers: Numbers, source: ReportInput) -> Section:
    """E(V) of crystals."""
    return _crystals("volume", "energy_volume", plots.energy_volume, tables.volume_table, numbers)


def phonons_section(numbers: Numbers, source: ReportInput) -> Section:
    """Phonons of crystals."""
    return _crystals("phonons", "phonons", plots.phonons, tables.phonon_table, numbers)


def _crystals(key: str, name: str, draw: Callable, tabulate: Callable, numbers: Numbers) -> Section:
    section, check = _section(key), numbers.content["checks"][name]
    section.remarks = _sentence(check["remark"])
    if check["results"]:
        section.figures, section.tables = draw(check["results"]), [tabulate(numbers)]
    return section


def sparse_section(numbers: Numbers, source: ReportInput) -> Section:
    """Terms and the map of sparse points."""
    section = _section("sparse")
    section.tables = [tables.term_table(numbers)]
    section.pictures = [(picture(figure), caption) for caption, figure in source.sparse_map]
    if not source.sparse_map:
        section.remarks.append("No map of the sparse points was made.")
    return section


def learning_section(numbers: Numbers, source: ReportInput) -> Section:
    """Learning curve."""
    section = _section("learning")
    points = numbers.content["learning_curve"]
    if points:
        present = [q for q in OBSERVABLES if any(q in p["errors"] for p in points)]
        section.figures, section.tables = plots.learning_curve(points, present), [tables.learning_table(numbers)]
    else:
        section.remarks.append("No learning curve was made.")
    return section


def tuning_section(numbers: Numbers, source: ReportInput) -> Section:
    """Trace of the tuning."""
    section = _section("tuning")
    tuning = numbers.content["tuning"]
    if any(trial["objective"] is not None for trial in tuning["trials"]):
        section.figures = [plots.tuning(tuning["trials"], tuning["objective"])]
        section.tables = [tables.tuning_table(numbers)]
    else:
        section.remarks.append("Nothing was tuned.")
    return section


def condition_section(numbers: Numbers, source: ReportInput) -> Section:
    """Condition numbers and jitter."""
    section = _section("condition")
    if numbers.content["condition"]:
        section.tables = [tables.condition_table(numbers)]
    else:
        section.remarks.append("Not recorded.")
    return section


def cost_section(numbers: Numbers, source: ReportInput) -> Section:
    """Time and memory, planned and used; speed."""
    cost, speed = numbers.content["cost"], numbers.content["checks"]["speed"]["results"]
    section = _section("cost")
    section.facts = [
        ("speed", numbers.cell(("checks", "speed", "results", "microseconds_per_atom"), unit=" µs/atom, one thread")),
        ("neighbour list", numbers.cell(("checks", "speed", "results", "neighbours_microseconds_per_atom"), unit=" µs/atom")),
        ("measured on", f"{speed['n_atoms']} atoms, repeated from {speed['frame']}, "
                        f"{speed['neighbours_per_atom']:.0f} neighbours each; {numbers.content['machine']}"),
        ("memory planned", _as(numbers, ("cost", "planned_bytes"), size)),
        ("memory used", _as(numbers, ("cost", "peak_bytes"), size)),
        ("time planned", _as(numbers, ("cost", "planned_seconds"), clock)),
    ]
    total = sum(cost["seconds"].values())
    used = f"{clock(total)}, {cost['threads']} thread{'s' * (cost['threads'] > 1)}" if total else "not recorded"
    section.facts.append(("time used", used))
    longest = max(cost["seconds"].values(), default=1.0) or 1.0
    for step, seconds in cost["seconds"].items():
        section.bars.append((step, numbers.cell(("cost", "seconds", step), 1, unit=" s"), 100.0 * seconds / longest))
    return section


def _as(numbers: Numbers, path: Sequence[str], words: Callable[[Any], str]) -> Cell | str:
    value = tables.look_up(numbers.content, path)
    return "not recorded" if value is None else Cell(words(value), value, tables.pointer(*path))


def settings_section(numbers: Numbers, source: ReportInput) -> Section:
    """The whole configuration and the versions."""
    content = numbers.content
    section = _section("settings")
    section.facts = [("model", content["model"]["file"]), ("checksum", content["model"]["checksum"]),
                     ("made by", f"{content['program']}, Python {content['python']}")]
    for symbol in content["model"]["e0"]:
        section.facts.append((f"e0 of {symbol}", numbers.cell(("model", "e0", symbol), 6, unit=" eV")))
    if content["config"] is None:
        section.remarks.append("The model does not record its configuration.")
    else:
        section.code = to_toml({"output": content["model"]["file"]} | without_empty(content["config"]))
    return section


def _sentence(text: str) -> list[str]:
    return [text[0].upper() + text[1:] + "."] if text else []


SECTIONS = (warnings_section, data_section, errors_section, parity_section, outliers_section, dimers_section, volume_section,
            phonons_section, sparse_section, learning_section, tuning_section, condition_section, cost_section,
            settings_section)
