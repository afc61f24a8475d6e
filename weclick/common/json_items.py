"""The items of the lists of a JSON file that is too large to parse at once.

YouTube-VIS's file of 2019 has some hundred MB, while `parse_json` reads 64 MiB. So one pass over the bytes
finds where each item of the top level's lists begins and ends. It parses nothing and follows brackets alone.
Then items are read and parsed one by one, with the bounds of `parse_json`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from weclick.common.bounded_json import DEPTH, parse_json
from weclick.common.content import Signature, signature_of
from weclick.common.disk import open_plain, read_plain, surely
from weclick.common.errors import InputError, MissingFileError
from weclick.common.words import count_bytes

MOST_BYTES = 2**30
"""The longest file whose items are looked for."""

MOST_SIGNS = 2**25
"""Brackets and texts of a file at most. So a hostile file costs seconds and no minutes."""

_SIGNS = re.compile(rb'[^"{}\[\]]*+(?:"((?:[^"\\]++|\\.)*+)"|(["{}\[\]]))', re.DOTALL)
"""A text, or a bracket, or a quote that begins no text; and before it what counts for nothing. To skip that
within the pattern is three times as fast as to look at each byte."""
_PAIRS = {b"}": b"{", b"]": b"["}


class Span(NamedTuple):
    """Where an item lies in its file: the first byte, and the one after the last."""

    start: int
    end: int


def item_spans(path: Path, keys: tuple[str, ...]) -> dict[str, tuple[Span, ...]]:
    """Where the items of some lists of the top level lie. They are kept as long as the file stays as it is.

    Args:
        path: a file that holds one JSON object.
        keys: of the lists. Others are not looked at.

    Returns:
        Key -> the places of its items. Keys that are missing, or whose value is no list, are left out.

    Raises:
        MissingFileError: there is no such file.
        InputError: its brackets do not fit, a list holds something else than objects, a key stands twice, or
            the file is longer than MOST_BYTES or has more than MOST_SIGNS.
    """
    try:
        status = surely(path, partial(os.stat, path))
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: there is no such file; restore it, or correct data.root") from error
    return _spans(path, keys, signature_of(status))


@lru_cache(maxsize=4)
def _spans(path: Path, keys: tuple[str, ...], _: Signature) -> dict[str, tuple[Span, ...]]:
    data = read_plain(path, at_most=MOST_BYTES + 1, links=True)
    if len(data) > MOST_BYTES:
        _refuse(path, f"it is longer than {count_bytes(MOST_BYTES)}, the most that is read")
    return _Lists(path, data, keys).found()


def read_items(path: Path, spans: Sequence[Span]) -> list[bytes]:
    """The bytes of some items, read from the file as it is now.

    Raises:
        InputError: the file has become shorter.
    """
    found = []
    with open(path, "rb", opener=partial(open_plain, links=True)) as file:
        for span in spans:
            file.seek(span.start)
            item = file.read(span.end - span.start)
            if len(item) < span.end - span.start:
                _refuse(path, "it became shorter while it was read")
            found.append(item)
    return found


def parse_item(path: Path, item: bytes) -> Any:
    """The value of an item.

    Raises:
        InputError: it is no JSON, or too large or too deep for `parse_json`.
    """
    try:
        return parse_json(item, "write the file with less in one item")
    except ValueError as error:
        _refuse(path, f"an item cannot be parsed ({error}): {item[:60]!r}")


class _Lists:
    """One pass over a file's brackets."""

    def __init__(self, path: Path, data: bytes, keys: Sequence[str]) -> None:
        self._path, self._data, self._keys = path, data, keys
        self._found: dict[str, list[Span]] = {}
        self._opened: list[bytes] = []
        self._key = ""
        self._reading = False
        """Whether a list of one of the keys is open."""
        self._start = self._end = 0
        """Of the item that was read last."""

    def found(self) -> dict[str, tuple[Span, ...]]:
        """Key -> the places of its items."""
        closed = 0
        for number, match in enumerate(_SIGNS.finditer(self._data)):
            text, sign = match.groups()
            if number >= MOST_SIGNS:
                _refuse(self._path, f"it has more than {MOST_SIGNS} brackets and texts")
            if sign in (b"{", b"["):
                self._open(sign, match.start(2), closed)
            elif sign in _PAIRS:
                self._close(sign, match.start(2))
                closed = closed if self._opened else match.end()
            elif sign == b'"':
                _refuse(self._path, f"a text that begins at byte {match.start(2)} does not end")
            elif len(self._opened) == 1:
                self._key = text.decode("utf-8", "replace")
        if self._opened or not closed or self._data[closed:].strip():
            _refuse(self._path, "it ends within a bracket, or is not one object")
        return {key: tuple(spans) for key, spans in self._found.items()}

    def _open(self, sign: bytes, start: int, closed: int) -> None:
        depth = len(self._opened)
        if depth == DEPTH:
            _refuse(self._path, f"it is nested deeper than {DEPTH} levels")
        if depth == 0 and (sign != b"{" or closed or self._data[:start].strip()):
            _refuse(self._path, "it is not one object")
        if depth == 1 and sign == b"[" and self._key in self._keys:
            if self._key in self._found:
                _refuse(self._path, f"the key {self._key!r} stands in it twice")
            self._found[self._key], self._reading, self._end = [], True, start + 1
        elif depth == 2 and self._reading:
            comma = b"," if self._found[self._key] else b""
            if sign != b"{" or self._data[self._end : start].strip() != comma:
                self._refuse_item()
            self._start = start
        self._opened.append(sign)

    def _close(self, sign: bytes, start: int) -> None:
        if not self._opened or self._opened.pop() != _PAIRS[sign]:
            _refuse(self._path, f"a bracket at byte {start} closes none")
        if not self._reading:
            return
        if len(self._opened) == 2:
            self._end = start + 1
            self._found[self._key].append(Span(self._start, self._end))
        elif len(self._opened) == 1:
            if self._data[self._end : start].strip():
                self._refuse_item()
            self._reading = False

    def _refuse_item(self) -> NoReturn:
        _refuse(self._path, f"{self._key} hold something else than objects at byte {self._end}")


def _refuse(path: Path, found: str) -> NoReturn:
    raise InputError(
        f"{path}: cannot be read: {found}; expected one JSON object with lists of objects: restore the file"
    )
