"""YouTube-VIS's JSON: there and back, and strange files are told."""

import numpy as np
import pytest
from pycocotools import mask as coco

from weclick.common.bounded_json import parse_json
from weclick.common.errors import InputError
from weclick.common.rle import encode_masks
from weclick.common.schemas import load_schema
from weclick.common.strict_json import strict_json
from weclick.proxy_labels import (
    Track,
    VideoInstances,
    read_youtube_vis_json,
    youtube_vis_json,
    youtube_vis_results,
)

SIZE = (6, 9)
CLASSES = ("person", "car")
MASKS = np.zeros((2, *SIZE), bool)
MASKS[0, 1:4, 2:6] = True
MASKS[1, 1:4, 3:7] = True
CODES = tuple(encode_masks(MASKS))


@pytest.fixture
def videos():
    seen, hidden = Track(1, (*CODES, None), 0.5), Track(0, (None, None, CODES[1]))
    return [
        VideoInstances(("a/0.jpg", "a/5.jpg", "a/10.jpg"), SIZE, (seen, hidden)),
        VideoInstances(("b/0.jpg",), (1, 1), ()),
        VideoInstances((), SIZE, ()),
    ]


@pytest.fixture
def file(videos):
    return parse_json(strict_json(youtube_vis_json(videos, CLASSES)).encode())


def test_instances_come_back(videos, file):
    assert read_youtube_vis_json(file) == (videos, CLASSES)
    assert read_youtube_vis_json(file, ("sky", "car", "person"))[0][0].tracks[1].class_id == 2


def test_the_file_is_as_the_official_ones(file):
    assert file["videos"][0] == {
        "id": 1,
        "file_names": ["a/0.jpg", "a/5.jpg", "a/10.jpg"],
        "length": 3,
        "height": 6,
        "width": 9,
    }
    first, second = file["annotations"]
    assert (first["id"], first["video_id"], first["category_id"], first["iscrowd"]) == (1, 1, 2, 0)
    assert first["areas"] == [12, 12, None]
    assert first["bboxes"] == [[2, 1, 4, 3], [3, 1, 4, 3], None]
    for code, mask in zip(first["segmentations"][:2], MASKS, strict=True):
        np.testing.assert_array_equal(coco.decode(code), mask)
    assert first["score"] == 0.5
    assert "score" not in second
    assert second["segmentations"][:2] == [None, None]


def test_both_formats_have_the_same_masks_and_categories():
    assert load_schema("instances_youtube_vis")["$defs"] == load_schema("instances_coco")["$defs"]


def test_results_have_the_same_ids(videos):
    first, second = youtube_vis_results(videos, CLASSES)
    assert first == {"video_id": 1, "category_id": 2, "segmentations": [*CODES, None], "score": 0.5}
    assert (second["category_id"], second["score"]) == (1, 1)


def test_outlines_crowds_and_annotations_kept_back(file):
    file["annotations"][0]["segmentations"][0] = [[2, 1, 6, 1, 6, 4, 2, 4]]
    file["annotations"][0]["iscrowd"] = 1
    track = read_youtube_vis_json(file)[0][0].tracks[0]
    assert track.crowd
    np.testing.assert_array_equal(coco.decode(track.codes[0]), MASKS[0])
    file["annotations"] = None
    assert [video.tracks for video in read_youtube_vis_json(file)[0]] == [(), (), ()]


def test_strange_files_are_told(file):
    track = file["annotations"][0]
    with pytest.raises(
        InputError, match=r"correct the file as data_schema/instances_youtube_vis.schema.json"
    ):
        read_youtube_vis_json({**file, "videos": [{"id": 1}]})
    with pytest.raises(InputError, match="names the video 7, which the file does not list"):
        read_youtube_vis_json({**file, "annotations": [{**track, "video_id": 7}]})
    with pytest.raises(InputError, match="annotation 0: has 1 masks, expected 3, one for each frame"):
        read_youtube_vis_json({**file, "annotations": [{**track, "segmentations": [None]}]})
    broken = [None, {"size": [6, 9], "counts": [9]}, None]
    with pytest.raises(
        InputError, match=r"x.json, annotation 0, frame 1: its run-length code cannot be read"
    ):
        read_youtube_vis_json({**file, "annotations": [{**track, "segmentations": broken}]}, where="x.json")


def test_what_cannot_be_written_is_told(videos):
    with pytest.raises(
        InputError, match=r"video 1 \(a/0.jpg\), instance 0: has the class id 1, expected 0 to 0"
    ):
        youtube_vis_json(videos, CLASSES[:1])
    with pytest.raises(InputError, match="instance 0: has 1 masks, expected 0"):
        youtube_vis_results([VideoInstances((), SIZE, (Track(0, CODES[:1]),))], CLASSES)
