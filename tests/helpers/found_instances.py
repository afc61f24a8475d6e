"""Detectors that give prescribed answers, and the toy street's true instances and exact flow for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from weclick.datasets import build_manifest, open_dataset
from weclick.datasets.toy.draw import generate, render_clip
from weclick.evaluate.instances.truth import read_true_instances
from weclick.manifest import Classes, Clip, Frame, Manifest
from weclick.models import Found, build_detector, normalize
from weclick.store import Store, entry_key
from weclick.store.flow_entries import CODEC, MASKS, allocate_flow, write_flow

SIZE = (128, 256)
TOY = {"seed": 3, "height": SIZE[0], "width": SIZE[1], "frames": 6, "clips": {"train": 1, "val": 2}}


class Knowing(nn.Module):
    """A detector that knows the frames it was shown, by their pixels, and gives what it was told of them."""

    stack_length = 0

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self.known: dict[bytes, Found] = {}

    def teach(self, image: np.ndarray, masks, classes, scores=None) -> None:
        masks = torch.as_tensor(np.asarray(masks))
        scores = torch.full((len(masks),), 0.9) if scores is None else torch.as_tensor(scores)
        boxes = torch.zeros(len(masks), 4)
        self.known[self._key(image)] = Found(
            masks, torch.as_tensor(np.asarray(classes)).long(), scores.float(), boxes
        )

    def forward(self, images: Tensor) -> list[Found]:
        return [self.known[image.numpy().tobytes()] for image in images]

    def _key(self, image: np.ndarray) -> bytes:
        rgb = torch.tensor(image).permute(2, 0, 1)[None]
        return normalize(rgb.float())[0].numpy().tobytes()


class Bright(nn.Module):
    """A detector that calls each channel's bright pixels an object of the class of that number."""

    stack_length = 0

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, images: Tensor) -> list[Found]:
        masks = (images * self.weight[:, None, None]) > 1
        return [
            Found(each, torch.arange(3), torch.tensor([0.9, 0.7, 0.3]), torch.zeros(3, 4)) for each in masks
        ]


def untrained(num_classes: int) -> nn.Module:
    """A real detector that has not learned yet: what it finds has masks, but no meaning."""
    torch.manual_seed(0)
    model = build_detector("mobilenetv2_compact", num_classes, channels=16, min_score=0.0, detections=5)
    nn.init.constant_(model.roi_heads.mask_predictor.mask_fcn_logits.bias, 0.5)
    return model.eval()


class Street(NamedTuple):
    """A split of the toy street on disk, all frames scored, with exact flow from each to the one before."""

    manifest: Manifest
    store: Store
    flow: Mapping[str, str]


def make_street(root: Path) -> Street:
    generate(root / "data", **TOY)
    data = {"name": "toy", "root": str(root / "data"), "toy": TOY}
    manifest = build_manifest(open_dataset(data), "val", 0, 1, reach_frames=1, remember=None)
    store = Store([root / "store"])
    return Street(
        manifest, store, {clip.id: _write_exact(store, clip, n) for n, clip in enumerate(manifest.clips)}
    )


Change = Callable[[np.ndarray, np.ndarray], tuple[Sequence, Sequence]]


def teach_truth(
    model: Knowing, manifest: Manifest, image: Callable[[Clip, int], np.ndarray], change: Change | None = None
) -> None:
    """Tell a detector the objects on all scored frames, or what `change` makes of masks and classes."""
    for clip in manifest.clips:
        for t in clip.scored:
            true = read_true_instances(manifest, clip, t)
            told = true.masks, true.classes
            model.teach(image(clip, t), *(change(*told) if change else told))


def _write_exact(store: Store, clip: Clip, number: int) -> str:
    """The exact flow of a clip on the pixel grid; the bit of a mask says where a point is seen before."""
    recipe = {key: value for key, value in TOY.items() if key != "clips"}
    shown = render_clip(**recipe, split="val", clip_index=number)
    pairs = [(t, t - 1) for t in range(1, len(clip.frames))]
    inputs = {
        "format": 1,
        "pairs": [[clip.frames[t].digest for t in pair] for pair in pairs],
        "estimator": {"name": "exact"},
        "stride_px": 1,
        "masks": {"forward_backward": MASKS["forward_backward"]},
        "codec": CODEC,
    }
    with store.create("flow", inputs) as entry:
        arrays = allocate_flow(entry, len(pairs), clip.size, stride_px=1, with_masks=True)
        for i, (t, s) in enumerate(pairs):
            flow, visible = shown.flow(t, s)
            bits = visible.astype(np.uint8) * int(MASKS["forward_backward"]["bit"])
            write_flow(arrays, i, flow.transpose(2, 0, 1), bits, on_overflow="clip")
        entry.attributes.update(
            {
                "pairs": [[clip.frames[t].name for t in pair] for pair in pairs],
                "pair_positions": [list(pair) for pair in pairs],
                "direction": "on the target's grid, pointing to the neighbour",
                "axes": {"flow": "PDHW", "valid": "PHW"},
                "components": ["dx", "dy"],
                "units": "px of the stride grid",
                "scale_px": 1 / 64,
                "clipped": 0,
                "stride_px": 1,
                "grid": "cell i is centred at (i + 0.5) * stride_px - 0.5 px of the image",
                "image_size": list(clip.size),
                "masks": inputs["masks"],
                "estimator": inputs["estimator"],
                "licence": None,
            }
        )
    return entry_key("flow", inputs)


def one_frame(root: Path, label: np.ndarray, numbers: np.ndarray, **classes) -> Manifest:
    """A split of one scored frame with these files; classes are road, and with instances person and car."""
    Image.fromarray(label).save(root / "label.png")
    Image.fromarray(numbers).save(root / "instances.png")
    frame = Frame("00000", 0, "frame.png", digest="0" * 64, label="label.png", instances="instances.png")
    clip = Clip("park", (frame,), scored=(0,), height_px=label.shape[0], width_px=label.shape[1])
    known = Classes(("road", "person", "car"), ((0, 0, 0), (9, 9, 9), (8, 8, 8)), (1, 2), **classes)
    return Manifest("made_up", str(root), "val", 0, 1, known, (clip,))
