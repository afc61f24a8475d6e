"""Objects that annotation files of PASCAL VOC name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from weclick.clicks.formats.xml_elements import read_elements
from weclick.common.content import read_content
from weclick.common.errors import InputError, MissingFileError

MOST_BYTES = 4 * 2**20
"""The longest file that is read. One of VOC has a few kilobytes."""


def voc_objects(path: Path) -> Iterator[tuple[str, str]]:
    """Where each object stands in a file, and the name of its class: `annotation/object/name`.

    Difficult and truncated objects count. The names of parts, such as a person's head, do not.

    Args:
        path: of the XML file, which may be a stranger's.

    Raises:
        MissingFileError: there is no such file.
        InputError: it is too long, is no XML of this kind, has a DOCTYPE or entities of its own, or an object
            has no name.
    """
    try:
        data = read_content(path, limit_bytes=MOST_BYTES)
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: there is no such annotation file; restore it") from error
    elements = read_elements(str(path), data)
    root = next(elements, None)
    if root is None or root.tag != "annotation":
        found = f"its root is <{root.tag[:80]}>" if root else "it is empty"
        raise InputError(f"{path}: is no annotation of PASCAL VOC ({found}, expected <annotation>)")
    for element in elements:
        if element.tag == "object":
            where, name = f"{path}, line {element.line}", element.told("name")
            if not name:
                raise InputError(f"{where}: has an object without a name; give it one, or remove it")
            yield where, name
