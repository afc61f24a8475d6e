"""Frames that a program gives as arrays or tensors, checked before a network sees them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from weclick.common.errors import InputError
from weclick.manifest.upright import check_pixels

if TYPE_CHECKING:
    from torch import Tensor

Image: TypeAlias = "np.ndarray | Tensor"
"""(H, W, 3) uint8 RGB; of tensors also (3, H, W)."""


def is_image(given: Any) -> bool:
    """Whether one array or tensor was given, of whatever shape and type."""
    return isinstance(given, np.ndarray) or _is_tensor(given)


def as_image(given: Any, name: str) -> np.ndarray:
    """One frame as (H, W, 3) uint8 RGB, copied.

    Args:
        given: an array of that shape and type; or a tensor of it on any device, which may also be (3, H, W).
            If a tensor's last axis is 3, it is the axis of colours.
        name: of the frame, for errors.

    Raises:
        InputError: it is something else, or too large.

    Example:
        >>> as_image(np.zeros((4, 6, 3)), "frame 0")
        Traceback (most recent call last):
        ...
        weclick.common.errors.InputError: frame 0: is float64 of shape (4, 6, 3), expected uint8 of shape \
(H, W, 3), RGB in 0..255; floats in 0..1 become it by (255 * image).round().astype("uint8")
    """
    if not is_image(given):
        raise InputError(
            f"{name}: is a {type(given).__name__}, expected an array (H, W, 3) uint8 RGB; "
            'pictures of Pillow become one by numpy.asarray(picture.convert("RGB"))'
        )
    array = given.detach().cpu().numpy() if _is_tensor(given) else given
    if _is_tensor(given) and array.ndim == 3 and array.shape[0] == 3 != array.shape[2]:
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] != 3 or not array.size or array.dtype != np.uint8:
        raise InputError(
            f"{name}: is {array.dtype} of shape {array.shape}, expected uint8 of shape (H, W, 3), RGB in "
            f"0..255{_advice(array)}"
        )
    try:
        check_pixels(*array.shape[:2])
    except ValueError as error:
        raise InputError(f"{name}: {error}") from error
    return np.array(array, order="C")  # a copy: cameras' readers fill one buffer again and again


def as_clip(given: Iterable[Any], *, one_size: bool) -> Iterator[tuple[str, np.ndarray]]:
    """Frames with their numbers as names, taken one by one.

    Args:
        given: frames, see `as_image`.
        one_size: whether they must all be of one size.

    Raises:
        InputError: one of them is no frame, or of another size than the first.
    """
    first: tuple[int, ...] = ()
    for number, each in enumerate(given):
        image = as_image(each, f"frame {number}")
        first = first or image.shape
        if one_size and image.shape != first:
            raise InputError(
                f"frame {number}: is {image.shape[0]}x{image.shape[1]} px (HxW), but the clip began with "
                f"{first[0]}x{first[1]}; this network looks at motion, so frames of one call are one clip of "
                "one size: call predict once for each clip"
            )
        yield f"{number:05d}", image


def _is_tensor(given: Any) -> bool:
    """Whether this is torch's, without loading torch for those who have none."""
    return all(hasattr(given, name) for name in ("detach", "cpu", "device"))


def _advice(array: np.ndarray) -> str:
    """What to do about an array that is no frame; empty where nothing is sure to help."""
    if array.ndim == 4:
        return "; of a stack of frames give list(frames), or iter(frames) to take one at a time"
    if array.ndim == 2:
        return "; a grey image becomes it by numpy.repeat(image[..., None], 3, axis=2)"
    if array.ndim == 3 and array.shape[2] == 4:
        return "; leave alpha out: image[..., :3]"
    if array.dtype.kind == "f" and array.ndim == 3 and array.shape[2] == 3:
        return '; floats in 0..1 become it by (255 * image).round().astype("uint8")'
    return ""
