"""One-vs-all logistic regression on features that do not learn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

L2 = 1e-3
"""Of half the squared norm of the weights, on features whose variance, summed over channels, is 1."""

STEPS = 1000
"""At most; a fit of a few hundred images ends long before."""


def one_vs_all(features: Tensor, class_ids: Sequence[int], wanted: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Weights that tell each of some classes from all others.

    The loss is logistic. Images of the class and those of all others count one half each, however many there
    are. The fit begins at zero and is one of float64 on the CPU, so the same features give the same weights.

    Args:
        features: (N, C).
        class_ids: of the N features.
        wanted: D classes; each has a feature, and so has another class.

    Returns:
        (D, C) weights and (D,) biases, float64: sigmoid(weights . feature + bias) is the probability.
    """
    given, ids = features.double().cpu(), torch.tensor(class_ids)
    mean = given.mean(0)
    scale = (given - mean).square().sum(1).mean().sqrt().clamp(min=torch.finfo(given.dtype).tiny)
    fits = [_fit((given - mean) / scale, ids == k) for k in wanted]
    weights = torch.stack([weight for weight, _ in fits]) / scale
    return weights, torch.stack([bias for _, bias in fits]) - weights @ mean


@torch.enable_grad()
def _fit(features: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (C,) and bias () of features (N, C) of which those of a mask (N,) are of the class."""
    weight = torch.zeros(features.shape[1], dtype=features.dtype, requires_grad=True)
    bias = torch.zeros((), dtype=features.dtype, requires_grad=True)
    search = torch.optim.LBFGS(
        [weight, bias],
        max_iter=STEPS,
        tolerance_grad=1e-8,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        search.zero_grad()
        logits = features @ weight + bias
        error = (softplus(-logits[own]).mean() + softplus(logits[~own]).mean()) / 2
        total = error + L2 / 2 * weight.square().sum()
        total.backward()
        return total

    search.step(loss)
    return weight.detach(), bias.detach()
