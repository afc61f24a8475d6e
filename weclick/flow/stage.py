"""The `flow` stage: it estimates the flow from a clip's targets to their possible neighbours, once for all.

One entry holds one clip. Its key follows from the frames' content, the pairs, the estimator and the grid. So
no clip is estimated again that anybody on the store's roots has estimated before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from weclick.common.content import check_unchanged
from weclick.common.progress import Bar
from weclick.common.sections import FlowSection
from weclick.flow.estimators import FlowEstimator, build_estimator, estimator_digest
from weclick.flow.jobs import Job, Pairs, check_clipped, key_inputs
from weclick.flow.pairs import BatchEstimator, PairImages, batches, match_pairs
from weclick.flow.writers import Writers, take_over
from weclick.manifest import Clip, Manifest
from weclick.manifest.read import read_clip
from weclick.store import Entry, Store
from weclick.store.fill import fill
from weclick.store.older import Older


def compute_flow(
    manifest: Manifest,
    wanted_pairs: Callable[[Clip], Pairs],
    *,
    options: FlowSection,
    store: Store,
    device: str = "cpu",
) -> dict[str, str]:
    """Make sure that the store holds the flow of every clip. Pairs that older entries hold are taken over.

    Args:
        manifest: one shard of a split.
        wanted_pairs: which flows a clip needs, as (target, neighbour) positions in its frames.
        options: the section `flow` of the configuration: estimator, options, stride_px, masks, on_overflow,
            batch_pairs.
        store: its entries are not made again; if none is missing, no estimator is built.
        device: that networks compute on.

    Returns:
        Clip id -> key of its entry, without clips that have no pairs. An entry holds P pairs in the order of
        `wanted_pairs`: the array `flow` (P, 2, h, w) int16 steps of 1/FLOW_SCALE px of the stride grid (see
        `read_flow`), and with masks `valid` (P, h, w) uint8 with the bits of MASKS.

    Raises:
        ValueError: an option is unknown, a frame cannot be read, or a flow is beyond FLOW_LIMIT_PX of the
            grid while `on_overflow` is "error".
    """
    digest = estimator_digest(options["estimator"], **options["options"])
    jobs = _jobs(manifest, wanted_pairs, options, digest)
    _compute(manifest, jobs, options, digest, store, device)
    return {job.clip.id: job.key for job in jobs}


def _jobs(
    manifest: Manifest,
    wanted_pairs: Callable[[Clip], Pairs],
    options: FlowSection,
    digest: Mapping[str, Any],
) -> list[Job]:
    return [
        Job(clip, pairs, key_inputs(clip, pairs, digest, options))
        for clip in manifest.clips
        if (pairs := wanted_pairs(clip))
    ]


def _compute(
    manifest: Manifest,
    jobs: Iterable[Job],
    options: FlowSection,
    digest: Mapping[str, Any],
    store: Store,
    device: str,
) -> None:
    """Estimate in this thread, decode ahead in a second, encode and write behind in a third.

    Batches run over the ends of clips, so that a clip of few pairs does not leave a GPU half empty. This run
    takes a clip when its decoding begins, so it holds only the clips that the current batches touch.
    """

    @cache
    def build() -> tuple[FlowEstimator, BatchEstimator]:
        estimator = build_estimator(options["estimator"], device=device, **options["options"])
        check_unchanged(digest, estimator_digest(options["estimator"], **options["options"]), "flow.options")
        return estimator, BatchEstimator(estimator, stride_px=options["stride_px"], masks=options["masks"])

    jobs = [*jobs]
    older = Older(store, "flow", "pairs", (job.inputs for job in jobs))

    def estimate_some(jobs: Iterator[Job], bar: Bar) -> None:
        estimator, estimate = build()
        begun: list[Job] = []

        def to_estimate() -> Iterator[Job]:
            """Jobs of which a pair is to be estimated. What older entries hold whole is written at once."""
            for job in jobs:
                job = replace(job, held=older.of(job.inputs, usable=_has_all_values))
                bar.advance(len(job.held))
                if job.fresh:
                    yield job
                else:
                    take_over(job, estimator, options, store)

        with Writers(begun, estimator, options, store) as writers:
            for batch in batches(_read_pairs(manifest, to_estimate(), begun), options["batch_pairs"]):
                writers.write(batch, estimate(batch))
                bar.advance(len(batch))

    fill(
        store,
        "flow",
        jobs,
        estimate_some,
        key=lambda job: job.key,
        size=lambda job: len(job.pairs),
        what="flow",
        unit="pairs",
        check=lambda job, entry: check_clipped(job, entry, options["on_overflow"]),
    )


def _has_all_values(entry: Entry) -> bool:
    """Whether no value of a flow was clipped: which pair it was of, the entry does not say."""
    return not entry.attributes["clipped"]


def _read_pairs(manifest: Manifest, jobs: Iterable[Job], begun: list[Job]) -> Iterator[PairImages]:
    """The images of pairs to estimate, clip after clip, decoded on demand. `begun` gets the jobs."""
    for number, job in enumerate(jobs):
        begun.append(job)
        fresh = job.fresh
        used = sorted({position for i in fresh for position in job.pairs[i]})
        place = {position: i for i, position in enumerate(used)}
        pairs = [(place[target], place[neighbour]) for target, neighbour in (job.pairs[i] for i in fresh)]
        for pair in match_pairs(read_clip(manifest, job.clip.restrict(used)), pairs, clip=number):
            yield replace(pair, index=fresh[pair.index])
