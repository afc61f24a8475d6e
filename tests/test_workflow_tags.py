"""Videos and tags alone go to a student, without label and click; labels of a held-out clip give scores."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from helpers.filmed import SIZE, film
from helpers.workflow import Project, make_project
from weclick.clicks import read_clicks
from weclick.models.backbones import BACKBONES

CLASSES = "classes: [{name: background, color: [0, 0, 0]}, {name: car, color: [9, 9, 200]}]"


@pytest.fixture(scope="module")
def project(tmp_path_factory, repository, tiny_config) -> Project:
    """A run whose data set has tags and nothing else; nothing has run."""
    root = tmp_path_factory.mktemp("tags")
    mine = root / "mine"
    for number, clip in enumerate(("drive", "walk")):
        film(mine / "videos" / f"{clip}.mp4", number)
    (mine / "classes.yaml").write_text(CLASSES)
    (mine / "tags.csv").write_text("clip,frame,class\ndrive,,car\nwalk,,car\n")
    rng = np.random.default_rng(0)
    for name, brightness in (("background", 20), ("car", 220)):
        (mine / "iconic" / name).mkdir(parents=True)
        for number in range(3):
            pixels = np.clip(rng.normal(brightness, 9, (40, 48, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(mine / "iconic" / name / f"{number}.png")
    torch.manual_seed(0)
    save_file(BACKBONES["resnet18"](32).state_dict(), root / "resnet18.safetensors")
    data = {"name": "folder", "root": str(mine), "held_out": "other_frames", "target_every": 4}
    config = {
        **tiny_config,
        "method": "two_stream",
        "data": data,
        "tags": {"source": "file"},
        "cams": {
            "source": "iconic",
            "iconic": str(mine / "iconic"),
            "backbone": "resnet18",
            "pretrained": str(root / "resnet18.safetensors"),
            "scales": [1.0],
            "flip": False,
        },
        "student": {
            **tiny_config["student"],
            "architecture": "two_stream",
            "fusion": "none",
            "dropout": 0,
            "crop": list(SIZE),
        },
        "constrain_loss": {"weight": 1, "iterations": 2},
        "gated_crf": {"weight": 0},
    }
    return make_project(root / "project", repository, config)


def test_tags_alone_make_a_student(project, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    told = project.weclick("doctor", "--config", "config/tiny.yaml")
    assert "nothing to mend" in told
    assert "no click" not in told
    assert "classifier.pretrained" not in told
    planned = project.weclick("plan", "--config", "config/tiny.yaml", "--probe-seconds", "0.1")
    assert "6 targets, 0 clicks" in planned
    assert "up to flow" in planned
    assert "total" not in planned
    project.snakemake("student")
    results = project.root / "results"
    assert len(read_clicks(results / "clicks/train.h5")) == 0
    assert (results / "student/model.safetensors").is_file()
    assert project.jobs() <= {"all"}
    told = project.weclick("cache", "explain", "student", "--config", "config/tiny.yaml")
    assert told.startswith("models: found")


def test_labels_of_a_held_out_clip_score_it(project):
    labels = project.root.parent / "mine/labels/walk"
    labels.mkdir(parents=True)
    label = np.zeros(SIZE, np.uint8)
    label[16:32, 4:24] = 1
    Image.fromarray(label).save(labels / "00000.png")
    project.snakemake("all", "--config", 'data={"held_out": "clips", "val_clips": ["walk"]}')
    results = project.root / "results"
    assert len(read_clicks(results / "clicks/train.h5")) == 0
    scores = json.loads((results / "evaluation/metrics.json").read_text(encoding="utf-8"))
    assert 0 <= scores["miou"] <= 1
    assert (results / "report.html").is_file()
    assert (results / "run.lock.json").is_file()
