"""Runs CUDA kernels without a GPU: g++ compiles them, and the CPU runs the threads of one block at a time.

It also asks NVIDIA's own compiler, which comes with torch's CUDA wheels, whether it accepts the source.
"""

from __future__ import annotations

import ctypes
import shutil
import site
import subprocess
from pathlib import Path

import pytest

SHIM = r"""
#include <algorithm>
#include <barrier>
#include <cstring>
#include <thread>
#include <vector>
#define __global__
#define __device__ static
#define __shared__ static
struct Index { int x, y, z; };
static thread_local Index threadIdx, blockIdx;
static Index blockDim, gridDim;
static std::barrier<>* block_gate;
static void __syncthreads() { block_gate->arrive_and_wait(); }
static float __uint_as_float(unsigned bits) { float value; std::memcpy(&value, &bits, 4); return value; }
"""

LAUNCH = r"""
extern "C" void launch(const int* grid, const int* block, void** pointers, const int* numbers) {
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    std::barrier<> gate(block[0] * block[1] * block[2]);
    block_gate = &gate;
    std::vector<std::thread> threads;
    for (int z = 0; z < block[2]; z++) for (int y = 0; y < block[1]; y++) for (int x = 0; x < block[0]; x++)
        threads.emplace_back([=] {
            threadIdx = {x, y, z};
            const int x_by_y = grid[0] * grid[1];
            for (int i = 0; i < x_by_y * grid[2]; i++) {
                blockIdx = {i % grid[0], i % x_by_y / grid[0], i / x_by_y};
                CALL;
                __syncthreads();
            }
        });
    for (auto& thread : threads) thread.join();
}
"""


def compile_for_cpu(source: str, call: str, folder: Path) -> ctypes.CDLL:
    """A library whose `launch(grid, block, pointers, numbers)` runs `call`, e.g. 'f((float*)pointers[0])'."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ to compile the kernel with")
    (folder / "kernel.cpp").write_text(SHIM + source + LAUNCH.replace("CALL", call))
    command = ["g++", "-std=c++20", "-O1", "-pthread", "-shared", "-fPIC", "-Wno-unknown-pragmas"]
    subprocess.run([*command, "-o", folder / "kernel.so", folder / "kernel.cpp"], check=True)
    return ctypes.CDLL(str(folder / "kernel.so"))


def launch(library: ctypes.CDLL, grid, block, pointers, numbers) -> None:
    """Run the blocks one after another, and all threads of a block at once."""
    library.launch(
        (ctypes.c_int * 3)(*grid),
        (ctypes.c_int * 3)(*block),
        (ctypes.c_void_p * len(pointers))(*pointers),
        (ctypes.c_int * len(numbers))(*numbers),
    )


def nvrtc_log(source: str) -> tuple[int, str]:
    """Status (0: compiled) and log of NVIDIA's run-time compiler, for the oldest GPUs that it supports."""
    found = [
        path for folder in site.getsitepackages() for path in Path(folder).glob("nvidia/*/lib/libnvrtc.so*")
    ]
    if not found:
        pytest.skip("no libnvrtc beside this Python's torch")
    nvrtc = ctypes.CDLL(str(found[0]))
    program = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None)
    status = nvrtc.nvrtcCompileProgram(program, 1, (ctypes.c_char_p * 1)(b"--gpu-architecture=compute_80"))
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    return status, log.value.decode()
