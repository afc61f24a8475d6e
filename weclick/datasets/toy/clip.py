"""One clip of the toy street: images, labels, instances, and exact flow between any two of its frames."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from weclick.datasets.toy.classes import CLASSES, INSTANCE_CLASSES
from weclick.datasets.toy.geometry import Planes, Surface, flow_between
from weclick.datasets.toy.render import add_haze, paint
from weclick.datasets.toy.scene import build_street

_HAZE_RGB = np.array([204, 212, 220], np.float32)
_HAZE_RANGE_M = 190.0
_NOISE_GREY_LEVELS = 2.5


@dataclass(frozen=True)
class Clip:
    """A rendered clip.

    Attributes:
        images: (T, H, W, 3) uint8 RGB.
        labels: (T, H, W) uint8 class ids, positions in `toy.CLASSES`.
        instances: (T, H, W) int32, class id * 1000 + k on people and cars, stable over the clip; 0 elsewhere.
        surface_ids: (T, H, W) int16, the plane that each pixel shows.
        projections: (T, N, 3, 3) from each plane to pixels, see `geometry.Planes.plane_to_pixel`.
        bodies: (N,) the thing that each plane is part of.
    """

    images: np.ndarray
    labels: np.ndarray
    instances: np.ndarray
    surface_ids: np.ndarray
    projections: np.ndarray
    bodies: np.ndarray

    def flow(self, t: int, s: int) -> tuple[np.ndarray, np.ndarray]:
        """Exact flow on the grid of frame t that points to frame s.

        Returns:
            flow (H, W, 2) float32 px (dx, dy); visible (H, W) bool, false where the point is hidden in s
            or outside.

        Raises:
            ValueError: t or s is no frame of the clip.
        """
        for frame in (t, s):
            if not 0 <= frame < len(self.images):
                raise ValueError(
                    f"frame {frame} is not in the clip, which has frames 0 to {len(self.images) - 1}"
                )
        ids, projections = self.surface_ids, self.projections
        return flow_between(ids[t], ids[s], projections[t], projections[s], self.bodies)


def render_clip(
    *, seed: int, split: str, clip_index: int, height: int, width: int, frames: int, absent: float = 0.0
) -> Clip:
    """Render one clip; the same arguments give the same clip.

    Args:
        seed: of the data set, 0 or more.
        split: name of the split; enters the seed, so splits never share a street.
        clip_index: number of the clip in its split, from 0.
        height: rows, at least 32.
        width: columns, at least 32.
        frames: length, at least 1.
        absent: probability that the clip shows nobody, and likewise that it shows no car. All else stays
            where it is.

    Raises:
        ValueError: a number is below its least value.
    """
    check_parameters(
        seed=(seed, 0), clip_index=(clip_index, 0), height=(height, 32), width=(width, 32), frames=(frames, 1)
    )
    rng = np.random.default_rng([seed, zlib.crc32(split.encode()), clip_index])
    street = build_street(rng, height=height, width=width, frames=frames)
    surfaces = _without(street.surfaces, absent, (seed, zlib.crc32(split.encode()), clip_index))
    planes = Planes.of(surfaces)
    exposure, warmth = rng.uniform(0.92, 1.1), rng.uniform(-0.03, 0.03)
    gain = np.array([exposure * (1 + warmth), exposure, exposure * (1 - warmth)], np.float32)
    classes = np.array([max(s.class_id, 0) for s in surfaces], np.uint8)
    numbers = np.array([s.instance_id for s in surfaces], np.int32)
    images, ids, projections = [], [], []
    for frame in range(frames):
        image, frame_ids, to_pixel = paint(surfaces, planes, street.camera, frame)
        light = add_haze(image, frame_ids, to_pixel, _HAZE_RGB, _HAZE_RANGE_M) * gain
        light += rng.standard_normal(light.shape, np.float32) * _NOISE_GREY_LEVELS
        images.append(np.clip(np.rint(light), 0, 255).astype(np.uint8))
        ids.append(frame_ids)
        projections.append(to_pixel)
    shown = np.stack(ids)
    bodies = planes.order[:, 1]
    return Clip(np.stack(images), classes[shown], numbers[shown], shown, np.stack(projections), bodies)


def _without(surfaces: list[Surface], absent: float, clip: tuple[int, int, int]) -> list[Surface]:
    """The surfaces without those of people or cars, and their shadows, where chance leaves them out."""
    drawn = np.random.default_rng([*clip, 1]).random(len(INSTANCE_CLASSES)) < absent
    left = {CLASSES.index(name) for name, out in zip(INSTANCE_CLASSES, drawn, strict=True) if out}
    bodies = {surface.body for surface in surfaces if surface.class_id in left}
    return [surface for surface in surfaces if surface.body not in bodies] if left else surfaces


def check_parameters(**numbers: tuple[int, int]) -> None:
    """Raise a ValueError for the first number below its least value."""
    for name, (found, least) in numbers.items():
        if found < least:
            raise ValueError(f"toy data set: {name} is {found}, expected at least {least}")
