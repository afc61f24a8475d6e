"""The page about a run that trains a detector: relations, instances, labels over steps, scores."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from helpers.html_pages import alts, part, told
from helpers.instance_run import SCORES, STEPS, boxes, copied, make_instance_run, write_boxes
from helpers.proxy_run import train_of
from helpers.report_run import CLASSES, SIZE, H, Run, W
from weclick.common.errors import InputError, MissingFileError
from weclick.evaluate.instances.drawing import COLORS
from weclick.evaluate.instances.found import Instances
from weclick.runs.layout import Layout
from weclick.runs.report.instance_pictures import MOST, draw_instances
from weclick.runs.report.pictures import WIDTH_PX
from weclick.runs.report.relation_pictures import displacement_picture, edge_picture
from weclick.store import write_index


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Run:
    """Not to be changed."""
    return make_instance_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def page(whole) -> str:
    return whole.page()


def rows(html: str) -> list[str]:
    return [told(row) for row in re.findall("<tr>.*?</tr>", html, re.DOTALL)]


def test_every_part_is_there_and_in_the_contents(page):
    links = re.findall('<a href="#([^"]+)">', page)
    assert sorted(links) == sorted(re.findall('<section id="([^"]+)">', page))
    assert {"predictions", "classes", "training", "tags", "cams", "relation", "instances"} <= {*links}
    assert not {"strips", "paper", "proxies", "targets", "ablation"} & {*links}
    assert all(alt.strip() for alt in alts(page))
    assert len(re.findall("<img", page)) == len(alts(page))
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    body = page.split("<body>")[1]
    before, after = (told(each) for each in re.split("<details>.*</details>", body, flags=re.DOTALL))
    assert "nan" not in (before + after).lower()
    for absent in ("Student", "Teacher", "teacher", "mIoU", "soft labels", "Pixel accuracy"):
        assert absent not in before + after, absent
    assert not re.search(r'(src|href)="(?!data:|#)', page)


def test_the_head_tells_what_it_learned_from_and_the_scores(page):
    head = told(page.split("<main>")[0])
    assert "Learned from instances made of tags, scored on 2 frames of val at 32 × 64 px." in head
    for figure in ("AP50 55.1 %", "AP 31.2 %", "Semantic IoU 45.7 %", "consistency 81.2 %", "44.40 M"):
        assert figure in head
    assert "The detector learns from instances made of tags, not from clicks." in told(part(page, "data"))


def test_scores_in_a_table_and_by_class(page):
    section = part(page, "classes")
    text = told(section)
    assert "finds 1.81 instances a frame, 0.90 of them with a score of 0.5 or more; 2.50 are there." in text
    found = rows(section)
    for row in (
        "AP, mean over IoU .5 to .95 (COCO) 31.2",
        "AP at IoU .75 20.0",
        "Recall of the ten surest 43.2",
        "AP, Cityscapes' own 28.7",
        "AP50, of tracks over a whole clip 34.6",
        "car 31.2 55.1 28.7 45.7",
    ):
        assert row in found
    assert not any(row.startswith(("lamp", "road", "Recall of the hundred")) for row in found), "not known"


def test_examples_stand_beside_the_truth(page):
    described = alts(part(page, "predictions"))
    where = "street, frame 00002"
    assert described == [where, f"True instances of {where}", f"Instances that the detector finds in {where}"]


def test_relations_of_some_frames(page):
    section = part(page, "relation")
    described = alts(section)
    for t in range(3):
        where = f"frame 0000{t} of street"
        assert f"Confident label of {where}, 25 % unlabelled" in described
        assert f"Edges seen in {where}" in described
        assert [alt for alt in described if re.match(rf"Displacements in {where}, median \d+\.\d px$", alt)]
    assert "(resnet18, 400 steps, 1 min 23 s) learned from 3 frames" in told(section)
    assert "Maps were amplified where something moves beside the camera." in told(section)
    assert 'aria-label="Loss of the network of relations over training steps"' in section


def test_instances_are_drawn_counted_and_compared(page):
    section = part(page, "instances")
    text = told(section)
    assert (
        "3 frames of the training split were looked at: 3 instances, 1.00 a frame. 1 frame got none." in text
    )
    assert "Instances of frame 00002 of street: car 1.00, lamp <b> 0.41" in alts(section)
    assert len([alt for alt in alts(section) if alt.startswith("True instances of")]) == 2
    found = rows(section)
    assert {"car 2 2", "lamp <b> 1 1"} <= {*found}
    assert "All classes 33.7 33.3 66.7 3 6" in found
    assert "car 33.7 33.3 100.0 2 6" in found
    assert "lamp <b> – – 0.0 1 0" in found


def test_labels_before_and_after_maskconsist(page):
    section = part(page, "instances")
    last = 2 + 1.5 * np.arange(STEPS - 3, STEPS + 1) / STEPS
    assert f"At the end there are {last.mean():.2f} where 2.00 were given." in told(section)
    assert 'aria-label="Labels a frame before and after MaskConsist over training steps"' in section


def test_a_training_without_maskconsist_shows_no_labels_over_steps(whole, tmp_path):
    run = copied(whole, tmp_path)
    curves = Layout(run.folder).curves("detector")
    lines = [json.loads(line) for line in curves.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        del line["labels_used"]
    curves.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert "Labels before and after" not in told(part(run.page(), "instances"))


def test_instances_of_another_detector_need_no_tags_and_no_relations(whole, tmp_path):
    run = copied(whole, tmp_path, instances={"source": "network", "network": {"path": "round1.safetensors"}})
    for stage in ("tags", "classifier", "cams", "confident_labels", "relation"):
        for path in Layout(run.folder).of(stage).rglob("*.*"):
            path.unlink()
    page = run.page()
    assert not {"tags", "cams", "relation"} & {*re.findall('<section id="([^"]+)">', page)}
    assert "made of the predictions of a detector that was trained before" in told(part(page, "instances"))
    assert "Learned from instances that another detector predicted" in told(page)


def test_nothing_found_and_nothing_known_leaves_no_empty_part(whole, tmp_path):
    run = copied(whole, tmp_path, report={"examples": 2})
    layout, (clip,) = Layout(run.folder), train_of(run).clips
    (index,) = layout.shards("instances", "train", 1)
    empty = write_boxes(run.store, clip, [boxes()] * 3, by="nobody")
    write_index(index, "instances", {clip.id: empty})
    index.with_suffix(".quality.jsonl").unlink()
    run.edit("evaluation/metrics.json", instances={}, examples=[])
    page = run.page()
    section = part(page, "instances")
    assert "0 instances, 0.00 a frame. 3 frames got none." in told(section)
    assert not re.search("<img|<table|How", section)
    assert "No figure is known" in told(part(page, "classes"))
    assert "kept no examples" in told(part(page, "predictions"))
    assert "By class" not in page


@pytest.mark.parametrize(
    ("gone", "stage"),
    [
        ("relation/model.json", "relation"),
        ("relation/model.safetensors", "relation"),
        ("confident_labels/train/0.json", "confident_labels"),
        ("instances/train/0.json", "instances"),
        ("detector/model.json", "detector"),
        ("evaluation/examples/detector.png", "evaluate"),
    ],
)
def test_a_missing_stage_is_named(whole, tmp_path, gone, stage):
    run = copied(whole, tmp_path)
    (run.folder / gone).unlink()
    with pytest.raises(MissingFileError, match=f"run the stage {stage} first"):
        run.page()


@pytest.mark.parametrize(
    "changes",
    [
        {"instances": {**SCORES, "AP50": "high"}},
        {"instances": []},
        {"examples": [{"clip": "street", "frame": "00002"}]},
    ],
)
def test_scores_that_no_evaluation_wrote_are_refused(whole, tmp_path, changes):
    run = copied(whole, tmp_path)
    run.edit("evaluation/metrics.json", **changes)
    with pytest.raises(InputError, match=r"metrics\.json: is not what that stage writes"):
        run.page()


def test_a_picture_outside_the_folder_is_refused(whole, tmp_path):
    run = copied(whole, tmp_path)
    run.edit(
        "evaluation/metrics.json", examples=[{"clip": "street", "frame": "00002", "detector": "../../a.png"}]
    )
    with pytest.raises(InputError, match="leads out of its folder"):
        run.page()


def test_instances_of_other_frames_are_refused(whole, tmp_path):
    run = copied(whole, tmp_path)
    path = Layout(run.folder).shards("manifest", "train", 1)[0]
    raw = json.loads(path.read_text(encoding="utf-8"))
    for frame in raw["clips"][0]["frames"]:
        frame["digest"] = frame["image_sha256"] = frame["digest"][::-1]
    path.write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(InputError):
        run.page()


def test_the_surest_instances_are_drawn_in_front_and_empty_ones_are_left_out():
    image = np.full((*SIZE, 3), 100, np.uint8)
    found = boxes((8, 24, 4, 40, 1, 0.4), (8, 24, 20, 60, 1, 0.9), (0, 0, 0, 0, 1, 0.99))
    drawn = draw_instances(image, Instances(*found), CLASSES.names, scored=False).astype(int)
    scale = WIDTH_PX / W
    both = drawn[int(20 * scale), int(30 * scale)]
    np.testing.assert_allclose(both, 0.55 * (0.55 * 100 + 0.45 * COLORS[1]) + 0.45 * COLORS[0], atol=2)
    nothing = draw_instances(image, Instances(*boxes()), CLASSES.names)
    assert (nothing == 100).all()
    many = boxes(*[(y, y + 1, x, x + 1, 1, 0.5) for y in range(8) for x in range(8)])
    one_by_one = draw_instances(image, Instances(*many), CLASSES.names, scored=False)
    assert MOST < 64
    assert (one_by_one[int(7.5 * scale), int(7.5 * scale)] == 100).all(), "the last ones are not drawn"


def test_edges_are_lighter_and_displacements_end_in_dots():
    edges = np.zeros((8, 16))
    edges[:, 8:] = 1
    drawn = edge_picture(edges, (H, W), 4, 320).astype(int)
    assert drawn[:, :150].sum() < drawn[:, 170:].sum()
    assert drawn.shape == (160, 320, 3)
    moved = np.zeros((2, 8, 16))
    moved[1] = 4  # px of the frame to the right, 20 of the picture
    drawn = displacement_picture(moved, (H, W), 4, max_px=4, width_px=320)
    assert (drawn[13, 13 + 20] < 40).all(), "the end of the first line"
    assert (drawn[13, 13 + 8] < 40).all(), "on its way"
    assert Image.fromarray(drawn).getpixel((5, 5))[0] > 200, "red is to the right"
