"""Instances drawn over frames: tints, outlines, texts and colours."""

import numpy as np
import pytest

from weclick.evaluate.instances.drawing import COLORS, DARK, overlay_instances
from weclick.evaluate.instances.found import Instances

SIZE = (60, 120)


def squares(*corners, scores=None):
    masks = np.zeros((len(corners), *SIZE), bool)
    for mask, (y, x) in zip(masks, corners, strict=True):
        mask[y : y + 16, x : x + 30] = True
    scores = np.array(scores or [0.9] * len(corners))
    return Instances(masks, np.zeros(len(corners), np.int64), scores)


def grey():
    return np.full((*SIZE, 3), 100, np.uint8)


def test_a_tint_inside_an_outline_inside_a_dark_line():
    drawn = overlay_instances(grey(), squares((30, 40)), ["car"], opacity=0.5)
    assert (drawn[38, 55] == [165, 130, 50]).all(), "half grey, half orange"
    assert (drawn[38, 40] == COLORS[0]).all()
    assert (drawn[38, 39] == DARK).all()
    assert (drawn[38, 38] == 100).all()
    assert (overlay_instances(grey(), squares((30, 40)), ["car"], opacity=0)[38, 55] == 100).all()


def test_the_frame_is_not_changed_and_nothing_is_drawn_of_nothing():
    image = grey()
    overlay_instances(image, squares((30, 40)), ["car"])
    assert (image == 100).all()
    assert (overlay_instances(image, squares(), ["car"]) == image).all()


def test_the_surest_lies_on_top():
    drawn = overlay_instances(grey(), squares((30, 40), (34, 50), scores=[0.6, 0.8]), ["car"], opacity=1)
    assert (drawn[40, 60] == COLORS[1]).all()
    drawn = overlay_instances(grey(), squares((34, 50), (30, 40), scores=[0.8, 0.6]), ["car"], opacity=1)
    assert (drawn[40, 60] == COLORS[0]).all()


def test_an_object_at_the_edge_has_no_outline_there():
    drawn = overlay_instances(grey(), squares((44, 90)), ["car"], opacity=0)
    assert (drawn[52, 119] == 100).all()
    assert (drawn[59, 100] == 100).all()
    assert (drawn[52, 90] == COLORS[0]).all()


def test_numbers_choose_the_colours():
    drawn = overlay_instances(grey(), squares((30, 5), (30, 60)), ["car"], opacity=1, numbers=[9, 2])
    assert (drawn[40, 20] == COLORS[2]).all()
    assert (drawn[40, 80] == COLORS[2]).all()


def plate(drawn):
    return (drawn == DARK).all(2)


def test_texts_stand_above_and_leave_each_other_free():
    drawn = overlay_instances(grey(), squares((30, 10)), ["car"])
    assert plate(drawn)[18:29, 10:40].mean() > 0.5
    one = plate(drawn).sum()
    twice = overlay_instances(grey(), squares((30, 10), (30, 10), scores=[0.9, 0.8]), ["car"])
    assert plate(twice).sum() > 1.5 * one, "the second one found another place"


def test_many_objects_in_one_place_are_drawn():
    many = squares(*[(30, 40)] * 30)
    assert overlay_instances(grey(), many, ["car"]).shape == (*SIZE, 3)


@pytest.mark.parametrize("blind", ["protan", "deutan"])
def test_people_without_one_kind_of_cones_tell_the_colours_apart(blind):
    """Machado, Oliveira and Fernandes (2009), severity 1: no two colours come near each other."""
    simulate = {
        "protan": [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        "deutan": [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
    }[blind]
    srgb = COLORS / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(simulate).T, 0, 1)
    seen = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055) * 255
    apart = np.linalg.norm(seen[:, None] - seen[None], axis=2)[np.triu_indices(len(COLORS), 1)]
    assert apart.min() > 30
