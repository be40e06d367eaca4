"""What is absent, unusable or under another name: quantities, lattices and isolated atoms."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from ase.data import chemical_symbols

from soapgap.check.findings import Finding, plural
from soapgap.check.frames import ISOLATED_CUTOFF, QUANTITIES, FrameTable

SAME_ENERGY = 1e-6  # eV: what a fit accepts between two isolated atoms
BINDING_RANGE = (-1.0, 12.0)  # eV per atom: no substance is bound more strongly, and hardly a data set is unbound as a whole
MANY_FRAMES, FEW_FRAMES = 10, 3
MOST_TYPES = 40
OPTION = {"energy": "--energy-key", "forces": "--forces-key", "virial": "--virial-key or --stress-key"}


def value_findings(table: FrameTable) -> Iterator[Finding]:
    """All findings of this module."""
    yield from _unreadable(table)
    yield from _faults(table)
    for quantity in QUANTITIES:
        yield from _absent(table, quantity)
    if table.whole_energies:
        yield Finding("warning", "energy-whole-number",
                      f"energies written as whole numbers in {plural(len(table.whole_energies), 'frame')}",
                      "soapgap reads them, but QUIP and gap_fit take a whole number for a missing energy; write -5.0, not "
                      "-5, and make sure that no digits were lost", tuple(table.whole_energies))
    yield from _lattices(table)
    yield from _isolated(table)
    yield from _rare_species(table)
    yield from _labels(table)


def _unreadable(table: FrameTable) -> Iterator[Finding]:
    for message, file in table.unreadable:
        yield Finding("error", "unreadable", f"{table.names[file]}: {message}",
                      "what follows in this file was not looked at; correct it and check again",
                      values={"file": table.names[file]})


def _faults(table: FrameTable) -> Iterator[Finding]:
    """Values that the trainer refuses, the same fault of many frames as one finding."""
    groups: dict[str, tuple[str, list[int]]] = {}
    for message, frame in table.faults:
        alike = re.sub(r"of atom \d+|is \S+|: component .*|: the cell.*|cell is .*", "", message)
        groups.setdefault(alike, (message, []))[1].append(frame)
    for message, frames in groups.values():
        code = "contradiction" if "contradict" in message else "not-finite" if "finite number" in message else "unusable"
        yield Finding("error", code, f"{message}" + (f"; {len(frames)} frames like this" if len(frames) > 1 else ""),
                      "a fit stops at this; correct or remove it", tuple(frames))


def _absent(table: FrameTable, quantity: str) -> Iterator[Finding]:
    names = [getattr(table.keys, setting) for setting in QUANTITIES[quantity] if getattr(table.keys, setting)]
    lacking, total = table.seen[quantity].lacking, len(table.frames)
    if not names or not lacking:
        return
    wanted = " or ".join(map(repr, names))
    others = {name: frames for name, frames in table.seen[quantity].others.items() if name not in table.seen[quantity].beside}
    offered = ", ".join(f"{name!r} in {plural(len(frames), 'frame')}" for name, frames in others.items())
    if len(lacking) == total:
        if others:
            yield Finding("warning" if quantity == "virial" else "error", f"{quantity}-key", f"no frame has {wanted}, but "
                          f"{offered}", f"the {quantity} would not be read; name the key: {OPTION[quantity]} here, "
                          f"data.{QUANTITIES[quantity][0]} in fit.toml", tuple(lacking), {"other_names": sorted(others)})
        elif quantity != "virial":
            yield Finding("error" if quantity == "energy" else "warning", f"{quantity}-missing", f"no frame has {wanted}",
                          f'add it, or give data.{QUANTITIES[quantity][0]} in fit.toml ("" not to read it)',
                          tuple(lacking))
        return
    if others:
        frames = sorted({k for found in others.values() for k in found})
        yield Finding("error", f"{quantity}-mixed-keys", f"{wanted} in {plural(total - len(lacking), 'frame')}, but {offered} "
                      "that lack it", f"their {quantity} would be skipped without a message; use one name in all frames",
                      tuple(frames), {"other_names": sorted(others)})
    else:
        severity = "warning" if quantity == "energy" else "note"
        yield Finding(severity, f"{quantity}-missing", f"{len(lacking)} of {total} frames have no {quantity} ({wanted})",
                      "a fit takes what is there; check that this is intended", tuple(lacking))


def _rare_species(table: FrameTable) -> Iterator[Finding]:
    """Species of one or two frames of many: a fit learns nothing about them, and often it is a misspelt symbol."""
    alone = table.column("isolated")
    counts = table.composition() * ~alone[:, None]
    if np.count_nonzero(~alone) < MANY_FRAMES:
        return
    for column, z in enumerate(table.species):
        frames = np.flatnonzero(counts[:, column])
        if 0 < len(frames) < FEW_FRAMES:
            yield Finding("warning", "species-rare", f"{chemical_symbols[z]} occurs in {plural(len(frames), 'frame')} of "
                          f"{np.count_nonzero(~alone)}", "a fit cannot learn an element from so little; add frames, or "
                          "correct the symbol", tuple(frames.tolist()),
                          {"species": chemical_symbols[z], "n_atoms": int(counts[:, column].sum())})


def _labels(table: FrameTable) -> Iterator[Finding]:
    """A name that divides the frames into a few kinds while none has the one of the config_type."""
    key = table.keys.config_type_key
    if not key or key in table.labels:
        return
    kinds = {name: sorted(found) for name, found in table.labels.items()
             if 1 < len(found) <= min(MOST_TYPES, len(table.frames) / 3) and sum(found.values()) > 0.9 * len(table.frames)}
    if kinds:
        name = min(kinds, key=lambda name: len(kinds[name]))
        shown = ", ".join(kinds[name][:4]) + (", ..." if len(kinds[name]) > 4 else "")
        yield Finding("note", "config-type-key", f"no frame has {key!r}, but {name!r} divides them into "
                      f"{len(kinds[name])} kinds ({shown})", f"if that is the type of a frame, give --config-type-key {name} "
                      "here, data.config_type_key in fit.toml", values={"kinds": kinds})


def _lattices(table: FrameTable) -> Iterator[Finding]:
    groups: dict[str, list[int]] = {}
    for k, frame in enumerate(table.frames):
        if frame.n_atoms > 1 and frame.fingerprint is not None:  # else it claims to be periodic, which is an error
            groups.setdefault(frame.config_type, []).append(k)
    mixed, open_frames = [], []
    for members in groups.values():
        without = [k for k in members if not table.frames[k].has_lattice]
        (mixed if 0 < len(without) < len(members) else open_frames).extend(without)
    if mixed:
        yield Finding("warning", "no-lattice", f"{plural(len(mixed), 'frame')} without lattice among frames of the same "
                      "config_type that have one", "without a lattice there are no periodic images and no stress; add the "
                      "lattice, or give molecules a config_type of their own", tuple(mixed))
    if open_frames:
        yield Finding("note", "molecules", f"{plural(len(open_frames), 'frame')} without lattice",
                      "right for molecules in vacuum", tuple(open_frames))


def _isolated(table: FrameTable) -> Iterator[Finding]:
    """Every species needs one isolated atom with an energy, and only one energy."""
    found: dict[int, list[int]] = {z: [] for z in table.species}
    for k, frame in enumerate(table.frames):
        if frame.isolated:
            found[int(table.kinds[frame.kind][0])].append(k)
    lost = [k for frames in found.values() for k in frames if np.isnan(table.frames[k].energy)]
    if lost:
        yield Finding("error", "isolated-no-energy", f"{plural(len(lost), 'isolated atom')} without an energy under "
                      f"{table.keys.energy_key!r}", "e0 cannot be taken from there; write the energy under the same name as "
                      "in the other frames", tuple(lost))
    missing = [chemical_symbols[z] for z, frames in found.items() if not set(frames) - set(lost)]
    if missing:
        example = ", ".join(f"{symbol} = ..." for symbol in missing)
        yield Finding("note", "isolated-missing", f"no isolated atom of {', '.join(missing)}", 'e0 = "isolated" needs one '
                      f"frame of each, the atom alone within {ISOLATED_CUTOFF:g} A and its energy; add it, or set "
                      f'e0 = {{ {example} }} or e0 = "fit"', values={"species": missing})
    for z, frames in found.items():
        yield from _repeated(table, chemical_symbols[z], [k for k in frames if k not in lost])


def _repeated(table: FrameTable, symbol: str, frames: list[int]) -> Iterator[Finding]:
    energies = np.array([table.frames[k].energy for k in frames])
    if len(frames) < 2:
        return
    if np.ptp(energies) > SAME_ENERGY:
        yield Finding("error", "isolated-contradictory", f"{len(frames)} isolated {symbol} atoms with energies from "
                      f"{energies.min():.6f} to {energies.max():.6f} eV", "a fit cannot know which one is e0; keep the one of "
                      "the same settings as the other frames", tuple(frames))
        return
    files = [table.frames[k].file for k in frames]
    severity = "warning" if len(set(files)) < len(files) else "note"
    yield Finding(severity, "isolated-repeated", f"{len(frames)} isolated {symbol} atoms with the same energy",
                  "harmless in files for training and for test; within one file keep one", tuple(frames))


def cohesion_findings(table: FrameTable, e_fit: dict[int, float]) -> Iterator[Finding]:
    """Isolated atoms whose energy cannot belong to the same calculation as the rest.

    Parameters
    ----------
    e_fit : dict of int to float
        Energy per atom of every species in the frames that are not isolated atoms (eV), from a fit to compositions.

    Notes
    -----
    The binding energy of a frame, (sum_i e0_i - E)/N, is on average between -1 and 12 eV per atom in any substance.
    """
    e0 = {int(table.kinds[f.kind][0]): f.energy for f in table.frames if f.isolated and not np.isnan(f.energy)}
    if not e_fit or any(z not in e0 for z in table.species):
        return
    used = [k for k, f in enumerate(table.frames) if not f.isolated and f.n_atoms > 1 and not np.isnan(f.energy)]
    if not used:
        return
    counts = table.composition()[used]
    binding = (counts @ [e0[z] for z in table.species] - table.column("energy")[used]) / counts.sum(axis=1)
    average = float(np.median(binding))
    if not BINDING_RANGE[0] <= average <= BINDING_RANGE[1]:
        frames = tuple(k for k, f in enumerate(table.frames) if f.isolated)
        yield Finding("warning", "isolated-implausible", f"measured from the isolated atoms, frames are bound by {average:.4g} "
                      "eV per atom in the median", f"expected {BINDING_RANGE[0]:g} to {BINDING_RANGE[1]:g}: isolated atoms and "
                      "other frames seem to come from different settings, units or pseudopotentials", frames,
                      {"binding_energy_eV_per_atom": average})
