"""What a recipe's training begins with: network, stream, objective; all of it is in the network's key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from weclick.common.errors import InputError
from weclick.manifest.click_table import ClickTable
from weclick.train.data.stream import Stream
from weclick.train.devices import micro_batch_size
from weclick.train.objective import Losses, Objective, with_auxiliary
from weclick.train.recipe import Completes, Recipe
from weclick.train.roles import Network
from weclick.train.terms import TERMS, active, learns_from


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


@dataclass(frozen=True)
class Begun:
    """What a training needs beside its loop.

    Attributes:
        model: with its first weights.
        stream: of this process' samples.
        objective: the terms that are on.
        losses: the objective; with an auxiliary head also that head's.
        complete: adds to a batch what is computed in the loop, or None.
    """

    model: Network
    stream: Stream
    objective: Objective
    losses: Losses
    complete: Completes | None


def begin(recipe: Recipe, fabric: Fabric) -> Begun:
    """Draw the first weights, load what runs in the loop, and open the stream.

    Raises:
        InputError: no loss is on; a loss needs what the recipe does not have; or as in `Stream`.
    """
    options, seed, manifest = recipe.options, recipe.config["seed"], recipe.manifest
    recipe.check_needs()
    torch.manual_seed(seed)
    looks = {"stack_length": recipe.stack.length} if recipe.stack else {}
    model = recipe.needs.build(options, manifest.num_classes, options["pretrained"], **looks)
    occlusion, stride_px = recipe.occlusion, recipe.grid_px or model.stride
    complete = None
    if recipe.online:
        complete = recipe.online.start(
            classes=manifest.classes.names,
            stride_px=stride_px,
            occlusion=occlusion if recipe.uses_flow else None,
            device=fabric.device,
        )
    stream = Stream(
        manifest,
        recipe.clicks,
        recipe.used_caches(),
        window=recipe.window,
        options={**options, "batch_size": micro_batch_size(options, fabric.world_size)},
        stride_px=stride_px,
        occlusion=occlusion,
        seed=seed,
        rank=fabric.global_rank,
        world=fabric.world_size,
        tags=recipe.tags,
        stack=recipe.stack,
        both_ways=recipe.needs.flow_need == "pair",
        asks_flow=recipe.asks_flow,
    )
    objective = make_objective(recipe)
    return Begun(model, stream, objective, make_losses(recipe, objective), complete)


def make_objective(recipe: Recipe) -> Objective:
    """What a training minimises: the terms that its configuration switches on."""
    weights = None
    if learns_from("clicks", recipe.losses):
        setting = recipe.config["partial_cross_entropy"]["class_weights"]
        weights = class_weights(setting, recipe.clicks, recipe.manifest.num_classes)
    return Objective(recipe.losses, steps=recipe.options["steps"], class_weights=weights)


def make_losses(recipe: Recipe, objective: Objective) -> Losses:
    """The objective; with an auxiliary head also that head's loss at what people annotated.

    Raises:
        InputError: there is an auxiliary head, but no loss at the clicks or masks.
    """
    options: Mapping[str, Any] = recipe.options
    config = recipe.config
    if not options.get("auxiliary_head"):
        return objective
    annotated = {term.section: section for term, section in active(config) if term.annotation - {"tags"}}
    if not annotated:
        may = [each for each in TERMS if each.annotation - {"tags"} and each.may_learn(config)]
        off = " and ".join(f"{each.section}.weight is 0" for each in may) or "supervision is 'tags'"
        raise InputError(
            f"{recipe.role}.auxiliary_head is true, but {off}, and that head learns from clicks, masks and "
            f"proxy labels alone; set {'a weight, or ' if may else ''}{recipe.role}.auxiliary_head: false"
        )
    sections = {"supervision": config.get("supervision", "clicks"), **annotated}
    auxiliary = Objective(sections, steps=options["steps"], class_weights=objective.class_weights)
    return with_auxiliary(objective, auxiliary, options["auxiliary_weight"])
