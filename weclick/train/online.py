"""Teacher and flow in the training loop: for comparison with the caches, and where no disk has room.

They see what the student sees: crops, scaled, flipped and jittered. Stored soft labels and flow are made of
whole frames and cropped afterwards. So they know more of the surroundings, and cost no network in the loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from weclick.common import sections
from weclick.common.errors import MissingFileError
from weclick.flow import build_estimator
from weclick.flow.batch_estimator import BatchEstimator
from weclick.flow.estimators import estimator_digest
from weclick.flow.pairs import PairImages
from weclick.models import IMAGENET_MEAN, IMAGENET_STD
from weclick.models.inference import fused_for_inference
from weclick.store import file_digest
from weclick.store.flow_entries import MASK_BITS, MASKS
from weclick.store.model_file import load_model
from weclick.train.data.batch import Batch
from weclick.train.network_code import network_code

AT_ONCE = 4
"""Images that the teacher takes at once."""


@dataclass(frozen=True)
class OnlineSection:
    """The section `student.online` of a configuration that names a teacher.

    Attributes:
        options: teacher, estimator, options.
    """

    options: sections.OnlineSection

    @property
    def reads(self) -> frozenset[str]:
        """The kinds of caches that it reads: none."""
        return frozenset()

    @classmethod
    def of(cls, config: sections.Selection) -> OnlineSection | None:
        """The section of a configuration; None if it names no teacher, or has no student."""
        section = config["student"]["online"] if "student" in config else None
        return cls(section) if section and section["teacher"] else None

    def key_inputs(self, *, flow: bool) -> dict[str, Any]:
        """Inputs of a student's key: the contents of teacher and estimator, and the code.

        Args:
            flow: whether a loss looks at flow.

        Raises:
            MissingFileError: there is no such teacher.
        """
        teacher = _teacher(self.options)
        if not teacher.is_file():
            raise MissingFileError(
                f"student.online.teacher is {str(teacher)!r}, which is no file; give the "
                "model.safetensors of a trained teacher, or null to read stored soft labels"
            )
        estimator = estimator_digest(self.options["estimator"], **self.options["options"]) if flow else None
        code = network_code(
            "weclick.train.online", "weclick.store.model_file", "weclick.models.timm_backbones"
        )
        return {"code": code, "teacher_sha256": file_digest(teacher), "flow": estimator}

    def start(
        self, *, classes: Sequence[str], stride_px: int, occlusion: str | None, device: torch.device | str
    ) -> Online:
        """Load teacher and estimator; the arguments are those of `Online`."""
        return Online(self.options, classes=classes, stride_px=stride_px, occlusion=occlusion, device=device)


class Online:
    """Completes batches that were streamed without soft labels and flow.

    Args:
        options: the section `student.online`: teacher, estimator, options.
        classes: names of the classes that the teacher should know.
        stride_px: of the student's logits.
        occlusion: masks that gate the flow (see `MASK_BITS`); None where no loss looks at flow.
        device: where teacher and estimator run.

    Raises:
        InputError: the teacher knows other classes, or its file holds no network.
    """

    def __init__(
        self,
        options: sections.OnlineSection,
        *,
        classes: Sequence[str],
        stride_px: int,
        occlusion: str | None,
        device: torch.device | str = "cpu",
    ):
        model, _ = load_model(_teacher(options), str(device), classes=classes)
        self._teacher = fused_for_inference(model).to(memory_format=torch.channels_last)
        self._estimate = None
        if occlusion is not None:
            self._bits = MASK_BITS[occlusion]
            masks = [name for name, mask in MASKS.items() if self._bits & int(mask["bit"])]
            estimator = build_estimator(options["estimator"], device=str(device), **options["options"])
            self._estimate = BatchEstimator(estimator, stride_px=stride_px, masks=masks)

    @torch.no_grad()
    def __call__(self, batch: Batch, step: int = 0) -> Batch:
        """The same batch with `teacher`, and with `flow` and `flow_valid` where a loss looks at them.

        Args:
            batch: as streamed.
            step: of the training; it makes no difference.
        """
        batch = replace(batch, teacher=self._probabilities(batch))
        return self._with_flow(batch) if self._estimate and batch.neighbours else batch

    def figures(self) -> dict[str, float]:
        """Figures of the last step: there are none."""
        return {}

    def _probabilities(self, batch: Batch) -> Tensor:
        images = batch.images.contiguous(memory_format=torch.channels_last)
        probs = torch.cat([self._teacher(part).float().softmax(1) for part in images.split(AT_ONCE)])
        return interpolate(probs, size=batch.inside.shape[-2:], mode="bilinear", align_corners=False)

    def _with_flow(self, batch: Batch) -> Batch:
        assert self._estimate is not None
        rgb = to_rgb(batch.images)
        pairs = [
            PairImages(i, rgb[target], rgb[batch.targets + i])
            for i, target in enumerate(batch.target_of.tolist())
        ]
        pieces = self._estimate(pairs)
        flow = torch.cat([piece.to(batch.device) for piece, _ in pieces])
        if not self._bits:
            return replace(batch, flow=flow, flow_valid=torch.ones_like(flow[:, :1], dtype=torch.bool))
        bits = torch.cat([held.to(batch.device) for _, held in pieces if held is not None])[:, None]
        return replace(batch, flow=flow, flow_valid=(bits & self._bits) == self._bits)


def _teacher(options: sections.OnlineSection) -> Path:
    assert options["teacher"] is not None, "without a teacher nothing is computed online"
    return Path(options["teacher"])


def to_rgb(images: Tensor) -> np.ndarray:
    """ImageNet-normalised (S, 3, H, W) -> (S, H, W, 3) uint8 RGB on the CPU; padding is the mean colour."""
    mean, std = (255 * images.new_tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (images * std + mean).round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()
