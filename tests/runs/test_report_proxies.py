"""The page about a run that learned from tags: tags, maps, proxy labels, and what is not there."""

import json
import re

import numpy as np
import pytest

from helpers.html_pages import alts, part, told
from helpers.proxy_run import copied, label, make_proxy_run
from helpers.report_run import CLASSES, Run
from weclick.clicks.tags import SourcedTags, write_tags
from weclick.common.errors import MissingFileError
from weclick.common.words import percent
from weclick.evaluate.proxy_quality import read_quality
from weclick.runs.layout import Layout
from weclick.runs.report.pictures import fit, hatched, heat


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Run:
    """Not to be changed."""
    return make_proxy_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def page(whole) -> str:
    return whole.page()


def table_rows(html: str) -> list[str]:
    return [told(row) for row in re.findall("<tr>.*?</tr>", html, re.DOTALL)]


def test_every_part_is_there_and_in_the_contents(page):
    for anchor in ("tags", "flow", "cams", "proxies"):
        assert f'<section id="{anchor}">' in page
        assert f'<a href="#{anchor}">' in page
    assert page.index('id="tags"') < page.index('id="flow"') < page.index('id="cams"')
    assert all(alt.strip() for alt in alts(page))
    assert len(re.findall("<img", page)) == len(alts(page))
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert "nan" not in told(page).lower()
    assert len(page) < 1_000_000


def test_the_page_carries_everything_it_shows(page):
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert not re.search(r"https?://|url\((?!#)", page)


def test_what_a_run_without_teacher_and_clicks_lacks_has_no_place(page):
    links = re.findall('<a href="#([^"]+)">', page)
    assert sorted(links) == sorted(re.findall('<section id="([^"]+)">', page))
    assert not {"strips", "paper"} & {*links}
    text = told(page)
    for absent in ("Distillation", "memory-flow distillation", "Clicks of each class", "No click on"):
        assert absent not in text
    assert "Learned from proxy labels made of tags, scored on 2 frames" in text
    assert "The networks learn from proxy labels made of tags, not from clicks." in text


def test_a_teacher_of_before_is_not_shown(whole, page):
    assert (whole.folder / "teacher" / "model.json").is_file()
    text = told(page)
    assert "This run has no teacher." in text
    assert "The soft labels come from" not in text
    assert "Teacher" not in text


def test_tags_are_counted_and_what_they_cost(page):
    text = told(part(page, "tags"))
    assert "without a place: 3 frames of 1 clip." in text
    assert "They are complete" in text
    assert "3.0 s in all" in text
    rows = table_rows(part(page, "tags"))
    assert rows[1:] == ["road 3 1", "car 3 1", "lamp <b> 0 0"]
    assert "Whole clips" not in rows[0]


def test_incomplete_tags_of_whole_clips(whole, tmp_path):
    run = copied(whole, tmp_path)
    place = ("street", "")
    table = SourcedTags(CLASSES.names, False, {place: frozenset({1})}, "train", {place: "file"})
    write_tags(table, run.folder / "tags" / "train.h5")
    section = part(run.page(), "tags")
    text = told(section)
    assert "without a place: 1 whole clip of 1 clip." in text
    assert "come from a table" in text
    assert "not complete: a class without a tag may occur" in text
    assert "1.0 s in all" in text
    assert table_rows(section)[2] == "car 0 1 1"


def test_a_strip_of_maps_for_the_clip(page):
    section = part(page, "cams")
    described = [alt for alt in alts(section) if alt.startswith("Where road and car are in frame")]
    assert [re.search(r"(\d+) of street: road 0\.\d\d, car 0\.\d\d$", alt)[1] for alt in described] == [
        "00000",
        "00001",
        "00002",
    ]
    text = told(section)
    assert "A classifier (resnet18) learned the tags in 400 steps and 1 min 23 s" in text
    assert "Loss of the classifier" in text
    assert 'aria-label="Loss of the classifier over training steps"' in section


def test_proxy_labels_stand_beside_frames_and_truth(page):
    section = part(page, "proxies")
    assert "class activation maps, joined over 2 frames along the flow" in told(section)
    frames = len([alt for alt in alts(section) if alt.startswith("Frame ")])
    assert frames >= 1
    assert f"{frames} frame" in told(section)
    assert len([alt for alt in alts(section) if re.match("Proxy label of .*% unlabelled$", alt)]) == frames
    assert len([alt for alt in alts(section) if alt.startswith("True classes of")]) == frames


def test_the_quality_of_each_class(whole, page):
    found = read_quality(Layout(whole.folder).found("proxy_labels", "train"))
    rows = table_rows(part(page, "proxies"))
    assert found
    for row in found:
        cells = [percent(row[name]) for name in ("iou", "precision", "recall")]
        unlabelled = row["unlabelled_px"] / (row["true_px"] + row["unlabelled_px"])
        assert " ".join([row["class"], *cells, percent(unlabelled)]) in rows
    assert any(row.startswith("Mean of classes") for row in rows)


def test_thresholds_and_lengths_with_the_best_of_each(page):
    section = part(page, "proxies")
    rows = re.findall(r'<tr><th scope="row"(?: class="best")?>\d.*?</tr>', section, re.DOTALL)
    assert [told(row).split()[0] for row in rows] == ["1", "2", "3"], "the clip has three frames"
    for row in rows:
        (best,) = re.findall(r'class="number best">([\d.]+)<', row)
        cells = re.findall(r'class="number(?: best)?">([\d.]+|–)<', row)
        assert len(cells) == 9 + 3
        assert float(best) == max(map(float, cells[:9]))
    assert re.findall(r'<tr><th scope="row" class="best">', section)
    assert 'aria-label="IoU of the regions of classes over thresholds' in section
    assert "This run takes 2 frames, threshold 0.2." in told(section)


def test_digests_pin_tags_and_classifier(page):
    rows = table_rows(part(page, "origin"))
    for name in ("Tags", "cams/train/0.json", "proxy_labels/train/0.json", "classifier, weights"):
        assert any(row.startswith(f"{name} ") for row in rows), name


@pytest.mark.parametrize(
    ("gone", "stage"),
    [("tags/train.h5", "tags"), ("cams/train/0.json", "cams"), ("classifier/model.json", "classifier")],
)
def test_a_missing_stage_is_named(whole, tmp_path, gone, stage):
    run = copied(whole, tmp_path)
    (run.folder / gone).unlink()
    with pytest.raises(MissingFileError, match=f"run the stage {stage} first"):
        run.page()


def test_without_any_proxy_label_or_truth(whole, tmp_path):
    """A strict filter accepts no run; and no training frame has a label."""
    run = copied(whole, tmp_path, proxy_labels={"filter": True, "tau": 0.999})
    path = run.folder / "manifest" / "train" / "0.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    for frame in manifest["clips"][0]["frames"]:
        frame.update(label=None, label_digest=None)
    path.write_text(json.dumps(manifest), encoding="utf-8")
    label(run)
    section = part(run.page(), "proxies")
    assert "No frame has one." in told(section)
    assert not re.search("<img|<table|<h3", section)


def test_heat_takes_the_colour_of_the_highest_map():
    image = np.full((4, 6, 3), 100, np.uint8)
    maps = np.zeros((2, 4, 6))
    maps[0, :, :2], maps[1, :, 2:4], maps[0, :, 2:4] = 1, 0.5, 0.25
    drawn = heat(image, maps, [(255, 0, 0), (0, 0, 255)])
    assert drawn[0, 0].tolist() == [232, 15, 15]
    assert drawn[0, 2].tolist() == [57, 57, 166]
    assert drawn[0, 5].tolist() == [100, 100, 100], "no class is there"
    assert (heat(image, maps[:0], []) == 100).all()


def test_pixels_without_a_label_are_hatched_and_others_not():
    image, ids = np.full((20, 20, 3), 60, np.uint8), np.zeros((20, 20), np.uint8)
    ids[:, 10:] = 255
    drawn = hatched(image, ids, CLASSES.palette)
    open_px = fit(ids, nearest=True) == 255
    bright = (drawn > 180).all(-1)
    assert bright[open_px].mean() == pytest.approx(2 / 12, abs=0.01)
    assert not bright[:, : drawn.shape[1] // 2 - 2].any(), "but for the line between the two"
