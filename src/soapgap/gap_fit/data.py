"""gap_fit's names of quantities, and what its training file really has of them.

gap_fit passes over what a frame does not have, over energies and virials written as integers, and over virials that are not
nine plain numbers. A look at the lines with the keys of every frame tells what is there; nothing goes missing unnoticed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase.io.extxyz import key_val_str_to_dict
from ase.io.formats import open_with_compression

from soapgap.data.observables import OBSERVABLES
from soapgap.errors import InputError
from soapgap.gap_fit.words import Values


@dataclass
class Survey:
    """What the frames of a file have.

    Attributes
    ----------
    n_frames : int
        Number of frames.
    species : list of str
        Chemical symbols in the order in which they first appear, gap_fit's order.
    keys, columns : Counter
        In how many frames each name occurs, as a value of the frame and as a column.
    integer_energies : int
        Frames whose energy is written without a decimal point.
    odd_virials : int
        Frames whose virial is not nine real numbers.
    both : int
        Frames with a virial and a stress.
    not_periodic : int
        Frames of several atoms that are not periodic in all directions.
    """

    n_frames: int = 0
    species: list[str] = field(default_factory=list)
    keys: Counter = field(default_factory=Counter)
    columns: Counter = field(default_factory=Counter)
    integer_energies: int = 0
    odd_virials: int = 0
    both: int = 0
    not_periodic: int = 0

    def __contains__(self, name: str) -> bool:
        return name in self.keys or name in self.columns


def survey(path: str, energy: str, virial: str, stress: str) -> Survey:
    """Look at all frames of an extended XYZ file; what cannot be read ends it, for the reader of the data to complain about.

    Parameters
    ----------
    energy, virial, stress : str
        Names of these quantities.

    Raises
    ------
    InputError
        The file cannot be opened.
    """
    found = Survey()
    seen: dict[str, None] = {}
    try:
        for n_atoms, header, symbols in _frames(path):
            info = key_val_str_to_dict(header)
            found.n_frames += 1
            found.keys.update(info.keys() - {"Properties"})
            found.columns.update(name for name, _ in _columns(info))
            seen.update(dict.fromkeys(symbols))
            found.integer_energies += isinstance(info.get(energy), (int, np.integer))
            found.odd_virials += virial in info and _is_odd(info[virial], _raw(header, virial))
            found.both += virial in info and stress in info
            found.not_periodic += n_atoms > 1 and ("Lattice" not in info or not np.all(info.get("pbc", True)))
    except OSError as error:
        raise InputError(f"cannot read at_file={path}: {error.strerror or error}") from None
    except (ValueError, IndexError, UnicodeDecodeError):
        pass
    found.species = list(seen)
    return found


def _columns(info: dict[str, Any]) -> list[tuple[str, int]]:
    """Names of the columns and where each begins."""
    words = str(info.get("Properties", "species:S:1:pos:R:3")).split(":")
    widths = [int(width) for width in words[2::3]]
    return list(zip(words[::3], np.cumsum([0, *widths[:-1]]).tolist(), strict=False))


def _frames(path: str) -> Iterator[tuple[int, str, dict[str, None]]]:
    """Number of atoms, second line and chemical symbols (in their order) of every frame."""
    with open_with_compression(path, "r") as file:
        for line in file:
            if not line.strip():
                return
            n_atoms, header = int(line), next(file, "")
            place = dict(_columns(key_val_str_to_dict(header))).get("species", 0)
            yield n_atoms, header, dict.fromkeys(next(file, "").split()[place] for _ in range(n_atoms))


def _is_odd(virial: Any, raw: str) -> bool:
    """Whether gap_fit would take it as missing."""
    numbers = np.asarray(virial)
    return numbers.size != 9 or numbers.dtype.kind != "f" or "_JSON" in raw


def _raw(header: str, key: str) -> str:
    """The beginning of a value as it is written."""
    return header.partition(f"{key}=")[2][:12]


def data_section(values: Values) -> tuple[dict[str, Any], Survey, list[str]]:
    """`[data]` of the configuration, what the file has, and what the user should know.

    Raises
    ------
    InputError
        The file cannot be opened; it has noise keys or masks under names that cannot be chosen here.
    """
    prefix, path = values["parameter_name_prefix"], values["atoms_filename"]
    names = {what: prefix + values[f"{what}_parameter_name"] for what in
             ("energy", "force", "virial", "stress", "hessian", "local_property", "config_type")}
    found = survey(path, names["energy"], names["virial"], names["stress"])
    _check_names(values, prefix, found)
    hessian = names["hessian"] if f"n_{names['hessian']}" in found.keys else ""
    section = {
        "train": path,
        "energy_key": names["energy"] if names["energy"] in found.keys else "",
        "forces_key": names["force"] if names["force"] in found.columns else "",
        "virial_key": names["virial"] if names["virial"] in found.keys else "",
        "stress_key": names["stress"] if found.keys[names["stress"]] > found.both else "",
        "local_energy_key": names["local_property"] if names["local_property"] in found.columns else "",
        "hessian_key": hessian,
        "config_type_key": names["config_type"],
    }
    return section, found, _notes(names, section, found)


def _notes(names: dict[str, str], section: dict[str, Any], found: Survey) -> list[str]:
    notes = []
    for what, key, there in (("energy", "energy_key", found.keys), ("force", "forces_key", found.columns)):
        if not section[key]:
            offer = ", ".join(sorted(name for name in there if name not in ("species", "pos", "Lattice", "pbc"))) or "none"
            notes.append(f"no frame has {names[what]!r} ({what}_parameter_name): as in gap_fit, it is not fitted; names "
                         f"that exist: {offer}")
    if found.integer_energies:
        notes.append(f"{found.integer_energies} frames have an energy written as an integer: it is read; gap_fit takes it as "
                     "missing")
    if found.odd_virials:
        notes.append(f"{found.odd_virials} frames have a virial that is not nine real numbers: it is read; gap_fit takes it "
                     "as missing")
    if found.not_periodic:
        notes.append(f"{found.not_periodic} frames are not periodic in all directions: this is followed; gap_fit takes all "
                     "frames as periodic")
    if section["local_energy_key"]:
        notes.append("the data have local properties: e0 is subtracted from them; gap_fit does not subtract it, but adds it in "
                     "predictions")
    return notes


def _check_names(values: Values, prefix: str, found: Survey) -> None:
    """Noise keys and masks have fixed names in the data; other names must not be ignored."""
    sigma = prefix + values["kernel_regularisation_parameter_name"]
    ours = [key for observable in OBSERVABLES.values() for key in observable.sigma.own if key != "local_energy_sigma"]
    pairs = [(key.removesuffix("sigma") + sigma, key, "kernel_regularisation_parameter_name") for key in ours]
    pairs += [(prefix + values[f"{mask}_parameter_name"], mask, f"{mask}_parameter_name")
              for mask in ("force_mask", "local_property_mask")]
    for wanted, ours, option in pairs:
        if wanted == ours:
            continue
        if wanted in found:
            raise InputError(f"{values['atoms_filename']} has {wanted}, which {option} (and parameter_name_prefix) ask for; "
                             f"expected the name {ours}: rename it in the file and leave {option} out")
        if ours in found:
            raise InputError(f"{values['atoms_filename']} has {ours}, which gap_fit would not read with these "
                             f"{option} and parameter_name_prefix, but soapgap would: remove it from the file")
