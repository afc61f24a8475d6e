"""Imports flows that were made elsewhere: from files into entries like those of the `flow` stage."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from weclick.common.errors import InputError, MissingFileError
from weclick.common.files import write_text
from weclick.common.progress import Bar
from weclick.common.sections import FlowSection
from weclick.flow.batch_estimator import BatchEstimator
from weclick.flow.formats import SUFFIXES, read_flow_file
from weclick.flow.jobs import Job, Pairs, check_clipped, entry_attributes, key_inputs
from weclick.flow.pairs import match_pairs
from weclick.flow.to_files import flow_path
from weclick.geometry import downsample_flow, downsample_mask, grid_size
from weclick.manifest import Clip, Manifest
from weclick.manifest.read import read_clip
from weclick.store import Store, canonical_json, file_digest
from weclick.store.fill import fill
from weclick.store.flow_entries import allocate_flow, write_flow

BACK = "forward_backward"
"""The mask that needs the flow back, too."""


class Files:
    """Acts as the estimator of one clip whose flows lie in files.

    Args:
        folder: holds `<clip>/<target>__<neighbour>` with the ending .flo or .png.
        clip: its frames name the files.
        pairs: (target, neighbour) positions in the clip.
        masks: of the configuration; forward_backward needs the flows back as well.

    Raises:
        InputError: a file is missing, or a flow exists in both formats.
    """

    name = "imported"
    licence = None

    def __init__(self, folder: Path, clip: Clip, pairs: Pairs, masks: Collection[str]):
        there = _find(folder, clip, pairs, "--wanted lists what configuration and manifest ask for")
        back: list[Path] = []
        if BACK in masks:
            why = (
                f"{BACK} in flow.masks needs the flows back too: make them, or set flow.masks: [photometric]"
            )
            back = _find(folder, clip, [(neighbour, target) for target, neighbour in pairs], why)
        self._clip, self._masks = clip, masks
        self._paths = [(path, *back[i : i + 1]) for i, path in enumerate(there)]
        self._flows: list[Tensor] = []
        self._digests = [[file_digest(path) for path in paths] for paths in self._paths]
        digest = hashlib.sha256(canonical_json(self._digests).encode()).hexdigest()
        self.digest = {"name": self.name, "files_sha256": digest}

    def turn_to(self, pair_index: int, stride_px: int) -> Tensor:
        """Read the files of a pair, for the next call of `estimate` or `estimate_both`.

        Returns:
            (1, 1, H, W) float32: 1 where the file knows the flow, 0 elsewhere.

        Raises:
            ChangedFileError: a file changed since its digest was taken.
            InputError: a flow has another size than the frames, or unknown pixels while there are no masks.
        """
        paths = self._paths[pair_index]
        (flow, known), *back = (
            _read(path, sha256, self._clip, stride_px)
            for path, sha256 in zip(paths, self._digests[pair_index], strict=True)
        )
        if not self._masks and not known.all():
            raise InputError(
                f"{paths[0]}: knows the flow of {float(known.mean()):.0%} of its pixels only, and only "
                "masks can mark the others; set flow.masks: [photometric]"
            )
        unknown_fails = (torch.where(k > 0, f, torch.nan) for f, k in back)
        self._flows = [_fill(flow, known, stride_px), *unknown_fails]
        return known

    def estimate(self, target: Tensor, neighbour: Tensor) -> Tensor:
        """The flow of the pair, (1, 2, H, W) px; the images do not matter."""
        return self._flows[0]

    def estimate_both(self, target: Tensor, neighbour: Tensor) -> tuple[Tensor, Tensor]:
        """The flow of the pair and the one back; the images do not matter."""
        there, back = self._flows
        return there, back

    def name_of(self, pair_index: int) -> Path:
        """The file of a pair's flow."""
        return self._paths[pair_index][0]


def import_flow(
    manifest: Manifest,
    wanted_pairs: Callable[[Clip], Pairs],
    folder: Path,
    *,
    options: FlowSection,
    store: Store,
) -> dict[str, str]:
    """Make sure that the store holds, for every clip, the flow that lies in files.

    Args:
        manifest: one shard of a split.
        wanted_pairs: which flows a clip needs, as (target, neighbour) positions in its frames.
        folder: holds `<clip>/<target>__<neighbour>.flo`, or .png in KITTI's format, on the target's grid, in
            px of the frames as they are read (see `shrink` of the manifest).
        options: the section `flow` of the configuration; only stride_px, masks and on_overflow count.
        store: its entries are not made again.

    Returns:
        Clip id -> key of its entry, in the layout of `compute_flow`. The key holds the SHA-256 of the files
        instead of an estimator. A cell fails every mask if the file knows less than half of it.

    Raises:
        InputError: a file is missing, has another size than the frames, or has unknown pixels while `masks`
            is empty.
        ValueError: a value is beyond FLOW_LIMIT_PX of the grid while `on_overflow` is "error".
    """
    found: list[tuple[Job, Files]] = []
    for clip in manifest.clips:
        if pairs := wanted_pairs(clip):
            files = Files(Path(folder), clip, pairs, options["masks"])
            found.append((Job(clip, pairs, key_inputs(clip, pairs, files.digest, options)), files))

    def import_some(items: Iterator[tuple[Job, Files]], bar: Bar) -> None:
        for job, files in items:
            _import_clip(manifest, job, files, options, store)
            bar.advance(len(job.pairs))

    fill(
        store,
        "flow",
        found,
        import_some,
        key=lambda item: item[0].key,
        size=lambda item: len(item[0].pairs),
        what="flow-import",
        unit="pairs",
        check=lambda item, entry: check_clipped(item[0], entry, options["on_overflow"]),
    )
    return {job.clip.id: job.key for job, _ in found}


def write_wanted(
    manifest: Manifest, wanted_pairs: Callable[[Clip], Pairs], masks: Collection[str], path: Path
) -> int:
    """Write a CSV table of the flows that `import_flow` looks for; returns how many.

    Columns: `file` to make, without its ending, and its two images, `first` -> `second`. For videos,
    `first_frame` and `second_frame` count from 0.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "first", "first_frame", "second", "second_frame"])
    wanted = [(clip, pair) for clip in manifest.clips for pair in _with_back(wanted_pairs(clip), masks)]
    for clip, pair in wanted:
        frames = [clip.frames[position] for position in pair]
        places = [(manifest.path(frame.image), frame.video_frame) for frame in frames]
        table.writerow([flow_path(Path(), clip.id, *(frame.name for frame in frames)), *chain(*places)])
    write_text(path, text.getvalue())
    return len(wanted)


def _with_back(pairs: Pairs, masks: Collection[str]) -> list[tuple[int, int]]:
    """The pairs, and after them the reversed pairs if a mask needs these."""
    back = [(neighbour, target) for target, neighbour in pairs] if BACK in masks else []
    return list(dict.fromkeys([*pairs, *back]))


def _find(folder: Path, clip: Clip, pairs: Sequence[tuple[int, int]], why: str) -> list[Path]:
    """The flow file of every pair."""
    stems = [flow_path(folder, clip.id, *(clip.frames[i].name for i in pair)) for pair in pairs]
    found = [
        [path for suffix in SUFFIXES if (path := stem.with_name(stem.name + suffix)).is_file()]
        for stem in stems
    ]
    missing = [stem for stem, paths in zip(stems, found, strict=True) if not paths]
    if missing:
        raise MissingFileError(
            f"{missing[0]}: there is no such flow file, neither {' nor '.join(SUFFIXES)}; "
            f"{len(missing)} of {len(stems)} files of clip {clip.id} are missing; {why}"
        )
    for paths in found:
        if len(paths) > 1:
            raise InputError(
                f"{paths[0]}: the same flow lies beside it as {paths[1].name}; remove one of them"
            )
    return [path for (path,) in found]


def _read(path: Path, sha256: str, clip: Clip, stride_px: int) -> tuple[Tensor, Tensor]:
    """A flow (1, 2, H, W) px, and (1, 1, H, W) float32, 1 where it is known."""
    flow, known = read_flow_file(path, sha256)
    height, width = known.shape
    if (height, width) != clip.size:
        on_grid = (height, width) == grid_size(clip.size, stride_px)
        hint = (
            "it seems to lie on the stride grid: export it with --full"
            if on_grid
            else "resize its frames first"
        )
        raise InputError(
            f"{path}: is {height}x{width} px (HxW), but the frames of clip {clip.id} are read at "
            f"{clip.height_px}x{clip.width_px}; a flow needs their size, and values in their pixels: {hint}"
        )
    return torch.from_numpy(flow)[None], torch.from_numpy(known)[None, None].float()


def _fill(flow: Tensor, known: Tensor, stride_px: int) -> Tensor:
    """Give unknown pixels the mean of the known ones of their cell, so that this is the cell's mean."""
    if known.all():
        return flow
    share = downsample_flow(known.expand_as(flow), stride_px)
    mean = downsample_flow(flow * known, stride_px) / share.clamp(min=1e-9)
    cells = mean.repeat_interleave(stride_px, 2).repeat_interleave(stride_px, 3)
    return torch.where(known > 0, flow, cells[:, :, : flow.shape[2], : flow.shape[3]])


def _import_clip(manifest: Manifest, job: Job, files: Files, options: FlowSection, store: Store) -> None:
    stride_px, masks = options["stride_px"], options["masks"]
    used = sorted({position for pair in job.pairs for position in pair})
    pairs = [(used.index(target), used.index(neighbour)) for target, neighbour in job.pairs]
    images, clipped = read_clip(manifest, job.clip.restrict(used)), 0
    estimate = BatchEstimator(files, stride_px=stride_px, masks=masks)
    with store.create("flow", job.inputs) as entry:
        arrays = allocate_flow(entry, len(pairs), job.clip.size, stride_px=stride_px, with_masks=bool(masks))
        for pair in match_pairs(images, pairs):
            known = files.turn_to(pair.index, stride_px)
            ((flow, bits),) = estimate([pair])
            valid = (
                None if bits is None else bits[0].numpy() * downsample_mask(known, stride_px)[0, 0].numpy()
            )
            try:
                clipped += write_flow(
                    arrays, pair.index, flow[0].numpy(), valid, on_overflow=options["on_overflow"]
                )
            except ValueError as error:
                raise InputError(f"{files.name_of(pair.index)}: {error}") from error
        entry.attributes.update(entry_attributes(job, files, options, clipped))
