"""Batches of pairs: what a pair gets does not depend on its company."""

from __future__ import annotations

import numpy as np
import torch

from weclick.flow.batch_estimator import BatchEstimator
from weclick.flow.dis import Dis
from weclick.flow.pairs import match_pairs


def test_pairs_that_share_frames_get_what_they_get_alone():
    rng = np.random.default_rng(0)
    wide = np.kron(rng.integers(0, 256, (16, 40, 3), np.uint8), np.ones((4, 4, 1), np.uint8))
    frames = [wide[:, 2 * t : 2 * t + 120].copy() for t in range(4)]
    frames[2][20:40, 30:70] = 255 - frames[2][20:40, 30:70]
    pairs = [*match_pairs(frames, [(t, u) for t in range(4) for u in range(4) if t != u])]
    estimate = BatchEstimator(Dis(), stride_px=4, masks=["photometric", "forward_backward"])
    ((flows, bits),) = estimate(pairs)
    assert bits is not None
    assert {int(bit) for bit in bits.unique()} >= {1, 3}
    for pair, flow, valid in zip(pairs, flows, bits, strict=True):
        ((alone, own),) = estimate([pair])
        assert torch.equal(alone[0], flow)
        assert own is not None
        assert torch.equal(own[0], valid)
