"""A network from plain options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from weclick.models.backbones import BACKBONES, Backbone
from weclick.models.classifier import Classifier
from weclick.models.deeplabv3plus import DeepLabV3Plus
from weclick.models.detector import Detector
from weclick.models.layers import check_name, fcn_head
from weclick.models.network import SegmentationNetwork
from weclick.models.pspnet import PSPNet
from weclick.models.relation import Relation
from weclick.models.two_stream import TwoStream, look_at_flow
from weclick.models.weights import imagenet_weights, load_backbone_weights

ARCHITECTURES: dict[str, type[DeepLabV3Plus] | type[PSPNet]] = {
    "deeplabv3plus": DeepLabV3Plus,
    "pspnet": PSPNet,
}

TWO_STREAM = "two_stream"
"""The architecture that looks at flow beside the image."""

FLOW_DEFAULTS = {"stack_length": 10, "fusion": "early", "late_fusion": "sum"}
"""Arguments of `build_model` that are of this architecture alone."""

CLASSIFIER = "classifier"
"""The architecture of a classifier, in its options."""

RELATION = "relation"
"""The architecture of a network of relations, in its options."""

DETECTOR = "detector"
"""The architecture of a detector, in its options."""

TIMM = "timm/"
"""Backbones whose names begin so are timm's."""


ENDS_AT_16 = ("vgg16", "mobilenetv2_compact")
"""Backbones whose deepest features are at stride 16 as they are published; those of the others are at 32."""


class MissingPackageError(ValueError):
    """A network needs a package that is not installed."""


def build_model(
    architecture: str,
    backbone: str,
    num_classes: int,
    *,
    pretrained: str | Path | None = None,
    channels: int = 256,
    batch_norm: Literal["train", "frozen", "sync"] = "train",
    head_norm: Literal["batch", "group"] = "batch",
    output_stride: int | None = None,
    auxiliary_head: bool = False,
    dropout: bool | float | None = True,
    stack_length: int = 10,
    fusion: Literal["early", "late", "none"] = "early",
    late_fusion: Literal["sum", "concat_conv"] = "sum",
) -> SegmentationNetwork:
    """Builds a network: (B, 3, H, W) ImageNet-normalised -> logits (B, K, ceil(H/stride), ceil(W/stride)).

    The network has `.stride` (pixels per logit), `.num_classes`, `.backbone` and `.options`. The options are
    all arguments that matter to it but `pretrained`: `build_model(**model.options)` builds the same structure
    again. A two_stream network takes a stack of flow (B, 2L, H, W) beside the image, see `TwoStream`.

    Args:
        architecture: one of `ARCHITECTURES`, or two_stream (Saleh et al. 2017).
        backbone: one of `BACKBONES`, or timm/<name> for one of timm's, an extra. A two_stream network has two
            of the former, which begin with the same weights.
        num_classes: K.
        pretrained: backbone weights: None (random), "imagenet" (torchvision's or timm's, downloaded once), or
            a .safetensors or .pth file with the key names of these. The head starts at random (Xavier).
        channels: width of the head; 256 is the published size of the first two architectures.
        batch_norm: frozen keeps the backbone's statistics and affine weights, in training too. sync acts as
            train here, and asks the trainer to take statistics over all GPUs.
        head_norm: of the head; group norm looks at one image alone, so it suits small batches of clicks.
        output_stride: of the deepest features, px; None: 16 for DeepLabV3+, 8 for PSPNet (MobileNetV2 16) and
            two_stream.
        auxiliary_head: whether to add an FCN head on the middle features, used in training mode alone.
        dropout: of the head while training. True or None: at the published rates (0.5 after ASPP and the
            first decoder layer, 0.1 before every classifier; 0.5 in the heads of two_stream). A number from
            0 to below 1: at that rate in all these places. False: none.
        stack_length, fusion, late_fusion: of two_stream alone, see `TwoStream`.

    Raises:
        ValueError: for an unknown name, weights that do not fit, or what this architecture cannot use.
        MissingPackageError: timm is not installed.
    """
    check_name("architecture", architecture, [*ARCHITECTURES, TWO_STREAM])
    flow: dict[str, Any] = {"stack_length": stack_length, "fusion": fusion, "late_fusion": late_fusion}
    _check_flow(architecture, backbone, flow)
    if output_stride is None:
        output_stride = _usual_stride(architecture, backbone)
    features = _build_backbone(backbone, output_stride, pretrained)
    features.set_batch_norm(batch_norm)
    head: dict[str, Any] = {"channels": channels, "norm": head_norm, "dropout": dropout}
    model: SegmentationNetwork
    if architecture == TWO_STREAM:
        motion = None
        if fusion == "none":
            flow["stack_length"] = 0
        else:
            motion = look_at_flow(_build_backbone(backbone, output_stride, pretrained), stack_length)
            motion.set_batch_norm(batch_norm)
        model = TwoStream(features, motion, num_classes, **head, **flow)
    else:
        model = ARCHITECTURES[architecture](features, num_classes, **head)
    if auxiliary_head:  # made last: the other layers then draw the same weights as without it
        model.auxiliary = fcn_head(features.middle_channels, num_classes, norm=head_norm, dropout=dropout)
    model.options = {
        "architecture": architecture,
        "backbone": backbone,
        "num_classes": num_classes,
        "channels": channels,
        "batch_norm": batch_norm,
        "head_norm": head_norm,
        "output_stride": output_stride,
        "auxiliary_head": auxiliary_head,
        "dropout": _dropout_option(dropout),
        **(flow if architecture == TWO_STREAM else {}),
    }
    return model


def build_classifier(
    backbone: str,
    num_classes: int,
    *,
    pretrained: str | Path | None = None,
    hidden: int = 0,
    batch_norm: Literal["train", "frozen", "sync"] = "frozen",
    output_stride: int | None = None,
    dropout: float = 0.5,
    freeze: bool = False,
) -> Classifier:
    """Builds a classifier: (B, 3, H, W) ImageNet-normalised -> maps (B, K, ceil(H/stride), ceil(W/stride)).

    Args:
        backbone, num_classes, pretrained, batch_norm: as in `build_model`.
        hidden, dropout, freeze: see `Classifier`.
        output_stride: of the maps, px; None: 8 for VGG16 as in F2F (Lee et al. 2019), else 16 as in IRN (Ahn
            et al. 2019).

    Raises:
        ValueError, MissingPackageError: as in `build_model`.
    """
    if output_stride is None:
        output_stride = 8 if backbone == "vgg16" else 16
    features = _build_backbone(backbone, output_stride, pretrained)
    features.set_batch_norm(batch_norm)
    model = Classifier(features, num_classes, hidden=hidden, dropout=dropout, freeze=freeze)
    model.options = {
        "architecture": CLASSIFIER,
        "backbone": backbone,
        "num_classes": num_classes,
        "batch_norm": batch_norm,
        "output_stride": output_stride,
        "hidden": hidden,
        "dropout": float(dropout),
        "freeze": freeze,
    }
    return model


def build_relation(backbone: str, *, pretrained: str | Path | None = None) -> Relation:
    """Builds IRN's network of relations (Ahn et al., CVPR 2019) on any backbone, which does not learn.

    (B, 3, H, W) ImageNet-normalised -> logits of edges (B, 1, ceil(H/4), ceil(W/4)) and displacements (B, 2,
    ..) in cells. IRN has resnet50.

    Args:
        backbone, pretrained: as in `build_model`. The branches start at random.

    Raises:
        ValueError, MissingPackageError: as in `build_model`.
    """
    model = Relation(_build_backbone(backbone, 16, pretrained))
    model.options = {"architecture": RELATION, "backbone": backbone}
    return model


def build_detector(
    backbone: str,
    num_classes: int,
    *,
    pretrained: str | Path | None = None,
    channels: int = 256,
    batch_norm: Literal["train", "frozen", "sync"] = "frozen",
    output_stride: int | None = None,
    min_score: float = 0.05,
    nms: float = 0.5,
    detections: int = 100,
    proposals: Sequence[int] = (2000, 1000),
    anchors_px: Sequence[float] = (32, 64, 128, 256, 512),
    rois: int = 512,
) -> Detector:
    """Builds a Mask R-CNN (He et al. 2017): (S, 3, H, W) ImageNet-normalised -> objects, see `Detector`.

    The defaults are torchvision's, which are published, but for `proposals`.

    Args:
        backbone, num_classes, pretrained, batch_norm: as in `build_model`.
        channels: of the feature pyramid. At 256 the heads are as wide as the published ones.
        output_stride: of the deepest features, px; None: 32, or 16 where the backbone ends there.
        min_score: 0..1, an object has a higher score.
        nms: 0..1, of two boxes of one class that overlap more than that, the worse one is dropped.
        detections: at most so many objects a frame.
        proposals: boxes that a training keeps of each map before, and of each frame after those that overlap
            are dropped. Else at most 1000 are kept.
        anchors_px: side of the anchors of each map, one for each level of the backbone from stride 4 on. Each
            further one is of a map of half the size.
        rois: boxes of a frame that a step learns from, at most a quarter of them with an object.

    Raises:
        ValueError, MissingPackageError: as in `build_model`, and for an option out of its range.
    """
    if output_stride is None:
        output_stride = 16 if backbone in ENDS_AT_16 else 32
    head: dict[str, Any] = {
        "channels": channels,
        "min_score": min_score,
        "nms": nms,
        "detections": detections,
        "proposals": [*proposals],
        "anchors_px": [*anchors_px],
        "rois": rois,
    }
    features = _build_backbone(backbone, output_stride, pretrained)
    features.set_batch_norm(batch_norm)
    model = Detector(features, num_classes, **head)
    model.options = {
        "architecture": DETECTOR,
        "backbone": backbone,
        "num_classes": num_classes,
        "batch_norm": batch_norm,
        "output_stride": output_stride,
        **head,
    }
    return model


def rebuild(options: Mapping[str, Any]) -> SegmentationNetwork | Relation | Detector:
    """The structure of a network again, with random weights.

    Args:
        options: of that network, from its attribute or its model card.

    Raises:
        ValueError, MissingPackageError: as in `build_model`.
    """
    builders: dict[str, Callable[..., SegmentationNetwork | Relation | Detector]] = {
        CLASSIFIER: build_classifier,
        RELATION: build_relation,
        DETECTOR: build_detector,
    }
    options = {**options, "pretrained": None}
    if options["architecture"] in builders:
        return builders[options.pop("architecture")](**options)
    return build_model(**options)


def imagenet_source(backbone: str) -> tuple[str, Path | None]:
    """Where a backbone's own ImageNet weights come from, and the file in which they are kept.

    Returns:
        The address; and for torchvision's the file in which torch keeps them, for timm's the file if they
        were fetched before, else None.

    Raises:
        ValueError: there is no such backbone, or there are no weights of it.
        MissingPackageError: timm is not installed.
    """
    if backbone.startswith(TIMM):
        return _timm_backbones(backbone).hub_weights(backbone.removeprefix(TIMM))
    return imagenet_weights(backbone)


def _build_backbone(name: str, output_stride: int, pretrained: str | Path | None) -> Backbone:
    if name.startswith(TIMM):
        return _timm_backbones(name).timm_backbone(name.removeprefix(TIMM), output_stride, pretrained)
    check_name("backbone", name, [*BACKBONES, f"{TIMM}<name>"])
    features = BACKBONES[name](output_stride)
    if pretrained is not None:
        load_backbone_weights(features, name, pretrained)
    return features


def _usual_stride(architecture: str, backbone: str) -> int:
    fine = architecture == TWO_STREAM or (architecture == "pspnet" and backbone.startswith("resnet"))
    return 8 if fine else 16


def _check_flow(architecture: str, backbone: str, flow: Mapping[str, Any]) -> None:
    """Raises ValueError if another network is to look at flow, or one of timm's backbones."""
    if architecture != TWO_STREAM:
        for name, value in flow.items():
            if value != FLOW_DEFAULTS[name]:
                raise ValueError(
                    f"{name} is {value!r}, but {architecture} looks at images alone; leave it out, or take "
                    f"the architecture {TWO_STREAM}"
                )
    elif backbone.startswith(TIMM):
        raise ValueError(
            f"backbone is {backbone!r}, but timm's bring images to an input of their own, so {TWO_STREAM} "
            f"cannot let them look at flow; take one of {', '.join(BACKBONES)}"
        )


def _timm_backbones(backbone: str) -> ModuleType:
    """The module that wraps timm; loading it takes seconds."""
    if find_spec("timm") is None:
        raise MissingPackageError(
            f"backbone is {backbone!r}, which needs timm, but that is not installed; run "
            f"`pip install 'weclick[timm]'`, or take one of {', '.join(BACKBONES)}"
        )
    from weclick.models import timm_backbones

    return timm_backbones


def _dropout_option(dropout: bool | float | None) -> bool | float:
    """The same setting under one spelling, so that equal networks have equal cards."""
    if dropout is None:
        return True
    return dropout if isinstance(dropout, bool) else float(dropout)
