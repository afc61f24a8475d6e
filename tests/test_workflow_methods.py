"""The Snakemake workflow for several methods: what they share is made once."""

import json

import pytest

from helpers.workflow import Project, make_project

AFTER_STUDENT = {"student", "evaluate", "report", "lock", "all"}
SHARED = {"toy", "manifest_shard", "frames_shard", "flow_shard"}
SERVES = ["weclick", "f2f", "two_stream", "maskconsist"]


@pytest.fixture(scope="module")
def project(tmp_path_factory, repository, tiny_config) -> Project:
    """A project that has made what all four methods share."""
    config = {**tiny_config, "serves": SERVES}
    project = make_project(tmp_path_factory.mktemp("project"), repository, config)
    project.snakemake("manifest", "frames", "flow")
    return project


def test_the_index_tells_the_needs_apart(project):
    index = json.loads((project.root / "results/flow/train/0.json").read_text(encoding="utf-8"))
    assert index["version"] == 2
    assert all(keys.keys() == {"window", "chain", "step", "stack"} for keys in index["entries"].values())


def test_a_change_of_the_method_reruns_nothing_that_they_share(project):
    for method in ("weclick", "f2f"):
        jobs = project.jobs(f"method={method}")
        assert "student" in jobs
        assert not jobs & SHARED
        assert ("teacher" in jobs) == ("soft_labels_shard" in jobs) == (method == "weclick")
    told = project.snakemake("manifest", "frames", "flow", "-n", "--config", "method=maskconsist")
    assert "Nothing to be done" in told


def test_a_method_alone_makes_its_own(project):
    assert project.jobs("method=f2f", "serves=null") >= {"manifest_shard", "frames_shard", "flow_shard"}


@pytest.fixture(scope="module")
def moving(tmp_path_factory, repository, tiny_config) -> Project:
    """A run of two streams. The street's class 0 is road, so maps of it come from tags as well."""
    classifier = {name: tiny_config["student"][name] for name in ("backbone", "pretrained", "crop")}
    config = {
        **tiny_config,
        "method": "two_stream",
        "serves": ["weclick", "two_stream"],
        "tags": {"min_pixels": 4, "min_pixels_at": None},
        "classifier": {**classifier, "freeze": False, "steps": 2, "batch_size": 2},
        "cams": {"source": "tags", "scales": [1.0], "flip": False},
        "stack": {"length": 2, "first": -1},
        "student": {**tiny_config["student"], "architecture": "two_stream", "dropout": 0},
        "constrain_loss": {"weight": 1, "iterations": 2},
        "gated_crf": {"weight": 0},
    }
    made = make_project(tmp_path_factory.mktemp("two_stream"), repository, config)
    made.snakemake("all")
    return made


def test_tags_and_motion_make_a_student_its_scores_and_a_page(moving):
    results = moving.root / "results"
    card = json.loads((results / "student" / "model.json").read_text(encoding="utf-8"))
    assert card["options"]["stack_length"] == 2
    scores = json.loads((results / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    assert 0 <= scores["miou"] <= 1
    assert {kind for kind, keys in moving.entries().items() if keys} == {"frames", "flow", "cams", "models"}
    page = (results / "report.html").read_text(encoding="utf-8")
    assert '<section id="targets">' in page
    lock = json.loads((results / "run.lock.json").read_text(encoding="utf-8"))
    assert {"classifier", "student"} == lock["models"].keys()
    assert moving.jobs() == set()


def test_its_results_can_be_explained_and_compared(moving):
    told = moving.weclick("cache", "explain", "student", "--config", "config/tiny.yaml")
    assert told.startswith("models: found")
    moving.weclick("compare", "results", "results=again", "--output", "compare.html")
    assert "again" in (moving.root / "compare.html").read_text(encoding="utf-8")


def test_weclick_takes_the_frames_and_the_flow_of_two_streams(moving):
    jobs = moving.jobs("method=weclick", 'student={"architecture": "deeplabv3plus"}')
    assert {"teacher", "student"} <= jobs
    assert not jobs & {*SHARED, "clicks"}
    assert moving.jobs() == set()


@pytest.mark.parametrize(
    "change",
    [
        'stack={"scale_px": 4}',
        'flow={"motion": "residual"}',
        'heatmap_loss={"threshold": 0.3}',
        'heatmap_loss={"weight": 0}',
    ],
)
def test_how_motion_and_maps_are_looked_at_reruns_the_student_and_what_follows(moving, change):
    assert moving.jobs(change) == AFTER_STUDENT
