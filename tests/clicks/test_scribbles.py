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


def test_a_scribble_that_leaves_the_frame_is_an_error(manifest, tmp_path):
    append_events(tmp_path / "clicks.jsonl", [event("out", points=[[3, 0], [3, 32]])])
    with pytest.raises(
        InputError, match=r"click [0-9a-f-]+: x = 32 lies outside the frame, expected 0\.\.31"
    ):
        generate_clicks(manifest, options={}, seed=0)


GROUND = {"class": "ground"}
LINE = event("line", points=[[3, 0], [3, 9]])


def of_classes(manifest, tmp_path, *events) -> dict[str, set[tuple[int, int]]]:
    """Class -> pixels of the target, once these events are its log."""
    (tmp_path / "clicks.jsonl").unlink()
    append_events(tmp_path / "clicks.jsonl", events)
    points = generate_clicks(manifest, options={}, seed=0).of("a", "0")
    by_class = {"ground": points[points["class_id"] == 0], "car": points[points["class_id"] == 1]}
    pixels = {
        name: list(zip(of["y"].tolist(), of["x"].tolist(), strict=True)) for name, of in by_class.items()
    }
    assert not set(pixels["ground"]) & set(pixels["car"]), "no pixel has two classes"
    return {name: set(of) for name, of in pixels.items()}


@pytest.mark.parametrize("is_first", [True, False])
def test_where_scribbles_of_two_classes_cross_the_pixel_is_of_neither(manifest, tmp_path, is_first):
    crossing = event("b", points=[[5, 3], [1, 3]], **GROUND)
    found = of_classes(manifest, tmp_path, *((LINE, crossing) if is_first else (crossing, LINE)))
    assert found["car"] == {(3, x) for x in range(10) if x != 3}
    assert found["ground"] == {(y, 3) for y in (1, 2, 4, 5)}


@pytest.mark.parametrize("is_first", [True, False])
def test_a_click_wins_over_a_scribble_of_another_class_that_crosses_it(manifest, tmp_path, is_first):
    click = event("b", y=3, x=4, **GROUND)
    found = of_classes(manifest, tmp_path, *((click, LINE) if is_first else (LINE, click)))
    assert found == {"ground": {(3, 4)}, "car": {(3, x) for x in range(10) if x != 4}}


@pytest.mark.parametrize("is_first", [True, False])
def test_a_click_on_a_scribble_of_its_class_counts_beside_it(manifest, tmp_path, is_first):
    click = event("b", y=3, x=4)
    of_classes(manifest, tmp_path, *((click, LINE) if is_first else (LINE, click)))
    table = generate_clicks(manifest, options={}, seed=0)
    assert (len(table), len(table.of("a", "0"))) == (2, 11)
    assert table.weights("a", "0").sum() == pytest.approx(2)


def test_two_clicks_of_two_classes_on_one_pixel_stay_an_error(manifest, tmp_path):
    clicks = [event("a", y=3, x=4), event("b", y=3, x=4, **GROUND)]
    with pytest.raises(InputError, match=r"gives the pixel \(y 3, x 4\) .* another class than click"):
        of_classes(manifest, tmp_path, LINE, *clicks)


def test_a_scribble_of_which_nothing_is_left_is_told_and_the_others_keep_their_order(
    manifest, tmp_path, capsys
):
    lost, last = event("b", points=[[3, 2], [3, 5]], **GROUND), event("c", points=[[9, 0], [9, 3]])
    found = of_classes(manifest, tmp_path, lost, LINE, last)
    assert found["ground"] == set()
    assert "1 scribbles lie wholly on clicks or scribbles of other classes" in capsys.readouterr().err
    numbers = generate_clicks(manifest, options={}, seed=0).scribbles["a", "0"]
    assert np.unique(numbers).tolist() == [1, 2]


def test_classes_are_told_apart_on_the_frame_as_it_is_read(manifest, tmp_path):
    """Neighbouring lines become one line at half the size."""
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "0.png")
    clips = tuple(replace(clip, height_px=16, width_px=16) for clip in manifest.clips)
    small = replace(manifest, clips=clips, shrink=2)
    below = event("b", points=[[2, 4], [2, 9]], **GROUND)
    assert of_classes(small, tmp_path, LINE, below) == {"ground": set(), "car": {(1, 0), (1, 1)}}


def test_on_a_held_out_frame_a_crossed_scribble_is_tried_in_the_middle_of_what_is_left(manifest, tmp_path):
    line = event("held out", frame="1", points=[[3, 0], [3, 10]])
    (tmp_path / "clicks.jsonl").unlink()
    append_events(tmp_path / "clicks.jsonl", [line, event("c", frame="1", y=3, x=5, **GROUND)])
    points = import_clicks(manifest, "scored").points["a", "1"]
    assert sorted(zip(points["x"].tolist(), points["class_id"].tolist(), strict=True)) == [(5, 0), (6, 1)]
