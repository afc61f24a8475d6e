"""MaskConsist on the tiny street: from the manifest to a detector, its scores and lock, and an experiment."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers.workflow import Project, make_project
from weclick.common.schemas import schema_fault

STEPS = 12
"""Of the detectors that are trained by themselves."""

EXPERIMENT = {
    "name": "tiny",
    "seeds": [0],
    "arms": {
        "labels": {"scores": "instances"},
        "maskconsist": {},
        "plain": {"change": {"maskconsist": {"weight": 0}}},
    },
    "compare": [["maskconsist", "plain"]],
}
IRN = {
    "scores": "instances",
    "change": {
        "instances": {"source": "relation"},
        "fcam": {"motion": "none"},
        "flow_boundary": {"weight": 0},
    },
}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory, repository, tiny_config) -> Project:
    """A run whose instances come from clicks alone, so that there are some whatever the networks say."""
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
        "instances": {"source": "clicks", "clicks_within": "frame", "min_share": 0},
        "detector": {
            **network,
            "channels": 16,
            "proposals": [50, 20],
            "anchors_px": [8, 16, 32],
            "rois": 16,
            "log_every": 1,
        },
        "experiment": EXPERIMENT,
    }
    return make_project(tmp_path_factory.mktemp("maskconsist") / "project", repository, config)


@pytest.fixture(scope="module")
def project(fresh) -> Project:
    """The same when all has been made."""
    fresh.snakemake("all")
    return fresh


@pytest.fixture(scope="module")
def summary(project) -> dict:
    """Of the experiment."""
    project.snakemake("experiment")
    path = project.root / "results/experiment/tiny/summary.json"
    return json.loads(path.read_text(encoding="utf-8"))


def counted(project: Project, *words: str) -> dict[str, int]:
    """Rule of an experiment -> number of its jobs that would run."""
    told = project.snakemake("experiment", "-n", *words)
    return {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", told, re.MULTILINE) if name != "total"}


def test_an_experiment_plans_what_its_arms_need_once(fresh):
    """The run itself would make the labels and one detector, so they are its own; the rest is the arms'."""
    arms = {**EXPERIMENT["arms"], "irn": IRN}
    assert counted(fresh, "--config", f"experiment={json.dumps({**EXPERIMENT, 'arms': arms})}") == {
        **dict.fromkeys(("toy", "clicks", "tags", "frames_shard", "classifier", "cams_shard"), 1),
        **{"manifest_shard": 2, "flow_shard": 2},
        **dict.fromkeys(("confident_labels_shard", "relation", "instances_shard", "detector"), 1),
        **dict.fromkeys(("experiment_confident_labels", "experiment_relation", "experiment_instances"), 1),
        **{"experiment_detector": 1, "experiment_evaluate": 2},
        **dict.fromkeys(("experiment_summary", "experiment"), 1),
    }


@pytest.mark.slow
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


@pytest.mark.slow
def test_labels_were_completed_in_pairs(project):
    log = (project.root / "results/detector/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    lines = [json.loads(line) for line in log]
    assert {"objectness", "rpn_box", "classifier", "box", "mask"} == lines[0]["terms"].keys()
    assert all(line["labels_given"] > 0 and line["labels_used"] > 0 for line in lines)


@pytest.mark.slow
def test_a_second_run_does_nothing_and_another_threshold_makes_labels_anew(project):
    assert project.jobs() <= {"all"}
    again = project.jobs("instances={source: clicks, clicks_within: frame, min_share: 0.001}")
    assert {"instances_shard", "detector", "evaluate", "report", "lock"} <= again
    assert not again & {"relation", "cams_shard", "flow_shard", "frames_shard", "manifest_shard"}


@pytest.mark.slow
def test_a_killed_detector_goes_on_to_the_very_same_weights(project):
    whole = detector(project, "whole")
    assert whole.wait() == 0
    killed, folder = detector(project, "killed"), project.root / "killed"
    while not (folder / "checkpoint.pt").is_file():
        assert killed.poll() is None, "it ended before its first checkpoint"
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert not (folder / "model.safetensors").exists()
    assert detector(project, "killed").wait() == 0
    weights = [project.root / name / "model.safetensors" for name in ("whole", "killed")]
    assert len({path.read_bytes() for path in weights}) == 1
    steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, STEPS + 1))


def detector(project, name):
    """A training of a detector by itself, in a folder and a store of its own."""
    results = Path("results")
    index = {kind: results / kind / "train/0.json" for kind in ("manifest", "frames", "instances", "flow")}
    options = {f"--{kind}": path for kind, path in index.items()}
    options |= {"--val-manifest": results / "manifest/val/0.json", "--output": name, "--device": "cpu"}
    words = [str(word) for pair in options.items() for word in pair]
    for change in (f"steps={STEPS}", "checkpoint_every=1"):
        words += ["--set", f"detector.{change}"]
    words += ["--set", f"cache.roots={json.dumps(['store', f'store_{name}'])}"]
    command = [
        str(Path(sys.executable).parent / "weclick"),
        "detector",
        "--config",
        "config/tiny.yaml",
        *words,
    ]
    return subprocess.Popen(command, cwd=project.root, env=project.environment)


@pytest.mark.slow
def test_an_experiment_scores_detectors_and_their_labels(project, summary):
    assert schema_fault(summary, "experiment") == ""
    found = summary["results"]["toy"]
    labels, maskconsist, plain = (
        {name: of["mean"] for name, of in arm.items()} for arm in found["arms"].values()
    )
    own = json.loads((project.root / "results/evaluation/metrics.json").read_text(encoding="utf-8"))
    assert maskconsist["ap50"] == own["instances"]["AP50"], "the run's own detector is scored"
    assert labels["ap50"] == plain["label_ap50"] == maskconsist["label_ap50"] > 0
    assert labels["label_recall50"] > 0
    assert maskconsist["labels_given"] > 0
    assert maskconsist["labels_used"] > 0
    assert plain["labels_used"] is None, "without MaskConsist nothing is completed"
    assert labels["clicks"] == plain["clicks"] == found["facts"]["clicks"] > 0
    assert found["facts"]["trainings"]["count"] == 4, "classifier, relation, two detectors"
    assert found["notes"] == []
    assert len(found["differences"][0]["ap50"]["values"]) == 1
    page = (project.root / "results/experiment/tiny/report.html").read_text(encoding="utf-8")
    assert "Labels&#39; AP50" in page


@pytest.mark.slow
def test_a_second_experiment_makes_only_what_a_new_arm_needs(project, summary):
    assert counted(project) == {}
    assert (project.root / "results/detector/model.json").is_file()
    arms = {**EXPERIMENT["arms"], "irn": IRN}
    assert counted(project, "--config", f"experiment={json.dumps({**EXPERIMENT, 'arms': arms})}") == {
        **dict.fromkeys(("experiment_confident_labels", "experiment_relation", "experiment_instances"), 1),
        **dict.fromkeys(("experiment_summary", "experiment"), 1),
    }
