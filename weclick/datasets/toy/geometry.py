"""Geometry of the toy street: textured planes, the camera that drives past them, and plane homographies.

World axes: x to the right, y up, z along the street, in metres. Every surface is a planar rectangle that
moves by a constant velocity, so a 3x3 homography leads from its pixels in one frame to any other:
the flow is exact.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

NO_ID = -1
NEAR_M = 0.25
_NEXT, _AFTER = [1, 2, 0], [2, 0, 1]


@dataclass
class Surface:
    """A textured rectangle in the world.

    Attributes:
        texture: (h, w, 4) uint8 premultiplied RGBA.
        origin: (3,) position of the texture's upper left corner at frame 0, metres.
        right: (3,) vector to the upper right corner.
        down: (3,) vector to the lower left corner; the plane shows on the side that right x down points to.
        class_id: class drawn into the label map, or NO_ID for a shadow, which only darkens.
        instance_id: Cityscapes-like instance id, 0 for none.
        body: number of the thing this surface is part of; surfaces of one body hide each other only by depth.
        anchor: (3,) point of the body that decides its place in the painter's order.
        layer: coarse painter's order; within a layer, far bodies are painted first.
        rank: order within a body; within a rank, far surfaces are painted first.
        velocity: (3,) metres a frame.
    """

    texture: np.ndarray
    origin: np.ndarray
    right: np.ndarray
    down: np.ndarray
    class_id: int
    instance_id: int = 0
    body: int = 0
    anchor: np.ndarray = field(default_factory=lambda: np.zeros(3))
    layer: int = 0
    rank: int = 0
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(3))

    def __post_init__(self) -> None:
        self.opaque = bool(self.texture[..., 3].min() == 255)
        self._reduced: dict[tuple[int, int], np.ndarray] = {}

    def texture_at(self, level_x: int, level_y: int) -> np.ndarray:
        """The texture reduced 2**level times along each side, averaged once and kept."""
        level = (level_x, level_y)
        if level not in self._reduced:
            height, width = self.texture.shape[:2]
            size = (max(width >> level_x, 1), max(height >> level_y, 1))
            reduced = (
                self.texture
                if level == (0, 0)
                else cv2.resize(self.texture, size, interpolation=cv2.INTER_AREA)
            )
            self._reduced[level] = np.ascontiguousarray(reduced[..., :3] if self.opaque else reduced)
        return self._reduced[level]


@dataclass(frozen=True)
class Camera:
    """A pinhole that drives along the street and sways a little.

    Attributes:
        height: image rows.
        width: image columns.
        start: (3,) position at frame 0, metres.
        speed: metres a frame along z.
        sway: (amplitude m, amplitude rad, period frames, phase) of the lateral and yaw motion.
    """

    height: int
    width: int
    start: np.ndarray
    speed: float
    sway: tuple[float, float, float, float]

    def intrinsics(self) -> np.ndarray:
        """(3, 3) matrix from camera axes (x right, y up, z ahead) to pixels, centres at integers."""
        focal = 0.8 * max(self.width, 1.2 * self.height)
        return np.array(
            [[focal, 0, (self.width - 1) / 2], [0, -focal, 0.44 * (self.height - 1)], [0, 0, 1]], np.float64
        )

    def position(self, frame: int) -> np.ndarray:
        """(3,) place of the pinhole."""
        metres, _, period, phase = self.sway
        lateral = metres * np.sin(2 * np.pi * frame / period + phase)
        return self.start + np.array([lateral, 0, self.speed * frame])

    def rotation(self, frame: int) -> np.ndarray:
        """(3, 3) world to camera axes: yaw, and a small bounce of the pitch."""
        _, radians, period, phase = self.sway
        yaw = radians * np.cos(2 * np.pi * frame / period + phase)
        pitch = 0.12 * radians * np.sin(2 * np.pi * frame / 9 + phase)
        cy, sy, cp, sp = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
        turn = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
        nod = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        return nod @ turn


@dataclass(frozen=True)
class Planes:
    """All surfaces of a scene as arrays, for projection and painter's order.

    Attributes:
        sides: (N, 2, 3) vectors `right` and `down`, metres.
        origins: (N, 3) upper left corners at frame 0.
        anchors: (N, 3) points that decide the painter's order, at frame 0.
        velocities: (N, 3) metres a frame.
        order: (N, 3) layer, body, rank.
    """

    sides: np.ndarray
    origins: np.ndarray
    anchors: np.ndarray
    velocities: np.ndarray
    order: np.ndarray

    @classmethod
    def of(cls, surfaces: list[Surface]) -> Planes:
        """Gather the geometry of surfaces."""
        return cls(
            sides=np.array([[s.right, s.down] for s in surfaces]),
            origins=np.array([s.origin for s in surfaces]),
            anchors=np.array([s.anchor for s in surfaces]),
            velocities=np.array([s.velocity for s in surfaces]),
            order=np.array([[s.layer, s.body, s.rank] for s in surfaces]),
        )

    def plane_to_pixel(self, camera: Camera, frame: int) -> np.ndarray:
        """Projection of every plane in one frame.

        Returns:
            (N, 3, 3) float64 matrices: (a, b, 1), with a and b in 0..1 along `right` and `down`, goes to
            pixel (x, y) times depth, and depth in metres.
        """
        origins = self.origins + self.velocities * frame - camera.position(frame)
        planes = np.concatenate([self.sides, origins[:, None]], axis=1).transpose(0, 2, 1)
        return camera.intrinsics() @ camera.rotation(frame) @ planes

    def far_to_near(self, camera: Camera, frame: int) -> np.ndarray:
        """All planes in painter's order: by layer, depth of the anchor, body, rank, depth of the middle."""
        moved, ahead = self.velocities * frame - camera.position(frame), camera.rotation(frame)[2]
        anchors = (self.anchors + moved) @ ahead
        middles = (self.origins + self.sides.mean(axis=1) + moved) @ ahead
        layer, body, rank = self.order.T
        return np.lexsort((-middles, rank, body, -anchors, layer))


def pixel_to_plane(projections: np.ndarray) -> np.ndarray:
    """Inverses of `Planes.plane_to_pixel`, (N, 3, 3); their results' last component is the inverse depth.

    Planes seen edge-on have no inverse, show no pixel, and get zeros.
    """
    a, b, c = projections[:, :, 0], projections[:, :, 1], projections[:, :, 2]
    adjugate = np.stack([_cross(b, c), _cross(c, a), _cross(a, b)], axis=1)
    determinant = np.einsum("ni,ni->n", a, adjugate[:, 0])[:, None, None]
    return np.divide(adjugate, determinant, out=np.zeros_like(adjugate), where=determinant != 0)


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Vector products of (N, 3) rows."""
    return u[:, _NEXT] * v[:, _AFTER] - u[:, _AFTER] * v[:, _NEXT]


def flow_between(
    ids_t: np.ndarray,
    ids_s: np.ndarray,
    projections_t: np.ndarray,
    projections_s: np.ndarray,
    bodies: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Exact flow from frame t to frame s, and which pixels of t are seen in s.

    A pixel is seen when it lands inside s, and the surface painted there belongs to the same body and passes
    within 3 % of its depth. So a car's flank behind its own tail counts as hidden.

    Args:
        ids_t: (H, W) index of the surface that each pixel of t shows.
        ids_s: the same of frame s.
        projections_t: (N, 3, 3) of frame t, see `Planes.plane_to_pixel`.
        projections_s: the same of frame s.
        bodies: (N,) body of each surface.

    Returns:
        flow (H, W, 2) float32 px (dx, dy), 0 where the point lies behind the camera of s; seen (H, W) bool.
    """
    height, width = ids_t.shape
    y, x = np.mgrid[:height, :width].astype(np.float64)
    back_s = pixel_to_plane(projections_s)
    px, py, stretch = _apply(projections_s @ pixel_to_plane(projections_t), ids_t, x, y)
    ahead = stretch > 1e-6  # depth in s over depth in t
    safe = np.where(ahead, stretch, 1.0)
    px, py = np.where(ahead, px / safe, x), np.where(ahead, py / safe, y)
    column, row = np.rint(px), np.rint(py)
    inside = ahead & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    there = ids_s[np.where(inside, row, 0).astype(np.intp), np.where(inside, column, 0).astype(np.intp)]
    expected = _inverse_depth(back_s, ids_t, px, py)
    found = _inverse_depth(back_s, there, px, py)
    seen = inside & (bodies[ids_t] == bodies[there]) & (np.abs(found - expected) <= 0.03 * np.abs(expected))
    return np.stack([px - x, py - y], axis=2).astype(np.float32), seen


def depth_map(ids: np.ndarray, projections: np.ndarray) -> np.ndarray:
    """(H, W) depth in metres of the surfaces that a frame shows."""
    height, width = ids.shape
    y, x = np.mgrid[:height, :width].astype(np.float64)
    return 1 / np.maximum(_inverse_depth(pixel_to_plane(projections), ids, x, y), 1e-6)


def _apply(matrices: np.ndarray, ids: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
    """Each pixel through its surface's matrix: three (H, W) homogeneous components."""
    m = [[matrices[:, i, j][ids] for j in range(3)] for i in range(3)]
    return tuple(row[0] * x + row[1] * y + row[2] for row in m)


def _inverse_depth(back: np.ndarray, ids: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Inverse depth, 1/m, of each pixel's surface at the pixel."""
    gathered = back[:, 2][ids]
    return gathered[..., 0] * x + gathered[..., 1] * y + gathered[..., 2]
