"""The evaluator built alone, for its self-test program under the sanitizers."""

import os
import subprocess
import sys
from pathlib import Path

from programs import LIMIT

ROOT = Path(__file__).resolve().parents[1]
TOOLS = dict(os.environ, PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


def configure(source: Path, build: Path, *options: str):
    command = ["cmake", "-G", "Ninja", "-S", str(source), "-B", str(build), f"-DPython_EXECUTABLE={sys.executable}", *options]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT, env=TOOLS)


def build_evaluator(tmp_path: Path, *options: str) -> Path:
    """The evaluator alone, warnings are errors."""
    import importlib.metadata as metadata

    import scipy_openblas32

    header = next((f for f in metadata.files("nlohmann-json") or () if f.name == "json.hpp"), None)
    configure(ROOT / "cython" / "evaluator", tmp_path / "build", "-DSOAPGAP_WERROR=ON", "-DSOAPGAP_OPENBLAS=ON",
              f"-DSOAPGAP_JSON_INCLUDE_DIR={header.locate().parent.parent}", "-DSOAPGAP_BLAS_PREFIX=scipy_",
              f"-DSOAPGAP_BLAS_LIBRARY={scipy_openblas32.get_lib_dir()}/libscipy_openblas.so", *options)
    done = subprocess.run(["cmake", "--build", str(tmp_path / "build"), "-j", "2"], capture_output=True, text=True,
                          timeout=10 * LIMIT, env=TOOLS)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return tmp_path / "build"


def write_structures(path, structures):
    """Centre species, counts, neighbours' species and vectors as plain numbers, for the self-test program."""
    from models import CUTOFF, SPECIES

    from soapgap.neighbours.arrays import neighbour_arrays

    with open(path, "w") as file:
        for atoms in structures:
            nb = neighbour_arrays(atoms, CUTOFF, SPECIES)
            print(len(nb.centre_atom), len(nb.neighbour_atom), file=file)
            for array in (nb.centre_species, nb.offsets, nb.neighbour_species, nb.centre_atom, nb.neighbour_atom):
                print(*array.tolist(), file=file)
            print(*nb.vectors.ravel().tolist(), file=file)
