"""Temporal consistency: whether a network says the same of a pixel one frame later."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from weclick.geometry import backward_warp_nearest, resize_flow
from weclick.manifest import Clip
from weclick.metrics import ConfusionMatrix
from weclick.store import Store
from weclick.store.flow_entries import checked_stride, grid_flow, stored_pairs


def add_consistency(
    matrix: ConfusionMatrix, clip: Clip, predictions: Mapping[int, Tensor], store: Store, key: str
) -> None:
    """Count the predictions of a clip's scored frames against those of earlier frames, warped along the flow.

    Args:
        matrix: gets the counts.
        clip: the clip to score.
        predictions: position in the clip -> (H, W) uint8 class ids.
        store: holds the flow entry.
        key: of the clip's flow.
    """
    entry = store.get("flow", key)
    stride_px = checked_stride(entry, clip.size)
    for i, (t, s) in enumerate(stored_pairs(entry, clip)):
        if t not in clip.scored:
            continue
        flow, good = (torch.from_numpy(part).to(predictions[t].device) for part in grid_flow(entry, i))
        warped, valid = backward_warp_nearest(
            predictions[s][None, None], _to_full_size(flow[None], stride_px, clip.size)
        )
        cells = interpolate(good[None, None].float(), scale_factor=stride_px, mode="nearest")
        valid = valid & (cells[..., : clip.height_px, : clip.width_px] > 0.5)
        truth = torch.where(valid, warped, torch.full_like(warped, 255))[0, 0]
        matrix.update(predictions[t].cpu(), truth.cpu())


def _to_full_size(flow: Tensor, stride_px: int, size: tuple[int, int]) -> Tensor:
    """From the stride grid to the frame; the last cells may reach beyond it."""
    full = resize_flow(flow, (flow.shape[-2] * stride_px, flow.shape[-1] * stride_px))
    return full[..., : size[0], : size[1]]
