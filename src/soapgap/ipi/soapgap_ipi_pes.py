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
from soapgap.ipi.computer import FrameComputer
from soapgap.ipi.frames import parse_pbc, read_structure
from soapgap.ipi.options import DriveOptions
from soapgap.ipi.protocol import Request
from soapgap.ipi.worker import Job, make_core

__DRIVER_NAME__ = "soapgap"
__DRIVER_CLASS__ = "SoapGAPDriver"


#: Fields of `DriveOptions` that make sense without a socket, and how to read what i-PI makes of <parameters>.
PARAMETERS = {"threads": int, "skin": float, "pbc": str, "extras": str, "on_nan": str, "max_force": float, "dump": str,
              "allow_external": lambda value: str(value).lower() in ("true", "1", "1.0")}


class SoapGAPDriver:
    """Energies, forces and virials for i-PI, called by it.

    Parameters
    ----------
    model : path-like
        Model file.
    structure : path-like
        Names the species, their order and the periodic directions.
    **given
        Fields of `DriveOptions` that are in `PARAMETERS`, and what i-PI itself adds (`verbosity`, `verbose`).

    Raises
    ------
    InputError
        A parameter is missing, unknown or unusable.
    """

    def __init__(self, model=None, structure=None, **given):
        if unknown := given.keys() - {"verbosity", "verbose", *PARAMETERS}:
            raise InputError(f"<parameters> of <ffdirect> has {', '.join(sorted(unknown))}; expected some of model, structure, "
                             f"{', '.join(PARAMETERS)}")
        if model is None or structure is None:
            raise InputError("<parameters> of <ffdirect> lacks model or structure; expected {model: model.safetensors, "
                             "structure: init.xyz}")
        options = DriveOptions(every=0, **{name: read(given[name]) for name, read in PARAMETERS.items()
                                           if given.get(name) is not None})
        options.validate()
        atoms = read_structure(structure)
        if options.pbc is not None:
            atoms.pbc = parse_pbc(options.pbc)
        atoms = ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        self.n_atoms = len(atoms)
        self.computer = FrameComputer(make_core(Job(Path(str(model)), atoms, options)), atoms, options, _say)
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
