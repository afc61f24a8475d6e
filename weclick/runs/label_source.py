"""What makes the soft labels of a configuration: networks, an ONNX file, or a folder."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weclick.common.config_checks import check_source
from weclick.common.digest import canonical_json
from weclick.common.errors import InputError, MissingFileError
from weclick.common.walk import walk_once

if TYPE_CHECKING:  # it loads torch
    from weclick.proxy_labels.sources import Source

SUFFIXES = (".png", ".npy", ".npz")


def stored_as(config: Mapping[str, Any]) -> dict[str, Any]:
    """How soft labels are stored: arguments of `compute_soft_labels`."""
    return {name: config["soft_labels"][name] for name in ("chunk_px", "codec")}


def computed_as(config: Mapping[str, Any]) -> dict[str, Any]:
    """How teachers compute: arguments of `Teachers.of`."""
    return {name: config["soft_labels"][name] for name in ("precision", "batch_frames")}


def label_source(
    config: Mapping[str, Any],
    classes: Sequence[str],
    teachers: Iterable[Path],
    *,
    remember: Path | None = None,
) -> Source | None:
    """What makes the soft labels of a run; None while a teacher is missing.

    Args:
        config: complete, or the part that the stage reads.
        classes: of the data set.
        teachers: see `weclick.runs.teachers.teacher_files`.
        remember: keeps the digests of their files, see `file_digests`.

    Raises:
        ConfigError: as in `check_source`.
    """
    from weclick.datasets.digests import file_digests
    from weclick.proxy_labels.folder import Folder
    from weclick.proxy_labels.onnx_file import OnnxFile
    from weclick.proxy_labels.teachers import Teachers

    check_source(config)
    section, digests = config["soft_labels"], partial(file_digests, remember=remember)
    if section["source"] == "onnx":
        return OnnxFile(section["onnx"], tuple(classes), digests)
    if section["source"] == "folder":
        return Folder(section["folder"], tuple(classes), digests)
    files = list(teachers)
    return Teachers.of(files, **computed_as(config)) if all(file.is_file() for file in files) else None


def given_source(
    config: Mapping[str, Any], classes: Sequence[str], teachers: Sequence[Path], remember: Path
) -> Source:
    """As `label_source`, for the stage itself, which is given its teachers.

    Raises:
        ConfigError: as in `check_source`.
        InputError: teachers are given and not wanted, or wanted and not given.
        MissingFileError: a teacher is not there.
    """
    from weclick.proxy_labels.teachers import Teachers

    by_teachers = config["soft_labels"]["source"] == "teacher"
    if by_teachers != bool(teachers):
        found = "no teacher is given" if by_teachers else f"{teachers[0]} is given as a teacher"
        raise InputError(
            f"soft_labels.source is {config['soft_labels']['source']!r}, but {found}; "
            + ("name its model.safetensors with --teacher" if by_teachers else "leave --teacher out")
        )
    if by_teachers:
        return Teachers.of(teachers, **computed_as(config))
    source = label_source(config, classes, (), remember=remember)
    assert source is not None, "only teachers can be missing"
    return source


def label_listing(config: Mapping[str, Any], remember: Path) -> str:
    """SHA-256 (hex) over names, sizes and edits of the files that make soft labels: a cheap sign.

    Args:
        config: complete.
        remember: the memory of `label_source`. Content is read only where it knows a file that changed since.

    Returns:
        Empty if teachers make them: a rule has these as its inputs.

    Raises:
        MissingFileError: there is no such file or folder.
    """
    section = config["soft_labels"]
    source = section["source"]
    if source == "teacher":
        return ""
    key, path = f"soft_labels.{source}.path", _whole(section[source]["path"])
    if source == "folder":
        return folder_listing(path, key, SUFFIXES, remember)
    # with what may be its weights
    files = sorted(str(file) for file in path.parent.glob(f"{glob.escape(path.name)}*") if file.is_file())
    return _listing(files, path.parent, f"{key} is {path}, but there is no such file", remember)


def folder_listing(path: Path | str, key: str, suffixes: tuple[str, ...], remember: Path) -> str:
    """SHA-256 (hex) over names, sizes and edits of the files in a folder, at any depth: a cheap sign.

    Args:
        path: of the folder.
        key: of the configuration that names it, for errors.
        suffixes: of the files that count, in small letters.
        remember: the memory of their digests. Content is read only where it knows a file that changed since.

    Raises:
        MissingFileError: it holds no such file.
    """
    path = _whole(path)
    missing = f"{key} is {path}, but there is no file that ends in {', '.join(suffixes)}"
    return _listing(_below(path, suffixes), path, missing, remember)


def _whole(path: Path | str) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 (the memory's names have no `..`)


def _listing(files: Sequence[str], top: Path, missing: str, remember: Path) -> str:
    from weclick.datasets.digests import edited_files

    if not files:
        raise MissingFileError(f"{missing}; correct it, or make them first")
    found = edited_files(files, remember)
    listing = [(os.path.relpath(file, top), *each) for file, each in zip(files, found, strict=True)]
    return hashlib.sha256(canonical_json(listing).encode()).hexdigest()


def _below(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    return sorted(
        f"{here}/{name}"
        for here, names in walk_once(folder)
        for name in names
        if name.lower().endswith(suffixes) and name[0] != "."
    )
