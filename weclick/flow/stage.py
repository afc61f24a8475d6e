"""The `flow` stage: for every clip, the flow from its targets to their possible neighbours, once for all.

One entry holds one clip. Its key follows from the frames' content, the pairs, the estimator and the grid,
so that a pair which anybody on the store's roots has estimated is not estimated again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from weclick.flow.entries import CODEC, allocate_flow, write_flow
from weclick.flow.estimators import FlowEstimator, build_estimator, estimator_digest
from weclick.flow.pairs import MASKS, PairImages, batches, estimate_batch, match_pairs
from weclick.manifest import Clip, Manifest
from weclick.media import read_clip
from weclick.progress import Bar, progress_bar
from weclick.store import Store, entry_key

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
        with progress_bar("flow", sum(len(job.pairs) for job in missing.values()), "pairs") as bar:
            for job in missing.values():
                _compute_clip(manifest, job, estimator, options, store, bar)
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


def _compute_clip(
    manifest: Manifest,
    job: _Job,
    estimator: FlowEstimator,
    options: Mapping[str, Any],
    store: Store,
    bar: Bar,
) -> None:
    """Estimate in this thread, decode ahead in a second, encode and write behind in a third."""
    used = sorted({position for pair in job.pairs for position in pair})
    place = {position: i for i, position in enumerate(used)}
    pairs = [(place[target], place[neighbour]) for target, neighbour in job.pairs]
    images = read_clip(manifest, job.clip.restrict(used))
    written: list[Future[int]] = []
    with store.create("flow", job.inputs) as entry, ThreadPoolExecutor(1) as behind:
        arrays = allocate_flow(
            entry,
            len(pairs),
            job.clip.size,
            stride_px=options["stride"],
            with_masks=bool(options["masks"]),
        )
        for batch in batches(match_pairs(images, pairs), options["batch_pairs"]):
            flow, valid = estimate_batch(
                estimator, batch, stride_px=options["stride"], masks=options["masks"]
            )
            if written:
                written[-1].result()
            written.append(behind.submit(_write, arrays, job, batch, flow, valid, options["on_overflow"]))
            bar.advance(len(batch))
        clipped = sum(future.result() for future in written)
        entry.attributes.update(_attributes(job, estimator, options, clipped))


def _write(
    arrays: Mapping[str, Any],
    job: _Job,
    batch: list[PairImages],
    flow: np.ndarray,
    valid: np.ndarray | None,
    on_overflow: Literal["error", "clip"],
) -> int:
    """Write a batch; returns how many values were clipped."""
    clipped = 0
    for i, pair in enumerate(batch):
        bits = None if valid is None else valid[i]
        try:
            clipped += write_flow(arrays, pair.index, flow[i], bits, on_overflow=on_overflow)
        except ValueError as error:
            names = " -> ".join(job.clip.frames[position].name for position in job.pairs[pair.index])
            raise ValueError(f"clip {job.clip.id}, flow {names}: {error}") from error
    return clipped


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
