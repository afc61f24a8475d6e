"""Says what a file or a store entry is, where it came from and what it holds, for `weclick inspect`."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import zarr

from weclick.clicks import SourcedClicks, read_clicks
from weclick.clicks.table import clicks_digest
from weclick.common.files import read_json
from weclick.common.words import count_bytes
from weclick.manifest import Manifest, read_manifest
from weclick.runs.inspect.description import Description, Table, cut
from weclick.runs.inspect.kind import kind_of
from weclick.runs.inspect.tags import describe_tags
from weclick.runs.stack_words import stack_words
from weclick.store import Store, file_digest, open_entry, read_needs, verify_entry
from weclick.store.index import WINDOW
from weclick.store.model_file import load_model


def describe(path: Path, store: Store) -> Description:
    """Describe a file or a store entry.

    Args:
        path: see `kind_of`.
        store: the entries of an index are looked up in it.

    Raises:
        FileNotFoundError: there is nothing at the path.
        ValueError: the path is of no known kind, or damaged.
    """
    match kind_of(path):
        case "manifest":
            return _manifest(path)
        case "clicks":
            return _clicks(path)
        case "tags":
            return describe_tags(path)
        case "index":
            return _index(path, store)
        case "checkpoint":
            return _checkpoint(path)
    return _entry(path)


def _manifest(path: Path) -> Description:
    manifest = read_manifest(path)
    clips = manifest.clips
    frames = [frame for clip in clips for frame in clip.frames]
    facts = {
        "data set": f"{manifest.dataset} at {manifest.root}",
        "split": f"{manifest.split}, shard {manifest.shard} of {manifest.shards}",
        "read at": "full size" if manifest.shrink == 1 else f"1/{manifest.shrink} of the size",
        "clips": str(len(clips)),
        "frames": f"{len(frames)}, of them {sum(f.label is not None for f in frames)} with a label",
        "targets": str(sum(len(clip.targets) for clip in clips)),
        "scored frames": str(sum(len(clip.scored) for clip in clips)),
        "clicks by people": manifest.click_file or "none; made from the labels",
        "file": f"{count_bytes(path.stat().st_size)}, SHA-256 {file_digest(path)[:16]}…",
    }
    rows = [
        (
            clip.id,
            f"{clip.height_px}x{clip.width_px}",
            str(len(clip.frames)),
            f"{clip.frames[0].number}..{clip.frames[-1].number}",
            str(len(clip.targets)),
            str(len(clip.scored)),
            clip.frames[0].digest[:12],
        )
        for clip in clips
    ]
    columns = ("clip", "HxW px", "frames", "numbers", "targets", "scored", "digest of the first")
    return Description(
        "manifest", f"Manifest {path}", facts, (cut("Clips", columns, rows), _classes(manifest))
    )


def _classes(manifest: Manifest) -> Table:
    told = zip(manifest.classes.names, manifest.classes.palette, strict=True)
    rows = [
        (str(i), name, _hex(color), "yes" if i in manifest.classes.instance_classes else "")
        for i, (name, color) in enumerate(told)
    ]
    return Table("Classes", ("id", "class", "colour", "instance masks"), rows)


def _clicks(path: Path) -> Description:
    table = read_clicks(path)
    counts, clicks, clips = table.counts(), len(table), len({clip for clip, _ in table.frames})
    facts = {
        "split": table.split,
        "clicks": f"{clicks} on {len(table.frames)} frames of {clips} clips",
        "made with": ", ".join(f"{k} {v}" for k, v in table.options.items()) or "no options",
        "from": _sources(table),
        "seed": str(table.seed),
        "units": "y, x: px of the frame from its upper left pixel; area: px of the object",
        "file": f"{count_bytes(path.stat().st_size)}, content {clicks_digest(table)[:16]}…",
    }
    rows = []
    for class_id, name in enumerate(table.classes):
        areas = [
            int(p["area"]) for points in table.frames.values() for p in points if p["class_id"] == class_id
        ]
        median = str(sorted(areas)[len(areas) // 2]) if areas else "-"
        share = f"{counts[class_id] / max(clicks, 1):.1%}"
        rows.append((str(class_id), name, str(counts[class_id]), share, median))
    columns = ("id", "class", "clicks", "share", "median area, px")
    return Description("clicks", f"Click table {path}", facts, (Table("Clicks per class", columns, rows),))


def _sources(table: SourcedClicks) -> str:
    """Where the clicks come from: `12 human (anna 10, ben 2), 30 mask`."""
    origins = [origin for frame in table.frames for origin in table.origins_of(*frame)]
    told = []
    for source, count in sorted(Counter(origin.source for origin in origins).items()):
        people = Counter(origin.who for origin in origins if origin.source == source and origin.who)
        named = ", ".join(f"{who} {n}" for who, n in people.most_common(5))
        told.append(f"{count} {source}" + (f" ({named})" if named else ""))
    return ", ".join(told) or "none"


def _index(path: Path, store: Store) -> Description:
    kind = str(read_json(path, "frames, flow, soft_labels, ...")["kind"])
    index = read_needs([path], kind)
    several = any(need != WINDOW for keys in index.values() for need in keys)
    entries = {
        f"{clip}, {need}" if several else clip: key
        for clip, keys in index.items()
        for need, key in keys.items()
    }
    found = {name: store.find(kind, key) for name, key in entries.items()}
    missing = [name for name, entry in found.items() if entry is None]
    rows = [
        (name, entries[name][:16], count_bytes(entry.meta["entry_bytes"]) if entry else "missing")
        for name, entry in found.items()
    ]
    total = sum(entry.meta["entry_bytes"] for entry in found.values() if entry)
    facts = {
        "kind": f"{kind}: which entry of the store belongs to which clip",
        "clips": str(len(index)),
        "searched": ", ".join(map(str, store.roots)),
        "in the store": f"{len(entries) - len(missing)} entries, {count_bytes(total)}",
    }
    faults: tuple[str, ...] = ()
    if missing:
        hint = "give the roots by --root or WECLICK_CACHE, or run the stage again"
        faults = (
            f"{len(missing)} of {len(entries)} entries are in none of the roots, e.g. {missing[0]}; {hint}",
        )
    return Description(
        "index",
        f"Index {path}",
        facts,
        (cut("Entries", ("clip, need" if several else "clip", "key", "size"), rows),),
        faults,
    )


def _entry(path: Path) -> Description:
    entry = open_entry(path)
    meta, attributes = entry.meta, entry.attributes
    faults = tuple(verify_entry(path))
    created = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(meta["created_unix_s"]))
    producer = ", ".join(f"{name} {version}" for name, version in meta["producer"].items())
    facts = {
        "key": meta["key"],
        "made": f"{created} by {producer}",
        "size": f"{count_bytes(meta['entry_bytes'])} in {len(meta['files'])} files",
        "files": f"{len(faults)} faults" if faults else "all match their digests",
    }
    arrays = sorted({name.split("/")[0] for name in meta["files"] if "/" in name})
    tables = [
        _pairs("Made from (the key follows from this)", meta["inputs"]),
        _pairs("Attributes", attributes),
    ]
    if arrays and not faults:
        columns = ("array", "axes", "shape", "chunks", "type", "stored", "of raw")
        tables.insert(0, Table("Arrays", columns, [_array_row(entry, name) for name in arrays]))
    return Description("entry", f"Store entry of kind {meta['kind']}", facts, tuple(tables), faults)


def _array_row(entry: Any, name: str) -> tuple[str, ...]:
    array = zarr.open_group(entry.path, mode="r")[name]
    assert isinstance(array, zarr.Array)
    stored = sum(f["bytes"] for file, f in entry.meta["files"].items() if file.startswith(f"{name}/"))
    return (
        name,
        str(array.attrs.get("axes", "")),
        " x ".join(map(str, array.shape)),
        " x ".join(map(str, array.chunks)),
        str(array.dtype),
        count_bytes(stored),
        f"{stored / max(array.nbytes, 1):.0%}",
    )


def _checkpoint(path: Path) -> Description:
    model, card = load_model(path, with_motion=True, architectures=None)
    beside = path.with_suffix(".json")
    raw = read_json(beside, "teacher or student") if beside.is_file() else {}
    facts = {name: str(value) for name, value in card.options.items()} | {
        "parameters": f"{sum(p.numel() for p in model.parameters()):,}",
        "stride": f"{model.stride} px of the image per logit",
        "learned at": "full size" if card.shrink == 1 else f"1/{card.shrink} of the frames' size",
        "file": f"{count_bytes(path.stat().st_size)}, SHA-256 {file_digest(path)}",
    }
    if card.motion:
        facts["looks at"] = stack_words(card.motion.stack)
        facts["flow learned from"] = (
            f"{_spell(card.motion.estimator)}, kept on a grid of {card.motion.stride_px} px"
        )
    facts |= {
        name: str(raw[name]) for name in ("key", "role", "steps", "train_seconds", "seed") if name in raw
    }
    state = model.state_dict()
    groups: dict[str, list[Any]] = {}
    for name, tensor in state.items():
        groups.setdefault(".".join(name.split(".")[:2]), []).append(tensor)
    layers = [
        (
            name,
            str(len(group)),
            f"{sum(t.numel() for t in group):,}",
            count_bytes(sum(t.nbytes for t in group)),
        )
        for name, group in groups.items()
    ]
    told = zip(card.classes.names, card.classes.palette, strict=True)
    classes = [(str(i), name, _hex(color)) for i, (name, color) in enumerate(told)]
    tables = (
        Table("Layers", ("layer", "tensors", "values", "size"), layers),
        Table("Classes", ("id", "class", "colour"), classes),
    )
    return Description("checkpoint", f"Checkpoint {path}", facts, tables)


def _pairs(title: str, values: Mapping[str, Any]) -> Table:
    return Table(title, ("name", "value"), [(name, _spell(value)) for name, value in values.items()])


def _spell(value: Any) -> str:
    """A value on one line; long lists, such as those of digests, as their length and first item."""
    text = json.dumps(value) if isinstance(value, dict | list) else str(value)
    if isinstance(value, list | dict) and len(text) > 120:
        first = next(iter(value), "")
        return f"{len(value)} items, first {str(first)[:80]}"
    return text


def _hex(color: Sequence[int]) -> str:
    return "#" + "".join(f"{part:02x}" for part in color)
