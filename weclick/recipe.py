"""The recipe of a network: all that determines it, and what it is trained with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from weclick.batch import Batch
from weclick.clicks import ClickTable, clicks_digest
from weclick.errors import InputError
from weclick.manifest import Manifest
from weclick.means import Means
from weclick.models import SegmentationNetwork, build_model
from weclick.network_code import network_code
from weclick.objective import Losses, Objective, with_auxiliary
from weclick.store import file_digest
from weclick.stream import Caches
from weclick.window import Window

FORMAT_VERSION = 1
_VALIDATION = ("validate_every", "validate_frames")
_WATCHING = ("checkpoint_every", "log_every", "profile")
"""Options that show a training and do not change it; so do those of validation, unless the best is kept."""

_OFF = {"accumulate": 1, "clip_gradient_norm": None, "deterministic": False, "keep": "last"}
"""Options that are no part of a key where they change nothing."""


class Online(Protocol):
    """Computes in a training's loop what is not stored, see `weclick.online`; here nothing of it is imported,
    so that an edit of an estimator does not change what trains from caches alone."""

    def key_inputs(self, *, flow: bool) -> dict[str, Any]:
        """What the key of a network is made of; `flow` says whether a loss looks at it."""

    def start(
        self, *, classes: Sequence[str], stride_px: int, occlusion: str | None, device: torch.device
    ) -> Callable[[Batch], Batch]:
        """Load teacher and estimator; what comes completes the batches."""


@dataclass(frozen=True)
class Recipe:
    """What a training is made of.

    Attributes:
        role: teacher or student; names its section of the configuration.
        config: the sections that the role may read.
        manifest: the training split.
        clicks: on its targets.
        caches: frames, and for a student flow and soft labels.
        validation: the split that is scored during training.
        in_loop: teacher and flow of a training that computes them in its loop.
    """

    role: str
    config: Mapping[str, Any]
    manifest: Manifest
    clicks: ClickTable
    caches: Caches
    validation: Manifest
    in_loop: Online | None = None

    @property
    def options(self) -> Mapping[str, Any]:
        """The network's section of the configuration."""
        return self.config[self.role]

    @property
    def distils(self) -> bool:
        """Whether any loss looks at frames beside the target, or at the teacher."""
        return any(self.config.get(name, {}).get("weight") for name in ("kd", "mfd"))

    @property
    def online(self) -> Online | None:
        """What computes teacher and flow in the loop; None where stored ones are read, or no loss looks."""
        return self.in_loop if self.distils else None

    @property
    def uses_flow(self) -> bool:
        """Whether a loss looks at flow."""
        return bool(self.distils and self.config["mfd"]["weight"] and self.window.frames > 1)

    @property
    def window(self) -> Window:
        """Neighbours of a target; none where no loss would look at them."""
        return Window(**self.config["window"]) if self.distils else Window(frames=1)

    def used_caches(self) -> Caches:
        """The caches without those that no loss reads, or that are computed online."""
        stored = self.online is None
        return replace(
            self.caches,
            flow=self.caches.flow if stored and self.uses_flow else {},
            soft_labels=self.caches.soft_labels if stored and self.distils else {},
        )

    def inputs(self) -> dict[str, Any]:
        """What the key of the trained network is made of."""
        caches = self.used_caches()
        watching = _WATCHING if self.options["keep"] == "best" else (*_WATCHING, *_VALIDATION)
        options = {
            name: value
            for name, value in self.options.items()
            if name not in (*watching, "online") and (name not in _OFF or value != _OFF[name])
        }
        if options["pretrained"] not in (None, "imagenet"):
            options["pretrained"] = file_digest(options["pretrained"])
        if not options["auxiliary_head"]:
            del options["auxiliary_weight"]
        losses = ("partial_cross_entropy", "gated_crf", "mfd", "kd")
        modules = ["weclick.train", "weclick.objective", "weclick.models", "weclick.store.codecs"]
        more: dict[str, Any] = {}
        if self.online:
            more["online"] = self.online.key_inputs(flow=self.uses_flow)
        if self.options["keep"] == "best":
            modules.append("weclick.evaluate")
            more["validation"] = {
                clip.id: [(clip.frames[t].digest, clip.frames[t].label_digest) for t in clip.scored]
                for clip in self.validation.clips
            }
        return {
            "format": FORMAT_VERSION,
            "code": network_code(*modules),
            "role": self.role,
            "seed": self.config["seed"],
            "options": options,
            "losses": {name: self.config[name] for name in losses if name in self.config},
            "window": self.config["window"] if self.distils else None,
            "classes": list(self.manifest.classes.names),
            "targets": {clip.id: list(clip.targets) for clip in self.manifest.clips},
            "clicks": clicks_digest(self.clicks),
            "frames": dict(caches.frames),
            "flow": dict(caches.flow),
            "soft_labels": dict(caches.soft_labels),
            **more,
        }


def class_weights(setting: Any, clicks: ClickTable, num_classes: int) -> torch.Tensor | None:
    """The factors of partial cross-entropy.

    Args:
        setting: None, one number per class, or "balanced": inverse square roots of the numbers of clicks,
            scaled so that the mean over clicks is 1.
        clicks: counted for "balanced".
        num_classes: K.

    Raises:
        ValueError: the list has not K numbers, or the text is not "balanced".
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
    options: Mapping[str, Any], num_classes: int, *, pretrained: str | None = None
) -> SegmentationNetwork:
    """The network that a section of the configuration describes; its weights are random, or begin with some.

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


def make_objective(recipe: Recipe) -> Losses:
    """What a training minimises: Eq. 5, and with an auxiliary head that head's loss at the clicks.

    Raises:
        InputError: there is an auxiliary head, but no loss at the clicks.
    """
    options, clicks = recipe.options, recipe.config["partial_cross_entropy"]
    weights = _class_weights(recipe)
    objective = Objective(recipe.config, steps=options["steps"], class_weights=weights)
    if not options["auxiliary_head"]:
        return objective
    if not clicks["weight"]:
        raise InputError(
            f"{recipe.role}.auxiliary_head is true, but partial_cross_entropy.weight is 0, and that head "
            f"learns from clicks alone; set a weight, or {recipe.role}.auxiliary_head: false"
        )
    without_crf = {**recipe.config["gated_crf"], "weight": 0.0}
    sections = {"partial_cross_entropy": clicks, "gated_crf": without_crf}
    auxiliary = Objective(sections, steps=options["steps"], class_weights=weights)
    return with_auxiliary(objective, auxiliary, options["auxiliary_weight"])


def make_means(recipe: Recipe) -> Means:
    """What the terms of `make_objective` are means over."""
    reduction = recipe.config.get("mfd", {}).get("reduction", "mean")
    return Means(class_weights=_class_weights(recipe), flow_reduction=reduction)


def _class_weights(recipe: Recipe) -> torch.Tensor | None:
    setting = recipe.config["partial_cross_entropy"]["class_weights"]
    return class_weights(setting, recipe.clicks, recipe.manifest.num_classes)
