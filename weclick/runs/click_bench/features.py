"""Features of a frozen backbone, computed once for each frame, and a small head that is trained on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from weclick.common.progress import progress_bar
from weclick.losses.partial_cross_entropy import partial_cross_entropy, sample_logits
from weclick.models import normalize
from weclick.models.backbones import Backbone
from weclick.models.network import SegmentationNetwork
from weclick.runs.click_bench.pool import Shot
from weclick.train.roles import build_network

WARM_STEPS = 60
"""Steps in which a student without pretrained weights learns from the first clicks, before it is frozen."""

HIDDEN, STEPS, RATE, DECAY = 64, 150, 1e-2, 1e-2
"""The head, and how long it is trained, each round from new weights."""

Point = tuple[int, int, int, int]
"""Frame, y, x and class of a click that counts."""


@dataclass(frozen=True)
class Features:
    """Feature maps of frames.

    Attributes:
        maps: (C, h, w) of each frame.
        sizes: (H, W) px of each frame.
    """

    maps: Sequence[Tensor]
    sizes: Sequence[tuple[int, int]]

    def at(self, frame: int, yx: np.ndarray) -> Tensor:
        """(N, C) features at the (N, 2) pixels of a frame, read bilinearly."""
        points = torch.from_numpy(np.pad(np.asarray(yx).reshape(-1, 2), ((0, 0), (1, 0)))).double()
        return sample_logits(self.maps[frame][None], points, self.sizes[frame])

    def at_points(self, points: Sequence[Point]) -> tuple[Tensor, Tensor]:
        """Features (N, C) and classes (N,) of clicks, frame by frame."""
        frames = by_frame(points)
        read = [self.at(frame, np.array([point[1:3] for point in each])) for frame, each in frames.items()]
        return torch.cat(read), torch.tensor([point[3] for each in frames.values() for point in each])


def by_frame(points: Iterable[Point]) -> dict[int, list[Point]]:
    """The clicks of each frame."""
    frames: dict[int, list[Point]] = {}
    for point in points:
        frames.setdefault(point[0], []).append(point)
    return frames


def frozen_features(backbone: Backbone, shots: Sequence[Shot], fit_on: int) -> Features:
    """Features of frames, with mean 0 and deviation 1 over the first `fit_on` of them.

    Args:
        backbone: frozen.
        shots: frames.
        fit_on: so many of them tell mean and deviation.
    """
    maps = []
    with progress_bar("features", len(shots), "frames") as bar:
        for shot in shots:
            maps.append(_features(backbone, shot.image))
            bar.advance()
    flat = torch.cat([each.flatten(1) for each in maps[:fit_on]], 1)
    mean, deviation = flat.mean(1)[:, None, None], flat.std(1).clamp(min=1e-6)[:, None, None]
    return Features([(each - mean) / deviation for each in maps], [shot.size for shot in shots])


@torch.no_grad()  # a head learns from what comes out, and cannot from tensors of inference_mode
def _features(backbone: Backbone, image: np.ndarray) -> Tensor:
    """All depths of a backbone on the grid of the finest, (C1 + C2 + C3, h, w)."""
    rgb = torch.tensor(image).permute(2, 0, 1)[None].float()
    depths = backbone(normalize(rgb))
    size = depths[0].shape[-2:]
    return torch.cat([interpolate(each, size=size, mode="bilinear") for each in depths], 1)[0]


def pretrained_backbone(student: Any, num_classes: int) -> Backbone:
    """The configured student's backbone with its pretrained weights, frozen."""
    return _frozen(build_network(student, num_classes, pretrained=student["pretrained"]))


def warmed_backbone(
    student: Any, num_classes: int, shots: Sequence[Shot], points: Iterable[Point], seed: int
) -> Backbone:
    """The backbone of a student that learned shortly from the first clicks and from nothing else, frozen.

    Args:
        student: its section of the configuration, without pretrained weights.
        num_classes: K.
        shots: the pool.
        points: the first clicks, which all arms share.
        seed: of the weights and of the order.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng((seed, 2))
    # The head learns from one frame at a time, which batch norm does not bear, and is thrown away.
    section: Any = {**student, "head_norm": "group"}
    model = build_network(section, num_classes).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=float(student["learning_rate"]))
    frames = by_frame(points)
    with progress_bar("first clicks", WARM_STEPS, "steps") as bar:
        for _ in range(WARM_STEPS):
            frame = list(frames)[rng.integers(len(frames))]
            loss = _clicks_loss(model, shots[frame], frames[frame], flip=bool(rng.integers(2)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            bar.advance()
    return _frozen(model)


def _clicks_loss(model: nn.Module, shot: Shot, points: Sequence[Point], *, flip: bool) -> Tensor:
    rgb = torch.tensor(shot.image).permute(2, 0, 1)[None].float()
    x = [shot.size[1] - 1 - point[2] if flip else point[2] for point in points]
    at = torch.tensor([[0.0, point[1], x[i]] for i, point in enumerate(points)])
    logits = model(normalize(rgb.flip(3) if flip else rgb))
    logits = logits[0] if isinstance(logits, tuple) else logits
    classes = torch.tensor([point[3] for point in points])
    return partial_cross_entropy(logits, at, classes, input_size=shot.size)


def _frozen(model: SegmentationNetwork) -> Backbone:
    return model.backbone.eval().requires_grad_(False)


def train_head(features: Tensor, classes: Tensor, num_classes: int, seed: int) -> nn.Module:
    """A head (N, C) -> (N, K) that learned the classes of some features, from new weights.

    Args:
        features: (N, C).
        classes: (N,) int64.
        num_classes: K.
        seed: of its weights.
    """
    torch.manual_seed(seed)
    head = nn.Sequential(
        nn.Linear(features.shape[1], HIDDEN), nn.ReLU(), nn.Dropout(0.2), nn.Linear(HIDDEN, num_classes)
    )
    optimizer = torch.optim.AdamW(head.parameters(), lr=RATE, weight_decay=DECAY)
    for _ in range(STEPS):
        loss = cross_entropy(head(features), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return head.eval()


@torch.inference_mode()
def predicted(head: nn.Module, features: Tensor, size: tuple[int, int]) -> np.ndarray:
    """(H, W) class ids of a frame with the feature map (C, h, w)."""
    channels, height, width = features.shape
    logits = head(features.reshape(channels, -1).T).T.reshape(1, -1, height, width)
    return interpolate(logits, size=size, mode="bilinear", align_corners=False)[0].argmax(0).numpy()
