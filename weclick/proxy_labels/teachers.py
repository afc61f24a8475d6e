"""Soft labels from networks that weclick trained: one teacher, or the mean of several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weclick.manifest import Clip, Manifest
from weclick.proxy_labels.sources import Labeller
from weclick.store import file_digest


@dataclass(frozen=True)
class Teachers:
    """Networks whose mean makes the soft labels. See `Source`.

    Attributes:
        files: SHA-256 -> model.safetensors, by the order of the digests. So files of one content count once,
            and the order in which people name them changes nothing.
    """

    files: Mapping[str, Path]

    @classmethod
    def of(cls, paths: Iterable[Path]) -> Teachers:
        """The teachers in files.

        Raises:
            MissingFileError: one of them is not there.
        """
        return cls(dict(sorted((file_digest(path), Path(path)) for path in paths)))

    def key_inputs(self, clip: Clip) -> Mapping[str, Any]:
        """The digest of one teacher, or those of several."""
        return self.attributes()

    def attributes(self) -> Mapping[str, Any]:
        """The same as the key holds."""
        digests = sorted(self.files)
        return {"teacher_sha256": digests[0]} if len(digests) == 1 else {"teachers_sha256": digests}

    def load(self, manifest: Manifest, device: str) -> Labeller:
        """Load all networks at once.

        Raises:
            InputError: one has other classes than the manifest, or its file changed meanwhile.
        """
        from weclick.proxy_labels.teachers_mean import load_teachers  # which loads torch

        return load_teachers(self.files, manifest, device)
