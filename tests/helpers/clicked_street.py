"""A folder data set that people clicked on: ground below, sky above, a car in between; some clicks wrong."""

import uuid
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from weclick.manifest.click_log import append_events

SIZE = 48, 64
COLORS = ((40, 40, 60), (90, 140, 220), (220, 60, 40))
NAMES = ("ground", "sky", "car")
CLIPS, FRAMES = 6, 4


def make_street(root: Path) -> dict[str, Any]:
    """frames/, classes.yaml and clicks.jsonl; and the section `data` for it. Clip `clip 5` is held out.

    Anna clicks on every frame, Ben on every second one, and one of his clicks in twelve is wrong.
    """
    rng = np.random.default_rng(0)
    root.mkdir(parents=True, exist_ok=True)
    lines = [f"  - {{name: {name}, color: {list(color)}}}" for name, color in zip(NAMES, COLORS, strict=True)]
    (root / "classes.yaml").write_text("\n".join(["classes:", *lines, ""]), encoding="utf-8")
    events: list[dict[str, Any]] = []
    for clip in range(CLIPS):
        for t in range(FRAMES):
            ids = np.zeros(SIZE, np.uint8)
            ids[:20] = 1
            ids[16:32, 8 * t + 4 : 8 * t + 28] = 2
            noise = rng.normal(0, 12, (*SIZE, 3))
            pixels = np.clip(np.array(COLORS)[ids] + noise, 0, 255).astype(np.uint8)
            path = root / "frames" / f"clip {clip}" / f"{t:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
            free = np.ones(SIZE, bool)
            for who in ("anna", "ben")[: 1 + (t % 2 == 0)]:
                for class_id in range(len(NAMES)):
                    y, x = rng.choice(np.argwhere((ids == class_id) & free)).tolist()
                    free[max(y - 7, 0) : y + 8, max(x - 7, 0) : x + 8] = False  # no near doubles
                    is_wrong = who == "ben" and len(events) % 12 == 5
                    told = (class_id + is_wrong) % len(NAMES)
                    events.append(_event(len(events), f"clip {clip}", t, y, x, NAMES[told], who))
    append_events(root / "clicks.jsonl", events)
    return {"name": "folder", "root": str(root), "val_clips": ["clip 5"]}


def _event(number: int, clip: str, t: int, y: int, x: int, name: str, who: str) -> dict[str, Any]:
    return {
        "id": str(uuid.UUID(int=number + 1)),
        "time": f"2026-11-28T10:{number // 20:02d}:{3 * (number % 20):02d}Z",
        "clip": clip,
        "frame": f"{t:05d}",
        "y": y,
        "x": x,
        "class": name,
        "source": "human",
        "who": who,
        "tool": "weclick click 0.1.0",
    }
