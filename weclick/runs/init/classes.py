"""The classes file of a data set, written from names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from weclick.common.errors import InputError
from weclick.datasets.file_names import CONTROLS
from weclick.datasets.folder import read_classes
from weclick.datasets.voc import voc_color
from weclick.manifest.names import plain

MOST = 254
"""Classes that a data set may have."""


def class_names(text: str) -> list[str]:
    """The names in a list such as `background, car`; the position of a name is its class id.

    Raises:
        InputError: there is none, there are too many, or a name stands twice or holds control characters.
    """
    names = [name.strip() for name in text.split(",")]
    different = {plain(name) for name in names}
    if not all(names) or len(different) < len(names) or len(names) > MOST or CONTROLS.search(text):
        raise InputError(
            f"--classes is {text!r}, expected 1 to {MOST} different names with commas between them, e.g. "
            "background,car"
        )
    return names


def known_names(path: Path) -> list[str]:
    """The names in a classes file; none where there is no such file."""
    return list(read_classes(path).names) if path.exists() else []


def classes_text(names: Sequence[str]) -> str:
    """A classes file. Colours are those that PASCAL VOC gives to the ids."""
    rows = [
        f"  - {{name: {json.dumps(name, ensure_ascii=False)}, color: {list(voc_color(class_id))}}}\n"
        for class_id, name in enumerate(names)
    ]
    return "classes: # the position of a class is its id in labels\n" + "".join(rows)
