"""Asynchronous reads of windows out of image files, by threads."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from weclick.manifest import Clip, Manifest
from weclick.manifest.read import read_frame


@dataclass(frozen=True)
class FileReading:
    """Windows of frames that are being decoded."""

    frames: list[Future[np.ndarray]]
    window: tuple[slice, ...]

    def result(self) -> Tensor:
        """Wait for the windows.

        Raises:
            InputError: a file is missing or damaged, or has another size than its clip.
        """
        return torch.from_numpy(np.stack([frame.result()[self.window] for frame in self.frames]))


class FileReader:
    """Decodes frames out of their image files, in threads, and remembers the last ones.

    Args:
        manifest: names the files.
        max_bytes: bound on the remembered frames.
    """

    def __init__(self, manifest: Manifest, *, max_bytes: int = 2**28):
        self._manifest, self._max_bytes, self._held_bytes = manifest, max_bytes, 0
        self._frames: OrderedDict[tuple[str, int], np.ndarray] = OrderedDict()
        self._lock = Lock()
        self._pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="decode")

    def read(self, clip: Clip, positions: Sequence[int], window: tuple[slice, ...]) -> FileReading:
        """Begin to read one window of some frames; `.result()` waits for (frames, *window, 3) uint8."""
        return FileReading([self._pool.submit(self._frame, clip, t) for t in positions], window)

    def _frame(self, clip: Clip, position: int) -> np.ndarray:
        with self._lock:
            if (clip.id, position) in self._frames:
                self._frames.move_to_end((clip.id, position))
                return self._frames[clip.id, position]
        image = read_frame(self._manifest, clip, position)
        with self._lock:
            if (clip.id, position) not in self._frames:
                self._frames[clip.id, position] = image
                self._held_bytes += image.nbytes
            while self._held_bytes > self._max_bytes:
                self._held_bytes -= self._frames.popitem(last=False)[1].nbytes
        return image
