"""The click table: all clicks of a split in one HDF5 file, or in JSON for other tools.

HDF5 layout: dataset `clicks` (N,) of (clip, frame: UTF-8, y, x: int32 px, class_id: uint8, area: int32 px),
sorted by (clip, frame, class_id, y, x); its attributes are schema_version, split, classes (JSON list of
names), ignore, units (JSON), options (JSON), seed, and sha256 (hex) over rows and attributes.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from weclick.clicks.hdf5 import read_rows
from weclick.common.bounded_json import parse_json
from weclick.common.digest import canonical_json
from weclick.common.errors import InputError, MissingFileError
from weclick.common.files import write_bytes, write_text
from weclick.manifest.click_table import POINT, ClickTable

SCHEMA_VERSION = 1
UNITS = {"y": "px", "x": "px", "area": "px"}
_COLUMNS = ("clip", "frame", *(POINT.names or ()))


def clicks_digest(table: ClickTable) -> str:
    """SHA-256 (hex) over classes and every frame's points; how they were made does not count."""
    digest = hashlib.sha256(canonical_json([table.classes, table.ignore]).encode())
    for (clip, frame), points in sorted(table.frames.items()):
        digest.update(canonical_json([clip, frame, len(points)]).encode())
        digest.update(np.ascontiguousarray(points, POINT).tobytes())
    return digest.hexdigest()


def write_clicks(table: ClickTable, path: Path) -> None:
    """Write a table as HDF5, at once and whole; equal tables give equal files."""
    content, rows = io.BytesIO(), _rows(table)
    with h5py.File(content, "w") as file:
        dataset = file.create_dataset(
            "clicks", data=rows, track_times=False, compression="gzip", shuffle=True, maxshape=(None,)
        )
        attributes = _attributes(table)
        dataset.attrs.update(attributes | {"sha256": _digest(rows, attributes)})
    write_bytes(path, content.getvalue())


def read_clicks(path: Path) -> ClickTable:
    """Read a table from HDF5.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no click table of a known version.
    """
    if not Path(path).is_file():
        raise MissingFileError(f"{path}: there is no such click table; make it with `weclick clicks`")
    try:
        rows, attributes = read_rows(Path(path), "clicks")
        version, digest = attributes.get("schema_version"), attributes.pop("sha256", None)
        known = version == SCHEMA_VERSION and rows.dtype.names == _COLUMNS
        table = _table(rows, attributes) if known and digest == _digest(rows, attributes) else None
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
            f"{SCHEMA_VERSION} with {_COLUMNS}; make it again with `weclick clicks`"
        )
    if table is None:
        raise InputError(
            f"{path}: is not what was written, its digest differs or is missing; delete it and make it again "
            "with `weclick clicks`"
        )
    return table


def _table(rows: np.ndarray, attributes: Mapping[str, Any]) -> ClickTable:
    classes, options = (parse_json(attributes[name].encode()) for name in ("classes", "options"))
    if not isinstance(options, dict) or not all(
        isinstance(name, str) for name in [attributes["split"], *classes]
    ):
        raise TypeError("its split, classes or options are not what `weclick clicks` writes")
    if len(rows) and (
        int(rows["class_id"].max()) >= len(classes) or min(rows["y"].min(), rows["x"].min()) < 0
    ):
        raise ValueError(f"a click has no class of its {len(classes)}, or lies left of or above the image")
    return ClickTable(
        split=attributes["split"],
        classes=tuple(classes),
        frames=_by_frame(rows),
        options=options,
        seed=int(attributes["seed"]),
        ignore=int(attributes["ignore"]),
    )


def write_json(table: ClickTable, path: Path) -> None:
    """Write a table as JSON (data_schema/clicks.schema.json), one frame a line."""
    head = _attributes(table) | {
        "classes": list(table.classes),
        "units": UNITS,
        "options": dict(table.options),
    }
    frames = [
        json.dumps(
            {"clip": clip, "frame": frame, "clicks": [_spell(click, table.classes) for click in points]}
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


def _digest(rows: np.ndarray, attributes: Mapping[str, Any]) -> str:
    """SHA-256 (hex) over the content of the file."""
    told = {name: str(value) for name, value in attributes.items()}
    digest = hashlib.sha256(canonical_json([str(rows.dtype.names), told]).encode())
    digest.update(np.ascontiguousarray(rows).tobytes())
    return digest.hexdigest()


def _rows(table: ClickTable) -> np.ndarray:
    """The table as rows of the HDF5 dataset. Strings have a fixed length, since only those are compressed."""
    named = [(c.encode(), f.encode(), points) for (c, f), points in sorted(table.frames.items())]
    lengths = [max((len(row[i]) for row in named), default=1) for i in (0, 1)]
    text = [h5py.string_dtype("utf-8", length) for length in lengths]
    rows = np.empty(len(table), [("clip", text[0]), ("frame", text[1]), *POINT.descr])
    start = 0
    for clip, frame, points in named:
        part = rows[start : start + len(points)]
        part["clip"], part["frame"] = clip, frame
        for name in POINT.names or ():
            part[name] = points[name]
        start += len(points)
    return rows


def _by_frame(rows: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """Rows cut where the frame changes."""
    names = rows[["clip", "frame"]]
    points = np.empty(len(rows), POINT)
    for name in POINT.names or ():
        points[name] = rows[name]
    cuts = np.flatnonzero(np.append(len(names) > 0, names[1:] != names[:-1])).tolist()
    ends = [*cuts, len(names)][1:]
    spelled = [(clip.decode(), frame.decode()) for clip, frame in names[cuts].tolist()]
    return {name: points[start:end] for name, start, end in zip(spelled, cuts, ends, strict=True)}


def _spell(click: np.void, classes: tuple[str, ...]) -> dict[str, Any]:
    y, x, class_id, area = click.tolist()
    return {"y": y, "x": x, "class_id": class_id, "class": classes[class_id], "area": area}
