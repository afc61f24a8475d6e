"""The flow between frames that are scored, from a clip's stored flow, at the size of the frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from weclick.evaluate.motion import full_flow
from weclick.manifest import Clip, Manifest
from weclick.store import Entry, Store
from weclick.store.flow_entries import checked_stride, grid_flow, stored_pairs


class Along(NamedTuple):
    """The flow from a frame to an earlier one.

    Attributes:
        flow: (2, H, W) float32 px on the later frame's grid.
        valid: (H, W) bool, where all masks of the flow hold.
    """

    flow: np.ndarray
    valid: np.ndarray


class EarlierFlow:
    """From each scored frame of a clip to the nearest earlier frame that its flow leads to.

    Args:
        clip: of a split.
        entry: its flow.

    Raises:
        InputError, DamagedEntryError: the entry is of other frames, or not as it was committed.
    """

    def __init__(self, clip: Clip, entry: Entry):
        self._entry, self._size = entry, clip.size
        self._stride_px = checked_stride(entry, clip.size)
        self._index = {pair: i for i, pair in enumerate(stored_pairs(entry, clip))}
        numbers, scored = [frame.number for frame in clip.frames], set(clip.scored)
        earlier: dict[int, int] = {}
        for t, s in self._index:
            if t in scored and numbers[s] < numbers[t]:
                earlier[t] = max(earlier.get(t, s), s, key=lambda at: numbers[at])
        self.pairs = tuple(sorted(earlier.items()))
        """(scored frame, earlier frame) positions, by the former."""

    def has(self, t: int, s: int) -> bool:
        """Whether there is a flow from t to s."""
        return (t, s) in self._index

    def along(self, t: int, s: int) -> Along:
        """The flow from t to s. Each is read when it is asked for."""
        grid, good = grid_flow(self._entry, self._index[t, s])
        flow = full_flow(grid, self._size, self._stride_px).numpy()
        cells = good.repeat(self._stride_px, 0).repeat(self._stride_px, 1)
        return Along(flow, cells[: self._size[0], : self._size[1]])


def earlier_flows(manifest: Manifest, flow: Mapping[str, str], store: Store) -> dict[str, EarlierFlow]:
    """Clip id -> its flow, of the clips that have one.

    Args:
        manifest: the split.
        flow: clip id -> key.
        store: holds the entries.
    """
    return {
        clip.id: EarlierFlow(clip, store.get("flow", flow[clip.id]))
        for clip in manifest.clips
        if clip.id in flow
    }


def stretches(manifest: Manifest, flows: Mapping[str, EarlierFlow]) -> Iterator[tuple[Clip, tuple[int, ...]]]:
    """Clips and runs of at least two of their scored frames; a flow leads from each to the one before."""
    for clip in manifest.clips:
        ordered = sorted(clip.scored, key=lambda t: clip.frames[t].number)
        run: list[int] = []
        for t in ordered:
            joined = run and clip.id in flows and flows[clip.id].has(t, run[-1])
            if not joined and len(run) > 1:
                yield clip, tuple(run)
            run = [*run, t] if joined else [t]
        if len(run) > 1:
            yield clip, tuple(run)
