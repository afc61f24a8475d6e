"""Networks: an architecture on a backbone, by name."""

from weclick.models.backbones import BACKBONES
from weclick.models.build import (
    ARCHITECTURES,
    build_classifier,
    build_detector,
    build_model,
    build_relation,
    rebuild,
)
from weclick.models.classifier import Classifier
from weclick.models.deeplabv3plus import DeepLabV3Plus
from weclick.models.detector import Detector, Found, Labels, Relabel
from weclick.models.network import SegmentationNetwork
from weclick.models.normalize import IMAGENET_MEAN, IMAGENET_STD, normalize
from weclick.models.pspnet import PSPNet
from weclick.models.relation import Relation
from weclick.models.two_stream import TwoStream

__all__ = [
    "ARCHITECTURES",
    "BACKBONES",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Classifier",
    "DeepLabV3Plus",
    "Detector",
    "Found",
    "Labels",
    "PSPNet",
    "Relabel",
    "Relation",
    "SegmentationNetwork",
    "TwoStream",
    "build_classifier",
    "build_detector",
    "build_model",
    "build_relation",
    "normalize",
    "rebuild",
]
