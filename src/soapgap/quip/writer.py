"""QUIP's potential files, written; the counterpart of `soapgap.quip.document`."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from soapgap.errors import InputError
from soapgap.files import write_atomically
from soapgap.quip.document import COVARIANCES, Document, GapParams
from soapgap.quip.glue_xml import glue_lines

__all__ = ["write_document"]

LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)
#: What XML cannot carry, or (a carriage return) hands over as something else.
NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def write_document(path, document: Document) -> None:
    """Write a potential file of QUIP and, beside it, a file of sparse points for every coordinate.

    The sparse points of coordinate n of the GAP LABEL go to `<file>.sparseX.<LABEL><n>`, one number a line, before the
    XML, which holds their checksums. Files of these names that are there already are replaced, as gap_fit does; the
    checksums keep the files of two models from being mixed. `read_document` gives back an equal document, all numbers
    bit for bit.

    Parameters
    ----------
    path : path-like
        Of the XML.
    document : Document

    Raises
    ------
    InputError
        If QUIP could not read it (labels that it would not find again), or a file cannot be written. No new file is left
        behind then.
    """
    path = Path(path)
    stanzas = _stanzas(document)
    files, lines = {}, []
    for part in stanzas:
        if isinstance(part, GapParams):
            lines += _gap_lines(part, path, files, do_core=len(document.parts) > 1)
        else:
            lines += glue_lines(part)
    root = document.label or "QUIP"
    potential = f"<Potential label={quoteattr(document.label)} init_args={quoteattr(_init_args(document.parts))}/>"
    text = "\n".join([f"<{root}>", potential, *lines, f"</{root}>", ""])
    new = [file for file in files if not file.exists()]
    try:
        for file, content in files.items():
            write_atomically(file, content)
        write_atomically(path, text)
    except BaseException:
        for file in new:
            file.unlink(missing_ok=True)
        raise


def _stanzas(document):
    """The different parts, each once, after a check that labels lead to them."""
    if not document.parts:
        raise InputError("QUIP document: got no parts, expected one or more")
    stanzas = {}
    for part in document.parts:
        if isinstance(part, GapParams):
            part = replace(part, e_scale=1.0)
            _check_gap(part)
        if stanzas.setdefault((type(part), part.label), part) != part:
            raise InputError(f'QUIP document: got two different parts with the label "{part.label}", expected each under a '
                             "label of its own; change one")
    labels = [document.label, *(label for _, label in stanzas)]
    for label in labels:
        if label and not LABEL.fullmatch(label):
            raise InputError(f"QUIP document: got the label {label!r}, expected a letter or underscore and then letters, "
                             "digits, '_', '.' or '-'; change it")
    for kind in {kind for kind, _ in stanzas}:
        if "" in (same := [label for k, label in stanzas if k is kind]) and len(same) > 1:
            raise InputError(f"QUIP document: got {len(same)} parts of the kind {kind.__name__}, one without a label; expected "
                             "a label for each")
    return list(stanzas.values())


def _check_gap(part):
    if not part.coordinates:
        raise InputError(f'GAP "{part.label}": got no coordinates, expected one or more')
    for n, coordinate in enumerate(part.coordinates, start=1):
        if coordinate.label != f"{part.label}{n}":
            raise InputError(f'GAP "{part.label}": got the label "{coordinate.label}" of coordinate {n}, expected '
                             f'"{part.label}{n}": QUIP finds coordinates by that name; change it')
        _check_text(coordinate.descriptor, f'descriptor of coordinate "{coordinate.label}"')
    _check_text(part.command_line, f'command line of the GAP "{part.label}"')


def _check_text(text, what):
    if bad := NO_TEXT.search(text):
        raise InputError(f"{what}: got the character {bad[0]!r} at {bad.start()}, expected text that XML can carry; remove it")


def _init_args(parts):
    """One part, or the sum of the first and the sum of the rest."""
    first = parts[0]
    words = ["IP", "GAP" if isinstance(first, GapParams) else "Glue"] + ([f"label={first.label}"] if first.label else [])
    if isinstance(first, GapParams) and first.e_scale != 1.0:
        words.append(f"E_scale={first.e_scale:.17g}")
    one = " ".join(words)
    return f"Sum init_args_pot1={{{one}}} init_args_pot2={{{_init_args(parts[1:])}}}" if len(parts) > 1 else one


def _gap_lines(part, path, files, do_core):
    """The lines of `<GAP_params>`; adds the sparse-point files, path to content, to `files`."""
    label = quoteattr(part.label)
    e0_other = f' e0="{part.e0_other:.17g}"' if part.e0_other != 0.0 else ""
    lines = [f'<GAP_params label={label} gap_version="{part.gap_version}">',
             f'  <GAP_data do_core="{"T" if do_core else "F"}"{e0_other}>',
             *(f'    <e0 Z="{z}" value="{value:.17g}"/>' for z, value in part.e0.items()), "  </GAP_data>",
             f'  <gpSparse label={label} n_coordinate="{len(part.coordinates)}" fitted="T">']
    for coordinate in part.coordinates:
        file = path.with_name(f"{path.name}.sparseX.{coordinate.label}")
        files[file] = "".join(f"{x:.20e}\n" for x in coordinate.sparse_points.ravel().tolist()).encode()
        lines += _coordinate_lines(coordinate, file.name, hashlib.md5(files[file], usedforsecurity=False).hexdigest())
    command_line = part.command_line.replace("]]>", "]]]]><![CDATA[>")
    return [*lines, "  </gpSparse>", f"  <command_line><![CDATA[{command_line}]]></command_line>", "</GAP_params>"]


def _coordinate_lines(c, file_name, checksum):
    m, d = c.sparse_points.shape
    code = next(code for code, name in COVARIANCES.items() if name == c.covariance)
    dot = c.covariance == "dot_product"
    permutations = ["1"] if dot else [" ".join(map(str, row)) for row in (c.permutations + 1).tolist()]
    zeta = f' zeta="{c.zeta:.17g}"' if dot else ""
    theta = [] if dot else [f"      <theta> {' '.join(f'{x:.17g}' for x in c.theta)} </theta>"]
    return [f'    <gpCoordinates label={quoteattr(c.label)} dimensions="{d}" signal_variance="{c.delta:.17g}" '
            f'signal_mean="{c.f0:.17g}" sparsified="T" n_permutations="{len(permutations)}" covariance_type="{code}"{zeta} '
            f'n_sparseX="{m}" sparseX_filename={quoteattr(file_name)} sparseX_md5sum="{checksum}">',
            *theta, f"      <descriptor>{escape(c.descriptor)}</descriptor>",
            *(f'      <permutation i="{i}">{row} </permutation>' for i, row in enumerate(permutations, start=1)),
            *(f'      <sparseX i="{i}" alpha="{alpha:.17g}" sparseCutoff="{cutoff:.17g}"/>'
              for i, (alpha, cutoff) in enumerate(zip(c.alpha.tolist(), c.sparse_cutoff.tolist()), start=1)),
            "    </gpCoordinates>"]
