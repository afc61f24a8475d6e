"""Where the rules write is where the layout looks."""

import re
from pathlib import Path

import pytest

from helpers.workflow import make_project
from weclick.common.config import load_config
from weclick.common.stages import SCORED, taken_by
from weclick.runs.layout import PAGE, SUMMARY, Layout, is_index, stage_of

TAKEN = taken_by({"supervision": "both"})
"""The stages of the run that is looked at here."""


@pytest.fixture(scope="module")
def project(tmp_path_factory, repository, tiny_config):
    config = {**tiny_config, "data": {**tiny_config["data"], "shards": 2}, "supervision": "both"}
    return make_project(tmp_path_factory.mktemp("project"), repository, config)


@pytest.fixture(scope="module")
def written(project) -> set[Path]:
    """All files that the workflow would write, as a dry run tells them."""
    told = project.snakemake("all", "ablation", "--dry-run", "--forceall")
    outputs = re.findall(r"^ +output: (.+)$", told, re.MULTILINE)
    return {Path(name) for line in outputs for name in line.split(", ")}


@pytest.fixture
def data(project):
    return load_config(project.root / "config" / "tiny.yaml")["data"]


def test_the_rules_write_all_that_the_layout_tells(written, data):
    layout = Layout(Path("results"))
    told = {
        path
        for step in TAKEN
        for name in (step.splits if step.sharded else ())
        for path in layout.shards(step.name, data[name], data["shards"])
    }
    for role in SCORED:
        told |= {layout.weights(role), layout.card(role), layout.curves(role)}
    told |= {layout.clicks(data["train"]), layout.scores}
    told |= {layout.report_card, layout.lock, layout.ablation / SUMMARY}
    told |= {layout.experiment("ablation") / name for name in (SUMMARY, PAGE)}
    assert told <= written


def test_the_layout_tells_all_that_the_rules_write(written, data):
    """But for the pages, which nothing reads, and what experiments leave below their folders."""
    layout = Layout(Path("results"))
    rest = {path for path in written if path.is_relative_to(layout.folder)}
    folders = layout.ablation, layout.experiment("made").parent
    rest = {path for path in rest if path.suffix != ".html" and not any(map(path.is_relative_to, folders))}
    indexes = {path for path in rest if stage_of(path)}
    assert {stage_of(path) for path in indexes} == {step.name for step in TAKEN if step.sharded}
    assert {path for path in indexes if not is_index(path)} == {
        path for split in ("train", "val") for path in layout.shards("manifest", data[split], data["shards"])
    }
    files = {layout.clicks(data["train"]), layout.scores, layout.report_card, layout.lock}
    for role in SCORED:
        files |= {layout.weights(role), layout.card(role), layout.curves(role)}
    assert rest - indexes == files


def test_what_is_there_is_found_in_order(tmp_path):
    layout = Layout(tmp_path)
    assert layout.found("flow") == []
    for path in (*layout.shards("flow", "val", 1), *layout.shards("flow", "train", 2)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert layout.found("flow") == [*layout.shards("flow", "train", 2), *layout.shards("flow", "val", 1)]
    assert layout.found("flow", "train") == layout.shards("flow", "train", 2)
    assert layout.found("flow", "t*") == []


def test_a_file_is_known_by_where_it_lies():
    assert stage_of(Path("/elsewhere/soft_labels/3/0.json")) == "soft_labels"
    assert stage_of(Path("manifest/train/0.json")) == "manifest"
    assert not is_index(Path("manifest/train/0.json"))
    for name in ("flow/train/0.cost.jsonl", "teacher/model.json", "student/tensorboard/0.json", "0.json"):
        assert stage_of(Path(name)) == ""
