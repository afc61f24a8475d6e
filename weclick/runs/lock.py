"""The lock of a run: all that pins its results down, in one plain file that another run is held against."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weclick.clicks.table import clicks_digest, read_clicks
from weclick.common.config import complete_config
from weclick.common.errors import InputError
from weclick.common.files import read_json
from weclick.common.schemas import schema_fault
from weclick.common.sections import DataSection
from weclick.manifest import Clip, read_manifests
from weclick.store import canonical_json, file_digest, read_index

LOCK = "run.lock.json"
"""Name of the lock in a results folder."""
SCHEMA_VERSION = 1
OUTCOME = ("data", "clicks", "entries", "models", "metrics")
"""Parts of a lock that say what went in and what came out: equal runs agree in them to the last bit."""
CIRCUMSTANCES = ("config", "code", "versions", "device")
"""Parts of a lock that say how it came about; they explain a difference, and need not make one."""
SCORES = (
    "miou",
    "mean_accuracy",
    "pixel_accuracy",
    "per_class_iou",
    "temporal_consistency",
    "parameters",
    "frames",
)
"""Figures of metrics.json that a run repeats; frames per second it does not."""
_PLACES = ("results", "cache")
"""Sections of the configuration that say where a run lies, and nothing of what it computes."""


def make_lock(results: Path, code: Mapping[str, str], threads: int) -> dict[str, Any]:
    """The lock of a finished run; equal runs on equal machines give equal locks.

    Args:
        results: its folder, with the card `report.json` of its report.
        code: stage -> digest of the code it ran.
        threads: that a network had on the CPU, which decides in what order it adds up.

    Returns:
        What data_schema/lock.schema.json describes.

    Raises:
        MissingFileError: a stage has not run; names the file and the stage.
        InputError: a file is not what its stage writes.
    """
    path = results / "report.json"
    card = read_json(path, "report", "report.json")
    config = complete_config(card["config"], source=str(path))
    return {
        "schema_version": SCHEMA_VERSION,
        "config": {name: part for name, part in config.items() if name not in _PLACES},
        "versions": card["versions"],
        "code": dict(code),
        "device": {"name": _metrics(results).get("device"), "threads": threads},
        **read_outcome(results, config["data"]),
    }


def spell_lock(lock: Mapping[str, Any]) -> str:
    """A lock as the text of its file; equal locks give equal text."""
    return json.dumps(lock, indent=1, sort_keys=True, allow_nan=False) + "\n"


def read_lock(path: Path) -> dict[str, Any]:
    """Read a lock; of a results folder, its lock with the parts of OUTCOME as they lie there now.

    Raises:
        MissingFileError: there is no such file, or a file of the folder is gone.
        InputError: the file is no lock of a known schema version.
    """
    if path.is_dir():
        lock = read_lock(path / LOCK)
        return {**lock, **read_outcome(path, lock["config"]["data"])}
    lock = read_json(path, "lock")
    if fault := schema_fault(lock, "lock"):
        raise InputError(
            f"{path}: is no lock of a run that this weclick can read ({fault}); give the {LOCK} of a results "
            "folder, or the weclick of `versions` in it"
        )
    return lock


def read_outcome(results: Path, data: DataSection) -> dict[str, Any]:
    """The parts of OUTCOME, from what the stages wrote.

    Args:
        results: folder of the run.
        data: that section of its configuration.

    Raises:
        MissingFileError, InputError: as in `make_lock`.
    """
    train, val, shards = data["train"], data["val"], data["shards"]
    splits = list(dict.fromkeys((train, val)))
    stages = {"frames": [train], "flow": splits, "soft_labels": [train]}
    metrics = _metrics(results)
    return {
        "data": data_digests(results, data),
        "clicks": clicks_digest(read_clicks(results / "clicks" / f"{train}.h5")),
        "entries": {
            stage: {
                split: {str(shard): _index(results, stage, split, shard) for shard in range(shards)}
                for split in held
            }
            for stage, held in stages.items()
        },
        "models": {role: _model(results / role, role) for role in ("teacher", "student")},
        "metrics": {"student": _scores(metrics), "teacher": _scores(metrics.get("teacher", {}))},
    }


def data_digests(results: Path, data: DataSection) -> dict[str, dict[str, dict[str, str]]]:
    """Split -> clip id -> SHA-256 (hex) of its `frames` and of its `labels`, from the manifests alone.

    Names and folders of files are no part of them; content, order and frame numbers are.

    Raises:
        MissingFileError, InputError: a manifest is missing or damaged.
    """
    found = {}
    for split in (data["train"], data["val"]):
        folder = results / "manifest" / split
        manifest = read_manifests([folder / f"{shard}.json" for shard in range(data["shards"])])
        found[split] = {clip.id: _clip(clip) for clip in manifest.clips}
    return found


def _clip(clip: Clip) -> dict[str, str]:
    frames = [[frame.number, frame.digest] for frame in clip.frames]
    labels = [[frame.label_digest, frame.instances_digest] for frame in clip.frames]
    return {"frames": _digest(frames), "labels": _digest(labels)}


def _digest(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _index(results: Path, stage: str, split: str, shard: int) -> dict[str, str]:
    return read_index([results / stage / split / f"{shard}.json"], stage)


def _model(folder: Path, role: str) -> dict[str, str]:
    """Its key, and the digest of the weights as they are in the folder, whatever the card says."""
    key = read_json(folder / "model.json", role, "model.json").get("key")
    return {"key": str(key), "weights_sha256": file_digest(folder / "model.safetensors")}


def _metrics(results: Path) -> dict[str, Any]:
    return read_json(results / "evaluation" / "metrics.json", "evaluate", "metrics.json")


def _scores(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _known(figures[name]) for name in SCORES if name in figures}


def _known(figure: Any) -> Any:
    """A figure without NaN, which JSON cannot say: None instead."""
    return None if isinstance(figure, float) and not math.isfinite(figure) else figure
