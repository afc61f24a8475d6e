"""PASCAL VOC: a tiny VOC2012 of images of different sizes, its lists, masks and objects."""

import re
from hashlib import sha256

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
from weclick.clicks import generate_clicks
from weclick.common.errors import InputError, MissingFileError
from weclick.common.schemas import schema_fault
from weclick.datasets import open_dataset
from weclick.datasets.voc import CLASSES, voc_color
from weclick.manifest import read_manifest, write_manifest
from weclick.manifest.read import read_instances

DOG, PERSON, CAT = (CLASSES.names.index(name) for name in ("dog", "person", "cat"))
IDS = ("2007_000032", "2007_000039", "2008_000003", "2009_000001")
SIZES = ((32, 48), (40, 36), (32, 48), (24, 24))


@pytest.fixture
def root(tmp_path):
    """Two images to train on, one to score, and one that only SBD has a mask of."""
    root = tmp_path / "VOC2012"
    for i, (name, size) in enumerate(zip(IDS, SIZES, strict=True)):
        write_frame(root / f"JPEGImages/{name}.jpg", i, size)
    for name, size in zip(IDS[:3], SIZES, strict=False):
        label = boxes(DOG, PERSON, size=size)
        label[4:12, 1] = label[4:12, 10] = 255
        write_mask(root / f"SegmentationClass/{name}.png", label, palette=True)
        write_mask(root / f"SegmentationObject/{name}.png", boxes(1, 2, size=size), palette=True)
    for name, size in zip(IDS, SIZES, strict=True):
        write_mask(root / f"SegmentationClassAug/{name}.png", boxes(CAT, size=size))
    lists = root / "ImageSets/Segmentation"
    write_list(lists / "train.txt", IDS[:2])
    write_list(lists / "val.txt", IDS[2:3])
    pairs = [f"/JPEGImages/{name}.jpg /SegmentationClassAug/{name}.png" for name in (*IDS[:2], IDS[3])]
    write_list(lists / "train_aug.txt", pairs)
    write_list(root / "ImageSets/Main/trainval.txt", IDS)
    write_list(root / "ImageSets/Main/dog_train.txt", [f"{name}  1" for name in IDS])
    return root


def test_an_image_is_a_clip_of_one_frame(root):
    dataset = open_dataset({"name": "voc", "root": root})
    assert dataset.splits == ("main_trainval", "train", "train_aug", "val")
    manifest = manifest_of("voc", root, "train")
    assert [(clip.id, clip.size, clip.targets, clip.scored) for clip in manifest.clips] == [
        (IDS[0], (32, 48), (0,), ()),
        (IDS[1], (40, 36), (0,), ()),
    ]
    (frame,) = manifest.clips[0].frames
    assert (frame.name, frame.number) == (IDS[0], 0)
    for path, digest in ((frame.image, frame.digest), (frame.label, frame.label_digest)):
        assert digest == sha256((root / path).read_bytes()).hexdigest()
    (scored,) = manifest_of("voc", root, "val").clips
    assert (scored.id, scored.targets, scored.scored) == (IDS[2], (), (0,))


def test_labels_are_class_ids_with_ignored_borders(root):
    assert classes_in(manifest_of("voc", root, "train")) == {
        (name, name): {0, DOG, PERSON, 255} for name in IDS[:2]
    }


def test_lists_with_aug_read_the_masks_of_sbd(root):
    found = classes_in(manifest_of("voc", root, "train_aug", train="train_aug"))
    assert found == {(name, name): {0, CAT} for name in (IDS[0], IDS[1], IDS[3])}


def test_lists_of_main_give_images_without_masks(root):
    dataset = open_dataset({"name": "voc", "root": root, "train": "main_trainval"})
    clips = dataset.list_clips("main_trainval")
    assert [clip.id for clip in clips] == list(IDS)
    assert not any(frame.label for clip in clips for frame in clip.frames)
    with pytest.raises(InputError, match="split 'main_trainval' has 4 clips, but no labelled frame"):
        dataset.clips("main_trainval")


def test_objects_of_a_class_get_a_click_each(root):
    label = np.zeros(SIZES[0], np.uint8)
    label[4:12, 4:20] = DOG  # two dogs that touch
    objects = np.zeros(SIZES[0], np.uint8)
    objects[4:12, 4:12], objects[4:12, 12:20], objects[20] = 1, 2, 255
    write_mask(root / f"SegmentationClass/{IDS[0]}.png", label, palette=True)
    write_mask(root / f"SegmentationObject/{IDS[0]}.png", objects, palette=True)
    write_list(root / "ImageSets/Segmentation/train.txt", IDS[:1])
    manifest = manifest_of("voc", root, "train")
    assert set(read_instances(manifest, manifest.clips[0].frames[0]).ravel().tolist()) == {0, 1001, 1002}
    options = {"min_pixels": 5000, "min_pixels_at": None, "point": "centroid", "mix": "human"}
    points = generate_clicks(manifest, options=options, seed=0).frames[IDS[0], IDS[0]]
    assert [(p["y"], p["x"], p["class_id"]) for p in points] == [(8, 8, DOG), (8, 16, DOG)]


def test_the_palette_is_that_of_voc():
    assert [voc_color(i) for i in (0, 1, 2, 15, 20, 255)] == [
        (0, 0, 0),
        (128, 0, 0),
        (0, 128, 0),
        (192, 128, 128),
        (0, 64, 128),
        (224, 224, 192),
    ]


def test_a_manifest_comes_back_from_its_file(root, tmp_path):
    manifest = manifest_of("voc", root, "train")
    write_manifest(manifest, tmp_path / "0.json")
    assert read_manifest(tmp_path / "0.json") == manifest


def test_a_sound_tree_has_no_error(root):
    assert {level for level, *_ in told_by_doctor("voc", root)} == {"warning"}  # it has 4 of 21 classes


def test_doctor_names_images_without_a_mask(root):
    (root / f"SegmentationClass/{IDS[1]}.png").unlink()
    told = told_by_doctor("voc", root)
    assert ("warning", "masks of train", f"1 of 2 images have none, e.g. {IDS[1]}") in told


@pytest.mark.parametrize(
    ("path", "mask", "told"),
    [
        ("SegmentationClass", boxes(77), r"holds values \[77\], expected class ids 0\.\.20 or 255"),
        ("SegmentationClass", boxes(DOG, size=(16, 48)), "is 16x48 px .* its frame 32x48"),
        ("SegmentationObject", boxes(1, size=(16, 48)), "is 16x48 px .* its frame 32x48"),
    ],
)
def test_doctor_names_a_mask_that_does_not_fit(root, path, mask, told):
    write_mask(root / path / f"{IDS[0]}.png", mask, palette=True)
    errors = [found for level, _, found in told_by_doctor("voc", root) if level == "error"]
    assert len(errors) == 1
    assert re.search(rf"{path}/{IDS[0]}\.png: {told}", errors[0])


def test_a_mask_of_another_size_is_an_error_in_the_manifest(root):
    write_mask(root / f"SegmentationClass/{IDS[0]}.png", boxes(DOG, size=(16, 48)))
    with pytest.raises(InputError, match=r"is 16x48 px .HxW., its frame 32x48; a label needs"):
        manifest_of("voc", root, "train")


def test_errors_teach(root, tmp_path):
    with pytest.raises(InputError, match=r"is no VOC2012, .* set data\.root to .*VOC2012"):
        open_dataset({"name": "voc", "root": tmp_path})
    with pytest.raises(InputError, match=r"has no split 'test' of voc; found: main_trainval, train"):
        open_dataset({"name": "voc", "root": root}).clips("test")
    write_list(root / "ImageSets/Segmentation/val.txt", ["2012_000001"])
    with pytest.raises(MissingFileError, match=r"JPEGImages: lacks 2012_000001, which .*val\.txt names"):
        open_dataset({"name": "voc", "root": root}).clips("val")
    for path in (root / "ImageSets").rglob("*.txt"):
        path.unlink()
    with pytest.raises(
        InputError, match=r"ImageSets: holds no lists, .* Segmentation/train\.txt and val\.txt"
    ):
        open_dataset({"name": "voc", "root": root})


def test_objects_in_colours_are_refused(root):
    Image.new("RGB", (48, 32), (9, 0, 0)).save(root / f"SegmentationObject/{IDS[0]}.png")
    manifest = manifest_of("voc", root, "train")
    with pytest.raises(InputError, match="holds colours, expected numbers of objects"):
        read_instances(manifest, manifest.clips[0].frames[0])


def test_the_manifest_fits_its_schema(root, tmp_path):
    write_manifest(manifest_of("voc", root, "train"), tmp_path / "0.json")
    assert '"numbered_objects": true' in (tmp_path / "0.json").read_text()
    assert schema_fault({"names": ["a"]}, "manifest", "classes")
