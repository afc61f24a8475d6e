"""What the networks of a run learned from, in words."""

from __future__ import annotations

from weclick.common import words
from weclick.common.sections import Config
from weclick.manifest.annotation import MASKED, Annotated, annotated
from weclick.runs.report.results import Results

PROXIES = {"f2f": "made of tags", "sam2": "made of clicks", "folder": "that were given"}
"""`proxy_labels.source` -> what follows the words "proxy labels"."""


def uses_clicks(config: Config) -> bool:
    """Whether clicks decide what a network of the run learns."""
    return config["supervision"] != "proxies" or config["proxy_labels"]["source"] == "sam2"


def supervised(results: Results, config: Config) -> dict[str, str]:
    """Sentences on the annotation that the networks learned from.

    Returns:
        learned: what they learned from, after "Learned from".
        labelled: a sentence on what is labelled in training beside clicks.
        budget: a sentence on the time that people take for it; empty without a budget.
    """
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
