"""How floats become small integers on disk, and back. An entry's attributes name the codec."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from weclick.common.errors import InputError
from weclick.manifest import IGNORE

if TYPE_CHECKING:  # some users of the store need no torch, and it loads slowly
    from torch import Tensor

FLOW_SCALE = 64
"""Steps of a stored flow per pixel, as in KITTI's files."""

FLOW_LIMIT_PX = 2**15 // FLOW_SCALE
"""The longest flow that fits int16 in such steps."""


def encode_flow(
    flow_px: np.ndarray, *, on_overflow: Literal["error", "clip"] = "error"
) -> tuple[np.ndarray, int]:
    """Quantise a flow to int16 steps of 1/FLOW_SCALE px.

    Args:
        flow_px: float array of any shape, px of its own grid.
        on_overflow: what to do with values from FLOW_LIMIT_PX on, and with NaN: raise, or clip (NaN to 0).

    Returns:
        The int16 array, and how many values had to be clipped.

    Raises:
        ValueError: a value does not fit and `on_overflow` is "error".
    """
    steps = np.rint(flow_px * FLOW_SCALE)
    limits = np.iinfo(np.int16)
    fits = (steps >= limits.min) & (steps <= limits.max)
    misfits = int(fits.size - np.count_nonzero(fits))
    if misfits and on_overflow == "error":
        worst = flow_px[~fits].flat[0]
        raise ValueError(
            f"{misfits} flow values such as {worst} px do not fit int16 of 1/{FLOW_SCALE} px "
            f"(±{FLOW_LIMIT_PX} px); the estimator failed on this pair; flow.on_overflow: clip stores such "
            "values clipped and counted"
        )
    if misfits:
        steps = np.clip(np.nan_to_num(steps, nan=0.0), limits.min, limits.max)
    return steps.astype(np.int16), misfits


def decode_flow(stored: np.ndarray) -> np.ndarray:
    """int16 steps of 1/FLOW_SCALE px -> float32 px."""
    return stored.astype(np.float32) / FLOW_SCALE


class SoftLabelCodec(Protocol):
    """How a teacher's probabilities are stored. The meaning of a name is fixed: a change needs a new name."""

    dtype: str
    """numpy's name for the stored type."""

    def encode(self, probabilities: np.ndarray) -> np.ndarray:
        """Probabilities (K, h, w) float, 0..1 -> stored values (C, h, w)."""

    def decode(self, stored: Tensor, classes: int) -> Tensor:
        """Stored values, a tensor (..., C, h, w) -> probabilities (..., K, h, w) float32 of sum 1 over K."""

    def is_empty(self, stored: Tensor) -> Tensor:
        """(..., 1, h, w) bool, cells that were encoded from zeros alone. No distribution looks like that."""


class LogProbabilities:
    """Logarithms of probabilities from e^-12 (6e-6) to 1; smaller ones are raised to e^-12.

    Args:
        steps: how many between the two, stored as uint8 where 0 is e^-12; None stores float16.
    """

    FLOOR = -12.0

    def __init__(self, steps: int | None):
        self.steps, self.dtype = steps, "float16" if steps is None else "uint8"

    def encode(self, probabilities: np.ndarray) -> np.ndarray:
        """See `SoftLabelCodec`."""
        logs = np.log(np.maximum(probabilities, np.exp(self.FLOOR)))
        if self.steps is None:
            return logs.astype(np.float16)
        return np.rint(self.steps * (1 - logs / self.FLOOR)).astype(np.uint8)

    def decode(self, stored: Tensor, classes: int) -> Tensor:
        """See `SoftLabelCodec`."""
        step = 1.0 if self.steps is None else -self.FLOOR / self.steps
        return _normalised(stored.float().mul_(step).exp_())

    def is_empty(self, stored: Tensor) -> Tensor:
        """See `SoftLabelCodec`."""
        return (stored == (self.FLOOR if self.steps is None else 0)).all(-3, keepdim=True)


class Roots:
    """Square roots of probabilities in equal steps, as uint8.

    The divergence of two distributions is about twice the squared distance of their square roots. So equal
    steps of the root spend bits where they count. Most classes of a pixel are 0 and cost next to nothing.
    A stored 0 decodes to a quarter of a step, so that no class is impossible.

    Args:
        steps: from 0 to 1, at most 255.
    """

    ZERO = 0.25
    dtype = "uint8"

    def __init__(self, steps: int):
        self.steps = steps

    def encode(self, probabilities: np.ndarray) -> np.ndarray:
        """See `SoftLabelCodec`."""
        return np.rint(self.steps * np.sqrt(probabilities)).astype(np.uint8)

    def decode(self, stored: Tensor, classes: int) -> Tensor:
        """See `SoftLabelCodec`."""
        return _normalised(stored.float().clamp_(min=self.ZERO).square_())

    def is_empty(self, stored: Tensor) -> Tensor:
        """See `SoftLabelCodec`."""
        return (stored == 0).all(-3, keepdim=True)


class TopK:
    """The k likeliest classes: their ids, then their probabilities in steps of 1/255, so C = 2k.

    Decoding spreads the rest, 1 minus these probabilities, equally over the other classes.

    Args:
        k: classes to keep of each pixel; fewer classes are all kept.
    """

    dtype = "uint8"

    def __init__(self, k: int):
        self.k = k

    def encode(self, probabilities: np.ndarray) -> np.ndarray:
        """See `SoftLabelCodec`."""
        ids = np.argsort(-probabilities, axis=0, kind="stable")[: self.k]
        values = np.rint(255 * np.take_along_axis(probabilities, ids, 0))
        return np.concatenate([ids, values]).astype(np.uint8)

    def decode(self, stored: Tensor, classes: int) -> Tensor:
        """See `SoftLabelCodec`."""
        ids, values = stored.long().chunk(2, dim=-3)
        ids, values = ids.clamp(max=classes - 1), values.float().div_(255)
        rest = (1 - values.sum(-3, keepdim=True)).clamp_(min=0) / max(classes - ids.shape[-3], 1)
        shape = (*stored.shape[:-3], classes, *stored.shape[-2:])
        return _normalised(rest.expand(shape).clone().scatter_(-3, ids, values))

    def is_empty(self, stored: Tensor) -> Tensor:
        """See `SoftLabelCodec`."""
        return (stored.chunk(2, dim=-3)[1] == 0).all(-3, keepdim=True)


SOFT_LABEL_CODECS: dict[str, SoftLabelCodec] = {
    "float16": LogProbabilities(None),
    "log8": LogProbabilities(255),
    "root8": Roots(255),
    "root6": Roots(63),
    "top4": TopK(4),
}
"""The codecs by their names in `soft_labels.codec`."""


def decode_soft_labels(stored: Tensor, attributes: Mapping[str, Any]) -> Tensor:
    """The probabilities of stored soft labels.

    Args:
        stored: (..., C, h, w), windows or whole steps of the array `probabilities` of an entry.
        attributes: of the entry.

    Returns:
        (..., K, h, w) float32 of sum 1 over K, on the device of `stored`. If the entry is `partial`, cells
        without a label are zeros.

    Raises:
        InputError: the entry's codec is none of SOFT_LABEL_CODECS, or has other planes for its classes.
    """
    name, classes, planes = attributes["codec"], len(attributes["classes"]), stored.shape[-3]
    if name not in SOFT_LABEL_CODECS:
        raise InputError(
            f"soft labels are stored by the codec {name!r}, this version knows "
            f"{', '.join(SOFT_LABEL_CODECS)}; run the soft_labels stage again, or use the version that "
            "wrote them"
        )
    if classes >= IGNORE or planes != _planes(name, classes):
        raise InputError(
            f"soft labels of {classes} classes are stored in {planes} planes, expected at most {IGNORE - 1} "
            f"classes, and as many planes as the codec {name!r} makes of them; delete the entry, and run the "
            "soft_labels stage again"
        )
    codec = SOFT_LABEL_CODECS[name]
    probabilities = codec.decode(stored, classes)
    return (
        probabilities.masked_fill_(codec.is_empty(stored), 0) if attributes.get("partial") else probabilities
    )


@cache
def _planes(codec: str, classes: int) -> int:
    return len(SOFT_LABEL_CODECS[codec].encode(np.zeros((classes, 1, 1))))


def _normalised(values: Tensor) -> Tensor:
    return values.div_(values.sum(-3, keepdim=True))
