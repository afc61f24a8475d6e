"""The labels that trained networks give a frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from weclick.common.content import RUN_AGAIN, check_content
from weclick.manifest import Clip, Manifest
from weclick.manifest.read import read_clip
from weclick.models import normalize
from weclick.proxy_labels.grids import to_grid
from weclick.store.model_file import load_model


def load_teachers(files: Mapping[str, Path], manifest: Manifest, device: str) -> TeachersMean:
    """Load networks to label clips of a manifest with their mean.

    Args:
        files: SHA-256 -> model.safetensors.
        manifest: of the clips.
        device: where they run.

    Raises:
        InputError: one has other classes than the manifest, or its file changed meanwhile.
    """
    models = []
    for digest, path in files.items():
        models.append(load_model(path, device, classes=manifest.classes.names)[0])
        check_content(path, digest, RUN_AGAIN)
    return TeachersMean(manifest, models, device)


class TeachersMean:
    """The mean of networks' probabilities, on the finest of their grids."""

    def __init__(self, manifest: Manifest, models: Sequence[nn.Module], device: str):
        self._manifest, self._models, self._device = manifest, models, device
        self.stride_px = min(cast("int", model.stride) for model in models)

    def __call__(self, clip: Clip) -> Iterator[np.ndarray]:
        """See `Labeller`."""
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
