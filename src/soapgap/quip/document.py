"""QUIP's potential files (XML, and the sparse points in files beside it): what they hold, read and checked.

A file holds stanzas, `<GAP_params>` and `<Glue_params>`, and `<Potential>` elements that say which of them are summed. What
is read here is data, not yet a model: descriptor strings stay strings, and nothing is left out in silence. The counterpart
is `soapgap.quip.writer`.
"""

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from soapgap.errors import InputError
from soapgap.quip.glue import GlueParams, GlueTable, GlueType
from soapgap.quip.glue_xml import read_glue
from soapgap.quip.strings import integer, logical, parse_parameters, real, reals
from soapgap.quip.xml_tree import Node, read_tree

__all__ = ["COVARIANCES", "Coordinate", "Document", "GapParams", "GlueParams", "GlueType", "GlueTable", "read_document"]

COVARIANCES = {1: "ard_se", 2: "dot_product", 4: "pp"}
#: Sums in sums; files have one level.
MOST_LEVELS = 20


@dataclass(eq=False)
class Coordinate:
    """The sparse kernel expansion of one descriptor (`<gpCoordinates>`).

    Attributes
    ----------
    label : str
    descriptor : str
        The descriptor string, without blanks at its ends.
    covariance : {"ard_se", "dot_product", "pp"}
    delta : float
        Standard deviation of the kernel (eV); the file calls it signal_variance, but it is not a variance.
    f0 : float
        The constant whose square is added to the kernel (eV; signal_mean); not used by dot_product.
    zeta : float or None
        Exponent of dot_product.
    theta : ndarray, shape (d,), or None
        Length scales of ard_se and pp, in the units of the descriptor.
    permutations : int ndarray, shape (n_permutations, d), or None
        Permutations of the components, from 0, over which ard_se and pp sum. None for dot_product, which has none;
        what a file states there is ignored, as QUIP does.
    alpha, sparse_cutoff : ndarray, shape (M,)
        Weights of the sparse points, and the weight of the instance that each point was.
    sparse_points : ndarray, shape (M, d)

    Raises
    ------
    InputError
        If the shapes do not belong together, a number is not finite, or a hyperparameter of the kernel is missing.
    """

    label: str
    descriptor: str
    covariance: str
    delta: float
    f0: float
    zeta: float | None
    theta: np.ndarray | None
    permutations: np.ndarray | None
    alpha: np.ndarray
    sparse_cutoff: np.ndarray
    sparse_points: np.ndarray

    def __post_init__(self):
        self.descriptor = self.descriptor.strip()
        for name in ("theta", "alpha", "sparse_cutoff", "sparse_points"):
            if getattr(self, name) is not None:
                setattr(self, name, np.ascontiguousarray(getattr(self, name), dtype=np.float64))
        if self.permutations is not None:
            self.permutations = np.ascontiguousarray(self.permutations, dtype=np.int64)
        if self.covariance not in COVARIANCES.values():
            self._fail("covariance", repr(self.covariance), f"one of {', '.join(COVARIANCES.values())}")
        if self.sparse_points.ndim != 2 or self.sparse_points.size == 0:
            self._fail("sparse points", f"the shape {self.sparse_points.shape}", "(n_points, n_dimensions), both positive")
        m, d = self.sparse_points.shape
        for name, shape in (("alpha", (m,)), ("sparse_cutoff", (m,)), ("theta", (d,))):
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                self._fail(name, f"the shape {value.shape}", f"{shape} for {m} sparse points of {d} dimensions")
        for name in ("delta", "f0", "zeta", "theta", "alpha", "sparse_cutoff", "sparse_points"):
            value = getattr(self, name)
            if value is not None and not np.isfinite(value).all():
                self._fail(name, "a number that is not finite", "finite numbers")
        self._check_kernel(d)

    def _check_kernel(self, d):
        if self.covariance == "dot_product":
            if self.zeta is None or self.theta is not None or self.permutations is not None:
                self._fail("dot_product kernel", "something else", "zeta, and neither theta nor permutations")
            return
        if self.zeta is not None or self.theta is None or not self.theta.all():
            self._fail(f"theta of the {self.covariance} kernel", "none" if self.theta is None else "a zero, or zeta with it",
                       f"{d} numbers other than zero, and no zeta")
        shape = np.shape(self.permutations)
        if len(shape) != 2 or shape[0] < 1 or shape[1] != d:
            self._fail("permutations", f"the shape {shape}" if shape else "none", f"one or more rows of {d} components")
        wrong = (np.sort(self.permutations, axis=1) != np.arange(d)).any(axis=1)
        if wrong.any():
            self._fail("permutations", f"components {self.permutations[wrong][0].tolist()[:20]} (from 0)",
                       f"each of 0 to {d - 1} once")

    def _fail(self, what, got, expected):
        raise InputError(f'coordinate "{self.label}": {what}: got {got}, expected {expected}')

    def __eq__(self, other):
        if not isinstance(other, Coordinate):
            return NotImplemented
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return all(np.array_equal(a, b) if isinstance(a, np.ndarray) else not isinstance(b, np.ndarray) and a == b
                   for a, b in pairs)


@dataclass
class GapParams:
    """A GAP (`<GAP_params>`).

    Attributes
    ----------
    label : str
    gap_version : int
        Which descriptor conventions hold; 0 if the file does not say.
    e0 : dict of int to float
        Energy of an isolated atom (eV) by atomic number, as listed.
    coordinates : list of Coordinate
    command_line : str
        How it was fitted, as it is in the file.
    e0_other : float
        Energy (eV) of an atom of an element that is not in `e0`: the attribute e0 of old files, otherwise 0.
    e_scale : float
        What the energy of this part, e0 included, is multiplied with in the sum.
    """

    label: str
    gap_version: int
    e0: dict[int, float]
    coordinates: list[Coordinate]
    command_line: str = ""
    e0_other: float = 0.0
    e_scale: float = 1.0


@dataclass
class Document:
    """A potential: the sum of its parts.

    Attributes
    ----------
    label : str
    parts : list of GapParams or GlueParams
        In the order of the sum.
    """

    label: str
    parts: list[GapParams | GlueParams]


def read_document(path, label: str | None = None) -> Document:
    """Read a potential file of QUIP.

    Parameters
    ----------
    path : path-like
        The XML file; files of sparse points that it names are looked for in its folder and nowhere else.
    label : str, optional
        Which `<Potential>`, or else which `<GAP_params>`, to take. Without it the `<Potential>` labelled like the root
        element counts, or the only one there is, or, in a file with none, the first `<GAP_params>`.

    Returns
    -------
    Document

    Raises
    ------
    InputError
        If a file is missing, damaged, not of this kind, or holds something that is not supported. One message that
        names the file and the place.
    """
    path = Path(path)
    try:
        root = read_tree(path)
        name, init_args = _composition(root, label)
        parts = _parts(init_args, root, path)
        if len(parts) == 1 and isinstance(parts[0], GapParams):
            _refuse_core(root, parts[0])
        return Document(name if name is not None else parts[0].label, parts)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _composition(root: Node, label):
    """Label (None: that of the stanza) and init_args of the potential."""
    stanzas = [*root.all("GAP_params"), *root.all("Glue_params")]
    if not stanzas:
        raise InputError(f"got XML with the root <{root.tag}> and neither <GAP_params> nor <Glue_params> in it, expected a "
                         "QUIP potential file as written by gap_fit")
    potentials = root.all("Potential")
    wanted = label if label is not None else root.tag
    matching = [node for node in potentials if node.get("label", "") == wanted]
    if not matching and label is None:
        matching = potentials
    if len(matching) > 1:
        labels = ", ".join(repr(node.get("label", "")) for node in potentials)
        raise InputError(f"got {len(matching)} <Potential> elements to choose from (labels {labels}), expected one; pass the "
                         "label of the one you mean, and make labels unique")
    if matching:
        matching[0].refuse_other_attributes("label", "init_args")
        return matching[0].get("label", ""), matching[0].need("init_args")
    if any(node.get("label", "") == label for node in stanzas if node.tag == "GAP_params") or label is None:
        kind = "GAP" if root.all("GAP_params") else "Glue"
        return label, f"IP {kind} label={{{label}}}" if label else f"IP {kind}"
    labels = ", ".join(sorted({repr(node.get("label", "")) for node in [*potentials, *root.all("GAP_params")]}))
    raise InputError(f"got no <Potential> or <GAP_params> with the label {label!r}, expected one of {labels}")


def _parts(init_args, root, path, level=0):
    """The parts that an init_args string sums, nested sums in a row."""
    words = parse_parameters(init_args)
    shown = " ".join(init_args.split())
    if level > MOST_LEVELS:
        raise InputError(f"init_args: sums are nested more than {MOST_LEVELS} times, expected fewer; simplify <Potential>")
    if "Sum" in words:
        _refuse_unknown(words, ("Sum", "init_args_pot1", "init_args_pot2"), shown)
        for name in ("init_args_pot1", "init_args_pot2"):
            if name not in words:
                raise InputError(f'init_args "{shown}": {name} is missing, expected both terms of the sum')
        return [part for name in ("init_args_pot1", "init_args_pot2") for part in _parts(words[name], root, path, level + 1)]
    if "IP" in words and "GAP" in words:
        _refuse_unknown(words, ("IP", "GAP", "label", "E_scale"), shown)
        node = _stanza(root, "GAP_params", words.get("label", ""))
        return [_gap(node, path, real(words.get("E_scale", "1.0"), f'init_args "{shown}": E_scale'))]
    _refuse_unknown(words, ("IP", "Glue", "label"), shown)
    if "IP" not in words or "Glue" not in words:
        raise InputError(f'init_args "{shown}": expected "IP GAP label=..." or "IP Glue", or "Sum" of such')
    return [read_glue(_stanza(root, "Glue_params", words.get("label", "")))]


def _refuse_unknown(words, known, shown):
    unknown = [word for word in words if word.lower() not in map(str.lower, known)]
    if unknown:
        raise InputError(f'init_args "{shown}": {", ".join(map(repr, unknown))} is not supported, expected only '
                         f"{', '.join(known)} there; soapgap reads GAP and Glue and sums of them")


def _stanza(root, tag, label):
    found = root.all(tag)
    matching = [node for node in found if not label or node.get("label", "") == label]
    if not matching or (len(matching) > 1 and (label or tag == "Glue_params")):
        labels = ", ".join(repr(node.get("label", "")) for node in found) or "none"
        raise InputError(f'got {len(matching)} <{tag}> for the label "{label}" of <Potential> (in the file: {labels}), '
                         "expected one; correct the label")
    return matching[0]


def _refuse_core(root, part):
    data = _stanza(root, "GAP_params", part.label).only("GAP_data")
    if logical(data.get("do_core", "F"), f"{data.where}: do_core"):
        raise InputError(f'{data.where}: got do_core="T", so the GAP was fitted on top of a baseline, but <Potential> has the '
                         'GAP alone; expected init_args="Sum init_args_pot1={...} init_args_pot2={IP GAP ...}"; add the '
                         'baseline, or set do_core="F" if there is none')


def _gap(node: Node, path, e_scale):
    data, sparse = node.only("GAP_data"), node.only("gpSparse")
    node.refuse_others("GAP_data", "gpSparse", "command_line")
    data.refuse_other_attributes("do_core", "e0")
    data.refuse_others("e0")
    sparse.refuse_others("gpCoordinates")
    e0 = {}
    for entry in data.children:
        z = integer(entry.need("Z"), f"{entry.where}: Z")
        if z in e0 or not 1 <= z <= 118:
            raise InputError(f"{entry.where}: got Z={z}, expected an atomic number from 1 to 118, each once")
        e0[z] = real(entry.need("value"), f"{entry.where}: value")
    if not logical(sparse.get("fitted", "T"), f"{sparse.where}: fitted"):
        raise InputError(f'{sparse.where}: got fitted="F", a file with sparse points but without a fit; expected the file '
                         "that gap_fit wrote after fitting (sparsify_only_no_fit=F)")
    n = integer(sparse.need("n_coordinate"), f"{sparse.where}: n_coordinate")
    if n != len(sparse.children):
        raise InputError(f"{sparse.where}: got {len(sparse.children)} <gpCoordinates>, expected n_coordinate = {n}; the file "
                         "has been cut or edited: copy it again")
    command_lines = node.all("command_line")
    return GapParams(node.get("label", ""), integer(node.get("gap_version", "0"), f"{node.where}: gap_version"), e0,
                     [_coordinate(child, path) for child in sparse.children],
                     command_lines[0].text if command_lines else "", real(data.get("e0", "0.0"), f"{data.where}: e0"), e_scale)


def _coordinate(node: Node, path):
    node.refuse_others("theta", "descriptor", "permutation", "sparseX")
    code = integer(node.need("covariance_type"), f"{node.where}: covariance_type")
    if code not in COVARIANCES:
        name = "3 (bond_real_space)" if code == 3 else str(code)
        known = ", ".join(f"{number} ({name})" for number, name in COVARIANCES.items())
        raise InputError(f"{node.where}: covariance_type {name} is not supported, expected {known}")
    if not logical(node.get("sparsified", "T"), f"{node.where}: sparsified"):
        raise InputError(f'{node.where}: got sparsified="F", a full Gaussian process; expected sparse points')
    d, m, n_permutations = (_positive(node, name) for name in ("dimensions", "n_sparseX", "n_permutations"))
    dot = COVARIANCES[code] == "dot_product"
    zeta = _zeta(node) if dot else None
    theta = None if dot else reals(node.only("theta").text, f"{node.where}: <theta>", d)
    permutations = _indexed(node, "permutation", n_permutations)
    points = _indexed(node, "sparseX", m)
    return Coordinate(
        node.get("label", ""), node.only("descriptor").text, COVARIANCES[code],
        real(node.need("signal_variance"), f"{node.where}: signal_variance"),
        real(node.need("signal_mean"), f"{node.where}: signal_mean"), zeta, theta,
        None if dot else np.stack([p.integers(d) - 1 for p in permutations]),
        np.array([real(p.need("alpha"), f"{p.where}: alpha") for p in points]),
        np.array([real(p.need("sparseCutoff"), f"{p.where}: sparseCutoff") for p in points]),
        _point_file(node, path, m, d) if "sparseX_filename" in node.attributes else np.stack([_inline(p, d) for p in points]))


def _zeta(node):
    """The attribute zeta, or in files older than it the single number in <theta>."""
    if "zeta" in node.attributes:
        return real(node.need("zeta"), f"{node.where}: zeta")
    texts = [child.text for child in node.children if child.tag == "theta"]
    return real(" ".join(texts), f"{node.where}: zeta (neither an attribute, nor one number in <theta>)")


def _positive(node, name):
    value = integer(node.need(name), f"{node.where}: {name}")
    if value < 1:
        raise InputError(f"{node.where}: got {name}={value}, expected 1 or more")
    return value


def _indexed(node, tag, n):
    """The n children of a tag in the order of their attribute i = 1 .. n."""
    found = {integer(child.need("i"), f"{child.where}: i"): child for child in node.children if child.tag == tag}
    count = sum(child.tag == tag for child in node.children)
    if count != n or sorted(found) != list(range(1, n + 1)):
        raise InputError(f"{node.where}: got {count} <{tag}>, {len(found)} of them with different i, expected i = 1 to {n}; "
                         "the file has been cut or edited: copy it again")
    return [found[i] for i in range(1, n + 1)]


def _inline(point: Node, d):
    """The numbers of a sparse point in the XML, as they are or in slices."""
    point.refuse_others("sparseX_slice")
    if not point.children:
        return point.numbers(d)
    out, filled = np.zeros(d), np.zeros(d, dtype=bool)
    for piece in point.children:
        start, end = (integer(piece.need(name), f"{piece.where}: {name}") for name in ("start", "end"))
        if not 1 <= start <= end <= d or filled[start - 1:end].any():
            raise InputError(f"{piece.where}: got the slice {start} to {end}, expected slices that cover 1 to {d}, each number "
                             "once")
        out[start - 1:end] = piece.numbers(end - start + 1)
        filled[start - 1:end] = True
    if not filled.all():
        raise InputError(f"{point.where}: got slices with {filled.sum()} numbers, expected all {d}; the file has been cut or "
                         "edited: copy it again")
    return out


def _point_file(node: Node, path, m, d):
    """Sparse points from the file beside the XML; its checksum may be missing, but not wrong."""
    name = node.need("sparseX_filename").strip()
    if not name or name in (".", "..") or set(name) & set("/\\\0"):
        raise InputError(f"{node.where}: got sparseX_filename={name!r}, expected a bare file name: sparse points are read from "
                         "the folder of the XML only; put the file there and correct the name")
    file = path.parent / name
    if file.resolve().parent not in (path.parent.resolve(), path.resolve().parent):
        raise InputError(f"{node.where}: the sparse-point file {name} is a link to another folder, expected a file beside the "
                         "XML; copy it there")
    try:
        if not file.is_file():
            raise InputError(f"{node.where}: the sparse-point file {file} is missing, expected it beside the XML; copy all "
                             "*.sparseX.* files of the model there, under their own names")
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{node.where}: cannot read the sparse-point file {file}: {error.strerror}") from None
    stated, found = node.get("sparseX_md5sum", "").strip().lower(), hashlib.md5(content, usedforsecurity=False).hexdigest()
    if stated and stated != found:
        raise InputError(f"{node.where}: the sparse-point file {name} has the MD5 checksum {found}, expected {stated}; it is "
                         "damaged or of another model: copy the files of the model again")
    if content and not content.endswith(b"\n"):
        raise InputError(f"{node.where}: the sparse-point file {name} does not end with a line end, expected one after every "
                         "number; it has been cut: copy it again")
    return reals(content.decode("latin-1"), f"sparse-point file {name} ({m} points of {d} numbers)", m * d).reshape(m, d)
