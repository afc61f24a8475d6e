"""Flow that is estimated while a network predicts: stacks to look at, and from each frame to the last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from weclick.common.errors import InputError
from weclick.datasets.file_names import natural
from weclick.evaluate.motion import full_flow
from weclick.evaluate.sources import Source
from weclick.flow import build_estimator
from weclick.flow.batch_estimator import BatchEstimator
from weclick.flow.pairs import PairImages
from weclick.geometry import dominant_homography, each_once, motion_stack, resize_flow
from weclick.manifest.images import image_size, shrink_image
from weclick.store.model_file import Motion

Estimator = tuple[str, Mapping[str, Any]]
"""The name of a flow estimator, and its options."""

T = TypeVar("T")

STRIDE_PX = 4
"""Of the grid on which flow between two frames of a video is kept."""


class InLoop:
    """Estimates the flow of a video while it is predicted, and gives each frame its stack.

    Args:
        motion: of the network's card.
        estimator: name and options of the estimator, see `weclick.flow.build_estimator`.
        shrink: frames are seen at 1/shrink of their size, as in the training.
        device: where networks compute.
    """

    def __init__(self, motion: Motion, estimator: Estimator, shrink: int, device: str):
        name, options = estimator
        made = build_estimator(name, device=device, **options)
        self._options, self._shrink, self._stride_px = motion.stack, shrink, motion.stride_px
        self._estimate = BatchEstimator(made, stride_px=motion.stride_px, masks=())

    def __call__(self, frames: Iterable[tuple[T, np.ndarray]]) -> Iterator[tuple[T, np.ndarray, Tensor]]:
        """The frames of one clip, each with its stack.

        At most as many frames wait as the stack reaches ahead. Each pair of frames is estimated once.

        Args:
            frames: a name, say, and (H, W, 3) uint8 RGB, in order, all of one size.

        Yields:
            The name, the frame, and (2 L, h, w) float32 for the frame at 1/shrink of its size.
        """
        ahead = max(self._options.last, 0)
        waiting: list[tuple[T, np.ndarray]] = []
        flows: dict[int, Tensor] = {}
        before: np.ndarray | None = None
        count = 0
        for name, image in frames:
            small = shrink_image(image, self._shrink)
            if before is not None:
                flows[count - 1] = self._flow(before, small)
            waiting.append((name, image))
            before, count = small, count + 1
            if len(waiting) > ahead:
                now = count - 1 - ahead
                yield self._with_stack(*waiting.pop(0), now, flows, small.shape[:2])
                flows = {at: flow for at, flow in flows.items() if at > now + self._options.first}
        for i, each in enumerate(waiting):
            assert before is not None
            yield self._with_stack(*each, count - len(waiting) + i, flows, before.shape[:2])

    def _flow(self, target: np.ndarray, neighbour: np.ndarray) -> Tensor:
        ((flow, _),) = self._estimate([PairImages(0, target, neighbour)])
        grid, size = flow[0].cpu().numpy(), (target.shape[0], target.shape[1])
        camera = dominant_homography(grid, self._stride_px) if self._options.motion == "residual" else None
        return full_flow(grid, size, self._stride_px, camera)

    def _with_stack(
        self, name: T, image: np.ndarray, at: int, flows: Mapping[int, Tensor], size: Sequence[int]
    ) -> tuple[T, np.ndarray, Tensor]:
        used, slots = each_once(self._options.slots({number: number for number in flows}, at))
        full = torch.stack([flows[n] for n in used]) if used else torch.zeros(0, 2, size[0], size[1])
        return name, image, motion_stack(full, slots, self._options.scale_px)


class ToPrevious:
    """Estimates the flow from each frame of a clip to the one before it, as the frames come.

    Args:
        estimator: name and options of the estimator, see `weclick.flow.build_estimator`.
        shrink: frames are seen at 1/shrink of their size.
        device: where networks compute.
    """

    def __init__(self, estimator: Estimator, shrink: int, device: str):
        name, options = estimator
        made = build_estimator(name, device=device, **options)
        self._shrink = shrink
        self._before: np.ndarray | None = None
        self._estimate = BatchEstimator(made, stride_px=STRIDE_PX, masks=())

    def begin(self) -> None:
        """The next frame is the first of another clip."""
        self._before = None

    def __call__(self, image: np.ndarray) -> Tensor | None:
        """The flow (2, H, W) float32 px from this frame (H, W, 3) uint8 RGB; None for the first of a clip."""
        before, now = self._before, shrink_image(image, self._shrink)
        self._before = now
        if before is None:
            return None
        ((flow, _),) = self._estimate([PairImages(0, now, before)])
        small = full_flow(flow[0].cpu().numpy(), (now.shape[0], now.shape[1]), STRIDE_PX)
        return resize_flow(small[None], (image.shape[0], image.shape[1]))[0]


def clips_of(sources: Sequence[Source]) -> Iterator[list[Source]]:
    """The clips that sources make: each video is one, and so are neighbouring images of a folder and a size.

    Args:
        sources: in order.
    """
    clip: list[Source] = []
    key: Any = None
    for source in _in_time(sources):
        own = (source.path.parent, None if source.is_video else image_size(source.path))
        if clip and (source.is_video or own != key):
            yield clip
            clip = []
        clip, key = [*clip, source], None if source.is_video else own
    if clip:
        yield clip


def _in_time(sources: Sequence[Source]) -> list[Source]:
    """The same sources, images of one folder by the numbers in their names: 2 comes before 10."""
    folders: dict[Path, list[Source]] = {}
    for source in sources:
        if not source.is_video:
            folders.setdefault(source.path.parent, []).append(source)
    ordered = {
        folder: iter(sorted(images, key=lambda each: natural(each.path.stem)))
        for folder, images in folders.items()
    }
    return [each if each.is_video else next(ordered[each.path.parent]) for each in sources]


def estimator_of(motion: Motion, given: Estimator | None) -> Estimator:
    """The estimator for a network's stacks: the one that it has learned with, or another that people name.

    Raises:
        InputError: it has learned with weights, and nobody says where they are.
    """
    if given:
        return given
    digest = motion.estimator
    name = str(digest["name"])
    if name == "imported":
        raise InputError(
            "the network has learned from flow that was imported, which nobody can estimate here; name an "
            "estimator that is near it, e.g. --flow dis"
        )
    if name != "dis":
        raise InputError(
            f"the network has learned from flow of {name}, whose weights are in a file of their own; give "
            f"it, e.g. --flow {name}:weights=FILE, or take another flow: --flow dis"
        )
    return name, {key: digest[key] for key in ("preset", "finest_scale") if key in digest}
