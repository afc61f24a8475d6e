"""A made-up batch on a small logit grid."""

from __future__ import annotations

import torch

from weclick.train.data.batch import Batch

K, H, W = 3, 8, 10


def make_batch(flow=0.0, targets=2, neighbours=2, inside=True):
    torch.manual_seed(0)
    frames = targets + neighbours
    return Batch(
        images=torch.randn(frames, 3, 4 * H, 4 * W),
        inside=torch.full((frames, 1, H, W), inside),
        points=torch.tensor([[0.0, 5.0, 6.0], [1.0, 20.0, 30.0]]),
        classes=torch.tensor([1, 2]),
        target_of=torch.arange(neighbours) % targets,
        flow=torch.full((neighbours, 2, H, W), flow),
        flow_valid=torch.ones(neighbours, 1, H, W, dtype=torch.bool),
        teacher=torch.randn(frames, K, H, W).softmax(1),
    )


def logits(batch):
    return torch.randn(batch.images.shape[0], K, H, W, generator=torch.Generator().manual_seed(1))
