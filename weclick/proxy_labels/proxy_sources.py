"""Where proxy labels come from: what the stages ask of a method, and how it finds what others made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from weclick.common.errors import InputError
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


def key_of(index: Mapping[str, str], clip: Clip, stage: str) -> str:
    """The key of a clip's entry that its proxy labels are made from.

    Args:
        index: clip id -> key, of the stage.
        clip: of a manifest.
        stage: that made the index.

    Raises:
        InputError: the index has no such clip.
    """
    if clip.id not in index:
        raise InputError(
            f"clip {clip.id!r} has no entry in the index of {stage}, which its proxy labels are made from; "
            f"give the index of its shard, or run the {stage} stage again"
        )
    return index[clip.id]
