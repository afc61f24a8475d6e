"""Instances that a trained detector sees on its training frames, for a further round of learning.

MaskConsist's self-training does this (Liu et al., CVPR 2021): a detector learns anew from what the one before
it predicts. How sure a prediction has to be they do not say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from weclick.common.content import RUN_AGAIN, check_content
from weclick.manifest import Clip, Manifest
from weclick.manifest.read import read_clip
from weclick.models import normalize
from weclick.store import file_digest
from weclick.store.instance_entries import FrameInstances
from weclick.store.model_file import load_model

DETECTOR = "detector"
"""The architecture of a network that finds instances, in its options."""


@dataclass(frozen=True)
class FromNetwork:
    """Asks a detector of an earlier round. See `InstanceSource`.

    Attributes:
        manifest: of the clips.
        detector: the network's model.safetensors.
        min_score: predictions of a lower score are dropped, 0..1.
        device: that the network computes on.

    Raises:
        MissingFileError: there is no such network, when its digest or its answer is asked for.
    """

    manifest: Manifest
    detector: Path
    min_score: float
    device: str = "cpu"

    name = "network"

    @cached_property
    def _sha256(self) -> str:
        return file_digest(self.detector)

    def key_inputs(self, clip: Clip) -> Mapping[str, Any]:
        """The network's digest, and how sure it has to be."""
        return {"detector_sha256": self._sha256, "min_score": float(self.min_score)}

    def make(self, clip: Clip) -> Iterator[FrameInstances]:
        """What the network sees in each frame.

        Raises:
            InputError: the file holds another kind of network, other classes, or weights that are not finite;
                or it changed meanwhile.
        """
        for image in read_clip(self.manifest, clip):
            yield self._seen(image)

    @torch.inference_mode()
    def _seen(self, image: np.ndarray) -> FrameInstances:
        rgb = torch.tensor(image, device=self.device).permute(2, 0, 1)[None].float()
        (found,) = self._network(normalize(rgb))
        masks, classes, scores = (part.cpu().numpy() for part in (found.masks, found.classes, found.scores))
        kept = (scores >= self.min_score) & masks.any((1, 2))
        return FrameInstances(
            masks[kept].astype(bool), classes[kept].astype(np.int64), scores[kept].astype(np.float32)
        )

    @cached_property
    def _network(self) -> nn.Module:
        model = load_model(
            self.detector, self.device, classes=self.manifest.classes.names, architectures=[DETECTOR]
        )[0]
        check_content(self.detector, self._sha256, RUN_AGAIN)
        return model
