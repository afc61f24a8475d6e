"""Soft labels from networks that weclick trained: one teacher, or the mean of several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from weclick.common.content import RUN_AGAIN, check_content
from weclick.manifest import Clip, Manifest
from weclick.manifest.read import read_clip
from weclick.models import normalize
from weclick.proxy_labels.grids import to_grid
from weclick.proxy_labels.sources import Labeller
from weclick.store import file_digest
from weclick.store.model_file import load_model


@dataclass(frozen=True)
class Teachers:
    """Networks whose mean makes the soft labels. See `Source`.

    Attributes:
        files: SHA-256 -> model.safetensors, by the order of the digests. So files of one content count once,
            and the order in which people name them changes nothing.
    """

    files: Mapping[str, Path]

    @classmethod
    def of(cls, paths: Iterable[Path]) -> Teachers:
        """The teachers in files.

        Raises:
            MissingFileError: one of them is not there.
        """
        return cls(dict(sorted((file_digest(path), Path(path)) for path in paths)))

    def key_inputs(self, clip: Clip) -> Mapping[str, Any]:
        """The digest of one teacher, or those of several."""
        return self.attributes()

    def attributes(self) -> Mapping[str, Any]:
        """The same as the key holds."""
        digests = sorted(self.files)
        return {"teacher_sha256": digests[0]} if len(digests) == 1 else {"teachers_sha256": digests}

    def load(self, manifest: Manifest, device: str) -> Labeller:
        """Load all networks at once.

        Raises:
            InputError: one has other classes than the manifest, or its file changed meanwhile.
        """
        models = []
        for digest, path in self.files.items():
            models.append(load_model(path, device, classes=manifest.classes.names)[0])
            check_content(path, digest, RUN_AGAIN)
        return _Predictions(manifest, models, device)


class _Predictions:
    """The mean of networks' probabilities, on the finest of their grids."""

    def __init__(self, manifest: Manifest, models: Sequence[nn.Module], device: str):
        self._manifest, self._models, self._device = manifest, models, device
        self.stride_px = min(cast("int", model.stride) for model in models)

    def __call__(self, clip: Clip) -> Iterator[np.ndarray]:
        for image in read_clip(self._manifest, clip):
            yield self._predict(image)

    @torch.inference_mode()
    def _predict(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (K, h, w) float32 probabilities."""
        rgb = normalize(torch.tensor(image, device=self._device).permute(2, 0, 1)[None].float())
        total, *others = (self._of(model, rgb) for model in self._models)
        for probabilities in others:
            total = total + probabilities
        return (total / len(self._models) if others else total)[0].cpu().numpy()

    def _of(self, model: nn.Module, rgb: Tensor) -> Tensor:
        size = rgb.shape[-2:]
        return to_grid(model(rgb).float().softmax(1), size, cast("int", model.stride), self.stride_px)
