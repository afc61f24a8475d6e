"""Textures of the toy street's large planes: sky, road, sidewalk, facades, roofs."""

from __future__ import annotations

import cv2
import numpy as np

from weclick.datasets.toy.paint import Canvas, Colour, Rng, lit, noise, opaque, shade, vary

ROAD_PX_PER_M = 32
FACADE_PX_PER_M = 28

_WALLS: tuple[Colour, ...] = (
    (196, 178, 150), (176, 168, 158), (150, 92, 74), (206, 196, 176), (184, 148, 104), (142, 138, 136),
    (168, 120, 98), (190, 168, 160), (122, 108, 100), (200, 182, 128),
)  # fmt: skip
_AWNINGS: tuple[Colour, ...] = ((150, 40, 40), (40, 80, 60), (50, 60, 110), (170, 130, 50), (90, 50, 80))


def sky(rng: Rng, *, overcast: float) -> np.ndarray:
    """A sky that pales towards the horizon, with clouds. Horizon at the bottom row."""
    height, width = 384, 768
    up = np.linspace(1, 0, height, dtype=np.float32)[:, None, None]
    zenith = (1 - overcast) * np.array([74, 122, 190]) + overcast * np.array([150, 158, 168])
    horizon = (1 - 0.5 * overcast) * np.array([196, 214, 232]) + 0.5 * overcast * np.array([206, 208, 210])
    rgb = horizon + (zenith - horizon) * np.minimum(up * 2.2, 1) ** 0.8
    body = noise(rng, height, width // 3, cell_px=44, octaves=5)
    body = cv2.resize(body, (width, height)) + 2.2 * overcast - 0.75
    cover = np.clip(body * 0.7, 0, 0.92)[..., None]
    white = np.array([244, 244, 242]) - 34 * np.clip(body - 0.9, 0, 1.4)[..., None]
    return opaque(rgb + (white - rgb) * cover)


def road(rng: Rng, base: Colour, *, length_m: float, half_width_m: float, marks: str) -> np.ndarray:
    """A stretch of asphalt: grain, tyre tracks, patches, cracks, markings. Far end at the top row.

    Args:
        rng: source of randomness.
        base: colour of the asphalt.
        length_m: length along the street.
        half_width_m: from the middle line to the kerb.
        marks: "lane", or "crossing" for a zebra crossing.
    """
    canvas = Canvas(2 * half_width_m, length_m, ROAD_PX_PER_M)
    canvas.fill(base)
    for _ in range(rng.integers(1, 4)):
        _patch(canvas, rng, base, half_width_m, length_m)
    if rng.random() < 0.7:
        _crack(canvas, rng, shade(base, 0.72), half_width_m, length_m)
    if rng.random() < 0.5:
        manhole = (half_width_m + rng.uniform(-2.5, 2.5), rng.uniform(1, length_m - 1))
        canvas.disc(manhole, 0.36, shade(base, 0.5))
        canvas.disc(manhole, 0.28, shade(base, 0.7))
    _marks(canvas, half_width_m, length_m, marks)
    height, width = canvas.texture.shape[:2]
    x = np.linspace(-half_width_m, half_width_m, width, dtype=np.float32)
    tracks = 1 - 0.07 * np.exp(-(((np.abs(np.abs(x) - 1.65) - 0.75) / 0.3) ** 2)) - 0.12 * (np.abs(x) > 4.55)
    grain = 0.055 * noise(rng, height, width, cell_px=3, octaves=2)
    return lit(canvas.texture, tracks[None] * (1 + grain))


def _patch(canvas: Canvas, rng: Rng, base: Colour, half_width_m: float, length_m: float) -> None:
    """A repaired rectangle of other asphalt."""
    left, bottom = rng.uniform(0, 2 * half_width_m - 1), rng.uniform(0.4, length_m - 2.6)
    size = rng.uniform(0.6, 2.2, 2)
    canvas.box(left, bottom, left + size[0], bottom + size[1], shade(base, float(rng.uniform(0.82, 1.12))))


def _crack(canvas: Canvas, rng: Rng, colour: Colour, half_width_m: float, length_m: float) -> None:
    """A wandering dark line."""
    x, y = float(rng.uniform(0, 2 * half_width_m)), 0.5
    while y < length_m - 0.8:
        step = (x + float(rng.normal(0, 0.12)), y + float(rng.uniform(0.3, 0.7)))
        canvas.limb((x, y), step, 0.03, colour)
        x, y = step


def _marks(canvas: Canvas, half_width_m: float, length_m: float, marks: str) -> None:
    """White lines: a dashed middle, parking lanes, or a crossing."""
    white = (214.0, 214.0, 208.0)
    if marks == "crossing":
        for left in np.arange(0.3, 2 * half_width_m - 0.5, 1.0):
            canvas.box(left, 3.0, left + 0.5, 6.5, white)
        return
    canvas.box(half_width_m - 0.08, 1, half_width_m + 0.08, 5, white)
    for side in (-1, 1):
        edge = half_width_m + side * 3.1
        canvas.box(edge - 0.06, 0, edge + 0.06, length_m, shade(white, 0.94))


def sidewalk(rng: Rng, base: Colour, *, length_m: float, width_m: float, slab_m: float) -> np.ndarray:
    """Paving slabs with joints, darker towards the houses; kerb stones at the right. Far end at the top."""
    canvas = Canvas(width_m, length_m, ROAD_PX_PER_M)
    canvas.fill(shade(base, 0.72))
    for x in np.arange(0, width_m, slab_m).tolist():
        for y in np.arange(0, length_m, slab_m).tolist():
            canvas.box(x + 0.025, y + 0.025, x + slab_m - 0.025, y + slab_m - 0.025, vary(rng, base, 7))
    for y in np.arange(0, length_m, 1.0):
        canvas.box(width_m - 0.3, y, width_m, y + 0.97, vary(rng, (172, 170, 166), 5))
    height, width = canvas.texture.shape[:2]
    shadow = 1 - 0.32 * np.exp(-np.linspace(0, width_m, width, dtype=np.float32) / 0.7)
    return lit(canvas.texture, shadow[None] * (1 + 0.04 * noise(rng, height, width, cell_px=4, octaves=2)))


def kerb(rng: Rng, *, length_m: float) -> np.ndarray:
    """The upright side of the kerb stones."""
    canvas = Canvas(length_m, 0.14, ROAD_PX_PER_M * 2)
    for x in np.arange(0, length_m, 1.0):
        canvas.box(x, 0, x + 0.97, 0.14, vary(rng, (128, 126, 124), 5))
    return opaque(canvas.texture[..., :3])


def facade(rng: Rng, *, width_m: float, height_m: float) -> np.ndarray:
    """A house front: plaster or brick, rows of windows, shops or doors below, a cornice above."""
    wall = vary(rng, _WALLS[rng.integers(len(_WALLS))], 9)
    canvas = Canvas(width_m, height_m, FACADE_PX_PER_M)
    canvas.fill(wall)
    if rng.random() < 0.35:
        _bricks(canvas, rng, wall, width_m, height_m)
    ground_m, storey_m = 3.5, float(rng.uniform(2.7, 3.1))
    axis_m = float(rng.uniform(1.7, 2.7))
    size = (axis_m * float(rng.uniform(0.42, 0.62)), storey_m * float(rng.uniform(0.5, 0.62)))
    trim = shade(wall, float(rng.choice([1.22, 0.78])))
    bottom = ground_m
    while bottom + storey_m < height_m + 0.2:
        canvas.box(0, bottom - 0.1, width_m, bottom + 0.06, trim)
        for middle in _axes(width_m, axis_m):
            _window(canvas, rng, middle, bottom + 0.75, size, trim)
        bottom += storey_m
    _ground_floor(canvas, rng, width_m, ground_m, wall, trim)
    canvas.box(0, height_m - 0.35, width_m, height_m, shade(trim, 0.92))
    canvas.box(0, height_m - 0.42, width_m, height_m - 0.33, shade(wall, 0.6))
    canvas.box(width_m - 0.16, 0, width_m - 0.05, height_m, shade(wall, 0.55))
    return lit(canvas.texture, _weather(rng, *canvas.texture.shape[:2]))


def gable(rng: Rng, *, width_m: float, height_m: float, ridge_m: float) -> np.ndarray:
    """A house's narrow side with small windows; eaves at `height_m`, the ridge `ridge_m` above its middle."""
    wall = shade(vary(rng, _WALLS[rng.integers(len(_WALLS))], 9), 0.9)
    canvas = Canvas(width_m, height_m + ridge_m, FACADE_PX_PER_M / 2)
    canvas.polygon([(-1, -1), (width_m + 1, -1), (width_m + 1, height_m), (width_m / 2, height_m + ridge_m),
                    (0, height_m), (-1, height_m)], wall)  # fmt: skip
    for bottom in np.arange(3.6, height_m - 1.8, 3.0):
        for middle in (0.3, 0.65):
            _window(canvas, rng, width_m * middle, float(bottom), (0.8, 1.2), shade(wall, 1.15))
    return lit(canvas.texture, _weather(rng, *canvas.texture.shape[:2]))


def roof(rng: Rng, *, width_m: float, height_m: float) -> np.ndarray:
    """Rows of tiles with a dormer or two."""
    tile = vary(rng, ((118, 66, 52), (88, 84, 84), (104, 84, 72))[rng.integers(3)], 8)
    canvas = Canvas(width_m, height_m, FACADE_PX_PER_M)
    for y in np.arange(0, height_m, 0.3):
        canvas.box(0, y, width_m, y + 0.3, vary(rng, tile, 4))
        canvas.box(0, y, width_m, y + 0.06, shade(tile, 0.7))
    for middle in _axes(width_m, 4.5):
        _window(canvas, rng, middle, 0.8, (0.8, 0.9), shade(tile, 1.4))
    return lit(canvas.texture, _weather(rng, *canvas.texture.shape[:2]))


def _axes(width_m: float, spacing_m: float) -> np.ndarray:
    """Middles of evenly spread columns of windows."""
    count = max(int(width_m / spacing_m), 1)
    return (np.arange(count) + 0.5) * width_m / count


def _bricks(canvas: Canvas, rng: Rng, wall: Colour, width_m: float, height_m: float) -> None:
    """Courses of brick, as thin lines of mortar and courses of varied tone."""
    for y in np.arange(0, height_m, 0.22):
        canvas.box(0, y, width_m, y + 0.18, vary(rng, wall, 8))
        canvas.box(0, y + 0.18, width_m, y + 0.22, shade(wall, 1.12))


def _window(
    canvas: Canvas, rng: Rng, middle: float, bottom: float, size: tuple[float, float], trim: Colour
) -> None:
    """A framed window: sky in the upper pane, sometimes a curtain or a lamp behind."""
    half, height = size[0] / 2, size[1]
    canvas.box(middle - half - 0.12, bottom - 0.12, middle + half + 0.12, bottom + height + 0.1, trim)
    glass = vary(rng, (62, 74, 88), 12)
    if rng.random() < 0.2:
        glass = vary(rng, (150, 142, 124), 14)
    canvas.box(middle - half, bottom, middle + half, bottom + height, glass)
    canvas.box(middle - half, bottom + height * 0.55, middle + half, bottom + height, shade(glass, 1.35))
    canvas.box(middle - 0.035, bottom, middle + 0.035, bottom + height, shade(trim, 0.95))
    canvas.box(middle - half - 0.16, bottom - 0.16, middle + half + 0.16, bottom - 0.06, shade(trim, 0.7))


def _ground_floor(
    canvas: Canvas, rng: Rng, width_m: float, height_m: float, wall: Colour, trim: Colour
) -> None:
    """Shop windows under awnings, or a door between windows on a darker plinth."""
    shop = rng.random() < 0.55
    canvas.box(0, 0, width_m, height_m - 0.1, shade(wall, 0.8 if shop else 0.92))
    for middle in _axes(width_m, 3.2):
        if not shop:
            _window(canvas, rng, middle, 1.1, (1.2, 1.5), trim)
            continue
        canvas.box(middle - 1.35, 0.4, middle + 1.35, 2.6, vary(rng, (54, 58, 62), 10))
        canvas.box(middle - 1.25, 1.3, middle + 1.25, 2.5, vary(rng, (96, 100, 104), 16))
        canvas.box(middle - 0.04, 0.4, middle + 0.04, 2.6, shade(trim, 0.6))
        if rng.random() < 0.6:
            awning = vary(rng, _AWNINGS[rng.integers(len(_AWNINGS))], 8)
            canvas.box(middle - 1.45, 2.3, middle + 1.45, 3.0, awning)
            canvas.box(middle - 1.45, 2.3, middle + 1.45, 2.4, shade(awning, 1.5))
    canvas.box(0, 0, width_m, 0.45, shade(wall, 0.55))
    door = float(rng.uniform(1.0, width_m - 1.0))
    canvas.box(door - 0.65, 0, door + 0.65, 2.5, shade(trim, 0.8))
    canvas.box(door - 0.5, 0, door + 0.5, 2.35, vary(rng, (70, 48, 36), 10))


def _weather(rng: Rng, height: int, width: int) -> np.ndarray:
    """Brightness of a wall: stains, grain, and less light towards the ground."""
    fall = np.linspace(1.05, 0.88, height, dtype=np.float32)[:, None]
    stains = 0.035 * noise(rng, height, width, cell_px=50, octaves=3)
    grain = 0.03 * noise(rng, height, width, cell_px=2)
    return fall * (1 + stains + grain)
