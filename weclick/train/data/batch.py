"""The input of a training step: one crop of each frame, and everything known of it on the logit grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from weclick.models.detector import Labels, Relabel


@dataclass(frozen=True)
class Batch:
    """B targets and their M neighbours, S = B + M frames, targets first.

    Attributes:
        images: (S, 3, H, W) float32, ImageNet-normalised; 0 outside the image.
        inside: (S, 1, h, w) bool on the logit grid, False in padding.
        points: (N, 3) float32 clicks [target index, y, x], px of the crop.
        classes: (N,) int64 class of each click.
        target_of: (M,) int64, the target that each neighbour belongs to.
        flow: (M, 2, h, w) float32 px of the logit grid, on the target's grid, pointing to the neighbour.
        flow_valid: (M, 1, h, w) bool, where the cached masks call it valid.
        teacher: (S, K, h, w) float32 probabilities, or None where a run has no teacher.
        labels: (B, H, W) uint8 class ids of the targets, 255 outside the image and where nothing is labelled.
            None where a run learns from no class maps.
        teacher_known: (S, 1, h, w) bool, cells that have a soft label; None if all have.
        point_weights: (N,) float32, what each point counts; None if all are clicks, which count 1.
        tags: (B, K) bool, the classes that occur in the targets; None where a run learns from no tags.
        stack: (B, 2 L, H, W) float32 motion of the targets, see `weclick.geometry.motion_stack`; 0 outside
            the image. None where the network looks at none.
        heat: (B, K, h, w) float32, 0..1 of the maximum of its map in the frame, where each class is seen; 0
            for classes without a map. None where a run learns from no maps.
        instances: of all S frames: masks (N, H, W) bool and class ids (N,) int64, where N may be 0. None
            where a run learns from none.
        flow_back: (M, 2, h, w) float32 px of the logit grid, on the neighbour's grid, pointing to the target;
            None where a run reads flow in one direction.
        relabel: gives other labels than `instances` by what a detector finds within a step. None: they stay.
    """

    images: Tensor
    inside: Tensor
    points: Tensor
    classes: Tensor
    target_of: Tensor
    flow: Tensor
    flow_valid: Tensor
    teacher: Tensor | None
    labels: Tensor | None = None
    teacher_known: Tensor | None = None
    point_weights: Tensor | None = None
    tags: Tensor | None = None
    stack: Tensor | None = None
    heat: Tensor | None = None
    instances: tuple[Labels, ...] | None = None
    flow_back: Tensor | None = None
    relabel: Relabel | None = None

    def select(self, names: Sequence[str]) -> tuple[Any, ...]:
        """Some fields in the order of their names, e.g. a network's `inputs`; channels last where four axes.

        A fifth faster than the default layout, on CPUs and GPUs alike.
        """
        fields = [getattr(self, name) for name in names]
        return tuple(
            field.contiguous(memory_format=torch.channels_last) if getattr(field, "ndim", 0) == 4 else field
            for field in fields
        )

    @property
    def target_images(self) -> Tensor:
        """(B, 3, H, W), `images` of the targets."""
        return self.images[: self.targets]

    @property
    def taught(self) -> Tensor:
        """(S, 1, h, w) bool, cells that show the image and have a soft label."""
        return self.inside if self.teacher_known is None else self.inside & self.teacher_known

    @property
    def targets(self) -> int:
        """B."""
        return self.images.shape[0] - self.neighbours

    @property
    def neighbours(self) -> int:
        """M."""
        return self.target_of.shape[0]

    @property
    def input_size(self) -> tuple[int, int]:
        """(H, W) of the crops, px."""
        return self.images.shape[-2], self.images.shape[-1]

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.images.device
