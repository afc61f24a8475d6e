"""Weakly-supervised video segmentation from one click per object."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weclick.common.errors import InputError
    from weclick.runs.api.cache import Cache, open_cache
    from weclick.runs.api.network import Model, load
    from weclick.runs.api.prediction import Prediction
    from weclick.runs.api.records import Experiments, experiments

__all__ = [
    "Cache",
    "Experiments",
    "InputError",
    "Model",
    "Prediction",
    "experiments",
    "load",
    "open_cache",
]

__version__ = "0.1.0"

_HOMES = {
    "Cache": "runs.api.cache",
    "Experiments": "runs.api.records",
    "InputError": "common.errors",
    "Model": "runs.api.network",
    "Prediction": "runs.api.prediction",
    "experiments": "runs.api.records",
    "load": "runs.api.network",
    "open_cache": "runs.api.cache",
}
"""Public name -> its module. It is loaded when the name is asked for: `import weclick` loads neither torch
nor numpy."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
