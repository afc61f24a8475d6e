"""Labels that people did not draw: class maps, soft labels, and maps of a classifier along the flow."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weclick.proxy_labels.aggregation import aggregate
    from weclick.proxy_labels.amplification import amplify
    from weclick.proxy_labels.centres import centroids, group
    from weclick.proxy_labels.detecting import detections
    from weclick.proxy_labels.merging import merge_maps
    from weclick.proxy_labels.random_walk import walk
    from weclick.proxy_labels.runs import filter_runs

__all__ = [
    "aggregate",
    "amplify",
    "centroids",
    "detections",
    "filter_runs",
    "group",
    "merge_maps",
    "walk",
]

_HOMES = {
    "aggregate": "aggregation",
    "amplify": "amplification",
    "centroids": "centres",
    "detections": "detecting",
    "filter_runs": "runs",
    "group": "centres",
    "merge_maps": "merging",
    "walk": "random_walk",
}
"""Public name -> its module here. It is loaded when the name is asked for, since most of them need torch."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
