"""A classifier of ImageNet's 1000 classes: a backbone with the layer that it was trained with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from weclick.models.build import build_classifier
from weclick.models.classifier import Classifier
from weclick.models.weights import CLASSIFIER_KEYS, read_pretrained

CLASSES = 1000
OUTPUT_STRIDE = 32
"""That of the training. Maps on a finer, dilated grid show objects no better."""


def imagenet_classifier(name: str, pretrained: str | Path) -> Classifier:
    """A backbone and its last layer, in eval mode.

    Args:
        name: one of BACKBONES whose classifier is one linear layer on averaged features.
        pretrained: "imagenet", or a file with the weights of both, see `load_backbone_weights`.

    Raises:
        ValueError: there is no such backbone, or the weights do not fit it or its last layer.
    """
    model = build_classifier(name, CLASSES, pretrained=pretrained, output_stride=OUTPUT_STRIDE)
    source, channels = f"{name}, {pretrained}", model.backbone.channels
    model.classifier.load_state_dict(_last_layer(read_pretrained(name, pretrained), channels, source))
    return model.eval()


def _last_layer(state: Mapping[str, Tensor], channels: int, source: str) -> dict[str, Tensor]:
    """Weight (1000, channels, 1, 1) and bias (1000,) of the classifier in a state."""
    held = {key: value for key, value in state.items() if key.startswith(CLASSIFIER_KEYS)}
    shapes = {key.rpartition(".")[2]: tuple(value.shape) for key, value in held.items()}
    if len(held) != 2 or shapes != {"weight": (CLASSES, channels), "bias": (CLASSES,)}:
        told = ", ".join(f"{key} {tuple(value.shape)}" for key, value in held.items()) or "nothing"
        raise ValueError(
            f"{source}: holds of a classifier {told}, expected one layer of {CLASSES} classes on {channels} "
            "features, its weight and its bias; give weights that include it, or take another backbone"
        )
    layer = {key.rpartition(".")[2]: value for key, value in held.items()}
    return {"weight": layer["weight"][:, :, None, None], "bias": layer["bias"]}
