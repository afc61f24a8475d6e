"""Components and their statistics on a GPU: union-find in five CuPy kernels, compiled when first called.

A forest lies over the pixels. The parent of a pixel belongs to the same component and comes before it in
raster order, so the root of a tree, its own parent, is the first pixel of its component. Trees are joined at
their roots by atomicCAS, as in ECL-CC (Jaiganesh and Burtscher, HPDC 2018).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from weclick.common.errors import InputError

AUTO_DEVICE = "cpu"
"""The device that `weclick clicks --device auto` takes. The GPU finds the same objects, but no machine has
shown it to be faster yet. If benchmarks/components.py shows it, "auto" here takes a GPU if there is one."""

THREADS = 256
"""Threads of a block; the kernels work with any number."""

SOURCE = r"""
#define PIECE 32  // px that one thread goes along a column, and along a row

__device__ int find_root(int* parent, int i) {
    // Shortens the path on its way. It writes to none but former roots, which never are roots again.
    int next = parent[i];
    while (next != i) {
        const int after = parent[next];
        if (after != next) parent[i] = after;
        i = next;
        next = after;
    }
    return i;
}

__device__ void join(int* parent, int a, int b) {
    a = find_root(parent, a);
    b = find_root(parent, b);
    while (a != b) {
        const int late = a > b ? a : b, early = a > b ? b : a;
        const int found = atomicCAS(&parent[late], late, early);
        if (found == late) return;
        a = find_root(parent, found);  // another thread has hung `late` there
        b = early;
    }
}

// Hangs every pixel to the highest one of its value above it, at most to the next row that PIECE divides.
extern "C" __global__ void start_trees(const unsigned short* values, int* parent, int width, int pixels) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= pixels) return;
    int top = i;
    do {
        if (top < width || values[top - width] != values[i]) break;
        top -= width;
    } while (top / width % PIECE);
    parent[i] = top;
}

// Joins every pixel to those of its four neighbours before it to which no other pixel joins it already.
extern "C" __global__ void join_trees(const unsigned short* values, int* parent, int width, int pixels) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= pixels || !values[i]) return;
    const int x = i % width;
    const bool above = i >= width;
    const bool left = x > 0 && values[i - 1] == values[i];
    const bool above_left = above && x > 0 && values[i - width - 1] == values[i];
    if (above && values[i - width] == values[i]) {
        if (left && !above_left) join(parent, i, i - 1);
        return;
    }
    if (left) join(parent, i, i - 1);
    else if (above_left) join(parent, i, i - width - 1);
    if (above && x + 1 < width && values[i - width + 1] == values[i]) join(parent, i, i - width + 1);
}

// Hangs every pixel to its root, and marks the roots with 1. find_root would write here what is no root.
extern "C" __global__ void settle_roots(const unsigned short* values, int* parent, int* is_root, int pixels) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= pixels) return;
    int root = i;
    while (parent[root] != root) root = parent[root];
    parent[i] = root;
    is_root[i] = values[i] && root == i;
}

// Numbers components by their roots' ranks, which count from 1, and the `named` objects after them.
extern "C" __global__ void number_pixels(const unsigned short* values, const int* parent, const int* rank,
                                         const int* named, int* numbers, int pixels) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= pixels) return;
    const int object = values[i] ? rank[parent[i]] : 0;
    numbers[i] = named[i] ? named[i] + rank[pixels - 1] : object;
}

// Adds up area, y and x of every number, and widens its box: `least` is (top, left), `most` (bottom, right).
extern "C" __global__ void measure_objects(const int* numbers, unsigned long long* sums,
                                           int* least, int* most, int width, int pixels) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= pixels || !numbers[i]) return;
    const int x = i % width, y = i / width, number = numbers[i];
    if (x % PIECE && numbers[i - 1] == number) return;  // in a piece of a row that another thread adds up
    int end = x + 1;
    while (end % PIECE && end < width && numbers[i + end - x] == number) end++;
    const unsigned long long area = end - x;
    atomicAdd(&sums[3 * number], area);
    atomicAdd(&sums[3 * number + 1], area * y);
    atomicAdd(&sums[3 * number + 2], area * (x + end - 1) / 2);
    atomicMin(&least[2 * number], y);
    atomicMin(&least[2 * number + 1], x);
    atomicMax(&most[2 * number], y);
    atomicMax(&most[2 * number + 1], end - 1);
}
"""


def find_objects(
    values: np.ndarray, named: tuple[np.ndarray, np.ndarray] | None
) -> tuple[np.ndarray, int, dict[str, np.ndarray]]:
    """As `components.find_objects`, on the current CUDA device; components are numbered in raster order.

    Args:
        values: (H, W) uint8 or uint16: neighbours of equal value are one component, 0 is none.
        named: mask and numbers of objects that are known already, or None.

    Returns:
        Numbers of the objects (H, W) uint32, the number of components, and the statistics, which count
        nothing for number 0.

    Raises:
        ValueError: CuPy is not installed, or finds no GPU.
    """
    cupy = _import_cupy()
    width, pixels = np.int32(values.shape[1]), np.int32(values.size)
    parent, is_root, numbers = (cupy.empty(values.shape, np.int32) for _ in range(3))
    lent = cupy.asarray(np.ascontiguousarray(values, np.uint16))
    names, num_named = cupy.zeros(values.shape, np.int32), 0
    if named is not None and named[1].size:
        num_named = int(named[1].max()) + 1
        names = cupy.asarray(_spread(*named))

    def launch(kernel: str, *given: Any) -> None:
        blocks = -(-values.size // THREADS)
        _module(cupy).get_function(kernel)((blocks,), (THREADS,), given)

    launch("start_trees", lent, parent, width, pixels)
    launch("join_trees", lent, parent, width, pixels)
    launch("settle_roots", lent, parent, is_root, pixels)
    rank = cupy.cumsum(is_root, dtype=np.int32)
    launch("number_pixels", lent, parent, rank, names, numbers, pixels)
    num_components = int(rank[-1])
    count = 1 + num_components + num_named
    sums = cupy.zeros((count, 3), np.uint64)
    least, most = cupy.full((count, 2), pixels, np.int32), cupy.zeros((count, 2), np.int32)
    launch("measure_objects", numbers, sums, least, most, width, pixels)
    statistics = _statistics(*map(cupy.asnumpy, (sums, least, most)))
    return cupy.asnumpy(numbers).view(np.uint32), num_components, statistics


def _spread(mask: np.ndarray, named: np.ndarray) -> np.ndarray:
    names = np.zeros(mask.shape, np.int32)
    names[mask] = named + 1
    return names


def _statistics(sums: np.ndarray, least: np.ndarray, most: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics by cc3d's names. The sums are exact, as are cc3d's: both divide the same numbers."""
    area = sums[:, 0]
    return {
        "voxel_counts": area,
        "bounding_boxes": np.stack([least[:, 0], most[:, 0], least[:, 1], most[:, 1]], 1),
        "centroids": sums[:, 1:] / np.maximum(area, 1)[:, None],
    }


def _import_cupy() -> Any:
    try:
        import cupy
    except ImportError as error:
        raise InputError(
            "device is cuda, but CuPy is not installed; pip install 'weclick[gpu]' (where the driver is for "
            "CUDA 12: cupy-cuda12x), or set device: cpu"
        ) from error
    if not cupy.cuda.is_available():
        raise InputError("device is cuda, but CuPy finds no GPU here; set device: cpu")
    return cupy


@cache
def _module(cupy: Any) -> Any:
    return cupy.RawModule(code=SOURCE, options=("--std=c++14",))
