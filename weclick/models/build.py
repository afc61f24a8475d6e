"""A network from plain options."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from weclick.models.backbones import BACKBONES, Backbone
from weclick.models.classifier import Classifier
from weclick.models.deeplabv3plus import DeepLabV3Plus
from weclick.models.layers import fcn_head
from weclick.models.network import SegmentationNetwork
from weclick.models.pspnet import PSPNet
from weclick.models.weights import imagenet_weights, load_backbone_weights

ARCHITECTURES: dict[str, type[DeepLabV3Plus] | type[PSPNet]] = {
    "deeplabv3plus": DeepLabV3Plus,
    "pspnet": PSPNet,
}

CLASSIFIER = "classifier"
"""The architecture of a classifier, in its options."""

TIMM = "timm/"
"""Backbones whose names begin so are timm's."""


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
) -> DeepLabV3Plus | PSPNet:
    """Builds a network: (B, 3, H, W) ImageNet-normalised -> logits (B, K, ceil(H/stride), ceil(W/stride)).

    The network has `.stride` (pixels per logit), `.num_classes`, `.backbone` and `.options`. The options are
    all arguments but `pretrained`: `build_model(**model.options)` builds the same structure again.

    Args:
        architecture: one of `ARCHITECTURES`.
        backbone: one of `BACKBONES`, or timm/<name> for one of timm's, an extra.
        num_classes: K.
        pretrained: backbone weights: None (random), "imagenet" (torchvision's or timm's, downloaded once), or
            a .safetensors or .pth file with the key names of these. The head starts at random (Xavier).
        channels: width of the head; 256 is the published size.
        batch_norm: frozen keeps the backbone's statistics and affine weights, in training too. sync acts as
            train here, and asks the trainer to take statistics over all GPUs.
        head_norm: of the head; group norm looks at one image alone, so it suits small batches of clicks.
        output_stride: of the deepest features, px; None: 16 for DeepLabV3+, 8 for PSPNet (MobileNetV2 16).
        auxiliary_head: whether to add an FCN head on the middle features, used in training mode alone.
        dropout: of the head while training. True or None: at the published rates (0.5 after ASPP and the
            first decoder layer, 0.1 before every classifier). A number from 0 to below 1: at that rate in
            all these places. False: none.

    Raises:
        ValueError: for an unknown name, or weights that do not fit.
        MissingPackageError: timm is not installed.
    """
    _check_name("architecture", architecture, ARCHITECTURES)
    if output_stride is None:
        output_stride = 8 if architecture == "pspnet" and backbone.startswith("resnet") else 16
    features = _build_backbone(backbone, output_stride, pretrained)
    features.set_batch_norm(batch_norm)

    model = ARCHITECTURES[architecture](
        features, num_classes, channels=channels, norm=head_norm, dropout=dropout
    )
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


def rebuild(options: Mapping[str, Any]) -> SegmentationNetwork:
    """The structure of a network again, with random weights.

    Args:
        options: of that network, from its attribute or its model card.

    Raises:
        ValueError, MissingPackageError: as in `build_model`.
    """
    options = {**options, "pretrained": None}
    if options["architecture"] == CLASSIFIER:
        del options["architecture"]
        return build_classifier(**options)
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
    _check_name("backbone", name, [*BACKBONES, f"{TIMM}<name>"])
    features = BACKBONES[name](output_stride)
    if pretrained is not None:
        load_backbone_weights(features, name, pretrained)
    return features


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


def _check_name(what: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        raise ValueError(f"{what} is {name!r}, expected one of {', '.join(known)}")
