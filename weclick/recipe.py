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
from weclick.errors import InputError, MissingFileError, room_to_write
from weclick.evaluate import score_frames, scores
from weclick.flow.estimators import estimator_digest
from weclick.manifest import Manifest, write_text
from weclick.means import Means
from weclick.metrics_log import METRICS
from weclick.models import SegmentationNetwork, build_model
from weclick.objective import Objective
from weclick.online import Online
from weclick.store import Entry, entry_key, file_digest
from weclick.stream import Caches, Stream
from weclick.train import BEST, CHECKPOINT, Losses, fit, make_fabric, micro_batch_size, with_auxiliary
from weclick.window import Window

FORMAT_VERSION = 1
WEIGHTS = "model.safetensors"
CARD = "model.json"
_VALIDATION = ("validate_every", "validate_frames")
_WATCHING = ("checkpoint_every", "log_every", "profile")
"""Options that show a training and do not change it; so do those of validation, unless the best is kept."""

_OFF = {"accumulate": 1, "clip_gradient_norm": None, "deterministic": False, "keep": "last"}
"""Options that are no part of a key where they change nothing."""


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
    def online(self) -> Mapping[str, Any] | None:
        """The section `student.online`, where teacher and flow are computed in the loop; else None."""
        section = self.options.get("online", {})
        return section if section.get("teacher") and self.distils else None

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
        modules = ["weclick.train", "weclick.objective", "weclick.models"]
        more: dict[str, Any] = {}
        if self.online:
            modules.append("weclick.online")
            more["online"] = self._online_inputs(self.online)
        if self.options["keep"] == "best":
            modules.append("weclick.evaluate")
            more["validation"] = {
                clip.id: [(clip.frames[t].digest, clip.frames[t].label_digest) for t in clip.scored]
                for clip in self.validation.clips
            }
        return {
            "format": FORMAT_VERSION,
            "code": code_digest(*modules),
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

    def _online_inputs(self, online: Mapping[str, Any]) -> dict[str, Any]:
        if not Path(online["teacher"]).is_file():
            raise MissingFileError(
                f"{self.role}.online.teacher is {online['teacher']!r}, which is no file; give the "
                "model.safetensors of a trained teacher, or null to read stored soft labels"
            )
        flow = estimator_digest(online["estimator"], **online["options"]) if self.uses_flow else None
        return {"teacher_sha256": file_digest(Path(online["teacher"])), "flow": flow}


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
        for name in (CHECKPOINT, BEST):
            (folder / name).unlink(missing_ok=True)
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


def _train(
    recipe: Recipe, inputs: Mapping[str, Any], key: str, folder: Path, device: str, devices: int
) -> None:
    options, seed, manifest = recipe.options, recipe.config["seed"], recipe.manifest
    if recipe.distils and not (recipe.online or recipe.caches.soft_labels):
        raise InputError(
            "the student distils (kd.weight, mfd.weight), but has no soft labels; give the index of the "
            "soft_labels stage, a teacher in student.online.teacher, or weights of 0"
        )
    fabric = make_fabric(device, options["precision"], devices)
    torch.manual_seed(seed)
    model = build_network(options, manifest.num_classes, pretrained=options["pretrained"])
    occlusion = recipe.config.get("mfd", {}).get("occlusion", "none")
    online = None
    if recipe.online:
        online = Online(
            recipe.online,
            classes=manifest.classes.names,
            stride_px=model.stride,
            occlusion=occlusion if recipe.uses_flow else None,
            device=fabric.device,
        )
    stream = Stream(
        manifest,
        recipe.clicks,
        recipe.used_caches(),
        window=recipe.window,
        options={**options, "batch_size": micro_batch_size(options, fabric.world_size)},
        stride_px=model.stride,
        occlusion=occlusion,
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
        means=make_means(recipe),
        options=options,
        seed=seed,
        folder=folder,
        recipe=key,
        validate=validate,
        complete=online,
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
                    "kept_step": trained.best_step or trained.step,
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
