"""Sources that are predicted together: a video, a stream, or the images of a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from weclick.common.errors import InputError, UnreadableError
from weclick.evaluate.flow_in_loop import clips_of
from weclick.evaluate.sources import Source, Tell
from weclick.manifest.images import image_size
from weclick.manifest.video import video_info


@dataclass(frozen=True)
class Job:
    """What is read from its begin to its end, and gets one file of JSON Lines.

    Attributes:
        name: of that file, without ending.
        sources: one video or stream, or images.
    """

    name: str
    sources: tuple[Source, ...]

    @property
    def is_video(self) -> bool:
        """Whether its frames have times; those of streams have."""
        return self.sources[0].is_video

    @property
    def is_stream(self) -> bool:
        """Whether nobody knows its end."""
        return bool(self.sources[0].address)

    def __str__(self) -> str:
        """As errors and files name it."""
        first = self.sources[0]
        return str(first) if len(self.sources) == 1 else str(first.path.parent)

    def frames(self) -> int | None:
        """How many frames it has; None for a stream.

        Raises:
            InputError, UnreadableError: its video cannot be read.
        """
        if self.is_stream:
            return None
        return video_info(self.sources[0].path).frames if self.is_video else len(self.sources)

    def clips(self, *, in_time: bool, tell: Tell) -> Iterator[list[Source]]:
        """Its sources, those together that a network may see as a clip.

        Args:
            in_time: whether the network looks at neighbours, so that images of another size begin a new clip.
            tell: takes the errors of images whose size cannot be read; they are left out.
        """
        if self.is_video or not in_time:
            yield [*self.sources]
            return
        known = []
        for source in self.sources:
            try:
                image_size(source.path)
            except (InputError, UnreadableError) as error:
                tell(error)
            else:
                known.append(source)
        yield from clips_of(known)


def jobs_of(sources: Sequence[Source]) -> list[Job]:
    """The jobs of some sources, in the order of their first ones. An image that is alone has its own name.

    Images of a folder have the folder's name. If something else has it, `_images` follows.
    """
    together: dict[tuple[str, str], list[Source]] = {}
    for source in sources:
        place = source.name if source.is_video else Path(source.name).parent.as_posix()
        together.setdefault((place, "video" if source.is_video else "images"), []).append(source)
    jobs = [Job(_name(group), tuple(group)) for group in together.values()]
    taken = {job.name for job in jobs if len(job.sources) == 1}
    return [_renamed(job, taken) if len(job.sources) > 1 else job for job in jobs]


def _name(group: Sequence[Source]) -> str:
    if len(group) == 1:
        return group[0].name
    folder = Path(group[0].name).parent.as_posix()
    return folder if folder != "." else group[0].path.parent.name or "images"


def _renamed(job: Job, taken: set[str]) -> Job:
    name = job.name
    while name in taken:
        name += "_images"
    taken.add(name)
    return replace(job, name=name)
