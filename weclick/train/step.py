"""One step of a training: forward and backward of its micro-batches, and a look at its losses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor

from weclick.common.errors import InputError
from weclick.common.sections import TrainingSection
from weclick.train.checkpoint import CHECKPOINT
from weclick.train.data.batch import Batch
from weclick.train.objective import AUXILIARY, Losses, Shares
from weclick.train.stopwatch import Stopwatch


class NonFiniteLossError(ArithmeticError):
    """The loss became NaN or infinite; the checkpoint holds the last good state."""


def add_gradients(
    fabric: Fabric,
    network: Any,
    losses: Losses,
    micro: Sequence[Batch],
    weights: Sequence[Mapping[str, Tensor]],
    step: int,
    options: TrainingSection,
    watch: Stopwatch,
) -> dict[str, Tensor]:
    """Forward and backward of a step's micro-batches; returns this process's terms of the step, detached."""
    total: dict[str, Tensor] = {}
    for i, (batch, weight) in enumerate(zip(micro, weights, strict=True)):
        _check_batch_norm(batch, options, fabric)
        with fabric.no_backward_sync(network, enabled=i + 1 < len(micro)):
            with watch.part("forward"):
                outputs = network(*batch.select(network.inputs))
            with watch.part("losses"):
                terms = losses(outputs, batch, step)
                terms = {
                    name: term * weight.get(name.removeprefix(AUXILIARY), 1.0) for name, term in terms.items()
                }
                if not terms:
                    raise InputError(
                        f"no loss has begun at step {step}, since the warm-up of those on is longer; "
                        "set the weight of another loss, e.g. partial_cross_entropy.weight"
                    )
                loss = torch.stack(list(terms.values())).sum()
            with watch.part("backward"):
                fabric.backward(loss)
        for name, term in terms.items():
            total[name] = total[name] + term.detach() if name in total else term.detach()
    return total


def part_weights(fabric: Fabric, shares: Shares, micro: Sequence[Batch]) -> list[dict[str, Tensor]]:
    """Weights of each micro-batch's terms in the step's; DDP divides gradients by the number of processes."""
    processes = fabric.world_size
    if len(micro) == processes == 1:
        return [{}]

    def add_up(counts: Tensor) -> Tensor:
        return cast("Tensor", fabric.all_reduce(counts, reduce_op="sum"))

    weights = shares(micro, add_up)
    return [{name: weight * processes for name, weight in part.items()} for part in weights]


def _check_batch_norm(batch: Batch, options: TrainingSection, fabric: Fabric) -> None:
    """The heads pool an image to one value per channel, and a single value has no variance."""
    shared = options["batch_norm"] == "sync" and fabric.world_size > 1 and fabric.device.type == "cuda"
    if len(batch.images) == 1 and options.get("head_norm") == "batch" and not shared:
        raise InputError(
            "a micro-batch holds a single image, and batch norm would see one value per channel; set "
            "head_norm: group, or a batch_size of two targets for each of the micro-batches (accumulate) on "
            "each of the devices"
        )


def look_at_losses(
    fabric: Fabric, unseen: list[tuple[int, dict[str, Tensor]]], folder: Path
) -> dict[str, float]:
    """Fetch the losses since the last look from the device and check them; returns the last step's terms.

    Raises:
        NonFiniteLossError: the loss of a step is NaN or infinite, on any process.
    """
    seen = [(step, {name: term.item() for name, term in terms.items()}) for step, terms in unseen]
    unseen.clear()
    gathered = [seen] * fabric.world_size
    if fabric.world_size > 1:
        torch.distributed.all_gather_object(gathered, seen)
    for shares in zip(*gathered, strict=True):
        names = dict.fromkeys(name for _, share in shares for name in share)
        terms = {name: sum(share.get(name, 0.0) for _, share in shares) / len(shares) for name in names}
        if not math.isfinite(sum(terms.values())):
            raise _non_finite(shares[0][0], terms, folder)
    return terms


def _non_finite(step: int, terms: Mapping[str, float], folder: Path) -> NonFiniteLossError:
    told = ", ".join(f"{name} {term:.4g}" for name, term in terms.items())
    kept = f"the state of the last checkpoint is kept in {folder / CHECKPOINT}"
    if not (folder / CHECKPOINT).is_file():
        kept = "there was no checkpoint yet"
    return NonFiniteLossError(
        f"the loss of step {step} is not finite ({told}); {kept}; lower the learning rate, "
        "or set precision: '32'"
    )
