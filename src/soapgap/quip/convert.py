"""Potentials of QUIP in, and out: for `soapgap convert`."""

from pathlib import Path

from soapgap.errors import InputError
from soapgap.model import Model
from soapgap.quip import read_quip, write_quip
from soapgap.reduction.model import describe_reductions, reduce_model
from soapgap.say import Reporter

__all__ = ["convert"]


def convert(source, output, species=None, label=None, exact: bool = False) -> Model:
    """Make a model file from a GAP potential of QUIP, or the other way round; the endings of the names say which.

    Parameters
    ----------
    source, output : str or Path
        One of them ends in .xml.
    species : list of str, optional
        Elements of the model, for potentials that take any.
    label : str, optional
        Which potential, if the XML file holds several.
    exact : bool
        No reduced form in the model file.

    Returns
    -------
    Model

    Raises
    ------
    InputError
        If the names do not say a direction, or something cannot be read or expressed.
    """
    source, output, say = Path(source), Path(output), Reporter()
    from_quip, to_quip = (path.suffix.lower() == ".xml" for path in (source, output))
    if from_quip == to_quip:
        raise InputError(f"convert: got {source} and {output}, expected one file of QUIP (.xml) and one model file "
                         "(.safetensors)")
    if to_quip:
        if species or label or exact:
            raise InputError("convert: species, label and exact are for reading a potential of QUIP, not for writing one")
        model = Model.load(source)
        write_quip(model, output)
        say.line(f"{output}: {len(model.terms)} terms, elements {', '.join(model.species)}; files of sparse points beside it")
        return model
    model = read_quip(source, species, label)
    for note in model.provenance["quip"].get("notes", ()):
        say.line(f"note: {note}")
    model = model if exact else reduce_model(model)
    model.save(output)
    say.line(f"{output}: {len(model.terms)} terms, elements {', '.join(model.species)}")
    for line in describe_reductions(model):
        say.line(line)
    return model
