"""Training targets as a student gets them that learns from maps of classes, or looks at stacks of flow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch

from weclick.common.sections import Config
from weclick.common.spread import spread_over
from weclick.common.stages import looks_at_maps, looks_at_stacks
from weclick.geometry import Crop
from weclick.manifest import Clip
from weclick.runs.report.results import Results, require
from weclick.runs.wanted import Wanted
from weclick.store import Store
from weclick.store.model_file import load_model
from weclick.train.data.assemble import assemble
from weclick.train.data.sample import Sample, padded_size
from weclick.train.data.stream import Caches, Stream
from weclick.train.recipe import Recipe
from weclick.train.view import View


@dataclass(frozen=True)
class Target:
    """A target without scale and flip.

    Attributes:
        clip: holds its frame.
        position: in `clip.frames`.
        stride_px: of the logit grid.
        seen: (K, h, w) bool on that grid, the cells where each class is seen; None without maps.
        flows: (L, 2, H, W) float32 px, the stack; None if the student looks at none, or there is no flow.
    """

    clip: Clip
    position: int
    stride_px: int
    seen: np.ndarray | None
    flows: np.ndarray | None

    def seen_pixels(self) -> np.ndarray:
        """(K, H, W) bool: `seen` at the frame's size, every cell a square."""
        assert self.seen is not None, "asked where classes are seen in a run that has no maps"
        full = self.seen.repeat(self.stride_px, 1).repeat(self.stride_px, 2)
        return full[:, : self.clip.height_px, : self.clip.width_px]


def read_targets(results: Results, config: Config, store: Store, at_most: int) -> list[Target]:
    """Read some targets of the training split as a step does.

    Args:
        results: gives tags, maps, flow and the student, whose grid counts.
        config: complete.
        store: holds frames, maps and flow.
        at_most: number of targets, spread over the split.

    Returns:
        The targets; none if the student neither learns from maps nor looks at flow.
    """
    if not (results.frames and (looks_at_maps(config) or looks_at_stacks(config))):
        return []
    recipe = _recipe(results, config, store)
    model, _ = load_model(require(results.layout.weights("student"), "student"), with_motion=True)
    stream = Stream(
        recipe.manifest,
        recipe.clicks,
        recipe.used_caches(),
        window=recipe.window,
        options={**recipe.options, "batch_size": 1},
        stride_px=cast("int", model.stride),
        occlusion="none",
        seed=0,
        tags=recipe.tags,
        stack=recipe.stack,
    )
    places = [(clip, target) for clip in recipe.manifest.clips for target in clip.targets]
    stride_px = cast("int", model.stride)
    return [_target(recipe, stream, stride_px, *place) for place in spread_over(places, at_most)]


def _recipe(results: Results, config: Config, store: Store) -> Recipe:
    stack = results.stack.get(results.train.split, {})
    return Wanted(config).recipe(
        "student",
        train=results.train,
        val=results.val,
        clicks=results.clicks,
        tags=results.tags,
        caches=Caches.of(store, {"frames": results.frames, "cams": results.cams, "stack": stack}),
    )


def _target(recipe: Recipe, stream: Stream, stride_px: int, clip: Clip, position: int) -> Target:
    whole = Crop(0.0, 0.0, 1.0, False, padded_size(clip.size))
    frame, clicks = clip.frames[position].name, recipe.clicks.of(clip.id, clip.frames[position].name)
    reads = stream.read([Sample(clip, position, (), whole, clicks, tags=stream.tag_row(clip.id, frame))])
    batch = assemble(
        reads,
        stride_px=stride_px,
        mask_bits=0,
        device=torch.device("cpu"),
        stack=recipe.stack,
        mapped=recipe.manifest.num_classes if recipe.used_caches().cams else 0,
    )
    height, width = clip.size
    seen = flows = None
    if batch.heat is not None:
        section = recipe.losses["heatmap_loss"]
        # `heated` looks at the batch alone, so maps can stand for the logits
        found = View(batch.heat, batch, None).heated(section["threshold"], section["background"])[0]
        seen = found[:, : -(-height // stride_px), : -(-width // stride_px)].numpy()
    if recipe.stack and batch.stack is not None and "stack" in reads[0].parts:
        stack = batch.stack[0, :, :height, :width] * recipe.stack.scale_px
        flows = stack.unflatten(0, (recipe.stack.length, 2)).numpy()
    return Target(clip, position, stride_px, seen, flows)
