"""The things that stand and move in the toy street: cars, trees, poles, signs, people."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from weclick.datasets.toy import sprites
from weclick.datasets.toy.cars import car
from weclick.datasets.toy.geometry import NO_ID
from weclick.datasets.toy.street import (
    CAR,
    HALF_ROAD_M,
    KERB_M,
    LANE_M,
    PERSON,
    POLE,
    SHADOW_LAYER,
    SIDEWALK_M,
    SIGN,
    THING_LAYER,
    VEGETATION,
    Street,
    X,
    Y,
    Z,
)

PARKED_M = 4.25
FURNITURE_UP_TO_M = 34.0  # beyond, a post is thinner than a pixel of a small frame
PEOPLE_UP_TO_M = 30.0


def put_cars(street: Street) -> None:
    """One ahead, several oncoming, and parked ones at both kerbs."""
    rng, ahead = street.rng, street.camera.speed
    cruise = ahead * float(rng.uniform(0.95, 1.15))
    _put_car(street, LANE_M + rng.uniform(-0.2, 0.2), rng.uniform(11, 17), 1, cruise)
    _put_car(street, LANE_M + rng.uniform(-0.2, 0.2), rng.uniform(26, 40), 1, cruise)
    oncoming = -float(rng.uniform(0.12, 0.26))
    for z in np.arange(rng.uniform(11, 17), street.end_m, 17):
        _put_car(street, -LANE_M + rng.uniform(-0.2, 0.2), z + rng.uniform(0, 5), -1, oncoming)
    for side in (-1, 1):
        z = float(rng.uniform(8, 13))
        while z < street.end_m - 5:
            if rng.random() < (0.22 if side > 0 else 0.3):
                _put_car(street, side * (PARKED_M + rng.uniform(-0.06, 0.1)), z, side, 0.0)
            z += float(rng.uniform(5.6, 8))


def _put_car(street: Street, x: float, z: float, heading: int, speed: float) -> None:
    """One car, if its way is free."""
    position, velocity = np.array([x, 0, z]), Z * speed
    if street.is_free(position, np.array([1.0, 0, 2.7]), velocity):
        ids = (CAR, street.instance(CAR), street.body())
        street.surfaces += car(
            street.rng,
            position=position,
            heading=heading,
            velocity=velocity,
            sun=street.sun,
            layer=THING_LAYER,
            ids=ids,
        )


def put_furniture(street: Street, side: int) -> None:
    """Trees, lamp posts, signs and bollards along the kerb, in turn."""
    rng = street.rng
    makers: list[Callable] = []
    z = float(rng.uniform(3, 7))
    while z < min(street.end_m - 4, FURNITURE_UP_TO_M):
        if not makers:
            makers = [_FURNITURE[kind] for kind in rng.permutation(len(_FURNITURE))]
        foot = np.array([side * (HALF_ROAD_M + 0.55 + rng.uniform(-0.1, 0.1)), KERB_M, z])
        makers.pop()(street, side, foot)
        z += float(rng.uniform(3.6, 6.0))


def _put_tree(street: Street, side: int, foot: np.ndarray) -> None:
    """A tree and its shadow on the ground."""
    rng = street.rng
    width, height = float(rng.uniform(3.2, 4.8)), float(rng.uniform(4.6, 6.4))
    foot = foot + X * side * 0.35
    texture = sprites.tree(rng, width_m=width, height_m=height, sun=street.sun)
    street.upright(texture, foot, (width, height), class_id=VEGETATION, body=street.body(), layer=THING_LAYER)
    shade = sprites.blot(softness=0.7, darkness=0.5 * (1 - 0.8 * street.overcast))
    _put_shadow(street, foot, (width * 1.2, width * 0.9), shade)


def _put_shadow(
    street: Street, foot: np.ndarray, size_m: tuple[float, float], texture: np.ndarray, **more
) -> None:
    """A soft blot on the ground around `foot`, (along x, along z) metres, pushed away from the sun."""
    middle = foot - X * street.sun * size_m[0] * 0.2 + Y * 0.012
    origin = middle + np.array([-size_m[0] / 2, 0, size_m[1] / 2])
    right, down = X * size_m[0], -Z * size_m[1]
    street.add(texture, origin, right, down, class_id=NO_ID, anchor=middle, layer=SHADOW_LAYER, **more)


def _put_lamp(street: Street, side: int, foot: np.ndarray) -> None:
    """A lamp post whose arm reaches over the road."""
    rng = street.rng
    height, width, arm = (
        float(rng.uniform(5.2, 6.6)),
        float(rng.uniform(0.28, 0.36)),
        float(rng.uniform(1.0, 1.6)),
    )
    texture = sprites.pole(rng, height_m=height, width_m=width, arm_m=arm)
    texture = texture if side > 0 else np.ascontiguousarray(texture[:, ::-1])
    size = (2 * arm + 4 * width, height + 0.15)
    street.upright(texture, foot, size, class_id=POLE, body=street.body(), layer=THING_LAYER)


def _put_sign(street: Street, side: int, foot: np.ndarray) -> None:
    """A pole with one sign or two."""
    rng = street.rng
    count, size, width = (
        int(rng.choice([1, 1, 2])),
        float(rng.uniform(0.75, 0.95)),
        float(rng.uniform(0.2, 0.26)),
    )
    height = float(rng.uniform(2.0, 2.4)) + count * size
    pole = sprites.pole(rng, height_m=height, width_m=width)
    street.upright(
        pole, foot, (4 * width, height + 0.15), class_id=POLE, body=street.body(), layer=THING_LAYER
    )
    for index, kind in enumerate(rng.permutation(sprites.SIGN_KINDS)[:count]):
        plate = foot + Y * (height - (index + 1) * size) - Z * 0.1
        texture = sprites.sign(rng, kind, size_m=size)
        street.upright(texture, plate, (size, size), class_id=SIGN, body=street.body(), layer=THING_LAYER)


def _put_bollards(street: Street, side: int, foot: np.ndarray) -> None:
    """Two or three short posts in a row."""
    rng = street.rng
    for index in range(rng.integers(2, 4)):
        texture = sprites.pole(rng, height_m=1.0, width_m=0.3)
        place = foot + Z * 1.3 * index
        street.upright(texture, place, (1.2, 1.15), class_id=POLE, body=street.body(), layer=THING_LAYER)


_FURNITURE = (_put_tree, _put_sign, _put_lamp, _put_sign, _put_bollards)


def put_walkers(street: Street, side: int) -> None:
    """People on a sidewalk, alone or in pairs, both ways."""
    rng = street.rng
    z = float(rng.uniform(6, 10))
    while z < min(street.end_m - 8, PEOPLE_UP_TO_M):
        pace = float(rng.choice([-1, 1])) * float(rng.uniform(0.03, 0.06))
        x = side * float(rng.uniform(HALF_ROAD_M + 1.1, HALF_ROAD_M + SIDEWALK_M - 0.5))
        for shift in (0.0, 0.7)[: rng.integers(1, 3)]:
            stride = float(rng.uniform(0.05, 0.25))
            _put_person(street, np.array([x - side * shift, KERB_M, z + 0.3 * shift]), Z * pace, stride)
        z += float(rng.uniform(3.5, 8))


def _put_person(street: Street, foot: np.ndarray, velocity: np.ndarray, stride_m: float) -> bool:
    """One person and the shadow below, if their way is free; whether it was."""
    if not street.is_free(foot, np.array([0.3, 0, 0.3]), velocity):
        return False
    rng = street.rng
    texture = sprites.person(rng, stride_m=stride_m, sun=street.sun)
    if velocity[0] < 0:
        texture = np.ascontiguousarray(texture[:, ::-1])
    street.upright(
        texture,
        foot,
        sprites.PERSON_SIZE_M,
        class_id=PERSON,
        instance_id=street.instance(PERSON),
        body=street.body(),
        layer=THING_LAYER,
        velocity=velocity,
    )
    shade = sprites.blot(softness=0.8, darkness=0.6)
    _put_shadow(street, foot, (0.9, 0.5), shade, velocity=velocity)
    return True


def put_crossing(street: Street) -> None:
    """One or two people who cross the road beyond the camera's last place, where no car comes."""
    rng = street.rng
    wanted = int(rng.integers(1, 3))
    for _ in range(30):
        pace = float(rng.choice([-1, 1])) * float(rng.uniform(0.035, 0.06))
        z = street.camera.speed * street.frames + float(rng.uniform(7, 20))
        foot = np.array([-np.sign(pace) * float(rng.uniform(1, 4.6)), 0, z])
        wanted -= _put_person(street, foot, X * pace, float(rng.uniform(0.4, 0.62)))
        if wanted <= 0:
            return
