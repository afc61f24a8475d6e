"""Which frames of a plain folder are learned from, and which are scored: by masks, and by people's clicks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from weclick.common.errors import InputError
from weclick.common.sections import Mix
from weclick.datasets.base import assign_roles
from weclick.manifest import Clip
from weclick.manifest.names import ClipNames, nearest
from weclick.manifest.people import read_people

HELD_OUT_EVERY = 5
"""Every so many clicked frames one is scored, where nobody says how many and nothing else can be scored."""

Place = tuple[str, int]
"""Id of a clip, and position in its frames."""


@dataclass(frozen=True)
class Roles:
    """What decides on the role of each frame.

    Attributes:
        target_every: every n-th frame of a clip is learned from, if it has a label.
        mix: which clicks count; without people's clicks those made from labels.
        clicked: the frames that people clicked in, in the order of their first clicks; None: there is no
            such file.
        held_out: those of them that are scored although their clip is learned from.
    """

    target_every: int
    mix: Mix
    clicked: tuple[Place, ...] | None
    held_out: frozenset[Place] = frozenset()

    def holding_out(self, clips: Sequence[Clip], every: int | None) -> Roles:
        """The same, with every n-th clicked frame scored instead of learned from.

        Frames are counted in the order of their first clicks, so a further click changes nothing for those
        before it. The second one is the first to be scored: two frames are enough to learn and to score.

        Args:
            clips: all of the data set.
            every: n; 0 for none; None for HELD_OUT_EVERY, or none if labelled frames are left to score.
        """
        if every is None:
            left = any(self._labelled(clip) - set(self.targets(clip)) for clip in clips)
            every = 0 if left else HELD_OUT_EVERY
        return replace(self, held_out=frozenset((self.clicked or ())[1::every] if every else ()))

    def of_training(self, clip: Clip) -> Clip:
        """The clip with its targets."""
        return assign_roles(clip, self.targets(clip), training=True)

    def of_held_out_clip(self, clip: Clip) -> Clip:
        """A clip that nothing is learned from: all its labels and clicks are scored."""
        return assign_roles(clip, sorted(self._labelled(clip) | self._clicked_in(clip)), training=False)

    def of_other_frames(self, clip: Clip) -> Clip:
        """A clip that is learned from: labelled frames that are no targets are scored, and those held out."""
        held_out = {t for name, t in self.held_out if name == clip.id}
        left = self._labelled(clip) - set(self.targets(clip))
        return assign_roles(clip, sorted(left | held_out), training=False)

    def targets(self, clip: Clip) -> list[int]:
        """Positions of the frames that are learned from."""
        masked = {t for t in self._labelled(clip) if t % self.target_every == 0}
        clicked = self._clicked_in(clip)
        if self.clicked is None or self.mix == "masks":
            found = masked
        else:
            found = clicked | masked if self.mix == "human_else_masks" else clicked
        return sorted(t for t in found if (clip.id, t) not in self.held_out)

    def _clicked_in(self, clip: Clip) -> set[int]:
        return {t for name, t in self.clicked or () if name == clip.id}

    @staticmethod
    def _labelled(clip: Clip) -> set[int]:
        return {t for t, frame in enumerate(clip.frames) if frame.label}


def clicked_frames(path: Path, clips: Iterable[Clip]) -> tuple[Place, ...]:
    """The frames that people clicked in, each once, in the order of their first clicks.

    Args:
        path: a table or log of clicks.
        clips: all of the data set.

    Raises:
        InputError: a click names a clip or frame that is not on disk; or as in `read_people`.
    """
    clips = list(clips)
    names, found = ClipNames(clips), dict[Place, None]()
    for click in read_people(path):
        at = names.find(click.clip, click.frame)
        if at is None:
            clip, ids = names.clip(click.clip), sorted(clip.id for clip in clips)
            known = (
                f"{len(clip.frames)} frames, {clip.frames[0].name!r} to {clip.frames[-1].name!r}"
                if clip
                else f"clips {', '.join(ids[:20])}{nearest(click.clip, ids)}"
            )
            raise InputError(
                f"{path}, {click.where}: clip {click.clip!r}, frame {click.frame!r} is not on disk; "
                f"there are {known}; give it its name back, or correct the line"
            )
        found[at[0].id, at[1]] = None
    return tuple(found)
