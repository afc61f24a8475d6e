"""The speed of a network on this machine."""

from __future__ import annotations

import time
from statistics import median

import torch
from torch import nn
from torch.nn.functional import interpolate

from weclick.models.inference import stack_length


@torch.inference_mode()
def frames_per_second(
    model: nn.Module, size: tuple[int, int], device: torch.device | str, *, runs: int = 7
) -> float:
    """One over the median time of a frame, batch 1: normalised image in, full-size class map out.

    A network that looks at flow gets a stack of it, whose estimation does not count.
    """
    channels = [3, 2 * length] if (length := stack_length(model)) else [3]
    inputs = [torch.zeros((1, each, *size), device=device) for each in channels]
    times = []
    for _ in range(runs + 2):
        began = time.perf_counter()
        logits = model(*inputs).float()
        interpolate(logits, size=size, mode="bilinear", align_corners=False).argmax(1)
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return 1 / median(times[2:])


def device_name(device: torch.device | str) -> str:
    """A GPU's name as its driver tells it, or "cpu"."""
    device = torch.device(device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
