"""Whether frames fill the crops of the trainings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from weclick.common.findings import Finding
from weclick.common.sections import Config
from weclick.common.spread import spread_to_ends
from weclick.common.stages import takes
from weclick.datasets import Dataset
from weclick.manifest import Clip
from weclick.runs.doctor.sized import sized_manifest
from weclick.runs.teachers import trains_teacher

LEAST_FILLED = 0.5
"""Part of a crop below which most of a training's work goes into padding."""
AT_MOST = 64
"""Clips that are measured."""


def check_crops(config: Config, dataset: Dataset, train: Sequence[Clip]) -> list[Finding]:
    """Look for frames so small that crops are mostly padding."""
    some = spread_to_ends([clip for clip in train if clip.targets], AT_MOST)
    try:
        clips = sized_manifest(dataset, config["data"]["train"], some).clips
    except (ValueError, OSError):
        return []  # the check of frames tells of it
    networks: dict[str, Mapping[str, Any]] = {}
    if takes(config, "teacher") and trains_teacher(config):
        networks["teacher"] = config["teacher"]
    if takes(config, "student"):
        networks["student"] = config["student"]
    shrink = config["data"]["shrink"]
    return [finding for role in networks for finding in _padded(role, networks[role], clips, shrink)]


def _padded(role: str, section: Mapping[str, Any], clips: Sequence[Clip], shrink: int) -> list[Finding]:
    crop, scale = section["crop"], math.sqrt(section["scale"][0] * section["scale"][1])
    filled = {clip: _filled(crop, clip.size, scale) for clip in clips}
    small = [clip for clip, part in filled.items() if part < LEAST_FILLED]
    if not small:
        return []
    worst = min(small, key=filled.__getitem__)
    by = f", after data.shrink {shrink}" if shrink > 1 else ""
    found = (
        f"crops of {crop[0]}x{crop[1]} px (HxW) are mostly padding: at the middle scale {scale:.2g}, clip "
        f"{worst.id} ({worst.size[0]}x{worst.size[1]} px{by}) fills {100 * filled[worst]:.0f} % of one; "
        f"this is so for {len(small)} of {len(clips)} clips with targets"
    )
    todo = f"lower {role}.crop" + (" or data.shrink" if shrink > 1 else "")
    return [Finding("warning", f"{role}.crop", found, todo)]


def _filled(crop: Sequence[int], size: Sequence[int], scale: float) -> float:
    """The part of a crop's area that a frame covers."""
    return math.prod(min(1.0, whole * scale / side) for side, whole in zip(crop, size, strict=True))
