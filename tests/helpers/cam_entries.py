"""Clips whose maps, scores and flow are written by hand, for the stage proxy_labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from weclick.geometry import grid_size
from weclick.manifest import Classes, Clip, Frame, Manifest
from weclick.manifest.needs import step as step_pairs
from weclick.proxy_labels.cams import quantised
from weclick.store import Store, entry_key
from weclick.store.flow_entries import CODEC, allocate_flow, write_flow

SIZE = (32, 48)
GRID = grid_size(SIZE, 4)
NAMES = ("background", "dog", "swan")
DOG, SWAN = 1, 2


def clip_of(frames: int = 6, name: str = "park", **more) -> Clip:
    listed = tuple(
        Frame(f"{t:05}", t, f"{name}/{t:05}.png", digest=f"{hash_of(name)}{t:032x}") for t in range(frames)
    )
    return Clip(name, listed, targets=(0,), height_px=SIZE[0], width_px=SIZE[1], **more)


def hash_of(name: str) -> str:
    return "".join(f"{ord(letter) % 16:x}" for letter in name).ljust(32, "0")[:32]


def manifest_of(*clips: Clip, names: Sequence[str] = NAMES, root: str = ".") -> Manifest:
    palette = tuple((k, k, k) for k in range(len(names)))
    return Manifest("made_up", root, "train", 0, 1, Classes(tuple(names), palette), clips)


def cell(row: int, column: int, rows: int = 2, columns: int = 1) -> np.ndarray:
    """A map of 1 in a block of cells, 0 elsewhere."""
    found = np.zeros(GRID, np.float32)
    found[row : row + rows, column : column + columns] = 1
    return found


def write_cams(
    store: Store,
    clip: Clip,
    maps: Mapping[int, Sequence[np.ndarray]],
    scores: np.ndarray | None = None,
    names: Sequence[str] = NAMES,
    made_by: str = "0" * 64,
) -> str:
    """The entry of a clip; class id -> the map of each frame, at least 0. Gives its key."""
    ids, frames = sorted(maps), len(clip.frames)
    inputs = {
        "format": 1,
        "frames": [frame.digest for frame in clip.frames],
        "tags": ids,
        "classifier_sha256": made_by,
    }
    if scores is None:
        scores = np.zeros((frames, len(names)), np.float32)
        scores[:, ids] = 0.95
    if store.find("cams", entry_key("cams", inputs)):
        return entry_key("cams", inputs)
    with store.create("cams", inputs) as entry:
        shape = (frames, len(ids), *grid_size(clip.size, 4))
        shapes = {"maps": shape, "peaks": shape[:2], "scores": (frames, len(names))}
        axes = {"maps": "TCHW", "peaks": "TC", "scores": "TK"}
        arrays = {
            name: entry.create_array(
                name,
                shape=shape,
                chunks=(1, *shape[1:]),
                dtype="uint8" if name == "maps" else "float32",
                axes=axes[name],
            )
            for name, shape in shapes.items()
        }
        for t in range(frames):
            stacked = torch.from_numpy(np.stack([np.float32(maps[k][t]) for k in ids]))
            arrays["maps"][t], arrays["peaks"][t] = quantised(stacked)
            arrays["scores"][t] = scores[t]
        entry.attributes.update(
            {
                "frames": [frame.name for frame in clip.frames],
                "class_ids": ids,
                "classes": list(names),
                "image_size": list(clip.size),
                "stride_px": 4,
                "scales": [1.0],
                "flip": False,
                "merge": "maximum",
                "classifier_sha256": made_by,
                "axes": "TCHW",
            }
        )
    return entry_key("cams", inputs)


def write_chain(
    store: Store,
    clip: Clip,
    step: tuple[float, float] = (-1, 0),
    *,
    gap: int = 1,
    both: bool = False,
    masks: Mapping[str, dict] | None = None,
    valid: np.ndarray | None = None,
    stride_px: int = 4,
) -> str:
    """The flow of a clip whose content moves by one (dx, dy) from each frame to the one before it.

    Args:
        step: px of the stride grid, from a frame to the one `gap` before it.
        both: also the way back.
        masks, valid: bits (h, w) of the masks of all pairs.
    """
    back = [(t, t - gap) for t in range(gap, len(clip.frames))]
    pairs = back + [(b, a) for a, b in back if both]
    inputs = {
        "format": 1,
        "pairs": [[clip.frames[t].digest for t in pair] for pair in pairs],
        "estimator": {"name": "by hand", "step": [str(part) for part in step]},
        "stride_px": stride_px,
        "masks": dict(masks or {}),
        "codec": CODEC,
    }
    flow = np.zeros((2, *grid_size(clip.size, stride_px)), np.float32)
    flow[:] = np.array(step)[:, None, None]
    flows = [flow if target > other else -flow for target, other in pairs]
    return _write_flow(store, clip, inputs, pairs, flows, valid)


def write_steps(store: Store, clip: Clip, flow: np.ndarray) -> str:
    """The flow (2, h, w), px of the grid of 4 px, from each frame of a clip to the next; the same for all."""
    pairs = list(step_pairs(clip))
    inputs = {
        "format": 1,
        "pairs": [[clip.frames[t].digest for t in pair] for pair in pairs],
        "estimator": {"name": "by hand", "flow": flow.tolist()},
        "stride_px": 4,
        "masks": {},
        "codec": CODEC,
    }
    return _write_flow(store, clip, inputs, pairs, [flow] * len(pairs), None)


def _write_flow(
    store: Store,
    clip: Clip,
    inputs: Mapping[str, Any],
    pairs: Sequence[tuple[int, int]],
    flows: Sequence[np.ndarray],
    valid: np.ndarray | None,
) -> str:
    masks, stride_px = inputs["masks"], inputs["stride_px"]
    if store.find("flow", entry_key("flow", inputs)):
        return entry_key("flow", inputs)
    with store.create("flow", inputs) as entry:
        arrays = allocate_flow(entry, len(pairs), clip.size, stride_px=stride_px, with_masks=bool(masks))
        for i, flow in enumerate(flows):
            bits = None if not masks else np.full(flow.shape[1:], 3, np.uint8) if valid is None else valid
            write_flow(arrays, i, flow, bits, on_overflow="error")
        entry.attributes.update(
            {
                "pairs": [[clip.frames[t].name for t in pair] for pair in pairs],
                "pair_positions": [list(pair) for pair in pairs],
                "direction": "on the target's grid, pointing to the neighbour",
                "axes": {"flow": "PDHW", "valid": "PHW"} if masks else {"flow": "PDHW"},
                "components": ["dx", "dy"],
                "units": "px of the stride grid",
                "scale_px": 1 / 64,
                "clipped": 0,
                "stride_px": stride_px,
                "grid": "cell i is centred at (i + 0.5) * stride_px - 0.5 px of the image",
                "image_size": list(clip.size),
                "masks": dict(masks),
                "estimator": {"name": "by hand"},
                "licence": None,
            }
        )
    return entry_key("flow", inputs)
