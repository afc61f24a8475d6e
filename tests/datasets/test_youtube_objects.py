"""YouTube-Objects: tiny shots in the layouts of several mirrors, with masks as noisy JPEG and as PNG."""

import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from helpers.layouts import SIZE, boxes, classes_in, manifest_of, told_by_doctor, write_frame, write_mask
from weclick.common.errors import InputError
from weclick.datasets import open_dataset
from weclick.datasets.youtube_objects import CLASSES, OBJECTS
from weclick.manifest import Clip, read_manifest, write_manifest
from weclick.manifest.read import read_label
from weclick.proxy_labels.masks import masks_key

CAR, TRAIN = CLASSES.names.index("car"), CLASSES.names.index("train")


def write_shot(root, path: str, numbers, seed: int = 0, name: str = "frame{:04d}.jpg") -> None:
    for number in numbers:
        write_frame(root / path / name.format(number), 100 * seed + number)


@pytest.fixture
def root(tmp_path):
    """Two shots of a car, one of them with masks on every tenth frame, and one of a train with masks."""
    write_shot(tmp_path, "car/data/0001/shots/001", range(1, 4))
    write_shot(tmp_path, "car/data/0001/shots/002", range(10, 22), seed=1)
    write_shot(tmp_path, "train/data/0007/shots/001", range(1, 3), seed=2)
    for number in (11, 21):
        write_mask(tmp_path / f"car/0001/shots/002/labels/{number:05d}.jpg", boxes(255))
    write_mask(tmp_path / "train/data/0007/shots/001/labels/00001.png", boxes(255))
    return tmp_path


def summary(root, split: str, **data):
    clips = open_dataset({"name": "youtube_objects", "root": root, **data}).list_clips(split)
    return {
        clip.id: ([frame.number for frame in clip.frames], clip.targets, clip.scored)
        for clip in sorted(clips, key=lambda clip: clip.id)
    }


def test_shots_without_masks_train_and_the_others_are_scored(root):
    assert summary(root, "train") == {"car/0001/001": ([1, 2, 3], (), ())}
    assert summary(root, "val") == {
        "car/0001/002": (list(range(10, 22)), (), (1, 11)),
        "train/0007/001": ([1, 2], (), (0,)),
    }
    assert summary(root, "val", train="val")["car/0001/002"][1:] == ((1, 11), ())


def test_masks_have_the_class_of_their_folder(root):
    manifest = manifest_of("youtube_objects", root, "val")
    assert classes_in(manifest) == {
        ("car/0001/002", "frame0011"): {0, CAR},
        ("car/0001/002", "frame0021"): {0, CAR},
        ("train/0007/001", "frame0001"): {0, TRAIN},
    }
    assert [clip.size for clip in manifest.clips] == [SIZE, SIZE]
    assert all(frame.digest for clip in manifest.clips for frame in clip.frames)


def test_noise_of_a_jpeg_is_cut_in_the_middle(root):
    path = root / "car/0001/shots/002/labels/00011.jpg"
    mask = boxes(255)
    noisy = np.clip(mask + np.random.default_rng(0).normal(0, 9, SIZE), 0, 255).astype(np.uint8)
    Image.fromarray(np.dstack([noisy] * 3)).save(path, quality=70)
    manifest = manifest_of("youtube_objects", root, "val")
    frame = next(frame for frame in manifest.clips[0].frames if frame.number == 11)
    assert (read_label(manifest, frame) == np.where(mask, CAR, 0)).mean() > 0.99


def test_a_manifest_comes_back_from_its_file(root, tmp_path):
    manifest = manifest_of("youtube_objects", root, "val")
    write_manifest(manifest, tmp_path / "0.json")
    assert read_manifest(tmp_path / "0.json") == manifest


@pytest.mark.parametrize(
    ("frames", "masks"),
    [
        ("bird/data/0001/shots/003", "youtube_masks/bird/data/0001/shots/003/labels"),
        ("v1/bird/data/0001/shots/003", "youtube_masks/bird/data/0001/shots/003/labels"),
        ("youtube_masks/bird/data/0001/shots/003/images", "youtube_masks/bird/data/0001/shots/003/labels"),
        ("bird/0001/shots/003", "bird/data/0001/shots/003/labels"),
    ],
)
def test_layouts_of_mirrors(tmp_path, frames, masks):
    write_shot(tmp_path, frames, (1, 2, 3))
    write_mask(tmp_path / masks / "00002.png", boxes(255))
    assert summary(tmp_path, "val") == {"bird/0001/003": ([1, 2, 3], (), (1,))}
    (seen,) = classes_in(manifest_of("youtube_objects", tmp_path, "val")).values()
    assert seen == {0, CLASSES.names.index("bird")}


def test_frames_beside_the_masks_go_before_others(tmp_path):
    """One mirror has whole frames in v1/, and beside the masks those of the masks' size."""
    for number in (1, 2):
        write_frame(tmp_path / f"v1/dog/data/0001/shots/001/frame{number:04d}.jpg", number, (64, 96))
    write_shot(tmp_path, "youtube_masks/dog/data/0001/shots/001/images", (1, 2))
    write_mask(tmp_path / "youtube_masks/dog/data/0001/shots/001/labels/00001.jpg", boxes(255))
    (clip,) = manifest_of("youtube_objects", tmp_path, "val").clips
    assert clip.size == SIZE


def test_equal_masks_of_two_classes_have_two_keys(root):
    """The class of a mask stands in its path alone, and paths are no part of a key."""
    manifest = manifest_of("youtube_objects", root, "val", train="val")
    (frame,) = manifest.clips[0].restrict([manifest.clips[0].targets[0]]).frames

    def key(label: str) -> str:
        clip = Clip("clip", (replace(frame, label=label),), targets=(0,))
        return masks_key(clip, manifest.classes, 32)

    assert key("car/0001/shots/002/labels/00011.jpg") == key("v1/car/data/9/x.jpg") != key("dog/0001/x.jpg")


def test_doctor_names_what_fits_no_layout(root):
    write_shot(root, "motorbikes/data/0001/shots/001", (1,))
    write_shot(root, "car/data/0002", (1,))
    (root / "car/data/0003/shots/001").mkdir(parents=True)
    told = {what: found for _, what, found in told_by_doctor("youtube_objects", root, train="train")}
    assert "data set" in told  # no label to train on, as long as there are no tags
    told = {what: found for _, what, found in told_by_doctor("youtube_objects", root, train="val", val="val")}
    assert told["layout"].startswith("3 faults: ")
    for part in (
        "motorbikes: is no class; did you mean 'motorbike'?",
        "car/data/0002: holds no shots/<shot>/",
        "car/data/0003/shots/001: holds no frames",
    ):
        assert part in told["layout"]
    missing = [name for name in OBJECTS if name not in ("car", "train")]
    assert told["classes"] == f"there is no shot of {', '.join(missing)}"


@pytest.mark.parametrize(
    ("mask", "told"),
    [
        (boxes(1), "its largest value is 1, expected 0 .background. and 255"),
        (np.full(SIZE, 120, np.uint8), "100 % of its pixels are neither black nor white: is it a mask"),
        (np.dstack([boxes(128), boxes(0), boxes(0)]), "it holds colours, expected black and white"),
        (boxes(255, size=(16, 24)), "is 16x24 px .HxW., its frame 32x48"),
    ],
    ids=["values", "frame", "colours", "size"],
)
def test_doctor_names_a_mask_that_is_none(root, mask, told):
    write_mask(root / "train/data/0007/shots/001/labels/00001.png", mask)
    found = told_by_doctor("youtube_objects", root, train="val", val="val")
    (error,) = [words for level, _, words in found if level == "error"]
    assert re.search(rf"labels/00001\.png: .*{told}", error)


def test_errors_teach(root, tmp_path):
    with pytest.raises(InputError, match=r"is no YouTube-Objects, since it has no shots; expected <class>"):
        open_dataset({"name": "youtube_objects", "root": root / "car"})
    dataset = open_dataset({"name": "youtube_objects", "root": root})
    with pytest.raises(InputError, match=r"has no split 'test' of youtube_objects; found: train, val"):
        dataset.clips("test")
    (root / "car/data/0001/shots/002/frame0021.jpg").unlink()
    with pytest.raises(
        InputError,
        match=r"labels/00021\.jpg: its frame 21 is missing \(1 such masks; shot car/0001/002 has the frames "
        "10 to 20",
    ):
        dataset.clips("val")


def test_names_tell_numbers(root):
    write_frame(root / "car/data/0001/shots/001/0002.jpg", 5)
    with pytest.raises(InputError, match=r"'0002\.jpg' and 'frame0002\.jpg' have one number, 2"):
        summary(root, "train")
    (root / "car/data/0001/shots/001/0002.jpg").rename(root / "car/data/0001/shots/001/cover.jpg")
    with pytest.raises(InputError, match=r"cover\.jpg: has no number in its name"):
        summary(root, "train")
