"""Flows of the store as files that other tools read, and their names in a folder."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from weclick.common.errors import InputError, room_to_write
from weclick.common.files import file_inside
from weclick.common.progress import progress_bar
from weclick.common.short_names import short_path
from weclick.flow.formats import write_flo, write_kitti_flow
from weclick.geometry import resize_flow
from weclick.store import Entry, Store, check_attributes, keys_in
from weclick.store.flow_entries import checked_stride, grid_flow

ENDING = {"flo": ".flo", "kitti": ".png"}


def flow_path(folder: Path, clip: str, target: str, neighbour: str) -> Path:
    """The path of the flow target -> neighbour of a clip in a folder of flow files, without its ending.

    It is `<clip>/<target>__<neighbour>`. If that could be read in two ways, since a name has underscores,
    or is too long for a file system, it is `<clip>/<target>/<neighbour>`.
    """
    name = f"{target}__{neighbour}"
    ways = sum(name.startswith("__", i) for i in range(len(name)))
    if ways == 1 and short_path(name, ENDING["flo"]) == name:
        return folder / clip / name
    return folder / clip / short_path(f"{target}/{neighbour}", ENDING["flo"])


def export_flow(
    index: Mapping[str, str | Mapping[str, str]],
    folder: Path,
    *,
    store: Store,
    file_format: Literal["flo", "kitti"] = "flo",
    full: bool = False,
    clips: Collection[str] = (),
) -> int:
    """Write every stored flow into `folder` as `<clip>/<target>__<neighbour>` with the format's ending.

    Frames are named as in the clip that made the entry. That may be a colleague's clip of the same frames,
    with his names.

    Args:
        index: clip id -> key, or clip id -> need -> key, as from `read_needs`. What several needs list is
            written once.
        folder: made if missing; files of the same name are replaced. Nothing is written outside of it.
        store: holds the entries.
        file_format: flo for Middlebury's float32, or kitti for PNGs of 1/64 px. Only PNGs mark valid pixels:
            those for which all masks of the entry hold.
        full: at the size of the image, in its pixels; else on the stride grid, in px of the grid.
        clips: ids to write; none: all.

    Returns:
        How many files were written.

    Raises:
        InputError: the index has no such clip, or the name of a clip or frame leads out of the folder.
        EntryMissingError: the store lacks an entry.
        DamagedEntryError: the description of an entry does not fit its arrays.
        ValueError: a flow does not fit KITTI's ±512 px.
        DiskFullError: there is no room.
    """
    unknown = sorted(set(clips) - index.keys())
    if unknown:
        raise InputError(
            f"--clip {unknown[0]!r} is not in the index; its {len(index)} clips are "
            f"{', '.join(sorted(index)[:20])}"
        )
    flows: dict[str, tuple[Entry, int]] = {}
    for clip in sorted(clips or index):
        for key in keys_in({clip: index[clip]}):
            flows |= _named(clip, store.get("flow", key), ENDING[file_format])
    with progress_bar("flow-export", len(flows), "pairs") as bar, room_to_write(folder):
        for name, (entry, i) in flows.items():
            _write(file_inside(folder, name), *(full_flow(entry, i) if full else grid_flow(entry, i)))
            bar.advance()
    return len(flows)


def _named(clip: str, entry: Entry, ending: str) -> dict[str, tuple[Entry, int]]:
    """Name of a file -> the flow of an entry that goes there."""
    check_attributes(entry)
    checked_stride(entry)
    names = (flow_path(Path(), clip, *pair) for pair in entry.attributes["pairs"])
    return {f"{name}{ending}": (entry, i) for i, name in enumerate(names)}


def _write(path: Path, flow: np.ndarray, valid: np.ndarray) -> None:
    """Write a file in the format of its ending; nobody sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ENDING["flo"]:
        write_flo(path, flow)
    else:
        write_kitti_flow(path, flow, valid)


def full_flow(entry: Entry, pair_index: int) -> tuple[np.ndarray, np.ndarray]:
    """One flow of a checked entry at the size of its image: upsampled bilinearly, its values scaled along.

    Returns:
        (2, H, W) float32 px of the image; and (H, W) bool, the pixels whose cell is valid.
    """
    stride_px, height, width = map(int, (entry.attributes["stride_px"], *entry.attributes["image_size"]))
    flow, valid = grid_flow(entry, pair_index)
    rows, columns = valid.shape
    whole_cells = (rows * stride_px, columns * stride_px)  # the last ones may reach beyond the image
    full = resize_flow(torch.from_numpy(flow)[None], whole_cells)[0, :, :height, :width]
    pixels = valid.repeat(stride_px, 0).repeat(stride_px, 1)[:height, :width]
    return np.ascontiguousarray(full.numpy()), pixels
