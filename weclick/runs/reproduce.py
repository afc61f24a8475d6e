"""Repeats a run from its lock, and compares two locks."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weclick.common.config import load_config
from weclick.common.errors import InputError
from weclick.common.files import write_text
from weclick.common.flat import flatten, spell
from weclick.common.schemas import load_schema
from weclick.common.sections import Config, ToySection
from weclick.common.shipped import shipped
from weclick.common.typed import paths_of
from weclick.datasets import build_manifest, open_dataset
from weclick.datasets.toy.draw import generate
from weclick.manifest import write_manifest
from weclick.runs.cost import stage_cost
from weclick.runs.layout import Layout
from weclick.runs.lock import data_digests, read_lock
from weclick.runs.pins import check_contents
from weclick.runs.wanted import Wanted
from weclick.runs.workflow import run_snakemake
from weclick.store import Store

_STDERR = 2

STREET_PX = 4 * 10**9
"""The pixels that are drawn because a lock says so: about 10 GB of files, or 100,000 small ones."""

_IMAGE_PX = 40_000
"""A small image costs as much as one of so many pixels."""


def config_of(lock: Mapping[str, Any], results: Path, change: Sequence[str] = ()) -> Config:
    """The complete configuration of a run to repeat.

    A lock may come from anybody. So it does not say where anything is written: a toy street is drawn inside
    of `results`, and ~ and $VAR in its paths are not replaced.

    Args:
        lock: from `read_lock`.
        results: folder to write into.
        change: `section.key=value` texts of the user, which win.

    Raises:
        InputError: a path of the lock holds ~ or a variable, or the configuration is not valid.
    """
    config, changed = dict(lock["config"]), {text.partition("=")[0] for text in change}
    for name, path in paths_of(config, load_schema("config")):
        if name not in changed and (path.startswith("~") or "$" in path):
            raise InputError(
                f"the lock's {name} is {path!r}, but ~ and $ are not replaced in a lock; say where it is "
                f"with --set {name}=PATH"
            )
    if config["data"].get("name", "toy") == "toy":
        config["data"] = {**config["data"], "root": str(_own_street(results))}
    return load_config(json.dumps({**config, "results": str(results)}), change)


def rerun(lock: Mapping[str, Any], config: Config, *, cores: int, accept: bool = False) -> dict[str, Any]:
    """Run the workflow on a lock's data. Only entries that the store lacks are made.

    The data are compared first, before the workflow begins. If they differ from those of the lock, nothing
    is computed. Then the entries that the store has are compared with what the lock pins of them.

    Args:
        lock: of the run to repeat; its `data` are compared.
        config: the complete configuration, see `config_of`; `results` is the folder that is written to.
        cores: given to Snakemake.
        accept: go on with entries that hold other content than the lock pins.

    Returns:
        The new run's lock; only its part `data` if the data differ.

    Raises:
        MissingFileError: weclick is installed without its workflow, or the data are not there.
        InputError: the data are not as they should be, or the workflow ended with an error, which it has
            printed.
        OtherContentError, DamagedEntryError: as in `check_contents`; nothing is computed.
    """
    shipped("Snakefile")  # looked for before anything is computed
    layout = Layout(Path(config["results"]))
    _list_data(config, layout)
    data = data_digests(layout.folder, config["data"])
    if data != lock["data"]:
        return {"data": data}
    check_contents(lock, Store.from_config(**config["cache"]), accept=accept)
    write_text(layout.config, json.dumps(config, indent=1) + "\n")
    status = run_snakemake(["all", "--cores", str(cores)], [layout.config], output=_STDERR)
    if status:
        raise InputError(
            f"the workflow ended with exit status {status} before all was done; correct what its messages "
            "above name, and run again: finished stages stay"
        )
    return read_lock(layout.lock)


def _own_street(results: Path) -> Path:
    """Where a repeated run draws its toy street, unless its user names another folder."""
    return results / "toy"


def _list_data(config: Config, layout: Layout) -> None:
    """Make the manifests of the data on disk as the workflow would, after a toy street is drawn."""
    data, root = config["data"], Path(config["data"]["root"])
    if data["name"] == "toy" and (root == _own_street(layout.folder) or not root.exists()):
        _check_street(data["toy"])
        generate(root, **data["toy"])
        write_text(root / "toy.json", json.dumps(data["toy"], indent=1) + "\n")
    dataset = open_dataset(data, config["clicks"]["mix"], config["tags"])
    needs = Wanted(config).needs
    for split in dict.fromkeys((data["train"], data["val"])):
        for shard, path in enumerate(layout.shards("manifest", split, data["shards"])):
            with stage_cost(path):
                made = build_manifest(
                    dataset,
                    split,
                    shard,
                    data["shards"],
                    reach_frames=needs.reach_frames,
                    whole=needs.whole,
                    remember=layout.digests,
                )
                write_manifest(made, path)


def _check_street(toy: ToySection) -> None:
    """Raises InputError if a street would fill a disk. A lock may be a stranger's, and it says how large."""
    images = sum(toy["clips"].values()) * toy["frames"]
    drawn_px = images * max(toy["height"] * toy["width"], _IMAGE_PX)
    if drawn_px > STREET_PX:
        raise InputError(
            f"data.toy asks for {images} images of {toy['height']}x{toy['width']} px, more than is drawn "
            "for a lock; if you trust it, draw them with `weclick toy`, and name their folder with --set "
            "data.root=PATH"
        )


def differences(old: Mapping[str, Any], new: Mapping[str, Any], part: str) -> list[str]:
    """The values of a part that differ between two locks, each as a line `name: old -> new`.

    Digests are shortened. Numbers are followed by their difference. A value that a lock lacks is `none`. Of
    `contents`, only entries count that both locks know.
    """
    leaves = [dict(flatten({part: lock.get(part, {})})) for lock in (old, new)]
    known = set(leaves[0]), set(leaves[1])
    names = sorted(known[0] & known[1] if part == "contents" else known[0] | known[1])
    pairs = {name: (leaves[0].get(name), leaves[1].get(name)) for name in names}
    return [
        f"{name.removeprefix(f'{part}.')}: {_spell(a)} -> {_spell(b)}{_change(a, b)}"
        for name, (a, b) in pairs.items()
        if a != b
    ]


def _spell(value: Any) -> str:
    text = "none" if value is None else spell(value)
    text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1…", text)


def _change(old: Any, new: Any) -> str:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (old, new))
    return f" ({new - old:+.3g})" if numbers else ""
