"""A training stage: from a recipe to the network in the store, with its files in a folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from weclick.common.content import check_unchanged
from weclick.common.errors import room_to_write
from weclick.common.files import alone, remove_unfinished, write_text, written_whole
from weclick.common.sections import WatchSection
from weclick.common.stages import CARD, METRICS, WEIGHTS
from weclick.common.strict_json import strict_json
from weclick.evaluate.scored import check_scored_pixels
from weclick.store import Entry, entry_key, file_digest
from weclick.store.model_file import model_bytes
from weclick.train.build import begin
from weclick.train.checkpoint import BEST, CHECKPOINT
from weclick.train.devices import make_fabric
from weclick.train.loop import fit
from weclick.train.recipe import Recipe
from weclick.train.validation import validator
from weclick.train.watch.follow import watched
from weclick.train.watch.watcher import Watched


def train_recipe(
    recipe: Recipe, folder: Path, *, device: str, devices: int = 1, watch: WatchSection | None = None
) -> Entry:
    """Make sure that the store holds the network of a recipe, and put its files into a folder.

    Args:
        recipe: what to train.
        folder: for model.safetensors, model.json, metrics.jsonl, and during the training a checkpoint.
        device: cpu or cuda.
        devices: processes to train with.
        watch: what shows the training beside TensorBoard, no part of the recipe. See also `check_watch`.

    Returns:
        The entry. It holds model.safetensors and metrics.jsonl, and the attributes of model.json.

    Raises:
        InputError: the folder's checkpoint or metrics.jsonl is damaged.
        DiskFullError, UnwritableError: as in `room_to_write`.
    """
    store, inputs = recipe.caches.store, recipe.inputs()
    key = entry_key("models", inputs)
    if _is_helper():
        _train(recipe, inputs, key, folder, device, devices, watch)
        return store.get("models", key)
    busy = alone(folder / ".lock", f"{folder}: another process trains here, waiting for it")
    with busy, store.alone("models", key) as entry:
        if entry is None:
            for name in (CHECKPOINT, BEST):
                remove_unfinished(folder / name)  # left by a killed training, and may be large
            _train(recipe, inputs, key, folder, device, devices, watch)
            entry = store.get("models", key)
        for name in (WEIGHTS, METRICS):
            _copy(entry.path / name, folder / name)
        card = {"kind": "models", "key": key, **entry.attributes}
        write_text(folder / CARD, strict_json(card, indent=1) + "\n")
        for name in (CHECKPOINT, BEST):
            (folder / name).unlink(missing_ok=True)
    return entry


def _train(
    recipe: Recipe,
    inputs: Mapping[str, Any],
    key: str,
    folder: Path,
    device: str,
    devices: int,
    watch: WatchSection | None,
) -> None:
    options, seed, manifest = recipe.options, recipe.config["seed"], recipe.manifest
    if recipe.needs.figure and any(clip.scored for clip in recipe.validation.clips):
        check_scored_pixels(recipe.validation)  # before days of training, not after
    fabric = make_fabric(device, options["precision"], devices)
    begun = begin(recipe, fabric)
    check_unchanged(inputs, recipe.inputs(), f"{recipe.role}.pretrained or {recipe.role}.online")
    model = begun.model
    validate = validator(recipe, fabric.device)
    shown = {name: part for name, part in recipe.config.items() if name != "cache"}
    told = Watched(recipe.role, key, seed, folder, shown)
    shows = watched(told, watch) if watch and fabric.is_global_zero else nullcontext()
    with room_to_write(folder), shows:
        trained = fit(
            fabric,
            model,
            begun.stream,
            begun.losses,
            shares=begun.objective.shares,
            options=options,
            seed=seed,
            folder=folder,
            key=key,
            validate=validate,
            complete=begun.complete,
            figures=begun.complete.figures if begun.complete else None,
            figure=recipe.needs.figure,
        )
    model.drop_auxiliary()
    if fabric.is_global_zero:
        if recipe.needs.settle:
            recipe.needs.settle(model, manifest, recipe.caches, fabric.device)
        with recipe.caches.store.create("models", inputs) as entry:
            motion = recipe.motion()
            content = model_bytes(model, manifest.classes, shrink=manifest.shrink, motion=motion)
            entry.write_file(WEIGHTS, content)
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
    """Whether Fabric started this process beside the first one. The first one manages the folder."""
    return int(os.environ.get("LOCAL_RANK", 0)) > 0


def _copy(source: Path, target: Path) -> None:
    """Copy a file so that readers see either the old one or the new one."""
    with source.open("rb") as content, written_whole(target) as file:
        shutil.copyfileobj(content, file)
