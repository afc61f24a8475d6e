"""What a training minimises: Eq. 5 and its parts, as a named dict.

The teacher sums partial cross-entropy and Gated CRF on targets alone; the student adds distillation from
the soft labels of all its frames and memory-flow distillation from neighbours to targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from weclick.geometry import backward_warp
from weclick.losses import (
    GatedCRFKernel,
    gated_crf,
    knowledge_distillation,
    memory_flow_distillation,
    partial_cross_entropy,
)
from weclick.train.data.batch import Batch

Losses = Callable[[Any, Batch, int], dict[str, Tensor]]
"""What the network gives in training mode, the batch and the step -> named terms, whose sum is the loss."""


class Objective:
    """The weighted terms of one step.

    Args:
        sections: the configuration's `partial_cross_entropy`, `gated_crf` and, for a student, `mfd`, `kd`.
        steps: length of the training, which the Gated CRF's warm-up is a share of.
        class_weights: (K,) factors of the classes in partial cross-entropy, or None.
    """

    def __init__(
        self, sections: Mapping[str, Mapping[str, Any]], *, steps: int, class_weights: Tensor | None
    ):
        self._clicks = sections["partial_cross_entropy"]
        self._crf = sections["gated_crf"]
        self._crf_from_step = round(self._crf["warmup"] * steps)
        self._kernels = (GatedCRFKernel(1.0, self._crf["sigma_xy"], self._crf["sigma_rgb"]),)
        self._mfd = sections.get("mfd", {"weight": 0.0})
        self._kd = sections.get("kd", {"weight": 0.0})
        self._class_weights = class_weights

    def __call__(self, logits: Tensor, batch: Batch, step: int) -> dict[str, Tensor]:
        """The terms of Eq. 5, each already times its weight; their sum is the loss.

        Args:
            logits: (S, K, h, w) of all frames of the batch.
            batch: what belongs to them.
            step: zero-based.

        Returns:
            name -> scalar, only the terms that are switched on.
        """
        logits = logits.float().contiguous()  # planes: channels_last would be turned into them term by term
        targets, neighbours = logits[: batch.targets], logits[batch.targets :]
        probs = targets.softmax(1)
        terms = {}
        if self._clicks["weight"]:
            terms["partial_cross_entropy"] = self._clicks["weight"] * self._at_clicks(targets, batch)
        if self._crf["weight"] and step >= self._crf_from_step:
            terms["gated_crf"] = self._crf["weight"] * self._over_colours(probs, batch)
        if self._kd["weight"]:
            terms["knowledge_distillation"] = self._kd["weight"] * self._from_teacher(logits, batch)
        if self._mfd["weight"] and batch.neighbours:
            terms["memory_flow"] = self._mfd["weight"] * self._along_flow(probs, neighbours, batch)
        return terms

    def _at_clicks(self, targets: Tensor, batch: Batch) -> Tensor:
        return partial_cross_entropy(
            targets,
            batch.points,
            batch.classes,
            input_size=batch.input_size,
            class_weights=self._class_weights,
        )

    def _over_colours(self, probs: Tensor, batch: Batch) -> Tensor:
        rgb = adaptive_avg_pool2d(batch.images[: batch.targets], (probs.shape[-2], probs.shape[-1]))
        return gated_crf(
            probs,
            rgb,
            kernels=self._kernels,
            radius=self._crf["radius"],
            valid=batch.inside[: batch.targets],
        )

    def _from_teacher(self, logits: Tensor, batch: Batch) -> Tensor:
        """Eq. 4 is summed over the frames of a sample, so the mean counts frames per sample times."""
        assert batch.teacher is not None, "knowledge distillation needs soft labels in the batch"
        loss = knowledge_distillation(
            logits,
            batch.teacher,
            direction=self._kd["direction"],
            temperature=self._kd["temperature"],
            valid=batch.inside,
        )
        return loss * (logits.shape[0] / batch.targets)

    def _along_flow(self, probs: Tensor, neighbours: Tensor, batch: Batch) -> Tensor:
        """Eq. 3 is summed over the neighbours of a sample and, as all terms, the mean over the samples."""
        assert batch.teacher is not None, "memory-flow distillation needs soft labels in the batch"
        warped, valid = _warp(neighbours.detach() if self._mfd["stop_gradient"] else neighbours, batch)
        loss = memory_flow_distillation(
            probs,
            warped,
            batch.teacher[: batch.targets],
            valid & batch.inside[batch.target_of] & batch.flow_valid,
            target_of=batch.target_of,
            mode=self._mfd["consistency"],
            stop_gradient=self._mfd["stop_gradient"],
            reduction=self._mfd["reduction"],
        )
        return loss * ((1 if self._mfd["reduction"] == "sum" else batch.neighbours) / batch.targets)


def with_auxiliary(objective: Losses, auxiliary: Losses, weight: float) -> Losses:
    """The objective of a network with an auxiliary head, which gives (logits, auxiliary logits).

    Args:
        objective: of the logits.
        auxiliary: of the auxiliary logits, on their own grid.
        weight: of each of its terms, which are named auxiliary_<term>; 0.4 in PSPNet (Zhao et al. 2017).
    """

    def terms(outputs: tuple[Tensor, Tensor], batch: Batch, step: int) -> dict[str, Tensor]:
        extra = auxiliary(outputs[1], batch, step)
        named = {f"auxiliary_{name}": weight * term for name, term in extra.items()}
        return objective(outputs[0], batch, step) | named

    return terms


def _warp(neighbours: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """The neighbours' probabilities on their targets' grids, and where they come from inside their frames.

    One image at a time on a CPU, whose cache it fits into: two thirds of the time and memory of all at once.
    """
    at_once = 1 if neighbours.device.type == "cpu" else len(neighbours)
    inside = batch.inside[batch.targets :].to(neighbours)
    parts = [
        backward_warp(torch.cat([logits.softmax(1), within], 1), flow)
        for logits, within, flow in zip(
            *(values.split(at_once) for values in (neighbours, inside, batch.flow)), strict=True
        )
    ]
    warped, valid = (torch.cat(values) for values in zip(*parts, strict=True))
    return warped[:, :-1], valid & (warped[:, -1:] > 0.999)
