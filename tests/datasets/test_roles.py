"""Which frames of a folder are learned from and which are scored, with masks, clicks, or both."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from weclick.clicks import generate_clicks
from weclick.common.errors import InputError
from weclick.datasets import build_manifest, open_dataset
from weclick.datasets.folder import CLASSES_EXAMPLE
from weclick.manifest.click_log import append_events

OPTIONS = {"min_pixels": 1, "min_pixels_at": None, "point": "centroid"}


class Mine:
    """Clips a and b of 12 frames each, without labels."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for clip in "ab":
            self.images("frames", clip, range(12), (16, 24, 3))
        (root / "classes.yaml").write_text(CLASSES_EXAMPLE)

    def images(self, kind: str, clip: str, numbers, shape) -> None:
        (self.root / kind / clip).mkdir(parents=True, exist_ok=True)
        for number in numbers:
            Image.fromarray(np.full(shape, 1, np.uint8)).save(self.root / kind / clip / f"{number:03d}.png")

    def label(self, clip: str, *numbers: int) -> None:
        self.images("labels", clip, numbers, (16, 24))

    def click(self, *places: tuple[str, int], y: int = 3, source: str = "human") -> None:
        """Append a click on each frame to the log."""
        events = [
            {
                "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{clip}{number}{y}")),
                "time": "2026-11-28T10:00:00Z",
                "clip": clip,
                "frame": f"{number:03d}",
                "y": y,
                "x": 5,
                "class": "car",
                "source": source,
                "who": "anna",
                "tool": "test",
            }
            for clip, number in places
        ]
        append_events(self.root / "clicks.jsonl", events)

    def roles(self, mix: str = "human", **data) -> tuple[dict, dict]:
        """Clip -> targets of the training split, and clip -> scored frames of the other."""
        dataset = open_dataset({"name": "folder", "root": self.root, "val_clips": ["b"], **data}, mix)
        train, val = (
            {clip.id: list(getattr(clip, role)) for clip in dataset.clips(split)}
            for split, role in (("train", "targets"), ("val", "scored"))
        )
        return train, val

    def manifest(self, split: str = "train", mix: str = "human", **data):
        dataset = open_dataset({"name": "folder", "root": self.root, "val_clips": ["b"], **data}, mix)
        return build_manifest(dataset, split, 0, 1, reach_frames=1)


@pytest.fixture
def mine(tmp_path) -> Mine:
    return Mine(tmp_path)


def test_clicks_alone_train_and_those_of_held_out_clips_are_scored(mine):
    mine.click(("a", 7), ("b", 2), ("a", 1), ("b", 5))
    assert mine.roles() == ({"a": [1, 7]}, {"b": [2, 5]})


def test_no_click_is_dropped_by_target_every(mine):
    mine.click(("a", 3), ("a", 4), ("b", 1))
    mine.label("a", 0, 2, 3, 5)
    assert mine.roles(target_every=2) == ({"a": [3, 4]}, {"b": [1]})
    assert mine.roles(target_every=2, mix="human_else_masks")[0] == {"a": [0, 2, 3, 4]}


def test_without_held_out_clips_every_fifth_clicked_frame_is_scored(mine):
    mine.click(*(("a", t) for t in (9, 1, 2, 3, 4)), *(("b", t) for t in (0, 7, 2)))
    other = {"held_out": "other_frames"}
    assert mine.roles(**other) == ({"a": [2, 3, 4, 9], "b": [0, 2]}, {"a": [1], "b": [7]})
    mine.click(("a", 0), ("a", 1), y=9)
    assert mine.roles(**other)[1] == {"a": [1], "b": [7]}, "a further click changes nothing for earlier ones"
    assert mine.roles(**other, held_out_every=2)[1] == {"a": [1, 3], "b": [0, 2]}
    train, val = mine.roles(**other, held_out_every=0)
    assert (train, val) == ({"a": [0, 1, 2, 3, 4, 9], "b": [0, 2, 7]}, {"a": [], "b": []})


def test_where_masks_are_left_to_score_no_click_is_held_out(mine):
    mine.click(("a", 1), ("a", 2), ("a", 3))
    mine.label("b", 4)
    assert mine.roles(held_out="other_frames") == ({"a": [1, 2, 3], "b": []}, {"a": [], "b": [4]})
    train, val = mine.roles(held_out="other_frames", held_out_every=2)
    assert (train, val) == ({"a": [1, 3], "b": []}, {"a": [2], "b": [4]})


def test_labels_of_held_out_clips_are_scored_beside_clicks(mine):
    mine.click(("a", 1), ("b", 2))
    mine.label("b", 2, 6)
    assert mine.roles() == ({"a": [1]}, {"b": [2, 6]})


def test_the_mix_is_decided_frame_by_frame(mine):
    mine.click(("a", 1), ("b", 3))
    mine.label("a", 1, 4)
    assert mine.roles("human")[0] == {"a": [1]}
    assert mine.roles("human_else_masks")[0] == {"a": [1, 4]}
    mix = "human_else_masks"
    table = generate_clicks(mine.manifest(mix=mix), options={**OPTIONS, "mix": mix}, seed=0)
    assert table.of("a", "001").tolist() == [(3, 5, 1, 0)]
    assert table.of("a", "004").tolist() == [(8, 12, 1, 384)]
    (human,), (mask,) = table.origins_of("a", "001"), table.origins_of("a", "004")
    assert (human.source, human.who, human.tool, mask.source) == ("human", "anna", "test", "mask")
    assert table.options == {"click_file": "clicks.jsonl", **OPTIONS}


def test_masks_alone_are_as_if_nobody_had_clicked(mine):
    mine.label("a", 0, 1)
    mine.label("b", 3)
    alone = mine.roles(), mine.manifest()
    mine.click(("a", 5), ("b", 6))
    assert (mine.roles("masks"), mine.manifest(mix="masks")) == alone


def test_a_table_that_is_named_goes_before_the_log(mine):
    mine.click(("a", 1), ("b", 3))
    (mine.root / "other.csv").write_text("clip,frame,y,x,class\na,2,1,1,car\nb,2,1,1,car\n")
    assert mine.roles(clicks=str(mine.root / "other.csv")) == ({"a": [2]}, {"b": [2]})
    log = (mine.root / "clicks.jsonl").rename(mine.root / "old.jsonl")
    assert mine.roles(clicks=str(log)) == ({"a": [1]}, {"b": [3]})


def test_a_log_without_a_click_is_none(mine):
    (mine.root / "clicks.jsonl").touch()
    mine.label("a", 0)
    mine.label("b", 0)
    assert mine.roles() == ({"a": [0]}, {"b": [0]})


def test_nothing_clicked_and_nothing_labelled_says_how_to_click(mine):
    with pytest.raises(InputError, match=r"click in it \(`weclick click --root .*`\), add labels, .*split"):
        mine.roles()


def test_a_click_that_is_undone_does_not_count(mine):
    mine.click(("a", 1), ("a", 2), ("b", 3))
    line = json.loads((mine.root / "clicks.jsonl").read_text(encoding="utf-8").splitlines()[1])
    undo = {"id": str(uuid.uuid4()), "time": "2026-11-28T10:00:01Z", "undo": line["id"], "who": "anna"}
    append_events(mine.root / "clicks.jsonl", [undo])
    assert mine.roles()[0] == {"a": [1]}


def test_a_click_on_a_frame_that_is_not_there_names_it(mine):
    mine.click(("a", 99))
    with pytest.raises(InputError, match=r"clicks\.jsonl, click [0-9a-f-]+: clip 'a', frame '099' is not on"):
        mine.roles()
