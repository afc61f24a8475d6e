"""Frames with masks: those that may be clicked on, and those that score. No frame is both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from weclick.common.errors import InputError
from weclick.common.spread import spread_over
from weclick.datasets import build_manifest, open_dataset
from weclick.manifest import IGNORE, Classes, Manifest
from weclick.manifest.read import read_clip, read_instances, read_label_of


@dataclass(frozen=True)
class Shot:
    """A frame with its mask.

    Attributes:
        clip: its clip's id.
        frame: its name.
        image: (H, W, 3) uint8 RGB.
        label: (H, W) uint8 class ids; 255 is void.
        instances: (H, W) int32, or None.
    """

    clip: str
    frame: str
    image: np.ndarray
    label: np.ndarray
    instances: np.ndarray | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) px."""
        return self.label.shape[0], self.label.shape[1]


@dataclass(frozen=True)
class Pool:
    """What is clicked on and what scores.

    Attributes:
        name: of the data set's adapter.
        classes: the label space.
        shots: frames that may be clicked on.
        held_out: frames that score.
    """

    name: str
    classes: Classes
    shots: tuple[Shot, ...]
    held_out: tuple[Shot, ...]


def read_pool(config: Mapping[str, Any], at_most: int, score_at_most: int) -> Pool:
    """The targets of the training split and the scored frames of the other one, as a training takes them.

    Args:
        config: the whole configuration. Where people clicked, `clicks.mix` says which frames are targets.
        at_most: frames to click on, evenly chosen.
        score_at_most: frames that score, evenly chosen.

    Raises:
        InputError: there are no masks, or a frame is in both, or all of what scores is void.
    """
    data = config["data"]
    dataset = open_dataset(data, config["clicks"]["mix"], config.get("tags"))
    train, val = (build_manifest(dataset, data[key], 0, 1, reach_frames=0) for key in ("train", "val"))
    shots, held_out = _shots(train, "targets", at_most), _shots(val, "scored", score_at_most)
    both = {(shot.clip, shot.frame) for shot in shots} & {(shot.clip, shot.frame) for shot in held_out}
    if both:
        clip, frame = min(both)
        raise InputError(
            f"{data['root']}: frame {frame} of clip {clip} would be clicked on and scored; name splits or "
            "held-out clips that share none"
        )
    if all((shot.label == IGNORE).all() for shot in held_out):
        raise InputError(
            f"{data['root']}: every pixel of the held-out masks is void ({IGNORE}), so nothing can be "
            "scored; name other held-out clips or another split in data.val"
        )
    return Pool(dataset.name, dataset.classes, shots, held_out)


def _shots(manifest: Manifest, role: str, at_most: int) -> tuple[Shot, ...]:
    named = [
        (clip, position)
        for clip in manifest.clips
        for position in getattr(clip, role)
        if clip.frames[position].label
    ]
    if not named:
        todo = (
            "; people clicked here, and clicks.mix says that their frames are the targets: "
            "`--set clicks.mix=masks` takes those with masks"
            if manifest.click_file
            else ""
        )
        raise InputError(
            f"{manifest.root}: split {manifest.split!r} has no mask on its {role}; click-bench lets masks "
            f"answer in a person's place, so it needs a data set that has them{todo}"
        )
    chosen: dict[str, list[int]] = {}
    for clip, position in spread_over(named, at_most):
        chosen.setdefault(clip.id, []).append(position)
    return tuple(shot for clip_id, at in chosen.items() for shot in _of_clip(manifest, clip_id, at))


def _of_clip(manifest: Manifest, clip_id: str, positions: list[int]) -> Iterator[Shot]:
    whole = next(clip for clip in manifest.clips if clip.id == clip_id)
    clip = whole.restrict(positions)
    for frame, image in zip(clip.frames, read_clip(manifest, clip), strict=True):
        label, instances = read_label_of(manifest, clip, frame), read_instances(manifest, frame)
        yield Shot(clip.id, frame.name, image, label, instances)
