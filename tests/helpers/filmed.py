"""Small films of a car that moves over dark ground, and clicks on them."""

import uuid
from fractions import Fraction
from pathlib import Path

import numpy as np

from weclick.manifest.click_log import append_events
from weclick.manifest.video import video_writer

SIZE = 48, 64


def film(path: Path, seed: int) -> None:
    """A bright car moves over dark ground."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    with video_writer(path, Fraction(25)) as write:
        for t in range(12):
            frame = rng.integers(0, 40, (*SIZE, 3), np.uint8)
            frame[16:32, 2 * t + 4 : 2 * t + 24] = 220
            write(frame)


def click(root: Path, clip: str, frames) -> None:
    """One click on the car and one on the ground."""
    places = [(t, y, x, name) for t in frames for y, x, name in ((24, 2 * t + 14, "car"), (4, 4, "ground"))]
    events = [
        {
            "id": str(uuid.uuid4()),
            "time": "2026-11-28T10:00:00Z",
            "clip": clip,
            "frame": f"{t:05d}",
            "y": y,
            "x": x,
            "class": name,
            "source": "human",
            "who": "anna",
            "tool": "test",
        }
        for t, y, x, name in places
    ]
    append_events(root / "clicks.jsonl", events)
