"""Where a run comes from: what it changed, what pins it down, what it cost, and how the paper did."""

import json
import re

import pytest

from helpers.report_run import make_run
from weclick.common.config import complete_config
from weclick.common.flat import flatten
from weclick.runs.report.paper import beside_paper
from weclick.runs.report.provenance import changed, costs, digests
from weclick.runs.report.results import read_results
from weclick.store import file_digest


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def results(run):
    return read_results(run.folder, run.config)


def test_the_default_configuration_differs_in_nothing():
    assert changed(complete_config({})) == []


def test_what_differs_is_told_beside_its_default():
    config = complete_config({"student": {"steps": 5, "crop": [64, 96]}, "clicks": {"min_pixels_at": None}})
    assert changed(config) == [
        ("clicks.min_pixels_at", "null", "[1024, 2048]"),
        ("student.steps", "5", "90000"),
        ("student.crop", "[64, 96]", "[768, 768]"),
    ]


def test_flatten_keeps_lists_and_empty_sections():
    assert dict(flatten({"a": {"b": [1, 2], "c": {}}, "d": None})) == {"a.b": [1, 2], "a.c": {}, "d": None}


def test_digests_change_with_what_they_pin(run, results):
    before = digests(results, run.config)
    assert before["flow/train/0.json"] == file_digest(run.folder / "flow" / "train" / "0.json")
    after = digests(results, {**run.config, "seed": 8})
    assert {name for name in before if before[name] != after[name]} == {"Configuration"}
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in before.values())


def test_costs_sum_all_runs_and_show_the_latest(run):
    (flow,) = costs(run.folder)
    assert flow == {
        "stage": "flow",
        "runs": "2",
        "seconds": "1 min 02 s",
        "made": "1",
        "written": "2.0 KiB",
        "last_seconds": "0.5 s",
        "last_made": "0",
        "last_found": "1",
    }


def test_the_page_tells_origin_and_cost(run):
    page = run.page()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert "snakemake all" in text
    assert "seed 7 0" in text  # this run, default
    assert "flow 2 1 min 02 s 1 2.0 KiB 0.5 s 0 1" in text
    assert "the paper scores Cityscapes and CamVid, this run the drawn toy street" in text
    assert "torch" in page[page.index('<section id="origin">') :]
    card = json.loads((run.folder.parent / "report.json").read_text(encoding="utf-8"))
    assert card["config"] == run.config
    assert card["command"] == "snakemake all"


CITYSCAPES = {"data": {"name": "cityscapes"}, "student": {"steps": 89250}}


def as_cityscapes(results, targets=2975):
    """The same results, said to be of Cityscapes; its one clip has as many targets as asked."""
    from dataclasses import replace

    clip = replace(results.train.clips[0], targets=tuple(range(targets)))
    return replace(
        results,
        train=replace(results.train, dataset="cityscapes", clips=(clip,)),
        val=replace(results.val, dataset="cityscapes"),
    )


def test_a_run_by_the_papers_recipe_is_set_beside_it(results):
    table = beside_paper(as_cityscapes(results), complete_config(CITYSCAPES))
    assert table["reasons"] == []
    assert [name for name, _ in table["rows"]] == [
        "This run's student",
        "Paper: DeepLabV3+ ResNet-18, WeClick",
        "Paper: DeepLabV3+ ResNet-18, clicks alone",
        "This run's teacher",
        "Paper: DeepLabV3+ ResNet-101, the teacher",
    ]
    assert table["rows"][0][1] == ["58.3", "66.1", "16.61 M", "128 (cpu)"]
    assert table["rows"][1][1] == ["58.30", "66.39", "16.61 M", "22.1 (V100)"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data": {"shrink": 2}}, "reads frames at 1/2"),
        ({"student": {"backbone": "resnet34"}}, "no deeplabv3plus with resnet34"),
        ({"teacher": {"backbone": "resnet50"}}, "this run's resnet50"),
        ({"student": {"pretrained": None}}, "ImageNet"),
        ({"student": {"channels": 64}}, "64 channels wide"),
        ({"clicks": {"min_pixels": 100}}, "clicks on objects of 512 pixels"),
        ({"student": {"steps": 300}}, r"trains for 120 epochs, this run for 0\.403"),
        ({"mfd": {"weight": 0}}, "leaves out a part of the distillation"),
        ({"annotation": {"minutes": 60}}, "uses only a part of the annotation"),
    ],
)
def test_what_makes_a_comparison_unfair_is_said(results, change, reason):
    given = {name: {**CITYSCAPES.get(name, {}), **change.get(name, {})} for name in (*CITYSCAPES, *change)}
    told = beside_paper(as_cityscapes(results), complete_config(given))
    assert told["rows"] == []
    assert len(told["reasons"]) == 1
    assert re.search(reason, told["reasons"][0])


@pytest.mark.parametrize("supervision", ["masks", "both"])
def test_masks_as_supervision_are_said(results, supervision):
    told = beside_paper(as_cityscapes(results), complete_config({**CITYSCAPES, "supervision": supervision}))
    assert told["reasons"] == ["the paper's networks learn from clicks alone, this run's from masks"]


def test_another_method_is_said(results):
    told = beside_paper(as_cityscapes(results), complete_config({**CITYSCAPES, "method": "f2f"}))
    assert told["reasons"] == ["the paper's method is WeClick, this run's f2f"]


def test_too_few_targets_are_said(results):
    (reason, *_) = beside_paper(as_cityscapes(results, 500), complete_config(CITYSCAPES))["reasons"]
    assert reason == "the paper learns from 2,975 target frames, this run from 500"
