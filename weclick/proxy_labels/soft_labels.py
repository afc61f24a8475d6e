"""The `soft_labels` stage: it stores the teacher's predictions on every frame, at the teacher's stride."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from weclick.common.content import RUN_AGAIN, check_content
from weclick.common.progress import Bar
from weclick.manifest import Clip, Manifest
from weclick.manifest.read import read_clip
from weclick.models import normalize
from weclick.store import SOFT_LABEL_CODECS, EntryWriter, Store, entry_key, file_digest
from weclick.store.fill import fill
from weclick.store.model_file import load_model

FORMAT_VERSION = 2
CODEC = "root6"
"""The best measured trade of size and error, see docs/streaming.md."""


def compute_soft_labels(
    manifest: Manifest,
    teacher: Path,
    *,
    chunk_px: int,
    store: Store,
    codec: str = CODEC,
    device: str = "cpu",
) -> dict[str, str]:
    """Make sure that the store holds the teacher's soft labels of every clip.

    Args:
        manifest: one shard of the training split.
        teacher: its model.safetensors; loaded only if a clip is missing.
        chunk_px: side of a chunk on the teacher's grid.
        store: its entries are not made again.
        codec: one of SOFT_LABEL_CODECS.
        device: where the teacher runs.

    Returns:
        Clip id -> key of its entry: array `probabilities` (T, C, h, w) as the codec stores them.

    Raises:
        InputError: teacher and manifest have different classes.
    """
    digest = file_digest(teacher)
    keys = {clip.id: soft_labels_key(clip, digest, chunk_px, codec) for clip in manifest.clips}

    @cache
    def load() -> nn.Module:
        model = load_model(teacher, device, classes=manifest.classes.names)[0]
        check_content(teacher, digest, RUN_AGAIN)
        return model

    def label_some(clips: Iterator[Clip], bar: Bar) -> None:
        model = load()
        for clip in clips:
            with store.create("soft_labels", soft_labels_inputs(clip, digest, chunk_px, codec)) as entry:
                array = None
                for t, image in enumerate(read_clip(manifest, clip)):
                    stored = SOFT_LABEL_CODECS[codec].encode(_predict(model, image, device))
                    array = _allocate(entry, len(clip.frames), stored, chunk_px) if array is None else array
                    array[t] = stored
                    bar.advance()
                entry.attributes.update(_attributes(clip, digest, model, manifest, codec))

    fill(
        store,
        "soft_labels",
        manifest.clips,
        label_some,
        key=lambda clip: keys[clip.id],
        size=lambda clip: len(clip.frames),
        what="soft labels",
        unit="frames",
    )
    return keys


def soft_labels_key(clip: Clip, teacher_sha256: str, chunk_px: int, codec: str = CODEC) -> str:
    """The key under which the store holds a teacher's soft labels of a clip."""
    return entry_key("soft_labels", soft_labels_inputs(clip, teacher_sha256, chunk_px, codec))


def soft_labels_inputs(
    clip: Clip, teacher_sha256: str, chunk_px: int, codec: str = CODEC
) -> Mapping[str, Any]:
    """What a teacher's soft labels of a clip are made from. Their key is its digest."""
    return {
        "format": FORMAT_VERSION,
        "frames": [frame.digest for frame in clip.frames],
        "teacher_sha256": teacher_sha256,
        "codec": codec,
        "chunk_px": chunk_px,
    }


@torch.inference_mode()
def _predict(model: nn.Module, image: np.ndarray, device: str) -> np.ndarray:
    """(H, W, 3) uint8 -> (K, h, w) float32 probabilities on the network's grid."""
    rgb = torch.tensor(image, device=device).permute(2, 0, 1)[None]
    return model(normalize(rgb.float())).float().softmax(1)[0].cpu().numpy()


def _allocate(entry: EntryWriter, frames: int, first: np.ndarray, chunk_px: int) -> Any:
    """The empty array of an entry; `first` is the stored form of its first frame, (C, h, w)."""
    return entry.create_array(
        "probabilities",
        shape=(frames, *first.shape),
        chunks=(1, first.shape[0], chunk_px, chunk_px),
        dtype=first.dtype,
        axes="TCHW",
        codec="zstd_bytes" if first.itemsize == 1 else "zstd",
    )


def _attributes(clip: Clip, digest: str, model: nn.Module, manifest: Manifest, codec: str) -> dict[str, Any]:
    return {
        "frames": [frame.name for frame in clip.frames],
        "stride_px": model.stride,
        "codec": codec,
        "teacher_sha256": digest,
        "classes": list(manifest.classes.names),
        "axes": "TCHW",
    }
