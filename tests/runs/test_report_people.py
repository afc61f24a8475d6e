"""The report's section on clicks that people made."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from helpers.clicked_street import make_street
from helpers.report_run import Run, make_run
from weclick.clicks import generate_clicks, write_clicks
from weclick.clicks.placed import placed_clicks
from weclick.common.config import complete_config
from weclick.datasets import build_manifest, open_dataset
from weclick.manifest import write_manifest
from weclick.models import build_model
from weclick.runs.report import people
from weclick.runs.report.people_pictures import where_picture
from weclick.runs.report.results import Results
from weclick.store.model_file import model_bytes


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """A run on a street that people clicked on, whose scores are those of another one."""
    root = tmp_path_factory.mktemp("people")
    (root / "other").mkdir()
    made = make_run(root / "other")
    config = complete_config({"data": make_street(root / "mine"), "seed": 7})
    dataset = open_dataset(config["data"])
    for split in ("train", "val"):
        manifest = build_manifest(dataset, split, 0, 1, reach_frames=1)
        write_manifest(manifest, made.folder / "manifest" / split / "0.json")
        if split == "train":
            clicks = generate_clicks(manifest, options=config["clicks"], seed=0)
            write_clicks(clicks, made.folder / "clicks" / "train.h5")
            student = build_model("deeplabv3plus", "mobilenetv2_compact", 3, channels=16)
            (made.folder / "student" / "model.safetensors").write_bytes(
                model_bytes(student, manifest.classes)
            )
    for stage in ("frames", "flow", "soft_labels"):
        for index in (made.folder / stage).glob("*/*.json"):
            index.unlink()
    (made.folder / "teacher" / "model.json").unlink()
    names = dict.fromkeys(manifest.classes.names, 0.5)
    made.edit("evaluation/metrics.json", examples=[], per_class_iou=names)
    return Run(made.folder, config, made.store)


@pytest.fixture(scope="module")
def page(run) -> str:
    return run.page()


def section_of(page):
    return page[page.index('<section id="people">') :].split("</section>")[0]


def rows_of(section, caption):
    table = section[section.index(caption) :].split("</table>")[0]
    body = table.split("<tbody>")[1]
    return [re.sub(r"<[^>]+>|\s+", " ", row).split() for row in body.split("</tr>")[:-1]]


def test_who_when_and_where_is_told(page):
    section = section_of(page)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", section))
    assert "108 clicks on 24 frames of 6 clips; 18 of them are held out" in text
    anna, ben = rows_of(section, "By whom, and how fast")
    assert anna[:3] == ["anna", "72", "24"]
    assert ben[:3] == ["ben", "36", "12"]
    assert float(anna[4]) > float(ben[4]) > 5
    assert rows_of(section, "Where they come from") == [["human", "weclick", "click", "0.1.0", "108"]]
    assert len(rows_of(section, "<h3>Classes</h3>")) == 3
    clips = rows_of(section, "<h3>Clips, and where along their time</h3>")
    assert [row[:2] for row in clips] == [["clip", str(i)] for i in range(6)]
    assert section.count('class="mark"') == 24
    assert '<a href="#people">' in page


def test_nothing_is_scored_by_clicks_that_are_not_held_out(run, monkeypatch):
    def learned_from(*splits):
        return [each for each in placed_clicks(*splits) if not each.is_held_out]

    monkeypatch.setattr(people, "placed_clicks", learned_from)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", section_of(run.page())))
    assert " clips; none of them is held out. " in text
    assert "scored by" not in text


def test_people_are_compared(page):
    (row,) = rows_of(section_of(page), "<h3>How far people agree</h3>")
    assert row[:5] == ["anna", "and", "ben", "12", "72"]
    assert 0 < float(row[6]) <= 100


def test_clicks_to_look_at_are_pictured(page):
    section = section_of(page)
    shown = section[section.index("<h3>Clicks to look at again</h3>") :]
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", shown)
    assert 1 <= len(captions) <= 108 // 20
    assert all(re.search(r"(ground|sky|car) by (anna|ben), but ", caption) for caption in captions)
    assert any("looks like" in caption for caption in captions)
    assert shown.count("<img") == len(captions)


def test_the_page_stands_alone_and_equal_runs_give_equal_pages(run, page):
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert run.page() == page


def test_without_people_there_is_no_section(tmp_path):
    page = make_run(tmp_path).page()
    assert 'id="people"' not in page
    assert "#people" not in page


def test_places_are_counted_where_they_lie(run):
    from weclick.clicks.placed import placed_clicks
    from weclick.runs.report.results import read_results

    results: Results = read_results(run.folder, run.config)
    clicks = placed_clicks(results.train, results.val)
    shown = where_picture(clicks)
    assert (shown.width_px / shown.height_px) == pytest.approx(64 / 48, rel=0.1)
    made = replace(results, train=replace(results.train, click_file=None))
    assert people.section(made, run.store) is None


def test_marks_lie_along_the_clip(run):
    from weclick.runs.report.results import read_results

    told = people.section(read_results(run.folder, run.config), run.store)
    assert told["clip_rows"]["rows"][0]["marks"] == ["0", "33.3", "66.7", "100"]
    assert json.dumps(told["classes"])
    assert np.isfinite(float(told["review"]["agreed"]))
