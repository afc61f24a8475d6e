"""Growing cues: a region that the network is sure of becomes cue if it touches one (DSRG)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from weclick.losses.shapes import check_shape


def grow_cues(
    probs: Tensor,
    cues: Tensor,
    present: Tensor,
    *,
    foreground: float = 0.85,
    background: float = 0.99,
) -> Tensor:
    """Cues, and the sure pixels that hang together with a cue of their class (Huang et al. 2018, Sec. 3.2).

    1. A pixel is of the best of the image's classes if its probability exceeds the threshold. Other pixels
       are of the class that they are a cue of, if any.
    2. Of each class, the 8-connected regions that contain a cue of it become cue, but for the cues of other
       classes in them.

    So a cue never loses its class, but where the network is sure of another class it starts no region. All
    this is as in DSRG's public code. Pass the original cues every time: growing from grown cues runs away.

    Args:
        probs: (K, h, w) of one image; DSRG gives what the CRF makes of the network's. Class 0 is background.
        cues: (K, h, w) bool, the original cues, at most one class a pixel.
        present: (K,) bool, the image's classes. Background always counts as present.
        foreground: threshold of classes but background.
        background: threshold of the background.

    Returns:
        (K, h, w) bool: the cues and what has grown.

    Raises:
        ValueError: shapes disagree.

    Example:
        The network is sure of class 1 at the first two pixels and at the last. The second is a cue.

        >>> probs = torch.tensor([[0.1, 0.1, 0.5, 0.1], [0.9, 0.9, 0.5, 0.9]]).view(2, 1, 4)
        >>> cues = torch.tensor([[0, 0, 0, 0], [0, 1, 0, 0]]).bool().view(2, 1, 4)
        >>> grow_cues(probs, cues, torch.tensor([True, True]))[1]
        tensor([[ True,  True, False, False]])
    """
    if probs.ndim != 3:
        raise ValueError(f"probs has shape {tuple(probs.shape)}, expected three axes (K, h, w)")
    check_shape("cues", cues, probs.shape, "one flag for each class and pixel of probs")
    check_shape("present", present, probs.shape[:1], "one flag a class")
    cues = cues.to(probs.device).bool()
    candidates = _candidates(probs.detach(), cues, present, foreground, background)
    elsewhere = cues.any(0) & ~cues
    return cues | (_reached(candidates & cues, candidates) & ~elsewhere)


def _candidates(probs: Tensor, cues: Tensor, present: Tensor, foreground: float, background: float) -> Tensor:
    """The pixels of each class (K, h, w) bool: surely predicted, or else cue."""
    classes = present.to(probs.device).bool().clone()
    classes[0] = True
    best, label = probs.masked_fill(~classes[:, None, None], -1).max(0)
    thresholds = best.new_full((len(probs),), foreground)
    thresholds[0] = background
    sure = best > thresholds[label]
    ids = torch.arange(len(probs), device=probs.device)[:, None, None]
    return torch.where(sure, ids == label, cues) & classes[:, None, None]


def _reached(seeds: Tensor, candidates: Tensor) -> Tensor:
    """The candidates that 8-neighbours link to a seed: a flood, one ring of pixels a pass."""
    reached = seeds
    while True:
        ring = F.max_pool2d(reached[None].float(), 3, stride=1, padding=1)[0].bool() & candidates
        if torch.equal(ring, reached):
            return reached
        reached = ring
