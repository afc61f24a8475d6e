"""Names as people's tools write them: the order of frames, numbers in names, names that cannot be used."""

import os
from pathlib import Path

import pytest

from weclick.common.errors import InputError
from weclick.datasets.base import list_files, list_folders
from weclick.datasets.file_names import by_stem, in_order, shift_between


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["frame2", "frame10"], [2, 10]),
        (["frame (2)", "frame (10)"], [2, 10]),
        (["00000", "00005", "00010"], [0, 5, 10]),
        (["Frame1", "frame2"], [1, 2]),
        # the digits after the point do not count frames
        (["1305031102.943211", "1305031102.975304", "1305031103.011690"], [0, 1, 2]),
        (["0.25", "0.5", "0.75"], [0, 1, 2]),
        (["9.5", "10.25", "11.0"], [0, 1, 2]),
        # but those of a shot do
        (["shot010.1001", "shot010.1002", "shot010.1005"], [1001, 1002, 1005]),
        (["take1.9", "take1.10"], [9, 10]),
        # times of a day, two counters, no numbers
        (["12-59-58", "12-59-59", "13-00-00"], [0, 1, 2]),
        (["scene1_5", "scene2_1", "scene10_3"], [0, 1, 2]),
        (["left_1", "right_1"], [0, 1]),
        (["start", "stop"], [0, 1]),
        # dates, which leap at the end of a month or minute
        (["20200228", "20200229", "20200301"], [0, 1, 2]),
        (["IMG_20210304_120058", "IMG_20210304_120059", "IMG_20210304_120102"], [0, 1, 4]),
        (["PXL_20210304_120059870", "PXL_20210304_120100003"], [0, 133]),
        (["20210304235959", "20210305000000"], [0, 1]),
        # no leap, no date, no time, a counter behind a date
        (["IMG_20210304_120057", "IMG_20210304_120059"], [120057, 120059]),
        (["00000012", "00000013"], [12, 13]),
        (["20200229", "20200232"], [20200229, 20200232]),
        (["20210304_000059", "20210304_000060", "20210304_000061"], [59, 60, 61]),
        (["shot_20210304_0001", "shot_20210304_0002"], [1, 2]),
        # a number in only some names
        (["cover", "page1", "page2"], [0, 1, 2]),
        # what a labelling tool adds
        (["f3a91bc0-frame_1", "03dd91b2-frame_2", "a9c3f011-frame_3"], [1, 2, 3]),
        (["frame_0001_jpg.rf.9ab1", "frame_0002_jpg.rf.1cd0"], [0, 1]),
    ],
)
def test_frames_stand_in_time_and_numbers_count_only_where_they_rise(names, numbers):
    assert in_order(names[::-1]) == list(zip(numbers, names, strict=True))


def test_a_name_with_a_line_break_is_told(tmp_path):
    (tmp_path / "a\nb").mkdir()
    (tmp_path / "a\nb.png").touch()
    for listed in (list_files, list_folders):
        with pytest.raises(InputError, match=r"the name 'a\\nb(.png)?' holds a control character"):
            listed(tmp_path)


def test_files_of_one_name_are_named_both():
    assert by_stem([Path("a/1.png"), Path("a/2.jpg")]).keys() == {"1", "2"}
    for one, other in (("1.jpg", "1.png"), ("1.PNG", "1.png"), ("gr\u00fcn.png", "gru\u0308n.png")):
        with pytest.raises(InputError, match=rf"a: '{one}' and '{other}' are two files of one name"):
            by_stem([Path("a", one), Path("a", other)])


def test_a_name_in_latin_1_is_told_with_what_to_do(tmp_path):
    (tmp_path / os.fsdecode(b"gr\xfcn")).mkdir()
    (tmp_path / os.fsdecode(b"gr\xfcn.png")).touch()
    for listed in (list_files, list_folders):
        with pytest.raises(InputError, match=r"not in UTF-8; read as Latin-1 it is 'grün.*convmv") as told:
            listed(tmp_path)
        str(told.value).encode()


@pytest.mark.parametrize(
    ("numbers", "frames", "shift"),
    [
        ([1, 2, 3], [0, 1, 2], -1),
        ([0, 1, 2], [1, 2, 3], 1),
        ([0, 5], range(100, 110), 100),
        ([1, 2], [0, 1, 2], 0),
        ([3], [0, 1, 2], -1),
        ([77], [0, 1, 2], 0),
        ([0, 9], [0, 1, 2], 0),
        ([], [0], 0),
    ],
)
def test_a_shift_is_told_only_where_it_explains_all(numbers, frames, shift):
    assert shift_between(numbers, frames) == shift
