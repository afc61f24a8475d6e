"""Masks, overlays and copies that lie among the frames of a clip."""

from pathlib import Path

import pytest

from weclick.common.errors import InputError
from weclick.datasets.beside import beside_findings, check_beside
from weclick.manifest import Clip, Frame


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


def said(*names: str, video_frame: int | None = None) -> str:
    frames = (Frame(name, i, f"{name}.png", video_frame=video_frame) for i, name in enumerate(names))
    return " ".join(each.found for each in beside_findings("frames", [Clip("a", tuple(frames))]))


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("0_L", "0_R", "1_L", "1_R"), "2 names of clip a have the numbers of another: '0_L', '0_R'"),
        (("00000", "00000_color", "00001"), "1 names of clip a have the numbers of another"),
        (("1", "2", "2 (1)", "3"), "1 names of clip a have the numbers of another: '2', '2 (1)'"),
        (("1", "2", "3", "folder"), "1 of 4 names of clip a have no number, e.g. 'folder'"),
        (("00000", "00001", "00002"), ""),
        (("img", "img (1)", "img (2)"), ""),
        (("img1", "img1 (1)", "img1 (2)"), ""),
        (("a", "b", "c"), ""),
        (("intro", "1", "2"), ""),
    ],
)
def test_names_that_hardly_count_one_video_are_told(names, told):
    assert told in said(*names)
    assert bool(told) == bool(said(*names))


def test_frames_of_a_video_have_no_names_of_their_own():
    assert said("00000", "00000_color", video_frame=0) == ""
