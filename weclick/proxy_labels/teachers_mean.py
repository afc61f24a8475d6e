"""The labels that trained networks give a frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from weclick.common.content import RUN_AGAIN, check_content
from weclick.manifest import Clip, Manifest
from weclick.models import normalize
from weclick.proxy_labels.clip_images import images_ahead
from weclick.proxy_labels.grids import to_grid
from weclick.store.model_file import load_model


def load_networks(files: Mapping[str, Path], manifest: Manifest, device: str) -> list[nn.Module]:
    """Load the networks that label clips of a manifest.

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
    return models


class TeachersMean:
    """The mean of networks' probabilities, on the finest of their grids.

    The networks run as they were trained, and see one frame at a time. Folded norms, other layouts, batches
    or threads would change last bits, and the key of these labels says nothing of such.
    """

    def __init__(self, manifest: Manifest, models: Sequence[nn.Module], device: str):
        self._manifest, self._models, self._device = manifest, models, device
        self.stride_px = min(cast("int", model.stride) for model in models)

    def __call__(self, clips: Iterable[Clip]) -> Iterator[tuple[Clip, np.ndarray]]:
        """See `Labeller`."""
        with closing(images_ahead(self._manifest, clips)) as images:
            for clip, image in images:
                yield clip, self._predict(image)

    @torch.inference_mode()
    def _predict(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (K, h, w) float32 probabilities."""
        rgb = normalize(torch.tensor(image, device=self._device).permute(2, 0, 1)[None].float())
        return self._mean(rgb)[0].cpu().numpy()

    def _mean(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W), normalised and of the networks' type -> (B, K, h, w) float32 probabilities."""
        total, *others = (self._of(model, rgb) for model in self._models)
        for probabilities in others:
            total = total + probabilities
        return total / len(self._models) if others else total

    def _of(self, model: nn.Module, rgb: Tensor) -> Tensor:
        size = rgb.shape[-2:]
        return to_grid(model(rgb).float().softmax(1), size, cast("int", model.stride), self.stride_px)
