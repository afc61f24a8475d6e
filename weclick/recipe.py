"""A training and its recipe: all that determines a network, and the network that came out, in the store."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from weclick.checkpoint import model_bytes
from weclick.clicks import ClickTable, clicks_digest
from weclick.code_digest import code_digest
from weclick.errors import InputError, room_to_write
from weclick.evaluate import score_frames, scores
from weclick.manifest import Manifest, write_text
from weclick.metrics_log import METRICS
from weclick.models import SegmentationNetwork, build_model
from weclick.objective import Objective
from weclick.store import Entry, entry_key, file_digest
from weclick.stream import Caches, Stream
from weclick.train import CHECKPOINT, Losses, fit, make_fabric, with_auxiliary
from weclick.window import Window

FORMAT_VERSION = 1
WEIGHTS = "model.safetensors"
CARD = "model.json"
_WATCHING = ("validate_every", "validate_frames", "checkpoint_every", "log_every")
"""Options that show a training and do not change it."""


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
    """

    role: str
    config: Mapping[str, Any]
    manifest: Manifest
    clicks: ClickTable
    caches: Caches
    validation: Manifest

    @property
    def options(self) -> Mapping[str, Any]:
        """The network's section of the configuration."""
        return self.config[self.role]

    @property
    def distils(self) -> bool:
        """Whether any loss looks at frames beside the target, or at the teacher."""
        return any(self.config.get(name, {}).get("weight") for name in ("kd", "mfd"))

    @property
    def window(self) -> Window:
        """Neighbours of a target; none where no loss would look at them."""
        return Window(**self.config["window"]) if self.distils else Window(frames=1)

    def used_caches(self) -> Caches:
        """The caches without those that no loss reads."""
        uses_flow = self.distils and self.config["mfd"]["weight"] and self.window.frames > 1
        return replace(
            self.caches,
            flow=self.caches.flow if uses_flow else {},
            soft_labels=self.caches.soft_labels if self.distils else {},
        )

    def inputs(self) -> dict[str, Any]:
        """What the key of the trained network is made of."""
        caches = self.used_caches()
        options = {name: value for name, value in self.options.items() if name not in _WATCHING}
        if options["pretrained"] not in (None, "imagenet"):
            options["pretrained"] = file_digest(options["pretrained"])
        if not options["auxiliary_head"]:
            del options["auxiliary_weight"]
        losses = ("partial_cross_entropy", "gated_crf", "mfd", "kd")
        return {
            "format": FORMAT_VERSION,
            "code": code_digest("weclick.train", "weclick.objective", "weclick.models"),
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
        }


def train_recipe(recipe: Recipe, folder: Path, *, device: str, devices: int = 1) -> Entry:
    """Make sure that the store holds the network of a recipe, and lay its files into a folder.

    Args:
        recipe: what to train.
        folder: gets model.safetensors, model.json, metrics.jsonl, and while training a checkpoint.
        device: cpu or cuda.
        devices: processes to train with.

    Returns:
        The entry: model.safetensors and metrics.jsonl, attributes as in model.json.
    """
    store, inputs = recipe.caches.store, recipe.inputs()
    key = entry_key("models", inputs)
    if _is_helper():
        _train(recipe, inputs, key, folder, device, devices)
        return store.get("models", key)
    with _alone_in(folder):
        entry = store.find("models", key)
        if entry is None:
            _train(recipe, inputs, key, folder, device, devices)
            entry = store.get("models", key)
        for name in (WEIGHTS, METRICS):
            _copy(entry.path / name, folder / name)
        card = {"kind": "models", "key": key, **entry.attributes}
        write_text(folder / CARD, json.dumps(card, indent=1) + "\n")
        (folder / CHECKPOINT).unlink(missing_ok=True)
    return entry


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
    weights = class_weights(clicks["class_weights"], recipe.clicks, recipe.manifest.num_classes)
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


def _train(
    recipe: Recipe, inputs: Mapping[str, Any], key: str, folder: Path, device: str, devices: int
) -> None:
    options, seed, manifest = recipe.options, recipe.config["seed"], recipe.manifest
    fabric = make_fabric(device, options["precision"], devices)
    torch.manual_seed(seed)
    model = build_network(options, manifest.num_classes, pretrained=options["pretrained"])
    stream = Stream(
        manifest,
        recipe.clicks,
        recipe.used_caches(),
        window=recipe.window,
        options=options,
        stride_px=model.stride,
        occlusion=recipe.config.get("mfd", {}).get("occlusion", "none"),
        seed=seed,
        rank=fabric.global_rank,
        world=fabric.world_size,
    )

    def validate(network: torch.nn.Module) -> dict[str, Any]:
        matrix = score_frames(
            network, recipe.validation, at_most=options["validate_frames"], device=fabric.device
        )
        return scores(matrix, recipe.validation)

    trained = fit(
        fabric,
        model,
        stream,
        make_objective(recipe),
        options=options,
        seed=seed,
        folder=folder,
        recipe=key,
        validate=validate,
    )
    model.drop_auxiliary()
    if fabric.is_global_zero:
        with recipe.caches.store.create("models", inputs) as entry:
            entry.write_file(WEIGHTS, model_bytes(model, manifest.classes, shrink=manifest.shrink))
            _copy(folder / METRICS, entry.path / METRICS)
            entry.attributes.update(
                {
                    "role": recipe.role,
                    "options": model.options,
                    "steps": trained.step,
                    "train_seconds": round(trained.seconds, 3),
                    "parameters": sum(parameter.numel() for parameter in model.parameters()),
                    "weights_sha256": file_digest(entry.path / WEIGHTS),
                    "seed": seed,
                }
            )
    fabric.barrier()


def _is_helper() -> bool:
    """Whether Fabric started this process to train beside a first one, which looks after the folder."""
    return int(os.environ.get("LOCAL_RANK", 0)) > 0


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process of this machine trains in the folder; a killed one lets go by itself."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{folder}: another process trains here, waiting for it", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _copy(source: Path, target: Path) -> None:
    """Copy a file so that readers see the old one or the new one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp")
    with room_to_write(target):
        try:
            shutil.copyfile(source, temporary)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
