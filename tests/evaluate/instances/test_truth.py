"""True objects of frames: files as Cityscapes and PASCAL VOC write them, groups, small objects, bad files."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from helpers.found_instances import one_frame
from weclick.common.errors import InputError
from weclick.common.rle import encode_masks
from weclick.evaluate.instances.cityscapes import cityscapes_instance_ap
from weclick.evaluate.instances.images import instance_ap
from weclick.evaluate.instances.true_files import VOID, labels_of, true_ids, true_image
from weclick.evaluate.instances.truth import check_true_instances, has_truth, read_true_instances, with_truth
from weclick.proxy_labels import ImageInstances, coco_json, coco_results

SIZE = (16, 32)
PERSON, CAR = 1, 2
CITYSCAPES = {"7": 0, "24": PERSON, "26": CAR, "29": 255}


def cityscapes(tmp_path):
    """Two persons and a group of these, a car with an ignored rim, a caravan, and road; in label ids."""
    label = np.full(SIZE, 7, np.uint8)
    label[2:10, 2:6] = label[2:10, 8:12] = label[2:6, 14:20] = 24
    label[8:14, 14:24], label[8:14, 23] = 26, 0
    label[2:6, 26:30] = 29
    numbers = label.astype(np.uint16)
    numbers[2:10, 2:6], numbers[2:10, 8:12], numbers[8:14, 14:23], numbers[2:6, 26:30] = (
        24000,
        24001,
        26000,
        29000,
    )
    return one_frame(tmp_path, label, numbers, label_map={"ids": CITYSCAPES | {"0": 255}})


def read(manifest, **options):
    options = {"min_pixels": 1, "min_pixels_at": None} | options
    return read_true_instances(manifest, manifest.clips[0], 0, **options)


def test_ids_as_cityscapes_writes_them(tmp_path):
    true = read(cityscapes(tmp_path))
    assert true.numbers.tolist() == [24000, 24001, 26000]
    assert true.classes.tolist() == [PERSON, PERSON, CAR]
    assert true.masks.sum((1, 2)).tolist() == [32, 32, 54]
    assert true.masks[0, 2:10, 2:6].all()
    assert (true.group_classes.tolist(), true.groups.sum()) == ([PERSON], 24)
    assert true.groups[0, 2:6, 14:20].all()
    assert (~true.known).sum() == 6 + 16, "the rim, and the caravan"


def test_objects_that_are_only_numbered_have_the_labels_class(tmp_path):
    label = np.zeros(SIZE, np.uint8)
    label[2:10, 2:8], label[2:10, 10:14], label[4:8, 20:28] = PERSON, PERSON, CAR
    numbers = np.zeros(SIZE, np.uint8)
    numbers[2:10, 2:8], numbers[2:10, 10:14], numbers[4:8, 20:28] = 3, 1, 2
    label[2:10, 7] = numbers[2:10, 7] = 255
    true = read(one_frame(tmp_path, label, numbers, numbered_objects=True))
    assert true.numbers.tolist() == [1001, 1002, 1003]
    assert true.classes.tolist() == [PERSON, CAR, PERSON]
    assert true.masks.sum((1, 2)).tolist() == [32, 32, 40]
    assert not len(true.groups)


def test_frames_are_read_smaller(tmp_path):
    manifest = cityscapes(tmp_path)
    clip = dataclasses.replace(manifest.clips[0], height_px=8, width_px=16)
    true = read(dataclasses.replace(manifest, shrink=2, clips=(clip,)))
    assert true.label.shape == (8, 16)
    assert true.masks.sum((1, 2)).tolist() == [8, 8, 12]


def test_small_objects_are_excused_by_area(tmp_path):
    manifest = cityscapes(tmp_path)
    assert read(manifest, min_pixels=33).small.tolist() == [True, True, False]
    scaled = read(manifest, min_pixels=66, min_pixels_at=(32, 32))
    assert (scaled.least_px, scaled.small.tolist()) == (33, [True, True, False])
    crowd = true_image("a", scaled).crowd
    assert crowd == (True, True, False, True), "small ones and the group"


def found(*squares):
    """(class, rows, columns) each."""
    masks = np.zeros((len(squares), *SIZE), bool)
    for mask, (_, rows, columns) in zip(masks, squares, strict=True):
        mask[rows, columns] = True
    return masks, np.array([one[0] for one in squares], np.int64)


IN_GROUP = (PERSON, slice(2, 5), slice(14, 17)), (PERSON, slice(2, 6), slice(17, 20))


@pytest.mark.parametrize("wrong", [(), [(PERSON, slice(10, 16), slice(0, 6))]])
def test_what_is_found_in_a_group_counts_for_nothing(tmp_path, wrong):
    """Two boxes in the group are excused by both scores; a box on the road is not."""
    true = read(cityscapes(tmp_path))
    masks, classes = found(*IN_GROUP, *wrong)
    masks, classes = np.concatenate([masks, true.masks]), np.concatenate([classes, true.classes])
    scores = np.linspace(0.9, 0.5, len(masks))
    names = ("road", "person", "car")
    answer = ImageInstances("a", SIZE, tuple(classes), tuple(encode_masks(masks)), tuple(scores))
    coco = instance_ap(coco_json([true_image("a", true)], names), coco_results([answer], names))
    own = cityscapes_instance_ap(
        [(true_ids(true), (masks, labels_of(classes), scores))],
        class_ids=labels_of([PERSON, CAR]).tolist(),
        void=(VOID,),
        min_pixels=1,
    )
    for figures in (coco, own):
        assert (figures["AP50"] == pytest.approx(1)) is not bool(wrong)


def test_ids_for_cityscapes_own_score(tmp_path):
    true = read(cityscapes(tmp_path))
    ids = true_ids(true)
    assert np.unique(ids).tolist() == [1, PERSON + 1, VOID, 2000, 2001, 3002]
    assert (ids == VOID).sum() == 22


def test_frames_that_lack_a_file_are_no_truth(tmp_path):
    manifest = cityscapes(tmp_path)
    (clip,) = manifest.clips
    frame = dataclasses.replace(clip.frames[0], instances=None)
    bare = dataclasses.replace(manifest, clips=(dataclasses.replace(clip, frames=(frame,)),))
    assert has_truth(clip.frames[0])
    assert with_truth(manifest) == manifest
    assert with_truth(bare).clips[0].scored == ()
    with pytest.raises(InputError, match=r"frame 00000 of clip 'park' has no instance file; add it and run"):
        read(bare)
    with pytest.raises(InputError, match="has no scored frame with both a label and an instance file"):
        check_true_instances(with_truth(bare))
    check_true_instances(manifest)


def test_files_that_tell_nothing_apart(tmp_path):
    label = np.full(SIZE, PERSON, np.uint8)
    manifest = one_frame(tmp_path, label, label.astype(np.uint16))
    true = read(manifest)
    assert (len(true.masks), true.groups.sum()) == (0, label.size)
    with pytest.raises(InputError, match=r"none of 1 instance file numbers an object of person, car"):
        check_true_instances(manifest)


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        (
            np.zeros((8, 8), np.uint16),
            r"instances\.png: is 8x8 px \(HxW\), its frame 16x32; an instance file",
        ),
        (np.zeros((*SIZE, 3), np.uint8), r"instances\.png: holds colours, expected"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, numbers, told):
    manifest = one_frame(tmp_path, np.full(SIZE, PERSON, np.uint8), numbers)
    with pytest.raises(InputError, match=told):
        read(manifest)


def test_the_number_of_objects_is_bounded(tmp_path):
    numbers = np.arange(1000, 1000 + 40 * 40, dtype=np.uint16).reshape(40, 40)
    manifest = one_frame(tmp_path, np.full((40, 40), PERSON, np.uint8), numbers)
    with pytest.raises(
        InputError, match=r"instances\.png: numbers 1600 objects, whose masks take .* at most 999 and"
    ):
        read(manifest)


def test_a_damaged_file_is_one_clear_error(tmp_path):
    manifest = cityscapes(tmp_path)
    path = tmp_path / "instances.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match=r"instances\.png"):
        read(manifest)
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(path)
    assert len(read(manifest).masks) == 0
