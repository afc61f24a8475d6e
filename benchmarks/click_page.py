"""How fast is the page of `weclick click`, and does every press hit the pixel that is seen?

A headless Chromium clicks on the page of a server of its own. Times are taken in the page, from the time
stamp of the press or key until the browser has painted the picture.

    python benchmarks/click_page.py

About four minutes on two quiet cores. It needs the extras [click] and [test], and Debian's chromium.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from helpers.browser import BROWSER, WHY_NOT, Page  # noqa: E402
from helpers.click_server import Server, moving, write_classes, write_images, write_video  # noqa: E402
from helpers.pixel_code import places_to_press, seen_pixels, write_code  # noqa: E402
from weclick.common.load import watched_load  # noqa: E402
from weclick.common.machine import machine, versions  # noqa: E402
from weclick.manifest.click_log import append_events, read_click_log  # noqa: E402

FRAME = (1024, 2048)
VIDEO = (1080, 1920)
KEY_EVERY = 250
STEP_S, STEPS = 0.25, 39


def main() -> None:
    options = parse()
    if BROWSER is None:
        raise SystemExit(WHY_NOT)
    report = json.loads(options.output.read_text()) if options.output.exists() else {}
    for part in options.parts:
        with tempfile.TemporaryDirectory(prefix="click-page-") as folder, watched_load(2) as load:
            found = PARTS[part](Path(folder), options)
        report[part] = {"load": load, **found}
    report["machine"] = machine()
    report["versions"] = versions("starlette", "uvicorn", "av", "opencv-python-headless")
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


def on_frames(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Clicks on a large frame, without and with 5,000 points on it; steps through the clip."""
    count, took = options.clicks, {}
    write_classes(root)
    write_images(root / "frames" / "city", moving(40, *FRAME))
    with Server(root, root / "state", "--per-clip", "2") as server, new_page(root) as page:
        open_page(page, server)
        for points in (0, 5000):
            if points:
                append_events(root / "clicks.jsonl", [point(i) for i in range(points)])
                page.wait(f"document.querySelector('#total').textContent === '{count + points:,}'")
                time.sleep(1)
            took[f"click to drawn, {points} points on the frame"] = clicks(page, count)
        go_to(page, 0)
        time.sleep(2)
        page.ask("performance.clearMeasures()")
        for _ in range(STEPS):
            began = time.perf_counter()
            page.press(".")
            time.sleep(max(0, STEP_S - (time.perf_counter() - began)))
        time.sleep(1)
        found = measured(page, "frame")
        # a frame that comes after the next key is not shown, and has no time
        found["not_shown"] = STEPS - found["count"]
        took[f"next frame of {FRAME[0]}x{FRAME[1]} px at {1 / STEP_S:.0f} a second"] = found
    return {"milliseconds": took}


def on_videos(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The first view of queued frames of Full HD videos, and of frames that nobody expected."""
    count, took = options.views, {}
    write_classes(root)
    for name in ("one", "two"):
        write_video(root / "videos" / f"{name}.mp4", KEY_EVERY, *VIDEO, key_every=KEY_EVERY)
    with Server(root, root / "state", "--per-clip", str(count)) as server, new_page(root) as page:
        open_page(page, server)
        time.sleep(20)  # while the first frame is looked at, the queue is decoded ahead
        page.ask("performance.clearMeasures()")
        for _ in range(2 * count - 1):
            page.click(500, 400)  # a frame with a click is not asked for again
            page.press(" ")
            time.sleep(0.7)
        took[f"first view of a queued frame of a 1080p video, a key frame every {KEY_EVERY}"] = measured(
            page, "frame"
        )
        page.ask("performance.clearMeasures()")
        rng = np.random.default_rng(0)
        for index in rng.permutation(KEY_EVERY)[:6]:
            go_to(page, int(index))
        took["first view of any frame of it"] = measured(page, "frame")
    return {"milliseconds": took}


def on_pixels(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Presses at three ratios and three zooms, held against what a screenshot shows."""
    write_classes(root)
    write_code(root / "frames" / "code")
    rng, made, wrong = np.random.default_rng(0), 0, []
    with Server(root, root / "state") as server, new_page(root) as page:
        for ratio in (1, 2, 3):
            page.resize(*((900, 500) if ratio < 3 else (640, 460)), ratio)  # fewer pixels to photograph
            open_page(page, server)
            for zoom in ("", "+++", "++++++"):
                go_to(page, 0)
                for key in f"0{zoom}":
                    page.press(key)
                presses = places_to_press(page, *seen_pixels(page, 0), -(-options.presses // 9), rng)
                for sy, sx, _, _ in presses:
                    page.click((sx + 0.5) / ratio, (sy + 0.5) / ratio)
                found = [(each.y, each.x) for each in logged(root, len(presses))]
                expected = [(y, x) for *_, y, x in presses]
                made += len(presses)
                if found != expected:
                    wrong.append({"ratio": ratio, "zoom": zoom, "pressed": expected, "clicked": found})
                for _ in presses:  # the next presses may fall on the same pixels
                    page.press("z")
                logged(root, 0)
        foreign = sum(not each.startswith((f"http://{server.host}/", "about:")) for each in page.requests)
    missed = sum(len({*each["pressed"]} - {*each["clicked"]}) for each in wrong)
    return {"presses": made, "on_a_wrong_pixel": missed, "wrong": wrong, "requests_beyond_127.0.0.1": foreign}


PARTS = {"frames": on_frames, "videos": on_videos, "pixels": on_pixels}


def logged(root: Path, count: int) -> tuple[Any, ...]:
    """The clicks that count, once there are so many; after ten seconds those that there are."""
    end, found = time.monotonic() + 10, ()
    while time.monotonic() < end:
        found = read_click_log(root / "clicks.jsonl") if (root / "clicks.jsonl").exists() else ()
        if len(found) == count:
            break
        time.sleep(0.05)
    return found


def new_page(root: Path) -> Page:
    return Page(root / "profile")


def open_page(page: Page, server: Server) -> None:
    page.open(server.address)
    page.wait("document.querySelector('#stage').dataset.shown")
    time.sleep(1)


def go_to(page: Page, frame: int) -> None:
    page.choose("#at", frame, "input")
    page.wait(f"document.querySelector('#stage').dataset.shown.endsWith('/{frame}')")


def point(i: int) -> dict[str, Any]:
    """One of 5,000 places of a grid on the frame that is looked at, the middle one of 40."""
    where = {"y": 5 + 20 * (i // 100), "x": 5 + 20 * (i % 100)}
    told = {"time": "2026-01-01T00:00:00Z", "source": "human", "who": "ben", "tool": "benchmark"}
    return {"id": str(uuid4()), "clip": "city", "frame": "00030", "class": "road", **where, **told}


def clicks(page: Page, count: int) -> dict[str, Any]:
    go_to(page, 30)
    time.sleep(2)
    page.ask("performance.clearMeasures()")
    rng = np.random.default_rng(int(page.ask("document.querySelector('#total').textContent.length")))
    for y, x in rng.uniform((200, 60), (640, 960), (count, 2)):
        page.click(x, y)
        time.sleep(0.1)
    return measured(page, "click")


def measured(page: Page, name: str) -> dict[str, Any]:
    took = page.ask(f"performance.getEntriesByName('{name}').map((each) => each.duration)")
    order = np.percentile(took, [50, 95, 100]).round(1).tolist()
    return {"count": len(took), **dict(zip(("median", "p95", "max"), order, strict=True))}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--parts",
        nargs="+",
        choices=PARTS,
        default=list(PARTS),
        help="the others' figures stay (default all)",
    )
    add("--clicks", type=int, default=100, help="with 0 and with 5,000 points (default 100)")
    add("--views", type=int, default=12, help="queued frames of each of two videos (default 12)")
    add("--presses", type=int, default=300, help="at three ratios and three zooms (default 300)")
    add("--output", type=Path, default=HERE / "results" / "click_page.json", help="JSON to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
