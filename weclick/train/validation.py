"""The scores of a network during its training, on the scored frames of another split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from weclick.common.findings import Finding, tell
from weclick.evaluate.held_out import held_out_clicks, score_clicks
from weclick.evaluate.motion import stored_stacks
from weclick.evaluate.scored import labelled_part
from weclick.evaluate.scores import score_frames, scores
from weclick.evaluate.tagged import score_tags
from weclick.train.recipe import Recipe


def validator(recipe: Recipe, device: torch.device) -> Callable[[nn.Module], Mapping[str, Any]] | None:
    """What scores a network of a recipe, by labels, by people's clicks, or by the tags that labels hold.

    Args:
        recipe: gives the frames to score, and how many.
        device: of the network.

    Returns:
        A function of a network in eval mode. Its answer holds the figure that the role is judged by. None for
        a role that is not scored during its training.
    """
    if not recipe.needs.figure:
        return None
    labelled, clicks = labelled_part(recipe.validation), held_out_clicks(recipe.validation)
    few: Any = {"at_most": recipe.options["validate_frames"], "device": device}
    stacks = stored_stacks(
        recipe.motion(), recipe.caches.store, recipe.validation_stacks, recipe.validation.clips
    )
    by_label = any(clip.scored for clip in labelled.clips)
    if recipe.options["keep"] == "best" and not by_label and (clicks or recipe.needs.tags):
        tell([_nothing_is_best(recipe)])

    def by_pixels(network: nn.Module) -> dict[str, Any]:
        by_clicks = score_clicks(network, recipe.validation, clicks, stacks=stacks, **few)
        by_labels = score_frames(network, labelled, stacks=stacks, **few)
        return {**scores(by_labels, labelled), **by_clicks}

    return (lambda network: score_tags(network, labelled, **few)) if recipe.needs.tags else by_pixels


def _nothing_is_best(recipe: Recipe) -> Finding:
    found = f"is best, but no scored frame of split {recipe.validation.split!r} has a label to choose by"
    todo = "the weights of the last step are kept; label some of these frames, or set keep: last"
    return Finding("warning", f"{recipe.role}.keep", found, todo)
