"""Maps are multiplied where a frame moves fast."""

import numpy as np
import pytest
import torch

from weclick.common.errors import InputError
from weclick.proxy_labels import amplify


def random_case(seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((3, 8, 11)), rng.normal(size=(2, 8, 11))


@pytest.mark.parametrize("options", [{}, {"factor": 5.0, "percentile": 50}, {"percentile": 100}])
def test_equals_its_formula(options):
    cam, flow = random_case()
    speed = np.sqrt(flow[0] ** 2 + flow[1] ** 2)
    fast = speed > np.percentile(speed, options.get("percentile", 80))
    found = amplify(cam, flow, **options)
    np.testing.assert_allclose(found, cam * np.where(fast, options.get("factor", 2), 1), atol=1e-15)


@pytest.mark.parametrize("motion", ["raw", "residual"])
@pytest.mark.parametrize("size", [(8, 11), (1, 9), (9, 1), (1, 1)])
def test_where_all_moves_alike_nothing_is_amplified(motion, size):
    cam = np.random.default_rng(0).random((2, *size))
    flow = np.empty((2, *size))
    flow[0], flow[1] = 3.3, -1.7
    assert np.array_equal(amplify(cam, flow, motion=motion), cam)


def test_a_slow_object_before_a_panning_camera_is_found_by_residual_motion():
    cam, flow = np.ones((1, 24, 40)), np.zeros((2, 24, 40))
    flow[0] = 6
    thing = np.zeros((24, 40), bool)
    thing[8:14, 10:18] = True
    flow[0][thing] = 1
    assert np.array_equal(amplify(cam, flow, motion="residual")[0] == 2, thing)
    assert not (amplify(cam, flow, motion="raw")[0] == 2).any()
    flow[0] += np.random.default_rng(0).random((24, 40))  # so that some background is faster than the rest
    raw = amplify(cam, flow, motion="raw")[0] == 2
    assert raw.any()
    assert not raw[thing].any()


def test_neither_normalised_nor_clipped():
    assert amplify(np.full((1, 1, 4), 0.9), np.array([[[0.0, 0, 0, 1]], [[0, 0, 0, 0]]]))[0, 0, 3] == 1.8


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_tensors_keep_their_type(dtype):
    cam, flow = (torch.from_numpy(each) for each in random_case())
    found = amplify(cam.to(dtype), flow.float())
    assert found.dtype == dtype
    assert found.shape == cam.shape


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cam": np.ones((4, 5))}, r"maps are \(4, 5\) and the flow \(2, 4, 5\), expected \(K, h, w\)"),
        ({"flow": np.ones((2, 8, 10))}, r"flow \(2, 8, 10\), expected .* bring both to one grid"),
        ({"flow": np.full((2, 4, 5), np.nan)}, "the flow is not finite everywhere"),
        ({"cam": np.full((1, 4, 5), 200, np.uint8)}, "maps are uint8, .* expected .* floating point"),
        ({"cam": np.full((1, 4, 5), np.nan)}, "maps are float64, or not all finite"),
        ({"factor": 0}, "factor is 0, percentile 80 and motion 'raw', expected a finite number above 0"),
        ({"factor": np.inf}, "factor is inf"),
        ({"percentile": 101}, r"percentile 101 .* one of 0\.\.100"),
        ({"motion": "camera"}, "motion 'camera', expected .* raw or residual"),
    ],
)
def test_errors_teach(change, message):
    with pytest.raises(InputError, match=message):
        amplify(**{"cam": np.ones((1, 4, 5)), "flow": np.ones((2, 4, 5)), **change})
