"""True objects as the labels of a detector."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from helpers.found_instances import one_frame
from weclick.cli import app
from weclick.common.digest import file_digest
from weclick.common.errors import InputError
from weclick.evaluate.instances.truth import read_true_instances
from weclick.manifest import write_manifest
from weclick.proxy_labels.instances import instances_inputs, make_instances
from weclick.proxy_labels.instances_from_masks import FromMasks
from weclick.store import Store, entry_key
from weclick.store.instance_entries import InstanceEntry

SIZE = (32, 64)
PERSON, CAR = 1, 2
FILES = ("label", "instances")


def drawn(root, *, shift=0):
    """A frame with a person, two cars that touch, and a group of cars that nobody told apart."""
    label, numbers = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint16)
    for number, class_id, left in ((1001, PERSON, 2 + shift), (2001, CAR, 20), (2002, CAR, 30)):
        label[4:16, left : left + 10], numbers[4:16, left : left + 10] = class_id, number
    label[20:28, 40:60] = CAR
    root.mkdir(exist_ok=True)
    manifest = one_frame(root, label, numbers)
    (frame,) = manifest.clips[0].frames
    digests = {f"{what}_digest": file_digest(manifest.path(getattr(frame, what))) for what in FILES}
    return changed(manifest, **digests)


def changed(manifest, **changes):
    """The manifest with other facts of its frame."""
    (clip,) = manifest.clips
    frames = tuple(dataclasses.replace(frame, **changes) for frame in clip.frames)
    return dataclasses.replace(manifest, clips=(dataclasses.replace(clip, frames=frames),))


def source(manifest):
    return FromMasks(manifest, read_true_instances)


def key_of(manifest):
    (clip,) = manifest.clips
    return entry_key("instances", instances_inputs(clip, manifest.classes.names, source(manifest)))


def test_every_object_that_is_told_apart_is_one_and_groups_are_none(tmp_path):
    manifest, store = drawn(tmp_path), Store([tmp_path / "store"])
    (clip,) = manifest.clips
    keys = make_instances(manifest, source(manifest), store=store, allow_val=True)
    found = InstanceEntry(store.get("instances", keys[clip.id]), clip.size).of(clip.frames[0].digest)
    assert found.classes.tolist() == [PERSON, CAR, CAR]
    assert found.scores.tolist() == [1, 1, 1]
    truth = read_true_instances(manifest, clip, 0)
    np.testing.assert_array_equal(found.masks, truth.masks)
    assert found.masks.sum((1, 2)).tolist() == [120, 120, 120], "and none of the group"


def test_the_key_follows_the_files_and_the_classes(tmp_path):
    one = drawn(tmp_path / "a")
    same, moved = drawn(tmp_path / "b"), drawn(tmp_path / "c", shift=1)
    assert key_of(one) == key_of(same) != key_of(moved)
    fewer = dataclasses.replace(one.classes, instance_classes=(CAR,))
    assert key_of(dataclasses.replace(one, classes=fewer)) != key_of(one)


def test_the_folder_that_tells_the_class_of_a_mask_is_no_part_of_the_key(tmp_path):
    def key_by(folder, class_id):
        manifest = changed(drawn(tmp_path), label=f"{folder}/0.png")
        rule = {"masks": {folder: class_id}}
        return key_of(
            dataclasses.replace(manifest, classes=dataclasses.replace(manifest.classes, label_map=rule))
        )

    assert key_by("here", CAR) == key_by("there", CAR) != key_by("here", PERSON)


@pytest.mark.parametrize("lacking", FILES)
def test_a_frame_without_its_file_is_told(tmp_path, lacking):
    manifest = changed(drawn(tmp_path), **{lacking: None, f"{lacking}_digest": None})
    with pytest.raises(InputError, match=r"1 of 1 frames of clip .* have no label with an instance file"):
        make_instances(manifest, source(manifest), store=Store([tmp_path / "store"]), allow_val=True)
    assert not list((tmp_path / "store").rglob("instances.jsonl"))


def test_classes_whose_objects_nobody_tells_apart_are_told(tmp_path):
    manifest = drawn(tmp_path)
    manifest = dataclasses.replace(
        manifest, classes=dataclasses.replace(manifest.classes, instance_classes=())
    )
    with pytest.raises(InputError, match="has no class whose objects are told apart"):
        make_instances(manifest, source(manifest), store=Store([tmp_path / "store"]), allow_val=True)


def test_the_stage_makes_the_upper_bound(tmp_path):
    """What is taken from the truth agrees with it in all."""
    manifest = drawn(tmp_path)
    write_manifest(manifest, tmp_path / "0.json")
    words = ["--manifest", tmp_path / "0.json", "--output", tmp_path / "made/0.json", "--allow-val"]
    settings = {"method": "maskconsist", "instances.source": "masks", "cache.roots": [str(tmp_path / "s")]}
    for key, value in settings.items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    done = CliRunner().invoke(app, ["instances", *map(str, words)])
    assert done.exit_code == 0, done.output
    lines = map(json.loads, (tmp_path / "made/0.quality.jsonl").read_text().splitlines())
    told = {line["class"]: (line["truth"], line["instances"], line["hits"]) for line in lines}
    assert told == {"person": (1, 1, 1), "car": (2, 2, 2)}


def test_a_file_that_changed_since_the_manifest_is_told(tmp_path):
    manifest = drawn(tmp_path)
    (clip,) = manifest.clips
    path = manifest.path(clip.frames[0].instances)
    before = file_digest(path)
    Image.fromarray(np.zeros(SIZE, np.uint16)).save(path)
    assert file_digest(path) != before
    with pytest.raises(InputError, match="changed"):
        make_instances(manifest, source(manifest), store=Store([tmp_path / "store"]), allow_val=True)
