"""A dense CRF that starts from class maps which may be wrong (Kraehenbuehl and Koltun 2011).

IRN's confident labels are made so (Ahn et al. 2019). The public code filters at the size of the image, in a
lattice that approximates the sums over all pairs of pixels. On a coarser grid all pairs can be counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, one_hot

from weclick.common.sections import CRFPreset
from weclick.losses import mean_field
from weclick.losses.mean_field import PRESETS
from weclick.proxy_labels.grids import to_grid
from weclick.proxy_labels.lattice_crf import lattice_mean_field

Backend = Literal["exact", "lattice"]


@dataclass(frozen=True)
class LabelCRF:
    """Refines class maps of one image.

    Attributes:
        preset: of the kernels; None leaves the maps as they are.
        backend: exact counts all pairs on a coarse grid; lattice needs pydensecrf2, and stays at the size of
            the image.
        grid_px: stride of the grid of exact. The kernels' sizes are divided by it.
        iterations: of the mean field.
        confidence: probability that a pixel has the class that it begins with, 0..1. The other classes
            share the rest.
    """

    preset: CRFPreset | None
    backend: Backend
    grid_px: int
    iterations: int
    confidence: float

    def key_inputs(self) -> dict[str, Any] | None:
        """The options that count. 1 and 1.0 are one."""
        if self.preset is None:
            return None
        told: dict[str, Any] = {
            "preset": self.preset,
            "backend": self.backend,
            "iterations": int(self.iterations),
        }
        told["confidence"] = float(self.confidence)
        return {**told, "grid_px": int(self.grid_px)} if self.backend == "exact" else told

    @property
    def start_px(self) -> int:
        """Stride of the grid that maps have to lie on."""
        return self.grid_px if self.preset and self.backend == "exact" else 1

    def refined(self, levels: Tensor, image: np.ndarray) -> np.ndarray:
        """The positions of the classes after the CRF, at the size of the image.

        Args:
            levels: (S, K, h, w), S sets of K maps on the grid of `start_px`, K at least 2. The largest map
                of a set is the class that a pixel begins with.
            image: (H, W, 3) uint8 RGB.

        Returns:
            (S, H, W) int64, 0..K-1.

        Raises:
            InputError: pydensecrf2 is wanted and not there.
        """
        size, start = image.shape[:2], levels.argmax(1)
        if self.preset is None:
            return start.numpy()
        probs = _unsure(start, levels.shape[1], self.confidence)
        if self.backend == "lattice":
            found = [
                lattice_mean_field(each, image, self.preset, iterations=self.iterations) for each in probs
            ]
            return np.stack(found).argmax(1)
        rgb = torch.tensor(image).permute(2, 0, 1)[None].float()
        colours = avg_pool2d(rgb, self.grid_px, ceil_mode=True, count_include_pad=False)[0]
        kernels = PRESETS[self.preset].on_grid(self.grid_px)
        spread = mean_field(probs, colours.round().byte().movedim(0, -1), kernels, iterations=self.iterations)
        whole = to_grid(spread.flatten(0, 1)[None], size, self.grid_px, 1)
        return whole.view(*probs.shape[:2], *size).argmax(1).numpy()


def _unsure(classes: Tensor, number: int, confidence: float) -> Tensor:
    """Probabilities (S, K, h, w) of classes (S, h, w), as `unary_from_labels` of pydensecrf has them."""
    rest = (1 - confidence) / (number - 1)
    return one_hot(classes, number).movedim(-1, 1).float() * (confidence - rest) + rest
