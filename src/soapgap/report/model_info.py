"""What is in a model file, printed: for `soapgap info`."""

import json

from rich.console import Console
from rich.table import Table

from soapgap.model import Model
from soapgap.model.external import lammps_lines
from soapgap.reduction.model import describe_reductions

__all__ = ["print_info"]


def print_info(path) -> None:
    """Print the content of a model file: terms, checksum, training data, errors, and the command that made it."""
    model = Model.load(path)
    console = Console(width=None if Console().is_terminal else 120, highlight=False)
    provenance = model.provenance
    data, quip = provenance.get("training_data", {}), provenance.get("quip", {})
    console.print(f"[bold]{path}[/bold]", soft_wrap=True)
    for label, value in (
            ("checksum", f"sha256 {model.checksum}"),
            ("species", ", ".join(f"{s} (e0 = {model.e0[s]:.6g} eV)" for s in model.species)),
            ("cutoff", f"{max((t.cutoff for t in model.terms), default=0.0):g} Angstrom"),
            ("made by", provenance.get("program", "not recorded")),
            ("command", provenance.get("command") or quip.get("command_line", "").strip() or "not recorded"),
            ("training data", _training_data(data) if data else "not recorded"),
            *((("read from", f"the potential {quip['label']} of QUIP"),) if quip else ()),
            *(("note", note) for note in quip.get("notes", ()))):
        console.print(f"{label + ':':15s}{value}", soft_wrap=True)
    console.print(_terms_table(model))
    _print_external(console, model, path)
    console.print("rounding: a local energy is exact to about 4 eps zeta S; weights cancel, and S = sum |alpha| delta^2 says "
                  "by how much", soft_wrap=True)
    for line in describe_reductions(model):
        console.print(line, soft_wrap=True)
    errors = provenance.get("errors")
    if errors:
        from soapgap.learn.summary import error_table

        console.print(error_table(errors))
    if "config" in provenance:
        console.print("configuration:", json.dumps(provenance["config"], sort_keys=True), soft_wrap=True)


def _print_external(console: Console, model: Model, path) -> None:
    """The external potentials, and what a LAMMPS input must say so that it has the whole model."""
    if not model.external:
        return
    console.print("external potentials, which are part of the model:")
    for potential in model.external:
        entry = {key: value for key, value in potential.as_json().items() if value and key != "kind_version"}
        console.print("  " + json.dumps(entry), markup=False, soft_wrap=True)
    console.print("the whole model in LAMMPS:")
    for line in lammps_lines(model.external, model.species, str(path)):
        console.print(f"  {line}", markup=False, soft_wrap=True)


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
