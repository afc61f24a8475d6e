"""The `soft_labels` stage: the teacher's predictions on every frame, at its own stride, by a codec."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from weclick.common.progress import progress_bar
from weclick.manifest import Clip, Manifest
from weclick.manifest.read import read_clip
from weclick.models import normalize
from weclick.store import SOFT_LABEL_CODECS, Store, entry_key, file_digest
from weclick.store.model_file import load_model

FORMAT_VERSION = 2
CODEC = "root6"
"""The best trade of size and error that was measured, see docs/streaming.md."""


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
        teacher: its model.safetensors; loaded only when a clip is missing.
        chunk_px: side of a chunk on the teacher's grid.
        store: entries that it has are not made again.
        codec: of SOFT_LABEL_CODECS.
        device: where the teacher runs.

    Returns:
        Clip id -> key of its entry: array `probabilities` (T, C, h, w) as the codec stores them.

    Raises:
        InputError: the teacher knows other classes than the manifest.
    """
    digest = file_digest(teacher)
    keys = {clip.id: soft_labels_key(clip, digest, chunk_px, codec) for clip in manifest.clips}
    lacks = [clip for clip in manifest.clips if store.find("soft_labels", keys[clip.id]) is None]
    missing = {keys[clip.id]: clip for clip in lacks}
    model = None
    with (
        progress_bar("soft labels", sum(len(clip.frames) for clip in missing.values()), "frames") as bar,
        store.share_out(
            "soft_labels", missing, skip=lambda clip: bar.advance(len(clip.frames)), say=bar.say
        ) as rounds,
    ):
        for clip in chain.from_iterable(rounds):
            if model is None:
                model, _ = load_model(teacher, device, classes=manifest.classes.names)
            with store.create("soft_labels", soft_labels_inputs(clip, digest, chunk_px, codec)) as entry:
                array = None
                for t, image in enumerate(read_clip(manifest, clip)):
                    stored = SOFT_LABEL_CODECS[codec].encode(_predict(model, image, device))
                    if array is None:
                        array = entry.create_array(
                            "probabilities",
                            shape=(len(clip.frames), *stored.shape),
                            chunks=(1, stored.shape[0], chunk_px, chunk_px),
                            dtype=stored.dtype,
                            axes="TCHW",
                            codec="zstd_bytes" if stored.itemsize == 1 else "zstd",
                        )
                    array[t] = stored
                    bar.advance()
                entry.attributes.update(_attributes(clip, digest, model, manifest, codec))
    return keys


def soft_labels_key(clip: Clip, teacher_sha256: str, chunk_px: int, codec: str = CODEC) -> str:
    """The key under which the store holds a teacher's soft labels of a clip."""
    return entry_key("soft_labels", soft_labels_inputs(clip, teacher_sha256, chunk_px, codec))


def soft_labels_inputs(
    clip: Clip, teacher_sha256: str, chunk_px: int, codec: str = CODEC
) -> Mapping[str, Any]:
    """What a teacher's soft labels of a clip are made of, which their key is the digest of."""
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


def _attributes(clip: Clip, digest: str, model: nn.Module, manifest: Manifest, codec: str) -> dict[str, Any]:
    return {
        "frames": [frame.name for frame in clip.frames],
        "stride_px": model.stride,
        "codec": codec,
        "teacher_sha256": digest,
        "classes": list(manifest.classes.names),
        "axes": "TCHW",
    }
