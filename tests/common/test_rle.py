"""Run-length codes: the same as pycocotools', and strange ones are told before anything is allocated."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco

from weclick.common.errors import InputError
from weclick.common.rle import (
    MASK_BYTES,
    area_and_box,
    checked,
    decode_mask,
    decode_masks,
    encode_masks,
    run_lengths,
)


def drawn(seed, size=(7, 9)):
    rng = np.random.default_rng(seed)
    return rng.random((3, *size)) < rng.choice([0.05, 0.5, 0.95], 3)[:, None, None]


@pytest.mark.parametrize("size", [(7, 9), (1, 1), (1, 13), (13, 1), (40, 60)])
def test_masks_come_back(size):
    masks = np.concatenate([drawn(seed, size) for seed in range(4)] + [np.zeros((1, *size), bool)])
    masks = np.concatenate([masks, np.ones((1, *size), bool)])
    codes = encode_masks(masks)
    np.testing.assert_array_equal(decode_masks(codes, size), masks)
    for code, mask in zip(codes, masks, strict=True):
        np.testing.assert_array_equal(coco.decode(code), mask)
        listed = {"size": [*size], "counts": run_lengths(code, size).tolist()}
        np.testing.assert_array_equal(decode_mask(listed, size), mask)
        assert checked(listed, size) == checked(code, size) == code
        assert checked({**code, "counts": code["counts"].encode()}, size) == code


def test_large_runs_and_negative_differences():
    mask = np.zeros((1, 600, 900), bool)
    mask[0, :, 3:700] = True
    mask[0, 5, 800:] = True
    (code,) = encode_masks(mask)
    np.testing.assert_array_equal(decode_mask(code, (600, 900)), mask[0])
    assert area_and_box(code) == (mask.sum(), [3, 0, 897, 600])


def test_area_and_box_by_hand():
    mask = np.zeros((1, 6, 8), bool)
    mask[0, 2:4, 5] = True
    assert area_and_box(encode_masks(mask)[0]) == (2, [5, 2, 1, 2])
    assert area_and_box(encode_masks(np.zeros((1, 6, 8), bool))[0]) == (0, [0, 0, 0, 0])


def test_torch_and_no_masks():
    masks = drawn(5)
    assert encode_masks(torch.from_numpy(masks)) == encode_masks(masks)
    assert encode_masks(masks[:0]) == []
    assert decode_masks([], (7, 9)).shape == (0, 7, 9)


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ([64], "a run is 64, expected an integer from 0 to 63"),
        ([10, 10], "runs of 20 in all, expected runs of 63"),
        ([-1, 64], "a run is -1"),
        ([True, 62], "a run is True"),
        ([10**30, 1], "a run is 1000000000"),
        ([None], "a run is None"),
        ([63.0], "a run is 63.0"),
        ([0] * 65, "counts are 65 long, expected at most 64 for 63 pixels"),
        ("0" * 449, "counts are 449 long, expected at most 448"),
        ("", "runs of 0 in all"),
        ("5P", "counts end within a number"),
        ("5 ", "letters other than"),
        ("é", "letters other than"),
        ("oooooooo0", "a number of 9 letters, expected at most 7"),
        ("oooooo?", "a run of"),
        ("O", "a run of -1"),
        ("ooooooO", "a run of -1"),
        (63, "counts are a int, expected a text or a list"),
    ],
)
def test_a_code_that_claims_too_much_is_told(counts, told):
    with pytest.raises(InputError, match=f"a.json: its run-length code cannot be read: .*{told}"):
        decode_mask({"size": [7, 9], "counts": counts}, (7, 9), "a.json")


@pytest.mark.parametrize("size", [[9, 7], [7, 9, 1], "79", None, [1e9, 1e9]])
def test_the_size_is_the_frames(size):
    with pytest.raises(InputError, match=r"mask: its run-length code has the size .* expected \[7, 9\]"):
        decode_mask({"size": size, "counts": [63]}, (7, 9))


@pytest.mark.parametrize("code", [None, [], "63", {"size": [7, 9]}])
def test_what_is_no_code_is_told(code):
    with pytest.raises(InputError, match="is no run-length code, expected an object of size and counts"):
        decode_mask(code, (7, 9))


def test_memory_is_bounded():
    code = {"size": [8192, 16384], "counts": [2**27]}
    with pytest.raises(InputError, match=r"17 masks of 8192 x 16384 px take .* keep the best"):
        decode_masks([code] * (MASK_BYTES // 2**27 + 1), (8192, 16384))
    with pytest.raises(InputError, match="the frame has 70000 x 70000 px"):
        decode_mask({"size": [70000, 70000], "counts": [4900000000]}, (70000, 70000))
    with pytest.raises(InputError, match="counts are 16777217 long, expected at most 16777216"):
        decode_mask({"size": [8192, 16384], "counts": "0" * (2**24 + 1)}, (8192, 16384))
    with pytest.raises(InputError, match=r"the frame has 0 x 4 px"):
        encode_masks(np.zeros((1, 0, 4), bool))


def test_masks_of_another_type_are_told():
    with pytest.raises(InputError, match=r"masks to encode are uint8 of shape \(4, 4\)"):
        encode_masks(np.zeros((4, 4), np.uint8))


def test_broken_texts_give_a_mask_or_one_error():
    rng, (code, *_) = np.random.default_rng(0), encode_masks(drawn(1, (20, 20)))
    for _ in range(300):
        letters = [*code["counts"]]
        for place in rng.integers(0, len(letters), rng.integers(1, 4)):
            letters[place] = chr(rng.integers(40, 120))
        broken = {**code, "counts": "".join(letters[: rng.integers(1, len(letters) + 1)])}
        try:
            found = decode_mask(broken, (20, 20))
        except InputError:
            continue
        np.testing.assert_array_equal(coco.decode(broken), found)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "runs", [[12, 0], [5, 0, 7], [0, 12, 0], [2, 0, 0, 3, 7], [2, 2, 0, 1, 7], [0, 0, 0, 12], [0, 0, 12]]
)
def test_runs_of_no_pixel_change_neither_overlap_nor_box(runs, packed):
    """Some tools write them. pycocotools ends its count of common pixels where two of them meet."""
    code = {"size": [3, 4], "counts": runs}
    if packed:
        code = {"size": [3, 4], "counts": coco.frPyObjects(code, 3, 4)["counts"].decode()}
    mask = decode_mask(code, (3, 4))
    found = checked(code, (3, 4))
    assert found == encode_masks(mask[None])[0]
    assert coco.iou([found], [found], [0])[0, 0] == mask.any()
    assert area_and_box(found) == area_and_box(encode_masks(mask[None])[0])
