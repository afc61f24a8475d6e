"""A detector at work: the instances that it finds in a frame, and in the frames of a split."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from weclick.common.progress import progress_bar
from weclick.evaluate.instances.found import Instances, instances
from weclick.manifest import Clip, Manifest
from weclick.manifest.read import read_clip
from weclick.models import normalize
from weclick.proxy_labels import ImageInstances

_AT_ONCE = 16  # masks that are resized together: floating point takes four times their memory

Found = Mapping[str, Mapping[int, ImageInstances]]
"""Clip id -> position of a frame -> what was found there."""

Watch = Callable[[Clip, int, np.ndarray, Instances], None]
"""Takes a clip, the position of a frame, its image (H, W, 3) uint8 RGB, and what was found there."""


@torch.inference_mode()
def detect(
    model: nn.Module,
    image: np.ndarray,
    device: torch.device | str = "cpu",
    *,
    size: tuple[int, int] | None = None,
) -> Instances:
    """The instances in one frame, by falling score. Those without a pixel are left out.

    Args:
        model: a detector in eval mode, on `device`.
        image: (H, W, 3) uint8 RGB.
        size: (H, W) px of the masks; None takes the image's.

    Raises:
        InputError: the network's answer is none of a detector.
    """
    return detect_together(model, [image], device, size=size)[0]


@torch.inference_mode()
def detect_together(
    model: nn.Module,
    images: Sequence[np.ndarray],
    device: torch.device | str = "cpu",
    *,
    size: tuple[int, int] | None = None,
) -> list[Instances]:
    """`detect` of several frames of one size at once.

    Args, Raises:
        As in `detect`.
    """
    rgb = torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2)
    height, width = images[0].shape[:2]
    return [_sorted(found, size, (height, width)) for found in model(normalize(rgb.float()))]


def _sorted(found: Any, size: tuple[int, int] | None, own_size: tuple[int, int]) -> Instances:
    """What a detector says of a frame, the surest first, without masks that have no pixel."""
    masks = found.masks if size is None else _resized(found.masks, size)
    answer = instances((masks, found.classes, found.scores), "the detector", size or own_size)
    shown = answer.chosen(np.flatnonzero(answer.masks.any((1, 2))))
    return shown.chosen(np.argsort(-shown.scores, kind="stable"))


def detect_frames(
    model: nn.Module,
    manifest: Manifest,
    wanted: Mapping[str, Collection[int]],
    device: torch.device | str = "cpu",
    watch: Watch = lambda *_: None,
) -> dict[str, dict[int, ImageInstances]]:
    """The instances in some frames of a split. Masks are kept as run lengths.

    Args:
        model: as in `detect`.
        manifest: the split.
        wanted: clip id -> positions of frames; other frames are passed over.
        device: where the network is.
        watch: sees every frame.
    """
    found: dict[str, dict[int, ImageInstances]] = {}
    with progress_bar("evaluate", sum(map(len, wanted.values())), "frames") as bar:
        for clip in manifest.clips:
            positions = sorted(wanted.get(clip.id, ()))
            of_clip = found.setdefault(clip.id, {})
            images = read_clip(manifest, clip.restrict(positions)) if positions else iter(())
            for t, image in zip(positions, images, strict=True):
                answer = detect(model, image, device)
                of_clip[t] = as_image(f"{clip.id}/{clip.frames[t].name}", answer)
                watch(clip, t, image, answer)
                bar.advance()
    return found


def as_image(name: str, found: Instances) -> ImageInstances:
    """Instances as run lengths."""
    return ImageInstances.of_masks(name, found.masks, found.classes, found.scores)


def decoded(image: ImageInstances) -> Instances:
    """The inverse of `as_image`."""
    scores = [1.0] * len(image.codes) if image.scores is None else image.scores
    return Instances(image.masks(), np.array(image.class_ids, np.int64), np.array(scores, np.float64))


class Decoded(Sequence[Instances]):
    """Images whose instances are decoded when they are asked for, so that one frame is in memory at a time.

    Args:
        images: T of them.
        where: T of (H, W) bool; pixels elsewhere are taken out of the masks, and what is left without a pixel
            is left out. None keeps all.
    """

    def __init__(
        self, images: Sequence[ImageInstances], where: Callable[[int], np.ndarray] | None = None
    ) -> None:
        self._images, self._where = images, where

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, at: int) -> Instances: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Instances]: ...
    def __getitem__(self, at: int | slice) -> Instances | Sequence[Instances]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        found = decoded(self._images[at])
        return found if self._where is None else only_where(found, self._where(at))

    def __iter__(self) -> Iterator[Instances]:
        return (self[at] for at in range(len(self)))


def only_where(found: Instances, where: np.ndarray) -> Instances:
    """Instances without the pixels outside of (H, W) bool. Those that have no others are left out."""
    if where.all():
        return found
    rest = found._replace(masks=found.masks & where)
    return rest.chosen(np.flatnonzero(rest.masks.any((1, 2))))


def _resized(masks: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(masks.shape[1:]) == tuple(size) or not len(masks):
        return masks.new_zeros((0, *size)) if not len(masks) else masks
    parts = [
        interpolate(part[None].float(), size=size, mode="bilinear", align_corners=False)[0] > 0.5
        for part in masks.split(_AT_ONCE)
    ]
    return torch.cat(parts)
