"""Run-length codes that others wrote are bounded before they are decoded."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from weclick.common.errors import InputError
from weclick.common.rle import encode_masks
from weclick.evaluate.instances.rle import checked_rle

SIZE = (5, 7)


def masks(count=20):
    rng = np.random.default_rng(0)
    noise = rng.random((count, *SIZE)) < rng.random((count, 1, 1))
    return np.concatenate([noise, np.zeros((1, *SIZE), bool), np.ones((1, *SIZE), bool)])


def test_codes_come_back_as_they_were():
    for mask, code in zip(masks(), encode_masks(masks()), strict=True):
        packed = {"size": list(SIZE), "counts": code["counts"].encode()}
        for given in (code, packed):
            assert np.array_equal(coco_mask.decode(checked_rle(given, SIZE, "here")), mask)


def test_large_masks_have_counts_of_several_signs():
    mask = np.zeros((1, 300, 400), bool)
    mask[0, 10:290, 7:391] = True
    code = encode_masks(mask)[0]
    assert checked_rle(code, (300, 400), "here") == code


def test_plain_counts_become_codes():
    runs = {"size": [2, 2], "counts": [1, 2, 1]}
    assert coco_mask.decode(checked_rle(runs, (2, 2), "here")).tolist() == [[0, 1], [1, 0]]


def test_polygons_are_joined():
    parts = [[0, 0, 2, 0, 2, 2, 0, 2], [3.0, 3.0, 5.0, 3.0, 5.0, 5.0, 3.0, 5.0]]
    assert coco_mask.area(checked_rle(parts, SIZE, "here")) == 8


def test_no_masks_have_no_codes():
    assert encode_masks(np.zeros((0, *SIZE), bool)) == []


@pytest.mark.parametrize(
    ("segmentation", "told"),
    [
        (None, "it is None; expected run lengths"),
        ([], "it is"),
        ([[0, 0, 1, 1]], "a polygon is .* at least three points"),
        ([[0, 0, 1, 1, 2, float("nan")]], "a polygon is"),
        ([[0, 0, 1, 1, 2, 500]], "far outside the image"),
        (["000000"], "a polygon is"),
        ([[0, 0, 7, 5] * 10**5], "its polygons have edges of 2400000 px; expected at most 1048576"),
    ],
)
def test_what_is_no_polygon_of_the_image_is_refused(segmentation, told):
    with pytest.raises(InputError, match=f"here: the mask cannot be read: .*{told}"):
        checked_rle(segmentation, SIZE, "here")


def test_a_code_is_checked_as_all_codes_are():
    """See tests/store/test_rle.py."""
    with pytest.raises(InputError, match=r"here: its run-length code cannot be read: .*20 in all"):
        checked_rle({"size": [5, 7], "counts": [10, 10]}, SIZE, "here")


def test_damaged_codes_are_refused_or_fill_the_image():
    rng = np.random.default_rng(1)
    codes = [code["counts"].encode() for code in encode_masks(masks(4))]
    for _ in range(300):
        damaged = bytearray(codes[rng.integers(len(codes))])
        damaged[rng.integers(len(damaged))] = rng.integers(256)
        try:
            code = checked_rle({"size": list(SIZE), "counts": bytes(damaged)}, SIZE, "here")
        except InputError:
            continue
        assert coco_mask.decode(code).shape == SIZE
