"""DAVIS as it is published: lists of 2016 and 2017, black and white masks, palettes of numbered objects."""

import re

import numpy as np
import pytest
from PIL import Image

from helpers.layouts import (
    boxes,
    classes_in,
    manifest_of,
    told_by_doctor,
    write_frame,
    write_list,
    write_mask,
)
from weclick.common.errors import InputError, MissingFileError
from weclick.datasets import open_dataset
from weclick.manifest import read_manifest, write_manifest
from weclick.manifest.read import read_instances

CLASSES = """\
classes:
  - {name: background, color: [0, 0, 0]}
  - {name: animal, color: [64, 0, 128]}
  - {name: car, color: [0, 128, 0]}
"""


def write_clip(root, clip: str, count: int, *values: int, palette: bool) -> None:
    for i in range(count):
        write_frame(root / f"JPEGImages/480p/{clip}/{i:05d}.jpg", 100 * len(clip) + i)
        write_mask(root / f"Annotations/480p/{clip}/{i:05d}.png", boxes(*values), palette=palette)


@pytest.fixture
def of_2017(tmp_path):
    """Clips with one and two objects to train on, and one to score."""
    write_clip(tmp_path, "bear", 5, 1, palette=True)
    write_clip(tmp_path, "two-cars", 3, 1, 2, palette=True)
    write_clip(tmp_path, "cow", 2, 1, palette=True)
    write_list(tmp_path / "ImageSets/2017/train.txt", ["bear", "two-cars"])
    write_list(tmp_path / "ImageSets/2017/val.txt", ["cow"])
    write_list(tmp_path / "ImageSets/2016/val.txt", ["two-cars"])
    return tmp_path


@pytest.fixture
def of_2016(tmp_path):
    """Two clips, listed by pairs of image and mask."""
    for clip, split in (("bear", "train"), ("cow", "val")):
        write_clip(tmp_path, clip, 2, 255, palette=False)
        pairs = [f"/JPEGImages/480p/{clip}/{i:05d}.jpg /Annotations/480p/{clip}/{i:05d}.png" for i in (0, 1)]
        write_list(tmp_path / f"ImageSets/480p/{split}.txt", pairs)
    return tmp_path


def summary(root, split: str, **data):
    dataset = open_dataset({"name": "davis", "root": root, **data})
    return {clip.id: (len(clip.frames), clip.targets, clip.scored) for clip in dataset.clips(split)}


def test_lists_of_clips_give_the_splits(of_2017):
    assert open_dataset({"name": "davis", "root": of_2017}).splits == ("2016_val", "train", "val")
    every = {"target_every": 2}
    assert summary(of_2017, "train", **every) == {"bear": (5, (0, 2, 4), ()), "two-cars": (3, (0, 2), ())}
    assert summary(of_2017, "val", **every) == {"cow": (2, (), (0, 1))}
    assert summary(of_2017, "2016_val") == {"two-cars": (3, (), (0, 1, 2))}


def test_lists_of_pairs_give_their_clips(of_2016):
    assert summary(of_2016, "train") == {"bear": (2, (0, 1), ())}
    manifest = manifest_of("davis", of_2016, "val")
    assert classes_in(manifest) == {("cow", "00000"): {0, 1}, ("cow", "00001"): {0, 1}}
    assert manifest.classes.names == ("background", "object")
    assert not any(frame.instances for clip in manifest.clips for frame in clip.frames)
    assert all(frame.digest and frame.label_digest for clip in manifest.clips for frame in clip.frames)


def test_one_published_mask_has_four_channels(of_2016):
    mask = boxes(255)
    opaque = np.full_like(mask, 255)
    Image.fromarray(np.dstack([mask] * 3 + [opaque])).save(of_2016 / "Annotations/480p/cow/00001.png")
    assert classes_in(manifest_of("davis", of_2016, "val"))["cow", "00001"] == {0, 1}


def test_objects_are_told_apart(of_2017):
    write_mask(of_2017 / "Annotations/480p/two-cars/00001.png", boxes(1, 2, 255), palette=True)
    manifest = manifest_of("davis", of_2017, "train")
    assert classes_in(manifest)["two-cars", "00000"] == {0, 1}
    assert classes_in(manifest)["two-cars", "00001"] == {0, 1, 255}
    cars = next(clip for clip in manifest.clips if clip.id == "two-cars")
    assert set(read_instances(manifest, cars.frames[1]).ravel().tolist()) == {0, 1001, 1002}


def test_a_file_names_the_class_of_each_clip(of_2017, tmp_path):
    path = tmp_path / "classes.yaml"
    path.write_text(CLASSES + "clips: {bear: animal, cow: animal, two-cars: car}\n")
    manifest = manifest_of("davis", of_2017, "train", classes=str(path))
    assert {clip: ids for (clip, _), ids in classes_in(manifest).items()} == {
        "bear": {0, 1},
        "two-cars": {0, 2},
    }
    assert manifest.classes.instance_classes == (1, 2)
    write_manifest(manifest, tmp_path / "0.json")
    assert read_manifest(tmp_path / "0.json") == manifest


@pytest.mark.parametrize(
    ("clips", "told"),
    [
        ("", "names 3 classes, but not the class of each clip's objects; add it as in `clips: {bear:"),
        ("clips: [bear]", "names 3 classes, but not the class of each clip's objects"),
        ("clips: {bear: cars}", "clip 'bear' is of class 'cars', expected one of .* did you mean 'car'"),
        ("clips: {bear: background}", "clip 'bear' is of class 'background', expected one of .* animal, car"),
        (
            "clips: {bear: animal}",
            "does not say of which class the objects of two-cars are, 1 of the 2 clips",
        ),
    ],
)
def test_errors_of_the_classes_file_teach(of_2017, tmp_path, clips, told):
    path = tmp_path / "classes.yaml"
    path.write_text(f"{CLASSES}{clips}\n")
    with pytest.raises(InputError, match=told):
        summary(of_2017, "train", classes=str(path))


def test_another_resolution_is_read_where_480p_is_missing(of_2017):
    for kind in ("JPEGImages", "Annotations"):
        (of_2017 / kind / "480p").rename(of_2017 / kind / "Full-Resolution")
    assert classes_in(manifest_of("davis", of_2017, "val"))["cow", "00000"] == {0, 1}


def test_a_sound_tree_needs_no_mending(of_2017):
    assert [what for level, what, _ in told_by_doctor("davis", of_2017) if level == "error"] == []


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (boxes(1, 200), r"it holds the values \[200\], expected 0 .background., 1\.\.99"),
        (boxes(1, size=(16, 24)), "is 16x24 px .HxW., its frame 32x48"),
    ],
    ids=["values", "size"],
)
def test_doctor_names_a_mask_that_does_not_fit(of_2017, mask, told):
    write_mask(of_2017 / "Annotations/480p/cow/00001.png", mask, palette=True)
    (error,) = [found for level, _, found in told_by_doctor("davis", of_2017) if level == "error"]
    assert re.search(rf"cow/00001\.png: .*{told}", error)


def test_doctor_names_palettes_of_0_and_255(of_2017):
    """255 is not known in a palette, so a mask of 2016 that was saved with one has no object."""
    for i in (0, 1):
        write_mask(of_2017 / f"Annotations/480p/cow/{i:05d}.png", boxes(255), palette=True)
    told = [found for _, what, found in told_by_doctor("davis", of_2017) if what == "labels of val"]
    assert told == ["in all labels only 255 stands beside background", "object never occurs"]


def test_errors_teach(of_2017, tmp_path):
    with pytest.raises(InputError, match=r"is no DAVIS; expected JPEGImages/480p/<clip>/"):
        open_dataset({"name": "davis", "root": of_2017 / "ImageSets"})
    with pytest.raises(InputError, match=r"has no split 'test-dev' of davis; found: 2016_val, train, val"):
        summary(of_2017, "test-dev")
    write_list(of_2017 / "ImageSets/2017/val.txt", ["goat"])
    with pytest.raises(MissingFileError, match=r"480p/goat: holds no images, but .*val\.txt names the clip"):
        summary(of_2017, "val")
    (of_2017 / "JPEGImages/480p/bear/00004.jpg").unlink()
    with pytest.raises(InputError, match=r"bear: 1 masks have no frame in .*, e\.g\. 00004"):
        summary(of_2017, "train")
    for path in (of_2017 / "ImageSets").rglob("*.txt"):
        path.unlink()
    with pytest.raises(InputError, match=r"ImageSets: holds no lists, .* restore 2017/train\.txt"):
        open_dataset({"name": "davis", "root": of_2017})


def test_an_image_that_a_list_of_pairs_names_is_missing(of_2016):
    (of_2016 / "JPEGImages/480p/cow/00001.jpg").unlink()
    with pytest.raises(
        MissingFileError, match=r"cow/00001\.jpg: there is no such file, but .*val\.txt names"
    ):
        summary(of_2016, "val")
