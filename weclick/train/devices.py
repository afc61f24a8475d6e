"""The device side of a training: processes, precision, batches of each process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning_fabric import Fabric
from torch import nn

from weclick.common.errors import InputError
from weclick.common.sections import TrainingSection
from weclick.models.backbones import Backbone


def make_fabric(device: str, precision: str, devices: int = 1) -> Fabric:
    """The device side of a training, launched.

    Args:
        device: cpu or cuda.
        precision: auto (bf16 autocast on a GPU, float32 else), 32 or bf16.
        devices: how many; more than one trains with DDP.
    """
    bf16 = precision == "bf16" or (precision == "auto" and device == "cuda")
    fabric = Fabric(accelerator=device, devices=devices, precision="bf16-mixed" if bf16 else "32-true")
    fabric.launch()
    return fabric


def micro_batch_size(options: TrainingSection, processes: int) -> int:
    """Targets of a micro-batch over all processes: batch_size / accumulate.

    Raises:
        InputError: a step's batch does not divide among its micro-batches and the processes.
    """
    targets, parts = options["batch_size"], options["accumulate"]
    if targets % (parts * processes):
        raise InputError(
            f"batch_size is {targets}, which does not divide into {parts} micro-batches (accumulate) "
            f"on each of {processes} processes (devices); set a multiple of {parts * processes}"
        )
    return targets // parts


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Let torch use only algorithms that give the same bits every time; torch raises where it has none."""
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # torch asks for this on GPUs
    torch.use_deterministic_algorithms(wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def share_statistics(model: nn.Module, fabric: Fabric) -> None:
    """Let batch norm, of backbone and head, see the batch of all GPUs; in place, under the same keys.

    On one GPU it stays as it is. So it does on CPUs, since torch has no such layer for them: each process
    sees its share.
    """
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        for part in model.children():
            if isinstance(part, Backbone):
                part.share_statistics()
            else:
                nn.SyncBatchNorm.convert_sync_batchnorm(part)
