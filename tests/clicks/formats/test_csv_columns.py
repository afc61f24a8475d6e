"""Tables: the header decides, and the names tell which of x and y comes first."""

import pytest

from helpers.click_root import rows
from weclick.common.errors import InputError


@pytest.mark.parametrize(
    "text",
    [
        "clip,frame,y,x,class\npark,00001,20,10,car\n",
        "class;x;y;frame;clip\ncar;10,4;19,5;1;park\n",
        "video,frame_number,row,col,label\npark,1.0,20,10,1\n",
        "image,x,y,label\nframes/park/00001.png,10,20,car\n",
        "file_name,x,y,class,clip\n00001.png,10,20,car,park\n",
    ],
)
def test_columns_by_name(importer, text):
    assert rows(importer.take("a.csv", text)) == [("park", "00001", 20, 10, "car")]


def test_clip_and_label_may_be_told(importer):
    text = "frame,y,x,what\n00001,20,10,car\n"
    done = importer.take("a.csv", text, clip="park", label_key="what")
    assert rows(done) == [("park", "00001", 20, 10, "car")]
    with pytest.raises(InputError, match=r"has no column 'kind' \(--label-key\), but frame, y, x, what"):
        importer.take("a.csv", text, clip="park", label_key="kind")


def test_zero_is_the_centre_of_the_first_pixel(importer):
    points = "0,0,-0.4,0.49,car\n1,2,2.5,9.5,tree\n2,2,47.4,63.4,car\n3,2,47.6,1,car\n"
    done = importer.take("Points.csv", f"index,axis-0,axis-1,axis-2,label\n{points}", clip="drive")
    assert rows(done) == [
        ("drive", "00000", 0, 0, "car"),
        ("drive", "00002", 3, 10, "tree"),
        ("drive", "00002", 47, 63, "car"),
    ]
    assert done.errors == {"out_of_frame": 1}


def test_napari_over_one_image_has_two_axes(importer):
    text = "index,axis-0,axis-1,kind\n0,20,10,car\n"
    assert importer.take("Points.csv", text, clip="drive").clicks
    with pytest.raises(InputError, match="have the axes axis-0, axis-1, axis-2, axis-3, expected"):
        importer.take("Points.csv", "index,axis-0,axis-1,axis-2,axis-3\n0,1,2,3,4\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,b,c\n1,2,3\n", "does not name y and x; call the columns clip, frame, y, x and class"),
        ("clip,y,x,class\npark,1,2,car\n", "its header names no column of frames"),
        ("axis-0,axis-2,label\n1,2,car\n", "have the axes axis-0, axis-2, expected"),
        ("clip,frame,y,x,y,class\n", "has 'y' more than once"),
        ("clip,frame,y,x,label,category\n", "its header has 2 columns for class: label, category"),
    ],
)
def test_headers_that_do_not_decide(importer, text, told):
    with pytest.raises(InputError, match=told):
        importer.take("a.csv", text)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("park,00001,12px,10,car", "malformed"),
        ("park,00001,,10,car", "malformed"),
        ("park,00001,1,2,3,car", "malformed"),
        ("park,00009,1,2,car", "unknown_frame"),
        ("lake,00001,1,2,car", "unknown_clip"),
        ("park,00001,1,2,", "no_label"),
        ("park,00001,1,2,9", "unknown_class"),
        ("park,00001,47.6,2,car", "out_of_frame"),
    ],
)
def test_rows_that_are_wrong_name_their_line(importer, row, reason):
    done = importer.take("a.csv", f"clip,frame,y,x,class\npark,00001,5,5,car\n{row}\n")
    assert done.errors == {reason: 1}
    assert "a.csv, line 3" in done.told[0]
    assert rows(done) == [("park", "00001", 5, 5, "car")]
