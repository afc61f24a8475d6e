"""The `flow` stage: for every clip, the flow from its targets to their possible neighbours, once for all.

One entry holds one clip. Its key follows from the frames' content, the pairs, the estimator and the grid,
so that a pair which anybody on the store's roots has estimated is not estimated again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from torch import Tensor

from weclick.flow.entries import CODEC, allocate_flow, write_flow
from weclick.flow.estimators import FlowEstimator, build_estimator, estimator_digest
from weclick.flow.pairs import MASKS, BatchEstimator, PairImages, batches, match_pairs
from weclick.manifest import Clip, Manifest
from weclick.media import read_clip
from weclick.progress import progress_bar
from weclick.store import EntryWriter, Store, entry_key

FORMAT_VERSION = 1

Pairs = tuple[tuple[int, int], ...]
"""(target, neighbour) positions in a clip's frames."""


@dataclass(frozen=True)
class _Job:
    """A clip, its pairs, and what the key of its entry is made of."""

    clip: Clip
    pairs: Pairs
    inputs: Mapping[str, Any]

    @property
    def key(self) -> str:
        return entry_key("flow", self.inputs)


def compute_flow(
    manifest: Manifest,
    pairs_of: Callable[[Clip], Pairs],
    *,
    options: Mapping[str, Any],
    store: Store,
    device: str = "cpu",
) -> dict[str, str]:
    """Make sure that the store holds the flow of every clip.

    Args:
        manifest: one shard of a split.
        pairs_of: which flows a clip needs, as (target, neighbour) positions in its frames.
        options: the section `flow` of the configuration: estimator, options, stride, masks, on_overflow,
            batch_pairs.
        store: entries that it has are not made again; where it has all, no estimator is built.
        device: where networks compute.

    Returns:
        Clip id -> key of its entry; clips without pairs are left out. Arrays of an entry, P pairs in the
        order of `pairs_of`: `flow` (P, 2, h, w) int16 of 1/64 px of the stride grid (see `read_flow`), and,
        where masks are asked for, `valid` (P, h, w) uint8 with the bits of MASKS.

    Raises:
        ValueError: an unknown option, a frame that cannot be read, or a flow beyond ±512 px of the grid
            while `on_overflow` is "error".
    """
    jobs = _jobs(manifest, pairs_of, options)
    missing = {job.key: job for job in jobs if not _has(store, job, options["on_overflow"])}
    if missing:
        estimator = build_estimator(options["estimator"], device=device, **options["options"])
        _compute(manifest, list(missing.values()), estimator, options, store)
    return {job.clip.id: job.key for job in jobs}


def flow_keys(
    manifest: Manifest, pairs_of: Callable[[Clip], Pairs], options: Mapping[str, Any]
) -> dict[str, str]:
    """Clip id -> key of its entry, as `compute_flow` returns it, without computing anything."""
    return {job.clip.id: job.key for job in _jobs(manifest, pairs_of, options)}


def _jobs(manifest: Manifest, pairs_of: Callable[[Clip], Pairs], options: Mapping[str, Any]) -> list[_Job]:
    digest = estimator_digest(options["estimator"], **options["options"])
    return [
        _Job(clip, pairs, _inputs(clip, pairs, digest, options))
        for clip in manifest.clips
        if (pairs := pairs_of(clip))
    ]


def _inputs(
    clip: Clip, pairs: Pairs, estimator: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "format": FORMAT_VERSION,
        "pairs": [[clip.frames[position].digest for position in pair] for pair in pairs],
        "estimator": estimator,
        "stride_px": options["stride"],
        "masks": {name: MASKS[name] for name in sorted(options["masks"])},
        "codec": CODEC,
    }


def _has(store: Store, job: _Job, on_overflow: str) -> bool:
    """Whether the entry exists; one with clipped values is refused where the config wants an error."""
    entry = store.find("flow", job.key)
    if entry and entry.attributes["clipped"] and on_overflow == "error":
        raise ValueError(
            f"clip {job.clip.id}: its cached flow {entry.path} holds {entry.attributes['clipped']} values "
            "clipped to ±512 px, made under flow.on_overflow: clip; set that too, or use another estimator"
        )
    return entry is not None


def _compute(
    manifest: Manifest,
    jobs: Sequence[_Job],
    estimator: FlowEstimator,
    options: Mapping[str, Any],
    store: Store,
) -> None:
    """Estimate in this thread, decode ahead in a second, encode and write behind in a third.

    Batches run over the ends of clips, so that a clip of few pairs does not leave a GPU half empty.
    """
    estimate = BatchEstimator(estimator, stride_px=options["stride"], masks=options["masks"])
    total = sum(len(job.pairs) for job in jobs)
    with _Writers(jobs, estimator, options, store) as writers, progress_bar("flow", total, "pairs") as bar:
        for batch in batches(_read_pairs(manifest, jobs), options["batch_pairs"]):
            writers.write(batch, estimate(batch))
            bar.advance(len(batch))


def _read_pairs(manifest: Manifest, jobs: Sequence[_Job]) -> Iterator[PairImages]:
    """The images of all pairs, clip after clip, decoded as they are asked for."""
    for number, job in enumerate(jobs):
        used = sorted({position for pair in job.pairs for position in pair})
        place = {position: i for i, position in enumerate(used)}
        pairs = [(place[target], place[neighbour]) for target, neighbour in job.pairs]
        yield from match_pairs(read_clip(manifest, job.clip.restrict(used)), pairs, clip=number)


@dataclass
class _OpenEntry:
    """An entry that is being filled, how many of its pairs are still to come, and how many values clipped."""

    manager: AbstractContextManager[EntryWriter]
    writer: EntryWriter
    arrays: Mapping[str, Any]
    left: int
    clipped: int = 0


class _Writers:
    """The entries that are being filled: a batch may end one and begin the next. One thread does the work.

    Leaving the block waits for what the thread was given, so that whole clips are kept even after an error
    elsewhere; what is not whole by then leaves nothing behind.
    """

    AHEAD = 2
    """Batches that may wait for the thread, which bounds the memory."""

    def __init__(
        self, jobs: Sequence[_Job], estimator: FlowEstimator, options: Mapping[str, Any], store: Store
    ):
        self._jobs, self._estimator, self._options, self._store = jobs, estimator, options, store
        self._open: dict[int, _OpenEntry] = {}
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> _Writers:
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
        """Hand a batch over; here is raised what went wrong with an earlier one."""
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
        job = self._jobs[pair.clip]
        entry = self._open.get(pair.clip) or self._begin(pair.clip)
        try:
            entry.clipped += write_flow(
                entry.arrays, pair.index, flow, valid, on_overflow=self._options["on_overflow"]
            )
        except ValueError as error:
            names = " -> ".join(job.clip.frames[position].name for position in job.pairs[pair.index])
            raise ValueError(f"clip {job.clip.id}, flow {names}: {error}") from error
        entry.left -= 1
        if not entry.left:
            attributes = _attributes(job, self._estimator, self._options, entry.clipped)
            entry.writer.attributes.update(attributes)
            self._open.pop(pair.clip).manager.__exit__(None, None, None)

    def _begin(self, clip: int) -> _OpenEntry:
        job, options = self._jobs[clip], self._options
        manager = self._store.create("flow", job.inputs)
        writer = manager.__enter__()
        self._open[clip] = entry = _OpenEntry(manager, writer, {}, len(job.pairs))
        entry.arrays = allocate_flow(
            writer,
            len(job.pairs),
            job.clip.size,
            stride_px=options["stride"],
            with_masks=bool(options["masks"]),
        )
        return entry


def _attributes(
    job: _Job, estimator: FlowEstimator, options: Mapping[str, Any], clipped: int
) -> dict[str, Any]:
    return {
        "pairs": [[job.clip.frames[position].name for position in pair] for pair in job.pairs],
        "pair_positions": [list(pair) for pair in job.pairs],
        "direction": "on the target's grid, pointing to the neighbour",
        "axes": {"flow": "PDHW", "valid": "PHW"} if options["masks"] else {"flow": "PDHW"},
        "components": ["dx", "dy"],
        "units": "px of the stride grid",
        "scale_px": 1 / 64,
        "clipped": clipped,
        "stride_px": options["stride"],
        "grid": "cell i is centred at (i + 0.5) * stride_px - 0.5 px of the image",
        "image_size": list(job.clip.size),
        "masks": {name: MASKS[name] for name in sorted(options["masks"])},
        "estimator": dict(estimator.digest),
        "licence": estimator.licence,
    }
