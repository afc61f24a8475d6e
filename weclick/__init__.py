"""Weakly-supervised video segmentation from one click per object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weclick.common.when_asked import load_when_asked

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
    "Cache": "weclick.runs.api.cache",
    "Experiments": "weclick.runs.api.records",
    "InputError": "weclick.common.errors",
    "Model": "weclick.runs.api.network",
    "Prediction": "weclick.runs.api.prediction",
    "experiments": "weclick.runs.api.records",
    "load": "weclick.runs.api.network",
    "open_cache": "weclick.runs.api.cache",
}
"""Public name -> its module. `import weclick` loads neither torch nor numpy."""

__getattr__ = load_when_asked(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
