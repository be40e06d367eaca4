"""`soapgap check` on real data: nothing is found in clean sets, and every fault planted in a copy is found.

    python validation/check_faults.py --data FOLDER [--output FOLDER] [--sets NAME ...] [--seed N]

FOLDER holds mlearn, rmd17, ta_snap and water_pbe0ts (extended XYZ). Every set is checked as it is, and warnings are
verified: frames that are reported as duplicates are compared with all others atom by atom. Then isolated atoms are added,
because some faults are theirs, and the faults of planted_faults.py are planted one at a time. The frames are shuffled
with the seed first, so that each seed hits other frames. A fault is found if its finding appears and names the frames where
it was planted (where that is known); errors and warnings beside it that neither follow from the fault nor are there without
it are false alarms. A fault that a set cannot have (no virials, no lattice) is left out there.

The status is 1 if a fault is not found, if there is a false alarm, or if a clean set has warnings that are not true.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read
from planted_faults import PLANTED, copies, write_set

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))
from common import Screen, Table, save

from soapgap.check.frames import read_frames
from soapgap.check.outliers import species_energies
from soapgap.check.run import check
from soapgap.config.data import DataConfig

SETS = {
    "Si": ("mlearn/Si_train.xyz", "group"), "Si test": ("mlearn/Si_test.xyz", "group"),
    "Cu": ("mlearn/Cu_train.xyz", "group"), "Cu test": ("mlearn/Cu_test.xyz", "group"),
    "Li": ("mlearn/Li_train.xyz", "group"), "Li test": ("mlearn/Li_test.xyz", "group"),
    "ethanol": ("rmd17/rmd17_ethanol_train_01.xyz", ""), "Ta": ("ta_snap/Ta.xyz", "group"),
    "water": ("water_pbe0ts/water_deepmd_400.xyz", ""),
}
BOUND_BY = 4.0  # eV per atom: where the isolated atoms that are added lie above the average atom of the set
SAME_FRAME = 1e-3  # Angstrom
COLUMNS = [("fault", "fault", ""), ("sets", "sets", ""), ("found", "found", ""), ("by", "by the finding", ""),
           ("missed", "missed in", ""), ("false", "false alarms", "")]
CLEAN = [("set", "set", ""), ("frames", "frames", "d"), ("atoms", "atoms", "d"), ("errors", "errors", "d"),
         ("warnings", "warnings", "d"), ("notes", "notes", ""), ("proof", "verified", "")]


def alarms(result) -> dict[str, set[int]]:
    """Errors and warnings by code, with their frames."""
    found: dict[str, set[int]] = {}
    for finding in result.findings:
        if finding.severity != "note":
            found.setdefault(finding.code, set()).update(finding.frames)
    return found


def same_frames(frames: list[Atoms]) -> set[int]:
    """Frames that occurred before, by the distances of all atoms in all pairs of frames: nothing of the check is used."""
    again = set()
    fractional = [np.linalg.solve(f.cell.array.T, f.positions.T).T if f.cell.array.any() else f.positions for f in frames]
    for k, frame in enumerate(frames):
        for j in range(k):
            if len(frame) != len(frames[j]) or np.abs(frame.cell.array - frames[j].cell.array).max() > SAME_FRAME:
                continue
            if (frame.numbers != frames[j].numbers).any():
                continue
            moved = fractional[k] - fractional[j]
            if frame.cell.array.any():
                moved = (moved - np.round(moved)) @ frame.cell.array
            if np.sqrt(np.mean(np.sum(moved**2, axis=1))) < SAME_FRAME:
                again.add(k)
                break
    return again


def clean_row(name: str, path: Path, config_type_key: str) -> tuple[dict, list[Atoms]]:
    """What the set as it is gives, and whether its warnings are true."""
    result, frames = check([path], config_type_key=config_type_key), read(path, ":")
    found, again = alarms(result), same_frames(frames)
    true = set(found) <= {"duplicate"} and found.get("duplicate", set()) == again
    n = {severity: sum(f.severity == severity for f in result.findings) for severity in ("error", "warning")}
    numbers = ", ".join(str(k) for k in sorted(again))
    proof = f"frames {numbers} occurred before" if again else "no frame occurs twice"
    codes = ", ".join(f.code for f in result.findings if f.severity == "note")
    return {"set": name, "frames": len(frames), "atoms": sum(map(len, frames)), "errors": n["error"], "warnings": n["warning"],
            "notes": codes, "proof": proof if true else f"NOT TRUE: {found}, {proof}", "true": true}, frames


def base_set(path: Path, config_type_key: str, frames: list[Atoms], seed: int) -> list[Atoms]:
    """The frames in another order, with energy, forces, virial and type only, and one isolated atom of every species."""
    table = read_frames([str(path)], DataConfig(train=(str(path),), config_type_key=config_type_key))
    energies = species_energies(table)
    base = []
    for number, z in enumerate(energies):
        base.append(Atoms([z], cell=[20.0] * 3 if frames[0].pbc.any() else None, pbc=frames[0].pbc))
        labels(base[-1], energies[z] + BOUND_BY + 0.1 * number, np.zeros((1, 3)), None, "isolated_atom")
    for k in np.random.default_rng(seed).permutation(len(frames)):
        frame, row = frames[k], table.frames[k]
        base.append(Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc))
        labels(base[-1], row.energy, frame.get_forces(), row.virial, row.config_type)
    return base


def labels(atoms: Atoms, energy, forces, virial, config_type) -> None:
    """Quantities under the names that soapgap takes unless told otherwise."""
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    atoms.info["config_type"] = config_type
    if virial is not None:
        atoms.info["virial"] = virial


def plant(fault, base: list[Atoms], before: dict[str, set[int]], folder: Path) -> dict | None:
    """Plant one fault and see: None if the set cannot have it, else how it was found."""
    frames = copies(base)
    if fault.needs == "virial" and not any("virial" in f.info for f in frames):
        return None
    if fault.needs == "lattice" and not any(f.pbc.all() for f in frames if len(f) > 1):
        return None
    where = fault.plant(frames)
    path = write_set(folder / "faulty.xyz", frames)
    result = check([path])
    accepted = {fault.code, *fault.otherwise}
    hits = [f for f in result.findings if f.code in accepted]
    removed = max(len(base) - len(frames), 0)  # isolated atoms, which are the first
    known = {code: {k - removed for k in frames_} for code, frames_ in before.items()}
    named = set().union(*(set(f.frames) for f in hits)) if hits else set()
    found = bool(hits) and (where is None or set(where) <= named)
    strange = {code: sorted(k for k in frames_ if k not in known.get(code, set()))
               for code, frames_ in alarms(result).items() if code not in accepted | set(fault.beside)}
    strange = {code: frames_ for code, frames_ in strange.items() if code not in known or frames_}
    if found and where is not None and fault.code in alarms(result):
        excess = alarms(result)[fault.code] - set(where) - known.get(fault.code, set())
        strange |= {fault.code: sorted(excess)} if excess else {}
    return {"found": found, "by": sorted({f"{f.severity} {f.code}" for f in hits}), "false": strange,
            "what": [f.what for f in hits], "planted": where}


def measure(options, screen: Screen) -> tuple[list[dict], dict]:
    """Rows of the clean sets, and fault by fault what every set gave."""
    clean, outcome = [], {name: {} for name in PLANTED}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.sets:
            path, key = Path(options.data, SETS[name][0]), SETS[name][1]
            row, frames = clean_row(name, path, key)
            clean.append(row)
            base = base_set(path, key, frames, options.seed)
            before = alarms(check([write_set(Path(folder, "base.xyz"), base)]))
            if set(before) - {"duplicate"}:
                screen.line(f"{name}: with isolated atoms there are {before}")
                row["true"] = False
            for number, (title, fault) in enumerate(PLANTED.items()):
                screen.progress(f"{name}: {number + 1} of {len(PLANTED)}: {title}")
                result = plant(fault, base, before, Path(folder))
                if result is not None:
                    outcome[title][name] = result
    return clean, outcome


def fault_rows(outcome: dict) -> list[dict]:
    """One line per fault."""
    rows = []
    for title, by_set in outcome.items():
        if by_set:
            false = [f"{name}: {', '.join(result['false'])}" for name, result in by_set.items() if result["false"]]
            rows.append({"fault": title, "sets": str(len(by_set)), "found": str(sum(r["found"] for r in by_set.values())),
                         "by": ", ".join(sorted({by for r in by_set.values() for by in r["by"]})),
                         "missed": ", ".join(name for name, r in by_set.items() if not r["found"]), "false": "; ".join(false)})
    return rows


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder with mlearn, rmd17, ta_snap and water_pbe0ts")
    parser.add_argument("--output", help="folder for check_faults.json")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), metavar="NAME", help=", ".join(SETS))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    screen = Screen()
    clean, outcome = measure(options, screen)
    rows = fault_rows(outcome)
    total, found = (sum(int(row[what]) for row in rows) for what in ("sets", "found"))
    n_false = sum(bool(result["false"]) for by_set in outcome.values() for result in by_set.values())
    tables = [Table("clean", "soapgap check on sets as they are", CLEAN, clean),
              Table("faults", "faults planted in copies, one at a time", COLUMNS, rows,
                    [f"{found} of {total} faults found; false alarms beside {n_false} of them"])]
    for table in tables:
        screen.table(table)
    if options.output:
        save(Path(options.output, "check_faults.json"), tables, {"sets": options.sets, "seed": options.seed})
        Path(options.output, "check_faults_details.json").write_text(json.dumps(outcome, indent=1, default=int))
    return int(found < total or n_false > 0 or not all(row["true"] for row in clean))


if __name__ == "__main__":
    sys.exit(main())
