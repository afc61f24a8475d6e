"""TensorBoard as a watcher: event files in the folder of the training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter


class TensorBoard:
    """Writes tensorboard/ into a folder.

    Args:
        folder: of the training.
        after_step: the last step that stays; what was shown of later ones is hidden, for they come again.
    """

    run, holds_back = "", False

    def __init__(self, folder: Path, *, after_step: int):
        self.place = str(folder / "tensorboard")
        self._board = SummaryWriter(self.place, purge_step=after_step + 1)

    def send(self, step: int, numbers: Mapping[str, float]) -> None:
        """As in `Watcher`."""
        for name, value in numbers.items():
            self._board.add_scalar(name, value, step)

    def close(self, *, finished: bool) -> None:
        """As in `Watcher`."""
        self._board.close()
