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


def chain(name: str, floors: list[dict[str, str]]) -> list[str]:
    """Lines of a mermaid diagram: one box for each floor, and an arrow to the one below it."""
    boxes = [f'    {name}{number}["{" · ".join(floor)}"]' for number, floor in enumerate(floors)]
    return boxes + [f"    {name}{number} --> {name}{number + 1}" for number in range(len(floors) - 1)]


def diagram() -> str:
    """The package above the evaluator, joined where the Cython module is."""
    package, evaluator = read_floors("package"), read_floors("evaluator")
    above = next(number for number, floor in enumerate(package) if "_evaluator" in floor)
    below = next(number for number, floor in enumerate(evaluator) if "evaluate" in floor)
    return "\n".join(["```mermaid", "flowchart TD", '  subgraph python["src/soapgap"]', *chain("p", package), "  end",
                      '  subgraph cpp["cython/evaluator (C++17)"]', *chain("e", evaluator), "  end",
                      '  plugin["lammps_plugin (C++), in LAMMPS"]', f"  p{above} --> e{below}", f"  plugin --> e{below}",
                      "```"])


def block() -> str:
    """Everything between the two marks of the page: the diagram, and tables of what each folder is for."""
    parts = {part: [f"| `{name}` | {what} |" for floor in read_floors(part) for name, what in floor.items()]
             for part in ("package", "evaluator")}
    return "\n".join([BEGIN, "", diagram(), "", "| folder or module of `src/soapgap` | what it is for |",
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
