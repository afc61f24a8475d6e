"""How people name clips and frames: forms of Unicode, endings and numbers that mean the same thing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import PurePath
from unicodedata import normalize

from weclick.manifest.clips import Clip
from weclick.manifest.images import IMAGE_SUFFIXES

_WHOLE = re.compile(r"(\d+)(\.0+)?", re.ASCII)


def plain(name: str) -> str:
    """A name in composed Unicode (NFC). A Mac writes ü as u and two dots, other systems as one letter."""
    return normalize("NFC", name)


def same_name(wanted: str, names: Iterable[str]) -> str | None:
    """The one of `names` that is `wanted`, exactly or but for its Unicode form; None if there is none."""
    known = list(names)
    if wanted in known:
        return wanted
    return next((name for name in known if plain(name) == plain(wanted)), None)


def nearest(wanted: str, names: Iterable[str]) -> str:
    """`; did you mean 'person'?` if one of the names is much like `wanted`, else nothing."""
    folded = {plain(name).casefold(): name for name in names}
    close = get_close_matches(plain(wanted).casefold(), folded, n=1, cutoff=0.6)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""


class ClipNames:
    """Finds the clips and frames that a table made by people names."""

    def __init__(self, clips: Iterable[Clip]) -> None:
        """Index clips by their names."""
        known = [(clip, _FrameNames(clip)) for clip in clips]
        videos = {plain(video_name(clip)): frames for clip, frames in known if clip.frames}
        self._clips = videos | {plain(clip.id): frames for clip, frames in known}

    def find(self, clip: str, frame: str) -> tuple[Clip, int] | None:
        """The clip and the position of its frame, or None if one of them is not there.

        A clip may carry the ending of its video, a frame that of its image. A frame may also be given by its
        number, as 3 or, as spreadsheets write it, 3.0. Names win over numbers.
        """
        known = self._clips.get(plain(clip))
        position = known.find(frame) if known else None
        return None if known is None or position is None else (known.clip, position)

    def clip(self, name: str) -> Clip | None:
        """The clip of that name."""
        known = self._clips.get(plain(name))
        return known.clip if known else None


def video_name(clip: Clip) -> str:
    """The name of a clip's video file, with the folder that the clip has; of a clip of images its own."""
    frame = clip.frames[0]
    return clip.id if frame.video_frame is None else clip.id + PurePath(frame.image).suffix


class _FrameNames:
    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self._positions = {plain(name): position for name, position in clip.positions().items()}

    def find(self, name: str) -> int | None:
        name = plain(name)
        path = PurePath(name)
        stem = path.stem if path.suffix.lower() in IMAGE_SUFFIXES else name
        whole = _WHOLE.fullmatch(name)
        spelled = (name, stem, str(int(whole[1])) if whole else name)
        return next((self._positions[each] for each in spelled if each in self._positions), None)
