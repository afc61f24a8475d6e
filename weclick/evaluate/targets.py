"""Scores on the frames that networks learned from: the targets of the training split.

Nobody reports these. They choose settings without a look at scored frames, and they tell whether a teacher
knows more than its student.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from weclick.clicks.table import read_clicks
from weclick.common.errors import InputError
from weclick.common.progress import progress_bar
from weclick.common.spread import spread_to_ends
from weclick.evaluate.motion import Stacks, no_stacks
from weclick.evaluate.scores import scores
from weclick.manifest import Manifest, read_manifests
from weclick.manifest.click_table import ClickTable
from weclick.manifest.read import read_clip, read_label
from weclick.metrics import ConfusionMatrix
from weclick.models.inference import fused_for_inference, predict
from weclick.store.index import STACK, read_index

AT_MOST = 200
"""Target frames that are looked at, spread over the split; more would take long and say hardly more."""


@dataclass(frozen=True)
class Targets:
    """The frames that networks learned from.

    Attributes:
        manifest: the training split.
        clicks: on its targets; None if nobody wants to know how many are hit.
        stacks: clip id -> key of its flow, of the need `stack`.
    """

    manifest: Manifest
    clicks: ClickTable | None = None
    stacks: Mapping[str, str] = field(default_factory=dict)

    def chosen(self) -> list[tuple[int, int]]:
        """(position of the clip, of the frame in it) of at most AT_MOST targets with a label or a click."""
        told = [
            (i, t)
            for i, clip in enumerate(self.manifest.clips)
            for t in clip.targets
            if clip.frames[t].label or (self.clicks and len(self.clicks.of(clip.id, clip.frames[t].name)))
        ]
        return spread_to_ends(told, AT_MOST)


def read_targets(manifests: Sequence[Path], clicks: Path | None = None, flow: Sequence[Path] = ()) -> Targets:
    """The targets of a training split.

    Args:
        manifests: of its shards.
        clicks: its click table.
        flow: indexes of its flow, for networks that look at stacks of it.

    Raises:
        InputError: the clicks are of other classes; or as in `read_manifests` and `read_clicks`.
    """
    manifest, table = read_manifests(manifests), read_clicks(clicks) if clicks else None
    if table and table.classes != manifest.classes.names:
        raise InputError(
            f"{clicks}: knows the classes {', '.join(table.classes)}, but the targets are of "
            f"{', '.join(manifest.classes.names)}; give the clicks that the stage `clicks` made of this split"
        )
    return Targets(manifest, table, read_index(flow, "flow", need=STACK))


def score_targets(
    model: nn.Module, targets: Targets, device: torch.device | str = "cpu", stacks: Stacks = no_stacks
) -> dict[str, dict[str, Any]]:
    """Scores of a network on target frames, and the share of clicks that it hits.

    Args:
        model: in eval mode, on `device`.
        targets: at most AT_MOST of their frames are predicted.
        device: where the network is.
        stacks: of flow, for a network that looks at them.

    Returns:
        on_targets: miou, mean_accuracy, pixel_accuracy, per_class_iou, frames, clips; left out if no label of
        these frames has a class. on_clicks: accuracy, clicks; left out without clicks.
    """
    manifest, fast = targets.manifest, fused_for_inference(model).to(memory_format=torch.channels_last)
    matrix, hit, clicked = ConfusionMatrix(manifest.num_classes), 0.0, 0
    labelled: list[str] = []
    chosen = targets.chosen()
    with progress_bar("evaluate targets", len(chosen), "frames") as bar:
        for i in dict.fromkeys(i for i, _ in chosen):
            clip = manifest.clips[i].restrict(t for other, t in chosen if other == i)
            for t, (frame, image) in enumerate(zip(clip.frames, read_clip(manifest, clip), strict=True)):
                class_ids = predict(fast, image, device, stack=stacks(clip, t)).cpu()
                if frame.label:
                    matrix.update(class_ids, read_label(manifest, frame))
                    labelled.append(clip.id)
                if targets.clicks:
                    points = targets.clicks.of(clip.id, frame.name)
                    found = class_ids.numpy()[points["y"], points["x"]] == points["class_id"]
                    weights = targets.clicks.weights(clip.id, frame.name)
                    hit += float(found.sum() if weights is None else (found * weights).sum())
                    clicked += len(targets.clicks.class_ids(clip.id, frame.name))
                bar.advance()
    told: dict[str, dict[str, Any]] = {}
    if matrix.matrix.any():
        told["on_targets"] = {
            **scores(matrix, manifest),
            "frames": len(labelled),
            "clips": len(set(labelled)),
        }
    if clicked:
        told["on_clicks"] = {"accuracy": hit / clicked, "clicks": clicked}
    return told
