"""labelme, COCO, VIA, DeepLabCut: what each of them writes, and what of it is a click."""

import json

import pytest

from helpers.click_root import rows
from weclick.common.errors import InputError

PARK = ("park", "00001", 20, 10, "car")


def labelme(image, x=10.5, y=20.5, **others):
    shape = {"label": "car", "points": [[x, y]], "shape_type": "point"}
    return json.dumps({"shapes": [shape], "imagePath": image, "imageHeight": 48, "imageWidth": 64} | others)


@pytest.mark.parametrize(
    ("name", "image"),
    [
        ("park/00001.json", "00001.png"),
        ("park/00001.json", "..\\frames\\park\\00001.png"),
        ("labels/00001.json", "../frames/park/00001.jpg"),
        ("labels/a.json", "D:\\data\\park\\00001.png"),
    ],
)
def test_labelme_finds_the_frame_by_folders(importer, name, image):
    path = importer.file(name, labelme(image))
    assert rows(importer.take_paths([path])) == [PARK]
    assert rows(importer.take_paths([importer.folder])) == [PARK]


def test_labelme_takes_points_alone_and_never_moves_one_inside(importer):
    shapes = [
        {"label": "car", "points": [[64, 48]], "shape_type": "point"},
        {"label": "car", "points": [[-0.01, 3]], "shape_type": "point"},
        {"label": "car", "points": [[1, 1], [2, 2]], "shape_type": "line"},
        {"label": "car", "points": [], "shape_type": "point"},
    ]
    done = importer.take("park/a.json", labelme("00001.png", shapes=shapes))
    assert rows(done) == [("park", "00001", 47, 63, "car")]
    assert (done.left, done.errors) == ({"not_points": 1}, {"out_of_frame": 2})


def coco(*annotations, **others):
    told = {
        "images": [{"id": 7, "file_name": "images\\3f2a9c1e-00003.png", "width": 64, "height": 48}],
        "categories": [{"id": 3, "name": "car", "keypoints": ["nose", "tail"]}],
        "annotations": [{"image_id": 7, "category_id": 3} | each for each in annotations],
    }
    return json.dumps(told | others)


def test_coco_takes_what_is_labelled_with_the_class_of_the_category(importer):
    done = importer.take(
        "a.json", coco({"keypoints": [0, 0, 0, 10.9, 20.9, 2, 64, 0, 1]}, {"bbox": [1, 2, 3, 4]})
    )
    assert rows(done) == [("Fußweg 1", "00003", 0, 63, "car"), ("Fußweg 1", "00003", 20, 10, "car")]
    assert (done.left, done.errors, done.warnings) == ({"not_labelled": 1, "not_points": 1}, {}, {})


def test_coco_of_label_studio_is_rounded_and_that_is_told(importer):
    done = importer.take("a.json", coco({"keypoints": [54, 20, 2]}, info={"contributor": "Label Studio"}))
    assert list(done.warnings) == ["rounded"]


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ({"keypoints": [1, 2]}, "malformed"),
        ({"keypoints": [1, 2, 2], "category_id": 9}, "no_label"),
        ({"keypoints": [1, 2, 2], "image_id": 9}, "unknown_frame"),
        ({"keypoints": ["x", None, 2]}, "out_of_frame"),
        ({"keypoints": [0.31, 0.25, 2]}, "wrong_unit"),
    ],
)
def test_coco_that_is_wrong(importer, annotation, reason):
    done = importer.take("a.json", coco(annotation))
    assert (rows(done), done.errors) == ([], {reason: 1})


VIA2 = (
    "#filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
)


def via2_row(shape, attributes="{}", name="00003.png"):
    cells = [json.dumps(each).replace('"', '""') for each in (shape, attributes)] if shape else ["{}", "{}"]
    return f'{name},1,"{{}}",1,0,"{cells[0]}","{cells[1]}"\n'


def test_via_2_csv(importer):
    point = {"name": "point", "cx": 10, "cy": 20}
    text = VIA2 + via2_row(point, {"kind": "car"}) + via2_row({"name": "rect", "x": 1}, {"kind": "car"})
    done = importer.take("via.csv", text + via2_row(None) + via2_row(point | {"cx": 11}, {}))
    assert rows(done) == [("Fußweg 1", "00003", 20, 10, "car")]
    assert (done.left, done.errors) == ({"not_points": 1}, {"no_label": 1})


def test_via_2_with_two_attributes_asks_which_is_the_class(importer):
    text = VIA2 + via2_row({"name": "point", "cx": 10, "cy": 20}, {"kind": "car", "note": "x"})
    with pytest.raises(
        InputError, match=r"'kind', 'note'; name the one that holds the class, e\.g\. --label-key"
    ):
        importer.take("via.csv", text)
    assert len(rows(importer.take("via.csv", text, label_key="kind"))) == 1


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("numbered", [True, False])
def test_via_2_json(importer, whole, numbered):
    regions = [
        {
            "shape_attributes": {"name": "point", "cx": 10, "cy": 20},
            "region_attributes": {"kind": {"car": True}},
        },
        {
            "shape_attributes": {"name": "circle", "cx": 1, "cy": 2, "r": 3},
            "region_attributes": {"kind": "car"},
        },
    ]
    listed = dict(enumerate(regions)) if numbered else regions
    images = {
        "00003.png123": {"filename": "00003.png", "size": 123, "regions": listed, "file_attributes": {}}
    }
    done = importer.take("via.json", json.dumps({"_via_img_metadata": images} if whole else images))
    assert rows(done) == [("Fußweg 1", "00003", 20, 10, "car")]
    assert done.left == {"not_points": 1}


def via3(*metadata, **others):
    told = {
        "project": {"pid": "__VIA_PROJECT_ID__"},
        "attribute": {
            "1": {"aname": "kind", "type": 4, "options": {"0": "car", "1": "tree"}},
            "2": {"aname": "note", "type": 1, "options": {}},
        },
        "file": {
            "1": {"fid": "1", "fname": "drive.mp4", "type": 4},
            "2": {"fid": "2", "fname": "00003.png", "type": 2},
        },
        "view": {"1": {"fid_list": ["1"]}, "2": {"fid_list": ["2"]}},
        "metadata": {f"m{i}": each for i, each in enumerate(metadata)},
    }
    return json.dumps(told | others)


@pytest.mark.parametrize(
    ("time_s", "frame"),
    [(0.0, "00000"), (0.033, "00001"), (0.333, "00010"), (0.05, "00001"), (0.367, "00011"), (0.39, "00011")],
)
def test_via_3_takes_the_frame_that_is_shown_at_a_time(importer, time_s, frame):
    done = importer.take(
        "via.json", via3({"vid": "1", "z": [time_s], "xy": [1, 10.25, 20.75], "av": {"1": "1"}})
    )
    assert rows(done) == [("drive", frame, 20, 10, "tree")]


def test_via_3_on_images_and_what_is_no_point(importer):
    done = importer.take(
        "via.json",
        via3(
            {"vid": "2", "z": [], "xy": [1, 10, 20], "av": {"1": "0"}},
            {"vid": "2", "z": [], "xy": [2, 10, 20, 3, 4], "av": {"1": "0"}},
            {"vid": "1", "z": [0.1, 0.2], "xy": [], "av": {"2": "a segment"}},
            {"vid": "1", "z": [9.5], "xy": [1, 10, 20], "av": {"1": "0"}},
            {"vid": "2", "z": [], "xy": [1, 30, 40], "av": {}},
        ),
    )
    assert rows(done) == [("Fußweg 1", "00003", 20, 10, "car")]
    assert done.left == {"not_points": 2}
    assert done.errors == {"unknown_frame": 1, "no_label": 1}
    assert "clip 'drive' has no frame at 9.5 s" in "".join(done.told)


def test_deeplabcut_has_a_pair_of_columns_for_each_part(importer):
    head = "scorer,{0},me,me,me,me\nbodyparts,{0},car,car,tree,tree\ncoords,{0},x,y,x,y\n"
    one = head.replace("{0},", "") + "labeled-data/park/00001.png,10.2,20.4,,\n"
    three = head.replace("{0}", ",") + "labeled-data,park,00001.png,10.2,20.4,,\n"
    for text in (one, three):
        done = importer.take("CollectedData_me.csv", text)
        assert rows(done) == [PARK]
        assert done.left == {"not_labelled": 1}
    with pytest.raises(InputError, match="has no rows `bodyparts` and `coords`"):
        importer.take("a.csv", "scorer,me\nlabeled-data/park/00001.png,1\n")


@pytest.mark.parametrize(
    "text",
    [
        '{"shapes": 3, "imagePath": "a.png"}',
        '{"images": [1], "annotations": [], "categories": []}',
        "[]",
        "3",
        '{"a": 1}',
        "[{}]",
    ],
)
def test_json_of_no_tool_is_one_clear_error(importer, text):
    with pytest.raises(InputError, match=r"strange\.json"):
        importer.take("strange.json", text)
