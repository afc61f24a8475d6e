"""What makes class activation maps: a classifier that learnt from tags, or one of ImageNet's 1000 classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from weclick.common.content import RUN_AGAIN, check_content
from weclick.common.errors import InputError
from weclick.common.findings import Finding, tell
from weclick.common.sections import CamsSection
from weclick.manifest import Manifest
from weclick.models.build import imagenet_source
from weclick.models.imagenet_classifier import imagenet_classifier
from weclick.store import file_digest
from weclick.store.model_file import load_model

BACKGROUND = 0
"""Class id. No classifier tells it."""


class Mapper(Protocol):
    """A source that was loaded. Images are (B, 3, H, W), ImageNet-normalised."""

    def scores(self, images: Tensor) -> Tensor:
        """(B, K) in 0..1, how sure a class occurs; 0 for background."""

    def maps(self, images: Tensor, class_ids: Sequence[int]) -> Tensor:
        """(B, C, h, w), 0 or more: where some classes are, see `merge_maps`."""


class CamSource(Protocol):
    """Makes the maps. Nothing is loaded before `load`."""

    def key_inputs(self) -> Mapping[str, Any]:
        """Its part of the inputs that an entry is made from; the entry's attributes say the same."""

    def load(self, manifest: Manifest, device: str) -> Mapper:
        """Get ready to map frames of a manifest, on `device`.

        Raises:
            InputError: it has other classes, or cannot be read.
        """


@dataclass(frozen=True)
class OfClassifier:
    """A classifier that weclick trained. See `CamSource`.

    Attributes:
        path: its model.safetensors.
        sha256: of that file.
    """

    path: Path
    sha256: str

    @classmethod
    def of(cls, path: Path) -> OfClassifier:
        """The classifier in a file.

        Raises:
            MissingFileError: it is not there.
        """
        return cls(Path(path), file_digest(path))

    def key_inputs(self) -> Mapping[str, Any]:
        """See `CamSource`."""
        return {"classifier_sha256": self.sha256}

    def load(self, manifest: Manifest, device: str) -> Mapper:
        """See `CamSource`."""
        model, _ = load_model(self.path, device, classes=manifest.classes.names)
        check_content(self.path, self.sha256, RUN_AGAIN)
        if not hasattr(model, "class_maps"):
            raise InputError(
                f"{self.path}: is a segmentation network, expected a classifier; give the model.safetensors "
                "of the stage classifier"
            )
        return ByClassifier(model)


@dataclass(frozen=True)
class ByClassifier:
    """Scores and maps of a network that has what `weclick.models.Classifier` has."""

    model: nn.Module

    def scores(self, images: Tensor) -> Tensor:
        """See `Mapper`."""
        scores = self.model(images).float().mean((2, 3)).sigmoid()
        scores[:, BACKGROUND] = 0
        return scores

    def maps(self, images: Tensor, class_ids: Sequence[int]) -> Tensor:
        """See `Mapper`."""
        return _class_maps(self.model, images)[:, list(class_ids)].relu()


@dataclass(frozen=True)
class OfImageNet:
    """A classifier of ImageNet's 1000 classes. See `CamSource`.

    Attributes:
        backbone: of weclick's.
        weights: "imagenet", or a file with the backbone's and the last layer's weights.
        mapping: class id -> indices of ImageNet's classes, sorted.
        combine: how the maps of several indices become one.
        num_classes: K of the data set.
    """

    backbone: str
    weights: str
    mapping: Mapping[int, tuple[int, ...]]
    combine: str
    num_classes: int

    @classmethod
    def of(cls, section: CamsSection, names: Sequence[str]) -> OfImageNet:
        """What the section `cams` says of it.

        Args:
            section: complete.
            names: of the data set's classes.

        Raises:
            InputError: `cams.mapping` is empty, or names what is no class of the data set.
        """
        mapping = section["mapping"]
        if unknown := sorted(mapping.keys() - set(names[BACKGROUND + 1 :])):
            raise InputError(
                f"cams.mapping names {', '.join(map(repr, unknown))}, expected some of "
                f"{', '.join(names[BACKGROUND + 1 :])}, the classes of the data set without its first, the "
                "background; correct it"
            )
        if not mapping:
            raise InputError(
                "cams.source is imagenet, but cams.mapping is empty; say which of ImageNet's classes stand "
                "for those of the data set, e.g. cams.mapping: {swan: [99, 100]}"
            )
        ids = {names.index(name): tuple(sorted(indices)) for name, indices in mapping.items()}
        return cls(section["backbone"], section["pretrained"], ids, section["combine"], len(names))

    def key_inputs(self) -> Mapping[str, Any]:
        """See `CamSource`."""
        own = self.weights == "imagenet"
        return {
            "imagenet": {
                "backbone": self.backbone,
                "weights": imagenet_source(self.backbone)[0] if own else file_digest(Path(self.weights)),
                "mapping": {str(class_id): list(indices) for class_id, indices in self.mapping.items()},
                "combine": self.combine,
                "classes": self.num_classes,
            }
        }

    def load(self, manifest: Manifest, device: str) -> Mapper:
        """See `CamSource`. Says which classes have no index."""
        names = manifest.classes.names
        if left := [names[k] for k in range(BACKGROUND + 1, len(names)) if k not in self.mapping]:
            found = f"{', '.join(left)} stand for none of ImageNet's classes"
            tell([Finding("warning", "cams.mapping", found, "their maps will be empty, their scores 0")])
        model = imagenet_classifier(self.backbone, self.weights).to(device)
        return ByImageNet(model, self.mapping, self.combine, self.num_classes)


@dataclass(frozen=True)
class ByImageNet:
    """Scores and maps of a classifier of ImageNet's classes; attributes as of `OfImageNet`."""

    model: nn.Module
    mapping: Mapping[int, tuple[int, ...]]
    combine: str
    num_classes: int

    def scores(self, images: Tensor) -> Tensor:
        """See `Mapper`: the probability of all indices of a class together."""
        likely = self.model(images).float().mean((2, 3)).softmax(1)
        scores = likely.new_zeros(len(images), self.num_classes)
        for class_id, indices in self.mapping.items():
            scores[:, class_id] = likely[:, list(indices)].sum(1).clamp(max=1)
        return scores

    def maps(self, images: Tensor, class_ids: Sequence[int]) -> Tensor:
        """See `Mapper`."""
        found = _class_maps(self.model, images).relu()
        return torch.stack([self._combined(found, self.mapping.get(k, ())) for k in class_ids], 1)

    def _combined(self, maps: Tensor, indices: Sequence[int]) -> Tensor:
        """(B, 1000, h, w) -> (B, h, w)."""
        if not indices:
            return torch.zeros_like(maps[:, 0])
        some = maps[:, list(indices)]
        return some.sum(1) if self.combine == "sum" else some.amax(1)


def _class_maps(model: nn.Module, images: Tensor) -> Tensor:
    return cast("Any", model).class_maps(images).float()
