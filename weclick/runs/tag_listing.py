"""What tells that the files behind tags became other ones, so that the stage runs again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weclick.common.digest import canonical_json, file_digest
from weclick.common.walk import walk_once
from weclick.datasets.digests import edited_files, file_digests
from weclick.manifest.tag_file import tag_file
from weclick.manifest.voc_files import FOLDER


def tag_listing(config: Mapping[str, Any], remember: Path) -> str:
    """SHA-256 (hex) of a table of tags, or over names, sizes and edits of annotation files: a cheap sign.

    Args:
        config: complete.
        remember: the memory of `remember_tag_files`. Content of annotation files is read only where it knows
            one that changed since.

    Returns:
        Empty if labels or folders tell the tags: a manifest pins both down.

    Raises:
        MissingFileError: there is no such table.
    """
    root, tags = Path(config["data"]["root"]), config["tags"]
    if tags["source"] == "file":
        return file_digest(tag_file(tags["file"], root))
    if tags["source"] != "voc":
        return ""
    files = _annotations(root)
    found = edited_files(files, remember)
    listing = [(os.path.relpath(file, root), *each) for file, each in zip(files, found, strict=True)]
    return hashlib.sha256(canonical_json(listing).encode()).hexdigest()


def remember_tag_files(tags: Mapping[str, Any], root: Path, remember: Path) -> None:
    """Keep the digests of the annotation files of a data set, before they are read.

    Args:
        tags: the section `tags`.
        root: of the data set.
        remember: file of the memory, see `file_digests`.
    """
    if tags["source"] == "voc":
        file_digests(map(Path, _annotations(root)), remember)


def _annotations(root: Path) -> list[str]:
    """Absolute paths of all XML files below `Annotations/`."""
    folder = os.path.abspath(root / FOLDER)  # noqa: PTH100 (the memory's names have no `..`)
    return sorted(
        f"{here}/{name}"
        for here, names in walk_once(Path(folder))
        for name in names
        if name.lower().endswith(".xml") and name[0] != "."
    )
