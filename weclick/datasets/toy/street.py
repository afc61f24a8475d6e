"""The toy street while it is being built: its light, its surfaces, and the places taken."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from weclick.datasets.toy.geometry import Camera, Surface
from weclick.datasets.toy.paint import Rng

ROAD, SIDEWALK, BUILDING, SKY, VEGETATION, POLE, SIGN, PERSON, CAR = range(9)
SKY_LAYER, GROUND_LAYER, HOUSE_LAYER, SHADOW_LAYER, THING_LAYER = range(5)

HALF_ROAD_M = 5.2
SIDEWALK_M = 3.8
KERB_M = 0.14
LANE_M = 1.55
BEHIND_M = 8.0
AHEAD_M = 95.0
X, Y, Z = np.eye(3)


@dataclass
class Street:
    """A scene with its light, and the surfaces put into it so far.

    Attributes:
        rng: source of all its randomness.
        frames: length of the clip.
        camera: drives through it.
        sun: -1 if the light comes from x < 0, +1 from x > 0.
        overcast: 0 a clear sky, 1 clouds and weak shadows.
        surfaces: the planes, in the order of creation.
    """

    rng: Rng
    frames: int
    camera: Camera
    sun: int
    overcast: float
    surfaces: list[Surface] = field(default_factory=list)
    _bodies: int = 0
    _counts: dict[int, int] = field(default_factory=dict)
    _occupied: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)

    @property
    def end_m(self) -> float:
        """The z at which the street ends: AHEAD_M beyond the camera's last place."""
        return self.camera.speed * self.frames + AHEAD_M

    def sunlight(self, side: int) -> float:
        """Brightness of one side's things: houses towards the sun lie in their own shade."""
        return 1.0 if side == -self.sun else 1.0 - 0.3 * (1 - 0.7 * self.overcast)

    def body(self) -> int:
        """A number for a new thing."""
        self._bodies += 1
        return self._bodies

    def instance(self, class_id: int) -> int:
        """The next Cityscapes-like instance id of a class."""
        count = self._counts.get(class_id, 0)
        self._counts[class_id] = count + 1
        return class_id * 1000 + count

    def add(
        self, texture: np.ndarray, origin: np.ndarray, right: np.ndarray, down: np.ndarray, **more
    ) -> None:
        """Put one surface; `more` goes to `Surface`."""
        more.setdefault("anchor", origin)
        self.surfaces.append(Surface(texture, origin, right, down, **more))

    def upright(self, texture: np.ndarray, foot: np.ndarray, size_m: tuple[float, float], **more) -> None:
        """Put a cut-out that faces the camera and stands on `foot`, (width, height) metres."""
        width, height = size_m
        origin = foot - X * width / 2 + Y * height
        self.add(texture, origin, X * width, -Y * height, anchor=foot, **more)

    def is_free(self, position: np.ndarray, half_size: np.ndarray, velocity: np.ndarray) -> bool:
        """Whether a thing meets no earlier thing in any frame; if so, it takes the place."""
        if self._occupied:
            others = np.array(self._occupied)[
                :, :, [0, 2]
            ]  # (n, 3, 2) position, half size, velocity along x and z
            mine = np.array([position, half_size, velocity])[:, [0, 2]]
            frames = np.arange(self.frames)[:, None, None]
            gaps = np.abs(mine[0] - others[:, 0] + (mine[2] - others[:, 2]) * frames)
            if np.any(np.all(gaps < mine[1] + others[:, 1], axis=2)):
                return False
        self._occupied.append((position, half_size, velocity))
        return True
