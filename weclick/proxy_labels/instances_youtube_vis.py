"""Instances of videos as YouTube-VIS's JSON (Yang, Fan and Xu, ICCV 2019)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from weclick.common.rle import Rle, area_and_box, checked
from weclick.manifest.instance_files import FIRST_ID, SURE, categories, check_class, check_score
from weclick.manifest.video_instances import Track, VideoInstances, check_length, read_youtube_vis_json

__all__ = ["Track", "VideoInstances", "read_youtube_vis_json", "youtube_vis_json", "youtube_vis_results"]


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


def _tracks(
    videos: Sequence[VideoInstances], classes: int
) -> Iterator[tuple[int, VideoInstances, Track, list[Rle | None], str]]:
    """Video's id, video, track, its checked codes, and its place for errors."""
    for video_id, video in enumerate(videos, FIRST_ID):
        for number, track in enumerate(video.tracks):
            where = f"video {video_id} ({(*video.file_names, 'no frames')[0]}), instance {number}"
            check_class(track.class_id, classes, where)
            check_length(track.codes, video.file_names, where)
            codes = [
                code and checked(code, video.size, f"{where}, frame {t}")
                for t, code in enumerate(track.codes)
            ]
            yield video_id, video, track, codes, where
