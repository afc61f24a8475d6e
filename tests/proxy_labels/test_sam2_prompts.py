"""Clicks as prompts of SAM 2, and masks as class maps: the rules, without a network."""

import numpy as np
import pytest
import torch

from helpers.tiny_sam2 import DOG, SWAN, clicks_of, clip_of
from weclick.proxy_labels.sam2_frames import square_frames, to_square
from weclick.proxy_labels.sam2_maps import SurestObjects
from weclick.proxy_labels.sam2_prompts import classes_by_object, listed, prompts_of

CLIP = clip_of(4)


def told(prompt):
    return prompt.object_id, prompt.class_id, prompt.points.tolist(), prompt.labels.tolist()


def test_each_click_is_an_object_with_its_point_as_x_y():
    found = prompts_of(CLIP, clicks_of({1: [(3, 40, DOG), (20, 5, DOG)], 3: [(7, 8, SWAN)]}), 4)
    assert list(found) == [1, 3]
    assert [told(prompt) for prompt in found[1]] == [(1, DOG, [[40, 3]], [1]), (2, DOG, [[5, 20]], [1])]
    assert [told(prompt) for prompt in found[3]] == [(3, SWAN, [[8, 7]], [1])]
    assert classes_by_object(found) == {1: DOG, 2: DOG, 3: SWAN}


def test_the_nearest_clicks_on_other_classes_tell_where_the_object_is_not():
    clicks = clicks_of({0: [(10, 10, DOG), (10, 30, SWAN), (10, 12, SWAN), (11, 10, DOG), (0, 0, 0)]})
    dog = prompts_of(CLIP, clicks, 2)[0][0]
    assert told(dog) == (1, DOG, [[10, 10], [12, 10], [0, 0]], [1, 0, 0])
    assert len(prompts_of(CLIP, clicks, 9)[0][0].points) == 4
    assert all(prompt.labels.tolist() == [1] for prompt in prompts_of(CLIP, clicks, 0)[0])


def test_clicks_of_other_frames_are_no_negatives():
    found = prompts_of(CLIP, clicks_of({0: [(1, 1, DOG)], 1: [(2, 2, SWAN)]}), 4)
    assert [len(prompt.points) for each in found.values() for prompt in each] == [1, 1]


def test_a_scribble_is_one_object_with_points_all_along_it():
    line = [(5, x, SWAN) for x in range(10, 30)]
    found = prompts_of(CLIP, clicks_of({2: [*line, (9, 9, DOG)]}, {2: [1] * 20 + [0]}), 4)[2]
    assert [prompt.class_id for prompt in found] == [DOG, SWAN]
    swan = found[1]
    assert swan.points[:8, 0].tolist() == [10, 13, 15, 18, 21, 24, 26, 29]
    assert swan.labels.tolist() == [1] * 8 + [0]
    assert found[0].points.tolist() == [[9, 9], [21, 5]], "the middle of the scribble is the negative"


def test_a_clip_without_a_click_has_no_prompt():
    assert prompts_of(CLIP, clicks_of({}), 4) == {}
    assert listed(CLIP, clicks_of({})) == []


def test_the_list_for_the_key_tells_every_click_by_position():
    clicks = clicks_of({0: [(1, 2, DOG)], 2: [(3, 4, SWAN), (5, 6, SWAN)]}, {2: [1, 1]})
    assert listed(CLIP, clicks) == [[0, DOG, [[2, 1]]], [2, SWAN, [[4, 3], [6, 5]]]]


def test_points_keep_their_place_when_frames_become_squares():
    corners = np.float32([[-0.5, -0.5], [47.5, 31.5], [23.5, 15.5]])
    assert to_square(corners, (32, 48), 64).tolist() == [[-0.5, -0.5], [63.5, 63.5], [31.5, 31.5]]
    pixel = np.zeros((32, 48, 3), np.uint8)
    pixel[8, 30] = 255
    with square_frames([pixel], 192) as frames:
        bright = frames[0][0] - frames[0][0].min()
    ys, xs = torch.meshgrid(torch.arange(192.0), torch.arange(192.0), indexing="ij")
    centre = torch.stack([(bright * xs).sum(), (bright * ys).sum()]) / bright.sum()
    expected = to_square(np.float32([[30, 8]]), (32, 48), 192)[0]
    torch.testing.assert_close(centre, expected, rtol=0, atol=0.05)


def test_frames_are_read_in_any_order():
    images = [np.full((4, 6, 3), 10 * t, np.uint8) for t in range(5)]
    with square_frames(images, 8) as frames:
        assert len(frames) == 5
        levels = [round(float((frames[t][0] * 0.229 + 0.485).mean() * 255)) for t in (4, 0, 3)]
    assert levels == [40, 0, 30]


def test_the_surest_object_has_the_pixel():
    surest = SurestObjects((1, 4), 255)
    surest.add(torch.tensor([[[1.0, -1.0, 2.0, 0.0]], [[2.0, -2.0, 1.0, -1.0]]]), [DOG, SWAN])
    assert surest.class_map().tolist() == [[SWAN, 255, DOG, 255]]
    surest.add(torch.tensor([[[1.5, 0.5, 3.0, 0.0]]]), [0])
    assert surest.class_map().tolist() == [[SWAN, 0, 0, 255]]


def test_of_equal_logits_the_first_counts():
    surest = SurestObjects((1, 1), 0)
    surest.add(torch.ones(2, 1, 1), [DOG, SWAN])
    assert surest.class_map().tolist() == [[DOG]]


def test_masks_keep_their_orientation_when_they_grow():
    coarse = torch.full((1, 4, 4), -10.0)
    coarse[0, 0, 3] = 10  # above, on the right
    surest = SurestObjects((32, 48), 255)
    surest.add(coarse, [DOG])
    found = surest.class_map()
    assert found.dtype == np.uint8
    assert (found[:4, -6:] == DOG).all()
    assert (found[12:] == 255).all()
    assert (found[:, :30] == 255).all()


@pytest.mark.parametrize("ids", [[DOG], [DOG, SWAN, DOG]])
def test_each_mask_has_a_class(ids):
    with pytest.raises(ValueError, match="zip"):
        SurestObjects((2, 2), 0).add(torch.zeros(2, 1, 1), ids)
