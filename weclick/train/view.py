"""What the terms of the loss can use of one micro-batch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from weclick.losses import mean_field
from weclick.models.normalize import denormalize
from weclick.train.data.batch import Batch

Outputs = Tensor | tuple[Tensor, Tensor] | Mapping[str, Tensor]
"""What networks give in training mode: logits (S, K, h, w); of a network of relations edges (B, 1, h, w) and
displacements (B, 2, h, w); of a network that computes its losses itself these, by name."""


class View:
    """What the terms can use of one micro-batch. Which of it there is depends on the network.

    Attributes:
        logits: (S, K, h, w) float32 of all frames of the batch, targets first.
        targets: (B, K, h, w) of the targets.
        neighbours: (M, K, h, w) of the neighbours.
        edge, displacement: (B, 1, h, w) and (B, 2, h, w) float32 of the targets.
        named: scalars, by name.
        batch: that the outputs belong to.
        class_weights: (K,) factors of the classes in partial cross-entropy, or None.
    """

    logits: Tensor
    targets: Tensor
    neighbours: Tensor
    edge: Tensor
    displacement: Tensor
    named: Mapping[str, Tensor]

    def __init__(self, outputs: Outputs, batch: Batch, class_weights: Tensor | None):
        if isinstance(outputs, Tensor):
            self.logits = (
                outputs.float().contiguous()
            )  # otherwise each term would copy it out of channels_last
            # Cut once: each cut adds up its own gradient, and another order of adding gives other bits.
            self.targets, self.neighbours = self.logits[: batch.targets], self.logits[batch.targets :]
        elif isinstance(outputs, Mapping):
            self.named = outputs
        else:
            self.edge, self.displacement = (output.float() for output in outputs)
        self.batch, self.class_weights = batch, class_weights
        self._refined: dict[tuple[str, int], Tensor] = {}

    @cached_property
    def probs(self) -> Tensor:
        """(B, K, h, w) probabilities of the targets."""
        return self.targets.softmax(1)

    @property
    def teacher(self) -> Tensor:
        """(S, K, h, w) soft labels of all frames."""
        assert self.batch.teacher is not None, "a term that needs soft labels got a batch without"
        return self.batch.teacher

    @cached_property
    def cues(self) -> Tensor:
        """(B, K, h, w) bool, the cells whose middle pixel has a label, by its class."""
        at = at_middles(class_maps(self.batch), self.targets).long()
        ids = torch.arange(self.targets.shape[1], device=at.device).view(1, -1, 1, 1)
        return at[:, None] == ids

    @property
    def cell_labels(self) -> Tensor:
        """(B, h, w) uint8 class ids of the middle pixels of the edges' cells, 255 unknown."""
        return at_middles(class_maps(self.batch), self.edge)

    @cached_property
    def present(self) -> Tensor:
        """(B, K) bool, the classes that have a cue in the crop, and class 0."""
        found = self.cues.flatten(2).any(2)
        found[:, 0] = True
        return found

    @property
    def tagged(self) -> Tensor:
        """(B, K) bool, the classes that occur in the targets."""
        assert self.batch.tags is not None, "a term that learns from tags got a batch without"
        return self.batch.tags

    def heated(self, threshold: float, background: str) -> Tensor:
        """(B, K, h, w) bool, the cells where each class of an image is seen.

        Args:
            threshold: part of a map's maximum that counts as seen.
            background: complement: class 0 is where no other class of the image is seen. none: it is seen by
                its own map.
        """
        assert self.batch.heat is not None, "a term that learns from maps got a batch without"
        seen = (self.batch.heat > threshold) & self.tagged[:, :, None, None]
        if background == "complement":
            seen[:, 0] = ~seen[:, 1:].any(1)
        return seen

    def refined(self, preset: str, iterations: int) -> Tensor:
        """(B, K, h, w) probabilities of the targets after a dense CRF on the logit grid, a constant."""
        if (preset, iterations) not in self._refined:
            size = self.targets.shape[-2:]
            images = adaptive_avg_pool2d(self.batch.images[: self.batch.targets], (size[0], size[1]))
            colours = denormalize(images).round().clamp(0, 255).byte().movedim(1, -1)
            probs = self.probs.detach()
            self._refined[preset, iterations] = torch.stack(
                [
                    mean_field(own, colour, preset, iterations=iterations)
                    for own, colour in zip(probs, colours, strict=True)
                ]
            )
        return self._refined[preset, iterations]


def class_maps(batch: Batch) -> Tensor:
    """(B, H, W) class ids of the targets."""
    assert batch.labels is not None, "a term that learns from class maps got a batch without"
    return batch.labels


def at_middles(labels: Tensor, like: Tensor) -> Tensor:
    """Class maps (B, H, W) at the middle pixel of each cell of a grid (.., h, w)."""
    h, w = like.shape[-2:]
    rows, columns = _middles(labels.shape[-2], h), _middles(labels.shape[-1], w)
    return labels[:, rows][:, :, columns]


def _middles(pixels: int, cells: int) -> Tensor:
    """The middle pixel of each cell along one side."""
    return (torch.arange(cells) * pixels + pixels // 2) // cells
