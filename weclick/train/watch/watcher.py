"""What a watcher is, and what it is told of a training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import weclick

_NAMES = {"time_shares": "time", "per_class_iou": "iou", "per_class_ap": "ap"}
"""Names in metrics.jsonl -> shorter ones for people."""


class Watcher(Protocol):
    """Shows the numbers of one training. Any method may raise whatever its library raises.

    Attributes:
        run: by which its service knows this training, to go on with it later; empty if it needs none.
        place: where people look at it.
        holds_back: whether a killed process takes the numbers of its last step with it.
    """

    run: str
    place: str
    holds_back: bool

    def send(self, step: int, numbers: Mapping[str, float]) -> None:
        """Show numbers of a step. Steps come in order; one of them may come twice, with other names."""

    def close(self, *, finished: bool) -> None:
        """Bring everything to its place; `finished` says whether the training came to its end."""


@dataclass(frozen=True)
class Watched:
    """A training, as watchers are told of it.

    Attributes:
        role: of the network.
        key: of the network in the store.
        seed: of the training.
        folder: of its files.
        config: the sections that make the network what it is.
    """

    role: str
    key: str
    seed: int
    folder: Path
    config: Mapping[str, Any]

    @property
    def name(self) -> str:
        """A name for people, such as `student 0f3a5b7c`."""
        return f"{self.role} {self.key[:8]}"

    def facts(self) -> dict[str, Any]:
        """The complete configuration, and what tells this training from others."""
        told = {"role": self.role, "key": self.key, "seed": self.seed, "folder": str(self.folder)}
        return {**told, "weclick": weclick.__version__, **self.config}


def kind_of(line: Mapping[str, Any]) -> str:
    """What a line of metrics.jsonl tells: train or validation."""
    return "validation" if "validation" in line else "train"


def numbers(line: Mapping[str, Any]) -> dict[str, float]:
    """All numbers of a line of metrics.jsonl but its step, as train/loss or validation/iou/road.

    What is not known is left out: None, NaN.
    """
    kind = kind_of(line)
    told = {"seconds": line.get("seconds"), **line["validation"]} if kind == "validation" else line
    return {f"{kind}/{name}": value for name, value in _leaves(told) if name != "step"}


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in values.items():
        name = f"{prefix}{_NAMES.get(key, key)}"
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and value == value:
            yield name, value
