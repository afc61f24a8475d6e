"""From a phone's videos to a student: what does it cost in minutes?

Two videos of the toy street are drawn as an upright phone would film them (1080p, turned by the display
matrix, with sound). A headless Chromium clicks on the page of `weclick click`, by the labels that the street
knows, one click for each thing that a person would see. Then come `snakemake` and `weclick predict`, as in
the README.

    python benchmarks/afternoon.py --work /tmp/afternoon
    python benchmarks/afternoon.py --work /tmp/afternoon --pictures docs/images

It needs the extras [click], [timm] and [test], and Debian's chromium.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
sys.path.insert(0, str(REPOSITORY / "tests"))

from helpers.browser import Page  # noqa: E402
from helpers.click_server import Server, write_classes  # noqa: E402
from helpers.phone import click_on, next_frame, shown_frame, write_phone_video  # noqa: E402
from weclick.common.load import watched_load  # noqa: E402
from weclick.common.machine import machine, versions  # noqa: E402
from weclick.datasets.toy.draw import CLASSES, PALETTE, render_clip  # noqa: E402
from weclick.manifest.click_log import read_click_log  # noqa: E402

SIZE = (1920, 1080)
FRAMES = 50
LEAST_PX = 6000
"""Smaller things are not clicked on: 0.3 % of the frame."""

FIRST_S, NEXT_S = 2.4, 0.9
"""Seconds of a person for the first click of a class on a frame, and for each further one (Bearman 2016)."""


def main() -> None:
    options = parse()
    root = options.work / "data" / "mine"
    labels = draw(root)
    if options.pictures:
        take_pictures(root, options)
        return
    report: dict[str, Any] = {"videos": len(labels), "frames_each": FRAMES, "size": SIZE}
    with watched_load(2) as load:
        report["clicking"] = click(root, labels, options)
        report["training"] = train(options)
        report["predicting"] = predict(root, options)
    report |= {"load": load, "machine": machine(), "versions": versions("torch", "timm")}
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))


def draw(root: Path) -> list[np.ndarray]:
    """Write the videos and the classes. The labels (T, H, W) of each video, kept for another run."""
    write_classes(root, dict(zip(CLASSES, PALETTE, strict=True)))
    found = []
    for seed, name in enumerate(("home", "school")):
        known = root.parent / f"{name}.npz"
        if not known.exists():
            clip = render_clip(
                seed=seed, split="phone", clip_index=0, height=SIZE[0], width=SIZE[1], frames=FRAMES
            )
            write_phone_video(root / "videos" / f"{name}.mp4", clip.images)
            np.savez_compressed(known, labels=clip.labels)
        found.append(np.load(known)["labels"])
    return found


def click(root: Path, labels: list[np.ndarray], options: argparse.Namespace) -> dict[str, Any]:
    """Click on each frame of the queue; photograph the page on the way."""
    (root / "clicks.jsonl").unlink(missing_ok=True)
    rng = np.random.default_rng(0)
    began = time.perf_counter()
    with (
        Server(root, options.work / "state", "--who", "anna") as server,
        Page(options.work / "profile") as page,
    ):
        page.open(server.address)
        first = shown_frame(page)
        opened_s = time.perf_counter() - began
        seen: set[tuple[int, int]] = set()
        while (at := shown_frame(page)) not in seen:
            seen.add(at)
            for number, y, x in things(labels[at[0]][at[1]], rng):
                page.ask(f"document.querySelectorAll('#classes button')[{number}].click()")
                click_on(page, SIZE, y, x)
            next_frame(page)
        page.wait("document.querySelector('#saved-text').textContent === 'All saved'")
        took_s = time.perf_counter() - began - opened_s
    logged = read_click_log(root / "clicks.jsonl")
    at_first = len({(each.clip, each.frame, each.class_name) for each in logged})
    return {
        "first_frame": first,
        "from_the_command_to_the_first_frame_s": round(opened_s, 1),
        "clicks": len(logged),
        "frames": len(seen),
        "by_the_script_min": round(took_s / 60, 1),
        "a_person_needs_min": round((FIRST_S * at_first + NEXT_S * (len(logged) - at_first)) / 60, 1),
    }


def things(labels: np.ndarray, rng: np.random.Generator) -> list[tuple[int, int, int]]:
    """A place well inside of each thing that is large enough: class, y, x."""
    found = []
    for number in range(len(CLASSES)):
        count, parts, stats, _ = cv2.connectedComponentsWithStats((labels == number).astype(np.uint8))
        large = [part for part in range(1, count) if stats[part, cv2.CC_STAT_AREA] >= LEAST_PX]
        for part in sorted(large, key=lambda part: -stats[part, cv2.CC_STAT_AREA])[:3]:
            inside = np.pad(parts == part, 1).astype(np.uint8)
            depth = cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1]
            places = np.argwhere(depth >= 0.6 * depth.max())
            y, x = places[rng.integers(len(places))]
            found.append((number, int(y), int(x)))
    return found


def take_pictures(root: Path, options: argparse.Namespace) -> None:
    """The page in light and dark, wide and narrow: beside a clicked frame, with ghosts of its clicks."""
    options.pictures.mkdir(parents=True, exist_ok=True)
    with (
        Server(root, options.work / "state", "--who", "anna") as server,
        Page(options.work / "profile") as page,
    ):
        page.open(server.address)
        clicked = next(each for each in read_click_log(root / "clicks.jsonl") if each.clip == "home")
        at = int(clicked.frame) + 1
        page.choose("#at", at, "input")
        page.wait(f"document.querySelector('#stage').dataset.shown === '0/{at}'")
        page.wait("/[0-9]/.test(document.querySelector('#ghosts-text').textContent)", patience_s=120)
        for _ in range(5):
            page.press("g")
        page.press("1")
        for width in (1400, 420):
            page.resize(width, 900, 1 if width > 1000 else 2)
            for dark in (False, True):
                page.dark(dark)
                time.sleep(2)
                picture = cv2.imdecode(np.frombuffer(page.picture(), np.uint8), cv2.IMREAD_COLOR_BGR)
                name = f"click-page-{'dark' if dark else 'light'}-{width}.jpg"
                cv2.imwrite(str(options.pictures / name), picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
        for _ in range(5):
            page.press("z")
        page.wait("document.querySelector('#saved-text').textContent === 'All saved'")


def train(options: argparse.Namespace) -> dict[str, Any]:
    """The workflow as the README calls it, in the folder of work."""
    files = [REPOSITORY / "config" / "videos.yaml"]
    if options.weights:
        weights = {
            "teacher": {"pretrained": str(options.weights / "tf_efficientnet_lite0_imagenet.safetensors")},
            "student": {"pretrained": str(options.weights / "mobilenet_v2_imagenet.safetensors")},
        }
        files.append(options.work / "weights.yaml")
        files[-1].write_text(yaml.safe_dump(weights), encoding="utf-8")
    began = time.perf_counter()
    run(
        options.work,
        *("-m", "snakemake", "--snakefile", REPOSITORY / "Snakefile", "--cores", 2, "all"),
        *("--configfile", *files),
    )
    results = options.work / "results"
    metrics = json.loads((results / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    held_out = {name: metrics["held_out_clicks"][name] for name in ("clicks", "low", "high")}
    return {
        "snakemake_min": round((time.perf_counter() - began) / 60, 1),
        "stages_s": {
            log.relative_to(results / "logs").with_suffix("").as_posix(): ends_after(log)
            for log in sorted((results / "logs").rglob("*.log"))
        },
        "student_hits_of_held_out_clicks": {"share": metrics["click_accuracy"], **held_out},
        "student_agrees_with_teacher": metrics["agreement"],
    }


def ends_after(log: Path) -> str:
    return re.findall(r" ends after (.+)", log.read_text(encoding="utf-8"))[-1]


def predict(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    began = time.perf_counter()
    program = "from weclick.cli import main; main()"
    run(options.work, "-c", program, "predict", root / "videos" / "home.mp4")
    return {"minutes": round((time.perf_counter() - began) / 60, 1), "frames": FRAMES}


def run(folder: Path, *words: object) -> None:
    paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PATH": paths}
    subprocess.run([sys.executable, *map(str, words)], cwd=folder, env=environment, check=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--work", type=Path, required=True, help="folder for videos, store and results")
    add("--weights", type=Path, help="folder of ImageNet weights, where there is no connection")
    add(
        "--pictures",
        type=Path,
        help="only take pictures of the page, once there are clicks, into this folder",
    )
    add("--output", type=Path, default=HERE / "results" / "afternoon.json", help="JSON to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
