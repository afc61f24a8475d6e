"""The order of targets, with and without a share of images."""

import pytest

from weclick.common.errors import InputError
from weclick.train.data.sample import permutation
from weclick.train.data.turns import Turns

MIXED = [True] * 3 + [False] * 5


def test_without_a_share_every_target_has_its_turn_in_each_epoch():
    turns = Turns(MIXED, seed=4, batch_size=3)
    first, second = [turns[i] for i in range(8)], [turns[i] for i in range(8, 16)]
    assert sorted(first) == sorted(second) == list(range(8))
    assert first != second
    assert first == list(permutation(4, 0, 8))


def test_with_a_share_each_batch_has_its_images_first_and_both_have_epochs_of_their_own():
    turns = Turns(MIXED, seed=4, batch_size=4, image_share=0.5)
    batches = [[turns[4 * step + i] for i in range(4)] for step in range(15)]
    assert all([MIXED[t] for t in batch] == [True, True, False, False] for batch in batches)
    images = [t for batch in batches for t in batch[:2]]
    videos = [t for batch in batches for t in batch[2:]]
    assert all(sorted(images[i : i + 3]) == [0, 1, 2] for i in range(0, 30, 3))
    assert all(sorted(videos[i : i + 5]) == [3, 4, 5, 6, 7] for i in range(0, 30, 5))


@pytest.mark.parametrize(
    ("are_images", "batch_size", "told"),
    [
        ([False] * 4, 4, "0 of 4 targets are in images"),
        ([True] * 4, 4, "0 of 4 targets are in videos"),
        (MIXED, 1, "a batch of 1 has 0 places"),
    ],
)
def test_a_share_of_what_is_not_there_is_one_clear_error(are_images, batch_size, told):
    with pytest.raises(InputError, match=told):
        Turns(are_images, seed=0, batch_size=batch_size, image_share=0.5)
