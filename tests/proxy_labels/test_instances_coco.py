"""COCO's JSON: pycocotools reads ours, we read others', and strange files are told."""

import copy
import json

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from weclick.common.bounded_json import parse_json
from weclick.common.errors import InputError
from weclick.common.rle import run_lengths
from weclick.common.strict_json import strict_json
from weclick.proxy_labels import ImageInstances, coco_json, coco_results, read_coco_json

SIZE = (12, 20)
CLASSES = ("road", "person", "car")


def mask(y0, x0, y1, x1):
    found = np.zeros(SIZE, bool)
    found[y0:y1, x0:x1] = True
    return found


MASKS = np.stack([mask(2, 3, 9, 8), mask(0, 10, 12, 20)])


@pytest.fixture
def images():
    return [
        ImageInstances.of_masks("a/0.png", MASKS, [2, 1], [0.25, 0.75]),
        ImageInstances.of_masks("a/1.png", MASKS[:0], []),
        ImageInstances.of_masks("b.png", torch.from_numpy(MASKS[1:]), torch.tensor([1])),
    ]


@pytest.fixture
def file(images):
    return parse_json(strict_json(coco_json(images, CLASSES)).encode())


def indexed(file):
    coco = COCO()
    coco.dataset = file
    coco.createIndex()
    return coco


def test_instances_come_back(images, file):
    found, names = read_coco_json(file)
    assert found == images
    assert names == CLASSES
    np.testing.assert_array_equal(found[0].masks(), MASKS)
    assert found[1].masks().shape == (0, *SIZE)
    assert read_coco_json(file, ("car", "sky", "person", "road"))[0][0].class_ids == (0, 2)


def test_pycocotools_reads_it(file):
    coco = indexed(file)
    assert [coco.imgs[key]["file_name"] for key in coco.getImgIds()] == ["a/0.png", "a/1.png", "b.png"]
    first = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    np.testing.assert_array_equal([coco.annToMask(each) for each in first], MASKS)
    assert [each["area"] for each in first] == [35, 120]
    assert [each["bbox"] for each in first] == [[3, 2, 5, 7], [10, 0, 10, 12]]
    assert [each["category_id"] for each in first] == [3, 2]


def test_pycocotools_scores_the_results(images, file, capsys):
    truth = indexed(copy.deepcopy(file))
    results = json.loads(strict_json(coco_results(images, CLASSES)))
    assert [each["score"] for each in results] == [0.25, 0.75, 1]
    evaluation = COCOeval(truth, truth.loadRes(results), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


def test_outlines_and_listed_runs_are_read(file):
    """As pycocotools fills them. An outline that leaves the frame a little is cut."""
    outlines = [[2.0, 1, 9, 1, 9, 6, 2, 6], [12, 3, 25, 3, 12, 14]]
    file["annotations"][0]["segmentation"] = outlines
    code = file["annotations"][1]["segmentation"]
    code["counts"] = run_lengths(code, SIZE).tolist()
    found, _ = read_coco_json(file)
    np.testing.assert_array_equal(found[0].masks()[0], indexed(file).annToMask(file["annotations"][0]))
    np.testing.assert_array_equal(found[0].masks()[1], MASKS[1])
    assert found[0].masks()[0, 1:6, 2:9].all()


def test_crowds_and_mixed_scores(file):
    del file["annotations"][1]["score"]
    file["annotations"][1]["iscrowd"] = 1
    found, _ = read_coco_json(file)
    assert found[0].scores == (0.25, 1)
    assert found[0].crowd == (False, True)
    assert found[2].scores is None
    assert found[2].crowd is None
    assert [each["iscrowd"] for each in coco_json(found, CLASSES)["annotations"]] == [0, 1, 0]


def test_other_tools_keys_are_passed_over(file):
    file["info"], file["licenses"] = {"year": 2020}, []
    file["images"][0]["coco_url"] = None
    file["categories"][0]["supercategory"] = "ground"
    assert len(read_coco_json(file)[0]) == 3


def test_empty_files():
    assert coco_json([], ["a"]) == {"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}]}
    assert read_coco_json({"images": [], "annotations": [], "categories": []}) == ([], ())
    assert coco_results([], []) == []


def put(*path_and_value):
    *path, last, value = path_and_value

    def change(file):
        for name in path:
            file = file[name]
        file[last] = value

    return change


FIRST = ("annotations", 0)
POLYGON = (*FIRST, "segmentation")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (put("images", 3), "images: 3 is not of type 'array'"),
        (put("images", 0, "height", 0), "0 is less than the minimum"),
        (put("images", 0, "height", 2**27), r"annotation 0: the frame has 134217728 x 20 px"),
        (put("images", 1, "id", 1), "two images have the id 1"),
        (put("categories", 1, "id", 1), "two categories have the id 1"),
        (put("categories", 1, "name", "car"), "two categories have the name 'car'"),
        (put(*FIRST, "image_id", 9), "annotation 0: names the image 9, which the file does not list"),
        (put(*FIRST, "category_id", 9), "names the category 9"),
        (put(*FIRST, "score", float("nan")), "annotation 0: has the score nan"),
        (put(*FIRST, "score", 10**400), "annotations/0/score: .* is greater than the maximum"),
        (put(*FIRST, "iscrowd", 2), "2 is not one of"),
        (put(*POLYGON, "counts", "9"), "its run-length code cannot be read: .* expected runs of 240 pixels"),
        (put(*POLYGON, "size", [20, 12]), r"has the size \[20, 12\], expected \[12, 20\]"),
        (put(*POLYGON, []), "annotation 0: has no mask, .* a box alone is no mask"),
        (put(*POLYGON, None), "annotations/0/segmentation: None is not"),
        (put(*POLYGON, [[1, 1, 4, 4]]), r"annotations/0/segmentation/0: \[1, 1, 4, 4\] is too short"),
        (put(*POLYGON, [[1, 1, 4, 4, 2, "2"]]), "annotations/0/segmentation/0/5: '2' is not of type"),
        (
            put(*POLYGON, [[1, 1, 4, 4, 2, 2, 7]]),
            r"an outline is \[1, 1, 4, 4, 2, 2, 7\], expected numbers x, y",
        ),
        (
            put(*POLYGON, [[1, 1, 4, 1, 1, 1e9]]),
            r"a point at x 1, y 1e\+09, far outside the frame of 12 x 20",
        ),
        (put(*POLYGON, [[1, 1, 4, 1, 1, float("nan")]]), "a point at x 1, y nan"),
        (put(*POLYGON, [[1, 1, 4, 1, 1, 10**400]]), "an outline is"),
        (
            put(*POLYGON, [[0, 0, 20, 0, 0, 12] * 20000]),
            "outlines are 1100000 px long, expected at most 1048576",
        ),
    ],
)
def test_a_strange_file_is_told(file, change, told):
    change(file)
    with pytest.raises(InputError, match=f"^x.json.*{told}"):
        read_coco_json(file, where="x.json")


@pytest.mark.parametrize("value", [None, [], "text", 3, {}])
def test_what_is_no_such_file_is_told(value):
    with pytest.raises(InputError, match=r"correct the file as data_schema/instances_coco.schema.json tells"):
        read_coco_json(value)


def test_a_category_that_is_no_class_is_told(file):
    with pytest.raises(
        InputError, match="has the category 'road', which is no class; classes are person, car"
    ):
        read_coco_json(file, ["person", "car"])


def test_what_cannot_be_written_is_told(images):
    with pytest.raises(InputError, match=r"a/0.png, instance 0: has the class id 2, expected 0 to 1"):
        coco_json(images, CLASSES[:2])
    with pytest.raises(InputError, match="has the score nan"):
        coco_json([ImageInstances.of_masks("a", MASKS, [1, 1], [np.nan, 1])], CLASSES)
    with pytest.raises(InputError, match="a: has 2 masks and 1 scores, expected as many"):
        coco_results([ImageInstances.of_masks("a", MASKS, [1, 1], [1])], CLASSES)
    with pytest.raises(InputError, match=r"its run-length code has the size \[12, 20\], expected \[12, 21\]"):
        coco_json([ImageInstances("a", (12, 21), (1,), images[2].codes)], CLASSES)
