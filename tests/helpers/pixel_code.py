"""Frames that tell which of their pixels is seen where, so that presses can be held against a screenshot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from helpers.browser import Page
from helpers.click_server import write_images

SIDE = 256
PLANES = 4
LEVELS = 4
"""Of grey; JPEG tells four of them apart. Four planes of two bits count to 256."""


def digits_of(number: np.ndarray) -> list[np.ndarray]:
    """A Gray code in base 4, the lowest digit first: neighbours differ by one in one digit.

    So a pixel of the screen that blends two rows of the frame reads as one of them, or is not certain.
    """
    parts = [(number // LEVELS**i, number // LEVELS ** (i + 1)) for i in range(PLANES)]
    return [np.where(higher % 2, LEVELS - 1 - part % LEVELS, part % LEVELS) for part, higher in parts]


def number_of(digits: Sequence[np.ndarray]) -> np.ndarray:
    """The number of which `digits_of` gives these digits."""
    number = np.zeros_like(digits[0])
    for digit in reversed(digits):
        number = number * LEVELS + np.where(number % 2, LEVELS - 1 - digit, digit)
    return number


def write_code(folder: Path) -> None:
    """Eight frames of 256x256 px: the digits of x, then those of y."""
    x = np.tile(np.arange(SIDE), (SIDE, 1))
    images = [digit * 85 for axis in (x, x.T) for digit in digits_of(axis)]
    write_images(folder, [np.repeat(image[..., None], 3, 2).astype(np.uint8) for image in images])


def seen_pixels(page: Page, clip: int) -> tuple[np.ndarray, np.ndarray]:
    """Which pixel of the frame each pixel of the screen shows.

    Args:
        page: shows the first frame of the clip; it is left on the last one.
        clip: index of the clip of `write_code`.

    Returns:
        (H, W, 2) y and x, and (H, W) bool, where they are certain.
    """
    found: list[np.ndarray] = []
    certain: np.ndarray | bool = True
    for frame in range(2 * PLANES):
        if frame:
            page.press(".")
        page.wait(f"document.querySelector('#stage').dataset.shown === '{clip}/{frame}'")
        page.ask("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        picture = cv2.imdecode(np.frombuffer(page.picture(), np.uint8), cv2.IMREAD_COLOR_BGR).astype(int)
        grey = picture.mean(2)
        digit = np.rint(grey / 85).astype(int)
        certain &= (abs(grey - 85 * digit) < 30) & (np.ptp(picture, 2) < 16)
        found.append(digit)
    x, y = number_of(found[:PLANES]), number_of(found[PLANES:])
    return np.stack([y, x], -1), np.asarray(certain)


def places_to_press(
    page: Page, pixels: np.ndarray, certain: np.ndarray, count: int, rng: np.random.Generator
) -> list[tuple[int, int, int, int]]:
    """Places of the screen on the frame, and what is seen there: (screen y, screen x, y, x)."""
    ratio = page.ask("devicePixelRatio")
    left, top, right, bottom = (round(side * ratio) for side in page.box("#picture"))
    inside = np.zeros_like(certain)
    inside[top + 10 : bottom - round(70 * ratio), left + 10 : right - round(70 * ratio)] = True
    # the stage beside the frame reads as the same digit everywhere
    ground = np.any([(pixels == number_of([np.array(d)] * PLANES)).all(-1) for d in (0, LEVELS - 1)], 0)
    at = np.argwhere(certain & inside & ~ground)
    chosen: dict[tuple[int, int], tuple[int, int, int, int]] = {}
    for i in rng.permutation(len(at)):
        sy, sx = map(int, at[i])
        y, x = map(int, pixels[sy, sx])
        chosen.setdefault((y, x), (sy, sx, y, x))
        if len(chosen) == count:
            break
    return list(chosen.values())
