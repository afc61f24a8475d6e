"""The stacks of flow that a network of two streams looks at, from the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from weclick.common.errors import InputError
from weclick.geometry import (
    Crop,
    camera_flow,
    each_once,
    motion_stack,
    sample_flow_crop,
)
from weclick.manifest import Clip
from weclick.store import Entry, Store
from weclick.store.flow_entries import read_flow
from weclick.store.model_file import Motion
from weclick.store.stacks import StackPlan

Stacks = Callable[[Clip, int], Tensor | None]
"""Gives the stack of a clip's frame, (2 L, H, W) float32; None to a network that looks at none."""


def no_stacks(clip: Clip, position: int) -> None:
    """The stacks of a network that looks at images alone."""


def stored_stacks(
    motion: Motion | None, store: Store, keys: Mapping[str, str], clips: Iterable[Clip]
) -> Stacks:
    """The stacks that the flow of a store gives.

    Flow is stored for the stacks of targets and scored frames. A frame between them has the nearest of these.

    Args:
        motion: of the network's card; None if it looks at none.
        store: holds the flow entries.
        keys: clip id -> key of its flow, of the need `stack`. A clip without one stands still: it has no two
            frames in a row.
        clips: of the manifest, whole. Of these, parts may be asked for.
    """
    if motion is None:
        return no_stacks
    plan, whole = StackPlan(motion.stack), {clip.id: clip for clip in clips}

    def stack(clip: Clip, position: int) -> Tensor:
        own = whole[clip.id]
        if clip.id not in keys:
            plan.check_none(own)
            return torch.zeros(2 * plan.options.length, *clip.size)
        entry = store.get("flow", keys[clip.id])
        _check_estimator(entry, motion)
        numbers = [frame.number for frame in own.frames]
        used, slots = each_once(plan.slots(entry, own, numbers.index(clip.frames[position].number)))
        residual = plan.options.motion == "residual"
        full = [
            full_flow(
                read_flow(entry, index)[0],
                clip.size,
                int(entry.attributes["stride_px"]),
                plan.camera(entry, index) if residual else None,
            )
            for index in used
        ]
        flows = torch.stack(full) if full else torch.zeros(0, 2, *clip.size)
        return motion_stack(flows, slots, plan.options.scale_px)

    return stack


def _check_estimator(entry: Entry, motion: Motion) -> None:
    """Raises InputError if a network would see flow of another estimator than in its training."""
    made, learned = (str(told.get("name")) for told in (entry.attributes["estimator"], motion.estimator))
    if made != learned:
        raise InputError(
            f"{entry.path}: holds flow of {made}, but the network has learned from flow of {learned}; set "
            f"flow.estimator: {learned} and run the flow stage, or train the network again"
        )


def full_flow(
    flow: np.ndarray, size: tuple[int, int], stride_px: int, homography: np.ndarray | None = None
) -> Tensor:
    """A flow at the size of its frame, as training crops show it.

    Args:
        flow: (2, h, w) px of the grid of `stride_px`.
        size: (H, W) of the frame, px.
        stride_px: of the grid.
        homography: (3, 3) of the camera, whose motion is taken away; None leaves it.

    Returns:
        (2, H, W) float32 px.
    """
    whole = Crop(0.0, 0.0, 1.0, False, size)
    grid = torch.as_tensor(flow)[None]
    full = sample_flow_crop(grid, [whole], image_size=size, source_stride=stride_px)[0]
    if homography is not None:
        full -= camera_flow(homography[None], whole)
    return full[0]
