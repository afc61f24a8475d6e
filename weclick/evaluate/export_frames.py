"""Frames that int8 is calibrated on, and scores of exported networks on the scored frames of a split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from weclick.common.errors import InputError
from weclick.common.progress import progress_bar
from weclick.common.spread import spread_over
from weclick.common.words import plural
from weclick.evaluate.export_formats import Run
from weclick.evaluate.export_inputs import SMALLEST_PX
from weclick.evaluate.own_files import is_own
from weclick.evaluate.reading import Reader
from weclick.evaluate.scored import check_scored_pixels, labelled_part
from weclick.evaluate.scores import thinned
from weclick.evaluate.sources import Source, find_sources
from weclick.manifest import Manifest
from weclick.manifest.images import shrink_image
from weclick.manifest.manifest_file import read_manifest
from weclick.manifest.read import read_clip, read_label
from weclick.manifest.video import video_info
from weclick.metrics import ConfusionMatrix

CALIBRATION_FRAMES = 64
"""Frames that ranges are taken from, at most. They are spread evenly over what is given."""

Size = tuple[int, int]
"""(H, W) px."""


@dataclass(frozen=True)
class Score:
    """How an exported network does on the scored frames of a split.

    Attributes:
        miou: mean over classes, 0..1.
        agreement: share of pixels whose class is that of the float network, 0..1.
    """

    miou: float
    agreement: float


@dataclass(frozen=True)
class Scores:
    """Scores of several networks on the same frames.

    Attributes:
        split: data set and split.
        frames: that have a label.
        of: format -> score; "torch" is the float network itself.
    """

    split: str
    frames: int
    of: dict[str, Score]

    @property
    def told(self) -> str:
        """The frames in words."""
        return f"{plural(self.frames, 'labelled frame')} of {self.split}"


def calibration_frames(source: Path, *, shrink: int, size: Size | None) -> list[np.ndarray]:
    """At most `CALIBRATION_FRAMES` frames as a network takes them, each (H, W, 3) uint8 RGB.

    Args:
        source: a manifest, an image, a video, or a folder of images and videos at any depth.
        shrink: the network has learned from frames at 1/shrink of their size.
        size: (H, W) px that frames are brought to; None leaves them.

    Raises:
        MissingFileError: there is no such file or folder.
        InputError: it holds no image or video, the manifest reads frames at another size, or a frame is too
            small.
    """
    frames = _of_manifest(source, shrink) if source.suffix.lower() == ".json" else _of_folder(source, shrink)
    return [_fitted(frame, size, source) for frame in frames]


def as_input(frame: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> rgb (1, 3, H, W) float32, 0..255."""
    return np.ascontiguousarray(frame.transpose(2, 0, 1)[None], np.float32)


def agreement_of(run: Run, like: Run, frames: list[np.ndarray]) -> float:
    """Share of all pixels of some frames to which two networks give the same class, 0..1."""
    same = pixels = 0
    for frame in frames:
        ours, theirs = (each(as_input(frame)).argmax(1) for each in (run, like))
        same, pixels = same + int((ours == theirs).sum()), pixels + ours.size
    return same / pixels


def score_runs(
    runs: Mapping[str, Run], manifest: Manifest, *, shrink: int, size: Size | None, source: Path
) -> Scores:
    """Score networks on the frames of a split that have a label.

    Args:
        runs: format -> network; the first one is that which the others are compared with.
        manifest: the split.
        shrink: the networks have learned from frames at 1/shrink of their size.
        size: (H, W) px that the networks take, to which frames are brought; logits are brought back to the
            frame's own size. None: they take any size.
        source: of the manifest, for errors.

    Raises:
        InputError: the manifest reads frames at another size, no pixel has a label, or a frame is too small.
    """
    _check_shrink(manifest, shrink, source)
    labelled = labelled_part(manifest)
    check_scored_pixels(labelled)
    matrices = {name: ConfusionMatrix(manifest.num_classes) for name in runs}
    same, pixels, count = dict.fromkeys(runs, 0), 0, 0
    frames = sum(len(clip.scored) for clip in labelled.clips)
    with progress_bar("score", frames, "frames") as bar:
        for clip in thinned(labelled.clips, None):
            for frame, image in zip(clip.frames, read_clip(manifest, clip), strict=True):
                label, given = read_label(manifest, frame), as_input(_fitted(image, size, source))
                maps = {name: _classes(run(given), image.shape[:2]) for name, run in runs.items()}
                first = next(iter(maps.values()))
                for name, class_ids in maps.items():
                    matrices[name].update(class_ids, label)
                    same[name] += int((class_ids == first).sum())
                pixels, count = pixels + first.size, count + 1
                bar.advance()
    of = {name: Score(float(matrix.miou()), same[name] / pixels) for name, matrix in matrices.items()}
    return Scores(f"{manifest.dataset} {manifest.split}", count, of)


def _classes(logits: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Logits (1, K, h, w) -> class ids (H, W) uint8 at a size."""
    whole = torch.from_numpy(np.array(logits, np.float32))
    if whole.shape[-2:] != size:
        whole = interpolate(whole, size=size, mode="bilinear", align_corners=False)
    return whole.argmax(1)[0].byte().numpy()


def _fitted(frame: np.ndarray, size: Size | None, source: Path) -> np.ndarray:
    if size is not None:
        return np.asarray(Image.fromarray(frame).resize(size[::-1], Image.Resampling.BILINEAR))
    if min(frame.shape[:2]) < SMALLEST_PX:
        raise InputError(
            f"{source}: a frame is {frame.shape[0]}x{frame.shape[1]} px (HxW) as the network takes it, "
            f"expected at least {SMALLEST_PX} a side; give larger frames"
        )
    return frame


def _check_shrink(manifest: Manifest, shrink: int, source: Path) -> None:
    if manifest.shrink != shrink:
        raise InputError(
            f"{source}: reads frames at 1/{manifest.shrink} of their size, but the network has learned from "
            f"frames at 1/{shrink}; give a manifest that was made with data.shrink: {shrink}"
        )


def _of_manifest(path: Path, shrink: int) -> Iterator[np.ndarray]:
    manifest = read_manifest(path)
    _check_shrink(manifest, shrink, path)
    every = [(clip.id, t) for clip in manifest.clips for t in range(len(clip.frames))]
    kept = {*spread_over(every, CALIBRATION_FRAMES)}
    for clip in manifest.clips:
        if chosen := [t for t in range(len(clip.frames)) if (clip.id, t) in kept]:
            yield from read_clip(manifest, clip.restrict(chosen))


def _of_folder(folder: Path, shrink: int) -> Iterator[np.ndarray]:
    sources = find_sources([folder], is_own=is_own)
    every = [(at, t) for at, source in enumerate(sources) for t in range(_length(source))]
    kept = {*spread_over(every, CALIBRATION_FRAMES)}
    for at, source in enumerate(sources):
        last = max((t for owner, t in kept if owner == at), default=-1)
        for t, (_, image) in zip(range(last + 1), Reader().frames([source]), strict=False):
            if (at, t) in kept:
                yield shrink_image(image, shrink)


def _length(source: Source) -> int:
    """Frames of a source."""
    return video_info(source.path).frames if source.is_video else 1
