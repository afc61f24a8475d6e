"""Class activation maps of a classifier that weclick trained on tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from weclick.common.content import RUN_AGAIN, check_content
from weclick.common.errors import InputError
from weclick.manifest import Manifest
from weclick.proxy_labels.cam_sources import Mapper, shown_classes
from weclick.store import file_digest
from weclick.store.model_file import load_model


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
        return ByClassifier(model, shown_classes(manifest.classes.names))


@dataclass(frozen=True)
class ByClassifier:
    """Scores and maps of a network that has what `weclick.models.Classifier` has.

    Attributes:
        model: has a map of each of the K classes.
        class_ids: those that it tells. Scores and maps of the others are 0.
    """

    model: nn.Module
    class_ids: Sequence[int]

    def scores(self, images: Tensor) -> Tensor:
        """See `Mapper`."""
        scores = self.model(images).float().mean((2, 3)).sigmoid()
        return scores * self._told(scores)

    def maps(self, images: Tensor, class_ids: Sequence[int]) -> Tensor:
        """See `Mapper`."""
        maps = class_maps(self.model, images).relu()
        return (maps * self._told(maps)[:, None, None])[:, list(class_ids)]

    def _told(self, like: Tensor) -> Tensor:
        """(K,), 1 of the classes that it tells, else 0."""
        told = like.new_zeros(like.shape[1])
        told[list(self.class_ids)] = 1
        return told


def class_maps(model: nn.Module, images: Tensor) -> Tensor:
    """(B, K, h, w) float32, before their ReLU."""
    return cast("Any", model).class_maps(images).float()
