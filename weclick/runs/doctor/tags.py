"""Checks the files that people's tags come from."""

from __future__ import annotations

from collections.abc import Sequence

from weclick.clicks.tags import make_tags
from weclick.common.findings import Finding
from weclick.common.sections import Config
from weclick.common.stages import takes
from weclick.common.words import plural
from weclick.datasets import Dataset
from weclick.manifest import Clip
from weclick.runs.doctor.sized import sized_manifest


def check_tags(config: Config, dataset: Dataset, clips: Sequence[Clip]) -> list[Finding]:
    """Read tags as the stage does. Empty if the run takes none, or makes them from labels.

    Args:
        config: complete.
        dataset: that the clips are of.
        clips: of the training split.
    """
    if not takes(config, "tags") or config["tags"]["source"] == "labels":
        return []
    try:
        table = make_tags(sized_manifest(dataset, config["data"]["train"], clips), config["tags"])
    except (ValueError, OSError) as error:
        return [Finding("error", "tags", str(error), "correct what the line names")]
    whole = sum(not frame for _, frame in table.rows)
    found = f"{plural(len(table.rows) - whole, 'frame')} and {plural(whole, 'whole clip')} have tags"
    ids = {class_id for row in table.rows.values() for class_id in row}
    never = [name for i, name in enumerate(table.classes) if i and i not in ids]
    if not never:
        return [Finding("ok", "tags", found)]
    todo = "a network cannot learn them: tag them where they occur, or drop these classes"
    return [Finding("warning", "tags", f"{found}, but none is of {', '.join(never)}", todo)]
