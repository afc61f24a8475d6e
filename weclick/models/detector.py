"""Mask R-CNN on any backbone, which can be asked for its detections in the middle of a training step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d
from torchvision.ops import FeaturePyramidNetwork

from weclick.models.backbones import Backbone
from weclick.models.detector_parts import (
    boxes_around,
    make_box_and_mask_heads,
    make_proposer,
    paste_masks,
    proposal_losses,
    propose,
)
from weclick.models.levels import look_up_levels

LOSSES = {"loss_classifier": "classifier", "loss_box_reg": "box", "loss_mask": "mask"}
"""torchvision's names of the losses of the RoI heads -> ours."""


class Found(NamedTuple):
    """The objects that a detector sees on a frame, best first.

    Attributes:
        masks: (N, H, W) bool, at the size of the input.
        classes: (N,) int64, class ids of the data set.
        scores: (N,) float32, 0..1.
        boxes: (N, 4) float32 x1, y1, x2, y2 px of the input.
    """

    masks: Tensor
    classes: Tensor
    scores: Tensor
    boxes: Tensor


Labels = tuple[Tensor, Tensor]
"""The objects of a frame that a detector learns from: masks (N, H, W) bool, and class ids (N,) int64."""

Relabel = Callable[[list[Found]], Sequence[Labels]]
"""Makes labels for the frames of a step from what the detector finds on them just now."""


class Detector(nn.Module):
    """Mask R-CNN (He et al. 2017) with a feature pyramid (Lin et al. 2017), see `build_detector`.

    It consists of torchvision's parts. Unlike torchvision's own network it takes a batch of frames of one
    size as it is, and can tell its detections within a training step without a second pass of the backbone,
    as MaskConsist needs them (Liu et al., CVPR 2021).

    Keys of the state: `backbone.*` under the names of those who published it; `fpn.*`, `rpn.*` and
    `roi_heads.*` as torchvision names them. Inside, a label is a class id + 1, as 0 is what is no object.

    Random draws (which anchors and boxes a step learns from) come from torch's global generator.

    Args:
        backbone: its levels from stride 4 on are looked at.
        num_classes: K.
        channels, min_score, nms, detections, proposals, anchors_px, rois: see `build_detector`.

    Raises:
        ValueError: an option is out of its range, or there are fewer sizes of anchors than levels.

    Attributes:
        stride: input pixels per cell of the finest map.
        num_classes: K.
        inputs: see `SegmentationNetwork`.
        stack_length: it looks at no flow.
        options: that it was built with.
    """

    inputs: tuple[str, ...] = ("images", "instances", "relabel")
    stack_length = 0

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        channels: int = 256,
        min_score: float = 0.05,
        nms: float = 0.5,
        detections: int = 100,
        proposals: Sequence[int] = (2000, 1000),
        anchors_px: Sequence[float] = (32, 64, 128, 256, 512),
        rois: int = 512,
    ):
        super().__init__()
        self.backbone, self.num_classes = backbone, num_classes
        levels = look_up_levels(backbone)[backbone.picked[0] :]
        _check_options(len(levels), channels, min_score, nms, detections, proposals, anchors_px, rois)
        strides = [level.stride for level in levels]
        self.stride, self._levels = strides[0], [str(number) for number in range(len(levels))]
        self._strides = strides + [strides[-1] * 2**n for n in range(1, len(anchors_px) - len(levels) + 1)]
        self.fpn = FeaturePyramidNetwork([level.channels for level in levels], channels)
        self.rpn = make_proposer(channels, anchors_px, proposals)
        self.roi_heads = make_box_and_mask_heads(
            channels,
            num_classes + 1,
            dict(zip(self._levels, strides, strict=True)),
            min_score=min_score,
            nms=nms,
            detections=detections,
            rois=rois,
        )
        self.options: dict[str, Any] = {}

    def forward(
        self,
        images: Tensor,
        instances: Sequence[Labels] | None = None,
        relabel: Relabel | None = None,
    ) -> dict[str, Tensor] | list[Found]:
        """In training mode the losses of a step, in eval mode what is seen on each frame.

        Args:
            images: (S, 3, H, W) ImageNet-normalised.
            instances: the labels of each frame. In eval mode nobody reads them, nor with `relabel`.
            relabel: gets what the detector finds on the frames, in their order. The losses then are those of
                the labels that it gives back.

        Returns:
            In training mode name -> scalar: objectness and rpn_box of the proposals; classifier, box and mask
            of the objects. A frame without labels teaches that nothing is there. In eval mode a `Found` of
            each frame.

        Raises:
            ValueError: labels are missing, of another size than the frames, or of classes that are not there.
        """
        size = (images.shape[-2], images.shape[-1])
        features = self._features(images)
        proposed = propose(self.rpn, features, self._strides, size)
        if not self.training:
            return self._found(features, proposed.boxes, size)
        if relabel is not None:
            instances = relabel(self._found(features, proposed.boxes, size))
        targets = self._targets(instances, images)
        losses = proposal_losses(self.rpn, proposed, targets)
        _, others = self.roi_heads(features, proposed.boxes, [size] * len(images), targets)
        return losses | {LOSSES[name]: loss for name, loss in others.items()}

    def drop_auxiliary(self) -> None:
        """Nothing in it serves the training alone."""

    def _features(self, images: Tensor) -> dict[str, Tensor]:
        """Maps by name, from fine to coarse: those of the levels, and subsampled ones of the last."""
        first = self.backbone.picked[0]
        levels = [level for i, level in enumerate(self.backbone.levels(images)) if i >= first]
        features: dict[str, Tensor] = self.fpn(dict(zip(self._levels, levels, strict=True)))
        coarse = features[self._levels[-1]]
        for number in range(len(self._strides) - len(levels)):
            features[f"pool{number}"] = coarse = max_pool2d(coarse, kernel_size=1, stride=2)
        return features

    @torch.no_grad()
    def _found(
        self, features: Mapping[str, Tensor], boxes: Sequence[Tensor], size: tuple[int, int]
    ) -> list[Found]:
        """What is seen in the proposed boxes, without gradient and in eval mode."""
        self.roi_heads.eval()
        try:
            results, _ = self.roi_heads(features, [*boxes], [size] * len(boxes))
        finally:
            self.roi_heads.train(self.training)
        # some versions of torch keep weights that autocast has cast, and these would know of no gradient
        torch.clear_autocast_cache()
        return [
            Found(
                paste_masks(found["masks"][:, 0], found["boxes"], size),
                found["labels"] - 1,
                found["scores"].float(),
                found["boxes"].float(),
            )
            for found in results
        ]

    def _targets(self, instances: Sequence[Labels] | None, images: Tensor) -> list[dict[str, Tensor]]:
        """Labels as torchvision takes them. Empty masks are left out."""
        if instances is None or len(instances) != len(images):
            found = "missing" if instances is None else f"those of {len(instances)} frames"
            raise ValueError(f"instances are {found}, expected the labels of {len(images)} frames")
        targets = []
        for masks, classes in instances:
            self._check_labels(masks, classes, images.shape[-2:])
            masks, classes = masks.to(images.device), classes.to(images.device)
            boxes = boxes_around(masks)
            shown = boxes[:, 2] > 0
            targets.append({"boxes": boxes[shown], "labels": classes[shown] + 1, "masks": masks[shown]})
        return targets

    def _check_labels(self, masks: Tensor, classes: Tensor, size: Sequence[int]) -> None:
        expected = (len(classes), *size)
        if masks.dtype != torch.bool or masks.shape != expected or classes.shape != expected[:1]:
            raise ValueError(
                f"labels have masks {tuple(masks.shape)} {masks.dtype} and classes {tuple(classes.shape)}, "
                f"expected {expected} (N, H, W) bool and (N,)"
            )
        if classes.dtype != torch.int64 or bool(((classes < 0) | (classes >= self.num_classes)).any()):
            raise ValueError(
                f"labels have classes {classes.tolist()} of {classes.dtype}, expected int64 class ids from 0 "
                f"to {self.num_classes - 1}"
            )


def _check_options(
    levels: int,
    channels: int,
    min_score: float,
    nms: float,
    detections: int,
    proposals: Sequence[int],
    anchors_px: Sequence[float],
    rois: int,
) -> None:
    """Raises ValueError if an option is out of its range."""
    for name, value in {"min_score": min_score, "nms": nms}.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value!r}, expected a number from 0 to 1")
    for name, count in {"channels": channels, "detections": detections, "rois": rois}.items():
        if type(count) is not int or count < 1:
            raise ValueError(f"{name} is {count!r}, expected a whole number from 1")
    if len(proposals) != 2 or min(proposals) < 1:
        raise ValueError(f"proposals is {[*proposals]}, expected two numbers from 1: before and after NMS")
    if len(anchors_px) < levels or min(anchors_px) <= 0:
        raise ValueError(
            f"anchors_px is {[*anchors_px]}, expected a size from 1 for each of the backbone's {levels} "
            "levels; each further one is of a coarser map"
        )
