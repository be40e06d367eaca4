"""Given potentials as a baseline: what they are, what they give for the data, and the data without it.

    E = sum_i e0 + fitted terms + short-range repulsion + given potentials

Potentials of LAMMPS and ASE stay what they are, external parts of the model. Those from a file (QUIP's, or a model) become
terms of the model; their own e0 is left out, as the e0 of the fit, from data less all of this, takes its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from soapgap.config import FitConfig
from soapgap.config.baseline import BaselineConfig
from soapgap.data.observables import OBSERVABLES, Outputs, present
from soapgap.data.structure import Structure
from soapgap.data.virials import as_voigt
from soapgap.errors import InputError, ModelFileError
from soapgap.files import hash_files
from soapgap.learn.baseline.baseline import BaselineValues, baseline_terms, baseline_values, dimer_remark, values_at
from soapgap.learn.errors import Comparison
from soapgap.model import Model, Term
from soapgap.model.external import External, ExternalValues, LammpsPotential, check_potentials, potential_from_json
from soapgap.model.external.lammps_engine import files_of
from soapgap.model.external.permission import named_by_the_user
from soapgap.quip import read_quip
from soapgap.say import Reporter

_E0_LIMIT = 1e-3  # eV: a potential that gives an isolated atom more than this shifts e0


@dataclass(frozen=True)
class GivenPotentials:
    """What `[[baseline.potentials]]` names.

    Attributes
    ----------
    external : list
        Potentials of LAMMPS and ASE, for `Model.external`.
    files : dict of str to list
        Terms of each file, by its name.
    fingerprint : dict of str to str
        SHA-256 of every file that the result depends on, by its name.
    """

    external: list
    files: dict[str, list]
    fingerprint: dict[str, str]

    @property
    def terms(self) -> list:
        """The terms of all files, for `Model.terms`."""
        return [term for terms in self.files.values() for term in terms]


def read_potentials(config: BaselineConfig, species: Sequence[str], folder: Path) -> GivenPotentials:
    """The potentials of a configuration, made ready for these species.

    Parameters
    ----------
    folder : Path
        What the names of files are relative to.

    Raises
    ------
    InputError
        A file that cannot be read or does not fit the species; a potential that does not fit them.
    """
    external, files, fingerprint = [], {}, {}
    for n, table in enumerate(config.potentials):
        where = f"baseline.potentials[{n}]"
        try:
            if table["kind"] == "file":
                path = folder / table["file"]
                files[table["file"]] = _terms_of_file(path, table.get("label"), species)
                fingerprint[table["file"]] = hash_files([path])
                continue
            potential = potential_from_json(table)
            if isinstance(potential, LammpsPotential):
                potential = replace(potential, files=files_of(potential, species, [folder]))
                fingerprint |= potential.files
            check_potentials([*external, potential], species)
            external.append(potential)
        except (InputError, ModelFileError) as error:
            raise InputError(f"{where}: {error}") from None
    return GivenPotentials(named_by_the_user(external, folder.resolve()), files, fingerprint)


def _terms_of_file(path: Path, label: str | None, species: Sequence[str]) -> list:
    if path.suffix.lower() == ".xml":
        model = read_quip(path, None, label)
    else:
        model = Model.load(path)
    if model.external:
        raise InputError(f"{path.name} has external potentials of its own; name them as potentials of this baseline, too, and "
                         "take a file without them")
    missing = [symbol for symbol in species if symbol not in model.species]
    if missing:
        raise InputError(f"{path.name} is a potential for {', '.join(model.species)}, and the data contain "
                         f"{', '.join(missing)}: expected a potential for all of their elements")
    terms = [term for term in model.terms if _acts_on(term, species, path.name)]
    if any(term.whole_structure for term in terms):
        raise InputError(f"{path.name} holds an averaged descriptor (average=T), which cannot be a baseline")
    if Model(list(species), dict.fromkeys(species, 0.0), terms).evaluator().needs.order:
        raise InputError(f"{path.name} holds a distance_Nb term that depends on the order of the atoms, which cannot be a "
                         "baseline")
    return terms


def _acts_on(term: Term, species: Sequence[str], name: str) -> bool:
    """Whether a term ever acts between these species; an error if it does so only together with others."""
    strange = [symbol for symbol in term.symbols if symbol not in species]
    if term.needs_all or term.symbols[0] in strange:
        return not strange
    if strange:
        raise InputError(f"{name} also knows {', '.join(strange)}, of which the data have none: expected a potential for "
                         f"{', '.join(species)} alone")
    return True


@dataclass(frozen=True)
class Reference:
    """The whole baseline of a fit and what it gives for the training data.

    Attributes
    ----------
    terms : list
        Short-range repulsion and the terms of files, for `Model.terms`.
    external : list
        For `Model.external`.
    fingerprint : dict of str to str
        SHA-256 of every file that the result depends on, by its name.
    repulsion : list of BaselineValues
        Values of the short-range repulsion alone, of every structure.
    outside : list of BaselineValues
        Values of the external potentials; empty without them.
    values : list of BaselineValues
        Values of everything.
    """

    terms: list
    external: list
    fingerprint: dict[str, str]
    repulsion: list[BaselineValues]
    outside: list[BaselineValues]
    values: list[BaselineValues]


def make_reference(config: FitConfig, species: Sequence[str], shortest: Mapping[tuple[str, str], float],
                   structures: Sequence[Structure], folder: Path, say: Reporter) -> Reference:
    """Read the baseline of a configuration and evaluate it for the training data.

    Parameters
    ----------
    shortest : dict
        Shortest training distance of the pairs of species that occur (Angstrom).
    folder : Path
        What the names of files are relative to.

    Raises
    ------
    InputError
        See `read_potentials`; a potential fails, or cannot give what the data have (stress, energies of the atoms).
    """
    given, delta = read_potentials(config.baseline, species, folder), config.hessian_delta
    own = baseline_terms(config.baseline, species, shortest)
    repulsion = baseline_values(own, species, structures, delta)
    values = repulsion
    for name, terms in given.files.items():
        of_file = baseline_values(terms, species, structures, delta)
        _describe(f"{name} ({len(terms)} terms)", [v.forces for v in of_file], say)
        values = [a + b for a, b in zip(values, of_file, strict=True)]
    forces: dict[str, list] = {}
    outside = outside_values(given.external, species, structures, delta, say, "train", forces)
    for name, all_forces in forces.items():
        _describe(name, all_forces, say)
    if given.external:
        if config.e0 == "isolated":
            _warn_of_shifted_atoms(structures, outside, say)
        remark = dimer_remark(External(given.external, species), species)
        if remark is not None:
            say.warning(remark)
        values = [a + b for a, b in zip(values, outside, strict=True)]
    return Reference(own + given.terms, given.external, given.fingerprint, repulsion, outside, values)


def outside_values(external: Sequence, species: Sequence[str], structures: Sequence[Structure], delta: float, say: Reporter,
                   label: str, forces: dict[str, list] | None = None) -> list[BaselineValues]:
    """What external potentials give for every structure; an empty list if there are none.

    Parameters
    ----------
    delta : float
        Displacement for the curvatures (Angstrom).
    label : str
        Of the data.
    forces : dict of str to list, optional
        Takes the forces of each potential.

    Raises
    ------
    InputError
        A potential fails, or cannot give what the data have (stress, energies of the atoms).
    """
    if not external:
        return []
    engine, values = External(external, species), []
    with say.task(f"external potentials ({label})", len(structures)) as task:
        for structure in structures:
            values.append(_external_values(engine, structure, delta, {} if forces is None else forces))
            task.advance(1)
    return values


def _describe(name: str, forces: Sequence[np.ndarray], say: Reporter) -> None:
    components = np.concatenate([np.ravel(f) for f in forces])
    say.line(f"baseline, {name}: rms force {np.sqrt(np.mean(components**2)):.4g} eV/A in the training data; it is subtracted "
             "and belongs to the model")


def _external_values(engine: External, structure: Structure, delta: float, forces: dict[str, list]) -> BaselineValues:

    def source(moved: Structure, needs: set[str]) -> Outputs:
        if moved is not structure:
            return _outputs(engine.compute(moved.atoms))
        total = None
        for name, values in engine.parts(structure.atoms):
            forces.setdefault(name, []).append(values.forces)
            _require(name, _outputs(values), structure)
            total = _outputs(values) if total is None else total + _outputs(values)
        return total

    try:
        return values_at(structure, source, delta)
    except InputError as error:
        raise InputError(f"{structure.where}: {error}") from None


def _outputs(values: ExternalValues) -> Outputs:
    strain = None if values.virial is None else -as_voigt(values.virial)
    return Outputs(values.energy, values.energies, -values.forces.ravel(), strain)


_LACKING = {
    "strain": ("a virial or stress", "gives no stress: use a calculator that gives it"),
    "local": ("energies of atoms", "does not say how its energy is shared among atoms: use another potential"),
}


def _require(name: str, outputs: Outputs, structure: Structure) -> None:
    for observable in present(structure):
        for what, (data, why) in _LACKING.items():
            if what in observable.needs and getattr(outputs, what) is None:
                raise InputError(f"the data have {data}, and {name} {why}, or set {observable.to_unread}")


def _warn_of_shifted_atoms(structures: Sequence[Structure], outside: Sequence[BaselineValues], say: Reporter) -> None:
    """Long-range potentials give a single atom in a periodic box an energy, which e0 = "isolated" would take up."""
    for structure, values in zip(structures, outside, strict=True):
        if len(structure.atoms) == 1 and structure.energy is not None and abs(values.energy) > _E0_LIMIT:
            say.warning(f"{structure.where}: the external potentials give this single {structure.symbols[0]} atom "
                        f"{values.energy:.4g} eV, from its periodic images; e0 = \"isolated\" takes it up: give e0 as numbers, "
                        "or take atoms without periodicity")
            return


def with_outside(comparisons: dict[str, Comparison], structures: Sequence[Structure],
                 values: Sequence[BaselineValues]) -> dict[str, Comparison]:
    """Comparisons of the terms of a model, with what external potentials give added to the predictions.

    Parameters
    ----------
    comparisons : dict of str to Comparison
        By observable (`compare`).
    structures : sequence of Structure
        That were compared.
    values : sequence of BaselineValues
        Of every structure (`outside_values`); empty if there are no external potentials.
    """
    if not values:
        return comparisons
    whole = {}
    for name, comparison in comparisons.items():
        part = np.zeros(len(comparison.reference))
        for n in np.unique(comparison.frames):
            per = len(structures[n].atoms) if OBSERVABLES[name].per_atom else 1
            part[comparison.frames == n] = values[n].known[name] / per
        whole[name] = replace(comparison, predicted=comparison.predicted + part)
    return whole
