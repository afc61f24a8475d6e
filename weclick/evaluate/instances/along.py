"""Scores of instances along videos: tracks, and whether objects keep their numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from weclick.common.rle import Rle, encode_masks
from weclick.evaluate.instances.consistency import Step, instance_consistency
from weclick.evaluate.instances.detecting import Decoded, Found, decoded
from weclick.evaluate.instances.steps import EarlierFlow, stretches
from weclick.evaluate.instances.tracks import link_tracks, mask_iou
from weclick.evaluate.instances.truth import TrueInstances
from weclick.evaluate.instances.video import video_ap
from weclick.evaluate.instances.warping import warp_masks
from weclick.manifest import Clip, Manifest
from weclick.proxy_labels import Track, VideoInstances, youtube_vis_json, youtube_vis_results

SAME_IOU = 0.5
"""An object of one frame is one of the next, if it overlaps it so much once it is warped there."""

STABLE = 0.9
"""Share of objects that keep their number from frame to frame, from which on numbers count as stable."""

FIGURES = ("AP", "AP50", "AP75", "AR1", "AR10")

ReadTruth = Callable[[Clip, int], TrueInstances]


class Numbers(NamedTuple):
    """How many objects were found again one frame later, and how many of these have the number they had."""

    again: int
    same: int


def consistency(
    manifest: Manifest, found: Found, flows: Mapping[str, EarlierFlow]
) -> tuple[float | None, int]:
    """The temporal consistency of what was found, see `instance_consistency`; and the number of its pairs.

    None without flow, and if no score reaches one half.
    """
    steps = [(clip.id, t, s) for clip in manifest.clips if clip.id in flows for t, s in flows[clip.id].pairs]

    def step(clip: str, t: int, s: int) -> Step:
        return Step(decoded(found[clip][s]), decoded(found[clip][t]), *flows[clip].along(t, s))

    value = instance_consistency(step(*each) for each in steps)
    return (None if np.isnan(value) else value), len(steps)


def video_figures(
    manifest: Manifest, found: Found, flows: Mapping[str, EarlierFlow], read: ReadTruth
) -> dict[str, Any]:
    """Average precision of tracks, where true objects keep their number over a clip.

    A video is a stretch of scored frames that follow each other along the flow, see `stretches`. Files do not
    say whether their numbers are stable. So each object is warped to the next frame. If it lies on one there,
    that should have its number.

    Args:
        manifest: the split.
        found: on all of its scored frames.
        flows: clip id -> its flow.
        read: gives the true objects of a frame.

    Returns:
        `videos`, their number; `same_numbers`, the share of objects that keep theirs; then FIGURES, `tracks`
        and `true_tracks`. `left_out` instead of these says why there are none.
    """
    runs = list(stretches(manifest, flows))
    if not runs:
        return {"videos": 0, "left_out": "no flow leads from a scored frame to the scored frame before it"}
    counted = [_numbers(clip, run, flows[clip.id], read) for clip, run in runs]
    again, same = (sum(part) for part in zip(*counted, strict=True))
    told = {"videos": len(runs), "same_numbers": same / again if again else None}
    if again and same < STABLE * again:
        return {**told, "left_out": "the numbers of objects change from frame to frame"}
    names = manifest.classes.names
    truth = [_true_video(clip, run, read) for clip, run in runs]
    linked = [_linked_video(clip, run, found, flows[clip.id], read) for clip, run in runs]
    known = youtube_vis_json(truth, names)
    figures = video_ap(known, youtube_vis_results(linked, names))
    return {
        **told,
        **{name: figures[name] for name in FIGURES},
        "tracks": sum(len(video.tracks) for video in linked),
        "true_tracks": sum(not track.crowd for video in truth for track in video.tracks),
    }


def _numbers(clip: Clip, run: Sequence[int], flow: EarlierFlow, read: ReadTruth) -> Numbers:
    again = same = 0
    before = read(clip, run[0])
    for s, t in pairwise(run):
        now = read(clip, t)
        warped = encode_masks(warp_masks(before.masks, flow.along(t, s).flow, clip.frames[t].name))
        overlaps = mask_iou(warped, encode_masks(now.masks))
        if overlaps.size:
            best = overlaps.argmax(0)
            there = overlaps.max(0) >= SAME_IOU
            again += int(there.sum())
            same += int((before.numbers[best] == now.numbers)[there].sum())
        before = now
    return Numbers(again, same)


def _true_video(clip: Clip, run: Sequence[int], read: ReadTruth) -> VideoInstances:
    """Objects with their masks, by number. Groups are crowds, and so are those too small in every frame."""
    codes: dict[tuple[str, int], dict[int, Rle]] = {}
    classes: dict[tuple[str, int], int] = {}
    asked: set[tuple[str, int]] = set()
    for at, t in enumerate(run):
        true = read(clip, t)
        shown = zip(true.numbers.tolist(), encode_masks(true.masks), true.classes.tolist(), strict=True)
        for (number, code, class_id), small in zip(shown, true.small.tolist(), strict=True):
            codes.setdefault(("object", number), {})[at] = code
            classes.setdefault(("object", number), class_id)
            asked |= set() if small else {("object", number)}
        for class_id, code in zip(true.group_classes.tolist(), encode_masks(true.groups), strict=True):
            codes.setdefault(("group", class_id), {})[at] = code
            classes["group", class_id] = class_id
    tracks = [
        Track(classes[key], tuple(of.get(at) for at in range(len(run))), None, key not in asked)
        for key, of in codes.items()
    ]
    return VideoInstances(_names(clip, run), clip.size, tuple(tracks))


def _linked_video(
    clip: Clip, run: Sequence[int], found: Found, flow: EarlierFlow, read: ReadTruth
) -> VideoInstances:
    """What was found, linked along the flow, without the pixels that nobody knows."""
    frames = Decoded([found[clip.id][t] for t in run], lambda at: read(clip, run[at]).known)
    tracks = link_tracks(frames, _Flows(flow, run))
    return VideoInstances(
        _names(clip, run),
        clip.size,
        tuple(Track(track.class_id, track.masks, track.score) for track in tracks),
    )


class _Flows(Sequence[Any]):
    """The flows of a stretch, each read when it is asked for; None for the first frame."""

    def __init__(self, flow: EarlierFlow, run: Sequence[int]):
        self._flow, self._run = flow, run

    def __len__(self) -> int:
        return len(self._run)

    def __getitem__(self, at: Any) -> Any:
        if at >= len(self._run):
            raise IndexError(at)
        return self._flow.along(self._run[at], self._run[at - 1]).flow if at else None


def _names(clip: Clip, run: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"{clip.id}/{clip.frames[t].name}" for t in run)
