"""Where soft labels come from: what the stage asks of a network, a file or a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from weclick.manifest import Clip, Manifest

Digests = Callable[[list[Path]], Mapping[Path, str]]
"""SHA-256 (hex) of the content of files."""


class Labeller(Protocol):
    """A source that was loaded."""

    @property
    def stride_px(self) -> int:
        """Image pixels per cell of its labels, the same for all clips."""

    def __call__(self, clips: Iterable[Clip]) -> Iterator[tuple[Clip, np.ndarray]]:
        """Each frame's clip and labels, in the order of clips and frames.

        It may draw a clip before it gives all labels of the last one, and in another thread.

        Args:
            clips: with at least one frame each.

        Returns:
            Clip, and (K, h, w) float32: probabilities of sum 1 over K, or zeros.
        """


class Source(Protocol):
    """Makes soft labels. Nothing is loaded and no frame is read before `load`."""

    def key_inputs(self, clip: Clip) -> Mapping[str, Any]:
        """Its part of the inputs that the entry of a clip is made from."""

    def attributes(self) -> Mapping[str, Any]:
        """What an entry says of it, see data_schema/soft_labels.schema.json.

        `partial` is among them if cells may be zeros: nothing is known there.
        """

    def load(self, manifest: Manifest, device: str) -> Labeller:
        """Get ready to label clips of a manifest, on `device`.

        Raises:
            InputError: it has other classes, or cannot be read.
        """
