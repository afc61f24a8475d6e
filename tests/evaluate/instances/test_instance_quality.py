"""How good stored instances are: against true ones, per class, over shards, and with damaged files."""

import dataclasses
import json

import numpy as np
import pytest

from helpers.found_instances import one_frame
from weclick.common.errors import InputError
from weclick.evaluate.instances.detecting import as_image
from weclick.evaluate.instances.figures import all_figures
from weclick.evaluate.instances.found import Instances
from weclick.evaluate.instances.quality import (
    Rated,
    instance_quality,
    quality_rows,
    rated,
    read_instance_quality,
    write_instance_quality,
)
from weclick.evaluate.instances.truth import read_true_instances
from weclick.store import Store, entry_key
from weclick.store.instance_entries import FrameInstances, write_instances

SIZE = (16, 32)
PERSON, CAR = 1, 2
SQUARES = {1001: (PERSON, 0), 1002: (PERSON, 8), 2001: (CAR, 16)}


def true_split(tmp_path):
    """Two persons and a car of 6 x 6 px, and a group of cars."""
    label, numbers = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint16)
    for number, (class_id, x) in SQUARES.items():
        label[2:8, x : x + 6], numbers[2:8, x : x + 6] = class_id, number
    label[2:8, 24:30] = CAR
    label[12:16] = 255
    return one_frame(tmp_path, label, numbers)


def found(*listed):
    """(class, x, score) of squares as true ones are."""
    masks = np.zeros((len(listed), *SIZE), bool)
    for mask, (_, x, _) in zip(masks, listed, strict=True):
        mask[2:8, x : x + 6] = True
    return Instances(
        masks, np.array([c for c, _, _ in listed], np.int64), np.array([s for *_, s in listed], float)
    )


def stored(root, manifest, objects, classes=None):
    store, (clip,) = Store([root / "store"]), manifest.clips
    inputs = {"format": 1, "frames": [clip.frames[0].digest]}
    with store.create("instances", inputs) as entry:
        write_instances(
            entry,
            [(clip.frames[0], FrameInstances(*objects))],
            clip.size,
            classes=classes or manifest.classes.names,
        )
    return store, {clip.id: entry_key("instances", inputs)}


ANSWER = (PERSON, 0, 0.9), (CAR, 8, 0.8), (CAR, 16, 0.7), (CAR, 24, 0.95)
"""One of two persons; a person called a car; the car; and something in the group."""


def test_stored_instances_are_rated(tmp_path):
    manifest = true_split(tmp_path)
    store, index = stored(tmp_path, manifest, found(*ANSWER))
    rows = instance_quality(manifest, index, store)
    assert [row["class"] for row in rows] == ["person", "car"]
    (told,) = rated(rows)
    assert (told["split"], told["frames"], told["truth"], told["instances"]) == ("val", 1, 3, 3)
    assert (told["recall50"], told["precision50"]) == (2 / 3, 2 / 3)
    assert told["per_class"]["person"] == {
        "truth": 2,
        "instances": 1,
        "AP50": pytest.approx(51 / 101),
        "recall50": 0.5,
        "precision50": 1,
    }
    assert told["per_class"]["car"]["AP50"] == pytest.approx(0.5)
    assert told["AP50"] == pytest.approx((51 / 101 + 0.5) / 2)


def test_it_is_cocos_ap50(tmp_path):
    """The house's own matching gives what COCO's evaluator gives, with a group and small objects."""
    manifest, rng = true_split(tmp_path), np.random.default_rng(0)
    (clip,) = manifest.clips
    for least in (1, 40):

        def read(clip, t, least=least):
            return read_true_instances(manifest, clip, t, min_pixels=least, min_pixels_at=None)

        for _ in range(5):
            listed = [(int(rng.integers(1, 3)), int(rng.integers(0, 26)), rng.random()) for _ in range(12)]
            answer = found(*listed)
            figures, _ = all_figures(manifest, {clip.id: {0: as_image("a", answer)}}, {}, read, least)
            (told,) = rated(quality_rows([Rated(read(clip, 0), answer)], manifest.classes, "val"))
            for name in ("person", "car"):
                ours, theirs = told["per_class"][name]["AP50"], figures["per_class"][name]["AP50"]
                assert (ours is None) == np.isnan(theirs)
                assert ours is None or ours == pytest.approx(theirs, abs=1e-9)


def test_unknown_pixels_do_not_count(tmp_path):
    manifest = true_split(tmp_path)
    answer = found((PERSON, 0, 0.9))
    answer.masks[0, 12:16] = True  # 64 px more, of which nobody knows what they are
    below = Instances(np.zeros((1, *SIZE), bool), np.array([CAR]), np.array([0.9]))
    below.masks[0, 13:15, 3:9] = True
    both = Instances(*(np.concatenate(parts) for parts in zip(answer, below, strict=True)))
    store, index = stored(tmp_path, manifest, both)
    (told,) = rated(instance_quality(manifest, index, store))
    assert (told["instances"], told["precision50"]) == (1, 1)


def test_shards_add_up_exactly(tmp_path):
    """Two shards are rated as one list of their frames: AP50 is no mean of the shards' own."""
    manifest = true_split(tmp_path)
    true = read_true_instances(manifest, manifest.clips[0], 0)
    answers = found(*ANSWER), found((PERSON, 4, 0.95), (PERSON, 8, 0.3))
    parts = [quality_rows([Rated(true, answer)], manifest.classes, "train") for answer in answers]
    for n, rows in enumerate(parts):
        write_instance_quality(tmp_path / f"{n}.json", rows)
    together = quality_rows([Rated(true, answer) for answer in answers], manifest.classes, "train")
    assert read_instance_quality(tmp_path / f"{n}.json" for n in range(3)) == rated(together)
    assert rated(together)[0]["frames"] == 2
    separate = [rated(rows)[0]["per_class"]["person"]["AP50"] for rows in parts]
    assert rated(together)[0]["per_class"]["person"]["AP50"] != pytest.approx(np.mean(separate))


def test_where_nothing_is_known_no_file_stays(tmp_path):
    manifest = true_split(tmp_path)
    store, index = stored(tmp_path, manifest, found(*ANSWER))
    write_instance_quality(tmp_path / "0.json", instance_quality(manifest, index, store))
    assert (tmp_path / "0.quality.jsonl").is_file()
    (clip,) = manifest.clips
    bare = dataclasses.replace(clip, frames=(dataclasses.replace(clip.frames[0], instances=None),))
    rows = instance_quality(dataclasses.replace(manifest, clips=(bare,)), index, store)
    assert rows == []
    write_instance_quality(tmp_path / "0.json", rows)
    assert not (tmp_path / "0.quality.jsonl").exists()
    assert read_instance_quality([tmp_path / "0.json"]) == rated([]) == []


def test_nothing_found_has_no_precision(tmp_path):
    manifest = true_split(tmp_path)
    store, index = stored(tmp_path, manifest, found())
    (told,) = rated(instance_quality(manifest, index, store))
    assert (told["AP50"], told["recall50"], told["precision50"]) == (0, 0, None)


def test_instances_of_other_classes_are_refused(tmp_path):
    manifest = true_split(tmp_path)
    store, index = stored(tmp_path, manifest, found(*ANSWER), ["road", "car", "person"])
    with pytest.raises(InputError, match="are of the classes road, car, person, but the data set has road"):
        instance_quality(manifest, index, store)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"hit": "01x"}, r"0\.quality\.jsonl"),
        ({"scores": [0.5]}, r"of car it says 2 instances and 1 hits, but lists 1 scores and 2 marks"),
        (
            {"hits": 2},
            r"of car it says 2 instances and 2 hits, but lists 2 scores and 2 marks, 1 of",
        ),
    ],
)
def test_damaged_files_are_told(tmp_path, change, told):
    manifest = true_split(tmp_path)
    true = read_true_instances(manifest, manifest.clips[0], 0)
    _, car = quality_rows([Rated(true, found(*ANSWER))], manifest.classes, "train")
    (tmp_path / "0.quality.jsonl").write_text(json.dumps(car | change) + "\n")
    with pytest.raises(InputError, match=told):
        read_instance_quality([tmp_path / "0.json"])
