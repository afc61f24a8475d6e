"""Stacks of flow: which flows, in which order and scale; and the camera's part of a flow."""

import numpy as np
import pytest
import torch

from weclick.geometry import (
    Crop,
    StackOptions,
    camera_flow,
    dominant_homography,
    motion_stack,
    sample_flow_crop,
)
from weclick.geometry.stack import LIMIT

SIZE = (60, 90)
STRIDE = 4
KNOWN = {number: f"{number}" for number in range(20)}


def turned_and_zoomed(degrees=2.0, zoom=1.03, pan=(3.0, -2.0)) -> np.ndarray:
    """A homography about the middle of the image, with a little perspective."""
    cos, sin = zoom * np.cos(np.radians(degrees)), zoom * np.sin(np.radians(degrees))
    middle = np.array([[1, 0, SIZE[1] / 2], [0, 1, SIZE[0] / 2], [0, 0, 1]])
    turn = np.array([[cos, -sin, pan[0]], [sin, cos, pan[1]], [1e-4, -1e-4, 1]])
    return middle @ turn @ np.linalg.inv(middle)


def flow_of(homography: np.ndarray, stride=STRIDE) -> np.ndarray:
    """The exact flow of a camera on the stride grid, (2, h, w) px of that grid."""
    rows, columns = (-(-side // stride) for side in SIZE)
    y, x = np.mgrid[:rows, :columns] * stride + (stride - 1) / 2
    to = homography @ np.stack([x, y, np.ones_like(x)]).reshape(3, -1)
    return ((to[:2] / to[2]).reshape(2, rows, columns) - np.stack([x, y])) / stride


# --- which flows ------------------------------------------------------------------------------------------


def test_a_stack_reaches_from_four_frames_before_to_five_after_as_in_the_paper():
    assert StackOptions().slots(KNOWN, 10) == [f"{number}" for number in range(6, 16)]


@pytest.mark.parametrize(
    ("target", "repeat", "zero"),
    [(0, ["0", "0", "0", "1"], [None, None, "0", "1"]), (19, ["17", "18", "19", "19"], None)],
)
def test_at_the_ends_of_a_clip_the_nearest_flow_stands_for_those_that_are_not_there(target, repeat, zero):
    short = StackOptions(length=4, first=-2)
    assert short.slots(KNOWN, target) == repeat
    assert len(short.slots(KNOWN, target)) == 4
    if zero:
        assert short._replace(edge="zero").slots(KNOWN, target) == zero


def test_a_gap_takes_the_nearer_side_and_no_flow_at_all_is_zeros():
    options = StackOptions(length=5, first=-2)
    assert options.slots({8: "a", 12: "b"}, 10) == ["a", "a", "a", "b", "b"]
    assert options.slots({30: "far"}, 10) == [None] * 5


def test_channels_are_u_and_v_of_each_step_in_units_of_the_scale_and_clipped():
    first = torch.stack([torch.full((2, 3), 4.0), torch.full((2, 3), -2.0)])
    stack = motion_stack(torch.stack([first, 100 * first]), [0, None, 1, 0], scale_px=8)
    assert stack.shape == (8, 2, 3)
    assert stack[:, 0, 0].tolist() == [0.5, -0.25, 0.0, 0.0, LIMIT, -LIMIT, 0.5, -0.25]


def test_a_stack_of_nothing_is_zeros():
    stack = motion_stack(torch.zeros(0, 2, 4, 5), [None, None], 8)
    assert stack.shape == (4, 4, 5)
    assert not stack.any()


# --- the camera -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_the_camera_is_found_beside_things_that_move_otherwise(share):
    true = turned_and_zoomed()
    flow = flow_of(true)
    moving = np.zeros(flow.shape[1:], bool)
    moving[: int(share * flow.shape[1])] = True
    flow[:, moving] += np.array([[6.0], [3.0]])
    found = dominant_homography(flow.astype(np.float32), STRIDE)
    whole = Crop(0, 0, 1.0, False, SIZE)
    error = camera_flow(found[None], whole) - camera_flow(true[None], whole)
    assert error.norm(dim=1).max() < 0.05  # px


@pytest.mark.parametrize(
    "flow", [np.zeros((2, 15, 23)), np.zeros((2, 1, 1)), np.random.default_rng(0).normal(size=(2, 15, 23))]
)
def test_no_camera_is_no_motion(flow):
    found = dominant_homography(flow, STRIDE)
    assert np.isfinite(found).all()
    if not flow.any():
        np.testing.assert_allclose(found, np.eye(3), atol=1e-6)


def test_the_stride_is_told_since_few_cells_do_not_tell_it():
    true, whole = turned_and_zoomed(), Crop(0, 0, 1.0, False, SIZE)  # 60 px in 4 cells: of 15 px or 16?
    found = dominant_homography(flow_of(true, stride=16), 16)
    torch.testing.assert_close(
        camera_flow(found[None], whole), camera_flow(true[None], whole), atol=0.01, rtol=0
    )


def test_noise_has_no_camera():
    rng = np.random.default_rng(2)
    for _ in range(5):
        assert np.array_equal(dominant_homography(5 * rng.normal(size=(2, 15, 23)), STRIDE), np.eye(3))


def test_it_is_found_the_same_every_time():
    flow = flow_of(turned_and_zoomed()) + np.random.default_rng(1).normal(0, 0.05, (2, 15, 23))
    assert np.array_equal(dominant_homography(flow, STRIDE), dominant_homography(flow, STRIDE))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("scale", [0.5, 1.7])
def test_a_crop_shows_the_cameras_flow_as_it_shows_a_stored_one(flip, scale):
    true, crop = turned_and_zoomed(), Crop(5.0, 7.0, scale, flip, (16, 16))
    stored = torch.from_numpy(flow_of(true, stride=1)).float()[None]
    shown, _ = sample_flow_crop(stored, [crop], image_size=SIZE)
    torch.testing.assert_close(camera_flow(true[None], crop), shown, atol=2e-3, rtol=0)
