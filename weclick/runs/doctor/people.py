"""Checks people's clicks: those that are learned from, and those that networks are scored by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from weclick.clicks.checks import double_words, few_words, near_doubles
from weclick.clicks.people import Points, import_clicks
from weclick.clicks.placed import PlacedClick, placed_clicks
from weclick.clicks.review import Review, review
from weclick.common.findings import Finding
from weclick.common.sections import Config
from weclick.datasets import Dataset, open_dataset
from weclick.manifest import Clip
from weclick.runs.doctor.sized import sized_manifest


def check_clicks(dataset: Dataset, split: str, clips: Sequence[Clip], *, few: bool = True) -> list[Finding]:
    """Read people's clicks as the clicks stage does; with `few`, also name classes that have few of them."""
    what = f"clicks of {split}"
    try:
        manifest = sized_manifest(dataset, split, clips)
        people = import_clicks(manifest)
        placed = placed_clicks(manifest)
    except (ValueError, OSError) as error:
        return [Finding("error", what, str(error), f"correct {dataset.click_file}")]
    told = f"{_count(people.points)} clicks on {len(people.points)} frames"
    rare = _few(what, dataset, placed) if few and dataset.mix == "human" else []
    return [Finding("ok", what, told), *people.findings, *_doubles(what, placed), *rare]


def check_held_out(dataset: Dataset, split: str, clips: Sequence[Clip]) -> list[Finding]:
    """Read the clicks that networks are scored by.

    A class without one is told if no mask is scored: nothing will be known of it.
    """
    scored = [clip.frames[t] for clip in clips for t in clip.scored]
    what = f"held-out clicks of {split}"
    try:
        manifest = sized_manifest(dataset, split, clips)
        points = import_clicks(manifest, "scored").points
        placed = placed_clicks(None, manifest)
    except (ValueError, OSError):  # the check of the training split's clicks reads the same file
        return []
    if not points:
        return []
    told = [Finding("ok", what, f"{_count(points)} clicks on {len(points)} frames"), *_doubles(what, placed)]
    ids = {int(class_id) for found in points.values() for class_id in found["class_id"]}
    unknown = [name for i, name in enumerate(dataset.classes.names) if i not in ids]
    if not unknown or any(frame.label for frame in scored):
        return told
    todo = "nothing will be known of how well the networks find them: click on them in held-out frames"
    return [*told, Finding("warning", what, f"none is of {', '.join(unknown)}", todo)]


def review_clicks(config: Config) -> Review:
    """The clicks of both splits that a person should look at again; see `weclick.clicks.review`.

    Raises:
        ValueError, OSError: data or clicks cannot be read. `check_data` says the same.
    """
    data = config["data"]
    if not Path(data["root"]).is_dir():  # a street that is not yet drawn
        return Review()
    dataset = open_dataset(data, config["clicks"]["mix"], config["tags"])
    if not dataset.click_file:
        return Review()
    train, scored = (
        sized_manifest(dataset, split, dataset.clips(split)) for split in (data["train"], data["val"])
    )
    return review(placed_clicks(train, scored))


def review_lines(found: Review) -> list[str]:
    """What `weclick doctor --review` says of the list."""
    if not found.clicks:
        return ["people made no click here, so there is none to review"]
    more = ", not all of them wrong" if found.suspects else ""
    head = f"{len(found.suspects)} of {found.clicks} clicks to look at again{more}"
    return [head, _worth(found), *(_spelled(each.click) + f" {each.why}" for each in found.suspects)]


def _worth(found: Review) -> str:
    """What the classifier of a review is worth on these clicks."""
    if not found.judged:
        return "no click could be held against a prediction: there are too few"
    trial = (
        f"of the clicks that it lists in a trial, {100 * found.found:.0f} % had been made wrong on purpose"
    )
    if found.is_blind:
        return f"{trial} (chance: 5 %), too few to rely on, so it judges none"
    return f"{trial} (chance: 5 %); {100 * found.agreed:.0f} % of {found.judged} clicks are as predicted"


def _spelled(click: PlacedClick) -> str:
    place = click.click
    who = f" by {click.origin.who}" if click.origin.who else ""
    return f"clip {place.clip}, frame {place.frame}, y {place.y}, x {place.x}: {place.class_name}{who}"


def review_facts(found: Review) -> list[dict[str, object]]:
    """The list for a JSON file."""
    return [
        {
            **suspect.click.click._asdict(),
            "who": suspect.click.origin.who,
            "seen": suspect.seen,
            "share": suspect.share,
            "near_px": suspect.near_px,
        }
        for suspect in found.suspects
    ]


def _few(what: str, dataset: Dataset, clicks: Sequence[PlacedClick]) -> list[Finding]:
    counts: Mapping[str, int] = Counter(each.click.class_name for each in clicks)
    told = few_words({name: counts[name] for name in dataset.classes.names})
    todo = "a network learns little of such classes: click on more of their objects"
    return [Finding("warning", what, told, todo)] if told else []


def _doubles(what: str, clicks: Sequence[PlacedClick]) -> list[Finding]:
    told = double_words(near_doubles(each.click for each in clicks if not each.is_scribble))
    todo = "take the later one back where it repeats the first"
    return [Finding("warning", what, told, todo)] if told else []


def _count(points: Points) -> int:
    return sum(map(len, points.values()))
