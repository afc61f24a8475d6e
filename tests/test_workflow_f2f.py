"""F2F on frames that have tags and nothing else: from the manifest to a student that segments."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from helpers.workflow import Project, make_project
from weclick.clicks import read_clicks
from weclick.clicks.tags import read_tags
from weclick.manifest import read_manifest
from weclick.proxy_labels.proxy_labels import read_proxy_labels
from weclick.store import Store, read_index

pytestmark = pytest.mark.slow

SIZE = 48, 64
FRAMES = 6
CLASSES = """classes:
- {name: background, color: [0, 0, 0]}
- {name: car, color: [9, 9, 200]}
- {name: dog, color: [200, 9, 9]}
"""
CLIPS = {"drive": ("car", (40, 60, 220)), "street": ("car", (40, 60, 220)), "park": ("dog", (220, 60, 40))}
"""Clip -> the class that it shows, and the colour of the thing that moves there."""


def draw(folder, colour, seed):
    """A thing of one colour moves over dark ground."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for t in range(FRAMES):
        frame = rng.integers(0, 40, (*SIZE, 3), np.uint8)
        frame[16:32, 3 * t + 4 : 3 * t + 24] = colour
        Image.fromarray(frame).save(folder / f"{t:05d}.png")


@pytest.fixture(scope="module")
def project(tmp_path_factory, repository, tiny_config) -> Project:
    """A run up to its student. The data set is a folder of frames with tags.csv, without masks and clicks."""
    root = tmp_path_factory.mktemp("tags")
    mine = root / "mine"
    for seed, (clip, (_, colour)) in enumerate(CLIPS.items()):
        draw(mine / "frames" / clip, colour, seed)
    (mine / "classes.yaml").write_text(CLASSES)
    rows = "".join(f"{clip},,{name}\n" for clip, (name, _) in CLIPS.items())
    (mine / "tags.csv").write_text(f"clip,frame,class\n{rows}")
    config = {
        **tiny_config,
        "method": "f2f",
        "data": {"name": "folder", "root": str(mine), "held_out": "other_frames", "target_every": 2},
        "tags": {"source": "file"},
        "classifier": {
            "backbone": "mobilenetv2_compact",
            "pretrained": None,
            "freeze": False,
            "steps": 4,
            "batch_size": 2,
            "crop": list(SIZE),
        },
        "cams": {"scales": [1.0], "flip": False},
        "proxy_labels": {"frames": 2, "filter": False, "runs_per_clip": None, "threshold": 0.4},
    }
    made = make_project(root / "project", repository, config)
    made.snakemake("student")
    return made


def test_tags_alone_lead_from_the_manifest_to_a_student(project):
    results = project.root / "results"
    manifest = read_manifest(results / "manifest/train/0.json")
    assert not any(frame.label for clip in manifest.clips for frame in clip.frames)
    assert not (results / "clicks/train.h5").exists() or len(read_clicks(results / "clicks/train.h5")) == 0
    tags = read_tags(results / "tags/train.h5")
    names = manifest.classes.names
    assert {clip: {names[k] for k in tags.of_clip(clip)} - {"background"} for clip in CLIPS} == {
        clip: {name} for clip, (name, _) in CLIPS.items()
    }
    keys = read_index([results / "proxy_labels/train/0.json"], "proxy_labels")
    store = Store([project.root / "store"])
    for clip in manifest.clips:
        labels = dict(read_proxy_labels(store.get("proxy_labels", keys[clip.id]), clip))
        seen = {int(value) for label in labels.values() for value in np.unique(label)}
        assert names.index(CLIPS[clip.id][0]) in seen <= {0, names.index(CLIPS[clip.id][0]), 255}
        assert all(label.shape == SIZE for label in labels.values())
    assert not (results / "teacher").exists()
    first = (results / "student/metrics.jsonl").read_text(encoding="utf-8").splitlines()[0]
    assert "cross_entropy" in json.loads(first)["terms"]
    assert project.jobs() <= {"all"}


def test_the_student_segments_frames(project):
    told = project.weclick("predict", "../mine/frames/park", "--save", "masks", "--output", "out")
    assert f"{FRAMES} frames to out" in told
    masks = sorted((project.root / "out").rglob("*.png"))
    assert [mask.stem for mask in masks] == [f"{t:05d}" for t in range(FRAMES)]
    for mask in masks:
        ids = np.asarray(Image.open(mask))
        assert ids.shape == SIZE
        assert set(np.unique(ids).tolist()) <= {0, 1, 2}
