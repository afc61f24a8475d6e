"""The `cams` stage: it stores where a classifier sees the classes of each clip, frame by frame.

An entry holds the class activation maps of one clip (Zhou et al. 2016), merged over scales and mirror images:

- `maps` (T, C, h, w) uint8, 255 x map / its maximum, on the grid of STRIDE_PX;
- `peaks` (T, C) float32, these maxima; 0 where a map is empty;
- `scores` (T, K) float32 in 0..1, how sure the classifier is that a class occurs; 0 for background.

Class 0 is the background if that is its name; else it has maps and scores like any other class.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from torch import Tensor

from weclick.common.errors import InputError
from weclick.common.progress import Bar
from weclick.common.sections import CamsSection
from weclick.geometry import grid_size
from weclick.manifest import Clip, Manifest
from weclick.manifest.clips import has_background
from weclick.manifest.read import read_clip
from weclick.manifest.tag_table import TagTable
from weclick.proxy_labels.cam_frames import STRIDE_PX, maps_of, scores_of
from weclick.proxy_labels.cam_sources import BySeveral, CamSource, Mapper, shown_classes
from weclick.proxy_labels.merging import LEAST
from weclick.store import Entry, EntryWriter, Store, check_attributes, damaged, entry_key
from weclick.store.fill import fill

FORMAT_VERSION = 1

STEPS = 255
"""Of a stored map, from 0 to its maximum."""


def compute_cams(
    manifest: Manifest,
    source: CamSource,
    tags: TagTable,
    *,
    options: CamsSection,
    store: Store,
    device: str = "cpu",
) -> dict[str, str]:
    """Make sure that the store holds the class activation maps of every frame of every clip.

    Args:
        manifest: one shard of the training split. Maps of other splits would bring tags to inference.
        source: makes them. Loaded only if a clip is missing.
        tags: of the split; they say which classes of a clip have maps.
        options: the section `cams`.
        store: its entries are not made again.
        device: where the network runs.

    Returns:
        Clip id -> key of its entry. It has maps of the clip's tags, and of classes whose score exceeds
        `min_score` in some frame; if there are none, of the class of the best score.

    Raises:
        InputError: tags and manifest have different classes, there is no class but one, a frame
            changed since the manifest was made, or as the source says.
    """
    check_classes(manifest, tags)
    made_from = source.key_inputs()
    names = manifest.classes.names
    asked = {
        clip.id: cams_inputs(clip, tags.of_clip(clip.id), made_from, options, names=names)
        for clip in manifest.clips
    }

    @cache
    def load() -> Mapper | BySeveral:
        return source.load(manifest, device)

    def map_some(clips: Iterator[Clip], bar: Bar) -> None:
        for clip in clips:
            scores = scores_of(load(), read_clip(manifest, clip), device)
            tagged, shown = asked[clip.id]["tags"], shown_classes(names)
            class_ids = mapped_classes(scores, tagged, options["min_score"], shown)
            images, merging = read_clip(manifest, clip), _merging(options)
            maps = maps_of(load(), images, class_ids, **merging, device=device)
            with store.create("cams", asked[clip.id]) as entry:
                arrays = _allocate(entry, clip, len(class_ids), len(names))
                for t, found in enumerate(maps):
                    arrays["scores"][t] = scores[t]
                    arrays["maps"][t], arrays["peaks"][t] = quantised(found)
                    bar.advance()
                told = {"class_ids": class_ids, "classes": list(names), **made_from}
                entry.attributes.update(_attributes(clip, options) | told)

    fill(
        store,
        "cams",
        manifest.clips,
        map_some,
        key=lambda clip: entry_key("cams", asked[clip.id]),
        size=lambda clip: len(clip.frames),
        what="class maps",
        unit="frames",
    )
    return {clip: entry_key("cams", inputs) for clip, inputs in asked.items()}


def check_classes(manifest: Manifest, tags: TagTable) -> None:
    """Check that tags are of the classes of a manifest, and that it has two of them at least.

    Raises:
        InputError: they are not.
    """
    names = manifest.classes.names
    if tags.classes != names:
        raise InputError(
            f"the tags are of the classes {', '.join(tags.classes)}, but the data set has "
            f"{', '.join(names)}; run the tags stage again"
        )
    if len(names) < 2:
        raise InputError(
            f"the data set has the one class {names[0]!r}, so there is nothing to tell it from; name its "
            "other classes, or begin with one called background"
        )


def cams_inputs(
    clip: Clip,
    tags: Iterable[int],
    made_from: Mapping[str, Any],
    options: CamsSection,
    *,
    names: Sequence[str],
) -> Mapping[str, Any]:
    """What the maps of a clip are made from. Their key is its digest.

    Args:
        clip: with the digests of its frames.
        tags: ids of the clip's classes; background has no map.
        made_from: `key_inputs` of their source.
        options: the section `cams`.
        names: of the data set's classes, which tell whether there is a background.
    """
    return {
        "format": FORMAT_VERSION,
        "frames": [frame.digest for frame in clip.frames],
        "tags": sorted(set(tags) & set(shown_classes(names))),
        **({} if has_background(names) else {"background": False}),
        **made_from,
        **_merging(options),
        "min_score": float(options["min_score"]),
        "stride_px": STRIDE_PX,
    }


def _merging(options: CamsSection) -> dict[str, Any]:
    """How maps are merged. The order in which people name the scales changes nothing."""
    scales = sorted(float(scale) for scale in options["scales"])
    return {"scales": scales, "flip": options["flip"], "merge": options["merge"]}


def mapped_classes(
    scores: np.ndarray, tags: Iterable[int], min_score: float, shown: Sequence[int]
) -> list[int]:
    """The classes of a clip that get maps, see `compute_cams`.

    Args:
        scores: (T, K) in 0..1.
        tags: ids of the clip's classes.
        min_score: a class without a tag has to exceed it in some frame.
        shown: ids of the classes that may have maps.
    """
    best = scores.max(0)
    seen = [k for k in shown if best[k] > min_score]
    return sorted({*tags, *seen}) or [max(shown, key=lambda k: best[k])]


def quantised(maps: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Maps (C, h, w), 0 or more -> uint8 of 255 x map / its maximum, and these maxima, (C,) float32."""
    peaks = maps.amax((1, 2))
    steps = (STEPS * maps / peaks.where(peaks > 0, 1)[:, None, None]).round()
    return steps.byte().cpu().numpy(), peaks.float().cpu().numpy()


def _allocate(entry: EntryWriter, clip: Clip, mapped: int, classes: int) -> dict[str, Any]:
    frames, grid = len(clip.frames), grid_size(clip.size, STRIDE_PX)
    return {
        "maps": entry.create_array(
            "maps",
            shape=(frames, mapped, *grid),
            chunks=(1, mapped, *grid),
            dtype="uint8",
            axes="TCHW",
            codec="zstd_bytes",
        ),
        "peaks": entry.create_array(
            "peaks", shape=(frames, mapped), chunks=(1, mapped), dtype="float32", axes="TC"
        ),
        "scores": entry.create_array(
            "scores", shape=(frames, classes), chunks=(1, classes), dtype="float32", axes="TK"
        ),
    }


def _attributes(clip: Clip, options: CamsSection) -> dict[str, Any]:
    return {
        "frames": [frame.name for frame in clip.frames],
        "image_size": list(clip.size),
        "stride_px": STRIDE_PX,
        **_merging(options),
        "axes": "TCHW",
    }


def read_maps(entry: Entry, t: int) -> tuple[np.ndarray, list[int]]:
    """The maps of one frame of an entry.

    Args:
        entry: of the kind "cams".
        t: position of the frame in the entry's attribute `frames`.

    Returns:
        (C, h, w) float32 in 0..1, in steps of 1/255 as `merge_maps` gives them: each over its own maximum +
        1e-5; an empty map is 0. They lie on the grid of `stride_px`. And the C class ids.

    Raises:
        DamagedEntryError: it is not what was committed, or its parts do not fit each other.
    """
    check_attributes(entry)
    told = entry.attributes
    frames, mapped = len(told["frames"]), len(told["class_ids"])
    grid = grid_size(told["image_size"], told["stride_px"])
    arrays = {name: entry.array(name) for name in ("maps", "peaks")}
    for name, shape in (("maps", (frames, mapped, *grid)), ("peaks", (frames, mapped))):
        if (found := arrays[name].shape) != shape:
            raise damaged(entry.path, f"{name} is of shape {found}, expected {shape}")
    peaks = arrays["peaks"][t][:, None, None]
    return arrays["maps"][t] * (peaks / (peaks + LEAST) / np.float32(STEPS)), list(told["class_ids"])
