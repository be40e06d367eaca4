"""The HTML page of a report: one file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from soapgap.data.observables import OBSERVABLES
from soapgap.report import plots
from soapgap.report.input import ReportInput
from soapgap.report.sections import SECTIONS
from soapgap.report.tables import Cell, Numbers

TEMPLATE = "report.html.j2"


def render(content: Mapping[str, Any], source: ReportInput) -> str:
    """The page.

    Parameters
    ----------
    content : mapping of str to object
        As `soapgap.report.input.report_content` gives them.
    source : ReportInput
        For the parity plots and the map of sparse points.

    Raises
    ------
    ImportError
        matplotlib is not installed (`pip install soapgap[plot]`).
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    numbers = Numbers(content)
    sections = [make(numbers, source) for make in SECTIONS]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["svg"] = Markup
    template = (files("soapgap.report") / "data" / TEMPLATE).read_text(encoding="utf-8")
    page = environment.from_string(template)
    return page.render(content=content, sections=sections, cards=cards(numbers), lead=_lead(numbers))


def _lead(numbers: Numbers) -> str:
    content = numbers.content
    counts = content["data"]["train"]["counts"]
    species = ", ".join(content["model"]["species"])
    frames, atoms = (f"{counts[what]:,}".replace(",", "\u2009") for what in ("frames", "atoms"))
    return (f"A potential for {species}, learnt from {frames} structures with {atoms} atoms. Point at a number to see all its "
            "digits.")


def cards(numbers: Numbers) -> list[tuple[Cell, str, str]]:
    """The handful of numbers at the top: (cell, unit, label)."""
    errors = numbers.content["errors"]
    label = "test" if "test" in errors else "train"
    name = "test data" if label == "test" else "training data"
    found = []
    for quantity, observable in OBSERVABLES.items():
        cell = numbers.cell(("errors", label, "by_config_type", "all", quantity, "mae"))
        if cell.text and observable.common:
            found.append((cell, plots.error_unit(quantity), f"{observable.label}, MAE, {name}"))
    found.append((numbers.cell(("checks", "speed", "results", "microseconds_per_atom")), "µs/atom",
                  "energy and forces, one thread"))
    total = sum(t["n_sparse"] or 0 for t in numbers.content["model"]["terms"])
    found.append((Cell(f"{total:,}".replace(",", "\u2009")), "", "sparse points"))
    found.append((Cell(str(len(numbers.content["warnings"]))), "", "warnings"))
    return found
