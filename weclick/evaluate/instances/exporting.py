"""Pseudo-labels of instances as files that other trainers read: COCO's JSON, or YouTube-VIS's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from weclick.common.errors import InputError
from weclick.common.files import write_text
from weclick.common.progress import Bar, progress_bar
from weclick.common.strict_json import strict_json
from weclick.common.words import plural
from weclick.evaluate.instances.tracks import Track as Linked
from weclick.evaluate.instances.tracks import link_tracks
from weclick.flow.to_files import full_flow
from weclick.manifest import Clip, Frame, Manifest
from weclick.proxy_labels import ImageInstances, Track, VideoInstances, coco_json, youtube_vis_json
from weclick.store import Store, check_attributes
from weclick.store.flow_entries import checked_stride, stored_pairs
from weclick.store.instance_entries import FrameInstances, InstanceEntry

Format = Literal["coco", "youtube-vis"]

Flows = Mapping[tuple[int, int], Callable[[], np.ndarray]]
"""(frame, other frame) positions -> what reads the flow between them, (2, H, W) px."""


class Exported(NamedTuple):
    """How much a file holds.

    Attributes:
        frames: that it lists.
        instances: masks of single frames, or tracks along videos.
    """

    frames: int
    instances: int


def export_instances(
    manifest: Manifest,
    index: Mapping[str, str],
    path: Path,
    *,
    store: Store,
    file_format: Format = "coco",
    flow: Mapping[str, Mapping[str, str]] | None = None,
) -> Exported:
    """Write the instances of a split as one file, which is there whole or not at all.

    Names of files are those of the images, from the root of the data set; of a video file
    `<clip>/<frame>`. A category's id is the class id + 1.

    Args:
        manifest: of the split. Its frames are listed, also those without an instance.
        index: clip id -> key of its entry of the kind "instances". Other clips are left out.
        path: of the file, which is replaced.
        store: holds the entries.
        file_format: coco lists masks of images. youtube-vis lists tracks of videos: a video is a run of a
            clip's frames from each of which a flow leads to the one before, see `runs_along`. Instances are
            linked along it, see `link_tracks`. A frame without such a flow is a video of its own.
        flow: clip id -> need -> key of its flow, for youtube-vis. Without one, a clip is one video, and each
            instance a track of one frame.

    Raises:
        InputError: no clip of the manifest is in the index, or entries are of other frames or classes.
        EntryMissingError: the store lacks an entry.
        DamagedEntryError: an entry is not as it was committed.
        DiskFullError: there is no room for the file.
    """
    clips = _listed(manifest, index, "instances")
    if flow is not None and file_format == "youtube-vis":
        _listed(manifest, flow, "flow")
    names = manifest.classes.names
    with progress_bar("export-instances", sum(len(clip.frames) for clip in clips), "frames") as bar:
        read = [_Reader.of(clip, store.get("instances", index[clip.id]), names, bar) for clip in clips]
        if file_format == "coco":
            value = coco_json([image for reader in read for image in reader.images()], names)
        else:
            flows = ((flow or {}).get(clip.id, {}) for clip in clips)
            pairs = (
                _flows(clip, keys, store) if flow is not None else None
                for clip, keys in zip(clips, flows, strict=True)
            )
            videos = [v for reader, each in zip(read, pairs, strict=True) for v in reader.videos(each)]
            value = youtube_vis_json(videos, names)
    write_text(path, strict_json(value) + "\n")
    return Exported(sum(len(clip.frames) for clip in clips), len(value["annotations"]))


def _listed(manifest: Manifest, index: Mapping[str, Any], kind: str) -> list[Clip]:
    """The clips of a manifest that an index lists, at least one."""
    clips = [clip for clip in manifest.clips if clip.id in index]
    if not clips:
        raise InputError(
            f"none of the {plural(len(manifest.clips), 'clip')} of split {manifest.split!r} is in the index "
            f"of {kind}, which has {plural(len(index), 'clip')}; give the index of this split"
        )
    return clips


def runs_along(clip: Clip, pairs: Sequence[tuple[int, int]] | Flows) -> Iterator[tuple[int, ...]]:
    """The frames of a clip as runs: a flow leads from each frame of a run to the one before it in the run.

    Each frame is in one run. Of several earlier frames that flows lead to, the nearest counts. If two frames
    have the same nearest one, the earlier of them follows it.

    Args:
        clip: with its frames.
        pairs: (frame, other frame) positions that a flow leads between.
    """
    numbers = [frame.number for frame in clip.frames]
    earlier: dict[int, int] = {}
    for t, s in pairs:
        if numbers[s] < numbers[t]:
            earlier[t] = max(earlier.get(t, s), s, key=lambda at: numbers[at])
    run_of: dict[int, list[int]] = {}
    runs: list[list[int]] = []
    for t in sorted(range(len(numbers)), key=lambda at: numbers[at]):
        run = run_of.pop(earlier[t], None) if t in earlier else None
        if run is None:
            run = []
            runs.append(run)
        run.append(t)
        run_of[t] = run
    yield from map(tuple, runs)


@dataclass(frozen=True)
class _Reader:
    """Reads the instances of a clip."""

    clip: Clip
    entry: InstanceEntry
    bar: Bar

    @classmethod
    def of(cls, clip: Clip, entry: Any, names: Sequence[str], bar: Bar) -> _Reader:
        opened = InstanceEntry(entry, clip.size)
        if opened.classes != tuple(names):
            raise InputError(
                f"{entry.path}: holds instances of the classes {', '.join(opened.classes[:9])}, the manifest "
                f"has {', '.join(names[:9])}; the index belongs to another manifest: run the instances stage "
                "again"
            )
        return cls(clip, opened, bar)

    def images(self) -> Iterator[ImageInstances]:
        """Each frame with its masks."""
        for t, frame in enumerate(self.clip.frames):
            found = self._read(t)
            yield ImageInstances.of_masks(
                _file_name(self.clip, frame), found.masks, found.classes, found.scores
            )

    def videos(self, flows: Flows | None) -> Iterator[VideoInstances]:
        """The runs of the clip with their tracks; without flows one video, whose tracks have one frame."""
        whole = tuple(range(len(self.clip.frames)))
        for run in [whole] if flows is None else runs_along(self.clip, flows):
            tracks = self._alone(run) if flows is None else self._linked(run, flows)
            names = tuple(_file_name(self.clip, self.clip.frames[t]) for t in run)
            yield VideoInstances(names, self.clip.size, tuple(tracks))

    def _linked(self, run: Sequence[int], flows: Flows) -> Iterator[Track]:
        frames = _Lazily(len(run), lambda at: self._read(run[at]))
        along = _Lazily(len(run), lambda at: flows[run[at], run[at - 1]]() if at else None)
        tracks: list[Linked] = link_tracks(frames, along)
        return (Track(track.class_id, track.masks, track.score) for track in tracks)

    def _alone(self, run: Sequence[int]) -> Iterator[Track]:
        for at, image in enumerate(self.images()):
            scores = image.scores or ()
            for code, class_id, score in zip(image.codes, image.class_ids, scores, strict=True):
                masks = [None] * at + [code] + [None] * (len(run) - at - 1)
                yield Track(class_id, tuple(masks), score)

    def _read(self, t: int) -> FrameInstances:
        self.bar.advance()
        return self.entry.of(self.clip.frames[t].digest)


class _Lazily(Sequence[Any]):
    """Items that are read when they are asked for, so that one frame's masks are in memory at a time."""

    def __init__(self, length: int, read: Callable[[int], Any]):
        self._length, self._read = length, read

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, at: Any) -> Any:
        if at >= self._length:
            raise IndexError(at)
        return self._read(at)


def _flows(clip: Clip, keys: Mapping[str, str], store: Store) -> Flows:
    """The flows that the entries of a clip hold, of all needs."""
    found: dict[tuple[int, int], Callable[[], np.ndarray]] = {}
    for key in keys.values():
        entry = store.get("flow", key)
        check_attributes(entry)
        checked_stride(entry, clip.size)
        for i, pair in enumerate(stored_pairs(entry, clip)):
            found.setdefault(pair, partial(lambda entry, i: full_flow(entry, i)[0], entry, i))
    return found


def _file_name(clip: Clip, frame: Frame) -> str:
    return frame.image if frame.video_frame is None else f"{clip.id}/{frame.name}"
