"""Masks that tell objects from background: black and white, noisy, or numbered in a palette."""

import numpy as np
import pytest
from PIL import Image

from weclick.common.errors import InputError
from weclick.manifest.images import read_object_mask
from weclick.manifest.object_masks import class_of_mask, classes_of_mask


def save(path, pixels, mode=None):
    image = Image.fromarray(np.array(pixels, np.uint16 if mode == "I;16" else np.uint8))
    if mode == "P":
        image.putpalette([0, 0, 0, 128, 0, 0] * 128)
    elif mode and mode != "I;16":
        image = image.convert(mode)
    image.save(path)
    return path


@pytest.mark.parametrize("mode", [None, "1", "LA", "RGB", "RGBA"])
def test_white_is_the_object(tmp_path, mode):
    mask = read_object_mask(save(tmp_path / "mask.png", [[0, 255], [255, 0]], mode))
    assert mask.tolist() == [[0, 1], [1, 0]]
    assert mask.dtype == np.uint8


def test_the_middle_of_the_grey_levels_parts_them(tmp_path):
    pixels = np.zeros((10, 10))
    pixels[0, :4] = 20, 127, 128, 240
    assert read_object_mask(save(tmp_path / "mask.png", pixels))[0, :5].tolist() == [0, 0, 1, 1, 0]


def test_a_palette_numbers_objects(tmp_path):
    mask = read_object_mask(save(tmp_path / "mask.png", [[0, 1], [99, 255]], "P"))
    assert mask.tolist() == [[0, 1], [1, 255]]
    assert classes_of_mask(mask, 7).tolist() == [[0, 7], [7, 255]]


@pytest.mark.parametrize(
    ("pixels", "mode", "told"),
    [
        ([[0, 100]], "P", r"holds the values \[100\], expected 0 \(background\), 1\.\.99"),
        ([[0, 1]], None, r"its largest value is 1, expected 0 \(background\) and 255"),
        ([[0, 90, 255]], None, "33 % of its pixels are neither black nor white"),
        ([[[0, 0, 0], [128, 0, 0]]], None, "holds colours, expected black and white"),
        ([[0, 255]], "I;16", "mode I;16, expected a mask of 8 bits a channel"),
    ],
)
def test_other_files_are_no_masks(tmp_path, pixels, mode, told):
    with pytest.raises(InputError, match=rf"mask\.png: .*{told}"):
        read_object_mask(save(tmp_path / "mask.png", pixels, mode))


def test_black_is_a_mask_without_object(tmp_path):
    assert not read_object_mask(save(tmp_path / "mask.png", [[0, 0]])).any()


def test_the_first_listed_folder_tells_the_class():
    masks = {"dog": 5, "train": 6}
    assert class_of_mask("v1/train/data/dog/00001.png", masks) == 6
    with pytest.raises(InputError, match=r"^a/dog\.png: lies in none of the folders dog, train"):
        class_of_mask("a/dog.png", masks)
