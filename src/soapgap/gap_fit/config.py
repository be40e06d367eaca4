"""gap_fit's command line as a configuration of ours: the content of a `fit.toml`.

What gap_fit takes for granted and a fit of ours does not is set: no short-range baseline, QUIP's radial basis, a jitter of
1e-10 eV^2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from ase.data import atomic_numbers, chemical_symbols

from soapgap.errors import InputError
from soapgap.gap_fit.data import Survey, data_section
from soapgap.gap_fit.terms import Terms, translate_terms
from soapgap.gap_fit.words import CommandLine, Values
from soapgap.quip.strings import parse_parameters, real


@dataclass(frozen=True)
class Translation:
    """A fit as gap_fit was asked for it.

    Attributes
    ----------
    config : dict of str to object
        The content of a `fit.toml`.
    terms : Terms
        What else the descriptor strings ask for.
    survey : Survey
        What the data file has.
    notes : list of str
        What the user should know, one line each.
    """

    config: dict[str, Any]
    terms: Terms
    survey: Survey
    notes: list[str]


def translate(command: CommandLine) -> Translation:
    """The configuration that does the same fit.

    Raises
    ------
    InputError
        Something that is asked for is not supported, or contradicts the data.
    """
    values, notes = command.values, []
    data, survey, seen = data_section(values)
    notes += seen
    terms = translate_terms(command.gap, survey.species)
    notes += [*terms.notes, *_affected(data, {table["kind"] for table in terms.tables})]
    config: dict[str, Any] = {"output": str(model_file(values["gap_file"]))}
    config |= _reference(values, data, survey, notes)
    config |= _noise(values)
    config |= {
        "hessian_delta": values["hessian_displacement"],
        "sparse_jitter": values["sparse_jitter"],
        "radial_tolerance": 1e-12,  # the default shows in the 11th digit of K_nm
        "seed": _seed(values["rnd_seed"]),
        "data": data,
        "terms": terms.tables,
        "baseline": _baseline(values, data, notes),
    }
    return Translation(config, terms, survey, notes)


def _affected(data: dict[str, Any], kinds: set[str]) -> list[str]:
    """Where gap_fit's rows of these data are wrong for these terms."""
    notes = []
    if data["hessian_key"] and kinds != {"soap"}:
        notes.append("the data have curvatures: the rows of soap kernels are gap_fit's; those of pairs and triplets are not, "
                     "because gap_fit does not take the difference of the term with the derivative of the cutoff")
    if data["local_energy_key"] and "distance_3b" in kinds:
        notes.append("the data have local properties: a triplet of distance_Nb belongs to its three atoms alike, as in "
                     "predictions; gap_fit gives it to its first atom")
    return notes


def model_file(gap_file: str) -> PurePath:
    """The name of our model file: that of gap_fit's, with another ending."""
    path = PurePath(gap_file)
    if not path.name:
        raise InputError("gap_file is empty; expected the name of the XML file to write")
    if path.suffix == ".safetensors":
        raise InputError(f"gap_file={gap_file}: this is where the XML goes; expected another ending, such as .xml")
    return path.with_suffix(".safetensors") if path.suffix == ".xml" else path.with_name(path.name + ".safetensors")


def _seed(seed: int) -> int:
    if seed < -1:
        raise InputError(f"rnd_seed={seed}, expected a number >= 0, or -1 (here the same as 0: fits can be repeated)")
    return max(seed, 0)


# ---- energies of isolated atoms


def _reference(values: Values, data: dict[str, Any], survey: Survey, notes: list[str]) -> dict[str, Any]:
    """`e0` and `e0_offset`."""
    offset = {"e0_offset": values["e0_offset"]} if values["e0_offset"] else {}
    if "local_property0" in values:
        if data["energy_key"]:
            raise InputError("local_property0: gap_fit takes it off local properties only, but adds it to all energies that it "
                             "predicts, and the data have energies: give e0, which is taken off both")
        if "e0" in values:
            notes.append("local_property0 takes the place of e0, as in gap_fit")
        return {"e0": _energies(values["local_property0"], "local_property0", survey.species, notes)} | offset
    if "e0" not in values:
        return {"e0": values["e0_method"]} | offset
    return {"e0": _energies(values["e0"], "e0", survey.species, notes)} | offset


def _energies(text: str, what: str, species: Sequence[str], notes: list[str]) -> dict[str, float]:
    """One number for all species, or {Si:-1.0:O:-2.0}; species that are not named get 0, as in gap_fit."""
    words = text.split(":")
    if len(words) == 1:
        return dict.fromkeys(species, real(text, what))
    if len(words) % 2:
        raise InputError(f"{what}={{{text}}}, expected one number or pairs of species and energy such as {{Si:-1.0:O:-2.0}}")
    given = {_symbol(name.strip(), what): real(energy, what) for name, energy in zip(words[::2], words[1::2], strict=True)}
    missing = [symbol for symbol in species if symbol not in given]
    if missing:
        notes.append(f"{what} of {', '.join(missing)} is not given and is 0, as in gap_fit")
    return {symbol: given.get(symbol, 0.0) for symbol in species}


def _symbol(name: str, what: str) -> str:
    if name in atomic_numbers:
        return name
    if name.isdigit() and 0 < int(name) < len(chemical_symbols):
        return chemical_symbols[int(name)]
    raise InputError(f"{what}: got {name!r}, expected a chemical symbol")


# ---- noise


def _noise(values: Values) -> dict[str, Any]:
    sigma = values["default_kernel_regularisation"]
    if len(sigma) != 4:
        raise InputError(f"default_sigma has {len(sigma)} numbers, expected 4: {{energy force virial hessian}}")
    found: dict[str, Any] = {
        "default_sigma": list(sigma),
        "sigma_per_atom": values["kernel_regularisation_is_per_atom"],
        "local_energy_sigma": values["default_kernel_regularisation_local_property"],
    }
    words = values["config_type_kernel_regularisation"].replace(":", " ").split()
    if len(words) % 5:
        raise InputError(f"config_type_sigma={{{values['config_type_kernel_regularisation']}}}, expected "
                         "{type:energy:force:virial:hessian:type:...}, five words for each type")
    if words:
        found["config_type_sigma"] = {words[k]: [real(word, f"config_type_sigma, {words[k]}") for word in words[k + 1:k + 5]]
                                      for k in range(0, len(words), 5)}
    return found


# ---- baseline


def _baseline(values: Values, data: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """None, or QUIP's Glue potential from a file."""
    text = values["baseline_ip_args"]
    if not text:
        if "baseline_param_filename" in values:
            notes.append(f"{values['baseline_param_filename']} is not read, as in gap_fit: core_ip_args is not given")
        return {"kind": "none"}
    words = parse_parameters(text)
    flags = [key for key in words if key.lower() != "label"]
    if sorted(flag.lower() for flag in flags) != ["glue", "ip"]:
        raise InputError(f"core_ip_args={{{text}}} is not supported, only {{IP Glue}} (with a label, if there are several); "
                         "potentials of LAMMPS and ASE can be the baseline of a fit.toml, see docs/training.md")
    if data["hessian_key"]:
        notes.append("the curvature of the baseline is subtracted from the curvatures of the data; gap_fit adds it")
    table = {"kind": "file", "file": values["baseline_param_filename"]}
    return {"kind": "none", "potentials": [table | ({"label": words["label"]} if "label" in words else {})]}

