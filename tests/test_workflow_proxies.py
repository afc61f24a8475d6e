"""Methods beside WeClick, from the first stage to the page: F2F from tags, SAM 2 from clicks on videos."""

import contextlib
import json
import os
import random
import signal
import subprocess
import time

import pytest

from helpers.filmed import click, film
from helpers.tiny_sam2 import write_tiny_sam2
from helpers.workflow import make_project

CLASSIFIER = {
    "backbone": "mobilenetv2_compact",
    "pretrained": None,
    "freeze": False,
    "steps": 4,
    "batch_size": 2,
    "crop": [48, 64],
}


@pytest.fixture(scope="module")
def project(tmp_path_factory, repository, tiny_config):
    config = {
        **tiny_config,
        "method": "f2f",
        "serves": ["weclick", "f2f"],
        "classifier": CLASSIFIER,
        "cams": {"scales": [1.0], "flip": False},
        "proxy_labels": {"frames": 2, "filter": False, "runs_per_clip": None, "threshold": 0.4},
    }
    made = make_project(tmp_path_factory.mktemp("f2f"), repository, config)
    made.snakemake("all")
    return made


def test_tags_make_a_student_and_a_page(project):
    results = project.root / "results"
    card = json.loads((results / "student" / "model.json").read_text(encoding="utf-8"))
    assert card["role"] == "student"
    assert not (results / "teacher").exists()
    kinds = {kind for kind, keys in project.entries().items() if keys}
    assert kinds == {"frames", "flow", "cams", "proxy_labels", "models"}
    page = (results / "report.html").read_text(encoding="utf-8")
    for heading in ("Tags", "Class activation maps", "Proxy labels"):
        assert heading in page
    lock = json.loads((results / "run.lock.json").read_text(encoding="utf-8"))
    assert {"classifier", "student"} == lock["models"].keys()
    assert project.jobs() == set()


def test_another_method_packs_and_estimates_nothing_again(project):
    jobs = project.jobs("method=weclick")
    assert not jobs & {"manifest_shard", "frames_shard", "flow_shard", "clicks"}
    assert {"teacher", "soft_labels_shard", "student"} <= jobs


@pytest.mark.parametrize("change", ["{frames: 1}", "{threshold: 0.5}"])
def test_a_change_of_the_joining_reruns_the_labels_and_what_learns_from_them(project, change):
    section = {"frames": 2, "filter": False, "runs_per_clip": None, "threshold": 0.4}
    name, _, value = change.strip("{}").partition(": ")
    section[name] = float(value) if "." in value else int(value)
    jobs = project.jobs(f"proxy_labels={json.dumps(section)}")
    assert jobs == {"proxy_labels_shard", "student", "evaluate", "report", "lock", "all"}


@pytest.fixture
def clicked_video(tmp_path, repository, tiny_config):
    """A project whose videos have clicks, and whose labels SAM 2 makes with random weights."""
    pytest.importorskip("transformers", reason="needs weclick[sam2]")
    root = tmp_path / "mine"
    for number, clip in enumerate(("drive", "walk")):
        film(root / "videos" / f"{clip}.mp4", number)
        click(root, clip, (1, 4, 7, 10))
    classes = "classes: [{name: ground, color: [0, 0, 0]}, {name: car, color: [9, 9, 200]}]"
    (root / "classes.yaml").write_text(classes)
    model = write_tiny_sam2(tmp_path / "sam2")
    config = {
        **tiny_config,
        "data": {"name": "folder", "root": str(root), "val_clips": ["walk"]},
        "supervision": "proxies",
        "proxy_labels": {"source": "sam2", "sam2": {"model": str(model), "every": 3}},
        "kd": {"weight": 0},
        "mfd": {"weight": 0},
        "student": {**tiny_config["student"], "steps": 6, "crop": [48, 64]},
    }
    return lambda name: make_project(tmp_path / name, repository, config)


@pytest.mark.slow
def test_sam_2_leads_from_clicks_to_a_student_also_when_killed(clicked_video):
    whole, killed = clicked_video("whole"), clicked_video("killed")
    whole.snakemake("student")
    rng = random.Random(0)
    for _ in range(4):
        command = killed.command("student", "--rerun-incomplete", "--nolock")
        with subprocess.Popen(
            command,
            cwd=killed.root,
            env=killed.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as run:
            time.sleep(rng.uniform(3, 25))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
    killed.snakemake("student", "--rerun-incomplete", "--nolock")
    assert killed.entries()["proxy_labels"] == whole.entries()["proxy_labels"] != set()
    cards = [
        json.loads((each.root / "results/student/model.json").read_text(encoding="utf-8"))
        for each in (whole, killed)
    ]
    assert cards[0]["key"] == cards[1]["key"]
