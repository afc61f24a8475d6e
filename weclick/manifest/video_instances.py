"""Instances of videos as a YouTube-VIS file holds them (Yang, Fan and Xu, ICCV 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weclick.common.errors import InputError
from weclick.common.rle import Rle
from weclick.manifest.instance_files import by_id, check_file, named, read_categories, read_score
from weclick.manifest.outlines import read_segmentation

SCHEMA = "instances_youtube_vis"


@dataclass(frozen=True)
class Track:
    """One object of a video.

    Attributes:
        class_id: of the object.
        codes: its mask in each frame of the video; None where it is not seen.
        score: 0 or more; None for masks by people.
        crowd: whether masks are of several objects that nobody told apart.
    """

    class_id: int
    codes: tuple[Rle | None, ...]
    score: float | None = None
    crowd: bool = False


@dataclass(frozen=True)
class VideoInstances:
    """The instances of one video.

    Attributes:
        file_names: of its frames. From a file they are as written there, and may lead anywhere: see
            `file_inside`.
        size: (H, W) px.
        tracks: its objects.
    """

    file_names: tuple[str, ...]
    size: tuple[int, int]
    tracks: tuple[Track, ...]


def read_youtube_vis_json(
    value: Any, classes: Sequence[str] | None = None, *, where: str = "YouTube-VIS JSON"
) -> tuple[list[VideoInstances], tuple[str, ...]]:
    """The instances that a YouTube-VIS annotation file holds. Masks stay codes, each checked by its size.

    Args:
        value: what the file holds, as `parse_json` gives it. Somebody else may have written it.
        classes: names whose positions are the class ids; None takes the file's categories in their order.
        where: its path, for errors.

    Returns:
        Each video of the file, in its order; and the names of the classes. Where the file keeps annotations
        back (null), videos have no tracks.

    Raises:
        InputError: the file is no such file, an id leads nowhere, a category is no class, or a mask is none.
    """
    file = check_file(value, SCHEMA, where)
    names, class_ids = read_categories(file["categories"], classes, where)
    videos = by_id(file["videos"], "videos", where)
    of_video: dict[int, list[Track]] = {video_id: [] for video_id in videos}
    for number, annotation in enumerate(file["annotations"] or ()):
        here = f"{where}, annotation {number}"
        video = named(videos, annotation["video_id"], "video", here)
        class_id = named(class_ids, annotation["category_id"], "category", here)
        of_video[video["id"]].append(_track(annotation, video, class_id, here))
    found = [
        VideoInstances(tuple(video["file_names"]), _size(video), tuple(of_video[video_id]))
        for video_id, video in videos.items()
    ]
    return found, names


def _track(annotation: Mapping[str, Any], video: Mapping[str, Any], class_id: int, where: str) -> Track:
    masks = annotation["segmentations"]
    check_length(masks, video["file_names"], where)
    codes = [
        None if mask is None else read_segmentation(mask, _size(video), f"{where}, frame {t}")
        for t, mask in enumerate(masks)
    ]
    return Track(class_id, tuple(codes), read_score(annotation, where), annotation.get("iscrowd", 0) == 1)


def _size(video: Mapping[str, Any]) -> tuple[int, int]:
    return video["height"], video["width"]


def check_length(masks: Sequence[Any], file_names: Sequence[str], where: str) -> None:
    """Check that a track has a mask or None for each frame of its video.

    Raises:
        InputError: it has not.
    """
    if len(masks) != len(file_names):
        raise InputError(
            f"{where}: has {len(masks)} masks, expected {len(file_names)}, one for each frame of its video; "
            "write null where the object is not seen"
        )
