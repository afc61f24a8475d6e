"""What a network says of one frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from weclick.common.errors import InputError
from weclick.evaluate.answers import Answer
from weclick.evaluate.instances.detecting import as_image, decoded
from weclick.evaluate.instances.drawing import overlay_instances
from weclick.evaluate.overlay import overlay_classes
from weclick.evaluate.segmenting import full_logits
from weclick.manifest import Classes
from weclick.proxy_labels import ImageInstances

if TYPE_CHECKING:
    from torch import Tensor


class DetectedObject(NamedTuple):
    """One object that a detector sees on a frame.

    Attributes:
        mask: (H, W) bool.
        class_id: its position in `classes`.
        class_name: the name there.
        score: 0..1, higher is surer.
    """

    mask: np.ndarray
    class_id: int
    class_name: str
    score: float


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a network says of one frame. It keeps the frame, and the rest in a small form.

    Attributes:
        name: of the frame: the number of an array; of files the name below their folder, without ending,
            and of a video its name and the frame's number, as `weclick predict` names them.
        image: (H, W, 3) uint8 RGB, the frame as it was given.
        class_ids: (H, W) uint8, positions in `classes`. Of a detector the class of the surest object there,
            and 255 where none is.
        classes: names of the classes.
        palette: (K, 3) uint8 RGB, a colour for each class.
        time_s: of a frame of a video or stream, seconds from its start; else None.
    """

    name: str
    image: np.ndarray = field(repr=False)
    class_ids: np.ndarray = field(repr=False)
    classes: tuple[str, ...]
    palette: np.ndarray = field(repr=False)
    time_s: float | None = None
    _coarse: Tensor | None = field(default=None, repr=False)
    """(K, h, w) float32, the logits of a network that gives class maps."""
    _found: ImageInstances | None = field(default=None, repr=False)
    """Of a detector."""

    @classmethod
    def of(cls, answer: Answer, classes: Classes) -> Prediction:
        """What a network of these classes says of a frame."""
        time_s = answer.frame.time_s
        return cls(
            answer.frame.name,
            answer.image,
            answer.class_ids,
            classes.names,
            np.array(classes.palette, np.uint8),
            None if time_s is None else float(time_s),
            _coarse=None if answer.coarse is None else answer.coarse.cpu(),
            _found=None if answer.shown is None else as_image(answer.frame.name, answer.shown),
        )

    @cached_property
    def objects(self) -> tuple[DetectedObject, ...]:
        """The objects of a detector by falling score; of other networks none.

        Their masks are decoded when they are asked for first, and kept from then on: H x W bytes each.
        """
        if self._found is None:
            return ()
        each = zip(*decoded(self._found), strict=True)
        return tuple(DetectedObject(mask, int(k), self.classes[k], float(score)) for mask, k, score in each)

    def probabilities(self) -> np.ndarray:
        """How likely each class is at each pixel, computed when asked for: (K, H, W) float32 of sum 1 over K.

        They take 4 K H W bytes, and are not kept.

        Raises:
            InputError: this is of a detector, which gives no probabilities but scores.
        """
        if self._coarse is None:
            raise InputError(
                f"{self.name}: a detector gives no probabilities of classes; take the scores of its `objects`"
            )
        return full_logits(self._coarse, self.class_ids.shape).softmax(0).numpy()

    def overlay(self, opacity: float = 0.5) -> np.ndarray:
        """The frame with colours over it: (H, W, 3) uint8 RGB, as `weclick predict` draws it.

        Args:
            opacity: of the colours, 0..1.

        Raises:
            InputError: the opacity is out of range.
        """
        if not 0 <= opacity <= 1:
            raise InputError(f"opacity is {opacity}, expected 0 to 1")
        if self._found is None:
            return overlay_classes(self.image, self.class_ids, self.palette, opacity)
        return overlay_instances(self.image, decoded(self._found), self.classes, opacity=opacity)
