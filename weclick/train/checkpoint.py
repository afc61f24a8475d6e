"""Checkpoints: all that a training needs to go on where it stopped, on the disk."""

from __future__ import annotations

import errno
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import ZipFile

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from weclick.common.errors import InputError
from weclick.common.files import written_whole
from weclick.models.archive import check_archive

STATES, FIXED_BYTES = 8, 16 * 2**20
"""The most that a checkpoint takes: states of its network, and bytes beside them. Weights, their average and
what the optimizer remembers are four."""

CHECKPOINT, BEST = "checkpoint.pt", "best.pt"
"""The last state, and the one that scored best in validation. A training can go on from either."""


@dataclass(frozen=True)
class Trained:
    """The progress of a training.

    Attributes:
        step: steps done.
        seconds: over all its sessions, without validation.
        best_step: the step after which it scored best and whose state is in best.pt; 0 if there is none.
        best_miou: the score after that step, 0..1: of a segmentation network its mIoU.
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
        state = _read_state(path, most_bytes=STATES * _bytes_of(model.state_dict()) + FIXED_BYTES)
        if state["recipe"] != key:
            return Trained()
        done = _progress(state)
        model.load_state_dict(state["model"])
        _load_steps(optimizer, state["optimizer"])
        if average:
            average.load_state_dict(state["ema"])
        return done
    except (torch.OutOfMemoryError, MemoryError):  # these say nothing about the file
        raise
    except Exception as error:  # a damaged archive can fail anywhere in its reader
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # a seek to nowhere is damage
            raise
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


def _read_state(path: Path, most_bytes: int) -> dict[str, Any]:
    """Read what `torch.save` wrote, with a check of the archive's checksums, which torch omits."""
    if (found := path.stat().st_size) > most_bytes:
        raise ValueError(f"it has {found} bytes, a state of this network has at most {most_bytes}")
    check_archive(path)
    with ZipFile(path) as archive:
        if altered := archive.testzip():
            raise ValueError(f"{altered} is not what was written")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:  # its own text advises to run the code in the file
        raise ValueError("it wants to run code, which was refused and not run") from error
    if not isinstance(state, dict):
        raise TypeError(f"it holds a {type(state).__name__}, expected a dict")
    _check_tensors(state)
    return state


def _check_tensors(state: Any) -> None:
    """Refuse a tensor that is larger than its storage: a copy of it takes what its shape promises."""
    nested = [state]
    while nested:
        part = nested.pop()
        if isinstance(part, Tensor):
            _check_tensor(part)
        elif isinstance(part, Mapping):
            nested += [*part.values()]
        elif isinstance(part, list | tuple):
            nested += part


def _check_tensor(tensor: Tensor) -> None:
    plain = tensor.layout == torch.strided and not tensor.is_quantized and tensor.device.type == "cpu"
    if not plain or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError(
            f"a tensor in it promises the shape {str(tuple(tensor.shape))[:80]} and does not hold it"
        )


def _progress(state: Mapping[str, Any]) -> Trained:
    step, seconds, best_step, best_miou = (
        state[name] for name in ("step", "seconds", "best_step", "best_miou")
    )
    if not all(type(each) is int and 0 <= each < 2**53 for each in (step, best_step)):
        raise ValueError(f"its steps are {step!r} and {best_step!r}, expected whole numbers from 0")
    if not all(type(each) in (int, float) for each in (seconds, best_miou)) or not 0 <= seconds < math.inf:
        raise ValueError(f"its seconds are {seconds!r} and its best score is {best_miou!r}, expected numbers")
    return Trained(step, float(seconds), best_step, float(best_miou))


def _load_steps(optimizer: torch.optim.Optimizer, given: Mapping[str, Any]) -> None:
    """Load what an optimizer remembers of each weight. Its options are those of the configuration.

    Raises:
        ValueError: it is of other weights; the next step would fail with it.
    """
    groups, shapes = optimizer.state_dict()["param_groups"], {}
    for number, weight in enumerate(weight for group in optimizer.param_groups for weight in group["params"]):
        shapes[number] = weight.shape
    if [group["params"] for group in given["param_groups"]] != [group["params"] for group in groups]:
        raise ValueError("its optimizer has other weights than this one")
    for number, memory in given["state"].items():
        strange = {name: value for name, value in memory.items() if not _fits(value, shapes[number])}
        if strange:
            raise ValueError(f"its optimizer remembers {', '.join(map(str, strange))} of another weight")
    optimizer.load_state_dict({"state": given["state"], "param_groups": groups})


def _fits(value: Any, shape: torch.Size) -> bool:
    return value is None or (isinstance(value, Tensor) and value.shape in (shape, torch.Size(())))


def _bytes_of(state: Mapping[str, Tensor]) -> int:
    return sum(value.numel() * value.element_size() for value in state.values())
