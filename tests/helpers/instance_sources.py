"""What the sources of instances need: options, painted clips, and relations that are true."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import max_pool2d

from helpers.cam_entries import DOG, SWAN, clip_of, manifest_of
from weclick.common.digest import file_digest
from weclick.manifest import Manifest
from weclick.proxy_labels.relations import Related
from weclick.store.model_file import model_bytes

SCENE = (64, 96)
COLORS = ((90, 110, 90), (200, 60, 50), (220, 170, 60), (230, 230, 240))
OBJECTS = ((1, DOG), (2, DOG), (3, SWAN))
"""The value of each object in `truth_of`, and its class."""

STILL = {"motion": "none", "factor": 2.0, "percentile": 80}


def options(**changes: Any) -> dict[str, Any]:
    """The section `instances`."""
    told = {"background": 0.25, "weak_px": 2.5, "min_share": 0.01, "normalise": "image", "min_score": 1e-5}
    return {**told, "radius": 5, "beta": 10, "exp_times": 8, **changes}


def truth_of(position: int) -> np.ndarray:
    """(H, W) the objects of a frame: two dogs side by side and a swan, which move; 0 is background."""
    found = np.zeros(SCENE, np.int64)
    left = 4 * position
    found[8:36, 8 + left : 32 + left] = 1
    found[8:36, 32 + left : 56 + left] = 2
    found[44:60, 28 : 64 - left] = 3
    return found


def painted(root: Path, frames: int = 3) -> Manifest:
    """A manifest of one clip `park` whose frames are painted into a folder."""
    clip, rng, listed = clip_of(frames), np.random.default_rng(0), []
    for position, frame in enumerate(clip.frames):
        noisy = np.array(COLORS)[truth_of(position)] + rng.normal(0, 6, (*SCENE, 3))
        path = root / frame.image
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path)
        listed.append(dataclasses.replace(frame, digest=file_digest(path)))
    size = {"height_px": SCENE[0], "width_px": SCENE[1]}
    return manifest_of(dataclasses.replace(clip, frames=tuple(listed), **size), root=str(root))


class TrueRelations:
    """Tells the true edges and displacements of known frames, in the place of a trained network.

    Args:
        frames: an image (H, W, 3), and the number (H, W) of what each of its pixels shows.
        things: numbers whose cells have a way to their centre.
    """

    sha256 = "7" * 64

    def __init__(self, frames: Iterable[tuple[np.ndarray, np.ndarray]], things: Iterable[int]):
        self._known = {image.tobytes(): numbers for image, numbers in frames}
        self._things = [*things]

    def of(self, image: np.ndarray) -> Related:
        numbers = self._known[image.tobytes()]
        cells = numbers[2::4, 2::4]
        at = np.indices(cells.shape).astype(np.float32)
        largest = max_pool2d(torch.from_numpy(cells).float()[None], 3, stride=1, padding=1)[0].numpy()
        edge = np.where(largest > cells, 0.7, 0.02)  # beside something of a larger number
        moved = np.zeros_like(at)
        for thing in self._things:
            inside = cells == thing
            if inside.any():
                moved[:, inside] = at[:, inside].mean(1, keepdims=True) - at[:, inside]
        return Related(torch.from_numpy(edge).float(), torch.from_numpy(moved))


def knowing(source: Any, relations: Any) -> Any:
    """A source that asks these relations instead of those of its file."""
    source.__dict__["_relations"] = relations
    return source


def saved(network: torch.nn.Module, manifest: Manifest, folder: Path) -> Path:
    """The file of a network."""
    path = folder / "model.safetensors"
    path.write_bytes(model_bytes(network, manifest.classes))
    return path


def ious(masks: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N, M) IoU of masks (N, H, W) and (M, H, W)."""
    flat, other = (each.reshape(len(each), -1).astype(int) for each in (masks, others))
    common = flat @ other.T
    return common / np.maximum(flat.sum(1)[:, None] + other.sum(1) - common, 1)
