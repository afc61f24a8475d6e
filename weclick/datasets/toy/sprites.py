"""Cut-out textures of the toy street: trees, hedges, poles, signs, people, and soft shadows."""

from __future__ import annotations

import numpy as np

from weclick.datasets.toy.paint import Canvas, Colour, Point, Rng, lit, noise, shade, vary

TREE_PX_PER_M = 32
PERSON_SIZE_M = (1.1, 1.95)

_LEAVES: tuple[Colour, ...] = ((72, 104, 44), (88, 112, 52), (58, 90, 50), (104, 112, 48), (66, 96, 60))
_SKIN: tuple[Colour, ...] = ((222, 178, 148), (198, 150, 118), (150, 104, 78), (96, 66, 50))
_HAIR: tuple[Colour, ...] = ((40, 30, 26), (86, 58, 36), (160, 124, 76), (120, 116, 112), (24, 22, 24))
_TOPS: tuple[Colour, ...] = (
    (176, 44, 48), (40, 62, 120), (214, 206, 196), (52, 54, 60), (206, 160, 50), (62, 118, 92),
    (128, 72, 128), (208, 110, 60), (96, 140, 182), (150, 60, 90),
)  # fmt: skip
_TROUSERS: tuple[Colour, ...] = ((44, 54, 82), (40, 40, 44), (108, 96, 78), (84, 88, 98), (60, 44, 38))
_WHITE: Colour = (236, 236, 232)
_RED: Colour = (196, 30, 36)
_BLUE: Colour = (28, 80, 170)
_YELLOW: Colour = (236, 190, 30)
_BLACK: Colour = (26, 26, 28)


def tree(rng: Rng, *, width_m: float, height_m: float, sun: int) -> np.ndarray:
    """A trunk under a crown of leaf clumps, brighter on top and towards the sun (sun: -1 left, +1 right)."""
    canvas = Canvas(width_m, height_m, TREE_PX_PER_M)
    bark = vary(rng, (84, 68, 54), 8)
    middle, fork = width_m / 2, height_m * 0.42
    canvas.limb((middle, -0.1), (middle + float(rng.normal(0, 0.1)), fork + 0.6), 0.32, bark)
    canvas.limb((middle + 0.07 * sun, 0), (middle + 0.07 * sun, fork), 0.09, shade(bark, 1.35))
    for lean in (-0.28, 0.3):
        canvas.limb((middle, fork - 0.2), (middle + lean * width_m, fork + 1.2), 0.14, bark)
    crown = _foliage(rng, canvas.texture.shape[:2], (0.66 * height_m, 0.36 * height_m, 0.46 * width_m), sun)
    return _over(crown, canvas.texture)


def hedge(rng: Rng, *, width_m: float, height_m: float, sun: int) -> np.ndarray:
    """A row of bushes that fills its rectangle up to a ragged top."""
    shape = (round(height_m * TREE_PX_PER_M), round(width_m * TREE_PX_PER_M))
    leaves = _leaf_colours(rng, shape, sun)
    top = 0.72 + 0.09 * noise(rng, 1, shape[1], cell_px=70, octaves=4)
    height = np.linspace(1, 0, shape[0], dtype=np.float32)[:, None]
    return _cut(leaves, (top + 0.05 * noise(rng, *shape, cell_px=7) - height) * shape[0] * 0.5)


def _foliage(rng: Rng, shape: tuple[int, int], ellipse_m: tuple[float, float, float], sun: int) -> np.ndarray:
    """A crown: an ellipse (middle's height, half height, half width) with a ragged rim and gaps."""
    middle, half_height, half_width = (size * TREE_PX_PER_M for size in ellipse_m)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    radius = np.hypot((y - (shape[0] - middle)) / half_height, (x - shape[1] / 2) / half_width)
    rim = 0.86 - radius + 0.1 * noise(rng, *shape, cell_px=26, octaves=3)
    return _cut(_leaf_colours(rng, shape, sun), rim * 26)


def _leaf_colours(rng: Rng, shape: tuple[int, int], sun: int) -> np.ndarray:
    """(h, w, 3) greens: clumps lit from above and from the sun's side, with dark gaps between."""
    base = np.asarray(vary(rng, _LEAVES[rng.integers(len(_LEAVES))], 8), np.float32)
    clumps = noise(rng, *shape, cell_px=22, octaves=2)
    light = (
        0.09 * (np.roll(clumps, -5, axis=0) - clumps) * 4
        + 0.05 * sun * (np.roll(clumps, 5, axis=1) - clumps) * 4
    )
    fall = np.linspace(1.25, 0.72, shape[0], dtype=np.float32)[:, None]
    grain = 1 + 0.13 * noise(rng, *shape, cell_px=3, octaves=2)
    return np.clip(base * (np.clip(fall + light, 0.4, 1.7) * grain)[..., None], 0, 255)


def _cut(rgb: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Premultiplied texture; its silhouette is where `cover`, in texels inside the rim, is positive."""
    alpha = np.clip(cover + 0.5, 0, 1)[..., None]
    alpha[0], alpha[:, 0], alpha[:, -1] = 0, 0, 0
    return np.concatenate([rgb * alpha, 255 * alpha], axis=2).astype(np.uint8)


def _over(front: np.ndarray, back: np.ndarray) -> np.ndarray:
    """One premultiplied texture over another."""
    clear = 255 - front[..., 3:].astype(np.uint16)
    return front + (back * clear // 255).astype(np.uint8)


def blot(*, softness: float, darkness: float) -> np.ndarray:
    """A soft dark ellipse, the shadow under a car or a person."""
    y, x = np.mgrid[-1:1:48j, -1:1:48j]
    alpha = darkness * np.clip((1 - np.hypot(x, y)) / softness, 0, 1)
    return np.stack([0 * alpha] * 3 + [255 * alpha], axis=2).astype(np.uint8)


def pole(rng: Rng, *, height_m: float, width_m: float, arm_m: float = 0.0) -> np.ndarray:
    """A mast, lighter on one edge, with a lamp on an arm to the left if `arm_m` is positive.

    The sheet is 2 * arm_m + 4 * width_m wide and the mast stands in its middle.
    """
    sheet = 2 * arm_m + 4 * width_m
    canvas = Canvas(sheet, height_m + 0.15, 48)
    metal = vary(rng, ((104, 108, 112), (74, 80, 78), (140, 142, 144))[rng.integers(3)], 6)
    middle, half = sheet / 2, width_m / 2
    canvas.box(middle - half, -0.1, middle + half, height_m, shade(metal, 0.8))
    canvas.box(middle - half * 0.6, -0.1, middle + half * 0.1, height_m, shade(metal, 1.3))
    canvas.box(middle - half * 1.4, -0.1, middle + half * 1.4, min(0.7, height_m / 4), shade(metal, 0.66))
    if arm_m:
        canvas.limb((middle, height_m - 0.3), (middle - arm_m * 0.8, height_m - 0.06), width_m * 0.6, metal)
        canvas.polygon([(middle - arm_m, height_m - 0.1), (middle - arm_m * 0.45, height_m - 0.16),
                        (middle - arm_m * 0.5, height_m + 0.06)], shade(metal, 1.2))  # fmt: skip
    return canvas.texture


def sign(rng: Rng, kind: int, *, size_m: float) -> np.ndarray:
    """One of `SIGN_KINDS` traffic signs on a square sheet."""
    canvas = Canvas(size_m, size_m, 96 / size_m)
    half = size_m / 2
    _SIGNS[kind](canvas, rng, (half, half), half * 0.96)
    return lit(canvas.texture, float(rng.uniform(0.86, 1.04)))


def _speed_limit(canvas: Canvas, rng: Rng, middle: Point, radius: float) -> None:
    canvas.disc(middle, radius, _RED)
    canvas.disc(middle, radius * 0.72, _WHITE)
    x, y = middle
    for shift in (-0.3, 0.28):
        canvas.disc((x + shift * radius, y), radius * 0.24, _BLACK, aspect=1.6)
        canvas.disc((x + shift * radius, y), radius * 0.1, _WHITE, aspect=1.8)


def _no_entry(canvas: Canvas, rng: Rng, middle: Point, radius: float) -> None:
    canvas.disc(middle, radius, _RED)
    canvas.box(middle[0] - 0.7 * radius, middle[1] - 0.17 * radius, middle[0] + 0.7 * radius,
               middle[1] + 0.17 * radius, _WHITE)  # fmt: skip


def _direction(canvas: Canvas, rng: Rng, middle: Point, radius: float) -> None:
    canvas.disc(middle, radius, _BLUE)
    x, y = middle
    turn = float(rng.choice([-1, 1]))
    canvas.limb((x - turn * 0.5 * radius, y), (x + turn * 0.2 * radius, y), radius * 0.26, _WHITE)
    neck, tip, half = x + turn * 0.15 * radius, x + turn * 0.68 * radius, 0.4 * radius
    canvas.polygon([(neck, y - half), (neck, y + half), (tip, y)], _WHITE)


def _priority(canvas: Canvas, rng: Rng, middle: Point, radius: float) -> None:
    for size, colour in ((1.0, _WHITE), (0.72, _YELLOW)):
        canvas.polygon(_ring(middle, radius * size, 4, 90), colour)


def _warning(canvas: Canvas, rng: Rng, middle: Point, radius: float) -> None:
    low = (middle[0], middle[1] - 0.2 * radius)
    canvas.polygon(_ring(low, radius * 1.12, 3, 90), _RED)
    canvas.polygon(_ring(low, radius * 0.68, 3, 90), _WHITE)
    canvas.limb((low[0], low[1] - 0.05 * radius), (low[0], low[1] + 0.3 * radius), radius * 0.14, _BLACK)


def _stop(canvas: Canvas, rng: Rng, middle: Point, radius: float) -> None:
    canvas.polygon(_ring(middle, radius, 8, 22.5), _WHITE)
    canvas.polygon(_ring(middle, radius * 0.9, 8, 22.5), _RED)
    for shift in (-0.5, -0.17, 0.17, 0.5):
        x = middle[0] + shift * radius
        canvas.box(
            x - 0.1 * radius, middle[1] - 0.22 * radius, x + 0.1 * radius, middle[1] + 0.22 * radius, _WHITE
        )


def _parking(canvas: Canvas, rng: Rng, middle: Point, radius: float) -> None:
    x, y = middle
    canvas.box(x - 0.85 * radius, y - 0.85 * radius, x + 0.85 * radius, y + 0.85 * radius, _BLUE)
    canvas.limb(
        (x - 0.2 * radius, y - 0.5 * radius), (x - 0.2 * radius, y + 0.5 * radius), radius * 0.2, _WHITE
    )
    canvas.disc((x + 0.05 * radius, y + 0.25 * radius), radius * 0.36, _WHITE)
    canvas.disc((x + 0.05 * radius, y + 0.25 * radius), radius * 0.15, _BLUE)


_SIGNS = (_speed_limit, _no_entry, _direction, _priority, _warning, _stop, _parking)
SIGN_KINDS = len(_SIGNS)


def _ring(middle: Point, radius: float, count: int, start_deg: float) -> list[Point]:
    """Corners of a regular polygon."""
    angles = np.radians(start_deg + 360 * np.arange(count) / count)
    return [(middle[0] + radius * float(np.cos(a)), middle[1] + radius * float(np.sin(a))) for a in angles]


def person(rng: Rng, *, stride_m: float, sun: int) -> np.ndarray:
    """A walker with head, torso, arms and legs, perhaps a skirt, a bag or long hair.

    Args:
        rng: source of randomness.
        stride_m: distance of the feet; large when seen from the side.
        sun: -1 if the light comes from the left, +1 from the right.
    """
    width, height = PERSON_SIZE_M
    canvas = Canvas(width, height, 72)
    middle, tall = width / 2, float(rng.uniform(0.9, 1.0))
    top = vary(rng, _TOPS[rng.integers(len(_TOPS))], 10)
    skin, hair = vary(rng, _SKIN[rng.integers(4)], 6), _HAIR[rng.integers(5)]
    _legs(canvas, rng, middle, tall, stride_m)
    hip, shoulder = 0.86 * tall, 1.5 * tall
    lean = 0.3 * stride_m
    for side in (-1, 1):
        joint = (middle + side * 0.23, shoulder - 0.08)
        hand = (middle + side * (0.29 + 0.2 * stride_m), hip + 0.02)
        canvas.limb(joint, hand, 0.13, shade(top, 0.82))
        canvas.disc(hand, 0.065, skin)
    coat = float(rng.choice([0.0, 0.0, 0.3]))
    half = [(0.19, hip - coat), (0.2, hip + 0.2), (0.27, shoulder - 0.02), (0.1, shoulder + 0.08)]
    canvas.polygon([(middle + x, y) for x, y in half] + [(middle - x, y) for x, y in half[::-1]], top)
    canvas.limb((middle, shoulder), (middle + lean * 0.1, shoulder + 0.14), 0.12, shade(skin, 0.8))
    head = (middle + lean * 0.1, shoulder + 0.2)
    canvas.disc((head[0], head[1] + 0.03), 0.125, hair, aspect=1.15)
    if rng.random() < 0.6:
        canvas.disc((head[0], head[1] - 0.02), 0.1, skin, aspect=1.2)
    if rng.random() < 0.35:
        bag = vary(rng, _TOPS[rng.integers(len(_TOPS))], 10)
        canvas.box(middle - 0.17, hip + 0.18, middle + 0.17, shoulder - 0.08, shade(bag, 0.8))
    across = np.linspace(1 - 0.28 * sun, 1 + 0.28 * sun, canvas.texture.shape[1], dtype=np.float32)
    folds = 1 + 0.06 * noise(rng, *canvas.texture.shape[:2], cell_px=8)
    return lit(canvas.texture, across[None] * folds)


def _legs(canvas: Canvas, rng: Rng, middle: float, tall: float, stride_m: float) -> None:
    """Two legs with shoes; the far one is darker."""
    cloth = vary(rng, _TROUSERS[rng.integers(len(_TROUSERS))], 8)
    hip = 0.9 * tall
    for side, light in ((-1, 0.78), (1, 1.0)):
        foot = (middle + side * max(stride_m / 2, 0.1), 0.06)
        knee = (middle + side * max(stride_m / 3, 0.1), 0.48 * tall)
        canvas.limb((middle + side * 0.09, hip), knee, 0.19, shade(cloth, light))
        canvas.limb(knee, foot, 0.145, shade(cloth, light))
        canvas.limb(foot, (foot[0] + 0.1 * np.sign(stride_m - 0.3), 0.05), 0.1, (38, 32, 30))
