"""How a step's gradients change the network: optimizer, learning rate, moving average of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from weclick.common.sections import TrainingSection

LIKE_BACKBONE = ("backbone.", "motion.")
"""Parameters of backbones begin so; all others are the head's."""


def make_optimizer(model: nn.Module, options: TrainingSection) -> torch.optim.Optimizer:
    """SGD or AdamW over the trainable parameters, the head's learning rate scaled by its factor.

    A network may say by `faster_parts` which of its parts learn faster still: beginning of a parameter's name
    -> the option that holds the factor.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    own = {name: option for name, option in getattr(model, "faster_parts", {}).items() if option in options}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            factor = 1.0 if name.startswith(LIKE_BACKBONE) else options["head_learning_rate_factor"]
            for part, option in own.items():
                factor *= cast("Mapping[str, float]", options)[option] if name.startswith(part) else 1.0
            groups.setdefault(factor, []).append(parameter)
    parameters = [{"params": params, "factor": factor} for factor, params in groups.items()]
    rate, decay = options["learning_rate"], options["weight_decay"]
    if options["optimizer"] == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
    return torch.optim.SGD(parameters, lr=rate, momentum=options["momentum"], weight_decay=decay)


def set_learning_rate(optimizer: torch.optim.Optimizer, options: TrainingSection, step: int) -> None:
    """The poly schedule: rate * (1 - step / steps) ^ poly_power."""
    rate = options["learning_rate"] * (1 - step / options["steps"]) ** options["poly_power"]
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def averaged(model: nn.Module, decay: float, device: torch.device) -> AveragedModel:
    """An exponential moving average of a network; `update_parameters` after each step.

    average = decay * average + (1 - decay) * network, from the first step's network on: about the mean of the
    last 1 / (1 - decay) steps. Means and variances of batch norm are averaged alike, since they belong to the
    weights. (So is `num_batches_tracked`, in whole numbers; nothing reads it.)

    Args:
        model: copied.
        decay: 0..1.
        device: where the average is kept.
    """
    rule = get_ema_multi_avg_fn(decay)
    return AveragedModel(model, device=device, multi_avg_fn=rule, use_buffers=True)
