"""Soft labels of targets, averaged with those of their neighbours along the cached flow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from weclick.common.sections import FuseSection
from weclick.geometry import backward_warp
from weclick.manifest import Clip
from weclick.proxy_labels.clip_flow import ClipFlow
from weclick.proxy_labels.grids import normalised
from weclick.store import Entry
from weclick.store.flow_entries import stored_pairs


@dataclass(frozen=True)
class Fusion:
    """Averages the labels of the targets of one clip.

    A target's own labels count once. Those of a neighbour count `weight` times, where the cached masks call
    the flow valid. Frames that are no targets keep their labels.

    Attributes:
        clip: whose frames are labelled.
        entry: its flow, from targets to neighbours.
        options: the section `soft_labels.fuse`.
    """

    clip: Clip
    entry: Entry
    options: FuseSection

    def __call__(
        self, labels: Iterable[np.ndarray], stride_px: int, device: str = "cpu"
    ) -> Iterator[tuple[int, np.ndarray]]:
        """The labels of all frames, once each; a target comes when its last neighbour was there.

        A neighbour's labels are warped as soon as they come. So this holds one frame, and a sum for each
        target that still waits.

        Args:
            labels: (K, h, w) float32 of each frame, in order; zeros where nothing is known.
            stride_px: of their grid.
            device: that warps them.

        Returns:
            Position of a frame, and its labels (K, h, w).

        Raises:
            InputError: the flow was stored without the masks asked for, or is that of other frames.
        """
        neighbours = self.neighbours
        last = {target: max(target, *others) for target, others in neighbours.items()}
        sums: dict[int, Tensor] = {}
        for t, own in enumerate(labels):
            now = torch.from_numpy(own)[None].to(device)
            if t in neighbours:
                sums[t] = sums.get(t, 0) + now
            else:
                yield t, own
            for target, others in neighbours.items():
                if t in others:
                    warped = self._warped(now, others[t], stride_px)
                    sums[target] = sums.get(target, 0) + self.options["weight"] * warped
                if t == last[target]:
                    yield target, normalised(sums.pop(target))[0].cpu().numpy()

    @cached_property
    def neighbours(self) -> dict[int, dict[int, int]]:
        """Target -> its nearest neighbours that have a flow -> the pair's position in the entry."""
        found: dict[int, dict[int, int]] = {}
        for pair, (target, other) in enumerate(stored_pairs(self.entry, self.clip)):
            if target in self.clip.targets:
                found.setdefault(target, {})[other] = pair
        number = [frame.number for frame in self.clip.frames]
        at_most = self.options["neighbours"]
        return {
            target: dict(
                sorted(others.items(), key=lambda each: abs(number[each[0]] - number[target]))[:at_most]
            )
            for target, others in found.items()
        }

    def _warped(self, labels: Tensor, pair: int, stride_px: int) -> Tensor:
        """A neighbour's labels (1, K, h, w) on the target's grid; zeros where the flow is not valid."""
        flow, held = self._flow.read(pair, stride_px, labels.device)
        warped, inside = backward_warp(labels, flow)
        return warped * (inside & held)

    @cached_property
    def _flow(self) -> ClipFlow:
        return ClipFlow(self.clip, self.entry, self.options["occlusion"], "soft_labels.fuse.occlusion")
