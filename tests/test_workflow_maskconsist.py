"""MaskConsist on the tiny street: from the manifest to a detector, its scores, its page and its lock."""

from __future__ import annotations

import json

import pytest

from helpers.workflow import Project, make_project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory, repository, tiny_config) -> Project:
    """A whole run whose instances come from clicks, so that there are some whatever the networks say."""
    shared = {"backbone": "mobilenetv2_compact", "pretrained": None, "crop": [64, 96], "steps": 3}
    network = {**shared, "batch_norm": "train", "batch_size": 1, "optimizer": "adamw", "learning_rate": 1e-3}
    config = {
        **tiny_config,
        "method": "maskconsist",
        "data": {**tiny_config["data"], "target_every": 1},
        "pair": {"delta_frames": 1},
        "classifier": {**network, "freeze": False, "batch_size": 2},
        "cams": {"scales": [1.0], "flip": False},
        "confident_labels": {"foreground": 0.2, "grid_px": 4},
        "relation": {**network, "output_stride": None, "batch_norm": "frozen"},
        "flow_boundary": {"weight": 1},
        "instances": {"source": "clicks", "min_share": 0},
        "detector": {
            **network,
            "channels": 16,
            "proposals": [50, 20],
            "anchors_px": [8, 16, 32],
            "rois": 16,
            "log_every": 1,
        },
    }
    made = make_project(tmp_path_factory.mktemp("maskconsist") / "project", repository, config)
    made.snakemake("all")
    return made


def test_the_detector_is_scored_shown_and_locked(project):
    results = project.root / "results"
    found = json.loads((results / "evaluation/metrics.json").read_text(encoding="utf-8"))["instances"]
    assert {"AP", "AP50", "AP75", "semantic_miou", "temporal_consistency", "video"} <= found.keys()
    assert 0 <= found["AP50"] <= 1
    lock = json.loads((results / "run.lock.json").read_text(encoding="utf-8"))
    assert lock["metrics"]["detector"]["AP50"] == found["AP50"]
    assert {"classifier", "relation", "detector"} == lock["models"].keys()
    assert {"cams", "confident_labels", "instances"} <= lock["entries"].keys()
    assert "data:image/" in (results / "report.html").read_text(encoding="utf-8")


def test_labels_were_completed_in_pairs(project):
    log = (project.root / "results/detector/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    lines = [json.loads(line) for line in log]
    assert {"objectness", "rpn_box", "classifier", "box", "mask"} == lines[0]["terms"].keys()
    assert all(line["labels_given"] > 0 and line["labels_used"] > 0 for line in lines)


def test_a_second_run_does_nothing_and_another_threshold_makes_labels_anew(project):
    assert project.jobs() <= {"all"}
    again = project.jobs("instances={source: clicks, min_share: 0.001}")
    assert {"instances_shard", "detector", "evaluate", "report", "lock"} <= again
    assert not again & {"relation", "cams_shard", "flow_shard", "frames_shard", "manifest_shard"}
