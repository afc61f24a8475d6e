"""MaskConsist in the loop of a detector's training (Liu et al. 2021): frames of a pair exchange labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from weclick.common.errors import InputError
from weclick.geometry import downsample_mask
from weclick.models.detector import Found, Labels
from weclick.proxy_labels.instance_arrays import Instances
from weclick.proxy_labels.maskconsist import Completed, completed_labels
from weclick.train.data.batch import Batch
from weclick.train.network_code import network_code

STEPS = ("intra", "inter", "iom", "overlap", "matching", "min_iou", "iom_across_classes", "iom_order")
"""Keys of the section `maskconsist` that `completed_labels` takes."""

AT_ONCE = 16
"""Masks that are brought to another grid at once. It bounds the memory of frames at full size."""

HALF = 0.5


@dataclass(frozen=True)
class Consist:
    """Gives the trainer what completes batches; an `Online` of `weclick.train.recipe`.

    Attributes:
        options: the section `maskconsist`.
        steps: of the training; `warmup` is a share of it.
    """

    options: Mapping[str, Any]
    steps: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Consist | None:
        """That of a configuration; None if it has no weight, and labels stay as they are.

        Args:
            config: with the sections `maskconsist` and `detector`.
        """
        section = config["maskconsist"]
        return cls(section, config["detector"]["steps"]) if section["weight"] else None

    @property
    def reads(self) -> frozenset[str]:
        """It computes no flow, but reads the stored one."""
        return frozenset({"flow"})

    def key_inputs(self, *, flow: bool) -> dict[str, Any]:
        """Inputs of a detector's key: the options that matter, and the code. `flow` makes no difference."""
        options = {name: self.options[name] for name in (*STEPS, "grid_px")}
        shares = {name: float(self.options[name]) for name in ("min_iou", "min_score", "warmup")}
        return {"code": network_code("weclick.runs.consist"), "maskconsist": options | shares}

    def start(
        self, *, classes: Sequence[str], stride_px: int, occlusion: str | None, device: torch.device | str
    ) -> Relabelling:
        """What completes batches.

        Args:
            classes: not read; detections and labels have the same class ids.
            stride_px: of the grid on which batches hold flow.
            occlusion: not read; the paper warps everywhere.
            device: not read; masks stay where they are.
        """
        return Relabelling(
            self.options, first_step=round(self.options["warmup"] * self.steps), grid_px=stride_px
        )


class Relabelling:
    """Gives batches the function by which a detector changes its labels within a step.

    Masks of detections and labels are compared on the grid of the flow. A label that stays keeps its own
    mask. One that comes is brought back from the grid.

    Args:
        options: the section `maskconsist`.
        first_step: labels change from this step on.
        grid_px: stride of the grid of the flow.
    """

    def __init__(self, options: Mapping[str, Any], *, first_step: int, grid_px: int):
        self._chosen = {name: options[name] for name in STEPS}
        self._min_score = options["min_score"]
        self._first_step, self._grid_px = first_step, grid_px
        self._step, self._frames, self._given, self._used = -1, 0, 0, 0

    def __call__(self, batch: Batch, step: int) -> Batch:
        """The batch with `relabel`. In the warm-up, and where no frame has a partner, labels stay.

        Raises:
            InputError: the batch has neighbours, but no flow to or from them.
        """
        assert batch.instances is not None, "MaskConsist got a batch without instances"
        if step != self._step:
            self._step, self._frames, self._given, self._used = step, 0, 0, 0
        self._frames += len(batch.instances)
        self._given += _number(batch.instances)
        if step < self._first_step or not batch.neighbours:
            self._used += _number(batch.instances)
            return batch
        if batch.flow_back is None or not len(batch.flow) == len(batch.flow_back) == batch.neighbours:
            raise InputError(
                "maskconsist.weight is not 0, but the batch lacks the flow of its pairs; give the detector "
                "the index of the flow stage, made with method maskconsist or with it in serves"
            )
        return replace(batch, relabel=partial(self._relabel, batch))

    def figures(self) -> dict[str, float]:
        """Labels a frame of the last step, before and after."""
        frames = max(self._frames, 1)
        return {"labels_given": self._given / frames, "labels_used": self._used / frames}

    @torch.no_grad()
    def _relabel(self, batch: Batch, found: Sequence[Found]) -> list[Labels]:
        """The labels of all frames of a batch, where frames of a pair tell each other what they show."""
        assert batch.instances is not None, "which __call__ has seen"
        assert batch.flow_back is not None, "which __call__ has seen"
        labels = list(batch.instances)
        for pair, target in enumerate(batch.target_of.tolist()):
            places = (target, batch.targets + pair)
            told: list[Any] = []
            for place in places:
                told += [self._predicted(found[place]), self._on_grid(labels[place])]
            told += [batch.flow[pair], batch.flow_back[pair]]
            completed = completed_labels(*told, **self._chosen)
            for place, one in zip(places, completed, strict=True):
                labels[place] = self._as_labels(labels[place], one, batch.inside[place, 0])
        self._used += _number(labels)
        return labels

    def _predicted(self, found: Found) -> Instances:
        sure = found.scores >= self._min_score
        return self._on_grid((found.masks[sure], found.classes[sure]))

    def _on_grid(self, labels: Labels) -> Instances:
        masks, classes = labels
        if self._grid_px == 1:
            return Instances(masks, classes)
        parts = [downsample_mask(part[:, None], self._grid_px)[:, 0] for part in masks.split(AT_ONCE)]
        return Instances(torch.cat(parts), classes)

    def _as_labels(self, given: Labels, completed: Completed, inside: Tensor) -> Labels:
        """The labels that stay, then the new ones at the size of the image. None lies in the padding."""
        new = completed.new
        masks = self._at_image_size(new.masks & inside, given[0].shape[-2:])
        shown = masks.flatten(1).any(1)
        kept_masks, kept_classes = (part[completed.kept] for part in given)
        return torch.cat([kept_masks, masks[shown]]), torch.cat([kept_classes, new.classes[shown]])

    def _at_image_size(self, masks: Tensor, size: Sequence[int]) -> Tensor:
        if self._grid_px == 1 or not len(masks):
            return masks.new_zeros((0, *size)) if not len(masks) else masks
        larger = interpolate(masks[:, None].float(), scale_factor=float(self._grid_px), mode="bilinear")
        return larger[:, 0, : size[0], : size[1]] > HALF


def _number(labels: Sequence[Labels]) -> int:
    return sum(len(classes) for _, classes in labels)
