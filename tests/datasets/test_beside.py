"""Masks, overlays and copies that lie among the frames of a clip."""

from pathlib import Path

import pytest

from weclick.common.errors import InputError
from weclick.datasets.beside import check_beside


@pytest.mark.parametrize(
    ("frame", "other"),
    [
        ("00000.png", "00000_mask.png"),
        ("00000.jpg", "00000.mask.png"),
        ("img_7.png", "mask_7.png"),
        ("street_3.png", "street_3_gtFine_labelIds.png"),
        ("0001-color.png", "0001-depth.png"),
        ("cat.jpg", "cat_GT.png"),
        ("00003.png", "00003 - Copy.png"),
    ],
)
def test_an_image_that_its_name_marks_as_something_else_is_told(frame, other):
    with pytest.raises(InputError, match=rf"a: '{other}' lies beside '{frame}' .*\(1 such files\)"):
        check_beside([Path("a", frame), Path("a", "999.png"), Path("a", other)])


@pytest.mark.parametrize(
    "names",
    [
        ["mask_1.png", "mask_2.png"],
        ["left_1.png", "right_1.png"],
        ["img.png", "img (1).png", "img (2).png"],
        ["intro.png", "1.png", "masked_1.png"],
    ],
)
def test_other_names_are_frames(names):
    check_beside(Path("a", name) for name in names)
