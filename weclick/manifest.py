"""What is on disk: clips, their frames, which are targets, and content digests.

A manifest is written per split and shard. It is the only thing the later stages know of a data set.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from weclick.errors import InputError, MissingFileError, room_to_write
from weclick.schemas import schema_fault

SCHEMA_VERSION = 1
IGNORE = 255


@dataclass(frozen=True)
class Frame:
    """One image of a clip. Paths are relative to the data set's root, digests are SHA-256 of content.

    `number` counts frames of the source video, so that differences of numbers are gaps in time.
    `video_frame` is set where `image` is a video file: the zero-based frame to decode from it.
    """

    name: str
    number: int
    image: str
    digest: str = ""
    video_frame: int | None = None
    label: str | None = None
    label_digest: str | None = None
    instances: str | None = None
    instances_digest: str | None = None


@dataclass(frozen=True)
class Clip:
    """An unbroken stretch of video. `targets` and `scored` are positions in `frames`.

    Targets carry clicks in training; scored frames are compared with their labels in evaluation.
    """

    id: str
    frames: tuple[Frame, ...]
    targets: tuple[int, ...] = ()
    scored: tuple[int, ...] = ()
    height_px: int = 0
    width_px: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.height_px, self.width_px

    def positions(self) -> dict[str, int]:
        """Where in `frames` a frame lies that people name by its name or its number; the name wins."""
        by_number = {str(frame.number): i for i, frame in enumerate(self.frames)}
        return by_number | {frame.name: i for i, frame in enumerate(self.frames)}

    def restrict(self, keep: Iterable[int]) -> Clip:
        """The same clip with only the frames at the positions `keep`, targets and scored renumbered."""
        kept = sorted(set(keep))
        position = {old: new for new, old in enumerate(kept)}
        return replace(
            self,
            frames=tuple(self.frames[i] for i in kept),
            targets=tuple(position[i] for i in self.targets if i in position),
            scored=tuple(position[i] for i in self.scored if i in position),
        )


@dataclass(frozen=True)
class Classes:
    """The label space of a data set.

    Attributes:
        names: class names; the position is the class id in every array that weclick makes.
        palette: one (R, G, B) per class, 0..255.
        instance_classes: ids of the classes whose objects are told apart by instance masks.
        label_map: how label files encode classes. None: pixel values are class ids. Else either
            {"ids": {"7": 0, ...}} for grey or palette values, or {"colors": {"128,64,128": 0, ...}}
            for RGB files. Values not listed are ignored.
    """

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    instance_classes: tuple[int, ...] = ()
    label_map: dict[str, dict[str, int]] | None = None


@dataclass(frozen=True)
class Manifest:
    """One shard of one split of a data set.

    With `shrink` s, frames and labels are read at 1/s of their size; clips' sizes and frames' digests say so.
    `click_file` is set where people clicked: a CSV table that takes the place of clicks made from labels.
    """

    dataset: str
    root: str
    split: str
    shard: int
    shards: int
    classes: Classes
    clips: tuple[Clip, ...]
    click_file: str | None = None
    click_file_digest: str | None = None
    shrink: int = 1

    @property
    def num_classes(self) -> int:
        """K, without the ignored value 255."""
        return len(self.classes.names)

    def path(self, relative: str) -> Path:
        """Where a file that the manifest names lies on this machine."""
        return Path(self.root) / relative


def shard_of(clip_id: str, shards: int) -> int:
    """The shard a clip belongs to: a stable hash of its id, so that a new clip moves no other."""
    return int.from_bytes(hashlib.sha256(clip_id.encode()).digest()[:8], "big") % shards


def is_inside(name: str) -> bool:
    """Whether a relative name cannot leave its folder: it is not absolute, and no part of it is `..`."""
    return bool(name) and name[0] != "/" and "\0" not in name and ".." not in name.split("/")


def file_inside(folder: Path, name: str) -> Path:
    """Where a file of that name is to be written below a folder.

    Raises:
        InputError: it would lie elsewhere: by an absolute name, by `..`, or by a symbolic link.
    """
    path = folder / name
    if not is_inside(name) or not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"{path}: leads out of {folder}, so it is not written; clips and frames need names that are "
            "relative and without '..', and the folder no symbolic link to elsewhere"
        )
    return path


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write a manifest as JSON, one clip a line, so that it can be read, compared and diffed."""
    head = asdict(replace(manifest, clips=()))
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
    try:
        manifest = _manifest(raw)
        strange = [name for clip in manifest.clips for name in _names(clip) if not is_inside(name)]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: is a damaged manifest ({type(error).__name__}: {error}); delete it and run "
            "`weclick manifest` again"
        ) from error
    if strange:
        raise InputError(
            f"{path}: names {strange[0]!r}, which leads out of the data set's root or of a folder that is "
            "written; expected a relative name without '..': rename that clip or file, and run "
            "`weclick manifest` again"
        )
    return manifest


def _names(clip: Clip) -> Iterator[str]:
    """What becomes part of a path: the id, and names and files of the frames."""
    yield clip.id
    for frame in clip.frames:
        yield frame.name
        yield frame.image
        yield from (name for name in (frame.label, frame.instances) if name is not None)


def _manifest(raw: dict[str, Any]) -> Manifest:
    if type(raw["shrink"]) is not int or raw["shrink"] < 1:
        raise ValueError(f"shrink is {raw['shrink']!r}, expected a number from 1 on")
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


def read_class_list(raw: Mapping[str, Any]) -> Classes:
    """The label space as a manifest or a checkpoint writes it down.

    Raises:
        KeyError, TypeError, ValueError: a part of it is not there, or not one label space.
    """
    names, palette = tuple(raw["names"]), tuple(tuple(color) for color in raw["palette"])
    if not 0 < len(names) == len(palette) < IGNORE:
        raise ValueError(f"{len(names)} classes with {len(palette)} colours, expected 1 to {IGNORE - 1}")
    if any(len(color) != 3 or not set(color) <= set(range(256)) for color in palette):
        raise ValueError("a colour of `palette` is not three numbers from 0 to 255")
    return Classes(
        names=names,
        palette=palette,
        instance_classes=tuple(raw["instance_classes"]),
        label_map=raw["label_map"],
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
    return replace(first, shard=0, shards=1, clips=tuple(clips))


def write_text(path: Path, text: str) -> None:
    """Write a small file so that readers see the old text or the new one, never half of it.

    Raises:
        DiskFullError: there is no room; the old file stays.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """As `write_text`, for any content that fits into memory."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    with room_to_write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def read_json(path: Path, stage: str, known: str = "") -> dict[str, Any]:
    """The JSON object that a stage wrote.

    Args:
        path: of the file.
        stage: named in errors.
        known: what it is in data_schema/results.schema.json, by which it is checked; empty checks nothing.

    Raises:
        MissingFileError: there is no such file.
        InputError: it holds something else.
    """
    with _reading(path, stage):
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(raw, dict):
        raise _not_as_written(path, stage, f"holds a {type(raw).__name__}, expected an object")
    if known and (fault := schema_fault({known: raw}, "results")):
        raise _not_as_written(path, stage, f"is not what that stage writes ({fault})")
    return raw


def read_lines(path: Path, stage: str, known: str) -> list[dict[str, Any]]:
    """The JSON objects that a stage wrote line by line; an unfinished last line is left out.

    Args, Raises:
        As in `read_json`.
    """
    with _reading(path, stage):
        text = Path(path).read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    if fault := schema_fault({known: lines}, "results"):
        raise _not_as_written(path, stage, f"is not what that stage writes ({fault})")
    return lines


@contextmanager
def _reading(path: Path, stage: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: there is no such file; the {stage} stage makes it") from error
    except (OSError, ValueError, RecursionError) as error:
        raise _not_as_written(path, stage, f"cannot be read as JSON ({error})") from error


def _not_as_written(path: Path, stage: str, what: str) -> InputError:
    return InputError(f"{path}: {what}; delete it and run the {stage} stage again")


def _clip(raw: dict[str, Any]) -> Clip:
    frames = tuple(Frame(**frame) for frame in raw["frames"])
    clip = Clip(**{**raw, "frames": frames, "targets": tuple(raw["targets"]), "scored": tuple(raw["scored"])})
    strange = {*clip.targets, *clip.scored} - set(range(len(frames)))
    if not all(type(side) is int and side >= 0 for side in clip.size):
        raise ValueError(f"clip {clip.id!r} is of size {clip.size}, expected numbers")
    if strange:
        raise ValueError(f"clip {clip.id!r} has {len(frames)} frames, but names that at {min(strange)}")
    return clip
