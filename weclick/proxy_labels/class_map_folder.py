"""Proxy labels from a folder: class maps of some frames, which any tool may have made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from weclick.common.errors import MissingFileError
from weclick.manifest import Clip
from weclick.proxy_labels.frame_files import files_of, read_class_map
from weclick.proxy_labels.sources import Digests

SUFFIXES = (".png",)


@dataclass(frozen=True)
class ClassMapFolder:
    """Files `<clip>/<frame>.png` of class ids, 255 where nothing is known. See `ProxySource`.

    Attributes:
        path: of the folder, `proxy_labels.folder.path`.
        classes: of the data set, in the order of its ids.
        digests: paths -> SHA-256 of their content; may remember them.
        shrink: of the manifest.
    """

    path: Path
    classes: tuple[str, ...]
    digests: Digests
    shrink: int = 1

    name = "folder"

    def key_inputs(self, clip: Clip) -> Mapping[str, Any]:
        """The content of the clip's files, by the position of their frame.

        Raises:
            MissingFileError: no frame of the clip has a file.
            InputError: a frame has two files.
        """
        files = self._files(clip)
        found = self.digests([*files.values()])
        return {"folder": {str(t): found[file] for t, file in files.items()}}

    def make(self, clip: Clip) -> list[tuple[int, np.ndarray]]:
        """The class map of every frame that has a file.

        Raises:
            MissingFileError: no frame of the clip has a file.
            InputError: a file holds colours or other values, or is of another size.
        """
        files = self._files(clip)
        found = self.digests([*files.values()])
        return [
            (t, read_class_map(file, found[file], clip, self.classes, self.shrink))
            for t, file in files.items()
        ]

    def _files(self, clip: Clip) -> dict[int, Path]:
        files = files_of(self.path, clip, SUFFIXES)
        if not files:
            raise MissingFileError(
                f"{self.path / clip.id}: holds no class map of a frame of clip {clip.id!r}; expected "
                f"<clip>/<frame>.png for at least one of its {len(clip.frames)} frames, e.g. "
                f"{clip.frames[0].name}.png: add it, take the clip out of the data set, or correct "
                "proxy_labels.folder.path"
            )
        return files
