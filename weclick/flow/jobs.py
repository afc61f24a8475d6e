"""The work of the `flow` stage on one clip: its pairs, the key of its entry, and the entry's attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from weclick.common.sections import FlowSection
from weclick.flow.estimators import FlowEstimator
from weclick.manifest import Clip
from weclick.manifest.needs import Pairs
from weclick.store import Entry, entry_key
from weclick.store.codecs import FLOW_LIMIT_PX, FLOW_SCALE
from weclick.store.flow_entries import CODEC, MASKS
from weclick.store.older import Held

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Job:
    """A clip, its pairs, the inputs of its entry's key, and the pairs that older entries hold.

    `held` has positions in `pairs`.
    """

    clip: Clip
    pairs: Pairs
    inputs: Mapping[str, Any]
    held: Mapping[int, Held] = field(default_factory=dict)

    @property
    def fresh(self) -> list[int]:
        """Positions in `pairs` of those that are still to be estimated."""
        return [i for i in range(len(self.pairs)) if i not in self.held]

    @property
    def key(self) -> str:
        """The key of the clip's entry."""
        return entry_key("flow", self.inputs)


def key_inputs(
    clip: Clip, pairs: Pairs, estimator: Mapping[str, Any], options: FlowSection
) -> dict[str, Any]:
    """The inputs of the key of a clip's entry.

    Args:
        clip: with the digests of its frames.
        pairs: (target, neighbour) positions in its frames.
        estimator: an estimator's `digest`.
        options: the section `flow` of the configuration.
    """
    return {
        "format": FORMAT_VERSION,
        "pairs": [[clip.frames[position].digest for position in pair] for pair in pairs],
        "estimator": estimator,
        "stride_px": options["stride_px"],
        "masks": {name: MASKS[name] for name in sorted(options["masks"])},
        "codec": CODEC,
    }


def check_clipped(job: Job, entry: Entry, on_overflow: str) -> None:
    """Refuse an entry with clipped values if the configuration wants an error.

    Raises:
        ValueError: it has clipped values, and `on_overflow` is "error".
    """
    if entry.attributes["clipped"] and on_overflow == "error":
        raise ValueError(
            f"clip {job.clip.id}: its cached flow {entry.path} holds {entry.attributes['clipped']} values "
            f"clipped to ±{FLOW_LIMIT_PX} px, made under flow.on_overflow: clip; set that too, or use "
            "another estimator"
        )


def entry_attributes(
    job: Job, estimator: FlowEstimator, options: FlowSection, clipped: int
) -> dict[str, Any]:
    """An entry's attributes (data_schema/flow.schema.json); `clipped` is how many values did not fit."""
    return {
        "pairs": [[job.clip.frames[position].name for position in pair] for pair in job.pairs],
        "pair_positions": [list(pair) for pair in job.pairs],
        "direction": "on the target's grid, pointing to the neighbour",
        "axes": {"flow": "PDHW", "valid": "PHW"} if options["masks"] else {"flow": "PDHW"},
        "components": ["dx", "dy"],
        "units": "px of the stride grid",
        "scale_px": 1 / FLOW_SCALE,
        "clipped": clipped,
        "stride_px": options["stride_px"],
        "grid": "cell i is centred at (i + 0.5) * stride_px - 0.5 px of the image",
        "image_size": list(job.clip.size),
        "masks": {name: MASKS[name] for name in sorted(options["masks"])},
        "estimator": dict(estimator.digest),
        "licence": estimator.licence,
    }
