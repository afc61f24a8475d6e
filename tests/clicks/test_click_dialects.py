"""Click tables as spreadsheets and other tools write them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weclick.clicks import generate_clicks
from weclick.common.errors import InputError
from weclick.datasets import build_manifest, open_dataset
from weclick.datasets.folder import CLASSES_EXAMPLE
from weclick.manifest.click_file import MAX_BYTES, read_click_file

OPTIONS = {"min_pixels": 4, "min_pixels_at": None, "point": "centroid"}
ROW = {"clip": "a", "frame": "3", "y": "20.5", "x": "30", "class": "car"}


@pytest.mark.parametrize(
    "text",
    [
        "clip,frame,y,x,class\na,3,20.5,30,car\n",
        "clip;frame;y;x;class\r\na;3;20,5;30;car\r\n",
        "clip\tframe\ty\tx\tclass\na\t3\t20.5\t30\tcar\n",
        "clip|frame|y|x|class\na|3|20.5|30|car\n",
        'clip, frame, y, x, class\na, 3, "20,5", 30, car',
        "sep=;\nclip;frame;y;x;class\na;3;20,5;30;car\n",
        "\n\nclip,frame,y,x,class\n,,,,\na,3,20.5,30,car,,\n  \n",
        "Class,X,Y,Frame,Clip,note\ncar,30,20.5,3,a,\n",
        "video,frame_number,row,col,label\na,3,20.5,30,car\n",
        "clip,frame,y,x,class,label\na,3,20.5,30,car,other\n",
        "clip,frame,y,x,class\ra,3,20.5,30,car\r",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_table_is_read_in_any_dialect(tmp_path, text, encoding):
    path = tmp_path / "clicks.csv"
    path.write_bytes(text.encode(encoding))
    ((_, row),) = read_click_file(path)
    assert row == ROW


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("clip,frame,y,x,class\na,3,20,5,30,car\n", r"line 2: has 6 values for 5 columns; write decimals"),
        ("clip,frame,y,x,class\n\na,3,,5,car\n", r"line 3: a value is missing"),
        ("clip,frame,y,x,class\na,3,55.2%,5,car\n", r"line 2: y = 55.2% is per cent; expected pixels"),
        ('clip,frame,y,x,class\na,3,"1,250",5,car\n', r"y = 1,250 may be a number of thousands"),
        ("clip,frame,y,x,class\na,3,1_0,5,car\n", r"y = 1_0 is no number"),
        ("clip,frame,y,x,class\na,3,12px,5,car\n", r"y = 12px is no number"),
        ("clip,frame,y,x,class\na,3,0.4,0.5,car\na,3,1,1,car\n", r"clicks.csv: all .* within 0..1, so they"),
        ("clip,frame,y,x,label,category\n", r"has 2 columns for class: label, category; name one"),
        ("clip,frame,y\n", r"its header lacks x, class; the first line should be clip,frame,y,x,class"),
        (b"PK\x03\x04 and more", r"is an Excel or OpenDocument workbook, no text; save the table as CSV"),
        (b"clip,frame,y,x,class\na,3,1,2,gr\xfcn\n", r"is no CSV in UTF-8"),
    ],
)
def test_what_could_mean_something_else_is_refused(tmp_path, content, told):
    path = tmp_path / "clicks.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=told):
        read_click_file(path)


def test_a_file_that_no_person_made_is_not_read(tmp_path):
    path = tmp_path / "clicks.csv"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(InputError, match=r"has 32.0 MiB, expected at most 32.0 MiB"):
        read_click_file(path)
    with pytest.raises(InputError, match="is a folder, expected a plain file"):
        read_click_file(tmp_path)


class Project:
    """A clip of one frame of the given size, held-out clip and classes; tables of clicks on it."""

    def __init__(self, root: Path, size: tuple[int, int]) -> None:
        self.root = root
        for clip in ("a", "val"):
            for kind, shape in (("frames", (*size, 3)), ("labels", size)):
                (root / kind / clip).mkdir(parents=True)
                Image.fromarray(np.zeros(shape, np.uint8)).save(root / kind / clip / "00003.png")
        (root / "classes.yaml").write_text(CLASSES_EXAMPLE)

    def clicks(self, *rows: str, **options: int) -> list[tuple[int, int, int]]:
        table = self.root / "clicks.csv"
        table.write_text("\n".join(("clip,frame,y,x,class", *rows)), encoding="utf-8")
        data = {"name": "folder", "root": self.root, "val_clips": ["val"], "clicks": str(table)}
        dataset = open_dataset({**data, **options})
        manifest = build_manifest(dataset, "train", 0, 1, reach_frames=0)
        points = generate_clicks(manifest, options=OPTIONS, seed=0).of("a", "00003")
        return [(int(p["y"]), int(p["x"]), int(p["class_id"])) for p in points]


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(tmp_path, (48, 64))


@pytest.mark.parametrize("frame", ["00003", "3", "3.0", "00003.png", "00003.JPG"])
@pytest.mark.parametrize("name", ["car", "1", "1.0"])
def test_frames_and_classes_are_named_in_several_ways(project, frame, name):
    assert project.clicks(f"a,{frame},20.5,30.4,{name}") == [(21, 30, 1)]


@pytest.mark.parametrize(
    ("x", "read"), [("63", 20), ("63.5", 20), ("0", 0), ("-0.5", 0), ("31", 10), ("32", 10), ("33", 10)]
)
def test_with_shrink_a_click_inside_the_frame_stays_inside(project, x, read):
    assert project.clicks(f"a,3,10,{x},car", shrink=3) == [(3, read, 1)]  # 64 px are read as 21


def test_where_shrink_divides_the_size_pixels_are_those_of_before(project):
    for x in range(64):
        assert project.clicks(f"a,3,9,{x},car", shrink=2) == [(4, (2 * x + 1) // 4, 1)]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("a,3,20,30,Car", r"line 2: class 'Car' is unknown; did you mean 'car'\?"),
        ("a,3,60,30,car", r"y = 60 lies outside the frame, expected 0..47 px \(with y and x exchanged it"),
        ("a,3,90,70,car", r"y = 90 lies outside the frame, expected 0..47 px; y counts down"),
        (
            "a,4,20,30,car",
            r"frame '4' is not on disk; there are 1 frames, '00003' to '00003'; give it its name back",
        ),
        ("A,3,20,30,car", r"clip 'A', frame '3' is not on disk; .* did you mean 'a'\?"),
    ],
)
def test_errors_suggest_what_was_meant(project, row, told):
    with pytest.raises(InputError, match=told):
        project.clicks(row)


def test_a_table_without_a_click_on_the_split_is_named(project):
    with pytest.raises(InputError, match=r"and clicks\.csv has no click on a frame of it; click in it"):
        project.clicks("val,3,1,2,car")


def test_a_click_twice_counts_once_and_two_classes_at_one_pixel_are_an_error(project, capsys):
    assert project.clicks("a,3,20,30,car", "a,00003,20.2,30,1", "a,3,21,30,background") == [
        (21, 30, 0),
        (20, 30, 1),
    ]
    assert "1 fault: line 3 repeats line 2; each click counts once" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"line 3: gives the pixel \(y 20, x 30\) .* than line 2; keep one"):
        project.clicks("a,3,20,30,car", "a,3,20,30,background")


def test_two_classes_that_meet_on_one_pixel_of_a_shrunk_frame_are_told(project, capsys):
    rows = ("a,3,20,30,car", "a,3,20,31,background", "a,3,21,31,car")
    assert len(project.clicks(*rows)) == 3
    assert "contradict" not in capsys.readouterr().err
    project.clicks(*rows, shrink=2)
    told = "1 clicks fall on the pixel of a click of another class at data.shrink 2 (line 3 first)"
    assert told in capsys.readouterr().err


def test_clicks_that_may_be_per_cent_are_told(tmp_path, capsys):
    rows = [f"a,3,{y},{y + 1},car" for y in range(0, 99, 9)]
    Project(tmp_path / "large", (480, 640)).clicks(*rows)
    assert "lie within 0..100 px of frames of 480x640 px (HxW); if they are per" in capsys.readouterr().err
    Project(tmp_path / "small", (128, 160)).clicks(*rows)
    assert "per cent" not in capsys.readouterr().err
