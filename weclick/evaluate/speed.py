"""The speed of a network on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

import torch
from torch import Tensor, nn
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

    def run() -> Tensor:
        logits = model(*inputs).float()
        return interpolate(logits, size=size, mode="bilinear", align_corners=False).argmax(1)

    return per_second([run] * runs, device)


def per_second(calls: Sequence[Callable[[], object]], device: torch.device | str) -> float:
    """One over the median time of some calls. The first call is made twice before, to warm up."""
    times = []
    for call in (calls[0], calls[0], *calls):
        began = time.perf_counter()
        call()
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return 1 / median(times[2:])


def device_name(device: torch.device | str) -> str:
    """A GPU's name as its driver tells it, or "cpu"."""
    device = torch.device(device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
