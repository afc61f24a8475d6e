"""Class activation maps of heads that learn from iconic images: a folder of a few images for each class."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weclick.common.digest import canonical_json
from weclick.common.errors import InputError
from weclick.common.progress import progress_bar
from weclick.common.sections import CamsSection
from weclick.manifest import Manifest
from weclick.manifest.images import IMAGE_SUFFIXES, read_image
from weclick.manifest.names import same_name
from weclick.models import normalize
from weclick.models.build import build_classifier
from weclick.models.classifier import Classifier
from weclick.models.imagenet_classifier import OUTPUT_STRIDE
from weclick.proxy_labels.cam_classifier import ByClassifier
from weclick.proxy_labels.cam_frames import as_tensor, scaled
from weclick.proxy_labels.cam_imagenet import weights_told
from weclick.proxy_labels.one_vs_all import L2, one_vs_all
from weclick.proxy_labels.sources import Digests

FORMAT_VERSION = 1

SHORTER_PX = 224
"""Larger images are shrunk until their shorter side is this, as those were that the backbones learnt from."""


@dataclass(frozen=True)
class OfIconic:
    """One-vs-all heads on a backbone that does not learn. See `CamSource`.

    The images of a class are told from those of all other classes of the folder, by the averaged features of
    the backbone. The head's weights, taken to the features of each cell, then give the map.

    Attributes:
        backbone: of weclick's.
        weights: "imagenet", or a file with the backbone's weights.
        images: class id -> path and SHA-256 of its images, in the order of these digests.
        class_ids: of the classes that it is to show.
        num_classes: K of the data set.
    """

    backbone: str
    weights: str
    images: Mapping[int, Sequence[tuple[Path, str]]]
    class_ids: Sequence[int]
    num_classes: int

    @classmethod
    def of(
        cls, section: CamsSection, names: Sequence[str], class_ids: Sequence[int], digests: Digests
    ) -> OfIconic:
        """What the section `cams` says of it.

        Args:
            section: complete; its folder of iconic images is there.
            names: of the data set's classes.
            class_ids: of those that it is to show. Images of the others tell what these are not.
            digests: paths -> SHA-256 of their content; may remember them.

        Raises:
            InputError: the folder names what is no class, has no image of a class, or of one class alone.
        """
        found = _files(Path(str(section["iconic"])), names, class_ids)
        known = digests([file for files in found.values() for file in files])
        images = {
            k: sorted(((file, known[file]) for file in files), key=lambda each: each[1])
            for k, files in found.items()
        }
        return cls(section["backbone"], section["pretrained"], images, tuple(class_ids), len(names))

    def key_inputs(self) -> Mapping[str, Any]:
        """See `CamSource`."""
        return {
            "iconic": {
                "version": FORMAT_VERSION,
                "backbone": self.backbone,
                "weights": weights_told(self.backbone, self.weights),
                "images": {str(k): _digest_of(images) for k, images in sorted(self.images.items())},
                "shorter_px": SHORTER_PX,
                "l2": L2,
                "classes": self.num_classes,
            }
        }

    def load(self, manifest: Manifest, device: str) -> ByClassifier:
        """See `CamSource`. It learns the heads.

        Raises:
            InputError: an image is damaged, or changed since its digest was taken.
        """
        model = build_classifier(
            self.backbone, self.num_classes, pretrained=self.weights, output_stride=OUTPUT_STRIDE
        )
        model.to(device).eval()
        features, ids = self._features(model, manifest.classes.names, device)
        weights, biases = one_vs_all(features, ids, self.class_ids)
        with torch.no_grad():
            for parameter, learnt in ((model.classifier.weight, weights), (model.classifier.bias, biases)):
                assert parameter is not None, "a 1x1 convolution with a bias"
                parameter.zero_()
                parameter[list(self.class_ids)] = learnt.reshape(-1, *parameter.shape[1:]).to(parameter)
        return ByClassifier(model, self.class_ids)

    @torch.inference_mode()
    def _features(self, model: Classifier, names: Sequence[str], device: str) -> tuple[Tensor, list[int]]:
        """The averaged features (N, C) of all images, and their class ids."""
        listed = [(k, *image) for k, images in sorted(self.images.items()) for image in images]
        found = []
        with progress_bar("iconic images", len(listed), "images") as bar:
            for k, path, sha256 in listed:
                image = as_tensor(_read(path, sha256, names[k]), device)
                shrunk = scaled(image, min(1, SHORTER_PX / min(image.shape[-2:])))
                _, _, deep = model.backbone(normalize(shrunk))
                found.append(deep.float().mean((2, 3))[0].cpu())
                bar.advance()
        return torch.stack(found), [k for k, _, _ in listed]


def _read(path: Path, sha256: str, name: str) -> np.ndarray:
    try:
        return read_image(path, sha256)
    except InputError as error:
        raise InputError(f"cams.iconic, an image of class {name!r}: {error}") from error


def _digest_of(images: Sequence[tuple[Path, str]]) -> str:
    """SHA-256 (hex) over the digests of a class's images: their names and order do not count."""
    return hashlib.sha256(canonical_json([sha256 for _, sha256 in images]).encode()).hexdigest()


def _files(folder: Path, names: Sequence[str], class_ids: Sequence[int]) -> dict[int, list[Path]]:
    """Class id -> its images, of every folder of a class."""
    held: dict[str, Path] = {}
    unknown = []
    for each in (path for path in sorted(folder.iterdir()) if path.is_dir() and path.name[0] != "."):
        name = same_name(each.name, names)
        if name is None:
            unknown.append(each.name)
        elif (other := held.setdefault(name, each)) != each:
            raise InputError(
                f"{each} and {other}: both are named as the class {name!r}, in two forms of Unicode, "
                "expected one folder for each class; put the images of both into one"
            )
    if unknown:
        raise InputError(
            f"{folder}: has a folder {', '.join(map(repr, unknown))}, expected some of {', '.join(names)}, "
            "the classes of the data set; rename it, or take it out of cams.iconic"
        )
    if missing := [names[k] for k in class_ids if names[k] not in held]:
        raise InputError(
            f"{folder}: has no folder {', '.join(map(repr, missing))}, whose maps iconic images make; add "
            "one with images, or give the class another source in cams.sources, e.g. none"
        )
    found = {names.index(name): _images(path) for name, path in held.items()}
    if empty := [names[k] for k, files in found.items() if not files]:
        raise InputError(
            f"{folder / empty[0]}: holds no image, expected files that end in {', '.join(IMAGE_SUFFIXES)}; "
            "add some, or delete the folder"
        )
    if len(found) < 2:
        raise InputError(
            f"{folder}: has images of {next(iter(held))!r} alone, so there is nothing to tell it from; add a "
            "folder of another class of the data set"
        )
    return found


def _images(folder: Path) -> list[Path]:
    return [
        each
        for each in sorted(folder.iterdir())
        if each.name.lower().endswith(IMAGE_SUFFIXES) and each.name[0] != "." and each.is_file()
    ]
