"""A network at work: class ids of a frame, and a copy of the network that runs faster.

`weclick.models` does not import this. So an edit here changes keys only for networks whose best weights are
kept or that are trained online.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.utils.fusion import fuse_conv_bn_eval

from weclick.models import normalize

FUSED_TOLERANCE = 0.01
"""Largest difference of logits that rounding may make, relative to the largest logit."""


def fused_for_inference(model: nn.Module) -> nn.Module:
    """A copy in eval mode with its batch norms folded into their convolutions.

    The outputs are the same up to rounding. The copy cannot be trained, and its state has other keys. Group
    norm stays as it is. This relies on the order of registration: in all our networks and torchvision's
    backbones, a batch norm registered right after a convolution takes its output, and nothing else does. Some
    network of timm may do otherwise, so the outputs are compared on one small image; where they differ, the
    copy keeps its batch norms.

    Args:
        model: on any device, in float32 or float64; stays as it is.
    """
    fused = deepcopy(model).eval()
    pairs = [
        (parent, name, conv, next_name, norm)
        for parent in fused.modules()
        for (name, conv), (next_name, norm) in pairwise(parent.named_children())
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    ]
    if not pairs:
        return fused
    before = _tried(fused)
    for parent, name, conv, next_name, norm in pairs:
        setattr(parent, name, fuse_conv_bn_eval(conv, norm))
        # some of timm's batch norms hold what follows them: a dropout and an activation
        setattr(parent, next_name, nn.Sequential(*norm.children()).eval())
    same = (_tried(fused) - before).abs().max() <= FUSED_TOLERANCE * before.abs().max()
    return fused if same else deepcopy(model).eval()


@torch.no_grad()
def _tried(model: nn.Module) -> Tensor:
    """A network's logits of one small input that is the same every time, and draws no random number."""
    like, length = next(model.parameters()), stack_length(model)
    channels = [3, 2 * length] if length else [3]
    waves = [torch.arange(n * 64 * 64, dtype=torch.float64).sin().view(1, n, 64, 64) for n in channels]
    return model(*(wave.to(like.device, like.dtype) for wave in waves))


def stack_length(model: nn.Module) -> int:
    """Flows that a network looks at beside an image; 0: none."""
    return getattr(model, "stack_length", 0)


@torch.inference_mode()
def class_scores(model: nn.Module, image: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """The score of every class in one frame, by a classifier.

    Args:
        model: a classifier in eval mode, on `device`.
        image: (H, W, 3) uint8 RGB.

    Returns:
        (K,) float32 on `device`, 0..1: sigmoids of the maps' means.
    """
    rgb = torch.tensor(image, device=device).permute(2, 0, 1)[None]
    return model(normalize(rgb.float())).float().mean((2, 3))[0].sigmoid()


@torch.inference_mode()
def batch_logits(
    model: nn.Module,
    images: Sequence[np.ndarray],
    device: torch.device | str,
    *,
    size: tuple[int, int],
    stacks: Sequence[Tensor] = (),
) -> Tensor:
    """`class_logits` of several frames of one size at once.

    Args:
        model: in eval mode, on `device`.
        images: B of (H, W, 3) uint8 RGB.
        device: where it computes.
        size: (h, w) of the answer.
        stacks: B of (2L, H, W), for a network that looks at flow; none for others.

    Returns:
        (B, K, h, w) float32 on `device`.
    """
    rgb = torch.from_numpy(np.stack(images)).to(device).permute(0, 3, 1, 2)
    inputs = [normalize(rgb.float())]
    if stacks:
        inputs.append(torch.stack(list(stacks)).to(inputs[0]))
    return interpolate(model(*inputs).float(), size=size, mode="bilinear", align_corners=False)


@torch.inference_mode()
def class_logits(
    model: nn.Module,
    image: np.ndarray,
    device: torch.device | str = "cpu",
    *,
    size: tuple[int, int] | None = None,
    stack: Tensor | None = None,
) -> Tensor:
    """The logits of one frame, upsampled bilinearly to its full size or to `size`.

    Args:
        model: in eval mode, on `device`.
        image: (H, W, 3) uint8 RGB.
        size: (H, W) px of the answer; None takes the image's.
        stack: (2L, H, W) on any device, the flows around the frame, for a network that looks at them.

    Returns:
        (K, H, W) float32 on `device`.

    Raises:
        ValueError: the stack is missing, of another shape, or given to a network that looks at no flow.
    """
    if stack is not None and not stack_length(model):
        raise ValueError("stack is given, but this network looks at images alone; leave it out")
    stacks = () if stack is None else (stack,)
    return batch_logits(model, [image], device, size=size or image.shape[:2], stacks=stacks)[0]


def predict(
    model: nn.Module,
    image: np.ndarray,
    device: torch.device | str = "cpu",
    *,
    size: tuple[int, int] | None = None,
    stack: Tensor | None = None,
) -> Tensor:
    """Class ids of one frame, at its full size or at `size`.

    Args:
        model, image, device, size, stack: as in `class_logits`.

    Returns:
        (H, W) uint8 on `device`: the arg-max of `class_logits`.

    Raises:
        ValueError: as in `class_logits`.
    """
    return class_of(class_logits(model, image, device, size=size, stack=stack))


def class_of(logits: Tensor) -> Tensor:
    """The class ids (H, W) uint8 of logits (K, H, W)."""
    return logits.argmax(0).byte()
