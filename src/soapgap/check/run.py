"""A look at training data before anybody fits to them: `soapgap check`.

    read frame by frame > absent and unusable values > energies, distances, forces, duplicates > signs and units >
    settings to begin with
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from ase.io.formats import open_with_compression

from soapgap.check.findings import EXIT_STATUS, SEVERITIES, Finding, Places, worst
from soapgap.check.frames import FrameTable, read_frames
from soapgap.check.outliers import (
    contact_findings,
    duplicate_findings,
    energy_findings,
    force_findings,
    residuals,
    species_energies,
)
from soapgap.check.suggest import Suggestion, suggest
from soapgap.check.units import unit_findings
from soapgap.check.values import cohesion_findings, value_findings
from soapgap.config.data import DataConfig
from soapgap.errors import InputError
from soapgap.say import Reporter

MOST_STRANGE = 0.5  # of the frames: if more are, they are what the set is


@dataclass(frozen=True)
class CheckResult:
    """What a check gives.

    Attributes
    ----------
    findings : tuple of Finding
        The worst first.
    places : Places
        File and number of the frames that findings name.
    species : dict of str to int
        Number of atoms by chemical symbol.
    config_types : dict of str to dict of str to object
        By name, numbers of frames, atoms, energies, forces and virials, atoms by species, lowest and highest energy per atom
        (eV).
    suggestion : Suggestion or None
        Settings to begin with; None if no frame could be read.
    """

    findings: tuple[Finding, ...]
    places: Places
    species: dict[str, int]
    config_types: dict[str, dict[str, Any]]
    suggestion: Suggestion | None
    keys: DataConfig

    @property
    def status(self) -> int:
        """Exit status: 0 if there is nothing but notes, 1 with warnings, 3 with errors."""
        return EXIT_STATUS[worst(self.findings)]


def check(paths: Sequence[str | os.PathLike], *, quiet: bool = True, say: Reporter | None = None,
          energy_key: str = "energy", forces_key: str = "forces", virial_key: str = "virial", stress_key: str = "stress",
          config_type_key: str = "config_type") -> CheckResult:
    """Look for faults in extended XYZ files.

    Parameters
    ----------
    paths : sequence of str or os.PathLike
        Files, taken together as one set of data.
    quiet : bool
        Print nothing.
    say : Reporter, optional
        Where progress goes, instead of standard output.
    energy_key, forces_key, virial_key, stress_key, config_type_key : str
        Names of the quantities as in `[data]` of a configuration; an empty name is not looked for.

    Returns
    -------
    CheckResult

    Raises
    ------
    InputError
        A file that is missing or cannot be opened. Everything else is a finding.
    """
    names = [os.fspath(path) for path in paths]
    say = say or Reporter(quiet)
    if not names or not all(names):
        raise InputError(f"expected the paths of extended XYZ files, got {names!r}")
    settings = DataConfig(train=tuple(names), energy_key=energy_key, forces_key=forces_key, virial_key=virial_key,
                          stress_key=stress_key, config_type_key=config_type_key)
    with say.task("reading", sum(_n_frames(name) for name in names)) as task:
        table = read_frames(names, settings, task.advance)
    e_fit = species_energies(table)
    rest = residuals(table, e_fit)
    findings = sorted(_findings(table, e_fit, rest), key=lambda finding: SEVERITIES.index(finding.severity))
    suggestion = suggest(table, rest) if table.frames else None
    species = {chemical_symbols[z]: n for z, n in table.atoms_by_species().items()}
    return CheckResult(tuple(findings), table.places, species, _config_types(table), suggestion, settings)


def _findings(table: FrameTable, e_fit: dict[int, float], rest: np.ndarray) -> Iterator[Finding]:
    yield from value_findings(table)
    if not table.frames:
        return
    yield from cohesion_findings(table, e_fit)
    single = [*energy_findings(table, rest), *contact_findings(table), *force_findings(table)]
    yield from single
    yield from duplicate_findings(table)
    strange = {k for finding in single if finding.severity != "note" for k in finding.frames}
    yield from unit_findings(table, sorted(strange) if len(strange) < MOST_STRANGE * len(table.frames) else ())


def _config_types(table: FrameTable) -> dict[str, dict[str, Any]]:
    types: dict[str, dict[str, Any]] = {}
    for frame in table.frames:
        row = types.setdefault(frame.config_type, {"frames": 0, "atoms": 0, "species": {}, "energies": 0, "forces": 0,
                                                   "virials": 0, "energy_per_atom_eV": [None, None]})
        row["frames"] += 1
        row["atoms"] += frame.n_atoms
        row["forces"] += int(frame.has_forces)
        row["virials"] += int(frame.virial is not None)
        for z, n in zip(*np.unique(table.kinds[frame.kind], return_counts=True), strict=True):
            symbol = chemical_symbols[z]
            row["species"][symbol] = row["species"].get(symbol, 0) + int(n)
        if np.isfinite(frame.energy):
            row["energies"] += 1
            energy, (low, high) = frame.energy / frame.n_atoms, row["energy_per_atom_eV"]
            row["energy_per_atom_eV"] = [energy if low is None else min(low, energy),
                                         energy if high is None else max(high, energy)]
    return dict(sorted(types.items()))


def _n_frames(name: str) -> int:
    """Number of frames as their first lines tell it: for the progress only, so that any oddity ends the count."""
    count = 0
    try:
        with open_with_compression(name, "r") as file:
            for line in file:
                for _ in range(int(line) + 1):
                    next(file, None)
                count += 1
    except (OSError, ValueError, EOFError):
        pass
    return max(count, 1)
