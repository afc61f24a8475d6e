"""YAML as people write it: read with bounds, and never as something that they did not write.

A name such as `no`, `1.10` or `2024-01-01` stands in a file without quotes, and YAML 1.1 makes a switch, a
number or a date of it. So this module keeps what was written (`Plain`), and the schema says what it is
(weclick/common/typed.py). A key that stands twice in one section is an error that names both lines.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, NoReturn

import yaml

from weclick.common.errors import InputError, MissingFileError

MOST_BYTES = 4 * 2**20
"""Size of the largest file that is read."""
MOST_VALUES = 100_000
"""Values that a file may hold, after every *alias was replaced by what it stands for."""
DEEPEST = 60
"""Levels of sections and lists inside each other."""

NULLS = frozenset(("", "~", "null", "Null", "NULL"))
SWITCHES = {
    spelled: value
    for words, value in (("true yes on", True), ("false no off", False))
    for word in words.split()
    for spelled in (word, word.capitalize(), word.upper())
}
"""What YAML 1.1 reads as true or false."""

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_HEXADECIMAL = re.compile(r"[-+]?0x[0-9a-fA-F][0-9a-fA-F_]*")
_FLOAT = re.compile(r"[-+]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_OCTAL = re.compile(r"[-+]?0[0-9_]+")
_SIXTIES = re.compile(r"[-+]?[0-9][0-9_]*(:[0-9]{1,2})+(\.[0-9_]*)?")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SPELLING = "indent by spaces, not tabs, and put quotes around a text that holds any of { } [ ] , : # % @ &"
_TAG = "tag:yaml.org,2002:"
_AS_WRITTEN = {f"{_TAG}{name}" for name in ("int", "float", "bool", "null", "timestamp")}


class Plain(str):
    """A value that stands in the file without quotes, as it was written: 12, no, 1.10, street."""


def read_yaml(path: Path) -> Any:
    """The sections, lists and texts of a YAML or JSON file.

    Returns:
        What `parse_yaml` returns.

    Raises:
        MissingFileError: there is no such file.
        InputError: it is no file, is too large, is no text in UTF-8, or as in `parse_yaml`.
    """
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise InputError(f"{path}: cannot be read as YAML, it is no regular file; name a YAML file")
        if about.st_size > MOST_BYTES:
            raise InputError(
                f"{path}: holds {about.st_size} bytes, expected at most {MOST_BYTES}; is it the right file?"
            )
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: cannot be read, there is no such file") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: cannot be read as YAML ({error}); it is no text in UTF-8: save it as UTF-8"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read as YAML ({error.strerror})") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> Any:
    """What a YAML or JSON text holds.

    Args:
        text: one document.
        name: of the text, for errors.

    Returns:
        dicts whose keys are texts, lists, and the texts in them: `Plain` if they stand without quotes. A JSON
        text may also hold numbers, switches and None. An empty text gives an empty `Plain`.

    Raises:
        InputError: it is no YAML, has a key twice, is too large or too deep, or has tags of Python. The
            error names the line.
    """
    if text.lstrip().startswith("{") and _depth(text) <= DEEPEST:
        try:
            return json.loads(text, object_pairs_hook=_without_twins)
        except (ValueError, RecursionError):
            pass  # YAML in braces, or an error that the other reader explains with its lines
    try:
        return _Builder(name).build(yaml.parse(text, Loader=_LOADER))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name}: cannot be read as YAML ({_where(error)}); {_SPELLING}") from error


def resolved(value: Any) -> Any:
    """A value of `parse_yaml` without a schema: what stands without quotes becomes what it looks like.

    Numbers, null, true and false (also yes, no, on, off) are read; all else is text. 010 and 1:30 stay
    texts, since readers of YAML disagree on them.
    """
    if isinstance(value, dict):
        return {key: resolved(part) for key, part in value.items()}
    if isinstance(value, list):
        return [resolved(part) for part in value]
    if not isinstance(value, Plain):
        return value
    if value in NULLS:
        return None
    if value in SWITCHES:
        return SWITCHES[value]
    found = number(value)
    return str(value) if found is None else found


def number(text: str) -> int | float | None:
    """The number that a text spells, or None: 12, -3, 1_000, 0x10, 1e-3, 4.0e+3, .5, .inf."""
    if len(text) > 300:  # no float is as large, and Python refuses to write such integers out
        return None
    if _INTEGER.fullmatch(text):
        return int(text.replace("_", ""))
    if _HEXADECIMAL.fullmatch(text):
        return int(text.replace("_", ""), 16)
    if is_ambiguous(text):
        return None
    if _FLOAT.fullmatch(text):
        return float(text.replace("_", ""))
    return float(text.replace(".", "").lower()) if _NOT_FINITE.fullmatch(text) else None


def is_ambiguous(text: str) -> bool:
    """Whether some readers of YAML take a text for a number that it does not look like: 010, 1:30."""
    return bool(_OCTAL.fullmatch(text) or _SIXTIES.fullmatch(text))


def _where(error: Exception) -> str:
    """What a reader of YAML says, on one line."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return " ".join(str(error).split()).replace(' in "<unicode string>",', "")
    began = error.context_mark
    return (
        f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: {error.problem}"
        + (f" {error.context}" if error.context else "")
        + (f", which began on line {began.line + 1}" if began else "")
    )


def _depth(text: str) -> int:
    """The most brackets that are open at once in a JSON text; brackets inside of its texts count, too."""
    steps = (1 if found[0] in "[{" else -1 for found in re.finditer(r"[][{}]", text))
    return max(accumulate(steps), default=0)


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key stands twice")
    return values


@dataclass
class _Open:
    """A section or list that has begun and not ended."""

    line: int
    anchor: str | None
    values: dict[str, Any] | list[Any]
    held: int
    key: str | None = None
    lines: dict[str, int] = field(default_factory=dict)
    merged: list[dict[str, Any]] = field(default_factory=list)


class _Builder:
    """Builds values from the events of one document, without recursion and within bounds.

    Args:
        name: of the text, for errors.
    """

    def __init__(self, name: str):
        self._name = name
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int] | None] = {}  # None: begun and not ended
        self._held = 0
        self._line = 0
        self._result: list[Any] = []

    def build(self, events: Iterator[Any] | Iterable[Any]) -> Any:
        """The value of the only document."""
        for event in events:
            self._line = event.start_mark.line + 1
            if isinstance(event, yaml.ScalarEvent):
                self._add(self._scalar(event), 1, event.anchor)
            elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
                self._begin(event)
            elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                self._end()
            elif isinstance(event, yaml.DocumentStartEvent) and self._result:
                self._fail("a second document begins; expected one, without '---' inside")
            elif isinstance(event, yaml.AliasEvent):
                self._alias(str(event.anchor))
        return self._result[0] if self._result else Plain()

    def _scalar(self, event: Any) -> str:
        tag = event.tag
        if tag in (None, "!", f"{_TAG}str") or tag in _AS_WRITTEN:
            as_written = tag in _AS_WRITTEN or event.implicit[0]
            return Plain(event.value) if as_written else event.value
        return self._refuse(tag)

    def _begin(self, event: Any) -> None:
        kind = "map" if isinstance(event, yaml.MappingStartEvent) else "seq"
        values: dict[str, Any] | list[Any] = {} if kind == "map" else []
        if event.tag not in (None, "!", f"{_TAG}{kind}"):
            self._refuse(event.tag)
        if len(self._open) >= DEEPEST:
            self._fail(f"sections are nested more than {DEEPEST} levels deep; write it flatter")
        if self._open and isinstance(self._open[-1].values, dict) and self._open[-1].key is None:
            self._fail("a section or list stands where a key is expected; put quotes around a text that "
                       "begins with { or [")  # fmt: skip
        if event.anchor:
            self._anchors[event.anchor] = None
        self._open.append(_Open(self._line, event.anchor, values, self._held))

    def _end(self) -> None:
        done = self._open.pop()
        if isinstance(done.values, dict):
            for part in done.merged:
                done.values = {**part, **done.values}
        self._add(done.values, self._held - done.held + 1, done.anchor)

    def _alias(self, anchor: str) -> None:
        if anchor not in self._anchors:
            self._fail(f"*{anchor} stands for nothing that came before; put quotes around a text that begins "
                       "with *")  # fmt: skip
        known = self._anchors[anchor]
        if known is None:
            self._fail("a section holds itself; write its values out instead of *alias")
        value, size = known
        self._count(size - 1)
        self._add(deepcopy(value), 1, None)

    def _count(self, values: int) -> None:
        self._held += values
        if self._held > MOST_VALUES:
            self._fail(f"holds more than {MOST_VALUES} values when each *alias is replaced by what it stands "
                       "for; write the values out")  # fmt: skip

    def _add(self, value: Any, size: int, anchor: str | None) -> None:
        """Put a whole value where it belongs: as a key, below a key, or into a list."""
        self._count(1)
        if anchor:
            self._anchors[anchor] = (value, size)
        if not self._open:
            self._result.append(value)
            return
        inside = self._open[-1]
        if isinstance(inside.values, list):
            inside.values.append(value)
        elif inside.key is None:
            self._take_key(inside, value)
        else:
            self._take_value(inside, inside.key, value)
            inside.key = None

    def _take_key(self, inside: _Open, value: Any) -> None:
        if not isinstance(value, str):
            self._fail("a section or list stands where a key is expected")
        if value in inside.lines:
            lines = sorted({inside.lines[value], self._line})
            self._fail(f"{str(value)!r} stands twice in one section, on line "
                       f"{' and on line '.join(map(str, lines))}; keep one of them")  # fmt: skip
        inside.lines[str(value)] = self._line
        inside.key = value

    def _take_value(self, inside: _Open, key: str, value: Any) -> None:
        if key != "<<" or not isinstance(key, Plain):
            inside.values[str(key)] = value  # type: ignore[call-overload]
            return
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, dict) for part in parts):
            self._fail("<< takes a section, or a list of sections")
        inside.merged += parts

    def _refuse(self, tag: str) -> NoReturn:
        self._fail(
            f"the tag {tag.replace(_TAG, '!!')} is not read; write plain text, numbers, lists and sections"
        )

    def _fail(self, told: str) -> NoReturn:
        raise InputError(f"{self._name}: line {self._line}: {told}")
