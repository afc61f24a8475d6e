"""Entries that files name: indexes, models and manifests, or folders of results that hold them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from weclick.common.errors import InputError
from weclick.common.sections import Config


def wanted_of(
    listed: Iterable[Path], complete: Config, *, planned: bool = False
) -> Iterator[tuple[str, str]]:
    """Kind and key of the entries that files name; a folder stands for all indexes and models in it.

    Args:
        listed: files, and folders of results.
        complete: the configuration.
        planned: folders stand also for the manifests in them, and so for what is still to be computed.

    Raises:
        InputError: one of them cannot be read.
    """
    for path in listed:
        for file in files_of(path, planned=planned) if path.is_dir() else [path]:
            yield from _named(file, complete, planned=planned)


def files_of(folder: Path, *, planned: bool = False) -> list[Path]:
    """Indexes, models, and if `planned` manifests in a folder of results, at any depth.

    Raises:
        InputError: a folder in it cannot be read.
    """
    from weclick.store.meta import KINDS

    def refuse(error: OSError) -> None:
        raise InputError(
            f"{error.filename}: cannot be read ({error.strerror}), so what it names is not known; correct "
            "its rights, or list the folders of results one by one"
        ) from error

    stages = (*KINDS, "manifest") if planned else KINDS
    found = []
    for here, _, names in os.walk(folder, onerror=refuse, followlinks=True):
        paths = (Path(here) / name for name in names)
        found += [
            path
            for path in paths
            if path.name == "model.json" or (path.suffix == ".json" and path.parts[-3:][0] in stages)
        ]
    return sorted(found)


def _named(file: Path, complete: Config, *, planned: bool) -> Iterator[tuple[str, str]]:
    from weclick.common.files import read_json
    from weclick.store import read_index

    raw = read_json(file, "one that writes indexes")
    if raw.get("kind") == "frames" and not complete["frames"]["pack"] and not planned:
        return  # its keys name frames that stay in their files
    if "entries" in raw:
        yield from ((str(raw.get("kind")), key) for key in read_index([file], raw.get("kind", "")).values())
    elif "key" in raw and raw.get("kind") == "models":
        yield "models", raw["key"]
    elif "clips" in raw:
        yield from _needed(file, complete)
    else:
        raise InputError(
            f"{file}: names no entries; give an index, a manifest, a model.json, or a folder of results"
        )


def _needed(manifest: Path, complete: Config) -> Iterator[tuple[str, str]]:
    """Kind and key of the frames and flows that a run needs of a manifest under the configuration."""
    from weclick.datasets.frames import frames_key
    from weclick.flow.stage import flow_keys
    from weclick.manifest import read_manifest
    from weclick.manifest.window import Window, stored_pairs

    read, options = read_manifest(manifest), complete["frames"]
    if options["pack"]:
        for clip in read.clips:
            yield "frames", frames_key(clip, options["chunk_px"], options["codec"])
    pairs_of = stored_pairs(Window(**complete["window"]), complete["evaluate"]["max_gap_frames"])
    yield from (("flow", key) for key in flow_keys(read, pairs_of, complete["flow"]).values())
