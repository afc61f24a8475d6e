"""However an array lies in memory, the answer is that of its numbers, and nobody writes into it."""

import warnings

import numpy as np
import pytest
import torch

from weclick.common.errors import InputError
from weclick.proxy_labels import amplify, centroids, detections, group, walk

RNG = np.random.default_rng(0)
MAPS, EDGE, FIELD = RNG.random((2, 6, 7)), RNG.random((6, 7)), RNG.normal(size=(2, 6, 7))
CLUSTERS = RNG.integers(0, 3, (6, 7))

CALLS = {
    "walk": (walk, (MAPS, EDGE)),
    "centroids": (centroids, (FIELD,)),
    "group": (group, (FIELD,)),
    "detections": (lambda *arrays: detections(*arrays, (24, 28)), (MAPS, CLUSTERS, EDGE)),
    "amplify": (lambda cam, flow: amplify(cam, flow, motion="residual"), (MAPS, FIELD)),
}


def mirrored(array):
    return array[..., ::-1].copy()[..., ::-1]


def read_only(array):
    locked = array.copy()
    locked.flags.writeable = False
    return locked


def foreign(array):
    return array.astype(array.dtype.newbyteorder())


def columns(array):
    return np.asfortranarray(array)


def parts(found):
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("kind", [mirrored, read_only, foreign, columns])
def test_any_array_of_the_same_numbers_gives_the_same(name, kind):
    call, arrays = CALLS[name]
    given = [kind(array) for array in arrays]
    before = [array.copy() for array in given]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found = call(*given)
    for one, expected in zip(parts(found), parts(call(*arrays)), strict=True):
        np.testing.assert_array_equal(one, expected)
    for array, copied in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, copied)


def test_a_flow_of_half_precision_is_a_flow():
    cam, flow = torch.ones(1, 2, 2), torch.tensor([[[0.0, 0], [0, 3]], [[0, 0], [0, 0]]])
    assert amplify(cam, flow.bfloat16()).flatten().tolist() == [1, 1, 1, 2]


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (lambda array: array + 1j, "are complex numbers, expected real ones"),
        (lambda array: array.astype(object), "are a ndarray that cannot be read as numbers"),
        (lambda _: [[1.0], [1.0, 2.0]], "are a list that cannot be read as numbers"),
        (lambda _: "maps", "are a str that cannot be read as numbers"),
    ],
)
def test_what_holds_no_numbers_is_told(name, kind, told):
    call, arrays = CALLS[name]
    with pytest.raises(InputError, match=told):
        call(*[kind(array) for array in arrays])
