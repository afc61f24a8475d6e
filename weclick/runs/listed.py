"""The store entries that files name: indexes, models and manifests, or results folders that hold them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from weclick.common.errors import InputError
from weclick.common.sections import Config
from weclick.common.stages import CARD, INDEXED, MODELS, taken_by
from weclick.common.walk import walk_once
from weclick.runs.layout import is_index, stage_of

MADE_OF_FILES = ("soft_labels", "proxy_labels", "confident_labels", "instances")
"""Kinds whose keys hold digests of other stages' files, which a manifest does not tell."""


def wanted_of(listed: Iterable[Path], config: Config, *, planned: bool = False) -> Iterator[tuple[str, str]]:
    """Kind and key of the entries that files name. A folder stands for all indexes and models in it.

    Args:
        listed: files, and folders of results.
        config: complete.
        planned: a folder also stands for its manifests, and so for entries that are still to be computed.

    Raises:
        InputError: one of them cannot be read.
    """
    for path in listed:
        for file in files_of(path, planned=planned) if path.is_dir() else [path]:
            yield from _named(file, config, planned=planned)


def files_of(folder: Path, *, planned: bool = False) -> list[Path]:
    """Indexes, models, and if `planned` manifests in a folder of results, at any depth.

    Raises:
        InputError: a folder in it cannot be read, or lies where a file that names entries should.
    """

    def refuse(error: OSError) -> None:
        raise InputError(
            f"{error.filename}: cannot be read ({error.strerror}), so its entries are not known; correct "
            "its rights, or list the folders of results one by one"
        ) from error

    found = []
    for here, names in walk_once(folder, refuse):
        if here != folder and _names_entries(here, planned=planned):
            raise InputError(
                f"{here}: is a folder, but a file of that name tells what the run needs; restore it, "
                "or make it again with `weclick run`"
            )
        paths = (here / name for name in names)
        found += [path for path in paths if _names_entries(path, planned=planned)]
    return sorted(found)


def _names_entries(path: Path, *, planned: bool) -> bool:
    return path.name == CARD or is_index(path) or (planned and stage_of(path) == "manifest")


def _named(file: Path, config: Config, *, planned: bool) -> Iterator[tuple[str, str]]:
    from weclick.common.files import read_json
    from weclick.manifest import read_manifest
    from weclick.runs.lock import read_lock
    from weclick.runs.pins import named_by
    from weclick.runs.wanted import Wanted
    from weclick.store import keys_in, read_needs

    raw = read_json(file, "frames, flow, soft_labels, ...")
    if {"entries", "models", "code"} <= raw.keys():
        yield from named_by(read_lock(file))
        return
    if raw.get("kind") == "frames" and not config["frames"]["pack"] and not planned:
        return  # its keys name frames that stay in their files
    if "entries" in raw:
        kind = str(raw.get("kind", ""))
        yield from ((kind, key) for key in keys_in(read_needs([file], kind)))
    elif "key" in raw and raw.get("kind") == MODELS:
        yield MODELS, raw["key"]
    elif "clips" in raw:
        wanted, manifest = Wanted(config), read_manifest(file)
        kinds = (stage.kind for stage in taken_by(config, INDEXED))
        for kind in (kind for kind in kinds if kind not in MADE_OF_FILES):
            yield from ((kind, key) for key in wanted.all_keys(kind, manifest.clips, manifest.classes))
    else:
        raise InputError(
            f"{file}: names no entries; give an index, a manifest, a model.json, a lock, or a folder of "
            "results"
        )
