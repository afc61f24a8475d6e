"""How good a flow is: by the labels and colours that it carries along, and by true flow where that is known.

For every pair (t - gap, t) of frames, labels and colours of t - gap are fetched along the flow t -> t - gap
and compared with those of t. Labels are fetched from the nearest pixel and counted in one confusion matrix
over all pairs: their mIoU is what segmentation papers report. Colours are fetched bilinearly; their mean
absolute difference is the photometric error. Zero flow is the yardstick: a flow that does not beat it is of
no use, or points the wrong way.

A mask leaves pixels out; coverage is the share that stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median_high
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from weclick.common.errors import InputError
from weclick.common.machine import machine, versions
from weclick.common.progress import progress_bar
from weclick.evaluate.bench.flow_data import Truth, Video
from weclick.flow import build_estimator, estimator_digest
from weclick.flow.estimators import parse_estimator
from weclick.geometry import backward_warp, backward_warp_nearest, forward_backward_valid, photometric_valid
from weclick.metrics import ConfusionMatrix
from weclick.store.flow_entries import MASK_BITS

DEFAULT_ESTIMATORS = ("zero", "dis:preset=fast", "dis:preset=medium", "dis:preset=medium,finest_scale=0")
GAPS = (1, 2, 4, 7)
MASKS = tuple(MASK_BITS)

Estimate = Callable[[Tensor, Tensor], Tensor]


class Judged(NamedTuple):
    """A flow (1, 2, H, W) px, mask -> where to believe it (1, 1, H, W) bool, and the seconds it took."""

    flow: Tensor
    valid: dict[str, Tensor]
    seconds: float


@dataclass
class WarpTally:
    """Sums over the pairs of one mask."""

    matrix: ConfusionMatrix | None
    pixels: int = 0
    valid: int = 0
    error: float = 0.0

    def figures(self) -> dict[str, Any]:
        """Shares 0..1, and the mean absolute RGB error in grey levels; None where nothing counts."""
        miou = self.matrix.miou() if self.matrix else None
        return {
            "miou": _rounded(miou, 4),
            "coverage": round(self.valid / self.pixels, 4),
            "photometric_error_grey_levels": _rounded(self.error / max(self.valid, 1), 3),
        }


@dataclass
class TruthTally:
    """Sums over the pairs of one mask, at pixels whose true flow is known."""

    known: int = 0
    valid: int = 0
    error_px: float = 0.0
    outliers: int = 0

    def figures(self) -> dict[str, Any]:
        """Means over the pixels of all pairs: end-point error, and KITTI's share of outliers (Fl)."""
        shown = max(self.valid, 1)
        return {
            "epe_px": _rounded(self.error_px / shown if self.valid else None, 3),
            "outliers": _rounded(self.outliers / shown if self.valid else None, 4),
            "coverage": round(self.valid / max(self.known, 1), 4),
        }


def bench_flow(
    specs: Sequence[str],
    *,
    video: Video | None = None,
    truth: Mapping[str, Sequence[Truth]] = MappingProxyType({}),
    gaps: Sequence[int] = GAPS,
    at_most: int | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Measure estimators on frames, and on pairs of known flow.

    Args:
        specs: "zero", or "name:option=value,..." with the options of a flow estimator.
        video: frames, with labels or without.
        truth: name of a set -> pairs of images with their true flow.
        gaps: distances of the frames of a pair, in frames of the video.
        at_most: pairs to take at each gap, evenly spread; None takes all.
        device: where networks compute.

    Returns:
        machine, versions, `table` with a row for each estimator, gap and mask, and where there is true flow
        `truth` with a row for each estimator, set and mask.

    Raises:
        InputError: an estimator is unknown, or no gap has a pair to measure.
    """
    for spec in specs:
        check_estimator(spec)
    counts = {gap: len(video.targets(gap, at_most)) for gap in gaps} if video else {}
    if video and not any(counts.values()):
        raise _no_pairs(video, gaps)
    table, truth_table = [], []
    total = (sum(counts.values()) + sum(map(len, truth.values()))) * len(specs)
    with progress_bar("flow-bench", total, "pairs") as bar:
        for spec in specs:
            name, estimate = open_estimator(spec, device)
            bar.say(name)
            for gap in (gap for gap, count in counts.items() if count):
                assert video
                rows = measure_warp(estimate, video, gap, at_most, bar.advance)
                table += [{"estimator": name, "gap_frames": gap, **row} for row in rows]
            for known, pairs in truth.items():
                rows = measure_truth(estimate, pairs, bar.advance)
                truth_table += [{"estimator": name, "truth": known, **row} for row in rows]
    measured = {"table": table, **({"truth": truth_table} if truth else {})}
    used = versions("numpy", "opencv-python-headless", "torch", "torchvision")
    return {"machine": machine(device), "versions": used, **measured}


def check_estimator(spec: str) -> None:
    """Check an estimator's name and options without building it.

    Raises:
        InputError: it is unknown, or has no such option.
        FileNotFoundError: its weights are not there.
    """
    name, options = parse_estimator(spec, "--estimator")
    if name != "zero":
        try:
            estimator_digest(name, **options)
        except ValueError as error:
            raise InputError(f"--estimator {spec}: {error}") from error


def open_estimator(spec: str, device: str) -> tuple[str, Estimate]:
    """'dis:preset=fast' -> its name in a table, without folders, and its `estimate`."""
    name, options = parse_estimator(spec, "--estimator")
    if name == "zero":
        return "zero flow", lambda target, _: torch.zeros_like(target[:, :2], dtype=torch.float32)
    estimator = build_estimator(name, device=device, **options)
    shown = (f"{key}={Path(value).name if key == 'weights' else value}" for key, value in options.items())
    return " ".join([name, *shown]), estimator.estimate


def measure_warp(
    estimate: Estimate,
    video: Video,
    gap: int,
    at_most: int | None = None,
    advance: Callable[[], None] = lambda: None,
) -> list[dict[str, Any]]:
    """Rows of one gap, one for each mask: how well labels and colours agree after the warp."""
    scored = bool(video.labels)
    tallies = {
        mask: WarpTally(ConfusionMatrix(video.classes, ignore=video.ignore) if scored else None)
        for mask in MASKS
    }
    seconds = []
    for pair in video.pairs(gap, at_most):
        judged = judge(estimate, pair.target, pair.neighbour)
        warped, _ = backward_warp(pair.neighbour.float(), judged.flow)
        error = (warped - pair.target).abs().mean(1, keepdim=True)
        labels = None
        if pair.neighbour_label is not None and pair.target_label is not None:
            labels = backward_warp_nearest(pair.neighbour_label, judged.flow)[0], pair.target_label
        for mask, valid in judged.valid.items():
            tally = tallies[mask]
            tally.pixels += valid.numel()
            tally.valid += int(valid.sum())
            tally.error += float(error[valid].sum())
            if tally.matrix and labels:
                tally.matrix.update(*(label[valid] for label in labels))
        seconds.append(judged.seconds)
        advance()
    return [{"mask": mask, **tally.figures(), **_times(seconds)} for mask, tally in tallies.items()]


def measure_truth(
    estimate: Estimate, truth: Sequence[Truth], advance: Callable[[], None] = lambda: None
) -> list[dict[str, Any]]:
    """Rows of one set, one for each mask: how far its flow is from the true one.

    An outlier is off by more than 3 px and by more than 5 % of the true motion (KITTI 2015).
    """
    tallies = {mask: TruthTally() for mask in MASKS}
    seconds = []
    for pair in truth:
        first, second, true_flow, known = pair.read()
        judged = judge(estimate, first, second)
        error = (judged.flow - true_flow).norm(dim=1, keepdim=True)
        outlier = (error > 3) & (error > 0.05 * true_flow.norm(dim=1, keepdim=True))
        for mask, valid in judged.valid.items():
            tally, counted = tallies[mask], valid & known
            tally.known += int(known.sum())
            tally.valid += int(counted.sum())
            tally.error_px += float(error[counted].double().sum())
            tally.outliers += int(outlier[counted].sum())
        seconds.append(judged.seconds)
        advance()
    return [{"mask": mask, **tally.figures(), **_times(seconds)} for mask, tally in tallies.items()]


def judge(estimate: Estimate, target: Tensor, neighbour: Tensor) -> Judged:
    """The flow target -> neighbour, and where each of the masks believes it."""
    began = time.perf_counter()
    flow = estimate(target, neighbour).cpu()
    seconds = time.perf_counter() - began
    consistent = forward_backward_valid(flow, estimate(neighbour, target).cpu())
    alike = photometric_valid(target, neighbour, flow)
    valid = (torch.ones_like(consistent), consistent, alike, consistent & alike)
    return Judged(flow, dict(zip(MASKS, valid, strict=True)), seconds)


def _no_pairs(video: Video, gaps: Sequence[int]) -> InputError:
    told = f"{video.source}: {len(video.names)} frames"
    if not video.labels:
        return InputError(f"{told} hold no pair at a gap of {list(gaps)} frames; choose a smaller --gap")
    at = sorted(video.labels)
    nearest = min((later - earlier for earlier, later in pairwise(at)), default=None)
    advice = "label more frames, or leave --labels out" if nearest is None else f"try --gap {nearest}"
    return InputError(f"{told}, {len(at)} with a label, but no two of them lie {list(gaps)} apart; {advice}")


def _times(seconds: Sequence[float]) -> dict[str, Any]:
    return {"ms_per_pair": round(1e3 * median_high(seconds), 2), "pairs": len(seconds)}


def _rounded(value: float | None, digits: int) -> float | None:
    """None for what is unknown: JSON knows no NaN."""
    return None if value is None or value != value else round(value, digits)
