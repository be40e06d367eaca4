"""Where a fit writes: the model, and beside it its state, its errors, its plots and its report."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from soapgap.errors import InputError


@dataclass(frozen=True)
class OutputFiles:
    """The files of one fit: MODEL, MODEL.fit, MODEL.errors.json, MODEL.parity.png, MODEL.report.html, MODEL.report.json."""

    model: Path

    @property
    def state(self) -> Path:
        """Checkpoint while the fit runs, R and Q^T y afterwards."""
        return self.model.with_name(self.model.name + ".fit")

    @property
    def errors(self) -> Path:
        """Errors as JSON."""
        return self.model.with_name(self.model.name + ".errors.json")

    @property
    def parity(self) -> Path:
        """Parity plots."""
        return self.model.with_name(self.model.name + ".parity.png")

    @property
    def report(self) -> Path:
        """The report, one HTML file."""
        return self.model.with_name(self.model.name + ".report.html")

    @property
    def report_data(self) -> Path:
        """The numbers of the report as JSON."""
        return self.model.with_name(self.model.name + ".report.json")

    @property
    def lammps(self) -> Path:
        """Lines of a LAMMPS input, for a model with external potentials."""
        return self.model.with_name(self.model.name + ".lammps.in")

    @property
    def _beside(self) -> tuple[Path, ...]:
        return self.state, self.errors, self.parity, self.report, self.report_data, self.lammps

    @property
    def companions(self) -> list[Path]:
        """The files beside the model that exist."""
        return [path for path in self._beside if path.exists()]

    def refuse_inputs(self, inputs) -> None:
        """No input may be written over.

        Raises
        ------
        InputError
            The model or a file beside it is one of `inputs`.
        """
        for path in (self.model, *self._beside):
            if any(path.resolve() == Path(one).resolve() for one in inputs):
                raise InputError(f"output: {path.name} would be written over an input of this fit; choose another name")

    def check_writable(self) -> None:
        """Fail now rather than after hours.

        Raises
        ------
        InputError
            The folder is missing or may not be written to, or the name is that of a folder.
        """
        if self.model.is_dir():
            raise InputError(f"output: {self.model} is a folder; give the name of the model file")
        try:
            handle, name = tempfile.mkstemp(dir=self.model.parent, prefix=f".{self.model.name}.", suffix=".tmp")
            os.close(handle)
            os.unlink(name)
        except OSError as error:
            raise InputError(f"output: cannot write to the folder {self.model.parent}: {error.strerror}; "
                             "create it, free space, or choose another place") from None
