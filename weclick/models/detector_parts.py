"""The parts of torchvision's Mask R-CNN, so that one look at the features serves detections and losses.

torchvision's own network computes losses in training mode and detections in eval mode, never both. Here its
modules are called one by one. Of them are used: all classes of `torchvision.models.detection` that a
Mask R-CNN consists of, the methods of `RegionProposalNetwork` and `AnchorGenerator` that bear no underscore,
`concat_box_prediction_layers`, and the attributes `scales` and `map_levels` of `MultiScaleRoIAlign`. Only the
last two are not documented. The tests compare all with torchvision's whole network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import (
    RegionProposalNetwork,
    RPNHead,
    concat_box_prediction_layers,
)
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import initLevelMapper

BOX_CELLS, MASK_CELLS = 7, 14
"""Sides of the grids that a box's class and its mask are read from."""

ASPECT_RATIOS = (0.5, 1.0, 2.0)
"""Height over width of the anchors in each cell."""

TEST_PROPOSALS = 1000
"""Boxes a map before, and boxes an image after the suppression of doubles when nothing is trained."""

PASTED_VALUES = 2**24
"""Pixels that are computed at once where masks are pasted, in float32."""


class Proposed(NamedTuple):
    """What the proposal network makes of the features, before it knows any label.

    Attributes:
        objectness: (S * A, 1) float32 logits of all anchors of all images.
        deltas: (S * A, 4) float32, boxes in the coordinates of their anchors.
        anchors: (A, 4) float32 x1, y1, x2, y2 px, those of each image.
        boxes: of each image (P, 4) float32 px, without gradient. P is at least 1.
    """

    objectness: Tensor
    deltas: Tensor
    anchors: Tensor
    boxes: list[Tensor]


def make_proposer(channels: int, anchors_px: Sequence[float], proposals: Sequence[int]) -> nn.Module:
    """torchvision's region proposal network at its published settings.

    Args:
        channels: of all maps.
        anchors_px: side of the anchors of each map.
        proposals: how many boxes a training keeps: of each map before, of each image after doubles are taken
            out. Else no more than `TEST_PROPOSALS` are kept.
    """
    before, after = proposals
    module: nn.Module = RegionProposalNetwork(
        AnchorGenerator(tuple((side,) for side in anchors_px), (ASPECT_RATIOS,) * len(anchors_px)),
        RPNHead(channels, len(ASPECT_RATIOS)),
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_top_n={"training": before, "testing": min(before, TEST_PROPOSALS)},
        post_nms_top_n={"training": after, "testing": min(after, TEST_PROPOSALS)},
        nms_thresh=0.7,
    )
    return module


def make_box_and_mask_heads(
    channels: int,
    labels: int,
    strides: Mapping[str, int],
    *,
    min_score: float,
    nms: float,
    detections: int,
    rois: int,
) -> nn.Module:
    """torchvision's RoI heads at the published settings.

    Args:
        channels: of all maps. At the published 256, a box has 1024 features and a mask 256 channels. These
            grow and shrink with it.
        labels: classes and the background of detection.
        strides: name of a map that boxes are read from -> input pixels per cell, from fine to coarse.
        min_score, nms, detections, rois: see `build_detector`.
    """
    features = 4 * channels
    module: nn.Module = RoIHeads(
        _pool(strides, BOX_CELLS),
        TwoMLPHead(channels * BOX_CELLS**2, features),
        FastRCNNPredictor(features, labels),
        fg_iou_thresh=0.5,
        bg_iou_thresh=0.5,
        batch_size_per_image=rois,
        positive_fraction=0.25,
        bbox_reg_weights=None,
        score_thresh=min_score,
        nms_thresh=nms,
        detections_per_img=detections,
        mask_roi_pool=_pool(strides, MASK_CELLS),
        mask_head=MaskRCNNHeads(channels, (channels,) * 4, 1),
        mask_predictor=MaskRCNNPredictor(channels, channels, labels),
    )
    return module


def _pool(strides: Mapping[str, int], cells: int) -> nn.Module:
    """Reads boxes from the map that suits their size.

    torchvision guesses strides from the first image that it sees, which fails for small or odd sizes, and for
    maps whose stride was traded for dilation. Here they are known.
    """
    pool = MultiScaleRoIAlign([*strides], cells, sampling_ratio=2)
    finest = next(iter(strides.values())).bit_length() - 1
    pool.scales = [1 / stride for stride in strides.values()]
    pool.map_levels = initLevelMapper(finest, finest + len(strides) - 1)
    module: nn.Module = pool
    return module


def propose(
    rpn: Any, features: Mapping[str, Tensor], strides: Sequence[int], size: tuple[int, int]
) -> Proposed:
    """One look of the proposal network at all maps.

    Args:
        rpn: see `make_proposer`. In training mode it keeps more boxes.
        features: maps (S, C, h, w), from fine to coarse.
        strides: input pixels per cell of each map.
        size: H, W of the images.
    """
    maps = [*features.values()]
    count, device = len(maps[0]), maps[0].device
    objectness, deltas = rpn.head(maps)
    cells_a_map = [values[0].numel() for values in objectness]
    flat, moved = concat_box_prediction_layers(objectness, deltas)
    flat, moved = flat.float(), moved.float()
    rpn.anchor_generator.set_cell_anchors(torch.float32, device)
    steps = [[torch.tensor(stride, device=device)] * 2 for stride in strides]
    anchors = torch.cat(rpn.anchor_generator.grid_anchors([each.shape[-2:] for each in maps], steps))
    with torch.no_grad():
        boxes = rpn.box_coder.decode(moved.detach(), [anchors] * count).view(count, -1, 4)
        kept, _ = rpn.filter_proposals(boxes, flat, [size] * count, cells_a_map)
    height, width = size
    whole = anchors.new_tensor([[0, 0, width, height]])  # so that there is always a box to learn from
    return Proposed(flat, moved, anchors, [each if len(each) else whole for each in kept])


def proposal_losses(rpn: Any, proposed: Proposed, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Losses of the proposal network: objectness, rpn_box.

    Args:
        rpn: that proposed.
        proposed: of S images.
        targets: of each image, with `boxes` (N, 4) float32 px.
    """
    anchors = [proposed.anchors] * len(targets)
    labels, matched = rpn.assign_targets_to_anchors(anchors, targets)
    wanted = rpn.box_coder.encode(matched, anchors)
    objectness, box = rpn.compute_loss(proposed.objectness, proposed.deltas, labels, wanted)
    return {"objectness": objectness, "rpn_box": box}


def boxes_around(masks: Tensor) -> Tensor:
    """(N, H, W) bool -> (N, 4) float32 x1, y1, x2, y2 px.

    The first column and row of each mask, and those behind its last. An empty mask has the box 0, 0, 0, 0.
    """
    left, right = _span(masks.any(1))
    top, bottom = _span(masks.any(2))
    return torch.stack([left, top, right, bottom], 1).float()


def _span(lines: Tensor) -> tuple[Tensor, Tensor]:
    """The first position that is true in each of (N, L), and the one behind the last; 0 if none is."""
    numbers, some = lines.to(torch.uint8), lines.any(1)  # argmax takes no bool
    first, behind = numbers.argmax(1), lines.shape[1] - numbers.flip(1).argmax(1)
    return first * some, behind * some


def paste_masks(shares: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks in their boxes -> masks at the size of the image, cut at 0.5.

    This is the inverse of how a training reads the masks of labels into boxes. torchvision's own way rounds
    boxes to pixels and lets masks fade out at the border of the box. A disc of 3 to 8 px then keeps an IoU of
    0.65 with itself, one of 60 px and more 0.98. Here both keep 0.99 and more.

    Args:
        shares: (N, M, M) in 0..1.
        boxes: (N, 4) x1, y1, x2, y2 px.
        size: H, W of the image.

    Returns:
        (N, H, W) bool.
    """
    height, width = size
    pasted = torch.zeros(len(boxes), height, width, dtype=torch.bool, device=boxes.device)
    step = max(1, PASTED_VALUES // (height * width))
    with torch.autocast(boxes.device.type, enabled=False):
        for first in range(0, len(boxes), step):
            part = slice(first, first + step)
            left, top, right, bottom = boxes[part].float().unbind(1)
            rows, inside_rows = _weights(top, bottom, height, shares.shape[-1])
            columns, inside_columns = _weights(left, right, width, shares.shape[-1])
            values = rows @ shares[part].float() @ columns.transpose(1, 2)
            pasted[part] = (values >= 0.5) & inside_rows[:, :, None] & inside_columns[:, None, :]
    return pasted


def _weights(low: Tensor, high: Tensor, length: int, cells: int) -> tuple[Tensor, Tensor]:
    """How much each of M cells between two ends (N,) counts for each of L pixels: (N, L, M) and (N, L) bool.

    As in RoIAlign, the pixel of number i lies at i. The second value says which pixels are in the box.
    """
    pixels = torch.arange(length, device=low.device, dtype=torch.float32)
    low, high = low[:, None], high[:, None]
    places = ((pixels - low) / (high - low).clamp(min=1e-6) * cells - 0.5).clamp(0, cells - 1)
    numbers = torch.arange(cells, device=low.device, dtype=torch.float32)
    weights = (1 - (places[:, :, None] - numbers).abs()).clamp(min=0)
    return weights, (pixels + 0.5 > low) & (pixels + 0.5 < high)
