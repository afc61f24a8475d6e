"""Predictions of clicks by a small classifier that has not learnt from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import cross_entropy

FOLDS = 5
WAVES = 300
"""Random Fourier features that make the classifier bend (Rahimi and Recht 2007)."""

DECAY = 1e-2
STEPS = 60

LEAST = 5
"""Of a class that a classifier learnt from fewer clicks, nothing is said."""


def folds_of(clips: Sequence[str], positions: Sequence[int]) -> np.ndarray:
    """Parts of about one size, so that clicks which resemble each other lie in one.

    Of FOLDS clips or more, each lies in one part as a whole. Else each clip's frames are cut into FOLDS
    stretches of time.

    Args:
        clips: of each click.
        positions: of its frame in the clip, counted in the same way for all clicks.

    Returns:
        (N,) int, the part of each click, from 0 on.
    """
    counts = Counter(clips)
    if len(counts) >= FOLDS:
        loads, part_of = [0] * FOLDS, {}
        for clip, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            part_of[clip] = loads.index(min(loads))
            loads[part_of[clip]] += count
        return np.array([part_of[clip] for clip in clips], int)
    frames = {
        clip: sorted({p for c, p in zip(clips, positions, strict=True) if c == clip}) for clip in counts
    }
    return np.array(
        [
            frames[clip].index(position) * FOLDS // len(frames[clip])
            for clip, position in zip(clips, positions, strict=True)
        ],
        int,
    )


def out_of_fold(features: np.ndarray, class_ids: np.ndarray, folds: np.ndarray, classes: int) -> np.ndarray:
    """What a classifier says of each click that learnt from the clicks of all other folds.

    It is multinomial logistic regression on the features and on random waves of them.

    Args:
        features: (N, F).
        class_ids: (N,) as people told.
        folds: (N,) from `folds_of`.
        classes: K.

    Returns:
        (N, K) probabilities; NaN where the other folds hold fewer than LEAST clicks of the click's class.

    Example:
        >>> told = np.arange(40) % 2
        >>> seen = out_of_fold(told[:, None] + np.zeros((40, 2)), told, np.arange(40) // 8, 2)
        >>> bool((seen.argmax(1) == told).all())
        True
    """
    lifted = _lifted(features)
    found = np.full((len(class_ids), classes), np.nan)
    for fold in np.unique(folds):
        own, others = folds == fold, folds != fold
        if len(np.unique(class_ids[others])) < 2:
            continue
        known = np.bincount(class_ids[others], minlength=classes) >= LEAST
        judged = own & known[class_ids]
        found[judged] = _predicted(lifted[others], class_ids[others], lifted[judged], classes)
    return found


def _lifted(features: np.ndarray) -> np.ndarray:
    """(N, F + WAVES): the features, each of mean 0 and deviation 1, and waves of them; from no class."""
    scaled = _scaled(features, features)
    draw = np.random.default_rng(0)
    waves = draw.normal(size=(features.shape[1], WAVES)) / np.sqrt(features.shape[1])
    return np.concatenate([scaled, np.cos(scaled @ waves + draw.uniform(0, 2 * np.pi, WAVES))], 1)


def _scaled(values: np.ndarray, like: np.ndarray) -> np.ndarray:
    return (values - like.mean(0)) / (like.std(0) + 1e-6)


def _predicted(learnt: np.ndarray, class_ids: np.ndarray, asked: np.ndarray, classes: int) -> np.ndarray:
    """(M, K) probabilities of what is asked. A class weighs the root of its clicks: rare ones are heard."""
    x, y = torch.from_numpy(_scaled(learnt, learnt)), torch.from_numpy(class_ids.astype(np.int64))
    class_weights = torch.bincount(y, minlength=classes).clamp(min=1).double() ** -0.5
    weights = torch.zeros(x.shape[1] + 1, classes, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        fit = cross_entropy(x @ weights[1:] + weights[0], y, weight=class_weights)
        total = fit + DECAY / 2 * (weights[1:] ** 2).sum()
        total.backward()
        return total

    optimizer.step(loss)
    with torch.no_grad():
        logits = torch.from_numpy(_scaled(asked, learnt)) @ weights[1:] + weights[0]
        return logits.softmax(1).numpy()
