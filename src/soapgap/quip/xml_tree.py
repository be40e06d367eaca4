"""The XML of a QUIP file as a small tree: safe against hostile files, and without the training data that it may carry."""

from dataclasses import dataclass, field

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from soapgap.errors import InputError
from soapgap.quip import strings

__all__ = ["Node", "read_tree"]

#: Elements whose text is kept, those whose text is numbers, and those that are ignored with all that is in them.
TEXTS = {"theta", "descriptor", "permutation", "command_line"}
NUMBERS = {"sparseX", "sparseX_slice"}
PASSED_OVER = {"XYZ_data"}
CHUNK = 1 << 20


@dataclass
class Node:
    """An element.

    Attributes
    ----------
    tag : str
    attributes : dict of str to str
    line : int
        Where it begins in the file, from 1.
    children : list of Node
    text : str
        Only for the elements in `TEXTS`.
    """

    tag: str
    attributes: dict[str, str]
    line: int
    children: list["Node"] = field(default_factory=list)
    text: str = ""
    _numbers: object = None

    @property
    def where(self) -> str:
        """For messages."""
        name = f' "{self.attributes["label"]}"' if "label" in self.attributes else ""
        return f"line {self.line}, <{self.tag}>{name}"

    def get(self, name: str, default: str) -> str:
        """An attribute, or the default if there is none."""
        return self.attributes.get(name, default)

    def need(self, name: str) -> str:
        """An attribute; `InputError` if there is none."""
        if name not in self.attributes:
            raise InputError(f"{self.where}: the attribute {name} is missing (got {', '.join(self.attributes) or 'none'}), "
                             "expected as gap_fit writes it; the file has been edited or is of another kind")
        return self.attributes[name]

    def all(self, tag: str) -> list["Node"]:
        """All elements of this tag in the tree, this one included, in the order of the file."""
        found, waiting = [], [self]
        while waiting:
            node = waiting.pop()
            if node.tag == tag:
                found.append(node)
            waiting += reversed(node.children)
        return found

    def only(self, tag: str) -> "Node":
        """The one child of this tag; `InputError` if there are none or several."""
        found = [child for child in self.children if child.tag == tag]
        if len(found) != 1:
            raise InputError(f"{self.where}: got {len(found)} <{tag}> in it, expected one; the file has been edited or is of "
                             "another kind")
        return found[0]

    def refuse_others(self, *tags: str) -> None:
        """`InputError` if a child has another tag: what is not understood must not be dropped."""
        for child in self.children:
            if child.tag not in tags:
                raise InputError(f"{child.where}: not supported inside <{self.tag}>, expected "
                                 f"{' or '.join(f'<{tag}>' for tag in tags) or 'nothing'} there")

    def refuse_other_attributes(self, *names: str) -> None:
        """`InputError` if there is an attribute of another name."""
        for name in self.attributes:
            if name not in names:
                raise InputError(f"{self.where}: the attribute {name} is not supported, expected only {', '.join(names)}")

    def numbers(self, n: int):
        """The n numbers in the text of a `<sparseX>` or `<sparseX_slice>`; `InputError` if there are not n."""
        found = 0 if self._numbers is None else len(self._numbers)
        if found != n:
            raise InputError(f"{self.where}: got {found} numbers of a sparse point, expected {n}; the file has been cut or "
                             "edited: copy it again")
        return self._numbers

    def integers(self, n: int):
        """The n whole numbers in the text; `InputError` if there are not n."""
        return strings.integers(self.text, self.where, n)


class _Builder:
    """Makes `Node`s of what the parser meets; the text of numbers becomes an array when its element ends."""

    def __init__(self):
        self.parser = self.root = None
        self._open, self._text, self._passing = [], [], 0

    def start(self, tag, attributes):
        if self._passing or tag in PASSED_OVER:
            self._passing += 1
            return
        node = Node(tag, attributes, self.parser.CurrentLineNumber)
        if self._open:
            self._finish_text(self._open[-1])
            self._open[-1].children.append(node)
            self._check_numbers(self._open[-1])
        else:
            self.root = node
        self._open.append(node)

    def end(self, tag):
        if self._passing:
            self._passing -= 1
            return
        self._finish_text(self._open.pop())

    def data(self, text):
        if self._open and not self._passing and self._open[-1].tag in TEXTS | NUMBERS:
            self._text.append(text)

    def close(self):
        return self.root

    def _finish_text(self, node):
        text, self._text = "".join(self._text), []
        if node.tag in TEXTS:
            node.text += text
        elif text.strip():
            node._numbers = strings.reals(text, node.where)
            self._check_numbers(node)

    def _check_numbers(self, node):
        if node.children and node._numbers is not None:
            raise InputError(f"{node.where}: got numbers and elements in it, expected either slices or numbers")


def read_tree(path) -> Node:
    """Read an XML file; document type definitions, entities and references to other files are refused.

    Parameters
    ----------
    path : Path

    Returns
    -------
    Node
        The root element.

    Raises
    ------
    InputError
        If the file cannot be read, or is not well-formed XML, or has one of these in it.
    """
    builder = _Builder()
    parser = DefusedXMLParser(target=builder, forbid_dtd=True, forbid_entities=True, forbid_external=True)
    builder.parser = parser.parser
    try:
        with open(path, "rb") as file:
            chunk = file.read(CHUNK)
            if not chunk.strip():
                raise InputError("the file is empty, expected a QUIP potential file (XML); copy it again")
            while chunk:
                parser.feed(chunk)
                chunk = file.read(CHUNK)
        return parser.close()
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot read it ({error.strerror}), expected a QUIP potential file (XML); check the path") from None
    except DefusedXmlException as error:
        raise InputError(f"got a document type definition, an entity or an external reference ({type(error).__name__}), "
                         "which potential files do not need and which may do harm; expected plain XML; do not trust this "
                         "file") from None
    except (SyntaxError, LookupError, ValueError) as error:
        raise InputError(f"not well-formed XML ({error}), expected a complete QUIP potential file; if this is one, it has "
                         "been cut or damaged: copy it again") from None
