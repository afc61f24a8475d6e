"""What is background: low maps, and pixels that move as the camera does."""

import numpy as np
import pytest
import torch

from weclick.proxy_labels.background import low_values, with_the_camera
from weclick.proxy_labels.camera_motion import residual_motion


def test_low_values_are_low_in_every_class():
    values = torch.tensor([[[0.01, 0.2, 1.0]], [[0.04, 0.0, 0.9]]])
    assert low_values(values, 0.05)[0].tolist() == [True, False, False]
    assert not low_values(torch.tensor([[[0.05, 1.0]]]), 0.05).any()


def test_a_class_that_is_nowhere_may_be_anywhere():
    assert not low_values(torch.tensor([[[0.01, 1.0]], [[0.0, 0.0]]]), 0.05).any()


def moving_camera(height=24, width=32):
    """A flow of a camera that pans, turns and zooms; a quarter of the frame moves on its own."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    flow = np.stack([3 + 0.02 * x - 0.03 * y, -1 + 0.03 * x + 0.02 * y])
    moving = np.zeros((height, width), bool)
    moving[6:18, 8:24] = True
    flow[:, moving] += [[2.0], [-1.0]]
    return flow, moving


def test_the_residual_is_what_the_camera_does_not_explain():
    flow, moving = moving_camera()
    residual = residual_motion(flow)
    assert residual[~moving].max() < 0.05
    np.testing.assert_allclose(residual[moving], np.sqrt(5), atol=0.05)


def test_of_constants_the_dominant_one_is_the_median():
    flow = np.zeros((2, 6, 10))
    flow[0] = 4
    flow[0, :2] = 9
    np.testing.assert_allclose(residual_motion(flow)[2:], 0, atol=0.02)


def test_the_background_moves_with_the_camera():
    flow, moving = moving_camera()
    np.testing.assert_array_equal(with_the_camera(flow, 0.12), ~moving)


@pytest.mark.parametrize("scale", [0.0, 0.1])
def test_where_nothing_moves_by_itself_all_is_background(scale):
    noise = np.random.default_rng(0).normal(size=(2, 12, 16)) * scale / 2
    assert with_the_camera(noise + 5, 0.05).mean() > 0.95
