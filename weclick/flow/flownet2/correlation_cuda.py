"""`correlation` on a GPU: one CuPy kernel, compiled when first called, for float32, float16 and bfloat16.

A block of threads makes one dy for a tile of columns of one row. It loads a few channels at a time into
shared memory, of the tile and of the part of the other map that the tile reaches. Every thread sums up some
of the dx of one column in registers, in float32.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

TILE = 32
"""Columns of a block, all of one remainder modulo the stride."""
LANES = 7
"""Threads for a column: each takes every LANES-th dx. 7 divides the 21 of FlowNet2."""
CHANNELS = 16
"""Channels in shared memory at a time: 16 * (32 + 52) floats, 5.4 kB, so that many blocks fit."""

SOURCE = r"""
#define TILE %(tile)d
#define LANES %(lanes)d
#define CHANNELS %(channels)d
#define REACH %(reach)d
#define STRIDE %(stride)d
#define WIDE (TILE + 2 * REACH)
#define SIDE (2 * REACH + 1)
#define MINE ((SIDE + LANES - 1) / LANES)

%(load)s

// Both maps (B, C, h, w), in memory either so, or with the channels last.
extern "C" __global__ void correlate(const VALUE* first, const VALUE* second, float* out,
                                     int channels, int height, int width, int channels_last) {
    __shared__ float tile[CHANNELS][TILE];
    __shared__ float reached[CHANNELS][WIDE];
    const int column = threadIdx.x, lane = threadIdx.y;
    const int thread = lane * TILE + column, threads = TILE * LANES;
    const int remainder = blockIdx.x %% STRIDE, start = blockIdx.x / STRIDE * TILE;
    const int y = blockIdx.y, batch = blockIdx.z / SIDE, dy = blockIdx.z %% SIDE;
    const int other_y = y + (dy - REACH) * STRIDE;
    const size_t plane = (size_t)height * width;
    const size_t step_c = channels_last ? 1 : plane, step_x = channels_last ? channels : 1;

    float sums[MINE];
    for (int i = 0; i < MINE; i++) sums[i] = 0.f;
    if (other_y >= 0 && other_y < height) {
        for (int from = 0; from < channels; from += CHANNELS) {
            for (int i = thread; i < CHANNELS * WIDE; i += threads) {
                // Neighbouring threads read neighbouring values, whichever order these lie in.
                const int c = channels_last ? i %% CHANNELS : i / WIDE;
                const int step = channels_last ? i / CHANNELS : i %% WIDE;
                const int x = (start + step) * STRIDE + remainder;
                const int other_x = x - REACH * STRIDE;
                const bool known = from + c < channels;
                const size_t at = batch * channels * plane + (from + c) * step_c;
                if (step < TILE)
                    tile[c][step] =
                        known && x < width ? load(first, at + ((size_t)y * width + x) * step_x) : 0.f;
                reached[c][step] = known && other_x >= 0 && other_x < width
                    ? load(second, at + ((size_t)other_y * width + other_x) * step_x) : 0.f;
            }
            __syncthreads();
            for (int c = 0; c < CHANNELS; c++) {
                const float mine = tile[c][column];
                #pragma unroll
                for (int i = 0; i < MINE; i++)
                    if (lane + i * LANES < SIDE) sums[i] += mine * reached[c][column + lane + i * LANES];
            }
            __syncthreads();
        }
    }
    const int x = (start + column) * STRIDE + remainder;
    if (x >= width) return;
    for (int i = 0; i < MINE; i++) {
        const int dx = lane + i * LANES;
        if (dx < SIDE)
            out[((size_t)(batch * SIDE + dy) * SIDE + dx) * plane + (size_t)y * width + x] =
                sums[i] / channels;
    }
}
"""

LOAD = {
    torch.float32: """
#define VALUE float
__device__ float load(const VALUE* values, size_t at) { return values[at]; }
""",
    torch.float16: """
#define VALUE unsigned short
__device__ float load(const VALUE* values, size_t at) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(values[at]));
    return value;
}
""",
    torch.bfloat16: """
#define VALUE unsigned short
__device__ float load(const VALUE* values, size_t at) { return __uint_as_float((unsigned)values[at] << 16); }
""",
}
"""Type of the feature maps -> how the kernel reads it, without a header that CuPy might not find."""


@cache
def has_cupy() -> bool:
    """Whether CuPy is installed (the extra `gpu`)."""
    return find_spec("cupy") is not None


def source(dtype: torch.dtype, *, max_displacement: int, stride: int) -> str:
    """The kernel's CUDA source for one type and window."""
    reach = max_displacement // stride
    sizes = {"tile": TILE, "lanes": LANES, "channels": CHANNELS, "reach": reach, "stride": stride}
    return SOURCE % {**sizes, "load": LOAD[dtype]}


def grid_of(
    batch: int, height: int, width: int, *, max_displacement: int, stride: int
) -> tuple[int, int, int]:
    """Blocks along x (tiles of every remainder), y (rows) and z (batch and dy)."""
    side = 2 * (max_displacement // stride) + 1
    return -(-width // (TILE * stride)) * stride, height, batch * side


def correlation_cupy(first: Tensor, second: Tensor, *, max_displacement: int, stride: int) -> Tensor:
    """`correlation` of two CUDA tensors, without gradient, on torch's stream and without copies.

    Returns:
        (B, D * D, h, w) float32.

    Raises:
        ValueError: the maps are not float32, float16 or bfloat16.
    """
    if first.dtype not in LOAD:
        raise ValueError(
            f"maps are of {first.dtype}, expected one of {', '.join(map(str, LOAD))}; convert them, or use "
            "correlation_banded"
        )
    import cupy
    import numpy

    batch, channels, height, width = first.shape
    window = {"max_displacement": max_displacement, "stride": stride}
    last = first.is_contiguous(memory_format=torch.channels_last) and not first.is_contiguous()
    layout = torch.channels_last if last else torch.contiguous_format
    maps = [each.detach().to(first.dtype).contiguous(memory_format=layout) for each in (first, second)]
    side = 2 * (max_displacement // stride) + 1
    out = torch.empty((batch, side * side, height, width), dtype=torch.float32, device=first.device)
    stream = cupy.cuda.ExternalStream(torch.cuda.current_stream(first.device).cuda_stream)
    with cupy.cuda.Device(first.device.index), stream:
        _kernel(first.dtype, max_displacement, stride)(
            grid_of(batch, height, width, **window),
            (TILE, LANES, 1),
            (*map(_lend, maps), _lend(out), *map(numpy.int32, (channels, height, width, last))),
        )
    return out


@cache
def _kernel(dtype: torch.dtype, max_displacement: int, stride: int) -> Any:
    import cupy

    code = source(dtype, max_displacement=max_displacement, stride=stride)
    return cupy.RawKernel(code, "correlate", options=("--std=c++14",))


def _lend(values: Tensor) -> Any:
    """The same memory as a CuPy array; half types as whole numbers, since CuPy has no bfloat16."""
    import cupy

    return cupy.from_dlpack(values.view(torch.int16) if values.element_size() == 2 else values)
