"""Tags of frames that nobody looked at, from the nearest frame that has some."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator

from weclick.clicks.tag_sources import Rows
from weclick.manifest import Clip, Frame, Manifest


def reaching_rows(manifest: Manifest, rows: Rows, reach_frames: int) -> Rows:
    """The rows, and one more for each frame of which there is none and that lies near a tagged one.

    MaskConsist compares a labelled frame with one beside it, and has labels of both (Liu et al. 2021). On
    Cityscapes one frame of a snippet alone tells its classes.

    Frames with an empty row stay without a tag: somebody looked at them. So do clips with tags of their own,
    which are those of all of their frames.

    Args:
        manifest: of the clips.
        rows: of one source.
        reach_frames: how far from a tagged frame a frame takes its tags, in frames of the video; of two
            that are as near, those of the earlier one. 0: the rows stay as they are.
    """
    if not reach_frames:
        return rows
    near = {
        (clip.id, frame.name): rows[clip.id, source.name]
        for clip in manifest.clips
        if (clip.id, "") not in rows
        for frame, source in _nearest(clip, rows)
        if abs(source.number - frame.number) <= reach_frames
    }
    return {**rows, **near}


def _nearest(clip: Clip, rows: Rows) -> Iterator[tuple[Frame, Frame]]:
    """Each frame of a clip without a row, and the tagged frame that is nearest to it."""
    tagged = sorted(
        (frame for frame in clip.frames if rows.get((clip.id, frame.name))), key=lambda frame: frame.number
    )
    numbers = [frame.number for frame in tagged]
    for frame in clip.frames if tagged else ():
        if (clip.id, frame.name) not in rows:
            at = bisect(numbers, frame.number)
            beside = tagged[max(0, at - 1) : at + 1]  # the earlier one first, so it wins a tie
            yield frame, min(beside, key=lambda each: abs(each.number - frame.number))
