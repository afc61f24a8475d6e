"""Instances of images, folders and videos from a detector's checkpoint: masks, classes, scores and tracks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from weclick.common.disk import read_plain
from weclick.common.errors import InputError, room_to_write
from weclick.common.files import write_text
from weclick.common.progress import progress_bar
from weclick.common.strict_json import strict_json
from weclick.evaluate.flow_in_loop import Estimator, ToPrevious, clips_of
from weclick.evaluate.instances.detecting import as_image, detect
from weclick.evaluate.instances.drawing import overlay_instances
from weclick.evaluate.instances.found import Instances
from weclick.evaluate.instances.semantic import semantic_from_instances
from weclick.evaluate.instances.tracks import Linker
from weclick.evaluate.own_files import MADE_BY
from weclick.evaluate.own_overlays import OVERLAY, Predicted, overlay_writer
from weclick.evaluate.sources import Source, frames_of
from weclick.manifest.images import shrink_image
from weclick.proxy_labels import ImageInstances, Track, VideoInstances, coco_json, youtube_vis_json
from weclick.store.model_file import ModelCard

INSTANCES, TRACKS = "instances.json", "tracks.json"
"""What was found in each frame, as COCO has it, and along each clip, as YouTube-VIS has it."""

MIN_SCORE = 0.5
"""Instances from this score on are drawn and linked to tracks."""

ESTIMATOR: Estimator = ("dis", {})
"""Of the flow along which instances are linked, if nobody names another."""

_MARK = {"info": {"description": MADE_BY}}
"""Stands first in both files, so that predict knows its own."""


def predict_instances(
    model: nn.Module,
    card: ModelCard,
    sources: Sequence[Source],
    folder: Path,
    *,
    files: bool,
    overlay: bool,
    opacity: float,
    min_score: float,
    device: str,
    flow: Estimator | None,
    count: int,
) -> Predicted:
    """Find the instances in every frame of some sources, and write what is asked for.

    The objects of a video are linked to tracks along the flow, see `link_tracks`. With `flow`, so are those
    of images of one folder that follow each other there, all of one size.

    Args:
        model: a detector in eval mode, on `device`.
        card: its card.
        sources: of `find_sources`.
        folder: gets instances.json, COCO's annotations with scores of all that was found; tracks.json, those
            of YouTube-VIS, if there are clips; overlay/<name>.jpg and overlay/<video>.mp4.
        files: write the two JSON files.
        overlay: write frames with what was found drawn over them. On clips colours and numbers are of tracks.
        opacity: of the tints, 0..1.
        min_score: instances below it are neither drawn nor linked.
        device: where the network is.
        flow: name and options of the estimator of the flow; None: ESTIMATOR, on videos alone.
        count: frames of all sources.

    Raises:
        InputError: one of the JSON files is somebody else's, a source cannot be read, or none has a frame.
    """
    _check_own(folder, (INSTANCES, TRACKS) if files else ())
    run = _Run(model, card, device, flow, min_score)
    began = time.perf_counter()
    with room_to_write(folder), progress_bar("predict", count, "frames") as bar:
        for clip in clips_of(sources) if flow else ([each] for each in sources):
            with ExitStack() as open_files:
                write = overlay_writer(folder / OVERLAY, clip[0], open_files) if overlay else None
                for name, image, shown, numbers in run.clip(clip):
                    if write:
                        names = card.classes.names
                        write(name, overlay_instances(image, shown, names, opacity=opacity, numbers=numbers))
                    bar.advance()
        if not run.images:
            raise InputError(f"{sources[0].path}: holds no frame; give an image, a folder or a video")
        if files:
            names = card.classes.names
            _write(folder / INSTANCES, coco_json(run.images, names))
            if run.videos:
                _write(folder / TRACKS, youtube_vis_json(run.videos, names))
    share = run.pixels[: len(card.classes.names)] / run.pixels.sum()
    seconds = time.perf_counter() - began
    return Predicted(len(run.images), seconds, run.network_seconds, share, card.classes, run.counts)


class _Run:
    """A detector that goes through clips, and what it has found in them.

    Attributes:
        images: all frames, with all that was found.
        videos: all clips, with their tracks.
        pixels: (256,) of each class, by the instances that are shown; the last is of those without one.
        counts: (K,) of the instances that are shown.
        network_seconds: spent in the network.
    """

    def __init__(
        self, model: nn.Module, card: ModelCard, device: str, flow: Estimator | None, min_score: float
    ) -> None:
        self._model, self._card, self._device, self._min_score = model, card, device, min_score
        self._images_are_clips, self._estimator = flow is not None, flow or ESTIMATOR
        self._to_previous: ToPrevious | None = None
        self.images: list[ImageInstances] = []
        self.videos: list[VideoInstances] = []
        self.pixels = np.zeros(256)
        self.counts = np.zeros(len(card.classes.names), np.int64)
        self.network_seconds = 0.0

    def clip(
        self, sources: Sequence[Source]
    ) -> Iterator[tuple[str, np.ndarray, Instances, list[int] | None]]:
        """Name, image, the instances that are shown, and the numbers of their tracks, of each frame."""
        first = len(self.images)
        linker = Linker() if sources[0].is_video or self._images_are_clips else None
        if linker:
            self._to_previous = self._to_previous or ToPrevious(
                self._estimator, self._card.shrink, self._device
            )
            self._to_previous.begin()
        for source in sources:
            for name, image in frames_of(source):
                found = self._found(name, image)
                shown = found.chosen(found.scores >= self._min_score)
                numbers: list[int] | None = None
                if linker and self._to_previous:
                    kept = linker.add(shown, self._to_previous(image))
                    shown = shown.chosen(np.array([at for at, _ in kept], np.int64))
                    numbers = [number for _, number in kept]
                self._count(shown)
                yield name, image, shown, numbers
        if linker and len(self.images) > first:
            self.videos.append(_video(self.images[first:], linker))

    def _found(self, name: str, image: np.ndarray) -> Instances:
        began = time.perf_counter()
        small = shrink_image(image, self._card.shrink)  # the network learned from frames of this size
        found = detect(self._model, small, self._device, size=(image.shape[0], image.shape[1]))
        self.network_seconds += time.perf_counter() - began
        self.images.append(as_image(name, found))
        return found

    def _count(self, shown: Instances) -> None:
        class_map = semantic_from_instances(*shown, num_classes=len(self.counts), size=shown.size)
        self.pixels += np.bincount(class_map.ravel(), minlength=256)
        self.counts += np.bincount(shown.classes, minlength=len(self.counts))


def _video(images: Sequence[ImageInstances], linker: Linker) -> VideoInstances:
    """The tracks of a clip, in the order of the numbers that overlays show."""
    tracks = tuple(Track(track.class_id, track.masks, track.score) for track in linker.tracks())
    return VideoInstances(tuple(image.file_name for image in images), images[0].size, tracks)


def _check_own(folder: Path, names: Sequence[str]) -> None:
    """Raises InputError if a file of that name is there that predict did not write."""
    mark = strict_json(_MARK)[:-1].encode()
    for path in (folder / name for name in names):
        if path.exists() and not read_plain(path, at_most=len(mark)).startswith(mark):
            raise InputError(
                f"{path}: would be replaced, but predict did not write it; give another --output, or remove "
                "the file if you do not need it"
            )


def _write(path: Path, content: Mapping[str, Any]) -> None:
    write_text(path, strict_json({**_MARK, **content}) + "\n")
