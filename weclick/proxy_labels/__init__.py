"""Labels that people did not draw: class maps, soft labels, and maps of a classifier along the flow."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weclick.proxy_labels.aggregation import aggregate
    from weclick.proxy_labels.amplification import amplify
    from weclick.proxy_labels.centres import centroids, group
    from weclick.proxy_labels.detecting import detections
    from weclick.proxy_labels.instances_coco import ImageInstances, coco_json, coco_results, read_coco_json
    from weclick.proxy_labels.instances_youtube_vis import (
        Track,
        VideoInstances,
        read_youtube_vis_json,
        youtube_vis_json,
        youtube_vis_results,
    )
    from weclick.proxy_labels.maskconsist import maskconsist_labels
    from weclick.proxy_labels.matching import iom_nms, match
    from weclick.proxy_labels.merging import merge_maps
    from weclick.proxy_labels.random_walk import walk
    from weclick.proxy_labels.runs import filter_runs

__all__ = [
    "ImageInstances",
    "Track",
    "VideoInstances",
    "aggregate",
    "amplify",
    "centroids",
    "coco_json",
    "coco_results",
    "detections",
    "filter_runs",
    "group",
    "iom_nms",
    "maskconsist_labels",
    "match",
    "merge_maps",
    "read_coco_json",
    "read_youtube_vis_json",
    "walk",
    "youtube_vis_json",
    "youtube_vis_results",
]

_HOMES = {
    "ImageInstances": "instances_coco",
    "Track": "instances_youtube_vis",
    "VideoInstances": "instances_youtube_vis",
    "aggregate": "aggregation",
    "amplify": "amplification",
    "centroids": "centres",
    "coco_json": "instances_coco",
    "coco_results": "instances_coco",
    "detections": "detecting",
    "filter_runs": "runs",
    "group": "centres",
    "iom_nms": "matching",
    "maskconsist_labels": "maskconsist",
    "match": "matching",
    "merge_maps": "merging",
    "read_coco_json": "instances_coco",
    "read_youtube_vis_json": "instances_youtube_vis",
    "walk": "random_walk",
    "youtube_vis_json": "instances_youtube_vis",
    "youtube_vis_results": "instances_youtube_vis",
}
"""Public name -> its module here. It is loaded when the name is asked for, since most of them need torch."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
