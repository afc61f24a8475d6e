"""Clicks made from masks as if people had made them, some of them wrong on purpose."""

from dataclasses import replace

import numpy as np

from weclick.clicks import ClickTable
from weclick.clicks.checks import Click
from weclick.clicks.placed import PlacedClick
from weclick.manifest import Manifest
from weclick.manifest.people import Origin


def as_people(manifest: Manifest, table: ClickTable) -> list[PlacedClick]:
    """Every click of a table. The frames' size is that of the manifest."""
    placed = []
    for clip in manifest.clips:
        for position in clip.targets:
            name = clip.frames[position].name
            for y, x, class_id, _ in table.of(clip.id, name).tolist():
                click = Click(clip.id, name, y, x, table.classes[class_id])
                told = (class_id, Origin(), "", False, False)
                placed.append(PlacedClick(click, manifest, clip, position, clip.size, *told))
    return placed


def with_wrong(
    clicks: list[PlacedClick], share: float, seed: int, *, likely: bool
) -> tuple[list[PlacedClick], set[Click]]:
    """The clicks, a share of them with a wrong class; and those.

    likely: the class is that of the nearest click of another class on the frame, as if someone had chosen the
    wrong key or missed the object. Else it is any other one that occurs.
    """
    rng = np.random.default_rng(seed)
    names = clicks[0].manifest.classes.names
    occur = sorted({each.class_id for each in clicks})
    planted, wrong = list(clicks), set()
    for i in rng.choice(len(clicks), round(share * len(clicks)), replace=False):
        own = clicks[i]
        others = [c for c in clicks if c.click[:2] == own.click[:2] and c.class_id != own.class_id]
        near = min(others, key=lambda other: np.hypot(*np.subtract(other.share, own.share)), default=None)
        chosen = near.class_id if likely and near else rng.choice([k for k in occur if k != own.class_id])
        click = own.click._replace(class_name=names[chosen])
        planted[i] = replace(own, click=click, class_id=int(chosen))
        wrong.add(click)
    return planted, wrong
