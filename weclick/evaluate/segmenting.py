"""A network of class maps at work on the frames of a clip."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from torch import Tensor
from torch.nn.functional import interpolate

from weclick.common.batches import in_batches
from weclick.common.errors import InputError
from weclick.evaluate.engines import Engine
from weclick.evaluate.flow_in_loop import Estimator, InLoop, estimator_of
from weclick.manifest.images import shrink_image
from weclick.models.inference import class_of

T = TypeVar("T")


class Segmented(NamedTuple, Generic[T]):
    """A frame and what a network says of it.

    Attributes:
        frame: what tells it from others, as it was given.
        image: (H, W, 3) uint8 RGB.
        class_ids: (H, W) uint8.
        coarse: (K, h, w) float32, the logits as the engine gives them; see `full_logits`.
    """

    frame: T
    image: np.ndarray
    class_ids: np.ndarray
    coarse: Tensor


class Segmenter:
    """A network that gives every pixel of a frame a class.

    Args:
        engine: the network, ready to run.
        checkpoint: its file, for errors.
        device: where the flow that it looks at is estimated.
        flow: for a network of two streams, the estimator of the flow that it looks at; None: that of its
            training.

    Attributes:
        in_time: whether it looks at neighbouring frames, so that a clip must come in order.
        seconds: spent in the network so far.
        told: by what it runs, in words.

    Raises:
        InputError: the network looks at no flow though an estimator is given, or at one whose weights nobody
            gave.
    """

    def __init__(self, engine: Engine, checkpoint: Path, device: str, flow: Estimator | None = None) -> None:
        card = engine.card
        if flow and not card.motion:
            raise InputError(f"{checkpoint}: its network looks at images alone; leave --flow out")
        self._look = (
            InLoop(card.motion, estimator_of(card.motion, flow), card.shrink, device) if card.motion else None
        )
        self._logits, self._shrink, self.told = engine.logits, card.shrink, engine.told
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
            coarse = self._logits(images, stacks)
            size = batch[0][1].shape[:2]
            class_ids = [class_of(full_logits(each, size)).cpu().numpy() for each in coarse]
            self.seconds += time.perf_counter() - began
            for (frame, image, _), ids, logits in zip(batch, class_ids, coarse, strict=True):
                yield Segmented(frame, image, ids, logits)


def full_logits(coarse: Tensor, size: Sequence[int]) -> Tensor:
    """Logits (K, h, w) upsampled bilinearly to (H, W) px, as `class_logits` does it."""
    return interpolate(coarse[None], size=(size[0], size[1]), mode="bilinear", align_corners=False)[0]
