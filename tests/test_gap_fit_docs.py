"""docs/gap_fit.md lists every option, with its status."""

import re
from pathlib import Path

import pytest

from soapgap.gap_fit.options import COMMAND_LINE, DESCRIPTORS, OTHER_DESCRIPTORS, SPARSE_METHODS

PAGE = (Path(__file__).parents[1] / "docs" / "gap_fit.md").read_text(encoding="utf-8")


def rows(heading):
    """{name: status} of the table with this heading; several names may share a row, aliases stand in parentheses."""
    table = PAGE.split(f"| {heading}", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    found = {}
    for line in table:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for name in re.findall(r"`([^`]+)`", cells[0]):
            assert name not in found, name
            found[name] = cells[-1]
    return found


def expected(options, leave_out=()):
    """The status that the table must give to every name."""
    found = {}
    for option in options.all:
        partly = option.only is not None and option.name != "e0_method"
        status = "no effect" if option.no_effect else "part" if partly else None
        found |= {name: status for name in option.names if name not in leave_out}
    return found


def check(found, wanted):
    assert sorted(found) == sorted(wanted)
    assert {name: status for name, status in found.items() if status not in ("same", "part", "no effect")} == {}
    assert {name: found[name] for name, status in wanted.items() if status} == {n: s for n, s in wanted.items() if s}
    assert [name for name in found if found[name] == "no effect"] == [name for name in found if wanted[name] == "no effect"]


def test_the_command_line():
    """Every option and every alias once."""
    check(rows("option (other name)"), expected(COMMAND_LINE))


@pytest.mark.parametrize("kind", DESCRIPTORS)
def test_the_keys_of_descriptors(kind):
    """Those of all types in one table, the others in a table for each type."""
    common = rows("key of all types (other name)")
    of_type = rows(f"key of `{kind}`")
    assert not set(common) & set(of_type)
    check(common | of_type, expected(DESCRIPTORS[kind], leave_out=(kind,)))


def test_sparse_methods_and_types():
    """All of gap_fit's words."""
    assert sorted(rows("`sparse_method` | here")) == sorted(SPARSE_METHODS)
    assert "soap_turbo" in OTHER_DESCRIPTORS
