"""What makes the class activation maps of a configuration, for each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weclick.common.config_checks import check_cams, map_sources
from weclick.common.errors import InputError
from weclick.common.stages import takes
from weclick.manifest import Clip
from weclick.manifest.images import IMAGE_SUFFIXES
from weclick.runs.label_source import folder_listing
from weclick.runs.layout import Layout

if TYPE_CHECKING:  # it loads torch
    from weclick.manifest.tag_table import TagTable
    from weclick.proxy_labels.cam_sources import CamSource, OneSource


@dataclass(frozen=True)
class MadeMaps:
    """What the maps of a run are made from.

    Attributes:
        source: makes them.
        tags: of the training split.
    """

    source: CamSource
    tags: TagTable

    def inputs(self, clip: Clip, options: Any) -> Mapping[str, Any]:
        """The inputs that the entry of a clip is made from; `options` is the section `cams`."""
        from weclick.proxy_labels.cams import cams_inputs

        tags, made_from = self.tags.of_clip(clip.id), self.source.key_inputs()
        return cams_inputs(clip, tags, made_from, options, names=self.tags.classes)


def trains_classifier(config: Mapping[str, Any]) -> bool:
    """Whether the run trains a classifier, which makes its maps."""
    return takes(config, "cams") and "tags" in map_sources(config["cams"])


def maps_of_run(config: Mapping[str, Any], classes: Sequence[str], results: Path) -> MadeMaps | None:
    """What the maps of a run are made from; None while its tags or its classifier are missing.

    Args:
        config: complete.
        classes: of the data set.
        results: folder of the run.
    """
    from weclick.clicks.tags import read_tags

    layout = Layout(results)
    tags, weights = layout.tags(config["data"]["train"]), layout.weights("classifier")
    by_classifier = "tags" in map_sources(config["cams"])
    if not tags.is_file() or (by_classifier and not weights.is_file()):
        return None
    remember = layout.cam_digests if layout.cam_digests.is_file() else None
    source = cam_source(config, classes, weights if by_classifier else None, remember=remember)
    return MadeMaps(source, read_tags(tags))


def cam_source(
    config: Mapping[str, Any],
    classes: Sequence[str],
    classifier: Path | None,
    *,
    remember: Path | None = None,
) -> CamSource:
    """What the configuration says that makes the maps.

    Args:
        config: complete, or the part that the stage reads.
        classes: of the data set.
        classifier: its model.safetensors.
        remember: keeps the digests of iconic images, see `file_digests`.

    Raises:
        ConfigError: as in `check_cams`.
        InputError: a classifier is given and not wanted, or wanted and not given; or `cams.sources`,
            `cams.mapping` or the iconic images do not fit the classes.
        MissingFileError: the classifier is not there.
    """
    from weclick.datasets.digests import file_digests
    from weclick.proxy_labels.cam_classifier import OfClassifier
    from weclick.proxy_labels.cam_iconic import OfIconic
    from weclick.proxy_labels.cam_imagenet import OfImageNet
    from weclick.proxy_labels.cam_per_class import cam_source_of

    check_cams(config)
    section = config["cams"]
    _check_classifier(section, classifier)

    def made(name: str, class_ids: Sequence[int]) -> OneSource:
        if name == "imagenet":
            return OfImageNet.of(section, classes, class_ids)
        if name == "iconic":
            return OfIconic.of(section, classes, class_ids, partial(file_digests, remember=remember))
        assert classifier is not None, "which _check_classifier has seen"
        return OfClassifier.of(classifier)

    return cam_source_of(section, classes, made)


def _check_classifier(section: Mapping[str, Any], classifier: Path | None) -> None:
    if ("tags" in map_sources(section)) != (classifier is not None):
        found = f"{classifier} is given as a classifier" if classifier else "no classifier is given"
        todo = "leave --classifier out" if classifier else "name its model.safetensors with --classifier"
        told = f", cams.sources {section['sources']}" if section["sources"] else ""
        raise InputError(f"cams.source is {section['source']!r}{told}, but {found}; {todo}")


def iconic_listing(config: Mapping[str, Any], remember: Path) -> str:
    """SHA-256 (hex) over names, sizes and edits of the iconic images that maps are made from: a cheap sign.

    Args:
        config: complete.
        remember: the memory of `cam_source`. Content is read only where it knows a file that changed since.

    Returns:
        Empty if no maps are made from such images.

    Raises:
        ConfigError: as in `check_cams`.
        MissingFileError: the folder holds no image.
    """
    if not takes(config, "cams") or "iconic" not in map_sources(config["cams"]):
        return ""
    check_cams(config)
    return folder_listing(config["cams"]["iconic"], "cams.iconic", IMAGE_SUFFIXES, remember)
