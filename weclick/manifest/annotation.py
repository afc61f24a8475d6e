"""What people annotated on the target frames of a split, and what of it a training may use.

A budget of minutes tells what an annotation is worth: only the frames are used whose clicks or masks people
could have made in that time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from weclick.common.errors import InputError
from weclick.common.sections import AnnotationSection, Supervision
from weclick.manifest.click_table import ClickTable
from weclick.manifest.clips import Clip, Frame, Manifest

FREE = "background"
"""Name of the class whose masks cost nothing: they are what the other masks leave."""

MASKED = ("masks", "both")
"""Values of `supervision` with which networks learn from masks."""

Target = tuple[str, int]
"""Id of a clip, and position of a target in its frames."""


@dataclass(frozen=True)
class Annotated:
    """What a training may use of a split's annotation.

    Attributes:
        manifest: of the split. Targets whose mask may be used have a label, the others none.
        clicks: those that may be used.
        supervision: what there is of what was asked for.
        seconds: that people take for it; 0 without a budget.
    """

    manifest: Manifest
    clicks: ClickTable
    supervision: Supervision
    seconds: float = 0.0

    @property
    def masked(self) -> int:
        """Number of the targets whose mask may be used."""
        clips = self.manifest.clips if self.supervision in MASKED else ()
        return sum(clip.frames[target].label is not None for clip in clips for target in clip.targets)


def check_labelled(split: str, clips: Iterable[Clip], supervision: Supervision) -> None:
    """Check that the targets of a split have the labels that its supervision wants.

    Args:
        split: the training split.
        clips: of it.
        supervision: with masks every target needs a label. With both some do: the others learn from their
            clicks.

    Raises:
        InputError: a label is missing; names a frame.
    """
    targets = [(clip.id, clip.frames[target]) for clip in clips for target in clip.targets]
    bare = [f"frame {frame.name} of clip {clip}" for clip, frame in targets if frame.label is None]
    if not bare or supervision not in MASKED or (supervision == "both" and len(bare) < len(targets)):
        return
    other = "clicks" if len(bare) == len(targets) else "both, with which they learn from clicks"
    raise InputError(
        f"supervision is {supervision!r}, but {len(bare)} of {len(targets)} targets of split {split!r} have "
        f"no label, e.g. {bare[0]}; label them, or set supervision: {other}"
    )


def annotated(
    manifest: Manifest,
    clicks: ClickTable,
    options: AnnotationSection,
    supervision: Supervision,
    *,
    keep_targets: bool,
) -> Annotated:
    """What a training may use of a split's annotation.

    With both, a target that has a mask learns from that, and not from its clicks. These would count as much
    as all other pixels, and most of them lie on small things.

    With a budget, targets are taken in the order of `in_order` until the minutes are used up. With both,
    masks get the first half of the minutes, and clicks on the frames after them the second half. Proxy labels
    are no annotation of people, and no budget holds for them.

    Args:
        manifest: the training split.
        clicks: on its targets; a mask costs by the clicks of its frame, one an object.
        options: the section `annotation`.
        supervision: what is asked for.
        keep_targets: keep also the targets that are not annotated, for a student that distils: it learns
            from soft labels there.

    Raises:
        InputError: a label is missing (see `check_labelled`), or the minutes do not pay for a single frame.
    """
    if supervision == "proxies":
        return Annotated(manifest, clicks, supervision)
    check_labelled(manifest.split, manifest.clips, supervision)
    order, costs = in_order(manifest.clips), _Costs(manifest, clicks, options)
    if options["minutes"] is None or not order:
        if supervision != "both":
            return Annotated(manifest, clicks, supervision)
        left = _of_targets(clicks, manifest, [each for each in order if not costs.has_label(each)])
        return Annotated(manifest, left, "both" if len(left) else "masks")
    share_s = 60 * options["minutes"] / (2 if supervision == "both" else 1)
    masked = {} if supervision == "clicks" else _paid(filter(costs.has_label, order), costs.mask_s, share_s)
    rest = [target for target in order if target not in masked]
    clicked = {} if supervision == "masks" else _paid(rest, costs.clicks_s, share_s)
    if not masked and not clicked:
        only = supervision == "masks"
        cost_s = (costs.mask_s if only else costs.clicks_s)(order[0])
        raise InputError(
            f"annotation.minutes is {options['minutes']:g}, but the {'masks' if only else 'clicks'} of the "
            f"first frame take {cost_s:.1f} s; give more minutes"
        )
    kept = _restricted(manifest, masked, None if keep_targets else masked | clicked)
    found: Supervision = "both" if masked and clicked else "masks" if masked else "clicks"
    seconds = sum(masked.values()) + sum(clicked.values())
    return Annotated(kept, _of_targets(clicks, manifest, clicked), found, seconds)


def in_order(clips: Sequence[Clip]) -> list[Target]:
    """All targets in the order in which people annotate them: spread over clips first, then over time.

    The first frame of every clip is the one in its middle, then those at a quarter and three quarters, and
    so on. Only ids of clips decide which clip is first. So a larger budget contains a smaller one.

    Example:
        >>> from weclick.manifest import Frame
        >>> frames = tuple(Frame(str(i), i, "") for i in range(5))
        >>> in_order([Clip("a", frames, (0, 1, 2, 3, 4)), Clip("b", frames, (3,))])
        [('b', 3), ('a', 2), ('a', 1), ('a', 3), ('a', 0), ('a', 4)]
    """
    spread = {clip.id: _middles_first(clip.targets) for clip in clips}
    ids = sorted(spread, key=lambda name: hashlib.sha256(name.encode()).digest())
    rounds = range(max(map(len, spread.values()), default=0))
    return [(name, spread[name][turn]) for turn in rounds for name in ids if turn < len(spread[name])]


def _middles_first(items: Sequence[int]) -> list[int]:
    """The items in the order of the van der Corput sequence: 1/2, 1/4, 3/4, 1/8 and so on of their list."""
    found: dict[int, None] = {}
    place = 1
    while len(found) < len(items):
        bits = f"{place:b}"
        fraction = int(bits[::-1], 2) / 2 ** len(bits)
        found[items[int(fraction * len(items))]] = None
        place += 1
    return list(found)


class _Costs:
    """The seconds that people take for a target's clicks or mask."""

    def __init__(self, manifest: Manifest, clicks: ClickTable, options: AnnotationSection):
        self._clips = {clip.id: clip for clip in manifest.clips}
        self._clicks, self._options = clicks, options

    def has_label(self, target: Target) -> bool:
        return self._frame(target).label is not None

    def clicks_s(self, target: Target) -> float:
        ids = self._ids(target)
        first = len(np.unique(ids))
        options = self._options
        return (
            options["frame_s"]
            + first * options["click_first_s"]
            + (len(ids) - first) * options["click_next_s"]
        )

    def mask_s(self, target: Target) -> float:
        objects = sum(self._clicks.classes[class_id] != FREE for class_id in self._ids(target))
        return self._options["frame_s"] + objects * self._options["mask_object_s"]

    def _ids(self, target: Target) -> np.ndarray:
        return self._clicks.class_ids(target[0], self._frame(target).name)

    def _frame(self, target: Target) -> Frame:
        return self._clips[target[0]].frames[target[1]]


def _paid(order: Iterable[Target], cost_s: Callable[[Target], float], seconds: float) -> dict[Target, float]:
    """The first targets whose annotation fits into the time together, each with its seconds."""
    paid: dict[Target, float] = {}
    for target in order:
        seconds -= cost_s(target)
        if seconds < 0:
            break
        paid[target] = cost_s(target)
    return paid


def _restricted(
    manifest: Manifest, masked: Mapping[Target, float], annotated: Mapping[Target, float] | None
) -> Manifest:
    """The split with the labels of masked targets alone, and with the annotated targets, or all if None."""

    def restrict(clip: Clip) -> Clip:
        frames = [
            replace(frame, label=None, label_digest=None)
            if t in clip.targets and (clip.id, t) not in masked
            else frame
            for t, frame in enumerate(clip.frames)
        ]
        targets = [t for t in clip.targets if annotated is None or (clip.id, t) in annotated]
        return replace(clip, frames=tuple(frames), targets=tuple(targets))

    return replace(manifest, clips=tuple(restrict(clip) for clip in manifest.clips))


def _of_targets(clicks: ClickTable, manifest: Manifest, targets: Iterable[Target]) -> ClickTable:
    names = {(clip.id, t): frame.name for clip in manifest.clips for t, frame in enumerate(clip.frames)}
    kept = {(clip, names[clip, t]) for clip, t in targets}
    return replace(clicks, frames={name: points for name, points in clicks.frames.items() if name in kept})
