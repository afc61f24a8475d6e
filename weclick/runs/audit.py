"""Computes a share of a run's entries again, and compares them with what the roots of the store hold.

Digests and keys say that an entry is whole and what it claims to be made from. Only computing it again says
whether it is what its stage makes of that.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weclick.common.errors import InputError
from weclick.common.progress import progress_bar
from weclick.common.sections import Config
from weclick.common.stages import INDEXED, taken_by
from weclick.manifest import Clip, Manifest, read_manifests
from weclick.runs.cam_source import maps_of_run
from weclick.runs.label_source import label_source, stored_as
from weclick.runs.layout import Layout
from weclick.runs.proxy_source import proxies_of_run
from weclick.runs.teachers import teacher_files
from weclick.runs.wanted import Wanted
from weclick.store import Entry, LocalRoot, S3Root, Store, UnreachableRootError, read_needs
from weclick.store.index import WINDOW
from weclick.store.pins import reading_of
from weclick.store.signatures import by_sha256

if TYPE_CHECKING:
    from weclick.proxy_labels.sources import Source

    Root = LocalRoot | S3Root

AUDITED = tuple(stage.kind for stage in INDEXED)
"""Kinds of entries that can be computed again in the time that an audit has. Networks take a training."""

EQUAL, CLOSE, DIFFERS = "equal", "within the bound", "differs"


@dataclass(frozen=True)
class Bound:
    """How far a computed value may be from a stored one, as other processors and GPUs add up in other orders.

    Attributes:
        most: a larger difference counts.
        unit: of the values.
        share: so large a share of a step's values may differ by more than `most`.
    """

    most: float
    unit: str
    share: float


BOUNDS = {
    "frames": Bound(0, "grey levels", 0),
    "masks": Bound(0, "class ids", 0),
    "flow": Bound(0.5, "px of the grid", 0.01),
    "cams": Bound(3, "steps of 1/255", 0.01),
    "soft_labels": Bound(0.05, "of probability", 0.01),
    "proxy_labels": Bound(0, "class ids", 0.01),
}
"""Kind -> how far its entries may be from what is computed here. Bits of masks count by `share` alone."""


@dataclass(frozen=True)
class Drawn:
    """An entry that is computed again: its clip, the manifest that names it, and the need of a flow."""

    kind: str
    key: str
    clip: Clip
    manifest: Manifest
    need: str = WINDOW


@dataclass(frozen=True)
class Finding:
    """What one root holds of a drawn entry.

    Attributes:
        root: that holds it.
        drawn: the entry.
        verdict: EQUAL, CLOSE or DIFFERS.
        told: what differs most, in words; empty if it is equal.
    """

    root: str
    drawn: Drawn
    verdict: str
    told: str = ""


def entries_of_run(results: Path, config: Config, kinds: Iterable[str] = AUDITED) -> list[Drawn]:
    """The entries of a run that can be computed again, each once.

    Args:
        results: folder of the run: its manifests and indexes are read, and its teachers.
        config: complete; that of the run.
        kinds: some of AUDITED.

    Raises:
        InputError: the indexes name none, or the configuration asks for other entries than they name.
    """
    layout = Layout(results)
    found: dict[tuple[str, str], Drawn] = {}
    for stage in (stage for stage in taken_by(config, INDEXED) if stage.kind in kinds):
        for split in dict.fromkeys(config["data"][name] for name in stage.splits):
            paths = layout.found(stage.name, split)
            if not paths or (stage.name == "frames" and not config["frames"]["pack"]):
                continue
            manifest = read_manifests(layout.found("manifest", split))
            wanted = _wanted(stage.kind, config, manifest, results)
            for entry in _listed(stage.kind, paths, manifest, wanted):
                found.setdefault((stage.kind, entry.key), entry)
    if not found:
        raise InputError(f"{results}: holds no indexes of {', '.join(kinds)}; give the results of a run")
    return list(found.values())


def _listed(kind: str, paths: Sequence[Path], manifest: Manifest, wanted: Wanted) -> Iterator[Drawn]:
    """The entries that indexes name, which have to be those that a run asks for."""
    index, clips = read_needs(paths, kind), {clip.id: clip for clip in manifest.clips}
    keys = {need: wanted.keys(kind, manifest.clips, manifest.classes, need) for need in wanted.needs_of(kind)}
    for clip, named in index.items():
        for need, key in named.items():
            if key != keys.get(need, {}).get(clip):
                raise InputError(
                    f"{paths[0].parent}: names another {kind} entry of clip {clip!r} than this configuration "
                    "asks for; give --config and --set of the run"
                )
            yield Drawn(kind, key, clips[clip], manifest, need)


def draw(entries: Iterable[Drawn], sample: str, seed: int) -> list[Drawn]:
    """A share of the entries of each kind, at least one. Equal seeds draw the same, in whatever order.

    Args:
        entries: of a run.
        sample: a percentage such as 5%, or a number of entries of each kind.
        seed: nobody who writes into a root should know it beforehand.

    Raises:
        InputError: the sample is neither.
    """
    ranked: dict[str, list[tuple[str, Drawn]]] = {}
    for entry in entries:
        rank = hashlib.sha256(f"{seed} {entry.kind} {entry.key}".encode()).hexdigest()
        ranked.setdefault(entry.kind, []).append((rank, entry))
    return [
        entry
        for group in ranked.values()
        for _, entry in sorted(group, key=lambda each: each[0])[: _count(sample, len(group))]
    ]


def _count(sample: str, all_: int) -> int:
    try:
        number = float(sample.removesuffix("%"))
        if sample.endswith("%") and 0 < number <= 100:
            return max(1, math.ceil(all_ * number / 100))
        if number == int(number) > 0 and not sample.endswith("%"):
            return int(number)
    except (ValueError, OverflowError):
        pass
    raise InputError(f"the sample is {sample!r}, expected a percentage such as 5%, or a number such as 3")


def audit(
    drawn: Sequence[Drawn], results: Path, config: Config, store: Store, *, device: str = "cpu"
) -> list[Finding]:
    """Compute entries again in a temporary folder, and compare them with every copy in the roots.

    The store is only read. The temporary folder lies where TMPDIR says.

    Args:
        drawn: see `draw`.
        results: folder of the run, with its teachers.
        config: complete.
        store: every one of its roots is looked through.
        device: that networks compute on.

    Returns:
        One finding for each root that holds a drawn entry.

    Raises:
        ValueError, OSError: a stage cannot compute an entry, for example because frames are gone.
    """
    findings: list[Finding] = []
    for group in _groups(drawn):
        with tempfile.TemporaryDirectory(prefix="weclick-audit-") as folder:
            scratch = Store([Path(folder) / "store"])
            part = replace(group[0].manifest, clips=tuple(each.clip for each in group))
            _stage(group[0], part, results, config, (store, scratch), device)
            with progress_bar(f"compare {group[0].kind}", len(group), "entries") as bar:
                for each in group:
                    ours = scratch.get(each.kind, each.key)
                    findings += _compare_copies(each, ours, [*store.team, store.local], Path(folder))
                    bar.advance()
    return findings


def _groups(drawn: Iterable[Drawn]) -> Iterator[list[Drawn]]:
    """The entries that one call of a stage computes: of one kind, one split and one need."""
    groups: dict[tuple[str, str, str], list[Drawn]] = {}
    for each in drawn:
        groups.setdefault((each.kind, each.manifest.split, each.need), []).append(each)
    yield from groups.values()


def _stage(
    drawn: Drawn, part: Manifest, results: Path, config: Config, stores: tuple[Store, Store], device: str
) -> None:
    """Run the stage of an entry on a part. Of the two stores it reads from the first, and writes into the
    second."""
    from weclick.datasets.frames import pack_frames
    from weclick.flow.stage import compute_flow
    from weclick.proxy_labels.cams import compute_cams
    from weclick.proxy_labels.fuse import Fuse
    from weclick.proxy_labels.masks import pack_masks
    from weclick.proxy_labels.proxy_labels import make_proxy_labels
    from weclick.proxy_labels.soft_labels import compute_soft_labels

    kind, (store, scratch) = drawn.kind, stores
    if kind == "frames":
        pack_frames(part, store=scratch, **config["frames"])
    elif kind == "masks":
        pack_masks(part, store=scratch, **config["masks"])
    elif kind == "flow":
        pairs = Wanted(config).needs.functions[drawn.need]
        compute_flow(part, pairs, options=config["flow"], store=scratch, device=device)
    elif kind == "cams":
        if not (maps := maps_of_run(config, part.classes.names, results)):
            raise InputError(
                f"{results}: its tags or its classifier are gone; give the results of a whole run"
            )
        compute_cams(part, maps.source, maps.tags, options=config["cams"], store=scratch, device=device)
    elif kind == "proxy_labels":
        if not (proxies := proxies_of_run(config, part, Layout(results), store, device)):
            raise InputError(
                f"{results}: its tags, maps, flow or clicks are gone; give the results of a whole run"
            )
        chunk_px = config["proxy_labels"]["chunk_px"]
        make_proxy_labels(part, proxies, chunk_px=chunk_px, store=scratch, allow_val=True)
    else:
        if not (source := _labels(config, part, results)):
            raise InputError(
                f"{results}: a teacher of its soft labels is gone; give the results of a whole run"
            )
        flow = Wanted(config).keys("flow", part.clips)
        fuse = Fuse(config["soft_labels"]["fuse"], flow, store)
        compute_soft_labels(part, source, store=scratch, device=device, fuse=fuse, **stored_as(config))


def _wanted(kind: str, config: Config, manifest: Manifest, results: Path) -> Wanted:
    """Asks for the entries of a kind, with what makes them."""
    if kind == "cams":
        return Wanted(config, maps=maps_of_run(config, manifest.classes.names, results))
    if kind == "proxy_labels":
        store = Store.from_config(**config["cache"])  # the keys of its entries need nothing of it
        return Wanted(config, proxies=proxies_of_run(config, manifest, Layout(results), store))
    return Wanted(config, _labels(config, manifest, results) if kind == "soft_labels" else None)


def _labels(config: Config, manifest: Manifest, results: Path) -> Source | None:
    layout = Layout(results)
    remember = layout.label_digests if layout.label_digests.is_file() else None
    files = teacher_files(config, layout)
    return label_source(config, manifest.classes.names, files, remember=remember)


def _compare_copies(drawn: Drawn, ours: Entry, roots: Iterable[Root], folder: Path) -> Iterator[Finding]:
    for root in roots:
        try:
            meta = root.find_meta(drawn.kind, drawn.key)
            if meta:
                with tempfile.TemporaryDirectory(dir=folder) as place:
                    theirs = Entry(by_sha256(meta), _place_of(root, meta, Path(place)))
                    yield Finding(str(root), drawn, *compare_entries(ours, theirs))
        except InputError as error:
            if isinstance(error, OSError | UnreachableRootError):
                raise  # it says nothing of the entry
            yield Finding(str(root), drawn, DIFFERS, str(error))


def _place_of(root: Root, meta: Mapping[str, Any], place: Path) -> Callable[[Entry], Path]:
    if isinstance(root, LocalRoot):
        return lambda _: root.folder(meta["kind"], meta["key"])
    root.export(meta, place)
    return lambda _: place


def compare_entries(ours: Entry, theirs: Entry) -> tuple[str, str]:
    """Compare an entry with one that was computed again.

    Returns:
        EQUAL, CLOSE or DIFFERS; and what differs most, in words.

    Raises:
        DamagedEntryError: `theirs` is not whole.
    """
    told = [reading_of(entry.meta) for entry in (ours, theirs)]
    counted = [each.pop("clipped", None) for each in told]  # follows from the values
    if names := [name for name in told[0] | told[1] if told[0].get(name) != told[1].get(name)]:
        return DIFFERS, f"its attribute {names[0]} is {theirs.attributes.get(names[0])!r:.80}"
    worst = (EQUAL, "")
    for name in sorted(file.split("/")[0] for file in ours.meta["files"] if file.endswith("/zarr.json")):
        verdict, found = _compare_arrays(ours, theirs, name)
        worst = max(worst, (verdict, found), key=lambda each: (EQUAL, CLOSE, DIFFERS).index(each[0]))
    if worst[0] == EQUAL and counted[0] != counted[1]:
        return DIFFERS, f"it says that {counted[1]} values were clipped, but {counted[0]} were"
    return worst


def _compare_arrays(ours: Entry, theirs: Entry, name: str) -> tuple[str, str]:
    mine, other = ours.array(name), theirs.array(name)
    if (mine.shape, mine.dtype) != (other.shape, other.dtype):
        return DIFFERS, f"{name} is {other.dtype} {other.shape}, expected {mine.dtype} {mine.shape}"
    bound, verdict, told = BOUNDS[ours.meta["kind"]], EQUAL, ""
    most = 0.0
    for step in range(len(mine)):
        stored = mine[step], other[step]
        if np.array_equal(*stored):
            continue
        difference = _difference(ours, name, *stored)
        share, largest = float((difference > bound.most).mean()), float(difference.max())
        if share > bound.share:
            many = f"{100 * share:.1f} % of its values differ by more than {bound.most:g} {bound.unit}"
            return DIFFERS, f"{name}[{step}]: {many}, at most by {largest:.3g}"
        if largest >= most:
            verdict, most, told = (
                CLOSE,
                largest,
                f"{name}[{step}] differs at most by {largest:.3g} {bound.unit}",
            )
    return verdict, told


def _difference(entry: Entry, name: str, mine: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How far the values of a step are from each other, in the unit of their bound."""
    from weclick.store import decode_flow, decode_soft_labels

    if name == "valid":
        return np.where(mine == other, 0, np.inf)
    if name == "flow":
        return np.abs(decode_flow(mine) - decode_flow(other))
    if name in ("peaks", "scores"):
        whole = 1 if name == "scores" else np.maximum(np.maximum(mine, other), np.finfo(np.float32).tiny)
        return 255 * np.abs(mine - other) / whole
    if name == "probabilities":
        import torch

        decoded = [decode_soft_labels(torch.from_numpy(x)[None], entry.attributes) for x in (mine, other)]
        return (decoded[0] - decoded[1]).abs().numpy()
    return np.abs(mine.astype(np.int64) - other.astype(np.int64))
