"""The click table: all clicks of a split in one HDF5 file, or in JSON for other tools.

HDF5 layout: dataset `clicks` (N,) of (clip, frame: UTF-8, y, x: int32 px, class_id: uint8, area: int32 px,
source, who, tool: UTF-8, scribble: int32), sorted by (clip, frame, class_id, y, x); its attributes are
schema_version, split, classes (JSON list of names), ignore, units (JSON), options (JSON), seed, and sha256
(hex) over rows and attributes. A scribble has a row for each pixel, with its number; that of a click is 0.
Version 1 lacks the last four columns; it is still read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from weclick.clicks.hdf5 import read_rows, rows_digest, text_type, write_rows
from weclick.clicks.sourced import SourcedClicks
from weclick.common.bounded_json import parse_json
from weclick.common.digest import canonical_json
from weclick.common.errors import InputError, MissingFileError
from weclick.common.files import write_text
from weclick.manifest.click_table import POINT, ClickTable
from weclick.manifest.people import SOURCES, Origin

SCHEMA_VERSION = 2
UNITS = {"y": "px", "x": "px", "area": "px"}
_NAMES = POINT.names or ()
_COLUMNS = {
    1: ("clip", "frame", *_NAMES),
    2: ("clip", "frame", *_NAMES, *(part.name for part in fields(Origin)), "scribble"),
}
"""Version -> columns."""

Place = tuple[str, str]
"""Clip id and frame name."""

Points = dict[Place, np.ndarray]


def clicks_digest(table: ClickTable) -> str:
    """SHA-256 (hex) over classes and every frame's points; how and by whom they were made does not count."""
    digest = hashlib.sha256(canonical_json([table.classes, table.ignore]).encode())
    for (clip, frame), points in sorted(table.frames.items()):
        digest.update(canonical_json([clip, frame, len(points)]).encode())
        digest.update(np.ascontiguousarray(points, POINT).tobytes())
        if (clip, frame) in table.scribbles:
            digest.update(np.ascontiguousarray(table.scribbles[clip, frame], "<i4").tobytes())
    return digest.hexdigest()


def write_clicks(table: ClickTable, path: Path) -> None:
    """Write a table as HDF5, at once and whole; equal tables give equal files."""
    write_rows(path, "clicks", _rows(SourcedClicks.of_table(table)), _attributes(table))


def read_clicks(path: Path) -> SourcedClicks:
    """Read a table of any version from HDF5.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no click table of a known version.
    """
    if not Path(path).is_file():
        raise MissingFileError(f"{path}: there is no such click table; make it with `weclick clicks`")
    try:
        rows, attributes = read_rows(Path(path), "clicks")
        version, digest = attributes.get("schema_version"), attributes.pop("sha256", None)
        known = rows.dtype.names == _COLUMNS.get(int(version or 0))
        table = _table(rows, attributes) if known and digest == rows_digest(rows, attributes) else None
    except MemoryError:  # says nothing about the file
        raise
    except Exception as error:  # a damaged file fails anywhere in HDF5
        raise InputError(
            f"{path}: is no click table ({type(error).__name__}: {error}); delete it and make it again with "
            "`weclick clicks`"
        ) from error
    if not known:
        raise InputError(
            f"{path}: click table of version {version} with columns {rows.dtype.names}, expected version "
            f"{SCHEMA_VERSION} with {_COLUMNS[SCHEMA_VERSION]}; make it again with `weclick clicks`"
        )
    if table is None:
        raise InputError(
            f"{path}: is not what was written, its digest differs or is missing; delete it and make it again "
            "with `weclick clicks`"
        )
    return table


def _table(rows: np.ndarray, attributes: Mapping[str, Any]) -> SourcedClicks:
    classes, options = (parse_json(attributes[name].encode()) for name in ("classes", "options"))
    if not isinstance(options, dict) or not all(
        isinstance(name, str) for name in [attributes["split"], *classes]
    ):
        raise TypeError("its split, classes or options are not what `weclick clicks` writes")
    if len(rows) and (
        int(rows["class_id"].max()) >= len(classes) or min(rows["y"].min(), rows["x"].min()) < 0
    ):
        raise ValueError(f"a click has no class of its {len(classes)}, or lies left of or above the image")
    frames, origins, scribbles = _by_frame(rows)
    return SourcedClicks(
        split=attributes["split"],
        classes=tuple(classes),
        frames=frames,
        options=options,
        seed=int(attributes["seed"]),
        ignore=int(attributes["ignore"]),
        scribbles=scribbles,
        origins=origins,
    )


def write_json(table: ClickTable, path: Path) -> None:
    """Write a table as JSON (data_schema/clicks.schema.json), one frame a line."""
    head = _attributes(table) | {
        "classes": list(table.classes),
        "units": UNITS,
        "options": dict(table.options),
    }
    told = SourcedClicks.of_table(table)
    frames = [
        json.dumps(
            {
                "clip": clip,
                "frame": frame,
                "clicks": [
                    _spell(click, table.classes) | asdict(origin) | {"scribble": int(scribble)}
                    for click, origin, scribble in zip(
                        points,
                        told.origins_of(clip, frame),
                        table.scribbles.get((clip, frame), np.zeros(len(points), int)),
                        strict=True,
                    )
                ],
            }
        )
        for (clip, frame), points in sorted(table.frames.items())
    ]
    text = json.dumps(head, indent=1)[:-2] + ',\n "frames": [\n' + ",\n".join(frames) + "\n ]\n}\n"
    write_text(Path(path), text)


def _attributes(table: ClickTable) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "split": table.split,
        "classes": canonical_json(table.classes),
        "ignore": table.ignore,
        "units": canonical_json(UNITS),
        "options": canonical_json(table.options),
        "seed": table.seed,
    }


def _rows(table: SourcedClicks) -> np.ndarray:
    """The table as rows of the HDF5 dataset."""
    named = [(name, points, table.origins_of(*name)) for name, points in sorted(table.frames.items())]
    texts: dict[str, list[bytes]] = {
        "clip": [clip.encode() for (clip, _), points, _ in named for _ in points],
        "frame": [frame.encode() for (_, frame), points, _ in named for _ in points],
    }
    told = [origin for _, _, origins in named for origin in origins]
    texts |= {part.name: [getattr(origin, part.name).encode() for origin in told] for part in fields(Origin)}
    types = {name: POINT[name] for name in _NAMES} | {"scribble": np.dtype("<i4")}
    types |= {name: text_type(of) for name, of in texts.items()}
    together = np.concatenate([np.empty(0, POINT), *(points for _, points, _ in named)])
    rows = np.empty(len(together), [(name, types[name]) for name in _COLUMNS[SCHEMA_VERSION]])
    for name, column in texts.items():
        rows[name] = column
    for name in _NAMES:
        rows[name] = together[name]
    numbers = [table.scribbles.get(name, np.zeros(len(points), int)) for name, points, _ in named]
    rows["scribble"] = np.concatenate([np.empty(0, int), *numbers])
    return rows


def _by_frame(rows: np.ndarray) -> tuple[Points, dict[Place, tuple[Origin, ...]], Points]:
    """Rows cut where the frame changes: points, and of version 2 their origins and scribbles."""
    names = rows[["clip", "frame"]]
    points = np.empty(len(rows), POINT)
    for name in _NAMES:
        points[name] = rows[name]
    cuts = np.flatnonzero(np.append(len(names) > 0, names[1:] != names[:-1])).tolist()
    ends = [*cuts, len(names)][1:]
    spelled = [(clip.decode(), frame.decode()) for clip, frame in names[cuts].tolist()]
    parts = [(name, slice(start, end)) for name, start, end in zip(spelled, cuts, ends, strict=True)]
    frames = {name: points[part] for name, part in parts}
    if rows.dtype.names == _COLUMNS[1]:
        return frames, {}, {}
    columns = [rows[part.name].tolist() for part in fields(Origin)]
    made = [_origin(*texts) for texts in zip(*columns, strict=True)]
    numbers = rows["scribble"].astype(np.int32)
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() <= len(numbers):
        raise ValueError("a scribble has a number below 0, or above that of the rows")
    scribbles = {name: numbers[part] for name, part in parts if numbers[part].any()}
    return frames, {name: tuple(made[part]) for name, part in parts}, scribbles


@lru_cache(maxsize=1024)
def _origin(*texts: bytes) -> Origin:
    origin = Origin(*(text.decode() for text in texts))
    if origin.source not in SOURCES:
        raise ValueError(f"a click comes from {origin.source!r}, expected one of {', '.join(SOURCES)}")
    return origin


def _spell(click: np.void, classes: tuple[str, ...]) -> dict[str, Any]:
    y, x, class_id, area = click.tolist()
    return {"y": y, "x": x, "class_id": class_id, "class": classes[class_id], "area": area}
