"""The `flow` stage: it estimates the flows that a method needs of a clip, once for all.

One entry holds one need of one clip. Its key follows from the frames' content, the pairs, the estimator and
the grid. So no clip is estimated again that anybody on the store's roots has estimated before. Entries of
several needs may list the same pair; it is estimated for one of them, and the others take it over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from weclick.common.content import check_unchanged
from weclick.common.devices import Device, settled
from weclick.common.progress import Bar
from weclick.common.sections import FlowSection
from weclick.flow.estimators import FlowEstimator, build_estimator, estimator_digest
from weclick.flow.jobs import Job, Pairs, check_clipped, key_inputs
from weclick.flow.pairs import PairImages, batches, match_pairs
from weclick.flow.writers import Writers, take_over
from weclick.manifest import Clip, Manifest
from weclick.manifest.read import read_clip
from weclick.store import Entry, Store, by_clip
from weclick.store.fill import fill
from weclick.store.index import WINDOW
from weclick.store.older import Older

if TYPE_CHECKING:  # loads torch
    from weclick.flow.batch_estimator import BatchEstimator


def compute_flow(
    manifest: Manifest,
    wanted_pairs: Callable[[Clip], Pairs],
    *,
    options: FlowSection,
    store: Store,
    device: Device = "cpu",
) -> dict[str, str]:
    """As `compute_needs`, for one list of pairs a clip.

    Args:
        manifest: one shard of a split.
        wanted_pairs: which flows a clip needs, as (target, neighbour) positions in its frames.
        options, store, device: as in `compute_needs`.

    Returns:
        Clip id -> key of its entry, without clips that have no pairs.

    Raises:
        ValueError: as in `compute_needs`.
    """
    made = compute_needs(manifest, {WINDOW: wanted_pairs}, options=options, store=store, device=device)
    return {clip: keys[WINDOW] for clip, keys in made.items()}


def compute_needs(
    manifest: Manifest,
    needs: Mapping[str, Callable[[Clip], Pairs]],
    *,
    options: FlowSection,
    store: Store,
    device: Device = "cpu",
) -> dict[str, dict[str, str]]:
    """Make sure that the store holds the flow of every clip. Pairs that other entries hold are taken over.

    Args:
        manifest: one shard of a split.
        needs: name of a need -> which flows a clip needs for it, as (target, neighbour) positions in its
            frames. They are made in this order.
        options: the section `flow` of the configuration: estimator, options, stride_px, masks, on_overflow,
            batch_pairs.
        store: its entries are not made again; if none is missing, no estimator is built.
        device: that networks compute on. A function is asked for it if an entry is missing.

    Returns:
        Clip id -> need -> key of its entry, without needs that a clip has no pairs for, and without clips
        that have none at all. An entry holds P pairs in the order of its need: the array `flow`
        (P, 2, h, w) int16 steps of 1/FLOW_SCALE px of the stride grid (see `read_flow`), and with masks
        `valid` (P, h, w) uint8 with the bits of MASKS.

    Raises:
        ValueError: an option is unknown, a frame cannot be read, or a flow is beyond FLOW_LIMIT_PX of the
            grid while `on_overflow` is "error".
    """
    digest = estimator_digest(options["estimator"], **options["options"])
    jobs = {need: _jobs(manifest, pairs_of, options, digest) for need, pairs_of in needs.items()}
    _compute(manifest, jobs, options, digest, store, device)
    return by_clip({need: {job.clip.id: job.key for job in some} for need, some in jobs.items()})


def _jobs(
    manifest: Manifest,
    pairs_of: Callable[[Clip], Pairs],
    options: FlowSection,
    digest: Mapping[str, Any],
) -> list[Job]:
    return [
        Job(clip, pairs, key_inputs(clip, pairs, digest, options))
        for clip in manifest.clips
        if (pairs := pairs_of(clip))
    ]


def _compute(
    manifest: Manifest,
    jobs: Mapping[str, Iterable[Job]],
    options: FlowSection,
    digest: Mapping[str, Any],
    store: Store,
    device: Device,
) -> None:
    """Estimate in this thread, decode ahead in a second, encode and write behind in a third.

    Batches run over the ends of clips, so that a clip of few pairs does not leave a GPU half empty. This run
    takes a clip when its decoding begins, so it holds only the clips that the current batches touch.

    All clips of one need are done before the next need begins, which finds their pairs in the store.
    """

    @cache
    def build() -> tuple[FlowEstimator, BatchEstimator]:
        from weclick.flow.batch_estimator import BatchEstimator

        estimator = build_estimator(options["estimator"], device=settled(device), **options["options"])
        check_unchanged(digest, estimator_digest(options["estimator"], **options["options"]), "flow.options")
        return estimator, BatchEstimator(estimator, stride_px=options["stride_px"], masks=options["masks"])

    siblings: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for job in (job for some in jobs.values() for job in some):
        siblings[job.clip.id].append(job.inputs)
    older = Older(store, "flow", "pairs", (inputs for each in siblings.values() for inputs in each))

    def estimate_some(jobs: Iterator[Job], bar: Bar) -> None:
        estimator, estimate = build()
        begun: list[Job] = []

        def to_estimate() -> Iterator[Job]:
            """Jobs of which a pair is to be estimated. What older entries hold whole is written at once."""
            for job in jobs:
                others = [inputs for inputs in siblings[job.clip.id] if inputs is not job.inputs]
                job = replace(job, held=older.of(job.inputs, _has_all_values, others))
                bar.advance(len(job.held))
                if job.fresh:
                    yield job
                else:
                    take_over(job, estimator, options, store)

        with Writers(begun, estimator, options, store) as writers:
            for batch in batches(_read_pairs(manifest, to_estimate(), begun), options["batch_pairs"]):
                writers.write(batch, estimate(batch))
                bar.advance(len(batch))

    for need, some in jobs.items():
        fill(
            store,
            "flow",
            some,
            estimate_some,
            key=lambda job: job.key,
            size=lambda job: len(job.pairs),
            what="flow" if len(jobs) == 1 else f"flow, {need}",
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
