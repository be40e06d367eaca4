"""MODEL.report.html and MODEL.report.json."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from soapgap.files import write_atomically
from soapgap.report.input import ReportInput, as_text, report_content

__all__ = ["ReportInput", "WrittenReport", "write_report"]

NO_PAGE = "no HTML report: {} is not installed (pip install 'soapgap[plot]')"


@dataclass
class WrittenReport:
    """What was written, and what to say about it.

    Attributes
    ----------
    content : dict of str to object
        The numbers, as in MODEL.report.json.
    warnings : list of str
        Those that the checks of the report add to those of the fit.
    lines : list of str
        What else the user should know, such as which package is missing.
    """

    content: dict[str, Any]
    warnings: list[str]
    lines: list[str] = field(default_factory=list)


def write_report(html_path: Path, json_path: Path, source: ReportInput) -> WrittenReport:
    """Check the model, then write its report: a page that needs nothing but a browser, and its numbers.

    Without matplotlib only the JSON is written.

    Parameters
    ----------
    html_path, json_path : Path
        MODEL.report.html and MODEL.report.json; each appears complete or not at all.

    Raises
    ------
    InputError
        A file cannot be written.
    """
    content = report_content(source)
    written = WrittenReport(content, [text for text in content["warnings"] if text not in source.warnings])
    write_atomically(json_path, as_text(content))
    try:
        from soapgap.report.page import render

        page = render(content, source)
    except ImportError as error:
        written.lines.append(NO_PAGE.format(error.name or "matplotlib"))
        return written
    write_atomically(html_path, page)
    return written
