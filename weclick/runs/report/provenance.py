"""Where a run comes from: configuration, command, versions, seeds, digests, and what its stages cost."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from weclick.clicks.table import clicks_digest
from weclick.common import words
from weclick.common.config import complete_config
from weclick.common.files import read_lines
from weclick.common.flat import flatten, spell
from weclick.common.sections import Config
from weclick.common.stages import STEPS, taken_by
from weclick.manifest.tag_table import tags_digest
from weclick.runs.cost import SUFFIX
from weclick.runs.layout import Layout
from weclick.runs.report.results import Results
from weclick.runs.workflow import COMMAND
from weclick.store import Store, canonical_json, file_digest
from weclick.train.network_code import network_code
from weclick.train.recipe import TRAINING


def command() -> str:
    """The command that was typed: the workflow's if one runs this process, else that of this process."""
    own = [Path(sys.argv[0]).name, *sys.argv[1:]]
    return os.environ.get(COMMAND) or shlex.join(own)


def changed(config: Config) -> list[tuple[str, str, str]]:
    """(name, value, default) of every option that differs from the default of the schema."""
    default = dict(flatten(complete_config({})))
    return [
        (name, spell(value), spell(default.get(name)))
        for name, value in flatten(config)
        if value != default.get(name)
    ]


def versions() -> dict[str, str]:
    """Python, weclick and the packages that it needs, as installed where the page is made."""
    try:
        needed = [need for need in metadata.requires("weclick") or () if "extra ==" not in need]
    except metadata.PackageNotFoundError:  # run from a checkout that is not installed
        needed = ["numpy", "torch", "zarr"]
    names = sorted(re.split(r"[^\w.-]", need, maxsplit=1)[0] for need in needed)
    return {"python": platform.python_version(), **{name: _version(name) for name in ("weclick", *names)}}


def digests(results: Results, config: Config) -> dict[str, str]:
    """The SHA-256 digests that pin the run down: configuration, code, clicks, tags, indexes, networks."""
    pinned = {
        "Configuration": hashlib.sha256(canonical_json(config).encode()).hexdigest(),
        "Training code": network_code(*TRAINING),
        "Clicks": clicks_digest(results.clicks),
    }
    if results.tags is not None:
        pinned["Tags"] = tags_digest(results.tags)
    for step in taken_by(config):
        for path in results.layout.found(step.name) if step.sharded else ():
            pinned[str(path.relative_to(results.folder))] = file_digest(path)
    classifier = {} if results.classifier is None else {"classifier": results.classifier}
    for role, card in {**classifier, **results.models}.items():
        pinned[f"{role}, weights"] = str(card.get("weights_sha256", words.DASH))
        pinned[f"{role}, key in the store"] = str(card.get("key", words.DASH))
    return pinned


def producers(results: Results, store: Store) -> dict[str, str]:
    """role -> versions that trained it, as its entry in the store says."""
    made = {}
    for role, card in results.models.items():
        entry = store.find("models", str(card.get("key", "")))
        producer = entry.meta["producer"] if entry else {}
        made[role] = ", ".join(f"{name} {version}" for name, version in producer.items()) or words.DASH
    return made


def costs(folder: Path) -> list[dict[str, str]]:
    """One row per stage that left a cost file: all its runs in this folder summed, and its latest run."""
    rows = []
    for step in STEPS:
        files = sorted(Layout(folder).of(step.name).rglob(f"*{SUFFIX}"))
        files += sorted(Layout(folder).teachers.rglob(f"*{SUFFIX}")) if step.name == "teacher" else []
        runs = [read_lines(path, step.name, SUFFIX.strip(".")) for path in files]
        if any(runs):
            rows.append({"stage": step.name, **_row([lines for lines in runs if lines])})
    return rows


def _row(runs: list[list[dict[str, Any]]]) -> dict[str, str]:
    """Sums over jobs (the outer list) and their runs."""
    everything = [line for lines in runs for line in lines]
    last = [lines[-1] for lines in runs]
    stored = any(line["made"] or line["found"] for line in everything)

    def entries(lines: list[dict[str, Any]], what: str) -> str:
        return words.count(sum(line[what] for line in lines)) if stored else ""

    return {
        "runs": words.count(len(everything)),
        "seconds": words.duration(sum(line["seconds"] for line in everything)),
        "made": entries(everything, "made"),
        "written": words.count_bytes(sum(line["written_bytes"] for line in everything)),
        "last_seconds": words.duration(sum(line["seconds"] for line in last)),
        "last_made": entries(last, "made"),
        "last_found": entries(last, "found"),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return words.DASH
