"""What is in a model file, printed: for `soapgap info`."""

import json

from rich.table import Table

from soapgap.errors import ModelFileError
from soapgap.model import Model
from soapgap.model.external import lammps_lines
from soapgap.reduction.model import describe_reductions
from soapgap.say import Reporter

__all__ = ["print_info"]


def print_info(path) -> None:
    """Print the content of a model file: terms, checksum, training data, errors, and the command that made it."""
    model, say = Model.load(path), Reporter()
    try:
        _print(model, say, path)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        # what evaluation does not use is not checked when the file is read
        raise ModelFileError(f"{path}: what it says of its origin is not understood ({type(error).__name__}: {error}), "
                             "expected what a fit or a conversion writes; energies and forces do not depend on it: fit or "
                             "convert again") from None


def _print(model: Model, say: Reporter, path) -> None:
    provenance = model.provenance
    data, quip = provenance.get("training_data", {}), provenance.get("quip", {})
    say.line(str(path), style="bold")
    for label, value in (
            ("checksum", f"sha256 {model.checksum}"),
            ("species", ", ".join(f"{s} (e0 = {model.e0[s]:.6g} eV)" for s in model.species)),
            ("cutoff", f"{max((t.cutoff for t in model.terms), default=0.0):g} Angstrom"),
            ("made by", provenance.get("program", "not recorded")),
            ("command", provenance.get("command") or quip.get("command_line", "").strip() or "not recorded"),
            ("training data", _training_data(data) if data else "not recorded"),
            *((("read from", f"the potential {quip['label']} of QUIP"),) if quip else ()),
            *(("note", note) for note in quip.get("notes", ()))):
        say.line(f"{label + ':':15s}{value}")
    say.show(_terms_table(model))
    _print_external(say, model, path)
    say.line("rounding: a local energy is exact to about 4 eps zeta S; weights cancel, and S = sum |alpha| delta^2 says "
             "by how much")
    for line in describe_reductions(model):
        say.line(line)
    errors = provenance.get("errors")
    if errors:
        from soapgap.learn.summary import error_table

        say.show(error_table(errors))
    if "config" in provenance:
        say.line(f"configuration: {json.dumps(provenance['config'], sort_keys=True)}")


def _print_external(say: Reporter, model: Model, path) -> None:
    """The external potentials, and what a LAMMPS input must say so that it has the whole model."""
    if not model.external:
        return
    say.line("external potentials, which are part of the model:")
    for potential in model.external:
        entry = {key: value for key, value in potential.as_json().items() if value and key != "kind_version"}
        say.line("  " + json.dumps(entry))
    say.line("the whole model in LAMMPS:")
    for line in lammps_lines(model.external, model.species, str(path)):
        say.line(f"  {line}")


def _training_data(data: dict) -> str:
    counts = ", ".join(f"{number} {what.replace('_', ' ')}" for what, number in data.items()
                       if what not in ("files", "sha256"))
    return f"{', '.join(data.get('files', []))} (sha256 {data.get('sha256', 'not recorded')}): {counts}"


def _terms_table(model: Model) -> Table:
    table = Table(title="terms")
    for heading in ("kind", "species", "cutoff", "parameters", "points", "S (eV)", "4 eps zeta S (eV)"):
        table.add_column(heading)
    for term in model.terms:
        points = "" if term.n_sparse is None else str(term.n_sparse)
        cancellation = "" if term.cancellation is None else f"{term.cancellation:.2e}"
        rounding = "" if term.rounding is None else f"{term.rounding:.1e}"
        table.add_row(term.name, term.shown_species, f"{term.cutoff:g}", term.shown_parameters, points, cancellation, rounding)
    return table
