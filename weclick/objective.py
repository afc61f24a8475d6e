"""What a training minimises: Eq. 5 and its parts, as a named dict.

The teacher sums partial cross-entropy and Gated CRF on targets alone; the student adds distillation from
the soft labels of all its frames and memory-flow distillation from neighbours to targets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from weclick.batch import Batch
from weclick.geometry import backward_warp
from weclick.losses import (
    GatedCRFKernel,
    gated_crf,
    knowledge_distillation,
    memory_flow_distillation,
    partial_cross_entropy,
)


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
        logits = logits.float()
        terms = {}
        if self._clicks["weight"]:
            terms["partial_cross_entropy"] = self._clicks["weight"] * self._at_clicks(logits, batch)
        if self._crf["weight"] and step >= self._crf_from_step:
            terms["gated_crf"] = self._crf["weight"] * self._over_colours(logits, batch)
        if self._kd["weight"]:
            terms["knowledge_distillation"] = self._kd["weight"] * self._from_teacher(logits, batch)
        if self._mfd["weight"] and batch.neighbours:
            terms["memory_flow"] = self._mfd["weight"] * self._along_flow(logits, batch)
        return terms

    def _at_clicks(self, logits: Tensor, batch: Batch) -> Tensor:
        weights = None if self._class_weights is None else self._class_weights.to(logits.device)
        return partial_cross_entropy(
            logits[: batch.targets],
            batch.points,
            batch.classes,
            input_size=batch.input_size,
            class_weights=weights,
        )

    def _over_colours(self, logits: Tensor, batch: Batch) -> Tensor:
        rgb = adaptive_avg_pool2d(batch.images[: batch.targets], (logits.shape[-2], logits.shape[-1]))
        return gated_crf(
            logits[: batch.targets].softmax(1),
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

    def _along_flow(self, logits: Tensor, batch: Batch) -> Tensor:
        """Eq. 3 is summed over the neighbours of a sample, so the mean counts neighbours per sample times."""
        assert batch.teacher is not None, "memory-flow distillation needs soft labels in the batch"
        probs = logits.softmax(1)
        inside = batch.inside[batch.targets :].to(probs.dtype)
        warped, valid = backward_warp(torch.cat([probs[batch.targets :], inside], 1), batch.flow)
        valid = valid & (warped[:, -1:] > 0.999) & batch.inside[batch.target_of] & batch.flow_valid
        loss = memory_flow_distillation(
            probs[batch.target_of],
            warped[:, :-1],
            batch.teacher[batch.target_of],
            valid,
            mode=self._mfd["consistency"],
            stop_gradient=self._mfd["stop_gradient"],
            reduction=self._mfd["reduction"],
        )
        return loss * (batch.neighbours / batch.targets)
