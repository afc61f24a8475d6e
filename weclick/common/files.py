"""Small files: written whole or not at all, and read with errors that say what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from weclick.common.errors import InputError, MissingFileError, room_to_write
from weclick.common.schemas import schema_fault


def is_inside(name: str) -> bool:
    """Whether a relative name cannot leave its folder: it is not absolute, and no part of it is `..`."""
    return bool(name) and name[0] != "/" and "\0" not in name and ".." not in name.split("/")


def file_inside(folder: Path, name: str) -> Path:
    """Where a file of that name is to be written below a folder.

    Raises:
        InputError: it would lie elsewhere: by an absolute name, by `..`, or by a symbolic link.
    """
    path = folder / name
    if not is_inside(name) or not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"{path}: leads out of {folder}, so it is not written; clips and frames need names that are "
            "relative and without '..', and the folder no symbolic link to elsewhere"
        )
    return path


def write_text(path: Path, text: str) -> None:
    """Write a small file so that readers see the old text or the new one, never half of it.

    Raises:
        DiskFullError: there is no room; the old file stays.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """As `write_text`, for any content that fits into memory."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    with room_to_write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def read_json(path: Path, stage: str, known: str = "") -> dict[str, Any]:
    """The JSON object that a stage wrote.

    Args:
        path: of the file.
        stage: named in errors.
        known: what it is in data_schema/results.schema.json, by which it is checked; empty checks nothing.

    Raises:
        MissingFileError: there is no such file.
        InputError: it holds something else.
    """
    with _reading(path, stage):
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
    if not isinstance(raw, dict):
        raise _not_as_written(path, stage, f"holds a {type(raw).__name__}, expected an object")
    if known and (fault := schema_fault({known: raw}, "results")):
        raise _not_as_written(path, stage, f"is not what that stage writes ({fault})")
    return raw


def read_lines(path: Path, stage: str, known: str) -> list[dict[str, Any]]:
    """The JSON objects that a stage wrote line by line; an unfinished last line is left out.

    Args, Raises:
        As in `read_json`.
    """
    with _reading(path, stage):
        text = Path(path).read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    if fault := schema_fault({known: lines}, "results"):
        raise _not_as_written(path, stage, f"is not what that stage writes ({fault})")
    return lines


@contextmanager
def _reading(path: Path, stage: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: there is no such file; the {stage} stage makes it") from error
    except (OSError, ValueError, RecursionError) as error:
        raise _not_as_written(path, stage, f"cannot be read as JSON ({error})") from error


def _not_as_written(path: Path, stage: str, what: str) -> InputError:
    return InputError(f"{path}: {what}; delete it and run the {stage} stage again")
