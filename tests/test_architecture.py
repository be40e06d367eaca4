"""The rules that a program can check: arrows point down, the evaluator stands alone."""

import ast
import re
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from evaluator_build import build_evaluator, write_structures
from programs import run_program, run_python

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "soapgap"
# Folders and modules of the package by floor, the lowest first: each may import from lower floors and from itself, never from
# its own floor or above.
FLOORS = [set(floor) for floor in reversed(tomllib.loads((ROOT / "docs" / "floors.toml").read_text())["package"])]
FLOOR_OF = {folder: floor for floor, folders in enumerate(FLOORS) for folder in folders}
LARGEST_SHARE = 0.15  # of the package's lines, for one folder
# The package itself may be imported for its version; it loads the rest when it is asked for it.
EVALUATOR_HEADERS = {"nlohmann/json.hpp", "omp.h", "pthread.h"}
STANDARD_HEADERS = re.compile(r"[a-z_]+")  # <vector>, <cmath>: no slash, no dot


def folder_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def imported_modules(path: Path):
    """Modules of this package that a file imports, wherever in the file it does."""
    package = list(path.relative_to(PACKAGE.parent).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] != "soapgap" or len(parts) == 1:
                continue
            yield name if name in MODULES else name.rpartition(".")[0]


PYTHON_FILES = sorted(p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py" or p.parent != PACKAGE)
MODULES = {module_of(path): path for path in PACKAGE.rglob("*.py")} | {"soapgap._evaluator": None}


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    folder = folder_of(path)
    assert folder in FLOOR_OF, f"{folder} is new: give it a floor in docs/floors.toml and run docs/make_architecture.py"
    for module in imported_modules(path):
        if module == "soapgap":  # the version
            continue
        other = module.split(".")[1]
        if other != folder:
            assert FLOOR_OF[other] < FLOOR_OF[folder], f"{path.relative_to(ROOT)} imports {module}, which is not below it"


def packages_of(module: str) -> set[str]:
    """The packages that Python imports before a module: it runs their __init__."""
    parts = module.split(".")
    return {".".join(parts[:n]) for n in range(2, len(parts))}


def test_modules_import_each_other_in_no_circle():
    """Whatever is imported first: a package comes before its modules, for all that are not in it themselves."""
    below = {}
    for name, path in MODULES.items():
        imported = {other for other in imported_modules(path) if other != name} if path else set()
        outside = {package for other in imported for package in packages_of(other)} - packages_of(name) - {name}
        below[name] = imported | outside
    TopologicalSorter(below).prepare()  # raises CycleError


def test_no_folder_is_half_of_the_package():
    lines: dict[str, int] = {}
    for path in PYTHON_FILES:
        lines[folder_of(path)] = lines.get(folder_of(path), 0) + len(path.read_text().splitlines())
    largest = max(lines, key=lines.get)
    assert lines[largest] <= LARGEST_SHARE * sum(lines.values()), f"{largest}: {lines[largest]} of {sum(lines.values())} lines"


@pytest.mark.parametrize("folder", ["benchmarks", "examples", "validation"])
def test_programs_do_not_import_the_tests(folder):
    tests = {path.stem for path in (ROOT / "tests").glob("*.py")}
    for path in (ROOT / folder).rglob("*.py"):
        own = {other.stem for other in path.parent.glob("*.py")}
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else (
                [node.module] if isinstance(node, ast.ImportFrom) and node.module else [])
            assert not {name.split(".")[0] for name in names} & (tests - own), f"{path.relative_to(ROOT)} imports from tests/"
        assert '"tests"' not in path.read_text(), f"{path.relative_to(ROOT)} looks into tests/"


def test_only_one_file_knows_the_neighbour_library():
    knowing = [p.name for p in PYTHON_FILES if re.search(r"^\s*(from|import) vesin", p.read_text(), re.MULTILINE)]
    assert knowing == ["arrays.py"]


def test_only_the_command_line_knows_typer():
    knowing = {folder_of(p) for p in PYTHON_FILES if re.search(r"^\s*(from|import) typer", p.read_text(), re.MULTILINE)}
    assert knowing == {"cli"}


def test_importing_the_package_is_the_standard_library_only():
    code = ("import sys; import soapgap._plugin_path; "
            "print([m for m in ('numpy', 'scipy', 'ase', 'typer', 'pydantic') if m in sys.modules])")
    done = run_python("-c", code)
    assert done.stdout.strip() == "[]"


def test_nothing_that_a_run_writes_lies_beside_the_sources():
    """Frames, models and logs belong into the folder of a run; tests write into folders of their own."""
    written = [p.name for ending in ("*.xyz", "*.extxyz", "*.safetensors", "*.log", "RESTART") for p in ROOT.glob(ending)]
    assert written == []


def includes(path: Path):
    return re.findall(r'^\s*#\s*include\s+[<"]([^">]+)[">]', path.read_text(), re.MULTILINE)


EVALUATOR = ROOT / "cython" / "evaluator"
EVALUATOR_FILES = sorted(EVALUATOR.rglob("*.[ch]pp"))


@pytest.mark.parametrize("path", EVALUATOR_FILES, ids=lambda p: str(p.relative_to(EVALUATOR)))
def test_the_evaluator_includes_nothing_foreign(path):
    place = str(path.relative_to(EVALUATOR))
    for header in includes(path):
        local = (EVALUATOR / header).exists()
        assert local or header in EVALUATOR_HEADERS or STANDARD_HEADERS.fullmatch(header), header
    if place != "file/reader.hpp":
        assert not any("json" in header for header in includes(path)), "JSON is for the readers of model files alone"
    if not re.fullmatch(r"model\.cpp|file/.*|terms/read.*", place):
        assert "file/reader.hpp" not in includes(path), "JSON is for the readers of model files alone"
    if path.name == "selftest.cpp":  # a program, not part of the library
        return
    if path.name != "blas.hpp":
        assert "cblas_" not in path.read_text(), "BLAS is called through blas.hpp alone"
    for word in ("printf", "std::cout", "std::cerr", "exit(", "abort("):
        assert word not in path.read_text(), f"{path.name} uses {word}"


EVALUATOR_FLOORS = [set(floor) for floor in reversed(tomllib.loads((ROOT / "docs" / "floors.toml").read_text())["evaluator"])]
FLOOR_OF_PART = {part: floor for floor, parts in enumerate(EVALUATOR_FLOORS) for part in parts}


def part_of_evaluator(place: str) -> str:
    """The entry of EVALUATOR_FLOORS that a file belongs to."""
    return place.split("/")[0].split(".")[0]


@pytest.mark.parametrize("path", EVALUATOR_FILES, ids=lambda p: str(p.relative_to(EVALUATOR)))
def test_includes_of_the_evaluator_point_down(path):
    """Stages of a soap term (density, features, kernel) stand on one floor: they do not know one another."""
    part = part_of_evaluator(str(path.relative_to(EVALUATOR)))
    assert part in FLOOR_OF_PART, f"{part} is new: give it a floor in docs/floors.toml"
    for header in includes(path):
        other = part_of_evaluator(header)
        if (EVALUATOR / header).exists() and other != part:
            assert FLOOR_OF_PART[other] < FLOOR_OF_PART[part], f"{path.name} includes {header}, which is not below it"


def test_headers_of_the_evaluator_include_each_other_in_no_circle():
    below = {str(p.relative_to(EVALUATOR)): {h for h in includes(p) if (EVALUATOR / h).exists()}
             for p in EVALUATOR_FILES if p.suffix == ".hpp"}
    TopologicalSorter(below).prepare()  # raises CycleError


@pytest.mark.parametrize("path", sorted((ROOT / "lammps_plugin").glob("*.[ch]*")), ids=lambda p: p.name)
def test_the_plugin_sees_only_lammps_and_the_public_surface(path):
    ours = {str(p.relative_to(EVALUATOR)) for p in EVALUATOR_FILES}
    assert not (set(includes(path)) & ours) - {"soapgap.hpp"}
    assert not any("Python" in header for header in includes(path))


def test_the_evaluator_builds_alone_and_runs_clean_under_sanitizers(tmp_path):
    from dataclasses import replace

    from few_body_models import make_channels_model, make_few_body_model
    from models import make_two_species_model, random_structure

    from soapgap.reduction.soap import reduce_term

    build = build_evaluator(tmp_path, "-DSOAPGAP_SANITIZE=address,undefined", "-DSOAPGAP_SELFTEST=ON")
    model = make_two_species_model()
    model.save(tmp_path / "exact.safetensors")
    cut, mixed = reduce_term(model.terms[0], 1e-2), replace(model.terms[1], zeta=4.0)
    mixed = reduce_term(mixed, 1e-6, single_budget=1e-9)
    assert len(cut.reduced.features) < cut.n_features
    assert mixed.reduced.n_single > 0
    replace(model, terms=[cut, mixed, *model.terms[2:]]).save(tmp_path / "reduced.safetensors")
    small = make_two_species_model(n_max=2, l_max=2, n_sparse=24)
    matrices = [reduce_term(term, 1e-7) for term in small.terms[:2]]
    assert all(term.reduced.form == "matrix" for term in matrices)
    replace(small, terms=[*matrices, *small.terms[2:]]).save(tmp_path / "matrix.safetensors")
    for form in ("direct", "spline"):
        make_few_body_model(form).save(tmp_path / f"{form}.safetensors")
    channels = make_channels_model()
    channels.save(tmp_path / "channels.safetensors")
    replace(channels, terms=[reduce_term(term, 1e-10) for term in channels.terms]).save(tmp_path / "merged.safetensors")
    structures = tmp_path / "structures.txt"
    write_structures(structures, [random_structure(3), random_structure(4, n_atoms=1), random_structure(5, n_atoms=70,
                                                                                                     length=11.0)])
    variables = {"ASAN_OPTIONS": "detect_leaks=1", "UBSAN_OPTIONS": "halt_on_error=1"}
    for isa, name in (("baseline", "exact"), ("", "exact"), ("baseline", "reduced"), ("", "reduced"), ("", "matrix"),
                      ("baseline", "direct"), ("", "direct"), ("baseline", "spline"), ("", "spline"),
                      ("baseline", "channels"), ("", "channels"), ("", "merged")):
        done = run_program([build / "soapgap_selftest", tmp_path / f"{name}.safetensors", structures], SOAPGAP_ISA=isa,
                           **variables)
        assert done.status == 0, done.stderr[-3000:]
        assert done.stderr == ""
        assert "ok 3 structures" in done.stdout
