"""A scribble is its pixels, and counts as one click: in the table, in its key, and on held-out frames."""

from __future__ import annotations

import uuid
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from weclick.clicks import clicks_digest, generate_clicks, read_clicks, write_clicks
from weclick.clicks.people import import_clicks
from weclick.clicks.scribbles import LENGTH_PX, PIXELS, scribble_pixels
from weclick.common.errors import InputError
from weclick.manifest import Classes, Clip, Frame, Manifest
from weclick.manifest.annotation import annotated
from weclick.manifest.click_log import append_events

CLASSES = Classes(("ground", "car"), ((0, 0, 0), (9, 9, 9)))
BUDGET = {
    "minutes": 3.0 / 60,
    "click_first_s": 2.0,
    "click_next_s": 1.0,
    "mask_object_s": 9.0,
    "frame_s": 0.0,
}


def test_the_pixels_are_those_of_the_lines_each_once():
    pixels = scribble_pixels([(5, 5), (5, 9), (8, 9), (5, 9)], "here")
    assert pixels.tolist() == [[5, 5], [5, 6], [5, 7], [5, 8], [5, 9], [6, 9], [7, 9], [8, 9]]


def test_a_long_one_is_thinned_evenly_and_one_that_no_hand_drew_is_refused():
    pixels = scribble_pixels([(0, 0), (0, 9999)], "here")
    assert len(pixels) == PIXELS
    assert set(np.diff(pixels[:, 1])) == {10}
    with pytest.raises(InputError, match=f"here: its scribble is {LENGTH_PX + 2} px long, expected at most"):
        scribble_pixels([(0, 0), (0, LENGTH_PX // 2 + 1), (0, 0)], "here")


def event(name: str, frame: str = "0", **place):
    told = {"time": "2026", "clip": "a", "source": "human", "who": "anna", "tool": "test", "class": "car"}
    return {**told, "id": str(uuid.uuid5(uuid.NAMESPACE_URL, name)), "frame": frame, **place}


@pytest.fixture
def manifest(tmp_path) -> Manifest:
    """A target with a click and two scribbles, and a scored frame with one scribble."""
    append_events(
        tmp_path / "clicks.jsonl",
        [
            event("click", y=1, x=1),
            event("long", points=[[10, 0], [10, 19]]),
            event("short", points=[[20, 4], [20, 5]], **{"class": "ground"}),
            event("held out", frame="1", points=[[3, 0], [3, 10]]),
        ],
    )
    frames = (Frame("0", 0, "0.png"), Frame("1", 1, "1.png"))
    clip = Clip("a", frames, targets=(0,), scored=(1,), height_px=32, width_px=32)
    return Manifest("folder", str(tmp_path), "train", 0, 1, CLASSES, (clip,), click_file="clicks.jsonl")


def test_each_counts_as_one_click(manifest):
    table = generate_clicks(manifest, options={}, seed=0)
    assert len(table.of("a", "0")) == 1 + 20 + 2
    assert (len(table), table.counts().tolist()) == (3, [1, 2])
    weights, points = table.weights("a", "0"), table.of("a", "0")
    assert weights.sum() == pytest.approx(3)
    assert weights[(points["y"] == 10)].tolist() == [pytest.approx(1 / 20)] * 20
    assert weights[(points["y"] == 1)].tolist() == [1]
    assert sorted(table.class_ids("a", "0").tolist()) == [0, 1, 1]
    assert table.weights("a", "1") is None
    assert len(table.origins_of("a", "0")) == 23


def test_it_comes_back_from_the_file_and_changes_the_digest(manifest, tmp_path):
    table = generate_clicks(manifest, options={}, seed=0)
    write_clicks(table, tmp_path / "a.h5")
    read = read_clicks(tmp_path / "a.h5")
    np.testing.assert_array_equal(read.scribbles["a", "0"], table.scribbles["a", "0"])
    assert clicks_digest(read) == clicks_digest(table)
    assert clicks_digest(replace(table, scribbles={})) != clicks_digest(table), "23 clicks are no 3"


def test_with_shrink_it_stays_one_click(manifest, tmp_path):
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "0.png")
    clips = tuple(replace(clip, height_px=16, width_px=16) for clip in manifest.clips)
    table = generate_clicks(replace(manifest, clips=clips, shrink=2), options={}, seed=0)
    assert (len(table), table.weights("a", "0").sum()) == (3, pytest.approx(3))
    assert set(table.of("a", "0")["y"].tolist()) == {0, 5, 10}


def test_on_a_held_out_frame_its_middle_is_one_try(manifest):
    people = import_clicks(manifest, "scored")
    assert {name: points.tolist() for name, points in people.points.items()} == {("a", "1"): [(3, 5, 1, 0)]}
    assert people.scribbles == {}


def test_minutes_of_annotation_count_it_as_a_click(manifest):
    table = generate_clicks(manifest, options={}, seed=0)
    assert annotated(manifest, table, BUDGET | {"minutes": 5 / 60}, "clicks", keep_targets=False).seconds == 5
    with pytest.raises(InputError, match=r"the clicks of the first frame take 5\.0 s"):
        annotated(manifest, table, BUDGET, "clicks", keep_targets=False)


def test_a_scribble_that_leaves_the_frame_or_crosses_another_class_is_an_error(manifest, tmp_path):
    append_events(tmp_path / "clicks.jsonl", [event("out", points=[[3, 0], [3, 32]])])
    with pytest.raises(
        InputError, match=r"click [0-9a-f-]+: x = 32 lies outside the frame, expected 0\.\.31"
    ):
        generate_clicks(manifest, options={}, seed=0)
    (tmp_path / "clicks.jsonl").unlink()
    crossing = event("b", points=[[5, 3], [1, 3]], **{"class": "ground"})
    append_events(tmp_path / "clicks.jsonl", [event("a", points=[[3, 0], [3, 9]]), crossing])
    with pytest.raises(InputError, match=r"gives the pixel \(y 3, x 3\) .* another class than click"):
        generate_clicks(manifest, options={}, seed=0)
