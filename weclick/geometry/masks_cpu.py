"""The masks of `weclick.geometry.masks` on a CPU, to the same bits, in a third of the time.

Some twenty passes over whole images wait for memory, and an index of eight bytes a pixel is the largest of
their arrays. Here an image goes through all passes some rows at a time, which stay in the processor's cache,
and OpenCV fetches the pixels. Images are spread over torch's threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import cv2
import numpy as np
import torch
from torch import Tensor

from weclick.geometry.thresholds import ABSOLUTE_PX2, RELATIVE

BLOCK_PX = 2**14
"""Pixels that are judged together: half of those from which torch would start threads of its own."""

INDEXED_PX = 2**15 - 1
"""The longest side that OpenCV's short indices address."""

ROUNDING = 1e-6
"""More than the relative error of an addition in float32, eight times."""

NO_FRACTIONS = np.empty(0, np.uint16)
"""For `cv2.remap`, which fetches whole pixels."""

Corners = list[np.ndarray]
"""An image, and the same moved by a px to the left, up, and both; the border is repeated.
All are views of one array."""


def takes(*flows: Tensor, images: Sequence[Tensor] = ()) -> bool:
    """Whether arguments are as the functions here take them: on a CPU, without a gradient, of one size.

    Args:
        flows: (B, 2, H, W) float32.
        images: (N, 3, H, W) uint8, of any N each.
    """
    count, _, *size = flows[0].shape if flows[0].ndim == 4 else (0, 0)
    if not count or not 0 < min(size) <= max(size) <= INDEXED_PX:
        return False
    return all(
        each.shape[1:] == (channels, *size)
        and (channels == 3 or len(each) == count)
        and each.dtype == dtype
        and each.device.type == "cpu"
        and not each.requires_grad
        for some, channels, dtype in ((flows, 2, torch.float32), (images, 3, torch.uint8))
        for each in some
    )


def photometric(
    frames: Sequence[Tensor],
    pairs: Sequence[tuple[int, int]],
    flow: Tensor,
    threshold: float,
    window: int,
    luma: Sequence[float],
) -> Tensor:
    """As `photometric_valid_among`, of frames in uint8 and a flow in float32."""
    side, (height, width) = window // 2, flow.shape[2:]
    counts = np.multiply.outer(_counts(height, side), _counts(width, side))
    corners_of = cache(lambda frame: _moved_corners(_grey_of_bytes(frames[frame], luma)))

    def judge(number: int) -> np.ndarray:
        (grey, *_), corners = (corners_of(frame) for frame in pairs[number])
        error = np.zeros((height + 2 * side, width + 2 * side), np.float32)
        inside = np.empty((height, width), bool)
        for rows, at in _positions(flow[number].numpy()):
            place = error[side + rows.start : side + rows.stop, side : side + width]
            cv2.absdiff(grey[rows], _bilinear(corners, at), dst=place)
            inside[rows] = at.inside
        return inside & _below(error, counts, threshold, window)

    return _over_images(judge, len(flow))


def forward_backward(flow_fw: Tensor, flow_bw: Tensor) -> Tensor:
    """As `forward_backward_valid`, of flows in float32."""

    def judge(number: int) -> np.ndarray:
        there = flow_fw[number].numpy()
        corners = [_moved_corners(np.ascontiguousarray(part)) for part in flow_bw[number].numpy()]
        valid = np.empty(there.shape[1:], bool)
        for rows, at in _positions(there):
            gap, motion = (np.zeros(at.inside.shape, np.float32) for _ in range(2))
            for ahead, part in zip(there[:, rows], corners, strict=True):
                back = _bilinear(part, at)
                gap += np.square(ahead + back)
                motion += np.square(ahead) + np.square(back)
            valid[rows] = at.inside & (gap < RELATIVE * motion + ABSOLUTE_PX2)
        return valid

    return _over_images(judge, len(flow_fw))


def _over_images(judge: Callable[[int], np.ndarray], count: int) -> Tensor:
    """(B, 1, H, W) bool of the masks of all images."""
    cv2.setNumThreads(1)  # images have threads already
    with ThreadPoolExecutor(min(torch.get_num_threads(), count)) as pool:
        return torch.from_numpy(np.stack([*pool.map(judge, range(count))]))[:, None]


class _RowBlock:
    """Where the pixels of some rows are fetched, and which of these places lie in the image."""

    def __init__(self, flow: np.ndarray, rows: slice):
        height, width = flow.shape[1:]
        wanted_x = flow[0, rows] + np.arange(width, dtype=np.float32)
        wanted_y = flow[1, rows] + np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
        x = np.minimum(np.fmax(wanted_x, 0), width - 1)  # 0 where it is NaN
        y = np.minimum(np.fmax(wanted_y, 0), height - 1)
        self.inside = (x == wanted_x) & (y == wanted_y)
        left, top = np.floor(x), np.floor(y)
        self.index = cv2.merge([left.astype(np.int16), top.astype(np.int16)])
        self.weight_x, self.weight_y = (torch.from_numpy(part) for part in (x - left, y - top))


def _positions(flow: np.ndarray) -> Iterator[tuple[slice, _RowBlock]]:
    """Blocks of rows of a flow (2, H, W)."""
    for rows in _row_blocks(*flow.shape[1:]):
        yield rows, _RowBlock(flow, rows)


def _row_blocks(height: int, width: int) -> Iterator[slice]:
    step = max(1, BLOCK_PX // width)
    return (slice(top, min(top + step, height)) for top in range(0, height, step))


def _moved_corners(image: np.ndarray) -> Corners:
    """Of an image (H, W) float32."""
    height, width = image.shape
    larger = cv2.copyMakeBorder(image, 0, 1, 0, 1, cv2.BORDER_REPLICATE)
    return [larger[top : top + height, left : left + width] for top in (0, 1) for left in (0, 1)]


def _bilinear(corners: Corners, at: _RowBlock) -> np.ndarray:
    """(h, W): the image between the pixels, as `backward_warp` takes it."""
    fetched = (cv2.remap(each, at.index, NO_FRACTIONS, cv2.INTER_NEAREST) for each in corners)
    left_top, right_top, left_low, right_low = (torch.from_numpy(each) for each in fetched)
    upper = torch.lerp(left_top, right_top, at.weight_x)
    lower = torch.lerp(left_low, right_low, at.weight_x)
    return torch.lerp(upper, lower, at.weight_y).numpy()


def _below(error: np.ndarray, counts: np.ndarray, threshold: float, window: int) -> np.ndarray:
    """Where the mean of a window is below a threshold.

    OpenCV sums in another order than torch. Where a mean is so close to the threshold that the order could
    decide, the sum is taken again in torch's.

    Args:
        error: (H + window - 1, W + window - 1) float32, with zeros around.
        counts: (H, W) float32: how many pixels of the image each window covers.
    """
    side, (height, width) = window // 2, counts.shape
    sums = cv2.boxFilter(error, -1, (window, window), normalize=False)
    mean = sums[side : side + height, side : side + width] / counts
    below = mean < threshold
    rounding = ROUNDING * window**2 * abs(threshold)
    close = cv2.inRange(mean, threshold - rounding, threshold + rounding)
    down, right = np.divmod(np.flatnonzero(close.view(bool)), width)
    total = np.zeros(len(down), np.float32)
    for i in range(window):
        for j in range(window):
            total += error[down + i, right + j]
    below[down, right] = total / counts[down, right] < threshold
    return below


def _grey_of_bytes(rgb: Tensor, luma: Sequence[float]) -> np.ndarray:
    """(3, H, W) uint8 -> (H, W) float32, summed in the order of the channels."""
    channels = cv2.split(rgb.permute(1, 2, 0).numpy())  # pixels are interleaved, as images come
    red, green, blue = (
        torch.from_numpy(channel).float().mul_(share) for channel, share in zip(channels, luma, strict=True)
    )
    return red.add_(green).add_(blue).numpy()


def _counts(length: int, side: int) -> np.ndarray:
    """How many pixels of an axis each window covers."""
    at = np.arange(length)
    return (np.minimum(at + side, length - 1) - np.maximum(at - side, 0) + 1).astype(np.float32)
