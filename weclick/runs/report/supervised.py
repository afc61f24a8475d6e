"""What the networks of a run learned from, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weclick.common import words
from weclick.common.sections import Config
from weclick.common.stages import learns_from_clicks, looks_at_maps, takes
from weclick.manifest.annotation import MASKED, Annotated, annotated
from weclick.manifest.tagged import tagged
from weclick.runs.report.results import Results

PROXIES = {"f2f": "made of tags", "sam2": "made of clicks", "folder": "that were given"}
"""`proxy_labels.source` -> what follows the words "proxy labels"."""

INSTANCES = {
    "relation": "made of tags",
    "clicks": "made of clicks",
    "masks": "that people outlined",
    "network": "that another detector predicted",
}
"""`instances.source` -> what follows the word "instances"."""


def uses_clicks(config: Config) -> bool:
    """Whether clicks decide what a network of the run learns."""
    if takes(config, "instances"):
        return learns_from_clicks(config)
    if config["supervision"] == "proxies":
        return config["proxy_labels"]["source"] == "sam2"
    return config["supervision"] != "tags"


def supervised(results: Results, config: Config) -> dict[str, str]:
    """Sentences on the annotation that the networks learned from.

    Returns:
        learned: what they learned from, after "Learned from".
        labelled: a sentence on what is labelled in training beside clicks.
        budget: a sentence on the time that people take for it; empty without a budget.
    """
    if takes(config, "instances"):
        return _by_instances(config)
    if config["supervision"] == "tags":
        return _by_tags(results, config)
    options = config["annotation"]
    used = annotated(results.train, results.clicks, options, config["supervision"], keep_targets=True)
    minutes, budget = options["minutes"], ""
    if minutes is not None:
        budget = (
            f"The annotation is limited to {minutes:g} minutes, of which {used.seconds / 60:.1f} are used. "
            f"Assumed are {options['click_first_s']:g} s for the first click of a class on a frame and "
            f"{options['click_next_s']:g} s for each further one (Bearman et al. 2016), "
            f"{options['mask_object_s']:g} s for the mask of an object (Lin et al. 2014, COCO), and "
            f"{options['frame_s']:g} s for looking at a frame."
        )
    masks = f"the masks of {words.plural(used.masked, 'frame')}"
    whole = used.clicks is results.clicks
    frames = sum(len(clip.targets) for clip in results.train.clips) if whole else len(used.clicks.frames)
    clicks = f"{words.plural(len(used.clicks), 'click')} on {words.plural(frames, 'frame')}"
    parts = {"clicks": [clicks], "masks": [masks], "both": [masks, clicks], "proxies": [_proxies(config)]}
    learned = " and ".join(parts[used.supervision])
    return {"learned": learned, "labelled": _labelled(used, config), "budget": budget}


def _by_instances(config: Mapping[str, Any]) -> dict[str, str]:
    """Instances take no time by the clicks that tags would have taken, so no budget holds for them."""
    source = config["instances"]["source"]
    also = "" if source == "clicks" else ", not from clicks"
    return {
        "learned": f"instances {INSTANCES[source]}",
        "labelled": f"The detector learns from instances {INSTANCES[source]}{also}.",
        "budget": "",
    }


def _by_tags(results: Results, config: Config) -> dict[str, str]:
    """Tags take no time by the clicks that they would have taken, so no budget holds for them."""
    assert results.tags is not None, "a run that learns from tags has read them"
    targets = sum(len(clip.targets) for clip in tagged(results.train, results.tags).clips)
    tags = f"the tags of {words.plural(targets, 'frame')}"
    maps = looks_at_maps(config)
    what = f"which classes occur from {tags}" if config["tag_loss"]["weight"] else f"from {tags}"
    where = ", and where they are from class activation maps" if maps else ""
    return {
        "learned": f"{tags} and from class activation maps" if maps else tags,
        "labelled": f"The networks learn {what}{where}, not from clicks.",
        "budget": "",
    }


def _proxies(config: Config) -> str:
    return f"proxy labels {PROXIES[config['proxy_labels']['source']]}"


def _labelled(used: Annotated, config: Config) -> str:
    if used.supervision == "proxies":
        also = "" if uses_clicks(config) else ", not from clicks"
        return f"The networks learn from {_proxies(config)}{also}."
    if used.supervision not in MASKED:
        return "Nothing else is labelled in training."
    also = " as well" if used.supervision == "both" else ", not from clicks"
    return f"The networks learn from the masks of {words.plural(used.masked, 'frame')}{also}."
