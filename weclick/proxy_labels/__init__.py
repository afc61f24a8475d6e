"""Labels that people did not draw: class maps, soft labels, and maps of a classifier along the flow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weclick.common.when_asked import load_when_asked

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

__getattr__ = load_when_asked(
    __name__,
    {
        "ImageInstances": "weclick.proxy_labels.instances_coco",
        "Track": "weclick.proxy_labels.instances_youtube_vis",
        "VideoInstances": "weclick.proxy_labels.instances_youtube_vis",
        "aggregate": "weclick.proxy_labels.aggregation",
        "amplify": "weclick.proxy_labels.amplification",
        "centroids": "weclick.proxy_labels.centres",
        "coco_json": "weclick.proxy_labels.instances_coco",
        "coco_results": "weclick.proxy_labels.instances_coco",
        "detections": "weclick.proxy_labels.detecting",
        "filter_runs": "weclick.proxy_labels.runs",
        "group": "weclick.proxy_labels.centres",
        "iom_nms": "weclick.proxy_labels.matching",
        "maskconsist_labels": "weclick.proxy_labels.maskconsist",
        "match": "weclick.proxy_labels.matching",
        "merge_maps": "weclick.proxy_labels.merging",
        "read_coco_json": "weclick.proxy_labels.instances_coco",
        "read_youtube_vis_json": "weclick.proxy_labels.instances_youtube_vis",
        "walk": "weclick.proxy_labels.random_walk",
        "youtube_vis_json": "weclick.proxy_labels.instances_youtube_vis",
        "youtube_vis_results": "weclick.proxy_labels.instances_youtube_vis",
    },
)
