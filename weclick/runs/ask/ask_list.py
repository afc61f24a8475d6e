"""The list of places to ask about: `<data.root>/asks.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from weclick.clicks.asking import AskOptions, Kind
from weclick.common.bounded_json import parse_json, read_bounded
from weclick.common.errors import InputError, MissingFileError
from weclick.common.files import write_text
from weclick.common.schemas import schema_fault
from weclick.common.strict_json import strict_json

ASKS = "asks.json"
SCHEMA_VERSION = 1


class NamedAsk(NamedTuple):
    """A place to ask about, by the names of the data set. y and x are px of the upright, full frame."""

    clip: str
    frame: str
    y: int
    x: int
    kind: Kind
    predicted: str
    margin: float


@dataclass(frozen=True)
class AskList:
    """What one network wants to be asked.

    Attributes:
        net: the first 12 digits of the SHA-256 of the network's file.
        looked_frames: so many frames were looked at.
        options: how places were chosen.
        seed: of the draws.
        asks: in the order in which they are asked.
    """

    net: str
    looked_frames: int
    options: AskOptions
    seed: int
    asks: tuple[NamedAsk, ...]


def write_asks(asked: AskList, path: Path) -> None:
    """Write a list.

    Raises:
        DiskFullError, UnwritableError: as in `write_text`; an old list stays.
    """
    told: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "net": asked.net,
        "looked_frames": asked.looked_frames,
        "options": asdict(asked.options),
        "seed": asked.seed,
        "asks": [ask._asdict() for ask in asked.asks],
    }
    write_text(path, strict_json(told, indent=1) + "\n")


def read_asks(path: Path) -> AskList:
    """Read a list.

    Raises:
        MissingFileError: there is none.
        UnreadableError: the disk does not let it be read now.
        InputError: it is no list of this version.
    """
    try:
        raw = parse_json(read_bounded(path))
    except FileNotFoundError as error:
        raise MissingFileError(
            f"{path}: there is no list of places to ask about; `weclick ask --root {path.parent}` makes it"
        ) from error
    except ValueError as error:
        raise InputError(
            f"{path}: cannot be read as JSON ({error}); run `weclick ask --root {path.parent}` again"
        ) from error
    if fault := schema_fault(raw, "asks"):
        raise InputError(
            f"{path}: is no list of places to ask about ({fault}); run `weclick ask --root {path.parent}` "
            "again"
        )
    return _parsed(raw)


def _parsed(raw: Mapping[str, Any]) -> AskList:
    return AskList(
        net=raw["net"],
        looked_frames=raw["looked_frames"],
        options=AskOptions(**raw["options"]),
        seed=raw["seed"],
        asks=tuple(NamedAsk(**ask) for ask in raw["asks"]),
    )
