"""The mean field of a dense CRF at the full size of an image, by the permutohedral lattice of pydensecrf2.

The mean field is that of `weclick.losses.mean_field`, with the same presets. The lattice approximates the
sums over all pairs of pixels. So its time grows with the number of pixels, and not with the square of it.
"""

from __future__ import annotations

import importlib

import numpy as np
from torch import Tensor

from weclick.common.crf_package import MODULE
from weclick.losses.mean_field import PRESETS

ITERATIONS = 10
"""As in all published uses of the presets on whole images."""

FLOOR = 1e-5
"""Least probability, as in `unary_from_softmax` of pydensecrf."""


def lattice_mean_field(
    probs: Tensor, image: np.ndarray, preset: str, *, iterations: int = ITERATIONS
) -> np.ndarray:
    """What a dense CRF makes of the probabilities of one image, by the lattice of pydensecrf2.

    Args:
        probs: (K, H, W) on any device; less than `FLOOR` counts as `FLOOR`.
        image: (H, W, 3) uint8 RGB.
        preset: a name in `weclick.losses.mean_field.PRESETS`, whose sizes are in px of this image.
        iterations: of the mean field.

    Returns:
        (K, H, W) float32 probabilities.

    Raises:
        ImportError: pydensecrf2 is not installed, see `require_crf`.
    """
    package, crf = importlib.import_module(MODULE), PRESETS[preset]
    classes, height, width = probs.shape
    unary = -probs.detach().float().clamp(FLOOR, 1).log().flatten(1).cpu()
    field = package.DenseCRF2D(width, height, classes)
    field.setUnaryEnergy(np.require(unary.numpy(), np.float32, ["C", "W"]))
    normalised = {"kernel": package.DIAG_KERNEL, "normalization": package.NORMALIZE_SYMMETRIC}
    field.addPairwiseGaussian(sxy=crf.smooth_px, compat=crf.smooth, **normalised)
    field.addPairwiseBilateral(
        sxy=crf.position_px,
        srgb=crf.color,
        rgbim=np.require(image, np.uint8, ["C", "W"]),
        compat=crf.bilateral,
        **normalised,
    )
    return np.array(field.inference(iterations), np.float32).reshape(classes, height, width)
