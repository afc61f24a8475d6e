"""Soft labels from an ONNX file: any network that takes images and gives logits or probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from weclick.common.errors import InputError
from weclick.common.sections import OnnxSection
from weclick.manifest import Clip, Manifest
from weclick.manifest.names import nearest
from weclick.proxy_labels.clip_images import images_ahead
from weclick.proxy_labels.grids import LABEL_STRIDE_PX, fits, to_label_grid
from weclick.proxy_labels.onnx_graph import About, Session, look_into, open_session
from weclick.proxy_labels.sources import Digests, Labeller

SUM_TOLERANCE = 0.05
"""Probabilities of a cell may miss the sum of 1 by so much: half precision is coarse."""


@dataclass(frozen=True)
class OnnxFile:
    """A network in an ONNX file. See `Source`.

    Attributes:
        options: the section `soft_labels.onnx`, with a path.
        classes: of the data set, in the order of its ids.
        digests: paths -> SHA-256 of their content; may remember them.
    """

    options: OnnxSection
    classes: tuple[str, ...]
    digests: Digests

    @property
    def path(self) -> Path:
        """Of the file."""
        return Path(str(self.options["path"]))

    def key_inputs(self, clip: Clip) -> Mapping[str, Any]:
        """Content of the file, and how it is used.

        Raises:
            InputError: it is no ONNX file, or a package that reads it is missing.
        """
        used = {name: value for name, value in self.options.items() if name not in ("path", "classes")}
        channels = self.options["classes"] or self._about.names
        named = {"channels": channels, "classes": list(self.classes), "stride_px": LABEL_STRIDE_PX}
        return {"onnx": {"sha256": list(self._about.sha256.values()), **used, **named}}

    def attributes(self) -> Mapping[str, Any]:
        """Digests of the file and of the weights beside it, and whether cells may have no label."""
        given = self.options["classes"] or self._about.names
        gaps = isinstance(given, dict) or any(name not in self.classes for name in given or ())
        return {"onnx_sha256": list(self._about.sha256.values()), **({"partial": True} if gaps else {})}

    def load(self, manifest: Manifest, device: str) -> Labeller:
        """Start a session of onnxruntime.

        Raises:
            InputError: the file cannot be run, or takes something else than images.
        """
        return _Network(self, manifest, open_session(self.path, self._about, device))

    @cached_property
    def _about(self) -> About:
        return look_into(self.path, self.digests)

    def class_of(self, channels: int) -> list[int | None]:
        """The class id of each channel of the output; None for a channel that is none of the classes.

        Raises:
            InputError: names or numbers do not fit the file or the data set.
        """
        given, known = self.options["classes"], self._about.names
        where = f"soft_labels.onnx.classes of {self.path}"
        if given is None and known is None:
            raise InputError(
                f"{self.path}: does not say what its {channels} channels are; name the class of each in "
                f"soft_labels.onnx.classes, null for none of {', '.join(self.classes)}"
            )
        if isinstance(given, dict):
            listed = self._of_mapping(given, channels, where)
        elif given is None:
            listed = [name if name in self.classes else None for name in known or ()]
        else:
            listed = list(given)
        if len(listed) != channels:
            raise InputError(
                f"{where}: names {len(listed)} channels, but the file gives {channels}; name every channel "
                "in its order, null for none of the classes"
            )
        for name in listed:
            if name is not None and name not in self.classes:
                raise InputError(
                    f"{where}: names {name!r}, but the data set has {', '.join(self.classes)}"
                    f"{nearest(name, self.classes)}; correct it, or write null for none of them"
                )
        if absent := [name for name in self.classes if name not in listed]:
            raise InputError(
                f"{where}: no channel stands for {', '.join(absent)}, so the student would learn that there "
                "is none; name its channel, or take the class out of the data set"
            )
        return [None if name is None else self.classes.index(name) for name in listed]

    def _of_mapping(self, given: Mapping[str, str], channels: int, where: str) -> list[str | None]:
        listed: list[str | None] = [None] * channels
        known = list(self._about.names or ())
        for channel, name in given.items():
            place = int(channel) if channel.isdecimal() else known.index(channel) if channel in known else -1
            if not 0 <= place < channels:
                raise InputError(
                    f"{where}: names the channel {channel!r}, expected 0..{channels - 1}"
                    + (f" or one of {', '.join(known)}{nearest(channel, known)}" if known else "")
                )
            if listed[place] is not None:
                raise InputError(f"{where}: names the channel {place} twice, the second time as {channel!r}")
            listed[place] = name
        return listed


class _Network:
    """Labels frames by a session. See `Labeller`."""

    stride_px = LABEL_STRIDE_PX

    def __init__(self, source: OnnxFile, manifest: Manifest, session: Session):
        self._source, self._manifest, self._session = source, manifest, session
        self._mean, self._std = (
            np.array(values, np.float32) for values in (source.options["mean"], source.options["std"])
        )
        fixed, wanted = session.size, source.options["size"]
        if fixed and wanted and tuple(wanted) != fixed:
            raise InputError(
                f"soft_labels.onnx.size is {_told(wanted)}, but {source.path} takes {_told(fixed)} px (HxW); "
                "leave it out"
            )
        self._size = fixed or ((wanted[0], wanted[1]) if wanted else None)

    def __call__(self, clips: Iterable[Clip]) -> Iterator[tuple[Clip, np.ndarray]]:
        """See `Labeller`."""
        with closing(images_ahead(self._manifest, clips)) as images:
            for clip, image in images:
                yield clip, to_label_grid(self._probabilities(image), image.shape[:2])[0].numpy()

    def _probabilities(self, image: np.ndarray) -> Tensor:
        """(H, W, 3) uint8 -> (1, K, h, w) float32 on the grid of the network."""
        size = self._size or (image.shape[0], image.shape[1])
        if size != image.shape[:2]:
            image = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
        rgb = (image.astype(np.float32) - self._mean) / self._std
        scores = torch.from_numpy(self._session.run(rgb.transpose(2, 0, 1)[None])).float()
        if not fits(scores.shape[-2:], size):
            raise InputError(
                f"{self._source.path}: gives {_told(scores.shape[-2:])} cells of an image of {_told(size)} "
                "px (HxW), which do not cover it; export the network with an output of its whole image"
            )
        logits = self._source.options["output"] == "logits"
        scores = self._checked_logits(scores).softmax(1) if logits else self._checked(scores)
        class_of = self._source.class_of(scores.shape[1])
        used = [channel for channel, class_id in enumerate(class_of) if class_id is not None]
        ids = torch.tensor([class_of[channel] for channel in used])
        empty = scores.new_zeros(1, len(self._source.classes), *scores.shape[-2:])
        return empty.index_add_(1, ids, scores[:, used])

    def _checked_logits(self, scores: Tensor) -> Tensor:
        """Logits, which add up to 1 in no cell but by chance. A second softmax would level them out."""
        if scores.shape[1] > 1 and float(scores.min()) >= 0 and float((scores.sum(1) - 1).abs().max()) < 1e-2:
            raise InputError(
                f"{self._source.path}: gives values of at least 0 that add up to 1 over the channels, so "
                "they are probabilities and no logits; set soft_labels.onnx.output: probabilities"
            )
        return scores

    def _checked(self, scores: Tensor) -> Tensor:
        total = scores.sum(1)
        if not (float(scores.min()) >= -1e-4 and float((total - 1).abs().max()) <= SUM_TOLERANCE):
            raise InputError(
                f"{self._source.path}: gives values {float(scores.min()):.3g}..{float(scores.max()):.3g} "
                f"with sums over the channels of {float(total.min()):.3g}..{float(total.max()):.3g}, "
                "which are no probabilities; set soft_labels.onnx.output: logits"
            )
        return scores.clamp(min=0)


def _told(size: Sequence[int]) -> str:
    return "x".join(map(str, size))
