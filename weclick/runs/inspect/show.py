"""Draws what `weclick inspect` describes, into one PNG."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from weclick.clicks import read_clicks
from weclick.common.files import read_json
from weclick.common.spread import spread_to_ends
from weclick.manifest import Manifest, read_manifest, read_manifests
from weclick.manifest.read import read_clip
from weclick.runs.inspect.instances import instance_pictures
from weclick.runs.inspect.kind import kind_of
from weclick.runs.inspect.labels import label_pictures
from weclick.runs.inspect.maps import map_pictures
from weclick.runs.report.flow_color import flow_to_rgb, legend_scale, wheel_legend
from weclick.runs.report.pictures import draw_clicks
from weclick.store import (
    Entry,
    Store,
    check_attributes,
    decode_soft_labels,
    keys_in,
    open_entry,
    read_needs,
)
from weclick.store.flow_entries import checked_stride, read_flow
from weclick.store.model_file import load_model
from weclick.store.steps import named_steps

AT_MOST = 12
"""Pictures in one file at most."""

Named = tuple[str, np.ndarray]
"""A title, and (H, W, 3 or 4) uint8 or (H, W) float 0..1."""


def show(path: Path, output: Path, *, manifests: Sequence[Path], store: Store) -> None:
    """Draw what a path holds.

    Args:
        path: as for `describe`.
        output: PNG file to write.
        manifests: they name the frames. A click table needs them; maps of classes, labels and instances are
            drawn over them.
        store: the entries of an index are looked up in it.

    Raises:
        ValueError: nothing of the path can be drawn, or the manifest is missing.
    """
    match kind_of(path):
        case "checkpoint":
            _draw_checkpoint(path, output)
            return
        case "manifest":
            pictures = _first_frames(read_manifest(path))
        case "clicks":
            pictures = _clicked_frames(path, manifests)
        case "tags":
            pictures = []  # they tell no place
        case "index":
            pictures = _of_entry(_first_entry(path, store), manifests)
        case _:
            pictures = _of_entry(open_entry(path), manifests)
    if not pictures:
        raise ValueError(f"{path}: holds nothing that can be drawn")
    _draw(pictures, output)


def _first_frames(manifest: Manifest) -> list[Named]:
    clips = manifest.clips[:AT_MOST]
    return [(clip.id, next(iter(read_clip(manifest, clip.restrict([0]))))) for clip in clips]


def _clicked_frames(path: Path, manifests: Sequence[Path]) -> list[Named]:
    if not manifests:
        raise ValueError(
            f"{path}: clicks are drawn on frames; name the split's manifests too, "
            "e.g. --manifest results/manifest/train/0.json"
        )
    manifest, table = read_manifests(manifests), read_clicks(path)
    chosen = [
        (clip, position)
        for clip in manifest.clips
        for position in [t for t in clip.targets if len(table.of(clip.id, clip.frames[t].name))][:1]
    ]
    pictures = []
    for clip, position in chosen[:AT_MOST]:
        name = clip.frames[position].name
        image = next(iter(read_clip(manifest, clip.restrict([position]))))
        points = table.of(clip.id, name)
        pictures.append(
            (f"{clip.id}, {name}: {len(points)} clicks", draw_clicks(image, points, manifest.classes.palette))
        )
    return pictures


def _first_entry(path: Path, store: Store) -> Entry:
    kind = str(read_json(path, "frames, flow, soft_labels, ...")["kind"])
    for key in keys_in(read_needs([path], kind)):
        if entry := store.find(kind, key):
            return entry
    raise ValueError(
        f"{path}: the store ({', '.join(map(str, store.roots))}) has none of its entries, so nothing can be "
        "drawn; give other roots by --root or WECLICK_CACHE, or run the stage again"
    )


def _of_entry(entry: Entry, manifests: Sequence[Path]) -> list[Named]:
    check_attributes(entry)
    match entry.meta["kind"]:
        case "frames":
            array, names = named_steps(entry, "rgb")
            return [(names[t], np.asarray(array[t])) for t in spread_to_ends(range(len(names)), AT_MOST - 1)]
        case "masks" | "proxy_labels" | "confident_labels" if not entry.attributes["frames"]:
            return []  # no frame of the clip got a label
        case "proxy_labels" | "confident_labels" if manifests:
            return label_pictures(entry, manifests, AT_MOST)
        case "masks" | "proxy_labels" | "confident_labels":
            return _masks(entry)
        case "instances":
            return instance_pictures(entry, manifests, AT_MOST)
        case "flow":
            return _flows(entry)
        case "cams":
            return map_pictures(entry, manifests, AT_MOST)
        case "soft_labels":
            return _soft_labels(entry)
    raise ValueError(
        f"{entry.path}: entries of kind {entry.meta['kind']} have no picture; show the checkpoint"
    )


def _masks(entry: Entry) -> list[Named]:
    array, names = named_steps(entry, "classes")
    colors = np.full((256, 3), 255, np.uint8)  # what is ignored is white
    colors[: len(entry.attributes["classes"])] = _distinct_colors(len(entry.attributes["classes"]))
    return [(names[t], colors[np.asarray(array[t])]) for t in spread_to_ends(range(len(names)), AT_MOST - 1)]


def _flows(entry: Entry) -> list[Named]:
    pairs, stride = entry.attributes["pairs"], checked_stride(entry)
    chosen = spread_to_ends(range(len(pairs)), AT_MOST - 1)
    flows = [read_flow(entry, index)[0] for index in chosen]
    scale = legend_scale(flows)
    pictures = [
        (" → ".join(pairs[index]), flow_to_rgb(flow, max_px=scale))
        for index, flow in zip(chosen, flows, strict=True)
    ]
    return [*pictures, (f"rim: {scale:g} px of the grid, {scale * stride:g} px of the image", wheel_legend())]


def _soft_labels(entry: Entry) -> list[Named]:
    array, names = named_steps(entry, "probabilities")
    colors = _distinct_colors(len(entry.attributes["classes"]))
    pictures: list[Named] = []
    for t in spread_to_ends(range(len(names)), AT_MOST // 2):
        probabilities = decode_soft_labels(torch.from_numpy(array[t]), entry.attributes).numpy()
        known = probabilities.sum(0)[..., None] > 0  # black where no label is
        likeliest = np.where(known, colors[probabilities.argmax(0)], np.uint8(0))
        pictures.append((f"{names[t]}: likeliest class", likeliest))
        pictures.append((f"{names[t]}: its probability", probabilities.max(0)))
    return pictures


def _distinct_colors(count: int) -> np.ndarray:
    """(count, 3) uint8; an entry knows the names of its classes, but no palette."""
    from matplotlib import colormaps

    rgb = colormaps["hsv"](np.arange(count) / count)[:, :3] * np.where(np.arange(count) % 2, 0.65, 1)[:, None]
    return np.rint(255 * rgb).astype(np.uint8)


def _figure(**size: Any) -> Any:
    """A figure that Agg draws, whatever backend the machine would choose."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained", **size)
    FigureCanvasAgg(figure)
    return figure


def _draw(pictures: Sequence[Named], output: Path) -> None:
    columns = min(3, len(pictures))
    rows = -(-len(pictures) // columns)
    aspect = pictures[0][1].shape[0] / pictures[0][1].shape[1]
    figure = _figure(figsize=(4.2 * columns, (4.2 * aspect + 0.35) * rows))
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (title, image) in zip(islice(axes.flat, len(pictures)), pictures, strict=True):
        axis.imshow(image, vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
        axis.set_title(title, fontsize=8)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=120, format="png")


def _draw_checkpoint(path: Path, output: Path) -> None:
    model, card = load_model(path, with_motion=True, architectures=None)
    sizes: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        layer = ".".join(name.split(".")[:2])
        sizes[layer] = sizes.get(layer, 0) + parameter.numel()
    figure = _figure(figsize=(11, 0.6 + 0.26 * max(len(sizes), len(card.classes.names))))
    left, right = figure.subplots(1, 2)
    left.barh([*sizes][::-1], [*sizes.values()][::-1], color="0.4")
    left.set_xlabel("parameters")
    colors = [tuple(part / 255 for part in color) for color in card.classes.palette]
    right.barh([*card.classes.names][::-1], [1] * len(colors), color=colors[::-1])
    right.set_xticks([])
    right.set_title("classes")
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=120, format="png")
