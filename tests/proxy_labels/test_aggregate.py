"""Masks and maps along the flow: by hand, against loops in numpy, and from both sides."""

import numpy as np
import pytest
import torch

from weclick.common.errors import InputError
from weclick.proxy_labels import aggregate
from weclick.proxy_labels.aggregation import carry, gather
from weclick.proxy_labels.gathering import Leg, gather_legs, relative


def carried_in_loops(values, flow):
    """(H, W) values of the frame before, fetched pixel by pixel; 0 where the flow points outside."""
    height, width = values.shape
    out = np.zeros_like(values)
    for i in range(height):
        for j in range(width):
            x, y = j + flow[0, i, j], i + flow[1, i, j]
            if not (0 <= x <= width - 1 and 0 <= y <= height - 1):
                continue
            left, top = int(np.floor(x)), int(np.floor(y))
            right, low = min(left + 1, width - 1), min(top + 1, height - 1)
            a, b = x - left, y - top
            upper = (1 - a) * values[top, left] + a * values[top, right]
            lower = (1 - a) * values[low, left] + a * values[low, right]
            out[i, j] = (1 - b) * upper + b * lower
    return out


def union_in_loops(masks, flows, binarise):
    state, found = masks[0].astype(float), [masks[0]]
    for mask, flow in zip(masks[1:], flows[1:], strict=True):
        carried = carried_in_loops(state, flow)
        fetched = (carried > 0.5).astype(float) if binarise == "each_step" else carried
        state = np.maximum(mask, fetched)
        found.append(state > 0.5)
    return np.stack(found)


@pytest.fixture
def drawn():
    """Five masks of blobs, and flows of up to two pixels, some of them out of the image."""
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:11, :13]
    centres = rng.uniform(2, 9, (5, 2))
    masks = np.stack([np.hypot(rows - y, columns - x) < 2.6 for y, x in centres])
    return masks, rng.uniform(-2, 2, (5, 2, 11, 13))


@pytest.mark.parametrize("binarise", ["each_step", "end"])
def test_it_is_what_loops_give(drawn, binarise):
    masks, flows = drawn
    expected = union_in_loops(masks, flows, binarise)
    np.testing.assert_array_equal(aggregate(masks, flows, binarise=binarise), expected)
    assert expected[-1].sum() > masks[-1].sum()


def test_the_two_ways_to_binarise_differ(drawn):
    assert (aggregate(*drawn) != aggregate(*drawn, binarise="end")).any()


def test_numpy_gives_numpy_and_torch_gives_torch(drawn):
    masks, flows = drawn
    found = aggregate(torch.from_numpy(masks), torch.from_numpy(flows))
    assert isinstance(found, torch.Tensor)
    assert found.dtype == torch.bool
    np.testing.assert_array_equal(found, aggregate(masks, flows))


def test_the_first_flow_is_not_read(drawn):
    masks, flows = drawn
    other = flows.copy()
    other[0] = np.nan
    np.testing.assert_array_equal(aggregate(masks, other), aggregate(masks, flows))


def test_an_object_that_moves_by_whole_pixels_is_pieced_together():
    """Each frame shows one of its three columns, and the union shows all of them where it is now."""
    masks, flows = np.zeros((3, 4, 8), bool), np.zeros((3, 2, 4, 8), np.float32)
    flows[1:, 0] = -2
    for t in range(3):
        masks[t, 1:3, 2 * t + t] = True
    found = aggregate(masks, flows)
    assert found[2, 1].tolist() == [False] * 4 + [True] * 3 + [False]
    np.testing.assert_array_equal(found[0], masks[0])


def test_what_comes_from_outside_is_nothing_even_beside_the_border():
    masks, flows = np.ones((2, 1, 4), bool), np.zeros((2, 2, 1, 4), np.float32)
    masks[1], flows[1, 0] = False, -0.25
    assert aggregate(masks, flows)[1, 0].tolist() == [False, True, True, True]


def test_exactly_half_is_not_enough():
    masks, flows = np.array([[[True, False, False]], [[False] * 3]]), np.zeros((2, 2, 1, 3), np.float32)
    flows[1, 0] = [0.5, -0.5, 0]
    assert not aggregate(masks, flows)[1].any()
    flows[1, 0] = [0.49, -0.51, 0]
    assert aggregate(masks, flows)[1, 0].tolist() == [True, True, False]


def test_a_flow_that_is_no_number_carries_nothing():
    masks, flows = np.ones((2, 2, 2), bool), np.full((2, 2, 2, 2), np.nan, np.float32)
    masks[1] = False
    assert not aggregate(masks, flows)[1].any()


def test_no_frames_and_one_frame():
    assert aggregate(np.zeros((0, 2, 2), bool), np.zeros((0, 2, 2, 2))).shape == (0, 2, 2)
    assert aggregate(np.ones((1, 2, 2), bool), np.zeros((1, 2, 2, 2))).all()


@pytest.mark.parametrize("shape", [(4, 2, 11, 13), (5, 2, 11, 12), (5, 11, 13)])
def test_shapes_that_do_not_fit_are_told(drawn, shape):
    with pytest.raises(InputError, match=r"masks are \(5, 11, 13\) and flows .* expected \(T, H, W\) and"):
        aggregate(drawn[0], np.zeros(shape))


def test_what_is_not_held_is_not_carried():
    maps, held = torch.ones(1, 2, 2), torch.tensor([[True, False], [True, True]])
    assert carry(maps, torch.zeros(2, 2, 2), held)[0].tolist() == [[1, 0], [1, 1]]


def leg(*values, shift=0.0, held=None):
    """A leg of maps of one row, which all move to the right by `shift` px from frame to frame."""
    maps = [torch.tensor([[row]], dtype=torch.float32) for row in values]
    flow = torch.zeros(2, 1, maps[0].shape[2])
    flow[0] = -shift
    believed = torch.ones(1, maps[0].shape[2], dtype=torch.bool) if held is None else torch.tensor([held])
    return Leg(maps, [flow] * (len(maps) - 1), [believed] * (len(maps) - 1))


def test_the_maximum_is_of_all_frames_over_its_own_maximum():
    found = gather_legs([leg([0.2, 0, 0.4], [0, 0.5, 0])], "maximum", threshold=0.5)
    torch.testing.assert_close(found.levels[0, 0], torch.tensor([0.4, 1, 0.8]))
    assert (found.levels > found.cut)[0, 0].tolist() == [False, True, True]


def test_the_mean_is_of_the_frames_that_reach_a_cell():
    found = gather_legs([leg([1, 1, 1], [0.5, 0, 0], shift=1)], "mean", threshold=0.9)
    torch.testing.assert_close(found.levels[0, 0], torch.ones(3))  # .5 of one frame, (0 + 1) / 2 of two
    found = gather_legs([leg([1, 1, 1], [0.5, 0, 1], held=[True, False, True])], "mean", threshold=0.9)
    torch.testing.assert_close(found.levels[0, 0], torch.tensor([0.75, 0, 1]))


def test_the_mean_of_two_legs_counts_the_target_once():
    legs = [leg([0.9, 0, 0], [0, 0, 0.6]), leg([0, 0.3, 0], [0, 0.3, 0], [0, 0, 0.6])]
    found = gather_legs(legs, "mean", threshold=0.5)
    torch.testing.assert_close(found.levels[0, 0], torch.tensor([1, 2 / 3, 2 / 3]))


def test_the_union_cuts_each_map_at_its_own_maximum():
    found = gather_legs([leg([0.1, 0.01, 0], [0, 0.3, 0.9])], "union", threshold=0.2)
    assert (found.levels > found.cut)[0, 0].tolist() == [True, True, True]


def test_the_union_of_two_legs_is_that_of_both():
    legs = [leg([1, 0, 0, 0], [0, 0, 1, 0]), leg([0, 1, 0, 0], [0, 0, 1, 0])]
    found = gather_legs(legs, "union", threshold=0.5)
    assert (found.levels > found.cut)[0, 0].tolist() == [True, True, True, False]


def test_soft_unions_keep_shares():
    half = leg([1, 0, 0], [0, 0, 0], [0, 0, 0], shift=0.4)
    soft = gather_legs([half], "union", threshold=0.5, binarise="end")
    torch.testing.assert_close(soft.levels[0, 0], torch.tensor([0, 0.24, 0.16]))
    hard = gather_legs([half], "union", threshold=0.5)
    assert hard.levels[0, 0].tolist() == [0, 0, 0]


def test_an_empty_map_stays_empty():
    assert relative(torch.zeros(1, 2, 2)).eq(0).all()
    assert not (gather_legs([leg([0, 0])], "union", threshold=0.2).levels > 0.5).any()


def test_gather_gives_every_step():
    steps = list(gather([torch.zeros(1, 1, 1)] * 3, [torch.zeros(2, 1, 1)] * 2, torch.maximum))
    assert len(steps) == 3
