"""What a detector found in files, for readers of COCO and of YouTube-VIS."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from weclick.common.files import write_text
from weclick.common.strict_json import strict_json
from weclick.evaluate.answers import Answer, Network
from weclick.evaluate.instances.tracks import Track as FoundTrack
from weclick.evaluate.own_files import JSON_MARK
from weclick.proxy_labels import ImageInstances, Track, VideoInstances, coco_json, youtube_vis_json

INSTANCES, TRACKS = "instances.json", "tracks.json"
"""What was found in each frame, as COCO has it, and along each clip, as YouTube-VIS has it."""


class InstanceFiles:
    """Gathers what was found, all of it, and writes both files at the end."""

    def __init__(self) -> None:
        self._images: list[ImageInstances] = []
        self._videos: list[VideoInstances] = []

    @contextmanager
    def clip(self, network: Network, *, linked: bool) -> Iterator[Callable[[Answer], None]]:
        """A function that takes the answers of a clip. They count if the block ends without an error."""
        found: list[ImageInstances] = []

        def add(answer: Answer) -> None:
            if answer.codes is not None:
                found.append(answer.codes)

        yield add
        self._images += found
        if found and linked:
            self._videos.append(_video(found, network.tracks))

    def write(self, folder: Path, classes: Sequence[str]) -> None:
        """Write instances.json, and tracks.json if clips were linked."""
        if self._images:
            _write(folder / INSTANCES, coco_json(self._images, classes))
        if self._videos:
            _write(folder / TRACKS, youtube_vis_json(self._videos, classes))


def _video(images: Sequence[ImageInstances], tracks: Sequence[FoundTrack]) -> VideoInstances:
    """The tracks of a clip, in the order of the numbers that overlays show."""
    found = tuple(Track(track.class_id, track.masks, track.score) for track in tracks)
    return VideoInstances(tuple(image.file_name for image in images), images[0].size, found)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    write_text(path, strict_json({**JSON_MARK, **content}) + "\n")
