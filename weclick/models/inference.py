"""A network made ready to run fast. The package does not import this: no training depends on it."""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fused_for_inference(model: nn.Module) -> nn.Module:
    """A copy in eval mode with its batch norms folded into their convolutions.

    The outputs are the same up to rounding. The copy cannot be trained, and its keys are others; group norm
    stays as it is. Relies on what holds for all our networks and torchvision's backbones: a batch norm
    registered right after a convolution takes that convolution's output, and nothing else does.

    Args:
        model: on any device, in float32 or float64; stays as it is.
    """
    fused = deepcopy(model).eval()
    for parent in list(fused.modules()):
        for (name, conv), (next_name, norm) in pairwise(list(parent.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, next_name, nn.Identity().eval())
    return fused
