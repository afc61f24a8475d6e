"""Instances of videos as YouTube-VIS's JSON (Yang, Fan and Xu, ICCV 2019)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from weclick.common.errors import InputError
from weclick.proxy_labels.instance_files import (
    FIRST_ID,
    SURE,
    by_id,
    categories,
    check_class,
    check_file,
    check_score,
    named,
    read_categories,
    read_score,
)
from weclick.proxy_labels.outlines import read_segmentation
from weclick.store.rle import Rle, area_and_box, checked

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


def youtube_vis_json(videos: Sequence[VideoInstances], classes: Sequence[str]) -> dict[str, Any]:
    """Instances as YouTube-VIS's annotation files hold them.

    Ids of videos and annotations count from 1, in the order given. That of a category is its class id + 1.
    Scores stand beside their masks, as in `coco_json`.

    Args:
        videos: also those without an instance.
        classes: names; the position is the class id.

    Returns:
        The object for the file.

    Raises:
        InputError: an instance has not a mask or None for each frame, a mask is not of the video's size, a
            class is none of the list, or a score is strange.
    """
    annotations: list[dict[str, Any]] = []
    for video_id, video, track, codes, where in _tracks(videos, len(classes)):
        measured = [None if code is None else area_and_box(code) for code in codes]
        score = {} if track.score is None else {"score": check_score(track.score, where)}
        annotations.append(
            {
                "id": FIRST_ID + len(annotations),
                "video_id": video_id,
                "category_id": FIRST_ID + int(track.class_id),
                "height": video.size[0],
                "width": video.size[1],
                "segmentations": codes,
                "areas": [each and each[0] for each in measured],
                "bboxes": [each and each[1] for each in measured],
                "iscrowd": int(track.crowd),
                **score,
            }
        )
    listed = [
        {
            "id": video_id,
            "file_names": [*video.file_names],
            "length": len(video.file_names),
            "height": video.size[0],
            "width": video.size[1],
        }
        for video_id, video in enumerate(videos, FIRST_ID)
    ]
    return {"videos": listed, "annotations": annotations, "categories": categories(classes)}


def youtube_vis_results(videos: Sequence[VideoInstances], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Instances as YouTube-VIS's results, with the ids that `youtube_vis_json` gives the same videos.

    Args, Raises:
        As in `youtube_vis_json`. Objects without a score get SURE.
    """
    return [
        {
            "video_id": video_id,
            "category_id": FIRST_ID + int(track.class_id),
            "segmentations": codes,
            "score": SURE if track.score is None else check_score(track.score, where),
        }
        for video_id, _, track, codes, where in _tracks(videos, len(classes))
    ]


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
    _check_length(masks, video["file_names"], where)
    codes = [
        None if mask is None else read_segmentation(mask, _size(video), f"{where}, frame {t}")
        for t, mask in enumerate(masks)
    ]
    return Track(class_id, tuple(codes), read_score(annotation, where), annotation.get("iscrowd", 0) == 1)


def _size(video: Mapping[str, Any]) -> tuple[int, int]:
    return video["height"], video["width"]


def _check_length(masks: Sequence[Any], file_names: Sequence[str], where: str) -> None:
    if len(masks) != len(file_names):
        raise InputError(
            f"{where}: has {len(masks)} masks, expected {len(file_names)}, one for each frame of its video; "
            "write null where the object is not seen"
        )


def _tracks(
    videos: Sequence[VideoInstances], classes: int
) -> Iterator[tuple[int, VideoInstances, Track, list[Rle | None], str]]:
    """Video's id, video, track, its checked codes, and its place for errors."""
    for video_id, video in enumerate(videos, FIRST_ID):
        for number, track in enumerate(video.tracks):
            where = f"video {video_id} ({(*video.file_names, 'no frames')[0]}), instance {number}"
            check_class(track.class_id, classes, where)
            _check_length(track.codes, video.file_names, where)
            codes = [
                code and checked(code, video.size, f"{where}, frame {t}")
                for t, code in enumerate(track.codes)
            ]
            yield video_id, video, track, codes, where
