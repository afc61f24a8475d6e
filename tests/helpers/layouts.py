"""Tiny trees of data sets: images, masks and lists, and what the checks of such a tree say."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from weclick.common.config import complete_config
from weclick.datasets import build_manifest, open_dataset
from weclick.manifest import Manifest
from weclick.manifest.read import read_label
from weclick.runs.doctor.data import check_data

SIZE = (32, 48)
PALETTE = [channel for i in range(256) for channel in (i, 255 - i, i)]


def write_frame(path: Path, seed: int, size: tuple[int, int] = SIZE) -> Path:
    """An image whose content depends on the seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(path)
    return path


def write_mask(path: Path, mask: np.ndarray, *, palette: bool = False) -> Path:
    """A mask (H, W) uint8 as a grey file, or with a palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(mask)
    if palette:
        image.putpalette(PALETTE)
    image.save(path)
    return path


def write_list(path: Path, lines: Iterable[str]) -> Path:
    """A list of one line each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def boxes(*values: int, background: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A mask with a square of 8x8 px of each value, side by side."""
    mask = np.full(size, background, np.uint8)
    for i, value in enumerate(values):
        mask[4:12, 12 * i + 2 : 12 * i + 10] = value
    return mask


def manifest_of(name: str, root: Path, split: str, **data: Any) -> Manifest:
    """The whole split."""
    return build_manifest(open_dataset({"name": name, "root": root, **data}), split, 0, 1, reach_frames=1)


def classes_in(manifest: Manifest) -> dict[tuple[str, str], set[int]]:
    """(clip, frame) -> the class ids in its label."""
    return {
        (clip.id, frame.name): set(read_label(manifest, frame).ravel().tolist())
        for clip in manifest.clips
        for frame in clip.frames
        if frame.label
    }


def told_by_doctor(name: str, root: Path, **data: Any) -> list[tuple[str, str, str]]:
    """Level, thing and words of what the checks find, without what is well."""
    config = complete_config({"data": {"name": name, "root": str(root), **data}})
    return [(f.level, f.what, f.found) for f in check_data(config) if f.level != "ok"]
