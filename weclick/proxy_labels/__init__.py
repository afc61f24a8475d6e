"""Labels that people did not draw: class maps, soft labels, and maps of a classifier along the flow."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weclick.proxy_labels.aggregation import aggregate
    from weclick.proxy_labels.maskconsist import maskconsist_labels
    from weclick.proxy_labels.matching import iom_nms, match
    from weclick.proxy_labels.merging import merge_maps
    from weclick.proxy_labels.runs import filter_runs

__all__ = ["aggregate", "filter_runs", "iom_nms", "maskconsist_labels", "match", "merge_maps"]

_HOMES = {
    "aggregate": "aggregation",
    "filter_runs": "runs",
    "iom_nms": "matching",
    "maskconsist_labels": "maskconsist",
    "match": "matching",
    "merge_maps": "merging",
}
"""Public name -> its module here. It is loaded when the name is asked for, since most of them need torch."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
