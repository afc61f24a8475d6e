"""The toy street's stage: sky, ground, houses. `build_street` then puts the cars, trees and people."""

from __future__ import annotations

import numpy as np

from weclick.datasets.toy import ground, sprites, things
from weclick.datasets.toy.geometry import Camera
from weclick.datasets.toy.paint import Colour, Rng, lit, vary
from weclick.datasets.toy.street import (
    BEHIND_M,
    BUILDING,
    GROUND_LAYER,
    HALF_ROAD_M,
    HOUSE_LAYER,
    KERB_M,
    LANE_M,
    ROAD,
    SIDEWALK,
    SIDEWALK_M,
    SKY,
    SKY_LAYER,
    VEGETATION,
    Street,
    X,
    Y,
    Z,
)

TILE_M = 10.0


def build_street(rng: Rng, *, height: int, width: int, frames: int) -> Street:
    """Draw a street: the same randomness gives the same street at any image size.

    Args:
        rng: source of randomness.
        height: image rows.
        width: image columns.
        frames: length of the clip; the street is as long as its camera drives.
    """
    sway = (
        float(rng.uniform(0.05, 0.2)),
        float(rng.uniform(0.006, 0.02)),
        float(rng.uniform(36, 60)),
        float(rng.uniform(0, 2 * np.pi)),
    )
    start = np.array([LANE_M + rng.uniform(-0.2, 0.2), rng.uniform(1.55, 1.8), 0.0])
    camera = Camera(height, width, start, float(rng.uniform(0.18, 0.28)), sway)
    street = Street(rng, frames, camera, int(rng.choice([-1, 1])), float(rng.choice([0.1, 0.35, 0.6, 1.0])))
    _put_sky(street)
    _put_ground(street)
    for side in (-1, 1):
        _put_houses(street, side)
    _put_end(street)
    things.put_cars(street)
    for side in (-1, 1):
        things.put_furniture(street, side)
        things.put_walkers(street, side)
    things.put_crossing(street)
    return street


def _put_sky(street: Street) -> None:
    """A plane so far away that the camera's drive does not show: the sky only turns."""
    far = 50_000.0
    texture = ground.sky(street.rng, overcast=street.overcast)
    street.add(
        texture,
        np.array([-0.9 * far, 0.62 * far, far]),
        X * 1.8 * far,
        -Y * 0.66 * far,
        class_id=SKY,
        body=street.body(),
        layer=SKY_LAYER,
    )


def _put_ground(street: Street) -> None:
    """Road, kerbs and sidewalks, tile by tile; one crossing in seven tiles."""
    rng = street.rng
    asphalt = vary(rng, ((84, 86, 90), (96, 94, 94), (72, 74, 80))[rng.integers(3)], 5)
    paving = vary(rng, ((150, 142, 136), (164, 152, 138), (140, 138, 140))[rng.integers(3)], 6)
    bodies = {ROAD: street.body(), SIDEWALK: street.body()}
    _put_foundation(street, paving, SIDEWALK, bodies[SIDEWALK], half_width_m=200)
    _put_foundation(street, asphalt, ROAD, bodies[ROAD], half_width_m=HALF_ROAD_M)
    size = {"length_m": TILE_M, "half_width_m": HALF_ROAD_M}
    lanes = [ground.road(rng, asphalt, marks="lane", **size) for _ in range(3)]
    zebra = ground.road(rng, asphalt, marks="crossing", **size)
    walks = _sidewalks(street, paving)
    stones = ground.kerb(rng, length_m=TILE_M)
    zebra_at = int(rng.integers(2, 4))
    more = {"layer": GROUND_LAYER, "rank": 1}
    for index, z in enumerate(np.arange(-BEHIND_M, street.end_m, TILE_M) + TILE_M):
        road, back = zebra if index % 7 == zebra_at else lanes[rng.integers(3)], -Z * TILE_M
        left = np.array([-HALF_ROAD_M, 0, z])
        street.add(road, left, X * 2 * HALF_ROAD_M, back, class_id=ROAD, body=bodies[ROAD], **more)
        for side in (-1, 1):
            edge, walk = np.array([side * HALF_ROAD_M, KERB_M, z]), walks[side][rng.integers(2)]
            left, start = (edge - X * SIDEWALK_M, edge + back) if side < 0 else (edge, edge)
            paved = {"class_id": SIDEWALK, "body": bodies[SIDEWALK], **more}
            street.add(walk, left, X * SIDEWALK_M, back, **paved)
            street.add(stones, start, -side * Z * TILE_M, -Y * KERB_M, **paved)


def _put_foundation(street: Street, colour: Colour, class_id: int, body: int, *, half_width_m: float) -> None:
    """A plain sheet under all tiles; it shows beyond them, and where they get too thin to see."""
    texture = np.full((8, 8, 4), 255, np.uint8)
    texture[..., :3] = np.multiply(colour, 0.9).astype(np.uint8)
    far, low = street.end_m + 40, -0.03 if class_id == SIDEWALK else -0.02
    left = np.array([-half_width_m, low, far])
    street.add(
        texture,
        left,
        X * 2 * half_width_m,
        -Z * (far + BEHIND_M),
        class_id=class_id,
        body=body,
        anchor=left + Z * 1e3,
        layer=GROUND_LAYER,
    )


def _sidewalks(street: Street, paving: Colour) -> dict[int, list[np.ndarray]]:
    """Two sidewalk tiles for each side of the street, in that side's light."""
    rng, slab_m = street.rng, float(street.rng.choice([0.5, 0.75, 1.0]))
    tiles = [
        ground.sidewalk(rng, paving, length_m=TILE_M, width_m=SIDEWALK_M, slab_m=slab_m) for _ in range(2)
    ]
    left = [lit(tile, street.sunlight(-1)) for tile in tiles]
    right = [lit(np.ascontiguousarray(tile[:, ::-1]), street.sunlight(1)) for tile in tiles]
    return {-1: left, 1: right}


def _put_houses(street: Street, side: int) -> None:
    """A row of houses with gables and roofs, and gaps with hedges between."""
    rng = street.rng
    z = -BEHIND_M + float(rng.uniform(0, 4))
    while z < street.end_m:
        width = float(rng.uniform(8, 14))
        x = side * (HALF_ROAD_M + SIDEWALK_M + float(rng.uniform(0, 0.9)))
        if rng.random() < 0.2:
            _put_garden(street, side, x, z, width * 0.7)
            z += width * 0.7
            continue
        _put_house(
            street, side, x, z, width, float(rng.choice([5.2, 6.6, 8.2, 9.6])) + float(rng.uniform(-0.4, 0.4))
        )
        z += width


def _put_house(street: Street, side: int, x: float, z: float, width: float, height: float) -> None:
    """Facade along the street, gable towards the camera, roof above."""
    rng, body, anchor = street.rng, street.body(), np.array([x, 0, z])
    common = {"class_id": BUILDING, "body": body, "anchor": anchor, "layer": HOUSE_LAYER}
    light = street.sunlight(side)
    corner = np.array([x, height, z if side < 0 else z + width])
    along = -side * Z * width
    gable = ground.gable(rng, width_m=8, height_m=height, ridge_m=2.6)
    left = np.array([x if side > 0 else x - 8, height + 2.6, z])
    street.add(lit(gable, 0.8), left, X * 8, -Y * (height + 2.6), **common)
    tiles = ground.roof(rng, width_m=width, height_m=4.8)
    rise = np.array([side * 4, 2.6, 0])
    street.add(lit(tiles, light), corner + rise, along, -rise, **common)
    facade = ground.facade(rng, width_m=width, height_m=height)
    street.add(lit(facade, light), corner, along, -Y * height, rank=1, **common)


def _put_garden(street: Street, side: int, x: float, z: float, length: float) -> None:
    """A gap between houses, closed by bushes and a tree further back."""
    rng, back = street.rng, np.array([x + side * 1.0, 0, z])
    height = float(rng.uniform(3.0, 4.5))
    texture = lit(sprites.hedge(rng, width_m=length, height_m=height, sun=street.sun), street.sunlight(side))
    corner = back + Y * height + (0 if side < 0 else Z * length)
    street.add(
        texture,
        corner,
        -side * Z * length,
        -Y * height,
        class_id=VEGETATION,
        body=street.body(),
        anchor=back,
        layer=HOUSE_LAYER,
    )


def _put_end(street: Street) -> None:
    """Houses and trees across the street's far end."""
    rng = street.rng
    for left in np.arange(-48, 48, 12.0):
        height = float(rng.uniform(7, 13))
        texture = ground.facade(rng, width_m=12, height_m=height)
        street.add(
            texture,
            np.array([left, height, street.end_m + 4]),
            X * 12,
            -Y * height,
            class_id=BUILDING,
            body=street.body(),
            layer=HOUSE_LAYER,
        )
    texture = sprites.hedge(rng, width_m=30, height_m=7, sun=street.sun)
    street.upright(
        texture,
        np.array([0, 0, street.end_m]),
        (30, 7),
        class_id=VEGETATION,
        body=street.body(),
        layer=HOUSE_LAYER,
    )
