"""Class activation maps of a network of ImageNet's classes, some of which stand for those of a data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weclick.common.errors import InputError
from weclick.common.findings import Finding, tell
from weclick.common.sections import CamsSection
from weclick.manifest import Manifest
from weclick.models.build import imagenet_source
from weclick.models.imagenet_classifier import imagenet_classifier
from weclick.proxy_labels.cam_classifier import class_maps
from weclick.proxy_labels.cam_sources import Mapper, check_named, shown_classes
from weclick.store import file_digest


@dataclass(frozen=True)
class OfImageNet:
    """A classifier of ImageNet's 1000 classes. See `CamSource`.

    Attributes:
        backbone: of weclick's.
        weights: "imagenet", or a file with the backbone's and the last layer's weights.
        mapping: class id -> indices of ImageNet's classes, sorted.
        combine: how the maps of several indices become one.
        num_classes: K of the data set.
        class_ids: of the classes that it is to show; those without an index are told.
    """

    backbone: str
    weights: str
    mapping: Mapping[int, tuple[int, ...]]
    combine: str
    num_classes: int
    class_ids: tuple[int, ...]

    @classmethod
    def of(
        cls, section: CamsSection, names: Sequence[str], class_ids: Iterable[int] | None = None
    ) -> OfImageNet:
        """What the section `cams` says of it.

        Args:
            section: complete.
            names: of the data set's classes.
            class_ids: of those that it is to show; None: all. Indices of others are left out.

        Raises:
            InputError: `cams.mapping` is empty, or names what is no class of the data set.
        """
        mapping = section["mapping"]
        check_named("cams.mapping", mapping, names)
        if not mapping:
            raise InputError(
                "ImageNet's classes make maps, but cams.mapping is empty; say which of them stand for those "
                "of the data set, e.g. cams.mapping: {swan: [99, 100]}"
            )
        ids = {names.index(name): tuple(sorted(indices)) for name, indices in mapping.items()}
        asked = tuple(shown_classes(names) if class_ids is None else class_ids)
        shown = {k: indices for k, indices in ids.items() if k in asked}
        return cls(section["backbone"], section["pretrained"], shown, section["combine"], len(names), asked)

    def key_inputs(self) -> Mapping[str, Any]:
        """See `CamSource`."""
        return {
            "imagenet": {
                "backbone": self.backbone,
                "weights": weights_told(self.backbone, self.weights),
                "mapping": {str(class_id): list(indices) for class_id, indices in self.mapping.items()},
                "combine": self.combine,
                "classes": self.num_classes,
            }
        }

    def load(self, manifest: Manifest, device: str) -> Mapper:
        """See `CamSource`. Says which classes have no index."""
        names = manifest.classes.names
        if left := [names[k] for k in self.class_ids if k not in self.mapping]:
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
        found = class_maps(self.model, images).relu()
        return torch.stack([self._combined(found, self.mapping.get(k, ())) for k in class_ids], 1)

    def _combined(self, maps: Tensor, indices: Sequence[int]) -> Tensor:
        """(B, 1000, h, w) -> (B, h, w)."""
        if not indices:
            return torch.zeros_like(maps[:, 0])
        some = maps[:, list(indices)]
        return some.sum(1) if self.combine == "sum" else some.amax(1)


def weights_told(backbone: str, weights: str) -> str:
    """What tells the weights of a backbone: the address of its own, or the SHA-256 (hex) of a file.

    Raises:
        MissingFileError: there is no such file.
    """
    return imagenet_source(backbone)[0] if weights == "imagenet" else file_digest(Path(weights))
