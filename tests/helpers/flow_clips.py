"""Clips that move by whole pixels, options of the flow stage for them, and a constant estimator."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from weclick.common.config import load_config
from weclick.flow import stage
from weclick.manifest import Classes, Clip, Frame, Manifest
from weclick.store import file_digest

SIZE = (62, 98)


STEP_PX = (4, 2)
"""The motion (dx, dy) of the whole image from one frame to the next."""


def write_clip(root: Path, name: str, *, seed: int, frames: int = 4) -> Clip:
    noise = np.random.default_rng(seed).normal(size=(SIZE[0] + 40, SIZE[1] + 40, 3))
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.5)
    texture = np.clip(128 + 40 * smooth / smooth.std(), 0, 255).astype(np.uint8)
    listed = []
    for t in range(frames):
        top, left = 20 - t * STEP_PX[1], 20 - t * STEP_PX[0]
        path = root / name / f"{t:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(texture[top : top + SIZE[0], left : left + SIZE[1]]).save(path)
        listed.append(Frame(path.stem, t, f"{name}/{path.name}", digest=file_digest(path)))
    return Clip(name, tuple(listed), targets=(2,), height_px=SIZE[0], width_px=SIZE[1])


def manifest_of(root: Path, *clips: Clip) -> Manifest:
    return Manifest("made_up", str(root), "train", 0, 1, Classes(("thing",), ((0, 0, 0),)), clips)


def pairs_of(clip: Clip) -> tuple[tuple[int, int], ...]:
    """First forward, then backward pairs. Frames are decoded in another order."""
    return tuple((t, other) for t in clip.targets for other in (t + 1, t - 1, t - 2))


def options(**changes) -> dict:
    section = load_config("{}")["flow"]
    return {**section, "masks": ["forward_backward", "photometric"], "batch_pairs": 2, **changes}


class Constant:
    """An estimator that always finds the same flow."""

    name, licence = "constant", None

    def __init__(self, dx: float):
        self.dx, self.digest = dx, {"name": "constant", "dx": str(dx)}

    def estimate(self, target, neighbour):
        flow = torch.zeros((len(target), 2, *target.shape[2:]))
        flow[:, 0] = self.dx
        return flow


def use(monkeypatch, estimator) -> None:
    monkeypatch.setattr(stage, "build_estimator", lambda name, **_: estimator)
    monkeypatch.setattr(stage, "estimator_digest", lambda name, **_: estimator.digest)
