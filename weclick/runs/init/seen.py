"""What the folder of a data set holds, and what that suggests."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from weclick.common.sections import Method
from weclick.common.words import plural, size
from weclick.datasets.folder_clips import list_clips
from weclick.datasets.roles import Place as ClickedFrame
from weclick.datasets.roles import clicked_frames
from weclick.manifest import Clip
from weclick.manifest.click_log import CLICK_LOG
from weclick.manifest.frame_size import frame_size
from weclick.manifest.tag_file import TAG_FILE

MOST_EVERY = 100
"""Largest `target_every` that is tried."""

ENOUGH_CLIPS = 5
"""From so many clips with a label or click on, whole clips are held out: one of so many."""


@dataclass(frozen=True)
class Seen:
    """What the folder of a data set holds.

    Attributes:
        root: the folder.
        clips: all of them, with the labels of their frames.
        clicked: frames that people clicked in.
        size: (H, W) px, the largest of all clips.
        tags: `tags.source`; None if there are no tags beside labels.
        iconic: the folder of iconic images, if there is one.
    """

    root: Path
    clips: tuple[Clip, ...]
    clicked: tuple[ClickedFrame, ...]
    size: tuple[int, int]
    tags: str | None
    iconic: Path | None

    @cached_property
    def labelled(self) -> dict[str, list[int]]:
        """Id of each clip with labels -> positions of the labelled frames."""
        found = {clip.id: [t for t, frame in enumerate(clip.frames) if frame.label] for clip in self.clips}
        return {clip: positions for clip, positions in found.items() if positions}

    @property
    def told(self) -> str:
        """One line about it."""
        labels = sum(map(len, self.labelled.values()))
        parts = [
            plural(len(self.clips), "clip"),
            f"{plural(sum(len(clip.frames) for clip in self.clips), 'frame')} of up to {size(self.size)} px",
            f"{plural(labels, 'label')}, clicks on {plural(len(self.clicked), 'frame')}",
        ]
        return ", ".join(parts) + (f", tags ({self.tags})" if self.tags else "")

    @property
    def method(self) -> Method:
        """The method that suits what is there. Tags are taken if there is nothing else."""
        return "two_stream" if self.tags and not (self.labelled or self.clicked) else "weclick"

    def held_out_clips(self) -> list[str]:
        """Clips to score on; none if there are too few with a label or click."""
        annotated = sorted({*self.labelled, *(clip for clip, _ in self.clicked)})
        return annotated[2::ENOUGH_CLIPS] if len(annotated) >= ENOUGH_CLIPS else []

    def target_every(self) -> int | None:
        """The n for which nearly half of the labelled frames are every n-th one, and the others scored."""
        positions = [t for found in self.labelled.values() for t in found]
        shares = {
            n: sum(t % n == 0 for t in positions) / max(1, len(positions)) for n in range(2, MOST_EVERY + 1)
        }
        best = min(shares, key=lambda n: abs(shares[n] - 0.5))
        return best if 0 < shares[best] < 1 else None


def look_at(root: Path) -> Seen:
    """List the folder of a data set; of each clip the header of one file is read.

    Raises:
        InputError: it is no data set, see `list_clips`; or clicks name frames that are not there.
    """
    clips = tuple(list_clips(root))
    log, iconic = root / CLICK_LOG, root / "iconic"
    sizes = [frame_size(root / clip.frames[0].image) for clip in clips]
    return Seen(
        root=root,
        clips=clips,
        clicked=clicked_frames(log, clips) if log.is_file() and log.stat().st_size else (),
        size=(max(height for height, _ in sizes), max(width for _, width in sizes)),
        tags=_tags(root, clips),
        iconic=iconic if iconic.is_dir() else None,
    )


def _tags(root: Path, clips: tuple[Clip, ...]) -> str | None:
    if (root / TAG_FILE).is_file():
        return "file"
    if (root / "Annotations").is_dir():
        return "voc"
    return "folders" if all("/" in clip.id for clip in clips) else None
