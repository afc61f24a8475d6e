"""What the numbers of frames tell: targets without neighbours, and labels that count from another frame."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise

from weclick.common.findings import Finding
from weclick.manifest import Clip
from weclick.manifest.window import Window

TIMES = 1000
"""Numbers of frames that are farther apart than this count microseconds or the like."""


def gap_findings(clips: Sequence[Clip], window: Window) -> list[Finding]:
    """Targets that stay alone because the next frame has a number too far away.

    A few are no fault, such as the first frames of clips. It is told if they are a quarter, or all of a clip.

    Args:
        clips: of the training split, whole.
        window: of the training.
    """
    if window.frames <= 1:
        return []
    gaps, whole_clip = [], False
    for clip in clips:
        alone = _alone(clip, window)
        gaps += alone
        whole_clip = whole_clip or len(alone) == len(clip.targets) > 1
    total = sum(len(clip.targets) for clip in clips)
    if not gaps or (len(gaps) * 4 < total and not whole_clip):
        return []
    key = "interval_frames" if window.sampling == "fixed" else "max_gap_frames"
    return [_too_far("targets", "neighbour", total, gaps, f"window.{key}")]


def consistency_findings(clips: Sequence[Clip], max_gap_frames: int) -> list[Finding]:
    """Scored frames of which none has an earlier frame near enough to measure temporal consistency.

    Args:
        clips: of the split that is scored, whole.
        max_gap_frames: largest gap that is measured.
    """
    gaps = [gap for clip in clips for gap in _nearest(clip, clip.scored, "forward") if gap]
    if not gaps or min(gaps) <= max_gap_frames:
        return []
    total = sum(len(clip.scored) for clip in clips)
    return [_too_far("scored frames", "earlier frame", total, gaps, "evaluate.max_gap_frames")]


def shift_findings(what: str, clips: Iterable[Clip]) -> list[Finding]:
    """Labels at even distances that begin with the second frame: they may count from 1, frames from 0."""
    firsts = []
    for clip in clips:
        numbers = [frame.number for frame in clip.frames]
        labelled = [frame.number for frame in clip.frames if frame.label]
        steps = {b - a for a, b in pairwise(labelled)}
        if len(labelled) < 2:
            continue
        dense = numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        if not dense or len(steps) != 1 or max(steps) < 2 or labelled[0] != numbers[0] + 1:
            return []
        firsts.append((clip, labelled, max(steps)))
    if not firsts:
        return []
    clip, labelled, step = firsts[0]
    found = (
        f"labels lie {step} frames apart, but begin with the second frame, {labelled[0]} "
        f"(clip {clip.id}, whose frames begin with {clip.frames[0].number})"
    )
    todo = (
        "if labels count from 1 and frames from 0, each lies one frame late: take 1 from the labels' numbers"
    )
    return [Finding("warning", what, found, todo)]


def _alone(clip: Clip, window: Window) -> list[int]:
    """For each target without neighbour that has a frame farther away: the gap to it."""
    gaps = _nearest(clip, clip.targets, window.direction)
    if window.sampling == "random":
        return [gap for gap in gaps if gap > window.max_gap_frames]
    targets = zip(clip.targets, gaps, strict=True)
    return [gap for target, gap in targets if gap and not window.candidates(clip, target)]


def _nearest(clip: Clip, positions: Sequence[int], direction: str) -> list[int]:
    """The gap from each position to the nearest frame on the sides that a window takes; 0 without one."""
    numbers = sorted(frame.number for frame in clip.frames)
    found = []
    for position in positions:
        here = clip.frames[position].number
        at = bisect_left(numbers, here)
        before = [here - numbers[at - 1]] if at and direction != "backward" else []
        after = [numbers[at + 1] - here] if at + 1 < len(numbers) and direction != "forward" else []
        found.append(min(before + after, default=0))
    return found


def _too_far(what: str, missing: str, total: int, gaps: Sequence[int], key: str) -> Finding:
    wanted = sorted(gaps)[int(0.9 * (len(gaps) - 1))]  # a rare gap, such as a cut, is none to bridge
    if min(gaps) > TIMES:
        todo = "the numbers in the names seem to be times: name the frames 0, 1, 2, ..."
    else:
        todo = f"set {key} to {wanted}"
    found = f"{len(gaps)} of {total} have no {missing}, since the next frame is {wanted} away by its number"
    return Finding("warning", what, found, todo)
