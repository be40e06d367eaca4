"""What the user sees of a check: one line per finding, two tables, and a JSON file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

import soapgap
from soapgap.check.findings import EXIT_STATUS, SEVERITIES, Finding, Places, plural, worst
from soapgap.files import write_atomically
from soapgap.say import Reporter

STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
OUTCOME = {"error": "bold red", "warning": "yellow", "note": "green"}


def finding_text(finding: Finding, places: Places) -> Text:
    """What, where, what it means and what to do."""
    where = places.words(finding.frames)
    text = Text(finding.what, style="bold" if finding.severity != "note" else "")
    text = Text.assemble(text, (f" [{where}]", "dim") if where else "", f": {finding.means}")
    return text


def show_findings(result, say: Reporter) -> None:
    """One line per finding in a file or pipe; on a terminal, lines that are too long go on below their beginning."""
    if say.console.is_terminal:
        grid = Table.grid(padding=(0, 1))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for finding in result.findings:
            grid.add_row(Text(finding.severity, style=STYLES[finding.severity]), finding_text(finding, result.places))
        say.show(grid)
    elif not say.quiet:
        for finding in result.findings:
            say.console.print(Text(f"{finding.severity:<8}") + finding_text(finding, result.places), soft_wrap=True)


def type_table(types: dict[str, dict[str, Any]], species: dict[str, int]) -> Table:
    """Frames and quantities of every config_type, and the atoms of every species."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("config_type")
    for name in ("frames", "atoms", *species, "energies", "forces", "virials", "eV/atom from", "to"):
        table.add_column(name, justify="right")
    for name, row in types.items():
        energies = [f"{value:.4f}" if value is not None else "" for value in row["energy_per_atom_eV"]]
        table.add_row(Text(name), str(row["frames"]), str(row["atoms"]), *(str(row["species"].get(s, 0)) for s in species),
                      str(row["energies"]), str(row["forces"]), str(row["virials"]), *energies)
    return table


def show(result, say: Reporter) -> None:
    """Print everything that `soapgap check` found.

    Parameters
    ----------
    result : check.CheckResult
    """
    frames, atoms = (sum(row[what] for row in result.config_types.values()) for what in ("frames", "atoms"))
    say.line(f"{plural(frames, 'frame')} (counted from 0), {plural(atoms, 'atom')} in {', '.join(result.places.names)}")
    say.show(type_table(result.config_types, result.species))
    show_findings(result, say)
    if result.suggestion is not None:
        say.line("to begin with (docs/training.md, \"Checking the data\"):")
        for line in result.suggestion.lines():
            say.line(f"    {line}")
    counts = ", ".join(plural(sum(f.severity == severity for f in result.findings), severity) for severity in SEVERITIES)
    say.show(Text(counts, style=OUTCOME[worst(result.findings)]))


def as_json(result) -> dict[str, Any]:
    """Everything, as plain JSON values; frame numbers are those within their file, counted from 0."""
    suggestion = result.suggestion
    return {
        "program": f"soapgap {soapgap.__version__}",
        "files": list(result.places.names),
        "keys": result.keys.model_dump(mode="json", exclude={"train", "test"}),
        "status": EXIT_STATUS[worst(result.findings)],
        "species": result.species,
        "config_types": result.config_types,
        "findings": [{"severity": f.severity, "code": f.code, "what": f.what, "means": f.means, "n_frames": len(f.frames),
                      "where": result.places.by_file(f.frames), "values": f.values} for f in result.findings],
        "suggestion": None if suggestion is None else {"default_sigma": list(suggestion.default_sigma),
                                                       "n_sparse": suggestion.n_sparse, "scatter": suggestion.scatter},
    }


def write_json(path: Path, result) -> None:
    """The JSON file, complete or not there."""
    content = json.dumps(_plain(as_json(result)), indent=1, sort_keys=True, allow_nan=False)
    write_atomically(path, content + "\n")


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: null instead."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value
