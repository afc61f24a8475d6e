"""Label Studio's JSON and JSON-MIN: per cent, people, names of images."""

import json

import pytest

from helpers.click_root import rows

SIZE = {"original_width": 64, "original_height": 48, "image_rotation": 0}


def region(x=50.0, y=25.0, label="car", **others):
    value = {"x": x, "y": y, "width": 0.5} | ({"keypointlabels": [label]} if label else {})
    return {"id": f"{x}-{y}-{label}", "type": "keypointlabels", "value": value} | SIZE | others


def task(*annotations, image="/data/upload/4/3f2a9c1e-00003.png", **others):
    return {"id": 1, "data": {"image": image}, "annotations": list(annotations), "predictions": []} | others


def annotation(*result, id=1, by=1, **others):
    return {"id": id, "completed_by": by, "was_cancelled": False, "result": list(result)} | others


def take(importer, *tasks, **options):
    return importer.take("project.json", json.dumps(list(tasks)), **options)


CLICK = ("Fußweg 1", "00003", 12, 32, "car")


def test_predictions_and_cancelled_annotations_are_no_clicks(importer):
    done = take(
        importer,
        task(
            annotation(region()),
            annotation(region(x=1), id=2, was_cancelled=True),
            predictions=[{"id": 9, "result": [region(x=2), region(x=3)]}],
        ),
        {
            "id": 2,
            "data": {"image": "x.png"},
            "completions": [{"id": 3, "skipped": True, "result": [region()]}],
        },
    )
    assert rows(done) == [CLICK]
    assert done.left == {"prediction": 2, "cancelled": 2}


def test_of_two_people_the_first_counts_unless_one_is_named(importer):
    anna, ben = {"id": 1, "email": "anna@example.org"}, {"id": 2, "email": "ben@example.org"}
    given = task(annotation(region(x=1), id=22, by=ben), annotation(region(), id=11, by=anna))
    done = take(importer, given)
    assert rows(done) == [CLICK]
    assert done.left == {"other_annotator": 1}
    assert list(done.warnings) == ["several_annotators"]
    assert list(done.clicks.values()) == [("anna@example.org", "labelstudio")]
    for name in ("2", "ben@example.org"):
        assert [x for _, _, _, x, _ in rows(take(importer, given, annotator=name))] == [0]


def test_keypoint_and_labels_of_one_id_are_one_click(importer):
    parts = [
        {"id": "a", "type": "keypoint", "value": {"x": 50, "y": 25, "width": 1}} | SIZE,
        {"id": "a", "type": "labels", "value": {"x": 50, "y": 25, "width": 1, "labels": ["car"]}} | SIZE,
        {"id": "b", "type": "rectangle", "value": {"x": 1, "y": 1, "width": 9, "height": 9}} | SIZE,
        {"id": "b", "type": "labels", "value": {"x": 1, "y": 1, "width": 9, "height": 9, "labels": ["car"]}},
        {"type": "relation", "from_id": "a", "to_id": "b"},
    ]
    for order in (parts, parts[::-1]):
        done = take(importer, task(annotation(*order)))
        assert rows(done) == [CLICK]
        assert done.left == {"not_points": 1, "relation": 1}


def test_a_turned_view_changes_nothing_but_swapped_sizes_are_an_error(importer):
    assert rows(take(importer, task(annotation(region(image_rotation=90))))) == [CLICK]
    swapped = region(original_width=48, original_height=64, image_rotation=90)
    assert take(importer, task(annotation(swapped))).errors == {"size_differs": 1}


@pytest.mark.parametrize(
    "image",
    [
        "/data/upload/4/3f2a9c1e-00003.png",
        "/data/local-files/?d=frames/Fu%C3%9Fweg%201/00003.png",
        "s3://bucket/frames/Fu%C3%9Fweg 1/00003.png?X-Amz-Signature=abc",
        "https://host/a/Fu%C3%9Fweg%201/00003.jpg",
        "frames\\Fußweg 1\\00003.png",
        "C:\\data\\Fußweg 1\\00003.png",
        "frames/Fu\u00dfweg 1/00003.png",
        "00003",
    ],
)
def test_names_of_images(importer, image):
    assert rows(take(importer, task(annotation(region()), image=image))) == [CLICK]


def test_an_upload_whose_name_means_nothing_is_named_by_the_map(importer):
    given = task(annotation(region()), image="/data/upload/4/3f2a9c1e-hall_3.png")
    done = take(importer, given)
    assert done.errors == {"unknown_frame": 1}
    assert "no frame is called '3f2a9c1e-hall_3.png'" in done.told[0]
    for key in ("hall_3", "hall_3.png", "3f2a9c1e-hall_3.png"):
        assert rows(take(importer, given, names={key: ("Fußweg 1", "00003")})) == [CLICK]


def test_points_on_a_video_are_refused_with_what_to_do(importer):
    on_video = region() | {"value": {"x": 1, "y": 2, "frame": 3, "keypointlabels": ["car"]}}
    boxes = {"id": "v", "type": "videorectangle", "value": {"sequence": [{"frame": 1, "x": 1, "y": 2}]}}
    done = take(importer, task(annotation(on_video, boxes), image="drive.mp4"))
    assert done.errors == {"video_points": 2}
    assert "cut the video into images" in done.told[0]


def test_no_label_two_labels_and_places_outside(importer):
    both = region(x=1) | {"value": {"x": 1, "y": 1, "keypointlabels": ["car", "tree"]}}
    done = take(importer, task(annotation(region(label=""), both, region(x=100.1), region(x=100, y=100))))
    assert done.errors == {"no_label": 1, "two_classes": 1, "out_of_frame": 1}
    assert rows(done) == [("Fußweg 1", "00003", 0, 0, "car"), ("Fußweg 1", "00003", 47, 63, "car")]


def record(*points, id=1, annotation_id=11, annotator=1, image="3f2a9c1e-00003.png", **others):
    told = {
        "id": id,
        "image": image,
        "annotator": annotator,
        "annotation_id": annotation_id,
        "lead_time": 1.5,
    }
    return told | {"kp": list(points)} | others


def flat(x=50.0, y=25.0, **labels):
    return {"x": x, "y": y, "width": 0.5, "original_width": 64, "original_height": 48} | labels


def test_json_min_has_flat_records(importer):
    box = flat(height=3, rectanglelabels=["car"])
    done = take(importer, record(flat(keypointlabels=["car"]), boxes=[box], quality="good"))
    assert rows(done) == [CLICK]
    assert done.left == {"not_points": 1}


def test_json_min_keypoint_and_labels_of_one_place_are_one_click(importer):
    done = take(importer, record(flat(), tags=[flat(labels=["car"])]))
    assert (rows(done), done.errors) == ([CLICK], {})
    assert take(importer, record(flat())).errors == {"no_label": 1}


def test_json_min_of_two_people_the_first_counts(importer):
    one, other = flat(keypointlabels=["car"]), flat(x=1.0, keypointlabels=["tree"])
    records = [record(other, annotation_id=12, annotator=2), record(one)]
    done = take(importer, *records)
    assert rows(done) == [CLICK]
    assert done.left == {"other_annotator": 1}
    assert list(done.warnings) == ["several_annotators"]
    assert [name for *_, name in rows(take(importer, *records, annotator="2"))] == ["tree"]
