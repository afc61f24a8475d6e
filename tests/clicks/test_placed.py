"""People's clicks come with their frames, in the order in which they were made."""

import uuid
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weclick.clicks.placed import frames_of, placed_clicks
from weclick.manifest import Classes, Clip, Frame, Manifest
from weclick.manifest.click_log import append_events

CLASSES = Classes(("road", "Bäume"), ((0, 0, 0), (9, 9, 9)))


@pytest.fixture
def root(tmp_path) -> Path:
    for i in range(3):
        Image.fromarray(np.full((20, 40, 3), 10 * i, np.uint8)).save(tmp_path / f"{i}.png")
    return tmp_path


def manifest(root, click_file, *, shrink=1):
    frames = tuple(Frame(f"{i:02d}", i, f"{i}.png") for i in range(3))
    clip = Clip("a", frames, targets=(0, 2), scored=(1,), height_px=20 // shrink, width_px=40 // shrink)
    return Manifest(
        "folder", str(root), "train", 0, 1, CLASSES, (clip,), click_file=click_file, shrink=shrink
    )


def log(root, *clicks):
    keys = "frame", "y", "x", "class", "who"
    events = [
        {
            "id": str(uuid.uuid4()),
            "time": f"2026-11-28T10:00:0{i}Z",
            "clip": "a",
            "source": "human",
            "tool": "test",
            **dict(zip(keys, click, strict=True)),
        }
        for i, click in enumerate(clicks)
    ]
    for event in events:
        if isinstance(event["y"], list):
            event["points"] = event.pop("y")
            event.pop("x")
    append_events(root / "clicks.jsonl", events)


def test_a_log_is_placed_on_both_splits(root):
    line = [[1, 1], [5, 9], [7, 20]]
    log(root, ("02", 3, 4, "Bäume", "anna"), ("01", 9, 9, "road", "ben"), ("00", line, 0, "road", "anna"))
    made = manifest(root, "clicks.jsonl", shrink=2)
    later, held_out, scribble = placed_clicks(made, made)
    assert later.click == ("a", "02", 3, 4, "Bäume")
    assert (later.class_id, later.position, later.size) == (1, 2, (20, 40))
    assert (later.origin.who, later.time[:19]) == ("anna", "2026-11-28T10:00:00")
    assert later.share == (3.5 / 20, 4.5 / 40)
    assert (held_out.is_held_out, held_out.click.frame) == (True, "01")
    assert (scribble.is_scribble, scribble.click[2:4]) == (True, (5, 9))
    assert [each.is_held_out for each in placed_clicks(made)] == [False, False]
    assert [each.click.frame for each in placed_clicks(None, made)] == ["01"]


def test_a_table_tells_no_time_and_what_is_none_is_left_out(root):
    rows = "a,2.0,3.4,4.5,1", "a,0,3,4,boat", "b,0,1,1,road", "a,0,99,1,road", "a,0,19.4,39.4,road"
    (root / "clicks.csv").write_text("\n".join(("clip,frame,y,x,class", *rows)), encoding="utf-8")
    found = placed_clicks(manifest(root, "clicks.csv"))
    assert [each.click for each in found] == [("a", "02", 3, 5, "Bäume"), ("a", "00", 19, 39, "road")]
    assert {each.time for each in found} == {""}
    assert placed_clicks(manifest(root, None)) == []


def test_the_outer_edge_of_the_last_pixel_is_placed_as_the_clicks_stage_places_it(root):
    """It takes -0.5 to side - 0.5; without the edge, the checks would count fewer clicks than it."""
    rows = "a,0,19.5,39.5,road", "a,2,-0.5,-0.5,road", "a,2,19.6,3,road", "a,2,3,nan,road"
    (root / "clicks.csv").write_text("\n".join(("clip,frame,y,x,class", *rows)), encoding="utf-8")
    found = placed_clicks(manifest(root, "clicks.csv"))
    assert [each.click[1:4] for each in found] == [("00", 19, 39), ("02", 0, 0)]


def test_every_frame_is_read_once(root):
    log(
        root,
        ("02", 3, 4, "road", ""),
        ("00", 1, 1, "road", ""),
        ("02", 9, 9, "road", ""),
        ("01", 1, 1, "road", ""),
    )
    made = manifest(root, "clicks.jsonl", shrink=2)
    read = [
        (int(image[0, 0, 0]), image.shape, found) for image, found in frames_of(placed_clicks(made, made))
    ]
    assert read == [(0, (10, 20, 3), [1]), (20, (10, 20, 3), [0, 2]), (10, (10, 20, 3), [3])]
