"""Small entries for the tests of the store: whole, valid, and made in milliseconds."""

from pathlib import Path
from typing import Any

import numpy as np

from weclick.store import Store, entry_key

INPUTS = {"format": 1, "frames": ["a", "b"]}
ATTRIBUTES = {
    "pairs": [["a", "b"], ["b", "a"]],
    "pair_positions": [[0, 1], [1, 0]],
    "direction": "on the target's grid, pointing to the neighbour",
    "axes": {"flow": "PDHW"},
    "components": ["dx", "dy"],
    "units": "px of the stride grid",
    "scale_px": 1 / 64,
    "clipped": 0,
    "stride_px": 4,
    "grid": "cell i is centred at (i + 0.5) * stride_px - 0.5 px of the image",
    "image_size": [20, 28],
    "masks": {},
    "estimator": {"name": "dis"},
    "licence": "for research only",
}

MODEL_ATTRIBUTES = {
    "role": "teacher",
    "options": {"architecture": "deeplabv3plus", "backbone": "resnet18", "num_classes": 9, "channels": 16},
    "steps": 3,
    "kept_step": 3,
    "train_seconds": 0.5,
    "parameters": 100,
    "weights_sha256": "ab" * 32,
    "seed": 0,
}


def write_flow_entry(root: Path, inputs: dict[str, Any] = INPUTS, value: int = 7) -> str:
    """Write a flow entry of two pairs, filled with `value` and noise that depends on it. Returns its key."""
    noise = np.random.default_rng(value).integers(-3, 4, (2, 2, 5, 7), np.int16)
    with Store([root]).create("flow", inputs) as entry:
        array = entry.create_array(
            "flow", shape=(2, 2, 5, 7), chunks=(1, 2, 4, 4), dtype="int16", axes="PDHW"
        )
        for i in range(2):
            array[i] = value + noise[i]
        entry.attributes.update(ATTRIBUTES)
    return entry_key("flow", inputs)


def files_of(folder: Path) -> dict[str, bytes]:
    """Name -> content of all files below a folder."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
