"""Soft labels from networks that weclick trained: one teacher, or the mean of several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weclick.common.sections import LabelPrecision
from weclick.manifest import Clip, Manifest
from weclick.proxy_labels.sources import Labeller
from weclick.store import file_digest

EXACT: LabelPrecision = "float32"
"""The default, which keys do not name."""


@dataclass(frozen=True)
class Teachers:
    """Networks whose mean makes the soft labels. See `Source`.

    Attributes:
        files: SHA-256 -> model.safetensors, by the order of the digests. So files of one content count once,
            and the order in which people name them changes nothing.
        precision: how they compute, `soft_labels.precision`. EXACT takes a network as it was trained, one
            frame at a time; its bits and keys are those of all versions.
        batch_frames: frames that are computed at once, unless the precision is EXACT. Not in the key.
    """

    files: Mapping[str, Path]
    precision: LabelPrecision = EXACT
    batch_frames: int = 8

    @classmethod
    def of(cls, paths: Iterable[Path], precision: LabelPrecision = EXACT, batch_frames: int = 8) -> Teachers:
        """The teachers in files; the other arguments are the attributes.

        Raises:
            MissingFileError: one of them is not there.
        """
        files = dict(sorted((file_digest(path), Path(path)) for path in paths))
        return cls(files, precision, batch_frames)

    def key_inputs(self, clip: Clip) -> Mapping[str, Any]:
        """The digest of one teacher, or those of several; and a precision that is not EXACT."""
        return self.attributes()

    def attributes(self) -> Mapping[str, Any]:
        """The same as the key holds."""
        digests = sorted(self.files)
        made_by = {"teacher_sha256": digests[0]} if len(digests) == 1 else {"teachers_sha256": digests}
        return {**made_by, **({} if self.precision == EXACT else {"precision": self.precision})}

    def load(self, manifest: Manifest, device: str) -> Labeller:
        """Load all networks at once.

        Raises:
            InputError: one has other classes than the manifest, or its file changed meanwhile.
        """
        from weclick.proxy_labels.teachers_mean import TeachersMean, load_networks  # which load torch

        networks = load_networks(self.files, manifest, device)
        if self.precision == EXACT:
            return TeachersMean(manifest, networks, device)
        from weclick.proxy_labels.teachers_fast import FastTeachers

        return FastTeachers(manifest, networks, device, self.precision, self.batch_frames)
