"""Frames of a clip as SAM 2 takes them: squares, whatever their shape was."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from weclick.common.errors import room_to_write
from weclick.models import normalize


class SquareFrames:
    """Frames that lie in a file as bytes, and are normalised as ImageNet's when they are read.

    Attributes:
        side: of the squares, px.
    """

    def __init__(self, file: IO[bytes], side: int):
        self._file, self.side = file, side
        self._count = file.seek(0, 2) // self._bytes

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, t: int) -> Tensor:
        """(3, side, side) float32."""
        self._file.seek(t * self._bytes)
        pixels = torch.frombuffer(bytearray(self._file.read(self._bytes)), dtype=torch.uint8)
        return normalize(pixels.view(3, self.side, self.side))

    @property
    def _bytes(self) -> int:
        return 3 * self.side**2


@contextmanager
def square_frames(images: Iterable[np.ndarray], side: int) -> Iterator[SquareFrames]:
    """All frames of a clip, in a nameless file that is gone with the block or with its process.

    Args:
        images: (H, W, 3) uint8 RGB.
        side: of the squares, px.

    Raises:
        DiskFullError: there is no room for 3 side^2 bytes a frame in the folder for temporary files.
    """
    with tempfile.TemporaryFile() as file:
        with room_to_write(Path(tempfile.gettempdir())):
            for image in images:
                file.write(_square(image, side))
            file.flush()
        yield SquareFrames(file, side)


def to_square(points: np.ndarray, size: tuple[int, int], side: int) -> Tensor:
    """Points of a frame in px of its square; pixel centres are at integers in both.

    Args:
        points: (P, 2) [x, y] px of the frame.
        size: (H, W) of the frame.
        side: of the square.
    """
    per_px = side / torch.tensor([size[1], size[0]], dtype=torch.float32)
    return (torch.from_numpy(points) + 0.5) * per_px - 0.5


def _square(image: np.ndarray, side: int) -> bytes:
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    return F.interpolate(pixels, (side, side), mode="bilinear", antialias=True).numpy().tobytes()
