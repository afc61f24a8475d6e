"""The prepared toy street that tests get."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from weclick.clicks import ClickTable
from weclick.manifest import Manifest
from weclick.store import Store


@dataclass(frozen=True)
class Street:
    """A prepared toy data set: configuration, manifests, clicks and caches without soft labels."""

    config: dict[str, Any]
    store: Store
    train: Manifest
    val: Manifest
    clicks: ClickTable
    frames: dict[str, str]
    flow: dict[str, str]
    val_flow: dict[str, str]
