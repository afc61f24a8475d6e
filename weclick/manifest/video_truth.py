"""True classes and instances of frames, read from a YouTube-VIS file (Yang, Fan and Xu, ICCV 2019).

The file lists objects along videos. Nothing is rendered and kept: a frame's maps are made when they are read.
A frame's digest is that of all the file says of its video. So an edit elsewhere in the file makes no other
video stale.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from weclick.common.bounded_json import parse_json
from weclick.common.content import MANIFEST_AGAIN, ChangedFileError, Signature, signature_of
from weclick.common.disk import surely
from weclick.common.errors import InputError, MissingFileError
from weclick.common.json_items import Span, item_spans, parse_item, read_items
from weclick.common.rle import decode_mask
from weclick.manifest.addresses import Address
from weclick.manifest.video_instances import Track, VideoInstances, read_youtube_vis_json

MOST_TRACKS = 999
"""Objects of a video at most: an instance map holds class id * 1000 + number."""

KEYS = ("videos", "annotations", "categories")


class Truth(NamedTuple):
    """What is true of a frame.

    Attributes:
        classes: (H, W) uint8 class ids; 0 is background. Where masks overlap, the smaller one is on top.
        instances: (H, W) int32, class id * 1000 + number. A number is that of the object in its video, from 1
            on, and the same in all of its frames. A mask of several objects that nobody told apart has its
            class id alone, as in Cityscapes. 0 elsewhere.
    """

    classes: np.ndarray
    instances: np.ndarray


@dataclass(frozen=True)
class ListedVideo:
    """A video as its file lists it, without masks.

    Attributes:
        file_names: of its frames, as written there. They may lead anywhere.
        size: (H, W) px.
        categories: names of the categories of its objects.
        spans: where the video, and then its annotations, stand in the file.
    """

    file_names: tuple[str, ...]
    size: tuple[int, int]
    categories: frozenset[str]
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class VideoFile:
    """What a YouTube-VIS file lists, without masks.

    Attributes:
        path: of the file.
        categories: names, in the file's order.
        videos: id -> video, in the file's order.
        spans: where the categories stand in the file.
    """

    path: Path
    categories: tuple[str, ...]
    videos: Mapping[int, ListedVideo]
    spans: tuple[Span, ...]

    def video(self, video_id: int) -> ListedVideo:
        """The video of an id.

        Raises:
            InputError: there is none.
        """
        if video_id not in self.videos:
            raise InputError(
                f"{self.path}: lists no video {video_id}, which the manifest names; {MANIFEST_AGAIN}"
            )
        return self.videos[video_id]


def open_video_file(path: Path) -> VideoFile:
    """What a file lists. It is kept as long as the file stays as it is.

    Raises:
        MissingFileError: there is no such file.
        InputError: it is no YouTube-VIS file, or an annotation names a video or category that is not listed.
    """
    return _opened_video(path, _signature(path))


def truth_digest(path: Path, address: Address) -> str:
    """SHA-256 (hex) of all that a file says of a frame: categories, its video with all objects, its position.

    Raises:
        MissingFileError, InputError: as in `open_video_file`; or the file does not list the video.
    """
    return _frame_digest(_video_content(path, _signature(path), address.video), address)


def truth_size(path: Path, address: Address) -> tuple[int, int]:
    """(H, W) px of a frame, as its file says.

    Raises:
        MissingFileError, InputError: as in `truth_digest`.
    """
    return open_video_file(path).video(address.video).size


def read_truth(path: Path, address: Address, digest: str | None, names: Sequence[str]) -> Truth:
    """The maps of a frame.

    Args:
        path: of the file.
        address: of the frame.
        digest: as `truth_digest` gave it; None or empty takes any content.
        names: of the classes, the first of which is background. Categories go by their names.

    Raises:
        MissingFileError, InputError: as in `truth_digest`; or a category is no class, a mask is none, or the
            video has more than MOST_TRACKS objects.
        ChangedFileError: the digest is another one.
    """
    signature = _signature(path)
    content = _video_content(path, signature, address.video)
    if digest and _frame_digest(content, address) != digest:
        raise ChangedFileError(
            f"{path}: what it says of video {address.video} changed since its digest was taken, so nothing "
            f"was made of it; {MANIFEST_AGAIN}"
        )
    video = _read_video(path, signature, address.video, tuple(names[1:]))
    if address.frame >= len(video.file_names):
        raise InputError(
            f"{path}: video {address.video} has {len(video.file_names)} frames, but {address} is asked for; "
            f"{MANIFEST_AGAIN}"
        )
    return _maps(video, address.frame, f"{path}, video {address.video}, frame {address.frame}")


def _signature(path: Path) -> Signature:
    try:
        return signature_of(surely(path, partial(os.stat, path)))
    except FileNotFoundError as error:
        raise MissingFileError(
            f"{path}: there is no such file, but labels lie in it; restore it, or correct data.root"
        ) from error


@lru_cache(maxsize=4)
def _opened_video(path: Path, _: Signature) -> VideoFile:
    spans = item_spans(path, KEYS)
    head = {key: _parsed(path, spans.get(key, ())) for key in ("videos", "categories")}
    read_youtube_vis_json(head | {"annotations": []}, where=str(path))
    names = {category["id"]: category["name"] for category in head["categories"]}
    found: dict[int, tuple[list[Span], set[str]]] = {video["id"]: ([], set()) for video in head["videos"]}
    for span in spans.get("annotations", ()):
        (item,) = read_items(path, [span])
        video_id, category = _number(path, item, "video_id"), _number(path, item, "category_id")
        if video_id not in found or category not in names:
            raise InputError(
                f"{path}: an annotation names the video {video_id} and the category {category}, one of which "
                "the file does not list; add it there, or take the annotation out"
            )
        found[video_id][0].append(span)
        found[video_id][1].add(names[category])
    videos = {
        video["id"]: ListedVideo(
            tuple(video["file_names"]),
            (video["height"], video["width"]),
            frozenset(found[video["id"]][1]),
            (span, *found[video["id"]][0]),
        )
        for video, span in zip(head["videos"], spans.get("videos", ()), strict=True)
    }
    return VideoFile(path, tuple(names.values()), videos, spans.get("categories", ()))


def _parsed(path: Path, spans: Sequence[Span]) -> list[Any]:
    return [parse_item(path, item) for item in read_items(path, spans)]


def _number(path: Path, item: bytes, key: str) -> Any:
    """The number of a key of an annotation. To parse it takes long, so a look at its text comes first."""
    found = re.findall(rb'"%s"\s*:\s*(-?\d{1,18})\s*[,}]' % key.encode(), item)
    return int(found[0]) if len(found) == 1 else parse_item(path, item).get(key)


@lru_cache(maxsize=8)
def _video_content(path: Path, signature: Signature, video_id: int) -> bytes:
    """A file of one video alone: the categories, the video, and its annotations as they were written."""
    file = _opened_video(path, signature)
    listed, *annotations = file.video(video_id).spans
    categories, videos, objects = (
        b",".join(read_items(path, spans)) for spans in (file.spans, [listed], annotations)
    )
    return b'{"categories":[%s],"videos":[%s],"annotations":[%s]}' % (categories, videos, objects)


def _frame_digest(content: bytes, address: Address) -> str:
    video = hashlib.sha256(content).hexdigest()
    return hashlib.sha256(f"{video}/{address.frame}".encode()).hexdigest()


@lru_cache(maxsize=8)
def _read_video(
    path: Path, signature: Signature, video_id: int, categories: tuple[str, ...]
) -> VideoInstances:
    where = f"{path}, video {video_id}"
    try:
        value = parse_json(_video_content(path, signature, video_id), "leave out some of its objects")
    except ValueError as error:
        raise InputError(f"{where}: cannot be parsed: {error}; restore the file") from error
    ((video,), _) = read_youtube_vis_json(value, categories, where=where)
    if len(video.tracks) > MOST_TRACKS:
        raise InputError(
            f"{where}: has {len(video.tracks)} objects, expected at most {MOST_TRACKS}; take some out"
        )
    return video


def _maps(video: VideoInstances, t: int, where: str) -> Truth:
    classes, instances = np.zeros(video.size, np.uint8), np.zeros(video.size, np.int32)
    shown = [
        (track, number, decode_mask(code, video.size, where))
        for number, track in enumerate(video.tracks, 1)
        if (code := track.codes[t]) is not None
    ]
    for track, number, mask in sorted(shown, key=_on_top):
        class_id = 1 + track.class_id
        classes[mask] = class_id
        instances[mask] = class_id if track.crowd else 1000 * class_id + number
    return Truth(classes, instances)


def _on_top(shown: tuple[Track, int, np.ndarray]) -> tuple[bool, int]:
    """Groups lie below, and then larger masks."""
    return not shown[0].crowd, -int(shown[2].sum())
