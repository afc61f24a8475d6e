"""SAM 2 follows the objects of a clip: one sweep forward, one backward.

An object comes in on the frame of its click and is followed to the end of the sweep. So each frame is encoded
once a sweep, however many frames are clicked. A session of transformers keeps all that it has ever seen. Here
its frames lie on the disk, and of earlier frames only what the network still looks at is kept, on the CPU.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from weclick.proxy_labels.sam2_frames import SquareFrames, to_square
from weclick.proxy_labels.sam2_prompts import Prompt


def track(
    model: Any,
    frames: SquareFrames,
    prompts: Mapping[int, Sequence[Prompt]],
    size: tuple[int, int],
    *,
    reverse: bool,
) -> Iterator[tuple[int, list[int], Tensor]]:
    """One sweep over a clip, from its first clicked frame to its end, or from its last one to its beginning.

    Args:
        model: from `load_sam2`.
        frames: of the clip.
        prompts: position of a frame -> the objects that come in there.
        size: (H, W) of the clip, px.
        reverse: whether the sweep goes backward.

    Yields:
        Position of a frame, the ids of the objects that are followed there, and their mask logits (N, h, w)
        on SAM 2's coarse grid over the whole frame. Above 0 is on the object.
    """
    session = _session(model, frames, size)
    order = range(max(prompts), -1, -1) if reverse else range(min(prompts), len(frames))
    for t in order:
        for prompt in prompts.get(t, ()):
            _enter(session, t, prompt, size, frames.side)
        with torch.inference_mode():
            found = model(session, frame_idx=t, reverse=reverse)
        yield t, list(found.object_ids), found.pred_masks[:, 0].float()
        _forget(session, t, model.config, reverse=reverse)


def _session(model: Any, frames: SquareFrames, size: tuple[int, int]) -> Any:
    """A session that reads its frames from the disk, and keeps its state on the CPU."""
    transformers = importlib.import_module("transformers")
    session = transformers.Sam2VideoInferenceSession(
        video_height=size[0],
        video_width=size[1],
        inference_device=model.device,
        inference_state_device="cpu",
        dtype=torch.float32,
    )
    session.processed_frames = frames  # it asks for their number, and for one at a time
    return session


def _enter(session: Any, t: int, prompt: Prompt, size: tuple[int, int], side: int) -> None:
    """Tell the session of an object that is clicked on the frame that comes next."""
    inputs = {
        "point_coords": to_square(prompt.points, size, side)[None, None],
        "point_labels": torch.from_numpy(prompt.labels)[None, None],
    }
    session.add_point_inputs(session.obj_id_to_idx(prompt.object_id), t, inputs)
    session.obj_with_new_inputs.append(prompt.object_id)


def _forget(session: Any, t: int, config: Any, *, reverse: bool) -> None:
    """Drop the masks of a frame that is done, and what lies too far back to be looked at again."""
    reach = max(config.num_maskmem, config.max_object_pointers_in_encoder)
    gone = t + reach if reverse else t - reach
    for held in session.output_dict_per_obj.values():
        held["non_cond_frame_outputs"].pop(gone, None)
        for outputs in held.values():
            for name in ("pred_masks", "high_res_masks"):
                outputs.get(t, {}).pop(name, None)
