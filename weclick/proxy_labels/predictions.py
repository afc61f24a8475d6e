"""Proxy labels from a trained network: its predictions on training frames, for a further round.

SEC's retraining, the second step of DSRG and the domain adaptation of F2F (Lee et al., ICCV 2019) do this: a
network learns anew from what the one before it predicts, refined by a dense CRF.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from weclick.common.content import RUN_AGAIN, check_content
from weclick.common.sections import CRFPreset
from weclick.losses import mean_field
from weclick.manifest import IGNORE, Clip, Manifest
from weclick.manifest.read import read_clip
from weclick.models import normalize
from weclick.store import file_digest
from weclick.store.model_file import load_model

ITERATIONS = 10
"""Of the mean field."""


@dataclass
class Predictions:
    """A network of an earlier round. See `ProxySource`.

    Attributes:
        manifest: of the clips.
        path: the network's model.safetensors.
        crf: kernels of the dense CRF on the grid of the logits; None for the bare prediction.
        min_probability: a pixel whose class has less is ignored.
        device: that the network computes on.

    Raises:
        MissingFileError: there is no such file.
    """

    manifest: Manifest
    path: Path
    crf: CRFPreset | None
    min_probability: float
    device: str = "cpu"

    name = "network"

    def __post_init__(self) -> None:
        self._sha256 = file_digest(self.path)
        self._model: nn.Module | None = None

    def key_inputs(self, clip: Clip) -> Mapping[str, Any]:
        """The network's digest, and what is made of its probabilities."""
        return {
            "network_sha256": self._sha256,
            "crf": [self.crf, ITERATIONS] if self.crf else None,
            "min_probability": float(self.min_probability),
        }

    def make(self, clip: Clip) -> list[tuple[int, np.ndarray]]:
        """A class map of every frame.

        Raises:
            InputError: the network has other classes than the manifest, or its file changed meanwhile.
        """
        frames = read_clip(self.manifest, clip)
        return [(position, self._labelled(image)) for position, image in enumerate(frames)]

    @torch.inference_mode()
    def _labelled(self, image: np.ndarray) -> np.ndarray:
        rgb = torch.tensor(image, device=self.device).permute(2, 0, 1)[None].float()
        probs = self._network()(normalize(rgb)).float().softmax(1)
        if self.crf:
            probs = refined(probs, rgb, self.crf)
        whole = interpolate(probs, size=image.shape[:2], mode="bilinear", align_corners=False)
        sure, classes = whole[0].max(0)
        return classes.masked_fill(sure < self.min_probability, IGNORE).byte().cpu().numpy()

    def _network(self) -> nn.Module:
        if self._model is None:
            self._model = load_model(self.path, self.device, classes=self.manifest.classes.names)[0]
            check_content(self.path, self._sha256, RUN_AGAIN)
        return self._model


def refined(probs: Tensor, rgb: Tensor, preset: CRFPreset) -> Tensor:
    """Probabilities after a dense CRF on their own grid.

    Args:
        probs: (1, K, h, w).
        rgb: (1, 3, H, W) float, 0..255.
        preset: of the kernels, see `mean_field`.
    """
    colours = adaptive_avg_pool2d(rgb, (probs.shape[-2], probs.shape[-1]))[0].round().byte()
    return mean_field(probs[0], colours.movedim(0, -1), preset, iterations=ITERATIONS)[None]
