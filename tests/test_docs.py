"""What can be checked of the pages: links lead somewhere, and files that are named exist."""

import ast
import importlib
import re
from pathlib import Path

import pytest
from programs import run_python

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md"), *(ROOT / "examples").rglob("*.md"),
                *(ROOT / "benchmarks").glob("*.md"), *(ROOT / "validation").glob("*.md")])
NAMES = {page: str(page.relative_to(ROOT)) for page in PAGES}
#: Where a file may lie whose name a page gives without the leading folders.
FOLDERS = [ROOT, ROOT / "src" / "soapgap", ROOT / "cython" / "evaluator", ROOT / "docs"]
FILE = re.compile(r"`((?:[\w.]+/)+[\w.]+\.(?:py|pyx|hpp|cpp|h|md|toml|j2)|[\w/]+/)`")


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    found: set[str] = set()
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for heading in re.findall(r"^#+ (.*)$", text, flags=re.M):
        name = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        number = 0
        while (unique := f"{name}-{number}" if number else name) in found:
            number += 1
        found.add(unique)
    return found


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        place, _, heading = target.partition("#")
        file = (page.parent / place).resolve() if place else page
        assert file.exists(), f"{NAMES[page]}: {target} leads nowhere"
        assert not heading or heading in anchors(file), f"{NAMES[page]}: {target}: no such heading"


@pytest.mark.parametrize("name", ["docs/theory.md", "docs/architecture.md", "CONTRIBUTING.md"])
def test_files_that_are_named_exist(name):
    named = set(FILE.findall((ROOT / name).read_text(encoding="utf-8")))
    assert named, f"{name} names no file: has the way it writes names changed?"
    missing = sorted(file for file in named if not any((folder / file).exists() for folder in FOLDERS))
    assert not missing, f"{name} names files that are not there: {', '.join(missing)}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_programs_of_commands_exist(page):
    """Such as `pytest tests/test_hosts.py` and `python benchmarks/run.py`."""
    for file in re.findall(r"(?:tests|benchmarks|validation|docs)/[\w/]+\.(?:py|toml)\b", page.read_text(encoding="utf-8")):
        assert (ROOT / file).exists(), f"{NAMES[page]} names {file}"


def resolve(name: str):
    """What a dotted name of the package stands for."""
    parts = name.split(".")
    found = importlib.import_module(parts[0])
    for number, part in enumerate(parts[1:], 2):
        try:
            found = getattr(found, part)
        except AttributeError:
            found = importlib.import_module(".".join(parts[:number]))
    return found


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_names_of_the_package_exist(page):
    for name in re.findall(r"`(soapgap(?:\.[A-Za-z_]\w*)+)", page.read_text(encoding="utf-8")):
        if not re.search(r"\.(?:hpp|safetensors|toml|xyz|xml|html|json)$", name):
            resolve(name)


def test_the_diagram_is_made_from_the_floors():
    done = run_python(ROOT / "docs" / "make_architecture.py", "--check")
    assert done.status == 0, "docs/architecture.md is older than docs/floors.toml: run docs/make_architecture.py"


#: Words that a user of English as a foreign language need not know, or that say nothing in the language of the field.
QUAINT = re.compile(r"\b(?:rooms?|doors?|houses?|anew|for ever|of no account|what is what|lest|hitherto|whither|thereof|"
                    r"wherein|maniest|manieth|passed over|in vain)\b", re.IGNORECASE)


@pytest.mark.parametrize("page", PAGES, ids=NAMES.get)
def test_pages_are_in_plain_words(page):
    assert not (found := QUAINT.findall(page.read_text(encoding="utf-8"))), f"{NAMES[page]}: {found}"


def test_messages_and_docstrings_are_in_plain_words():
    found = []
    for path in sorted((ROOT / "src" / "soapgap").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found += [f"{path.relative_to(ROOT)}:{node.lineno}: {word}" for word in QUAINT.findall(node.value)]
    assert not found
