"""The README's five lines: a phone's video without masks, clicks on the page, a workflow, a prediction."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from helpers.browser import BROWSER, WHY_NOT, Page
from helpers.click_server import Server, write_classes
from helpers.counted import count_work
from helpers.phone import click_on, next_frame, shown_frame, write_phone_video
from helpers.workflow import Project, make_project
from weclick.clicks import read_clicks
from weclick.common.config import load_configs
from weclick.datasets import build_manifest, open_dataset
from weclick.datasets.frames import pack_frames
from weclick.flow import compute_flow
from weclick.manifest import Manifest
from weclick.manifest.click_log import read_click_log
from weclick.manifest.manifest_file import read_manifest
from weclick.runs.wanted import Wanted
from weclick.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason=WHY_NOT)]

SIZE = H, W = 1920, 1080
FRAMES = 75
COLORS = {"ground": (70, 92, 80), "red": (214, 40, 40), "blue": (40, 80, 220), "yellow": (236, 200, 40)}
GROUND, RED, BLUE, YELLOW = range(4)
SHRINK = 4
"""As config/videos.yaml has it."""

SMALL = {
    "backbone": "mobilenetv2_compact",
    "pretrained": None,
    "channels": 16,
    "batch_norm": "train",
    "steps": 240,
    "batch_size": 3,
    "crop": [160, 160],
    "learning_rate": 4.0e-3,
}
"""A network that two cores train in two minutes; half of the steps hit only 9 to 12 of 15 held-out clicks."""


def places(t: int) -> list[tuple[int, int, int]]:
    """Where things are on frame t, and two places on the ground: class, y, x."""
    moving = (RED, 400 + 4 * t, 250 + 5 * t), (BLUE, 1000, 850 - 6 * t), (YELLOW, 1500 - 4 * t, 300 + 4 * t)
    return [*moving, (GROUND, 720 + t, 950), (GROUND, 1250 + t, 900)]


def picture(t: int) -> np.ndarray:
    """A box, a disc and a diamond move over a rough ground."""
    rough = np.random.default_rng(0).integers(-18, 18, (H // 8, W // 8, 1), np.int16)
    image = np.clip(np.array(COLORS["ground"]) + rough, 0, 255).astype(np.uint8)
    image = cv2.resize(image, (W, H), interpolation=cv2.INTER_CUBIC)
    (_, y, x), blue, (_, v, u) = places(t)[:3]
    cv2.rectangle(image, (x - 120, y - 90), (x + 120, y + 90), COLORS["red"], -1)
    cv2.circle(image, (blue[2], blue[1]), 130, COLORS["blue"], -1)
    diamond = np.array([(u, v - 150), (u + 150, v), (u, v + 150), (u - 150, v)])
    cv2.fillPoly(image, [diamond], COLORS["yellow"])
    return image


def readme_lines(repository: Path) -> list[str]:
    """The commands below "Your own videos", without what is said beside them."""
    text = (repository / "README.md").read_text(encoding="utf-8").split("## Your own videos", 1)[1]
    block = text.split("\n\n", 1)[1].split("\n\n", 1)[0]
    return [line.partition("#")[0].strip() for line in block.splitlines()]


@dataclass
class Desk:
    """Where a person sits: the project, and the browser."""

    project: Project
    page: Page
    state: Path

    @property
    def mine(self) -> Path:
        return self.project.root / "data" / "mine"

    def shell(self, line: str, **variables: str) -> None:
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.project.root,
            env=self.project.environment | variables,
            text=True,
            capture_output=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def click(self, rounds: int) -> list[tuple[str, str, int, int]]:
        """Click on so many frames of the queue: what was meant, as frame, class, y, x."""
        meant = []
        with Server(self.mine, self.state, "--who", "anna") as server:
            self.page.open(server.address)
            for _ in range(rounds):
                _, frame = shown_frame(self.page)
                meant += self.click_here(places(frame))
                next_frame(self.page)
            self.saved()
        return meant

    def click_here(self, chosen: list[tuple[int, int, int]]) -> list[tuple[str, str, int, int]]:
        _, frame = shown_frame(self.page)
        for number, y, x in chosen:
            self.page.press(str(number + 1))
            click_on(self.page, SIZE, y, x)
        return [(f"{frame:05d}", [*COLORS][number], y, x) for number, y, x in chosen]

    def saved(self) -> None:
        self.page.wait("document.querySelector('#saved-text').textContent === 'All saved'")

    def manifest(self, split: str = "train") -> Manifest:
        return read_manifest(self.project.root / "results" / "manifest" / split / "0.json")


@pytest.fixture
def desk(tmp_path, repository, tiny_config):
    pytest.importorskip("starlette", reason="the page needs the extra [click]")
    pytest.importorskip("uvicorn", reason="the page needs the extra [click]")
    project = make_project(tmp_path / "project", repository, tiny_config)
    (project.root / "config" / "small.yaml").write_text(yaml.safe_dump({"teacher": SMALL, "student": SMALL}))
    write_phone_video(project.root / "park.mp4", map(picture, range(FRAMES)))
    write_classes(tmp_path, COLORS)
    with Page(tmp_path / "profile") as page:
        yield Desk(project, page, tmp_path / "state")


def test_from_a_phones_video_to_a_student_in_five_lines(desk, tmp_path, repository, monkeypatch):
    install, copy, click, train, predict = readme_lines(repository)
    assert install.startswith("python -m pip install -e '.[click")
    desk.shell(copy, EDITOR=f"cp {tmp_path / 'classes.yaml'}")
    assert click == "weclick click --root data/mine"
    meant = desk.click(12)
    log = read_click_log(desk.mine / "clicks.jsonl")
    assert len(log) == len(meant) == 60
    for each, (frame, name, y, x) in zip(log, meant, strict=True):
        assert (each.clip, each.frame, each.class_name) == ("park", frame, name)
        assert (each.source, each.who) == ("human", "anna")
        assert max(abs(each.y - y), abs(each.x - x)) <= 4, "a pixel of the screen shows three of the frame"

    train = train.replace("--cores 8", "--cores 2") + " config/small.yaml"
    desk.shell(train)
    check_results(desk)
    check_pixels(desk, {(each.frame, each.y, each.x): each.class_name for each in log})
    (desk.project.root / "park.mp4").rename(desk.project.root / "new.mp4")
    desk.shell(predict)
    check_prediction(desk.project.root / "predictions")

    before = desk.manifest()
    with Server(desk.mine, desk.state, "--who", "anna") as server:
        desk.page.open(server.address)
        desk.page.choose("#at", int(log[0].frame), "input")
        desk.page.wait(f"document.querySelector('#stage').dataset.shown === '0/{int(log[0].frame)}'")
        desk.click_here([(GROUND, 300, 60), (GROUND, 1200, 60)])
        desk.page.press(",")
        desk.page.wait(f"document.querySelector('#stage').dataset.shown === '0/{int(log[0].frame) - 1}'")
        desk.click_here(places(int(log[0].frame) - 1)[:3])
        desk.saved()
    assert len(read_click_log(desk.mine / "clicks.jsonl")) == 65
    monkeypatch.chdir(desk.project.root)
    check_only_new_work(desk, before, count_work(monkeypatch))
    desk.shell(train)
    check_results(desk)


def check_results(desk: Desk) -> None:
    results = desk.project.root / "results"
    metrics = json.loads((results / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["miou"] is None, "there is no mask"
    assert metrics["held_out_clicks"]["clicks"] >= 10
    assert metrics["click_accuracy"] >= 0.7, "to say ground everywhere hits two of five"
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "Student: held-out clicks hit" in page


def check_pixels(desk: Desk, logged: dict[tuple[str, int, int], str]) -> None:
    """What training reads at each click has the colour of what was clicked on; the file lies turned."""
    table, clip = read_clicks(desk.project.root / "results" / "clicks" / "train.h5"), desk.manifest().clips[0]
    assert clip.size == (H // SHRINK, W // SHRINK)
    expected = {(f, y // SHRINK, x // SHRINK, name) for (f, y, x), name in logged.items()}
    index = json.loads((desk.project.root / "results" / "frames" / "train" / "0.json").read_text())
    rgb = Store([desk.project.root / "store"]).get("frames", index["entries"]["park"]).array("rgb")
    count = 0
    for t in clip.targets:
        frame, image = clip.frames[t].name, np.asarray(rgb[t])
        for y, x, class_id, _ in table.of("park", frame).tolist():
            name = table.classes[class_id]
            assert (frame, y, x, name) in expected
            assert np.abs(image[y, x].astype(int) - COLORS[name]).max() < 30
            count += 1
    assert count == 45, "the clicks on every fifth frame are scored"


def check_prediction(folder: Path) -> None:
    masks = sorted(folder.rglob("*.png"))
    assert len(masks) == FRAMES
    ids = cv2.imread(str(masks[30]), cv2.IMREAD_UNCHANGED)
    assert ids.shape[:2] == SIZE
    assert list(folder.rglob("*.mp4"))


def check_only_new_work(desk: Desk, before: Manifest, counts: dict[str, int]) -> None:
    """Nothing is packed again that was packed, and no pair estimated again that was known."""
    config = load_configs(["config/videos.yaml", "config/small.yaml"], {})
    wanted = Wanted(config)
    dataset = open_dataset(config["data"], config["clicks"]["mix"])
    now = build_manifest(dataset, "train", 0, 1, reach_frames=wanted.reach_frames)
    store = Store([desk.project.root / "store"])
    pack_frames(now, store=store, **config["frames"])
    compute_flow(now, wanted.pairs, options=config["flow"], store=store)
    frames = [{frame.digest for frame in each.clips[0].frames} for each in (before, now)]
    pairs = [digests_of_pairs(each, wanted) for each in (before, now)]
    assert len(frames[1]) >= len(frames[0]) > 50
    assert len(pairs[1]) > len(pairs[0]), "the frame before the first one has pairs of its own"
    assert counts["frames"] == len(frames[1] - frames[0])
    assert counts["flows"] == len(pairs[1] - pairs[0])


def digests_of_pairs(manifest: Manifest, wanted: Wanted) -> set[tuple[str, str]]:
    clip = manifest.clips[0]
    return {(clip.frames[a].digest, clip.frames[b].digest) for a, b in wanted.pairs(clip)}
