"""Proxy labels from SAM 2: each click becomes an object, which is followed over the whole clip."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from weclick.common.digest import canonical_json
from weclick.common.errors import InputError
from weclick.common.sections import Sam2Section
from weclick.manifest import IGNORE, Clip
from weclick.manifest.click_table import ClickTable
from weclick.manifest.clips import has_background
from weclick.proxy_labels.sam2_frames import square_frames
from weclick.proxy_labels.sam2_maps import SurestObjects
from weclick.proxy_labels.sam2_model import load_sam2, model_files
from weclick.proxy_labels.sam2_prompts import classes_by_object, listed, prompts_of
from weclick.proxy_labels.sam2_tracking import track
from weclick.proxy_labels.sources import Digests

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Sam2:
    """Masks of SAM 2 (Ravi et al. 2024, https://arxiv.org/abs/2408.00714) at clicks. See `ProxySource`.

    Attributes:
        options: the section `proxy_labels.sam2`.
        classes: of the data set, in the order of its ids.
        clicks: of the split.
        read: gives the frames of a clip in order, (H, W, 3) uint8 RGB, as `read_clip` does.
        digests: paths -> SHA-256 of their content; may remember them.
        device: where the network runs.
    """

    options: Sam2Section
    classes: tuple[str, ...]
    clicks: ClickTable
    read: Callable[[Clip], Iterator[np.ndarray]]
    digests: Digests
    device: str = "cpu"

    name = "sam2"

    def key_inputs(self, clip: Clip) -> Mapping[str, Any]:
        """The content of the model's files, the clip's clicks, and how they are used.

        Raises:
            InputError: there is no such model, or the clicks are of other classes.
        """
        self._check_classes()
        clicks = canonical_json(listed(clip, self.clicks))
        return {
            "sam2": {
                "version": FORMAT_VERSION,
                "model_sha256": list(self._files.values()),
                "clicks_sha256": hashlib.sha256(clicks.encode()).hexdigest(),
                "every": self.options["every"],
                "negatives": self.options["negatives"],
            }
        }

    def make(self, clip: Clip) -> list[tuple[int, np.ndarray]]:
        """The class maps of every n-th frame and of clicked frames; none of a clip without a click.

        For a while, this takes 5 bytes for each pixel of these frames.

        Raises:
            InputError: as in `key_inputs`, or as `load_sam2` says.
        """
        self._check_classes()
        prompts = prompts_of(clip, self.clicks, self.options["negatives"])
        if not prompts:
            return []
        positions = sorted({*range(0, len(clip.frames), self.options["every"]), *prompts})
        beside = 0 if has_background(self.classes) else IGNORE  # pixels on no object
        maps = {t: SurestObjects(clip.size, beside) for t in positions}
        class_of = classes_by_object(prompts)
        with square_frames(self.read(clip), self._model.config.image_size) as frames:
            for reverse in (False, True):
                for t, objects, logits in track(self._model, frames, prompts, clip.size, reverse=reverse):
                    if t in maps:
                        maps[t].add(logits, [class_of[each] for each in objects])
        return [(t, surest.class_map()) for t, surest in maps.items()]

    @cached_property
    def _files(self) -> Mapping[Path, str]:
        files = model_files(self.options["model"])
        found = self.digests(files)
        return {file: found[file] for file in files}

    @cached_property
    def _model(self) -> Any:
        return load_sam2(self._files, self.device)

    def _check_classes(self) -> None:
        if self.clicks.classes != self.classes:
            raise InputError(
                f"the clicks are of the classes {', '.join(self.clicks.classes)}, but the data set has "
                f"{', '.join(self.classes)}; run the clicks stage again"
            )
