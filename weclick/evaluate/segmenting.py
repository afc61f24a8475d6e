"""A network of class maps at work on the frames of a clip."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from weclick.common.batches import in_batches
from weclick.common.errors import InputError
from weclick.evaluate.flow_in_loop import Estimator, InLoop, estimator_of
from weclick.geometry import grid_size
from weclick.manifest.images import shrink_image
from weclick.models.build import ARCHITECTURES, TWO_STREAM
from weclick.models.inference import batch_logits, class_of, fused_for_inference
from weclick.models.network import SegmentationNetwork
from weclick.store.model_file import ModelCard

GIVE_CLASS_MAPS = (*ARCHITECTURES, TWO_STREAM)
"""Architectures of networks that give every pixel a class."""


T = TypeVar("T")


class Segmented(NamedTuple, Generic[T]):
    """A frame and what a network says of it.

    Attributes:
        frame: what tells it from others, as it was given.
        image: (H, W, 3) uint8 RGB.
        class_ids: (H, W) uint8.
        coarse: (K, h, w) float32, the logits on the network's own grid; see `full_logits`.
    """

    frame: T
    image: np.ndarray
    class_ids: np.ndarray
    coarse: Tensor


class Segmenter:
    """A network that gives every pixel of a frame a class. It runs with its batch norms folded.

    Args:
        model: in eval mode, on `device`.
        card: its card.
        checkpoint: its file, for errors.
        device: where it computes.
        flow: for a network of two streams, the estimator of the flow that it looks at; None: that of its
            training.

    Attributes:
        in_time: whether it looks at neighbouring frames, so that a clip must come in order.
        seconds: spent in the network so far.

    Raises:
        InputError: the network gives no class maps, or looks at no flow though an estimator is given, or at
            one whose weights nobody gave.
    """

    def __init__(
        self, model: nn.Module, card: ModelCard, checkpoint: Path, device: str, flow: Estimator | None = None
    ) -> None:
        name = card.options["architecture"]
        if name not in GIVE_CLASS_MAPS or not isinstance(model, SegmentationNetwork):
            raise InputError(
                f"{checkpoint}: is a {name}, whose maps are no class maps; give the model.safetensors of a "
                "teacher or student"
            )
        if flow and not card.motion:
            raise InputError(f"{checkpoint}: its network looks at images alone; leave --flow out")
        self._look = (
            InLoop(card.motion, estimator_of(card.motion, flow), card.shrink, device) if card.motion else None
        )
        self._model = fused_for_inference(model).to(memory_format=torch.channels_last)
        self._shrink, self._stride, self._device = card.shrink, model.stride, device
        self.in_time, self.seconds = self._look is not None, 0.0

    def __call__(self, clip: Iterable[tuple[T, np.ndarray]], batch_size: int = 1) -> Iterator[Segmented[T]]:
        """What the network says of each frame of a clip, in order.

        Args:
            clip: its frames in order: what tells each from others, and (H, W, 3) uint8 RGB; all of one size
                if `in_time`.
            batch_size: so many neighbours of one size go through the network together. Their logits are those
                of single frames but for rounding.
        """
        seen = self._look(clip) if self._look else ((*frame, None) for frame in clip)
        for batch in in_batches(seen, batch_size, lambda frame: frame[1].shape):
            began = time.perf_counter()
            images = [shrink_image(image, self._shrink) for _, image, _ in batch]  # as it has learned from
            stacks = [stack for _, _, stack in batch if stack is not None]
            grid = grid_size(images[0].shape[:2], self._stride)
            coarse = batch_logits(self._model, images, self._device, size=grid, stacks=stacks)
            size = batch[0][1].shape[:2]
            class_ids = [class_of(full_logits(each, size)).cpu().numpy() for each in coarse]
            self.seconds += time.perf_counter() - began
            for (frame, image, _), ids, logits in zip(batch, class_ids, coarse, strict=True):
                yield Segmented(frame, image, ids, logits)


def full_logits(coarse: Tensor, size: Sequence[int]) -> Tensor:
    """Logits (K, h, w) upsampled bilinearly to (H, W) px, as `class_logits` does it."""
    return interpolate(coarse[None], size=(size[0], size[1]), mode="bilinear", align_corners=False)[0]
