"""Data sets: adapters that list what is on disk, and the manifest made of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from weclick.common.errors import InputError, MissingFileError
from weclick.common.sections import DataSection, Mix, TagsSection
from weclick.datasets.base import Dataset, build_manifest, listing_digest
from weclick.datasets.camvid import open_camvid
from weclick.datasets.cityscapes import open_cityscapes, open_toy
from weclick.datasets.davis import open_davis
from weclick.datasets.folder import open_folder
from weclick.datasets.tagged import with_tagged_targets
from weclick.datasets.voc import open_voc
from weclick.datasets.youtube_objects import open_youtube_objects
from weclick.datasets.youtube_vis import open_youtube_vis

__all__ = ["Dataset", "build_manifest", "listing_digest", "open_dataset"]

ADAPTERS = {
    "toy": open_toy,
    "camvid": open_camvid,
    "cityscapes": open_cityscapes,
    "folder": open_folder,
    "voc": open_voc,
    "youtube_objects": open_youtube_objects,
    "davis": open_davis,
    "youtube_vis": open_youtube_vis,
}


def open_dataset(data: DataSection, mix: Mix = "human", tags: TagsSection | None = None) -> Dataset:
    """The data set that the config section `data` names; folders are listed, no image is opened.

    Args:
        data: name, root, and the adapter's own keys; `train` names the split whose labelled frames are
            targets (default "train"), those of every other split are scored.
        mix: `clicks.mix`, which counts in a folder that people clicked in.
        tags: the section `tags`, whose source and file say which frames have tags; None: no tag makes a
            target.

    Raises:
        ValueError: unknown adapter, or a key or file of the adapter is wrong.
        FileNotFoundError: the root is missing.
    """
    name, root = data["name"], Path(data["root"])
    if name not in ADAPTERS:
        raise InputError(f"data.name is {name!r}, expected one of {', '.join(ADAPTERS)}")
    if not root.is_dir():
        here = "" if root.is_absolute() else f" in {Path.cwd()}, where relative paths start"
        known = "correct data.root" if name == "folder" else "download the data set, or correct data.root"
        hint = "make it with `weclick toy`" if name == "toy" else known
        raise MissingFileError(f"data.root is {root}, but there is no such folder{here}; {hint}")
    dataset = open_folder(root, data, mix) if name == "folder" else ADAPTERS[name](root, data)
    dataset = replace(dataset, shrink=data.get("shrink", 1))
    return with_tagged_targets(dataset, data, tags) if tags else dataset
