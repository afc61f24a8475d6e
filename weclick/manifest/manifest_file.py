"""Manifests as JSON files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from weclick.common.errors import InputError
from weclick.common.files import is_inside, read_json, write_text
from weclick.common.schemas import schema_fault
from weclick.manifest.clips import IGNORE, Classes, Clip, Frame, Manifest

SCHEMA_VERSION = 1


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write a manifest as JSON, one clip a line: people can read and diff it."""
    head = asdict(replace(manifest, clips=())) | {"classes": class_list(manifest.classes)}
    del head["clips"]
    lines = [json.dumps(asdict(clip)) for clip in manifest.clips]
    body = json.dumps({"schema_version": SCHEMA_VERSION, **head}, indent=1)[:-2]
    write_text(path, body + ',\n "clips": [\n' + ",\n".join(lines) + "\n ]\n}\n")


def read_manifest(path: Path) -> Manifest:
    """Read one manifest file.

    Raises:
        InputError: the file is no manifest of a known schema version, or names files outside the root.
    """
    raw = read_json(path, "manifest")
    if raw.get("schema_version") != SCHEMA_VERSION:
        found = raw.get("schema_version")
        raise InputError(
            f"{path}: manifest schema_version is {found!r}, expected {SCHEMA_VERSION}; "
            "run `weclick manifest` again with this version"
        )
    if fault := schema_fault(raw, "manifest"):
        raise InputError(
            f"{path}: is a damaged manifest ({fault}); delete it and run `weclick manifest` again"
        )
    try:
        manifest = _manifest(raw)
        strange = _strange_names(manifest)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: is a damaged manifest ({type(error).__name__}: {error}); delete it and run "
            "`weclick manifest` again"
        ) from error
    if strange:
        raise InputError(
            f"{path}: names {strange[0]!r}, which leads out of the data set's root or of an output folder; "
            "expected a relative name without '..': rename that clip or file, and run "
            "`weclick manifest` again"
        )
    return manifest


def _strange_names(manifest: Manifest) -> list[str]:
    """Names that may leave their folder. Most manifests have none, so one look at all of them comes first."""
    names = [name for clip in manifest.clips for name in _names(clip)]
    text = "\n".join(["", *names])
    if not any(sign in text for sign in ("..", "\0", "\n/")):
        return []
    return [name for name in names if not is_inside(name)]


def _names(clip: Clip) -> Iterator[str]:
    """All names that become part of a path: the clip's id, and names and files of its frames."""
    yield clip.id
    for frame in clip.frames:
        yield frame.name
        yield frame.image
        yield from (name for name in (frame.label, frame.instances) if name is not None)


def _manifest(raw: dict[str, Any]) -> Manifest:
    if type(raw["shrink"]) is not int or raw["shrink"] < 1:
        raise ValueError(f"shrink is {raw['shrink']!r}, expected a whole number from 1")
    return Manifest(
        dataset=raw["dataset"],
        root=raw["root"],
        split=raw["split"],
        shard=raw["shard"],
        shards=raw["shards"],
        classes=read_class_list(raw["classes"]),
        clips=tuple(_clip(clip) for clip in raw["clips"]),
        click_file=raw["click_file"],
        click_file_digest=raw["click_file_digest"],
        shrink=raw["shrink"],
    )


def class_list(classes: Classes) -> dict[str, Any]:
    """The label space as a manifest or a checkpoint writes it down.

    `numbered_objects` stands there only if it is true: most data sets are written as before it came.
    """
    told = asdict(classes)
    return told if classes.numbered_objects else {k: v for k, v in told.items() if k != "numbered_objects"}


def read_class_list(raw: Mapping[str, Any]) -> Classes:
    """The label space that `class_list` wrote down.

    Raises:
        KeyError, TypeError, ValueError: a part is missing, or the parts are not one label space.
    """
    names, palette = tuple(raw["names"]), tuple(tuple(color) for color in raw["palette"])
    if not 0 < len(names) == len(palette) < IGNORE:
        raise ValueError(f"{len(names)} classes with {len(palette)} colours, expected 1 to {IGNORE - 1}")
    if any(len(color) != 3 or not set(color) <= set(range(256)) for color in palette):
        raise ValueError("a colour of `palette` is not three numbers from 0 to 255")
    numbered = raw.get("numbered_objects", False)
    if type(numbered) is not bool:
        raise ValueError(f"numbered_objects is {numbered!r}, expected true or false")
    return Classes(
        names=names,
        palette=palette,
        instance_classes=tuple(raw["instance_classes"]),
        label_map=raw["label_map"],
        numbered_objects=numbered,
    )


def read_manifests(paths: Sequence[Path]) -> Manifest:
    """Read all shards of one split as a single manifest (shard 0 of 1).

    Raises:
        InputError: no path is given, or the files disagree in data set, split or classes.
    """
    parts = [read_manifest(path) for path in paths]
    if not parts:
        raise InputError("no manifest given, expected at least one results/manifest/<split>/<shard>.json")
    first = parts[0]
    for part, path in zip(parts, paths, strict=True):
        if (part.dataset, part.split, part.classes) != (first.dataset, first.split, first.classes):
            raise InputError(
                f"{path}: is of data set {part.dataset!r}, split {part.split!r}, while {paths[0]} is of "
                f"{first.dataset!r}, {first.split!r} (or their classes differ); give the shards of one split"
            )
    clips = sorted((clip for part in parts for clip in part.clips), key=lambda clip: clip.id)
    latest = max(parts, key=lambda part: _click_bytes(part.click_file_digest))
    return replace(first, shard=0, shards=1, clips=tuple(clips), click_file_digest=latest.click_file_digest)


def _click_bytes(digest: str | None) -> int:
    """Length of a log of clicks, by its digest; 0 of another file. People may click between two shards."""
    return int((digest or "").partition(":")[2] or 0)


def _clip(raw: dict[str, Any]) -> Clip:
    frames = tuple(Frame(**frame) for frame in raw["frames"])
    clip = Clip(**{**raw, "frames": frames, "targets": tuple(raw["targets"]), "scored": tuple(raw["scored"])})
    strange = {*clip.targets, *clip.scored} - set(range(len(frames)))
    if not all(type(side) is int and side >= 0 for side in clip.size):
        raise ValueError(f"clip {clip.id!r} is of size {clip.size}, expected two whole numbers from 0")
    if strange:
        raise ValueError(f"clip {clip.id!r} has {len(frames)} frames, but names one at {min(strange)}")
    return clip
