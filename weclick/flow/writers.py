"""From flows of batches to entries of clips: a thread encodes and writes them, behind the estimator."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from weclick.common.sections import FlowSection
from weclick.flow.estimators import FlowEstimator
from weclick.flow.jobs import Job, entry_attributes
from weclick.flow.pairs import PairImages
from weclick.store import EntryWriter, Store
from weclick.store.flow_entries import allocate_flow, write_flow

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class _OpenEntry:
    """An entry that is being filled, the number of its pairs still to come, and of its values clipped."""

    manager: AbstractContextManager[EntryWriter]
    writer: EntryWriter
    arrays: Mapping[str, Any]
    left: int
    clipped: int = 0


class Writers:
    """The entries that are being filled: a batch may end one and begin the next. One thread does the work.

    Leaving the block waits for the thread. So whole clips are kept even after an error elsewhere; unfinished
    ones leave nothing behind.
    """

    AHEAD = 2
    """Batches that may wait for the thread; this bounds the memory."""

    def __init__(self, jobs: Sequence[Job], estimator: FlowEstimator, options: FlowSection, store: Store):
        self._jobs, self._estimator, self._options, self._store = jobs, estimator, options, store
        self._open: dict[int, _OpenEntry] = {}
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> Writers:
        self._thread = ThreadPoolExecutor(1)
        return self

    def __exit__(self, error: type[BaseException] | None, *_: Any) -> None:
        try:
            while self._waiting and error is None:
                self._waiting.popleft().result()
        finally:
            self._thread.shutdown()
            for entry in self._open.values():
                entry.manager.__exit__(RuntimeError, RuntimeError("left unfinished"), None)

    def write(self, batch: Sequence[PairImages], pieces: Sequence[tuple[Tensor, Tensor | None]]) -> None:
        """Hand a batch over. Raises the error of an earlier one, if there was any."""
        self._waiting.append(self._thread.submit(self._write, batch, pieces))
        while len(self._waiting) > self.AHEAD:
            self._waiting.popleft().result()

    def _write(self, batch: Sequence[PairImages], pieces: Sequence[tuple[Tensor, Tensor | None]]) -> None:
        pairs = iter(batch)
        for flows, masks in pieces:
            bits = repeat(None) if masks is None else masks.cpu().numpy()
            for flow, valid in zip(flows.cpu().numpy(), bits, strict=False):
                self._write_pair(next(pairs), flow, valid)

    def _write_pair(self, pair: PairImages, flow: np.ndarray, valid: np.ndarray | None) -> None:
        entry = self._open.get(pair.clip) or self._begin(pair.clip)
        try:
            self._fill(entry, pair, flow, valid)
        except OSError as error:  # the store words it, and nothing of the entry stays
            self._open.pop(pair.clip).manager.__exit__(type(error), error, error.__traceback__)
            raise
        if not entry.left:
            self._open.pop(pair.clip).manager.__exit__(None, None, None)

    def _fill(self, entry: _OpenEntry, pair: PairImages, flow: np.ndarray, valid: np.ndarray | None) -> None:
        job = self._jobs[pair.clip]
        entry.arrays = entry.arrays or _allocate(entry.writer, job, self._options)
        try:
            entry.clipped += write_flow(
                entry.arrays, pair.index, flow, valid, on_overflow=self._options["on_overflow"]
            )
        except ValueError as error:
            names = " -> ".join(job.clip.frames[position].name for position in job.pairs[pair.index])
            raise ValueError(f"clip {job.clip.id}, flow {names}: {error}") from error
        entry.left -= 1
        if not entry.left:
            attributes = entry_attributes(job, self._estimator, self._options, entry.clipped)
            entry.writer.attributes.update(attributes)

    def _begin(self, clip: int) -> _OpenEntry:
        manager = self._store.create("flow", self._jobs[clip].inputs)
        self._open[clip] = entry = _OpenEntry(manager, manager.__enter__(), {}, len(self._jobs[clip].fresh))
        return entry


def take_over(job: Job, estimator: FlowEstimator, options: FlowSection, store: Store) -> None:
    """Write the entry of a job all of whose pairs older entries hold."""
    with store.create("flow", job.inputs) as writer:
        _allocate(writer, job, options)
        writer.attributes.update(entry_attributes(job, estimator, options, clipped=0))


def _allocate(writer: EntryWriter, job: Job, options: FlowSection) -> Mapping[str, Any]:
    """The arrays of an entry, with the pairs that older entries hold."""
    stride_px, masks = options["stride_px"], bool(options["masks"])
    arrays = allocate_flow(writer, len(job.pairs), job.clip.size, stride_px=stride_px, with_masks=masks)
    for pair, older in job.held.items():
        older.copy(arrays, pair)
    return arrays
