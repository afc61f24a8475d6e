"""What people say that names in other tools' files mean: maps of classes and of frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weclick.common.errors import InputError
from weclick.common.yaml_files import NULLS, Plain, parse_yaml, read_yaml


def read_class_map(given: Sequence[str]) -> dict[str, str | None]:
    """Label -> class; None leaves points of the label out.

    Args:
        given: each a text LABEL=CLASS, JSON that begins with {, or the path of a JSON or YAML file.

    Raises:
        InputError, MissingFileError: one is nothing of that.
    """
    return {label: _class(label, name) for label, name in _entries(given, "--class-map").items()}


def read_name_map(given: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Name of an image -> clip and frame; name of a video -> clip and an empty text.

    Args:
        given: each a text NAME=CLIP/FRAME or NAME=CLIP, or JSON or a file, as in `read_class_map`, whose
            values may also be lists [clip, frame].

    Raises:
        InputError, MissingFileError: one is nothing of that.
    """
    return {name: _target(name, target) for name, target in _entries(given, "--name-map").items()}


def _entries(given: Sequence[str], option: str) -> dict[str, Any]:
    entries: dict[str, Any] = {}
    for text in given:
        if text.lstrip().startswith("{"):
            found = parse_yaml(text, option)
        elif "=" in text and not Path(text).is_file():
            name, _, target = text.rpartition("=")
            found = {name: target}
        else:
            found = read_yaml(Path(text))
        if not isinstance(found, Mapping):
            raise InputError(f"{option}: {text[:80]!r} holds no names and what they mean; see --help")
        entries |= found
    return entries


def _class(label: str, name: Any) -> str | None:
    if name is None or name == "" or (isinstance(name, Plain) and name in NULLS):
        return None
    if not isinstance(name, str):
        raise InputError(f"--class-map: {label!r} is given {name!r}, expected the name of a class, or null")
    return str(name)


def _target(name: str, target: Any) -> tuple[str, str]:
    parts = target.split("/", 1) if isinstance(target, str) else target
    if (
        not isinstance(parts, list)
        or not 1 <= len(parts) <= 2
        or not all(isinstance(each, str) for each in parts)
    ):
        raise InputError(
            f"--name-map: {name!r} is given {target!r}, expected a clip and a frame, such as park/00012"
        )
    return str(parts[0]), str(parts[1]) if len(parts) == 2 else ""
