"""XML that others wrote: one child of its root after the other, without entities, within bounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from weclick.common.errors import InputError

MOST_ELEMENTS = 2_000_000
MOST_AT_ONCE = 300_000
"""Elements below one child of the root: these are in memory together."""

LONGEST_TAG_BYTES = 8 * 2**20
"""The parser holds a tag whole, so its length is checked before. 500,000 points fit in."""

DEPTH = 32
TEXT_LETTERS = 4096
"""Of longer texts the rest is left out; names are shorter."""

_CHUNK_BYTES = 2**16


@dataclass(slots=True)
class Element:
    """An element: its tag, attributes, line in the file from 1, text and children."""

    tag: str
    attributes: dict[str, str]
    line: int
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def find(self, *tags: str) -> Element | None:
        """The first element along a path of tags."""
        found: Element | None = self
        for tag in tags:
            found = next((child for child in found.children if child.tag == tag), None) if found else None
        return found

    def told(self, *tags: str) -> str:
        """The text of `find`; empty where there is none."""
        found = self.find(*tags)
        return found.text.strip() if found else ""


def read_elements(name: str, data: bytes) -> Iterator[Element]:
    """The root of a document without its children, then each of these, whole.

    Args:
        name: of the file, for errors.
        data: its content.

    Raises:
        InputError: it is no XML, has a DOCTYPE (whose entities may grow without end, or name files), or is
            larger or deeper than what tools write.
    """
    _check_tags(name, data)
    reader = _Reader(name)
    try:
        for start in range(0, len(data), _CHUNK_BYTES):
            reader.parser.Parse(data[start : start + _CHUNK_BYTES], False)
            yield from reader.take()
        reader.parser.Parse(b"", True)
        yield from reader.take()
    except InputError:
        raise
    except (expat.ExpatError, LookupError, ValueError) as error:  # of the parser, or of its encoding
        raise InputError(f"{name}: cannot be read as XML ({error}); export it again") from error


class _Reader:
    def __init__(self, name: str) -> None:
        self.name = name
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self._open: list[Element] = []
        self._done: list[Element] = []
        self._count = self._at_once = 0

    def take(self) -> list[Element]:
        """What is whole since the last call."""
        done, self._done = self._done, []
        return done

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._count += 1
        self._at_once += 1
        if max(self._count / MOST_ELEMENTS, self._at_once / MOST_AT_ONCE, len(self._open) / DEPTH) >= 1:
            raise InputError(
                f"{self.name}, line {self.parser.CurrentLineNumber}: has more elements than are read "
                f"({MOST_ELEMENTS}, {MOST_AT_ONCE} of them in one part, {DEPTH} levels deep); export the "
                "clips one by one"
            )
        element = Element(tag, attributes, self.parser.CurrentLineNumber)
        if not self._open:
            self._done.append(element)
        elif len(self._open) > 1:
            self._open[-1].children.append(element)
        self._open.append(element)

    def _end(self, _: str) -> None:
        element = self._open.pop()
        if len(self._open) == 1:
            self._done.append(element)
            self._at_once = 0

    def _text(self, text: str) -> None:
        if len(self._open) > 1 and len(self._open[-1].text) < TEXT_LETTERS:
            self._open[-1].text += text[:TEXT_LETTERS]

    def _refuse(self, *_: object) -> None:
        raise InputError(
            f"{self.name}, line {self.parser.CurrentLineNumber}: has a DOCTYPE, which annotation tools never "
            "write and which may do harm; remove it, or export the file again"
        )


def _check_tags(name: str, data: bytes) -> None:
    at = 0
    while len(data) - at > LONGEST_TAG_BYTES:
        end = data.rfind(b">", at, at + LONGEST_TAG_BYTES)
        if end < 0:
            raise InputError(
                f"{name}: has more than {LONGEST_TAG_BYTES} bytes in one tag or text, which nobody made by "
                "clicking; export it again"
            )
        at = end + 1
