"""What a device can do at most, measured, and what a network asks of it, counted: for `gpu.py`.

The limit of a work is the larger of two times: its operations over the rate of a large matrix product in the
same precision, and the bytes that it has to move over the rate of a large copy. No version of it is faster.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "tf32": torch.float32, "fp32": torch.float32}
"""Precision of matrix products -> type of their values. tf32 takes the matrix units for float32, too."""

Rates = Mapping[str, float]
"""What `measure_rates` gives; empty where nothing was measured."""


@dataclass(frozen=True)
class Cost:
    """What one run of some work asks for.

    Attributes:
        flops: multiplications and additions.
        values: numbers that it reads or writes at least, of the precision's size.
    """

    flops: float
    values: float

    def limit(self, rates: Rates, precision: str) -> float | None:
        """Most runs a second; None where the rates are not known."""
        if not rates:
            return None
        moved = self.values * DTYPES[precision].itemsize / rates["copy_bytes"]
        return 1 / max(self.flops / rates[f"{precision}_flops"], moved)


class Moved(TorchDispatchMode):
    """Counts the values that convolutions read and write, each once. What lies between could be fused.

    Attributes:
        weights: of the layers.
        features: what they take and give.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weights = self.features = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, and count its values if it is a convolution."""
        found = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            self.weights += args[1].numel()
            self.features += args[0].numel() + found.numel()
        return found


def cost_of(network: nn.Module, size: tuple[int, int]) -> Cost:
    """Count a network's work on one image; a copy of it on the device `meta` runs, which computes nothing."""
    there = deepcopy(network).to("meta").eval()
    with torch.no_grad(), Moved() as moved, FlopCounterMode(display=False) as counter:
        there(torch.empty(1, 3, *size, device="meta"))
    return Cost(counter.get_total_flops(), moved.weights + moved.features)


def measure_rates(device: str, side: int, copied_mib: int, for_s: float) -> dict[str, float]:
    """Operations a second by precision, and bytes a second that a copy reads and writes.

    Args:
        device: cpu or cuda.
        side: of the square matrices.
        copied_mib: size of what is copied; much more than the caches hold.
        for_s: how long each is measured.

    Returns:
        `<precision>_flops`, `copy_bytes` on the device, `upload_bytes` and `download_bytes` between it and
        ordinary memory.
    """
    rates = {}
    for precision, dtype in DTYPES.items():
        a, b = torch.randn(2, side, side, device=device).to(dtype)
        with tf32(precision == "tf32"):
            seconds = seconds_of(partial(torch.matmul, a, b), device, for_s)
        rates[f"{precision}_flops"] = 2 * side**3 / seconds
    values = torch.randn(copied_mib * 2**18, device=device)
    target = torch.empty_like(values)
    rates["copy_bytes"] = 2 * values.nbytes / seconds_of(lambda: target.copy_(values), device, for_s)
    there = values[: len(values) // 8]
    here = torch.empty_like(there, device="cpu")
    rates["upload_bytes"] = here.nbytes / seconds_of(lambda: there.copy_(here), device, for_s)
    rates["download_bytes"] = here.nbytes / seconds_of(lambda: here.copy_(there), device, for_s)
    return rates


@contextmanager
def tf32(wanted: bool) -> Iterator[None]:
    """Whether products of float32 matrices take the matrix units' 10-bit mantissa, inside the block."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = wanted
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def seconds_of(work: Callable[[], Any], device: str, for_s: float) -> float:
    """Median seconds of a run, from at least three, after a warm-up of half the time; 0 s: of a single run.

    A GPU that was idle runs slowly at first, so it warms up by the clock and not by runs.
    """
    _runs(work, device, for_s / 2, fewest=2 if for_s else 1)
    return statistics.median(_runs(work, device, for_s, fewest=3 if for_s else 1))


def _runs(work: Callable[[], Any], device: str, for_s: float, fewest: int) -> list[float]:
    taken: list[float] = []
    while len(taken) < fewest or sum(taken) < for_s:
        synchronize(device)
        began = time.perf_counter()
        work()
        synchronize(device)
        taken.append(time.perf_counter() - began)
    return taken


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
