"""All that a training needs to go on where it ended, on the disk."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from weclick.errors import InputError, full_disk

CHECKPOINT, BEST = "checkpoint.pt", "best.pt"
"""The last state, and the one that scored best in validation; a training can go on from either."""


@dataclass(frozen=True)
class Trained:
    """How far a training is.

    Attributes:
        step: steps done.
        seconds: over all its sessions, validation left out.
        best_step: after which it scored best, of those whose state is kept in best.pt; 0 where there is none.
        best_miou: its score, 0..1.
    """

    step: int = 0
    seconds: float = 0.0
    best_step: int = 0
    best_miou: float = -1.0


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    recipe: str,
    done: Trained,
    average: AveragedModel | None = None,
) -> None:
    """Write all that a training needs to go on; readers see the old file or the new one.

    Raises:
        DiskFullError: there is no room; the old file stays.
    """
    state = {
        "recipe": recipe,
        **asdict(done),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "ema": average.state_dict() if average else None,
    }
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        torch.save(state, temporary)
        temporary.replace(path)
    except RuntimeError as error:  # torch's word for a file that cannot be written to its end
        raise full_disk(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    recipe: str,
    average: AveragedModel | None = None,
) -> Trained:
    """Go on from a checkpoint; step 0 where there is none of this recipe."""
    if not path.is_file():
        return Trained()
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["recipe"] != recipe:
        return Trained()
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    if average:
        average.load_state_dict(state["ema"])
    return Trained(**{field.name: state[field.name] for field in fields(Trained)})


def load_best(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    recipe: str,
    average: AveragedModel | None,
    now: Trained,
) -> None:
    """Bring the network back to the state that scored best.

    Raises:
        InputError: the file does not hold the state that `now` speaks of.
    """
    if load_checkpoint(path, model, optimizer, recipe, average).best_step != now.best_step:
        raise InputError(
            f"{path}: is lost, or of another training, but keep: best asks for its state of step "
            f"{now.best_step}; restore the file, or delete {path.with_name(CHECKPOINT)} and train again"
        )
