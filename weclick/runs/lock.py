"""The lock of a run: one plain file that pins its results down, to compare another run with."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weclick.clicks.table import clicks_digest, read_clicks
from weclick.clicks.tags import read_tags
from weclick.common.config import complete_config, with_new_names
from weclick.common.errors import InputError
from weclick.common.files import read_json
from weclick.common.flat import is_number
from weclick.common.schemas import schema_fault
from weclick.common.sections import Config, DataSection
from weclick.common.stages import CARD, INDEXED, INSTANCE_SCORES, taken_by, takes
from weclick.common.strict_json import strict_json
from weclick.manifest import Clip, read_manifests
from weclick.manifest.tag_table import tags_digest
from weclick.runs.downloads import trained_roles
from weclick.runs.layout import LOCK, Layout
from weclick.runs.pins import contents_of
from weclick.runs.teachers import trained_seeds
from weclick.store import Store, canonical_json, file_digest, read_needs, told_of

SCHEMA_VERSION = 1
OUTCOME = ("data", "clicks", "tags", "entries", "contents", "models", "metrics")
"""The parts of a lock with a run's input and output. Equal runs agree on them to the last bit."""
CIRCUMSTANCES = ("config", "code", "versions", "device")
"""The parts of a lock that say how a run was made. They can explain a difference, but need not cause one."""
SCORES = (
    "miou",
    "mean_accuracy",
    "pixel_accuracy",
    "per_class_iou",
    "temporal_consistency",
    "click_accuracy",
    "parameters",
    "frames",
)
"""Figures of metrics.json that a repeated run reproduces. Frames per second are not among them."""
_PLACES = ("results", "cache", "watch")
"""Sections that say where a run lies or is shown, not what it computes. A lock sets none of them."""


def make_lock(results: Path, code: Mapping[str, str], threads: int) -> dict[str, Any]:
    """The lock of a finished run; equal runs on equal machines give equal locks.

    Args:
        results: its folder, with the card `report.json` of its report.
        code: stage -> digest of the code it ran.
        threads: of a network on the CPU; their number decides in what order it adds up.

    Returns:
        What data_schema/lock.schema.json describes.

    Raises:
        MissingFileError: a stage has not run; names the file and the stage.
        InputError: a file is not what its stage writes.
    """
    card, config = _report_card(results)
    lock = {
        "schema_version": SCHEMA_VERSION,
        "config": _without_places(config),
        "versions": card["versions"],
        "code": dict(code),
        "device": {"name": _metrics(results, config).get("device"), "threads": threads},
        **read_outcome(results, config),
    }
    return {**lock, "contents": contents_of(lock, Store.from_config(**config["cache"]))}


def spell_lock(lock: Mapping[str, Any]) -> str:
    """A lock as the text of its file; equal locks give equal text."""
    return strict_json(lock, indent=1, sort_keys=True) + "\n"


def read_lock(path: Path) -> dict[str, Any]:
    """Read a lock file, or the lock of a results folder.

    For a folder, the parts of OUTCOME come from the files that lie there now.

    Raises:
        MissingFileError: there is no such file, or a file of the folder is gone.
        InputError: the file is no lock of a known schema version.
    """
    if path.is_dir():
        lock = read_lock(Layout(path).lock)
        lock |= read_outcome(path, lock["config"])
        known = Layout(path).report_card.is_file()  # it tells where the store is
        cache = _report_card(path)[1]["cache"] if known else None
        return {**lock, "contents": contents_of(lock, Store.from_config(**cache)) if cache else {}}
    lock = read_json(path, "lock")
    config = lock.get("config") if "schema_version" in lock else None
    places = [name for name in _PLACES if isinstance(config, dict) and name in config]
    if places:
        raise InputError(
            f"{path}: its config sets {' and '.join(places)}, which no lock may do: only you say where a run "
            "is written and shown, with --results and --set; take these sections out of it"
        )
    if fault := schema_fault(lock, "lock") or _not_finite(lock):
        raise InputError(
            f"{path}: is no lock of a run that this weclick can read ({fault}); give the {LOCK} of a results "
            "folder, or use the weclick version that `versions` in it names"
        )
    return {**lock, "config": _without_places(with_new_names(lock["config"]))}


def _without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without what says where a run lies; a toy street is drawn where it is needed."""
    kept = {name: part for name, part in config.items() if name not in _PLACES}
    if kept["data"].get("name", "toy") == "toy":
        kept["data"] = {key: value for key, value in kept["data"].items() if key != "root"}
    return kept


def read_outcome(results: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of OUTCOME, from the files that the stages wrote; `contents` stand in the store.

    Args:
        results: folder of the run.
        config: its configuration.

    Raises:
        MissingFileError, InputError: as in `make_lock`.
    """
    layout, metrics, data = Layout(results), _metrics(results, config), config["data"]
    tags = {"tags": tags_digest(read_tags(layout.tags(data["train"])))} if takes(config, "tags") else {}
    return {
        "data": data_digests(results, data),
        "clicks": clicks_digest(read_clicks(layout.clicks(data["train"]))),
        **tags,
        "entries": {
            stage.name: {
                split: _indexes(layout.shards(stage.name, split, data["shards"]), stage.name)
                for split in dict.fromkeys(data[name] for name in stage.splits)
            }
            for stage in taken_by(config, INDEXED)
        },
        "models": _models(layout, config),
        "metrics": _scores_of_networks(metrics),
    }


def data_digests(results: Path, data: DataSection) -> dict[str, dict[str, dict[str, str]]]:
    """Split -> clip id -> SHA-256 (hex) of its `frames` and of its `labels`, from the manifests alone.

    The digests cover content, order and frame numbers, but not the names and folders of files.

    Raises:
        MissingFileError, InputError: a manifest is missing or damaged.
    """
    found = {}
    for split in (data["train"], data["val"]):
        manifest = read_manifests(Layout(results).shards("manifest", split, data["shards"]))
        found[split] = {clip.id: _clip(clip) for clip in manifest.clips}
    return found


def _report_card(results: Path) -> tuple[dict[str, Any], Config]:
    """The card of a run's report, and the complete configuration in it."""
    path = Layout(results).report_card
    card = read_json(path, "report", path.name)
    return card, complete_config(card["config"], source=str(path))


def _clip(clip: Clip) -> dict[str, str]:
    frames = [[frame.number, frame.digest] for frame in clip.frames]
    labels = [[frame.label_digest, frame.instances_digest] for frame in clip.frames]
    return {"frames": _digest(frames), "labels": _digest(labels)}


def _digest(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _indexes(paths: Sequence[Path], stage: str) -> dict[str, dict[str, Any]]:
    """Shard -> clip id -> key, or clip id -> need -> key where there are several."""
    return {str(shard): told_of(read_needs([path], stage)) for shard, path in enumerate(paths)}


def _models(layout: Layout, config: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The networks that the run trained: its roles, and teacher_<seed> for each further seed of a teacher."""
    own = config.get("seed", 0)
    teachers = {
        "teacher" if seed == own else f"teacher_{seed}": layout.teacher(None if seed == own else seed)
        for seed in trained_seeds(config)
    }
    others = [role for role in trained_roles(config) if role != "teacher"]
    networks = teachers | {role: layout.weights(role) for role in others}
    return {name: _model(weights, name.partition("_")[0]) for name, weights in networks.items()}


def _model(weights: Path, role: str) -> dict[str, str]:
    """Its key, and the digest of the weights that lie in the folder, whatever the card says."""
    key = read_json(weights.with_name(CARD), role, CARD).get("key")
    return {"key": str(key), "weights_sha256": file_digest(weights)}


def _metrics(results: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    path = Layout(results).scores
    return read_json(path, "evaluate", INSTANCE_SCORES if takes(config, "detector") else path.name)


def _not_finite(lock: Mapping[str, Any]) -> str:
    """What keeps a lock from being JSON, which knows no NaN and no infinity; empty if nothing does."""
    try:
        spell_lock(lock)
    except ValueError as error:
        return str(error)
    return ""


def _scores_of_networks(metrics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The figures of each network that was scored. Those of instances are single numbers."""
    if "instances" not in metrics:
        return {"student": _scores(metrics), "teacher": _scores(metrics.get("teacher", {}))}
    numbers = {name: value for name, value in metrics["instances"].items() if is_number(value)}
    return {"detector": {name: _known(value) for name, value in numbers.items()} | _scores(metrics)}


def _scores(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _known(figures[name]) for name in SCORES if name in figures}


def _known(figure: Any) -> Any:
    """The figure, or None if it is NaN or infinite, which JSON cannot express."""
    return None if isinstance(figure, float) and not math.isfinite(figure) else figure
