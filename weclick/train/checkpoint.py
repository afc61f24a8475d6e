"""Checkpoints: all that a training needs to go on where it stopped, on the disk."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import ZipFile

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from weclick.common.errors import InputError
from weclick.common.files import written_whole

CHECKPOINT, BEST = "checkpoint.pt", "best.pt"
"""The last state, and the one that scored best in validation. A training can go on from either."""


@dataclass(frozen=True)
class Trained:
    """The progress of a training.

    Attributes:
        step: steps done.
        seconds: over all its sessions, without validation.
        best_step: the step after which it scored best and whose state is in best.pt; 0 if there is none.
        best_miou: the score after that step, 0..1.
    """

    step: int = 0
    seconds: float = 0.0
    best_step: int = 0
    best_miou: float = -1.0


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    key: str,
    done: Trained,
    average: AveragedModel | None = None,
) -> None:
    """Write all that a training needs to go on. Readers see the old file or the new one.

    Raises:
        DiskFullError, UnwritableError: as in `room_to_write`; the old file stays.
    """
    state = {
        "recipe": key,
        **asdict(done),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "ema": average.state_dict() if average else None,
    }
    with written_whole(path) as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # torch raises it if it cannot write the whole file
            raise error.__context__ or error from None


def load_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    key: str,
    average: AveragedModel | None = None,
) -> Trained:
    """Go on from a checkpoint, or from step 0 if there is none with this key. Executes nothing in the file.

    Raises:
        InputError: the file is damaged, or no training wrote it.
    """
    if not path.is_file():
        return Trained()
    try:
        state = _read_state(path)
        if state["recipe"] != key:
            return Trained()
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        if average:
            average.load_state_dict(state["ema"])
        best_step, best_miou = int(state["best_step"]), float(state["best_miou"])
        return Trained(int(state["step"]), float(state["seconds"]), best_step, best_miou)
    except (torch.OutOfMemoryError, MemoryError, OSError):  # these say nothing about the file
        raise
    except Exception as error:  # a damaged archive can fail anywhere in its reader
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise InputError(
            f"{path}: is no whole state of a training ({reason}); restore the file, or delete "
            f"{path.with_name(CHECKPOINT)}, and the training begins anew"
        ) from error


def load_best(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    key: str,
    average: AveragedModel | None,
    now: Trained,
) -> None:
    """Bring the network back to the state that scored best.

    Raises:
        InputError: the file does not hold the best state that `now` names.
    """
    if load_checkpoint(path, model, optimizer, key, average).best_step != now.best_step:
        raise InputError(
            f"{path}: is missing or of another training, but keep: best needs its state of step "
            f"{now.best_step}; restore the file, or delete {path.with_name(CHECKPOINT)} and train again"
        )


def _read_state(path: Path) -> dict[str, Any]:
    """Read what `torch.save` wrote, with a check of the archive's checksums, which torch omits."""
    with ZipFile(path) as archive:
        if altered := archive.testzip():
            raise ValueError(f"{altered} is not what was written")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:  # its own text advises to run the code in the file
        raise ValueError("it wants to run code, which was refused and not run") from error
    if not isinstance(state, dict):
        raise TypeError(f"it holds a {type(state).__name__}, expected a dict")
    return state
