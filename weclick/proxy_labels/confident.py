"""The `confident_labels` stage: where the maps of a classifier are sure (Ahn et al., CVPR 2019, "IRN").

An entry holds class maps of frames of a clip, as one of `proxy_labels` does. A pixel has the class whose map
wins there over a high threshold, 0 where none wins over a low one, and else 255. A dense CRF carries both
answers to the borders of the image first. The network of relations learns from pairs of sure pixels.

Only classes with instances count. So 0 is all that is none of these, whatever class 0 is called.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weclick.common.crf_package import require_crf
from weclick.common.errors import InputError
from weclick.common.progress import Bar
from weclick.manifest import IGNORE, Classes, Clip, Manifest
from weclick.manifest.read import read_clip
from weclick.manifest.tag_table import TagTable
from weclick.proxy_labels.amplified_maps import AmplifiedMaps, MapSource, classes_with_instances
from weclick.proxy_labels.cams import check_classes
from weclick.proxy_labels.grids import to_grid
from weclick.proxy_labels.label_crf import LabelCRF
from weclick.proxy_labels.proxy_labels import check_split, write_class_maps
from weclick.store import Store, entry_key
from weclick.store.fill import fill

FORMAT_VERSION = 1

NAME = "cams"
"""What the labels are made from, as their entries say."""


def make_confident_labels(
    manifest: Manifest,
    tags: TagTable,
    *,
    cams: Mapping[str, str],
    flow: Mapping[str, str],
    options: Mapping[str, Any],
    fcam: Mapping[str, Any],
    store: Store,
    allow_val: bool = False,
) -> dict[str, str]:
    """Make sure that the store holds the confident labels of every clip.

    Args:
        manifest: one shard of the training split.
        tags: of the split.
        cams: clip id -> key of its maps.
        flow: clip id -> key of its flow of the need `step`; not read if `fcam.motion` is none.
        options: the section `confident_labels`.
        fcam: the section `fcam`.
        store: its entries are not made again.
        allow_val: whether clips with scored frames may have such labels.

    Returns:
        Clip id -> key of its entry: array `classes` (N, H, W) uint8, 255 not known, of those N frames that
        have a tag with a map. `read_proxy_labels` reads it.

    Raises:
        InputError: a clip has scored frames, no maps or no flow; maps, flow or tags do not fit the
            manifest; class 0 has instances; or the CRF's package is not there.
        DamagedEntryError: maps or flow are not what was committed.
    """
    check_split(manifest, allow_val=allow_val, what="confident labels")
    check_classes(manifest, tags)
    check_nothing(manifest.classes)
    maps = MapSource(manifest.classes, tags, cams, flow, fcam, store)
    asked = {clip.id: confident_labels_inputs(clip, maps, options) for clip in manifest.clips}

    def label_some(clips: Iterator[Clip], bar: Bar) -> None:
        labeller = Labeller(manifest, maps, options)
        for clip in clips:
            labels = list(labeller.labels(clip, bar))
            with store.create("confident_labels", asked[clip.id]) as entry:
                write_class_maps(entry, manifest, clip, labels, source=NAME, chunk_px=options["chunk_px"])

    fill(
        store,
        "confident_labels",
        manifest.clips,
        label_some,
        key=lambda clip: entry_key("confident_labels", asked[clip.id]),
        size=lambda clip: len(clip.frames),
        what="confident labels",
        unit="frames",
    )
    return {clip: entry_key("confident_labels", inputs) for clip, inputs in asked.items()}


def check_nothing(classes: Classes) -> None:
    """Check that class 0 may stand for all that is no object.

    Raises:
        InputError: it has instances itself.
    """
    if 0 in classes_with_instances(classes):
        raise InputError(
            f"class 0, {classes.names[0]!r}, has instances, but in confident labels 0 is all that has none; "
            "begin the list of classes with one called background, or name the others as instance_classes"
        )


def confident_labels_inputs(clip: Clip, maps: MapSource, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the confident labels of a clip are made from. Their key is its digest.

    Args:
        clip: with the digests of its frames.
        maps: where the clip's maps come from.
        options: the section `confident_labels`.

    Raises:
        InputError: the clip has no maps, or no flow.
    """
    return {
        "format": FORMAT_VERSION,
        "frames": [frame.digest for frame in clip.frames],
        "classes": list(maps.classes.names),
        **maps.key_inputs(clip),
        **{name: float(options[name]) for name in ("foreground", "background")},
        "crf": crf_of(options).key_inputs(),
        "chunk_px": options["chunk_px"],
    }


def crf_of(options: Mapping[str, Any]) -> LabelCRF:
    """The CRF of the section `confident_labels`."""
    return LabelCRF(
        options["crf"],
        options["backend"],
        options["grid_px"],
        options["iterations"],
        options["confidence"],
    )


@dataclass(frozen=True)
class Labeller:
    """Makes the labels of clips. See `make_confident_labels`.

    Attributes:
        manifest: of the clips.
        maps: where their maps come from.
        options: the section `confident_labels`.

    Raises:
        InputError: the CRF's package is wanted and not there.
    """

    manifest: Manifest
    maps: MapSource
    options: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.options["crf"] and self.options["backend"] == "lattice":
            require_crf("confident_labels.backend is lattice")

    def labels(self, clip: Clip, bar: Bar | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """The labels of a clip.

        Frames without a tag have none, nor have those where the map of every tag is empty: nothing is known
        of them.

        Args:
            clip: of the manifest.
            bar: advances by each frame.

        Yields:
            Position in `clip.frames`, and (H, W) uint8 class ids, 0 where there is no object, 255 unknown.
        """
        shown = [self.maps.shown(clip, t) for t in range(len(clip.frames))]
        maps = self.maps.of_clip(clip) if any(shown) else None
        crf = crf_of(self.options)
        images: Iterator[np.ndarray | None] = read_clip(self.manifest, clip)
        if maps is None or not crf.preset:  # nothing looks at colours
            images = iter([None] * len(clip.frames))
        for position, (class_ids, image) in enumerate(zip(shown, images, strict=True)):
            if maps is not None and class_ids:
                label = self._label(maps, position, class_ids, image, crf)
                if label is not None:
                    yield position, label
            if bar:
                bar.advance()

    def _label(
        self,
        maps: AmplifiedMaps,
        position: int,
        class_ids: list[int],
        image: np.ndarray | None,
        crf: LabelCRF,
    ) -> np.ndarray | None:
        found = maps.of(position, class_ids)
        if not found.any():
            return None
        size = maps.clip.size
        levels = to_grid(found[None], size, maps.stride_px, crf.start_px)[0]
        sets = torch.stack(
            [_over(levels, float(self.options[name])) for name in ("foreground", "background")]
        )
        blank = np.zeros((*size, 3), np.uint8)
        foreground, background = crf.refined(sets, blank if image is None else image)
        ids = np.array([0, *class_ids], np.uint8)
        return np.where(foreground > 0, ids[foreground], np.where(background > 0, IGNORE, 0)).astype(np.uint8)


def _over(levels: Tensor, threshold: float) -> Tensor:
    """Maps (C, h, w) behind one of a threshold, (1 + C, h, w)."""
    return torch.cat([torch.full_like(levels[:1], threshold), levels])
