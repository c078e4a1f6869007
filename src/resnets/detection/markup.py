"""A reader of small XML files that nobody vouches for: elements, text and lines, nothing else.

No document type, so no entities but XML's own five; UTF-16 and UTF-32 are refused, which would hide them.
"""

from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat

MAX_BYTES, MAX_ELEMENTS, MAX_ATTRIBUTES, MAX_DEPTH = 1 << 18, 5000, 64, 16


@dataclass
class Element:
    """One element: its tag, the line it begins in (from 1), its own text without the blanks around it, its children."""

    tag: str
    line: int
    text: str = ""
    children: list["Element"] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list, repr=False)

    def all(self, tag: str) -> list["Element"]:
        """The children with TAG."""
        return [child for child in self.children if child.tag == tag]

    def one(self, tag: str) -> "Element":
        """The only child with TAG. Raises ValueError for none and for several."""
        found = self.all(tag)
        if len(found) != 1:
            raise ValueError(f"{len(found)} <{tag}> in <{self.tag[:40]}>" if found else f"no <{tag}>")
        return found[0]


def parse(data: bytes) -> Element:
    """The outermost element. Raises ValueError for what is not XML, or is more than is read."""
    if len(data) > MAX_BYTES:
        raise ValueError(f"XML of more than {MAX_BYTES >> 10} KiB")
    if b"\0" in data or data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError("XML in UTF-16 or UTF-32; save it as UTF-8")
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise ValueError("XML with a document type or entities, which are not read; remove them")
    reader = _Reader()
    try:
        reader.parser.Parse(data, True)
    except (expat.ExpatError, LookupError) as error:
        raise ValueError(f"not XML: {error}") from error
    return reader.top.children[0]


class _Reader:
    def __init__(self) -> None:
        self.top = Element("", 0)
        self.open, self.count = [self.top], 0
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        for event in ("StartDoctypeDecl", "EntityDecl", "ExternalEntityRef", "ElementDecl", "AttlistDecl"):
            setattr(self.parser, f"{event}Handler", self._refuse)

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self.count += 1
        if self.count > MAX_ELEMENTS or len(self.open) > MAX_DEPTH or len(attributes) > MAX_ATTRIBUTES:
            wanted = f"{MAX_ELEMENTS} elements, a depth of {MAX_DEPTH} or {MAX_ATTRIBUTES} attributes"
            raise ValueError(f"XML of more than {wanted}")
        element = Element(tag, self.parser.CurrentLineNumber)
        self.open[-1].children.append(element)
        self.open.append(element)

    def _end(self, tag: str) -> None:
        element = self.open.pop()
        element.text = "".join(element.pieces).strip()

    def _text(self, text: str) -> None:
        self.open[-1].pieces.append(text)

    def _refuse(self, *_: object) -> NoReturn:
        raise ValueError("XML with a document type or entities, which are not read; remove them")
