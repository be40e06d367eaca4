"""Draws the floors of docs/floors.toml into docs/architecture.md: `python docs/make_architecture.py`."""

import sys
import tomllib
from pathlib import Path

DOCS = Path(__file__).resolve().parent
PAGE, FLOORS = DOCS / "architecture.md", DOCS / "floors.toml"
BEGIN, END = "<!-- made by docs/make_architecture.py -->", "<!-- end of what docs/make_architecture.py makes -->"


def read_floors(name: str) -> list[dict[str, str]]:
    """The floors of a part (`package` or `evaluator`), the highest first: what each folder or module is for, by its name."""
    return tomllib.loads(FLOORS.read_text(encoding="utf-8"))[name]


def diagram(floors: list[dict[str, str]]) -> str:
    """A mermaid diagram: one box for each floor, an arrow to the one below it, and the C++ under the Cython module.

    Parameters
    ----------
    floors : list of dict of str to str
        The highest first.

    Returns
    -------
    str
    """
    lines = ["```mermaid", "flowchart TD"]
    lines += [f'  floor{number}["{" · ".join(floor)}"]' for number, floor in enumerate(floors)]
    lines += ['  evaluator["cython/evaluator (C++17)"]', '  plugin["lammps_plugin (C++), in LAMMPS"]']
    lines += [f"  floor{number} --> floor{number + 1}" for number in range(len(floors) - 1)]
    above = next(number for number, floor in enumerate(floors) if "_evaluator" in floor)
    return "\n".join([*lines, f"  floor{above} --> evaluator", "  plugin --> evaluator", "```"])


def block() -> str:
    """Everything between the two marks of the page: the diagram, and tables of what each folder is for."""
    parts = {part: [f"| `{name}` | {what} |" for floor in read_floors(part) for name, what in floor.items()]
             for part in ("package", "evaluator")}
    return "\n".join([BEGIN, "", diagram(read_floors("package")), "", "| folder or module of `src/soapgap` | what it is for |",
                      "|---|---|", *parts["package"], "", "| folder or file of `cython/evaluator` | what it is for |",
                      "|---|---|", *parts["evaluator"], "", END])


def with_block(page: str) -> str:
    """The page with its block made again."""
    before, _, rest = page.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise SystemExit(f"docs/architecture.md has no lines {BEGIN!r} and {END!r}; put them where the diagram belongs")
    return before + block() + after


if __name__ == "__main__":
    text = with_block(PAGE.read_text(encoding="utf-8"))
    if "--check" in sys.argv[1:]:
        sys.exit(text != PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(text, encoding="utf-8")
