"""The clips of a plain folder: frames/<clip>/ and videos/<clip>.mp4, or a level deeper, by what was searched.

Clips that a search for a class found lie in a folder of that class: frames/<class>/<video>/<stem>.jpg and
videos/<class>/<video>.mp4 are clips `<class>/<video>`, whose labels lie in labels/<class>/<video>/. They are
read if no clip lies in frames/ or videos/ itself.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from weclick.common.errors import InputError
from weclick.datasets.base import list_files, list_folders
from weclick.datasets.beside import check_beside
from weclick.datasets.file_names import by_stem, in_order
from weclick.datasets.label_files import check_folders, label_files
from weclick.datasets.unread import tell_unread
from weclick.manifest import Clip, Frame
from weclick.manifest.images import IMAGE_SUFFIXES
from weclick.manifest.names import plain
from weclick.manifest.video import VIDEO_SUFFIXES, video_info

_Place = tuple[str, Path]
"""Name of a clip, and its folder or file."""


def list_clips(root: Path) -> list[Clip]:
    """The clips below a folder, with all their frames in order; nothing of it needs a label or a click.

    Raises:
        InputError: there is none, one has no frames, or two have one name.
    """
    folders, videos = _places(root)
    clips: dict[str, Path] = {}
    for name, path in [*folders, *videos]:
        other = clips.setdefault(plain(name), path)
        if other is not path:
            raise InputError(
                f"{root}: clip {name!r} is there more than once in frames/ and videos/: {other.name!r} in "
                f"{other.parent.name}/ and {path.name!r} in {path.parent.name}/; rename or remove one"
            )
    if not clips:
        loose = list_files(root / "frames")
        found = f" ({len(loose)} images lie in frames/ itself)" if loose else ""
        raise InputError(
            f"{root}: holds no clips{found}; put images into frames/<clip>/, or files into videos/"
        )
    check_folders(root, clips)
    return [_image_clip(root, *each) for each in folders] + [_video_clip(root, *each) for each in videos]


def _places(root: Path) -> tuple[list[_Place], list[_Place]]:
    """The folders of images, and the videos."""
    folders, videos = list_folders(root / "frames"), list_files(root / "videos", VIDEO_SUFFIXES)
    if videos or any(map(list_files, folders)):
        tell_unread(root / "videos", VIDEO_SUFFIXES)
        return [(path.name, path) for path in folders], [(path.stem, path) for path in videos]
    searched = list_folders(root / "videos")
    for folder in searched:
        tell_unread(folder, VIDEO_SUFFIXES)
    return (
        [place for folder in folders for place in _inside(folder)],
        [
            (f"{folder.name}/{path.stem}", path)
            for folder in searched
            for path in list_files(folder, VIDEO_SUFFIXES)
        ],
    )


def _inside(folder: Path) -> list[_Place]:
    """The folders of images in that of a class; an empty one is itself what lacks images."""
    return [(f"{folder.name}/{path.name}", path) for path in list_folders(folder)] or [(folder.name, folder)]


def _image_clip(root: Path, name: str, folder: Path) -> Clip:
    images = list_files(folder)
    tell_unread(folder, IMAGE_SUFFIXES)
    if not images:
        raise InputError(
            f"{folder}: a clip without frames; expected images ({', '.join(IMAGE_SUFFIXES)}): "
            "put some in, or remove the folder"
        )
    by_name = {path.stem: path for path in by_stem(images).values()}
    check_beside(images)
    frames = [
        Frame(name=stem, number=number, image=by_name[stem].relative_to(root).as_posix())
        for number, stem in in_order(list(by_name))
    ]
    return _annotated(root, Clip(name, tuple(frames)))


def _video_clip(root: Path, name: str, video: Path) -> Clip:
    image = video.relative_to(root).as_posix()
    count = video_info(video).frames
    if not count:
        raise InputError(f"{video}: a video without frames; re-encode it, or remove the file")
    frames = (Frame(name=f"{i:05d}", number=i, image=image, video_frame=i) for i in range(count))
    return _annotated(root, Clip(name, tuple(frames)))


def _annotated(root: Path, clip: Clip) -> Clip:
    """The clip with the label and instance files of its frames."""
    labels, instances = (label_files(root, kind, clip) for kind in ("labels", "instances"))
    return replace(
        clip,
        frames=tuple(
            replace(frame, label=labels.get(i), instances=instances.get(i))
            for i, frame in enumerate(clip.frames)
        ),
    )
