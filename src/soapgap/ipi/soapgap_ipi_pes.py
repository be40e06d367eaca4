"""soapgap inside i-PI, without sockets: the file that ``<pes_path>`` of ``<ffdirect>`` names (`soapgap ipi-pes-path`).

    <ffdirect name="soapgap">
      <pes>custom</pes> <pes_path>FILE</pes_path>
      <parameters>{model: model.safetensors, structure: init.xyz, threads: 2}</parameters>
    </ffdirect>

i-PI loads this file by itself, so everything is imported absolutely.
"""

import os
import sys
import threading
from pathlib import Path

import ase
import numpy as np

from soapgap.errors import InputError, SoapGAPError
from soapgap.ipi.computer import FrameComputer, Settings
from soapgap.ipi.frames import parse_pbc, read_structure
from soapgap.ipi.protocol import Request
from soapgap.ipi.worker import Job, make_core

__DRIVER_NAME__ = "soapgap"
__DRIVER_CLASS__ = "SoapGAPDriver"


class SoapGAPDriver:
    """Energies, forces and virials for i-PI, called by it.

    Parameters
    ----------
    model : path
    structure : path
        Names the species, their order and the periodic directions.
    threads : int, optional
    skin, max_force : float
    pbc, extras, on_nan, dump : str
    allow_external : bool
        As for `soapgap.ipi.drive`; `extras` is a name, or several separated by spaces.
    **kwargs
        What i-PI itself adds (`verbosity`, `verbose`).

    Raises
    ------
    InputError
        A parameter is missing, unknown or unusable.
    """

    def __init__(self, model=None, structure=None, threads=None, skin=0.5, pbc=None, extras="", on_nan="exit", max_force=None,
                 dump="soapgap-bad-frame.xyz", allow_external=False, **kwargs):
        if unknown := kwargs.keys() - {"verbosity", "verbose"}:
            raise InputError(f"<parameters> of <ffdirect> has {', '.join(sorted(unknown))}; expected some of model, structure, "
                             "threads, skin, pbc, extras, on_nan, max_force, dump, allow_external")
        if model is None or structure is None:
            raise InputError("<parameters> of <ffdirect> lacks model or structure; expected {model: model.safetensors, "
                             "structure: init.xyz}")
        atoms = read_structure(structure)
        if pbc is not None:
            atoms.pbc = parse_pbc(str(pbc))
        atoms = ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        settings = Settings(Path(str(dump)), on_nan, None if max_force is None else float(max_force), tuple(extras.split()))
        threads = None if threads is None else int(threads)
        allow = str(allow_external).lower() in ("true", "1", "1.0")
        job = Job(Path(str(model)), atoms, settings, threads, float(skin), allow, every=0)
        self.n_atoms = len(atoms)
        self.computer = FrameComputer(make_core(job), atoms, settings, _say)
        self.computer.warm_up()

    def __call__(self, cell, pos):
        """Energy, forces, virial and extras, in atomic units; of a list of structures, a list of them.

        Parameters
        ----------
        cell : ndarray [3, 3], or list of them
            Lattice vectors as columns, bohr.
        pos : ndarray [N, 3], or list of them
            bohr.
        """
        try:
            return self._answer(cell, pos)
        except BaseException as error:
            if threading.current_thread() is not threading.main_thread():
                _stop_ipi(error)  # with threaded="true" i-PI would wait without end for the thread that ends here
            raise

    def _answer(self, cell, pos):
        batch = isinstance(cell, list)
        cells, positions = (cell, pos) if batch else ([cell], [pos])
        if any(np.shape(x) != (self.n_atoms, 3) for x in positions):
            raise InputError(f"i-PI has a frame of {np.shape(positions[0])[0]} atoms; the structure in <parameters> has "
                             f"{self.n_atoms}. Give both the same structure")
        answer = self.computer.compute(Request(np.array(cells), np.array(positions)))
        parts = zip(answer.energies.tolist(), answer.forces, answer.virials, (text.decode() for text in answer.extras),
                    strict=True)
        return list(parts) if batch else next(parts)


def _say(kind: str, text: str) -> None:
    print(f"soapgap: warning: {text}" if kind == "warning" else f" @soapgap: {text}", file=sys.stderr, flush=True)


def _stop_ipi(error: BaseException) -> None:
    """Tells i-PI to write RESTART and end; if that is impossible, ends the process."""
    text = str(error) if isinstance(error, SoapGAPError) else f"{type(error).__name__}: {error}"
    print(f"soapgap: {text}", file=sys.stderr, flush=True)
    try:
        from ipi.utils.softexit import softexit
    except ImportError:
        os._exit(2)
    softexit.trigger(status="bad", message=f" @soapgap: {text}")
