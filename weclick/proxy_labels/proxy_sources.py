"""Where proxy labels come from: what the stage asks of a method that makes class maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from weclick.manifest import Clip


class ProxySource(Protocol):
    """Makes class maps of some frames of a clip. Nothing is loaded and no frame is read before `make`."""

    @property
    def name(self) -> str:
        """The value of `proxy_labels.source` that stands for it."""

    def key_inputs(self, clip: Clip) -> Mapping[str, Any]:
        """Its part of the inputs that the entry of a clip is made from: digests, keys and options.

        The stage adds the digests of the clip's frames, the names of the classes and that of the source.
        Paths, hosts and devices do not belong there.

        Raises:
            InputError: what it makes labels from does not fit the clip, or is missing.
        """

    def make(self, clip: Clip) -> list[tuple[int, np.ndarray]]:
        """The frames that get a label, in order, and their labels.

        Returns:
            Position in `clip.frames`, and (H, W) uint8 class ids at the size of the frame, 255 ignored. May
            be empty.

        Raises:
            InputError: what it makes labels from is damaged, or does not fit the clip.
        """
