"""Soft labels from a folder: class maps or probabilities of every frame, which any tool may have made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from weclick.common.digest import canonical_json
from weclick.common.errors import InputError, MissingFileError
from weclick.common.sections import LabelFolderSection
from weclick.manifest import IGNORE, Clip, Manifest
from weclick.manifest.names import plain
from weclick.proxy_labels.array_files import read_probabilities
from weclick.proxy_labels.frame_files import clip_folder, files_by_frame, read_class_map, told_size
from weclick.proxy_labels.grids import LABEL_STRIDE_PX, cell_shares, fits, to_label_grid
from weclick.proxy_labels.sources import Digests, Labeller

Kind = Literal["class_maps", "probabilities"]

SUFFIXES: dict[Kind, tuple[str, ...]] = {"class_maps": (".png",), "probabilities": (".npy", ".npz")}


@dataclass(frozen=True)
class Folder:
    """Files `<clip>/<frame>.png`, .npy or .npz, one of each frame. See `Source`.

    Attributes:
        options: the section `soft_labels.folder`, with a path.
        classes: of the data set, in the order of its ids.
        digests: paths -> SHA-256 of their content; may remember them.
    """

    options: LabelFolderSection
    classes: tuple[str, ...]
    digests: Digests

    @property
    def path(self) -> Path:
        """Of the folder."""
        return Path(str(self.options["path"]))

    @property
    def kind(self) -> Kind:
        """class_maps: class ids, 255 where nothing is known; probabilities: (K, h, w), zeros there."""
        return self.options["kind"]

    def key_inputs(self, clip: Clip) -> Mapping[str, Any]:
        """Content of the clip's files, and how they are read.

        Raises:
            MissingFileError: a frame has no file.
        """
        files = self.files(clip)
        found = self.digests(files)
        content = hashlib.sha256(canonical_json([found[file] for file in files]).encode()).hexdigest()
        read_as = {"kind": self.kind, "classes": list(self.classes), "stride_px": LABEL_STRIDE_PX}
        return {"predictions": {"sha256": content, **read_as}}

    def attributes(self) -> Mapping[str, Any]:
        """What kind of files they were. Cells may have no label."""
        return {"predictions": self.kind, "partial": True}

    def load(self, manifest: Manifest, device: str) -> Labeller:
        """Files are read one by one, when they are asked for."""
        return _Files(self, manifest)

    def files(self, clip: Clip) -> list[Path]:
        """The file of every frame of a clip.

        Raises:
            MissingFileError: the clip has no folder, or a frame no file.
            InputError: a frame has two files.
        """
        folder = clip_folder(self.path, clip)
        suffixes = SUFFIXES[self.kind]
        wanted = f"<clip>/<frame>{' or '.join(suffixes)}"
        if folder is None:
            raise MissingFileError(
                f"{self.path / clip.id}: there is no such folder, but soft_labels.folder needs a file for "
                f"every frame of clip {clip.id!r}; make {wanted} for {len(clip.frames)} frames, e.g. "
                f"{clip.frames[0].name!r}, or correct soft_labels.folder.path"
            )
        found = files_by_frame(folder, suffixes)
        missing = [frame.name for frame in clip.frames if plain(frame.name) not in found]
        if missing:
            raise MissingFileError(
                f"{folder}: has no file for {len(missing)} of {len(clip.frames)} frames of clip {clip.id!r}, "
                f"e.g. {missing[0]!r}; expected {wanted} for each frame: add them, a map of {IGNORE} where "
                "nothing is known, or take the clip out of the data set"
            )
        return [found[plain(frame.name)] for frame in clip.frames]


class _Files:
    """Reads a folder's files. See `Labeller`."""

    stride_px = LABEL_STRIDE_PX

    def __init__(self, folder: Folder, manifest: Manifest):
        self._folder, self._shrink = folder, manifest.shrink

    def __call__(self, clips: Iterable[Clip]) -> Iterator[tuple[Clip, np.ndarray]]:
        """See `Labeller`."""
        read = self._class_map if self._folder.kind == "class_maps" else self._probabilities
        for clip in clips:
            files = self._folder.files(clip)
            digests = self._folder.digests(files)
            for file in files:
                yield clip, read(file, digests[file], clip)

    def _class_map(self, path: Path, sha256: str, clip: Clip) -> np.ndarray:
        ids = read_class_map(path, sha256, clip, self._folder.classes, self._shrink)
        return cell_shares(ids, len(self._folder.classes))

    def _probabilities(self, path: Path, sha256: str, clip: Clip) -> np.ndarray:
        found = read_probabilities(path, sha256, len(self._folder.classes))
        if not fits(found.shape[1:], clip.size):
            raise InputError(
                f"{path}: is of {told_size(found.shape[1:])} cells, which do not cover a frame of "
                f"{told_size(clip.size)} px (HxW); give the cells of the whole frame, rows before columns"
            )
        return to_label_grid(torch.from_numpy(found)[None], clip.size)[0].numpy()
