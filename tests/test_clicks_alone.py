"""Videos and people's clicks alone go all the way: no mask, and yet scores, a report and a lock's figures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers.filmed import SIZE, click, film
from weclick import cli
from weclick.runs.lock import make_lock


@pytest.fixture
def mine(tmp_path, tiny_config) -> tuple[Path, dict]:
    root = tmp_path / "mine"
    for number, clip in enumerate(("drive", "walk")):
        film(root / "videos" / f"{clip}.mp4", number)
        click(root, clip, (1, 4, 7, 10))
    classes = "classes: [{name: ground, color: [0, 0, 0]}, {name: car, color: [9, 9, 200]}]"
    (root / "classes.yaml").write_text(classes)
    data = {"name": "folder", "root": str(root), "val_clips": ["walk"]}
    network = {**tiny_config["student"], "steps": 30, "validate_every": 15, "crop": list(SIZE)}
    config = {
        **tiny_config,
        "data": data,
        "results": str(tmp_path / "results"),
        "cache": {"roots": [str(tmp_path / "store")]},
        "teacher": network,
        "student": network,
    }
    return root, config


def weclick(config: dict, *words: object) -> str:
    done = CliRunner().invoke(cli.app, [*map(str, words), "--config", json.dumps(config)])
    assert done.exit_code == 0, f"{words}: {done.output}{done.exception}"
    return done.output


def test_doctor_finds_nothing_to_mend(mine):
    _, config = mine
    told = weclick(config, "doctor")
    assert "clicks of train: 8 clicks on 4 frames" in told
    assert "held-out clicks of val: 8 clicks on 4 frames" in told
    assert "nothing can be scored" not in told


def test_held_out_frames_of_one_video(mine):
    root, config = mine
    (root / "videos" / "walk.mp4").unlink()
    log = [
        line for line in (root / "clicks.jsonl").read_text().splitlines(keepends=True) if "walk" not in line
    ]
    (root / "clicks.jsonl").write_text("".join(log))
    config = {**config, "data": {**config["data"], "val_clips": [], "held_out": "other_frames"}}
    assert "held-out clicks of val: 2 clicks on 1 frames" in weclick(config, "doctor")


@pytest.mark.slow
def test_the_whole_way(mine):
    root, config = mine
    at = Path(config["results"])
    shards = {split: at / "manifest" / split / "0.json" for split in ("train", "val")}
    for split, shard in shards.items():
        weclick(config, "manifest", "--split", split, "--output", shard)
    click(root, "drive", [11])  # people go on clicking; this run does not see it
    train = "--manifest", shards["train"]
    weclick(config, "clicks", *train, "--output", at / "clicks/train.h5")
    weclick(config, "frames", *train, "--output", at / "frames/train/0.json")
    for split, shard in shards.items():
        weclick(config, "flow", "--manifest", shard, "--output", at / f"flow/{split}/0.json")
    data = (*train, "--clicks", at / "clicks/train.h5", "--frames", at / "frames/train/0.json")
    data = (*data, "--val-manifest", shards["val"])
    weclick(config, "teacher", *data, "--output", at / "teacher")
    labels = "--teacher", at / "teacher/model.safetensors", "--output", at / "soft_labels/train/0.json"
    weclick(config, "soft-labels", *train, *labels)
    caches = "--flow", at / "flow/train/0.json", "--soft-labels", at / "soft_labels/train/0.json"
    weclick(config, "student", *data, *caches, "--output", at / "student")
    networks = [
        part for role in ("student", "teacher") for part in (f"--{role}", at / role / "model.safetensors")
    ]
    scored = "--manifest", shards["val"], "--flow", at / "flow/val/0.json", *networks
    learned = "--target-manifest", shards["train"], "--clicks", at / "clicks/train.h5"
    weclick(config, "evaluate", *scored, *learned, "--output", at / "evaluation")
    metrics = json.loads((at / "evaluation/metrics.json").read_text(encoding="utf-8"))
    assert metrics["miou"] is None
    assert metrics["held_out_clicks"]["clicks"] == 8
    assert set(metrics["held_out_clicks"]["per_class"]) == {"ground", "car"}
    assert metrics["on_clicks"]["clicks"] == 8
    assert 0 <= metrics["held_out_clicks"]["low"] <= metrics["click_accuracy"] <= 1
    assert 0 <= metrics["agreement"]["pixels"] <= 1
    lines = [json.loads(line) for line in (at / "student/metrics.jsonl").read_text().splitlines()]
    assert any("click_accuracy" in line.get("validation", {}) for line in lines)
    weclick(config, "report", "--results", at, "--output", at / "report.html")
    page = (at / "report.html").read_text(encoding="utf-8")
    for text in ("Student: held-out clicks hit", "<h3>Held-out clicks</h3>", "Student agrees with teacher"):
        assert text in page
    assert "Held-out clicks of walk, frame " in page, "the pictures show clicks where there is no truth"
    assert "Pixels that the truth leaves open" not in page
    assert not re.search(r">\s*nan\b", page, re.IGNORECASE)
    lock = make_lock(at, {}, threads=1)
    assert lock["metrics"]["student"]["click_accuracy"] == metrics["click_accuracy"]
