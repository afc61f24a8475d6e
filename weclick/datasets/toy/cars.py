"""Cars of the toy street: a side profile, extruded across the width, each face a painted plane."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from weclick.datasets.toy.geometry import Surface
from weclick.datasets.toy.paint import Canvas, Colour, Point, Rng, lit, noise, opaque, shade, vary
from weclick.datasets.toy.sprites import blot

PX_PER_M = 48

_PAINTS: tuple[Colour, ...] = (
    (176, 28, 30), (34, 62, 126), (196, 198, 200), (222, 222, 218), (34, 36, 40), (98, 102, 108),
    (150, 132, 96), (36, 88, 70), (206, 150, 34), (92, 130, 168),
)  # fmt: skip
_GLASS: Colour = (44, 52, 62)
_TYRE: Colour = (26, 26, 28)


@dataclass(frozen=True)
class CarShape:
    """Outline seen from the left side, the front to the right.

    Attributes:
        profile: (metres from the tail, metres up), over the top from the tail's bumper to the front bumper.
        glass: which pieces of the profile are windows: index of the piece's first point.
        roof: index of the roof piece's first point.
        width_m: across.
    """

    profile: tuple[Point, ...]
    glass: tuple[int, ...]
    roof: int
    width_m: float

    @property
    def length_m(self) -> float:
        """The length from bumper to bumper."""
        return self.profile[-1][0]

    @property
    def height_m(self) -> float:
        """The height of the roof."""
        return max(y for _, y in self.profile)


SHAPES = (
    CarShape(((0, 0.32), (0.02, 0.92), (0.7, 1.0), (1.25, 1.43), (2.55, 1.46), (3.35, 0.98), (4.45, 0.8),
              (4.5, 0.32)), glass=(2, 4), roof=3, width_m=1.8),
    CarShape(((0, 0.32), (0.0, 0.95), (0.42, 1.5), (2.3, 1.52), (3.1, 1.0), (3.95, 0.84), (4.0, 0.32)),
             glass=(1, 3), roof=2, width_m=1.75),
    CarShape(((0, 0.38), (0.0, 1.05), (0.3, 1.72), (2.7, 1.74), (3.45, 1.14), (4.5, 1.0), (4.55, 0.38)),
             glass=(1, 3), roof=2, width_m=1.9),
    CarShape(((0, 0.36), (0.0, 1.2), (0.15, 2.0), (3.7, 2.05), (4.35, 1.3), (4.95, 1.08), (5.0, 0.36)),
             glass=(1, 3), roof=2, width_m=1.95),
)  # fmt: skip


def car(
    rng: Rng,
    *,
    position: np.ndarray,
    heading: int,
    velocity: np.ndarray,
    sun: int,
    layer: int,
    ids: tuple[int, int, int],
) -> list[Surface]:
    """All surfaces of a car, its shadow first.

    Args:
        rng: source of shape and colours.
        position: (3,) middle of the car on the ground at frame 0, metres.
        heading: +1 drives away along z, -1 comes towards us.
        velocity: (3,) metres a frame.
        sun: -1 if the light comes from x < 0, +1 from x > 0.
        layer: painter's layer of the car; its shadow lies one below.
        ids: class id, instance id, body.
    """
    shape = SHAPES[rng.choice(len(SHAPES), p=[0.36, 0.34, 0.22, 0.08])]
    paint = vary(rng, _PAINTS[rng.integers(len(_PAINTS))], 8)
    class_id, instance_id, body = ids
    common: dict[str, Any] = {"anchor": position, "velocity": velocity, "body": body}
    size = np.array([shape.width_m + 0.7, 0, shape.length_m + 0.6])
    surfaces = [
        Surface(blot(softness=0.45, darkness=0.75), position + size * [-0.5, 0, 0.5] + [0, 0.012, 0],
                size * [1, 0, 0], size * [0, 0, -1], -1, layer=layer - 1, **common)
    ]  # fmt: skip
    for texture, origin, right, down, rank in _faces(rng, shape, paint, heading, sun):
        surfaces.append(
            Surface(
                texture,
                position + origin,
                right,
                down,
                class_id,
                instance_id,
                layer=layer,
                rank=rank,
                **common,
            )
        )
    return surfaces


Face = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]


def _faces(rng: Rng, shape: CarShape, paint: Colour, heading: int, sun: int) -> Iterator[Face]:
    """Texture, origin, right, down and rank of each face, in metres around the middle of the car's ground."""
    last = len(shape.profile) - 2
    for index, ((z0, y0), (z1, y1)) in enumerate(pairwise(shape.profile)):
        backwards = y1 > y0  # a piece that rises towards the front is seen from behind
        low, high = ((z0, y0), (z1, y1)) if backwards else ((z1, y1), (z0, y0))
        slope = float(np.hypot(z1 - z0, y1 - y0))
        if index in (0, last):
            low = (low[0], 0.0)
            texture = _end(shape, paint, high[1], low_m=min(y0, y1), tail=index == 0)
        else:
            light = 0.78 + 0.42 * abs(z1 - z0) / slope
            texture = _panel(shape, slope, paint, glass=index in shape.glass, light=light)
        side = heading if backwards else -heading
        origin = np.array([-side * shape.width_m / 2, high[1], heading * (high[0] - shape.length_m / 2)])
        down = np.array([0, low[1] - high[1], heading * (low[0] - high[0])])
        yield texture, origin, np.array([side * shape.width_m, 0, 0]), down, 0
    flank = _flank(rng, shape, paint)
    for side in (-1, 1):
        texture = flank if side * heading > 0 else np.ascontiguousarray(flank[:, ::-1])
        tall = shape.height_m + 0.05
        origin = np.array([side * shape.width_m / 2, tall, -side * shape.length_m / 2])
        along = np.array([0, 0, side * shape.length_m])
        yield lit(texture, 1.0 if side == sun else 0.72), origin, along, np.array([0, -tall, 0]), 1


def _flank(rng: Rng, shape: CarShape, paint: Colour) -> np.ndarray:
    """The side: silhouette, windows, door lines, wheels; the front is at the right."""
    canvas = Canvas(shape.length_m, shape.height_m + 0.05, PX_PER_M)
    canvas.polygon([*shape.profile, (shape.length_m - 0.1, 0.2), (0.1, 0.2)], paint)
    canvas.box(0.05, 0.2, shape.length_m - 0.05, 0.42, shade(paint, 0.6))
    _side_windows(canvas, shape, paint)
    for wheel in (0.8, shape.length_m - 0.85):
        canvas.disc((wheel, 0.36), 0.4, shade(paint, 0.35))
        canvas.disc((wheel, 0.33), 0.33, _TYRE)
        canvas.disc((wheel, 0.33), 0.2, (150, 152, 156))
        canvas.disc((wheel, 0.33), 0.08, (70, 72, 76))
    canvas.box(0.0, 0.68, 0.14, 0.86, (170, 30, 28))
    canvas.box(shape.length_m - 0.2, 0.62, shape.length_m - 0.02, 0.76, (230, 226, 206))
    rows = canvas.texture.shape[0]
    sheen = 1 + 0.22 * np.cos(np.linspace(-0.6, 2.6, rows, dtype=np.float32))[:, None]
    return lit(canvas.texture, sheen * (1 + 0.02 * noise(rng, *canvas.texture.shape[:2], cell_px=12)))


def _side_windows(canvas: Canvas, shape: CarShape, paint: Colour) -> None:
    """Glass between belt line and roof, cut by the pillars, and the doors' seams below."""
    rear, front = shape.profile[shape.roof - 1], shape.profile[shape.roof + 2]
    (z0, top), (z1, _) = shape.profile[shape.roof], shape.profile[shape.roof + 1]
    belt = max(rear[1], front[1]) + 0.02
    canvas.polygon(
        [(rear[0] + 0.22, belt), (z0 + 0.1, top - 0.1), (z1 - 0.05, top - 0.1), (front[0] - 0.3, belt)],
        _GLASS,
    )
    canvas.polygon([(z0, top - 0.26), (z0 + 0.1, top - 0.1), (z1 - 0.05, top - 0.1), (z1 + 0.1, top - 0.26)],
                   shade(_GLASS, 1.6))  # fmt: skip
    middle = (z0 + z1) / 2
    for seam in (middle, z1 + 0.45):
        canvas.box(seam - 0.02, 0.3, seam + 0.02, belt, shade(paint, 0.6))
    canvas.box(middle - 0.05, belt, middle + 0.05, top - 0.06, shade(paint, 0.5))
    for handle in (middle - 0.28, z1 + 0.15):
        canvas.box(handle - 0.1, belt - 0.16, handle + 0.1, belt - 0.11, shade(paint, 0.6))


def _end(shape: CarShape, paint: Colour, height_m: float, *, low_m: float, tail: bool) -> np.ndarray:
    """Tail or front above its tyres: lights, number plate, bumper, grille. The body begins at `low_m`."""
    width, tall = shape.width_m, height_m - low_m
    canvas = Canvas(width, height_m, PX_PER_M * 2)
    for left in (0.06, width - 0.28):
        canvas.box(left, -0.1, left + 0.22, low_m + 0.05, _TYRE)
    canvas.box(0.2, 0.16, width - 0.2, low_m + 0.05, (30, 30, 32))
    canvas.box(-0.1, low_m - 0.08, width + 0.1, height_m + 0.1, shade(paint, 0.92))
    canvas.box(-0.1, low_m - 0.08, width + 0.1, low_m + tall * 0.3, shade(paint, 0.6))
    light: Colour = (188, 26, 24) if tail else (240, 236, 214)
    for left in (0.06, width - 0.4):
        canvas.box(left - 0.02, low_m + tall * 0.5, left + 0.36, low_m + tall * 0.82, shade(paint, 0.5))
        canvas.box(left, low_m + tall * 0.53, left + 0.34, low_m + tall * 0.79, light)
    if not tail:
        canvas.box(width / 2 - 0.45, low_m + tall * 0.46, width / 2 + 0.45, low_m + tall * 0.76, (40, 42, 46))
    plate = low_m + tall * (0.5 if tail else 0.16)
    canvas.box(width / 2 - 0.26, plate, width / 2 + 0.26, plate + 0.13, (226, 226, 218))
    return canvas.texture


def _panel(shape: CarShape, slope_m: float, paint: Colour, *, glass: bool, light: float) -> np.ndarray:
    """Bonnet, boot lid, roof, or a pane between its pillars with the sky's reflection at the upper edge."""
    canvas = Canvas(shape.width_m, slope_m, PX_PER_M)
    canvas.fill(shade(paint, light))
    if glass:
        canvas.box(0.12, 0.06, shape.width_m - 0.12, slope_m - 0.05, _GLASS)
        left, right, top = 0.12, shape.width_m - 0.12, slope_m - 0.05
        reflection = [(left, slope_m * 0.55), (right, slope_m * 0.7), (right, top), (left, top)]
        canvas.polygon(reflection, shade(_GLASS, 1.8))
        for seat in (0.28, 0.72):
            canvas.disc((shape.width_m * seat, slope_m * 0.28), 0.13, shade(_GLASS, 0.66), aspect=1.3)
    across = 1 + 0.08 * np.cos(np.linspace(-2, 2, canvas.texture.shape[1], dtype=np.float32))[None]
    return opaque(canvas.texture[..., :3] * np.broadcast_to(across, canvas.texture.shape[:2])[..., None])
