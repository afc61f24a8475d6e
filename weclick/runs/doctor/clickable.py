"""Checks whether targets have the clicks that networks learn from."""

from __future__ import annotations

from collections.abc import Sequence

from weclick.clicks.people import import_clicks
from weclick.common.findings import Finding
from weclick.common.sections import Config
from weclick.common.stages import learns_from_clicks, takes
from weclick.datasets import Dataset
from weclick.manifest import Clip
from weclick.runs.doctor.sized import sized_manifest

_OTHER = "take a method that learns from tags, e.g. two_stream"


def check_clickable(config: Config, dataset: Dataset, clips: Sequence[Clip]) -> list[Finding]:
    """Look for targets that tags alone made, where clicks are made from labels: the stage clicks stops there.

    Args:
        config: complete.
        dataset: that the clips are of.
        clips: of the training split.

    Returns:
        An error; none if the run does not learn from clicks, or takes only those that people made.
    """
    if not learns_from_clicks(config) or (dataset.click_file and dataset.mix == "human"):
        return []
    targets = [(clip.id, clip.frames[target]) for clip in clips for target in clip.targets]
    bare = [(clip, frame.name) for clip, frame in targets if frame.label is None]
    if bare and dataset.click_file:
        try:
            clicked = import_clicks(sized_manifest(dataset, config["data"]["train"], clips)).points
        except (ValueError, OSError):  # the check of the clicks says it
            return []
        bare = [place for place in bare if place not in clicked]
    if not bare:
        return []
    clip, name = bare[0]
    found = (
        f"{len(bare)} of {len(targets)} targets have a tag, but neither label nor click, e.g. frame {name} "
        f"of clip {clip}; {_why(config)}"
    )
    other = "set instances.source: relation" if _from_instances(config) else _OTHER
    todo = f"click in these clips or label them, or {other}"
    return [Finding("error", "clicks", found, todo)]


def _from_instances(config: Config) -> bool:
    """Whether clicks become instances, whatever the networks beside them learn from."""
    return takes(config, "instances")


def _why(config: Config) -> str:
    if _from_instances(config):
        return "instances.source is clicks, of which each makes one instance"
    return f"method {config['method']} learns from {config['supervision']}"
