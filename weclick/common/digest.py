"""Digests of content: of a value by its canonical JSON, of a file by its bytes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from weclick.common.disk import blocks_of
from weclick.common.errors import MissingFileError


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text.

    Raises:
        ValueError: a float is NaN or infinite; JSON has no word for these.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's content, read in blocks.

    Raises:
        MissingFileError: there is no such file.
        NotPlainFileError: a folder, pipe or device lies there.
        UnreadableError: the disk or share does not let it be read now.
    """
    digest = hashlib.sha256()
    try:
        for block in blocks_of(path, links=True):
            digest.update(block)
        return digest.hexdigest()
    except FileNotFoundError as error:
        raise MissingFileError(
            f"{path}: there is no such file; correct the path where it is named, or make the file first"
        ) from error
