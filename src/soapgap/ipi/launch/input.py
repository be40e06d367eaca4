"""What `soapgap ipi-run` needs to know of an i-PI input: sockets, number of steps, and the files that show progress."""

from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse

from soapgap.errors import InputError

__all__ = ["IPIInput", "PropertiesFile", "SocketForceField", "choose_socket", "read_input"]

SOCKETS = ("ffsocket", "ffcavphsocket")
#: i-PI's own defaults, where its input says nothing.
DEFAULT_PREFIX = "/tmp/ipi_"
DEFAULT_PROPERTIES = "[time, step, conserved, temperature, potential, kinetic_cv]"


@dataclass(frozen=True)
class SocketForceField:
    """A force field that waits for drivers.

    Attributes
    ----------
    name, mode, address : str
    port, batch_size : int
        As in i-PI's <ffsocket>; mode is "unix", "inet" or "shm".
    nested : bool
        Whether it is part of another force field. i-PI does not apply its option -S to those.
    """

    name: str
    mode: str
    address: str
    port: int
    batch_size: int
    nested: bool


@dataclass(frozen=True)
class PropertiesFile:
    """A table that i-PI writes: its name in i-PI's folder, one line each `stride` steps, and the quantities asked for."""

    name: str
    stride: int
    quantities: tuple[str, ...]


@dataclass(frozen=True)
class IPIInput:
    """An i-PI input or checkpoint.

    Attributes
    ----------
    path : Path
    sockets : tuple of SocketForceField
    others : tuple of str
        Tags of force fields that need no driver.
    step, total_steps : int
        Where the run begins and ends.
    total_time : float
        i-PI's own limit of the wall clock, seconds; 0 for none.
    sockets_prefix : str
    n_replicas : int
        Beads of all systems: the frames that may be computed at the same time. 0 if the input does not say.
    properties : PropertiesFile or None
        The one written most often.
    """

    path: Path
    sockets: tuple[SocketForceField, ...]
    others: tuple[str, ...]
    step: int
    total_steps: int
    total_time: float
    sockets_prefix: str
    n_replicas: int
    properties: PropertiesFile | None


def read_input(path: str | Path) -> IPIInput:
    """Reads an i-PI input or checkpoint (XML).

    Raises
    ------
    InputError
        The file cannot be read, is not an i-PI input, or has a number that is none. Document types and entities are
        refused: i-PI needs none, and they can make a reader open other files.
    """
    root = _root(Path(path))
    if root.tag != "simulation":
        raise InputError(f"{path}: got <{root.tag}>, expected <simulation>: an input or a checkpoint of i-PI")
    top = list(root)
    force_fields = [element for element in root.iter() if element.tag.startswith("ff") and "name" in element.attrib]
    sockets = [_socket(path, element, element not in top) for element in force_fields if element.tag in SOCKETS]
    return IPIInput(
        path=Path(path),
        sockets=tuple(sockets),
        others=tuple(element.tag for element in top if element in force_fields and element.tag not in SOCKETS),
        step=_number(path, root, "step", 0),
        total_steps=_number(path, root, "total_steps", 1000),
        total_time=_number(path, root, "total_time", 0.0),
        sockets_prefix=root.get("sockets_prefix", DEFAULT_PREFIX).strip(),
        n_replicas=sum(_beads(path, system) for system in root.findall("system")),
        properties=_properties(path, root),
    )


def choose_socket(run: IPIInput, name: str | None = None) -> SocketForceField | None:
    """The force field that the drivers serve; None if the input has none that needs drivers.

    Raises
    ------
    InputError
        There is no force field, none of this name, or more than one and no name.
    """
    names = ", ".join(f"'{socket.name}'" for socket in run.sockets)
    if name is not None:
        found = [socket for socket in run.sockets if socket.name == name]
        if len(found) != 1:
            raise InputError(f"{run.path}: got the force field '{name}', expected one of {names or 'none'}: the names of "
                             "its <ffsocket>")
        return found[0]
    if len(run.sockets) > 1:
        raise InputError(f"{run.path} has {len(run.sockets)} <ffsocket>: {names}; expected one. Choose the one that soapgap "
                         "computes with --forcefield NAME, and start drivers for the others yourself")
    if run.sockets:
        return run.sockets[0]
    if "ffmpi" in run.others:
        raise InputError(f"{run.path} has <ffmpi>, whose drivers are started by mpiexec. Use <ffsocket mode=\"unix\">")
    if not run.others:
        raise InputError(f"{run.path} has no <ffsocket> (nor any other force field): i-PI would have nothing to ask for "
                         'forces. Add <ffsocket name="soapgap" mode="unix"> <address>soapgap</address> </ffsocket>')
    return None


def _root(path: Path) -> Element:
    try:
        return parse(str(path), forbid_dtd=True).getroot()
    except OSError as error:
        raise InputError(f"cannot read the i-PI input {path}: {error.strerror}") from error
    except ParseError as error:
        raise InputError(f"{path} is not XML ({error}); expected an input or a checkpoint of i-PI") from error
    except DefusedXmlException as error:
        raise InputError(f"{path} has a document type or entities, which are refused; remove them") from error


def _socket(path, element: Element, nested: bool) -> SocketForceField:
    mode = element.get("mode", "inet").strip()
    name = element.get("name").strip()
    if mode not in ("unix", "inet", "shm"):
        raise InputError(f"{path}: <{element.tag} name=\"{name}\"> has the mode '{mode}', expected unix, inet or shm")
    address = (element.findtext("address") or "localhost").strip()
    port, batch_size = _number(path, element, "port", 65535), _number(path, element, "batch_size", 1)
    return SocketForceField(name, mode, address, port, batch_size, nested)


def _number(path, element: Element, tag: str, default):
    """The number in a child of an element, of the type of its default."""
    text = element.findtext(tag)
    if text is None:
        return default
    try:
        return type(default)(text)
    except ValueError:
        raise InputError(f"{path}: got <{tag}>{text.strip()}</{tag}>, expected a number") from None


def _attribute(path, element: Element, name: str, default: int) -> int:
    text = element.get(name)
    try:
        return default if text is None else int(text)
    except ValueError:
        raise InputError(f"{path}: got {name}=\"{text}\" in <{element.tag}>, expected a whole number") from None


def _beads(path, system: Element) -> int:
    for tag in ("beads", "initialize"):  # the first in a checkpoint, the second in an input
        element = system.find(tag)
        if element is not None and "nbeads" in element.attrib:
            return _attribute(path, element, "nbeads", 0)
    return 0


def _properties(path, root: Element) -> PropertiesFile | None:
    output = root.find("output")
    if output is None:
        output = Element("output")
        default = Element("properties", filename="md", stride="10")
        default.text = DEFAULT_PROPERTIES
        output.append(default)
    system = root.find("system")
    before = f"{system.get('prefix').strip()}_" if system is not None and system.get("prefix", "").strip() else ""
    prefix = output.get("prefix", "i-pi").strip()
    before += f"{prefix}." if prefix else ""
    tables = []
    for element in output.findall("properties"):
        quantities = tuple(word.strip() for word in (element.text or "").strip().strip("[]").split(",") if word.strip())
        stride = _attribute(path, element, "stride", 1)
        if stride > 0:
            tables.append(PropertiesFile(before + element.get("filename", "out").strip(), stride, quantities))
    return min(tables, key=lambda table: table.stride, default=None)
