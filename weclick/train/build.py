"""Network, objective and class weights of a recipe."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from weclick.clicks import ClickTable
from weclick.common.errors import InputError
from weclick.common.sections import NetworkSection
from weclick.models import SegmentationNetwork, build_model
from weclick.train.objective import Losses, Objective, with_auxiliary
from weclick.train.recipe import Recipe


def class_weights(setting: Any, clicks: ClickTable, num_classes: int) -> torch.Tensor | None:
    """The factors of partial cross-entropy.

    Args:
        setting: None, one number per class, or "balanced": inverse square roots of the numbers of clicks,
            scaled so that the mean over clicks is 1.
        clicks: counted for "balanced".
        num_classes: K.

    Raises:
        ValueError: the setting is neither K numbers nor "balanced".
    """
    if setting is None:
        return None
    if setting == "balanced":
        counts = clicks.counts().astype(np.float64)
        factors = 1 / np.sqrt(np.maximum(counts, 1))
        return torch.tensor(factors * counts.sum() / (factors * counts).sum(), dtype=torch.float32)
    if isinstance(setting, str) or len(setting) != num_classes:
        raise ValueError(
            f"partial_cross_entropy.class_weights is {setting!r}; expected balanced or {num_classes} numbers"
        )
    return torch.tensor(setting, dtype=torch.float32)


def build_network(
    options: NetworkSection, num_classes: int, *, pretrained: str | None = None
) -> SegmentationNetwork:
    """The network that a section of the configuration describes, with random or pretrained weights.

    Args:
        options: the section `teacher` or `student`.
        num_classes: K.
        pretrained: see `build_model`.
    """
    return build_model(
        options["architecture"],
        options["backbone"],
        num_classes,
        pretrained=pretrained,
        channels=options["channels"],
        batch_norm=options["batch_norm"],
        head_norm=options["head_norm"],
        output_stride=options["output_stride"],
        auxiliary_head=options["auxiliary_head"],
    )


def make_objective(recipe: Recipe) -> Objective:
    """What a training minimises: the terms that its configuration switches on."""
    setting = recipe.config["partial_cross_entropy"]["class_weights"]
    weights = class_weights(setting, recipe.clicks, recipe.manifest.num_classes)
    return Objective(recipe.config, steps=recipe.options["steps"], class_weights=weights)


def make_losses(recipe: Recipe, objective: Objective) -> Losses:
    """The objective; with an auxiliary head also that head's loss at the clicks.

    Raises:
        InputError: there is an auxiliary head, but no loss at the clicks.
    """
    options, clicks = recipe.options, recipe.config["partial_cross_entropy"]
    if not options["auxiliary_head"]:
        return objective
    if not clicks["weight"]:
        raise InputError(
            f"{recipe.role}.auxiliary_head is true, but partial_cross_entropy.weight is 0, and that head "
            f"learns from clicks alone; set a weight, or {recipe.role}.auxiliary_head: false"
        )
    at_clicks = {"partial_cross_entropy": clicks}
    auxiliary = Objective(at_clicks, steps=options["steps"], class_weights=objective.class_weights)
    return with_auxiliary(objective, auxiliary, options["auxiliary_weight"])
