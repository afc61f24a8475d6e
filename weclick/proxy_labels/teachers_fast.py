"""The labels that trained networks give frames, faster: folded, several frames at once, in half precision."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext

import numpy as np
import torch
from torch import nn

from weclick.common.batches import in_batches
from weclick.common.errors import InputError
from weclick.common.sections import LabelPrecision
from weclick.manifest import Clip, Manifest
from weclick.models import normalize
from weclick.models.inference import fused_for_inference
from weclick.proxy_labels.clip_images import images_ahead
from weclick.proxy_labels.teachers_mean import TeachersMean

DTYPES = {"float32_folded": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""`soft_labels.precision` -> type of weights and activations. The softmax and the mean are in float32."""


class FastTeachers(TeachersMean):
    """As `TeachersMean`, but for rounding. Batches run over the ends of clips.

    A GPU computes a batch at once. A CPU shares its frames out: each core computes some of them alone, so no
    core waits for another, and the cores that a machine has change no bit of the labels. That holds while
    there are as many frames as cores.

    Args:
        manifest: of the clips.
        models: in eval mode and float32, on `device`.
        device: where they run.
        precision: one of DTYPES.
        batch_frames: frames that are computed at once.
    """

    def __init__(
        self,
        manifest: Manifest,
        models: Sequence[nn.Module],
        device: str,
        precision: LabelPrecision,
        batch_frames: int,
    ):
        dtype = DTYPES[precision]
        folded = [
            fused_for_inference(model).to(dtype).to(memory_format=torch.channels_last) for model in models
        ]
        super().__init__(manifest, folded, device)
        self._precision, self._dtype, self._at_once = precision, dtype, batch_frames
        self._fits: dict[tuple[int, ...], int] = {}

    def __call__(self, clips: Iterable[Clip]) -> Iterator[tuple[Clip, np.ndarray]]:
        """See `Labeller`.

        Raises:
            InputError: labels are not finite, or the memory does not even hold one frame.
        """
        on_cpu = torch.device(self._device).type == "cpu"
        workers = min(torch.get_num_threads(), self._at_once) if on_cpu else 1
        with (
            _shared_out(workers) if workers > 1 else nullcontext() as pool,
            closing(images_ahead(self._manifest, clips, self._at_once)) as images,
        ):
            for batch in in_batches(images, self._at_once, lambda each: each.image.shape):
                parts = _parts([image for _, image in batch], workers)
                found = pool.map(self._labels, parts) if pool else map(self._labels, parts)
                labels = (each for part in found for each in part)
                yield from zip((clip for clip, _ in batch), labels, strict=True)

    def _labels(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Labels of frames of one size, in as many pieces as the memory asks for."""
        size, done = images[0].shape, 0
        found: list[np.ndarray] = []
        while done < len(images):
            count = min(self._fits.get(size, len(images)), len(images) - done)
            try:
                found += [*self._predict_some(images[done : done + count])]
            except torch.OutOfMemoryError as error:
                self._fits[size] = self._halve(count, size, error)
            else:
                done += count
        return found

    @torch.inference_mode()
    def _predict_some(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """B of (H, W, 3) uint8 -> (B, K, h, w) float32 probabilities."""
        rgb = torch.from_numpy(np.stack(images)).to(self._device).permute(0, 3, 1, 2)
        found = self._mean(normalize(rgb.float()).to(self._dtype)).cpu().numpy()
        if not np.isfinite(found).all():
            raise InputError(
                f"soft_labels.precision is {self._precision!r}, and a teacher gives values that are not "
                "finite; set soft_labels.precision: bfloat16, whose range is that of float32, or float32"
            )
        return found

    def _halve(self, count: int, size: tuple[int, ...], error: Exception) -> int:
        size_px = f"{size[0]}x{size[1]} px (HxW)"
        if count == 1:
            raise InputError(
                f"the memory does not hold a teacher's work on one frame of {size_px}; use smaller frames "
                "(data.shrink), soft_labels.precision: bfloat16 or a larger GPU"
            ) from error
        torch.cuda.empty_cache()
        print(
            f"weclick: warning: the memory does not hold {count} frames of {size_px} at once; going on with "
            f"{count // 2} (set soft_labels.batch_frames: {count // 2} to begin so)",
            file=sys.stderr,
        )
        return count // 2


def _parts(images: Sequence[np.ndarray], number: int) -> list[Sequence[np.ndarray]]:
    """At most so many parts of about equal length, in order."""
    length = -(-len(images) // number)
    return [images[at : at + length] for at in range(0, len(images), length)]


@contextmanager
def _shared_out(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that share out those of torch. Meanwhile torch takes no more in the thread that calls this."""
    before = torch.get_num_threads()
    each = max(1, before // workers)
    torch.set_num_threads(each)
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(each,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)
