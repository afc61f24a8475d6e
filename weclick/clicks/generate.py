"""The `clicks` stage: clicks of all targets of a split, made from their labels or imported from people."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from weclick.clicks.components import clicks_from_labels, scaled_min_pixels
from weclick.clicks.people import Imported, Points, import_clicks
from weclick.clicks.sourced import MASK, SourcedClicks
from weclick.common.digest import canonical_json
from weclick.common.errors import InputError
from weclick.common.findings import Finding, tell
from weclick.common.progress import progress_bar
from weclick.common.sections import ClicksSection
from weclick.manifest import IGNORE, Clip, Frame, Manifest
from weclick.manifest.read import read_instances, read_label_of


def generate_clicks(
    manifest: Manifest, *, options: ClicksSection, seed: int, device: str = "cpu", optional: bool = False
) -> SourcedClicks:
    """Clicks of every target of a split, with their origins.

    If the manifest names a file of people's clicks, these are taken; labels and options do not count then.
    With `mix` human_else_masks, targets without one get clicks made from their label.

    Args:
        manifest: a whole split, see `read_manifests`.
        options: the config section `clicks`: min_pixels, min_pixels_at, point, mix.
        seed: of the random points; every image derives its own.
        device: where to find the objects, cpu or cuda; the clicks are the same.
        optional: whether networks do without clicks. Targets without a label then get none, and there may
            be no click at all.

    Raises:
        ValueError: a label or the click file is malformed; or, unless clicks are optional, a target has no
            label, or there is not one click.
    """
    people = import_clicks(manifest) if manifest.click_file else Imported({}, {}, [])
    tell(people.findings)
    masked = not manifest.click_file or options.get("mix") == "human_else_masks"
    listed = _targets(manifest, without=people.points, labelled=optional) if masked else []
    made = _make(manifest, listed, options, seed, device)
    frames = people.points | made
    if not frames and not optional:
        targets = sum(len(clip.targets) for clip in manifest.clips)
        raise InputError(
            f"split {manifest.split!r} of {manifest.root} has {targets} targets, but not one click; "
            "lower clicks.min_pixels, add labels, or check data.clicks"
        )
    tell([] if optional else empty_classes(manifest, frames))
    told = {name: value for name, value in options.items() if name != "mix"} if masked else {}
    made_by = {"click_file": manifest.click_file} if manifest.click_file else {}
    origins = people.origins | {frame: (MASK,) * len(points) for frame, points in made.items()}
    return SourcedClicks(
        manifest.split,
        manifest.classes.names,
        frames,
        made_by | told,
        seed,
        scribbles=people.scribbles,
        origins=origins,
    )


def empty_classes(manifest: Manifest, frames: Points) -> list[Finding]:
    """A warning if some classes of a split have no click."""
    clicked = {int(class_id) for points in frames.values() for class_id in points["class_id"]}
    empty = [name for class_id, name in enumerate(manifest.classes.names) if class_id not in clicked]
    if not empty:
        return []
    which = "it" if len(empty) == 1 else "them"
    found = f"has no click of {', '.join(empty)}; a network cannot learn {which} from clicks"
    todo = "add labels or clicks, or lower clicks.min_pixels"
    return [Finding("warning", f"split {manifest.split!r} of {manifest.root}", found, todo)]


def _targets(
    manifest: Manifest, *, without: Container[tuple[str, str]], labelled: bool
) -> list[tuple[Clip, Frame]]:
    """The targets of a split without those of some frames; only the labelled ones, if that is asked."""
    listed = [(clip, clip.frames[i]) for clip in manifest.clips for i in clip.targets]
    return [
        (clip, frame)
        for clip, frame in listed
        if (clip.id, frame.name) not in without and (frame.label or not labelled)
    ]


def _make(
    manifest: Manifest,
    targets: Sequence[tuple[Clip, Frame]],
    options: ClicksSection,
    seed: int,
    device: str,
) -> Points:
    """Clicks made from the labels of targets."""
    with progress_bar("clicks", len(targets), "frames") as bar, ThreadPoolExecutor(os.cpu_count()) as pool:

        def click(target: tuple[Clip, Frame]) -> np.ndarray:
            points = _click_frame(manifest, *target, options, seed, device)
            bar.advance()
            return points

        made = list(pool.map(click, targets))
    return {(c.id, f.name): points for (c, f), points in zip(targets, made, strict=True) if len(points)}


def _click_frame(
    manifest: Manifest, clip: Clip, frame: Frame, options: ClicksSection, seed: int, device: str
) -> np.ndarray:
    return clicks_from_labels(
        read_label_of(manifest, clip, frame),
        instances=read_instances(manifest, frame),
        instance_classes=manifest.classes.instance_classes,
        min_pixels=scaled_min_pixels(options["min_pixels"], options["min_pixels_at"], clip.size),
        ignore=IGNORE,
        seed=_image_seed(seed, clip, frame),
        point=options["point"],
        device=device,
    )


def _image_seed(seed: int, clip: Clip, frame: Frame) -> int:
    """A seed of its own for every image, the same on every machine."""
    text = canonical_json([seed, clip.id, frame.name])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
