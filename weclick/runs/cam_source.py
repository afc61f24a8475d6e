"""What makes the class activation maps of a configuration: the run's classifier, or one of ImageNet's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weclick.common.errors import InputError
from weclick.common.stages import takes
from weclick.manifest import Clip
from weclick.runs.layout import Layout

if TYPE_CHECKING:  # it loads torch
    from weclick.manifest.tag_table import TagTable
    from weclick.proxy_labels.cam_sources import CamSource


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
    return takes(config, "cams") and config["cams"]["source"] == "tags"


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
    by_classifier = config["cams"]["source"] == "tags"
    if not tags.is_file() or (by_classifier and not weights.is_file()):
        return None
    return MadeMaps(cam_source(config, classes, weights if by_classifier else None), read_tags(tags))


def cam_source(config: Mapping[str, Any], classes: Sequence[str], classifier: Path | None) -> CamSource:
    """What the configuration says that makes the maps.

    Args:
        config: complete, or the part that the stage reads.
        classes: of the data set.
        classifier: its model.safetensors.

    Raises:
        InputError: a classifier is given and not wanted, or wanted and not given; or `cams.mapping` does not
            fit the classes.
        MissingFileError: the classifier is not there.
    """
    from weclick.proxy_labels.cam_classifier import OfClassifier
    from weclick.proxy_labels.cam_imagenet import OfImageNet

    section = config["cams"]
    if (section["source"] == "tags") != (classifier is not None):
        found = f"{classifier} is given as a classifier" if classifier else "no classifier is given"
        todo = "leave --classifier out" if classifier else "name its model.safetensors with --classifier"
        raise InputError(f"cams.source is {section['source']!r}, but {found}; {todo}")
    return OfClassifier.of(classifier) if classifier else OfImageNet.of(section, classes)
