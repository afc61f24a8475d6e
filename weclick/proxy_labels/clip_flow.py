"""The cached flow of one clip, on the grid of what is warped along it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weclick.common.errors import InputError
from weclick.manifest import Clip
from weclick.proxy_labels.grids import flow_to_grid, to_grid
from weclick.store import Entry
from weclick.store.flow_entries import MASK_BITS, checked_stride, read_flow


@dataclass(frozen=True)
class ClipFlow:
    """Reads flows of a clip, and where they are believed.

    Attributes:
        clip: whose frames the flow leads between.
        entry: holds it.
        occlusion: the masks that have to hold, by one of MASK_BITS.
        asked_by: the key of the configuration that names `occlusion`, for errors.
    """

    clip: Clip
    entry: Entry
    occlusion: str
    asked_by: str

    def read(self, pair: int, stride_px: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """One flow of the entry.

        Args:
            pair: its position in the entry.
            stride_px: of the wanted grid.
            device: to put it on.

        Returns:
            (1, 2, h, w) float32 px of the wanted grid, and (1, 1, h, w) bool, where all the masks hold.

        Raises:
            InputError: the flow was stored without one of the masks.
            DamagedEntryError: the entry is not as it was committed, or not of frames of this size.
        """
        flow, bits = read_flow(self.entry, pair)
        wanted, size = self._bits, self.clip.size
        held = np.ones(flow.shape[1:], bool) if bits is None else (bits & wanted) == wanted
        valid = torch.from_numpy(held.astype(np.float32))[None, None].to(device)
        stored = torch.from_numpy(flow)[None].to(device)
        on_grid = flow_to_grid(stored, size, self._stride_px, stride_px)
        return on_grid, to_grid(valid, size, self._stride_px, stride_px) > 0.5

    def between(self, target: int, other: int, stride_px: int) -> tuple[Tensor, Tensor]:
        """The flow from one position of the clip to another, as `read` gives it.

        Raises:
            InputError: the entry does not hold it; or as in `read`.
        """
        frames = [self.clip.frames[t] for t in (target, other)]
        pair = self._pairs.get((frames[0].digest, frames[1].digest))
        if pair is None:
            raise InputError(
                f"{self.entry.path}: holds no flow from frame {frames[0].name!r} to {frames[1].name!r} of "
                f"clip {self.clip.id!r}; the index belongs to other options: run the flow stage again"
            )
        return self.read(pair, stride_px)

    @cached_property
    def _pairs(self) -> Mapping[tuple[str, str], int]:
        """Frames are matched by content: a colleague's entry may have other names for them."""
        pairs: Any = self.entry.meta["inputs"].get("pairs", [])
        return {(target, other): i for i, (target, other) in enumerate(pairs)}

    @cached_property
    def _stride_px(self) -> int:
        return checked_stride(self.entry, self.clip.size)

    @cached_property
    def _bits(self) -> int:
        made = self.entry.attributes["masks"]
        wanted = MASK_BITS[self.occlusion]
        if wanted & ~sum(mask["bit"] for mask in made.values()):
            raise InputError(
                f"{self.asked_by} is {self.occlusion!r}, but the flow of clip {self.clip.id!r} was stored "
                f"with masks {sorted(made)}; name the mask in flow.masks and run the flow stage again"
            )
        return wanted
