"""Components on a GPU: the kernels and what calls them, run on the CPU; and on a GPU where there is one."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import cc3d
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from helpers.cuda_on_cpu import compile_for_cpu, launch, nvrtc_log
from weclick import cli
from weclick.cli import stages
from weclick.clicks import clicks_from_labels, components_cuda, read_clicks
from weclick.clicks.components_cuda import SOURCE, find_objects
from weclick.manifest import Classes, Clip, Frame, Manifest, write_manifest

ATOMICS = r"""
#include <atomic>
template <class T> static T atomicCAS(T* at, T expected, T wanted) {
    std::this_thread::yield();  // where other threads can do most harm
    std::atomic_ref<T>(*at).compare_exchange_strong(expected, wanted);
    return expected;
}
template <class T> static void atomicAdd(T* at, T value) { std::atomic_ref<T>(*at) += value; }
static void atomicMin(int* at, int value) {
    for (int held = *at; value < held;) held = atomicCAS(at, held, value);
}
static void atomicMax(int* at, int value) {
    for (int held = *at; value > held;) held = atomicCAS(at, held, value);
}
"""
SHUFFLED = r"""
#include <numeric>
#include <random>
// All threads of all blocks, one after the other, in an order drawn by numbers[1].
extern "C" void launch_shuffled(const int* grid, const int* block, void** pointers, const int* numbers) {
    blockDim = {block[0], 1, 1};
    std::vector<int> order(grid[0] * block[0]);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(numbers[1]));
    for (int each : order) {
        blockIdx = {each / block[0], 0, 0};
        threadIdx = {each % block[0], 0, 0};
        CALL;
    }
}
"""
TYPES = {"unsigned short": np.uint16, "int": np.int32, "unsigned long long": np.uint64}
KERNELS = {
    name: [parameter.removeprefix("const ").rsplit(" ", 1)[0] for parameter in re.split(r",\s*", parameters)]
    for name, parameters in re.findall(r"__global__ void (\w+)\(([^)]*)\)", SOURCE)
}
"""Kernel -> the C types of its parameters."""


def switch() -> str:
    """C code that calls kernel `numbers[0]` with the pointers and the numbers after the first two."""
    cases = []
    for case, types in enumerate(KERNELS.values()):
        pointers = (f"({t})pointers[{i}]" for i, t in enumerate(t for t in types if t.endswith("*")))
        numbers = (f"numbers[{i}]" for i, _ in enumerate((t for t in types if not t.endswith("*")), 2))
        given = (next(pointers if t.endswith("*") else numbers) for t in types)
        cases.append(f"case {case}: {list(KERNELS)[case]}({', '.join(given)}); break;")
    return f"switch (numbers[0]) {{ {' '.join(cases)} }}"


class RawModule:
    """CuPy's, with kernels compiled for the CPU; the given arrays must be of the types of the source."""

    def __init__(self, library):
        self.library, self.launches = library, 0

    def get_function(self, name):
        def kernel(grid, block, given):
            self.launches += 1
            assert [each.dtype for each in given] == [TYPES[t.rstrip("*")] for t in KERNELS[name]]
            assert [isinstance(each, np.ndarray) for each in given] == [t[-1] == "*" for t in KERNELS[name]]
            pointers = [each.ctypes.data for each in given if isinstance(each, np.ndarray)]
            numbers = [int(each) for each in given if not isinstance(each, np.ndarray)]
            numbers = [list(KERNELS).index(name), self.launches, *numbers]
            launch(self.library, (*grid, 1, 1), (*block, 1, 1), pointers, numbers)

        return kernel


def cupy_on_cpu(library) -> ModuleType:
    """The part of CuPy that is used, in NumPy. Memory that nobody has written is full of -77."""
    module = ModuleType("cupy")
    module.asarray = module.asnumpy = np.copy
    module.zeros, module.full, module.cumsum = np.zeros, np.full, np.cumsum
    module.empty = lambda shape, dtype: np.full(shape, -77, dtype)
    module.RawModule = lambda code, options: RawModule(library)
    module.cuda = SimpleNamespace(is_available=lambda: True)
    return module


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    call, shortening = switch(), "parent[i] = after"
    assert SOURCE.count(shortening) == 1
    kernels = SOURCE.replace(shortening, f"std::this_thread::yield(), {shortening}")
    source = ATOMICS + kernels + SHUFFLED.replace("CALL", call)
    return compile_for_cpu(source, call, tmp_path_factory.mktemp("kernels"))


@pytest.fixture
def shuffled(library, monkeypatch):
    """CuPy whose threads run one by one in random order."""
    one_by_one = SimpleNamespace(launch=library.launch_shuffled)
    monkeypatch.setitem(sys.modules, "cupy", cupy_on_cpu(one_by_one))


@pytest.fixture
def at_once(library, monkeypatch):
    """CuPy whose blocks run one by one, each with all its threads at the same time."""
    monkeypatch.setitem(sys.modules, "cupy", cupy_on_cpu(library))


def canonical(objects: np.ndarray) -> np.ndarray:
    """Numbers in the order of the objects' first pixels."""
    found, first, of_pixel = np.unique(objects, return_index=True, return_inverse=True)
    first[found == 0] = -1
    rank = np.argsort(np.argsort(first)) + (0 not in found)
    return rank[of_pixel].reshape(objects.shape).astype(np.uint32)


def assert_like_cc3d(values: np.ndarray) -> None:
    objects, count = cc3d.connected_components(values, connectivity=8, return_N=True, out_dtype=np.uint32)
    expected = canonical(objects)
    numbers, num_components, statistics = find_objects(values, None)
    np.testing.assert_array_equal(numbers, expected)
    assert (num_components, numbers.dtype) == (count, np.uint32)
    for key, theirs in cc3d.statistics(expected, no_slice_conversion=True).items():
        np.testing.assert_array_equal(statistics[key][1:], theirs[1:], key)


def noise(height: int, width: int, classes: int, empty: float, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    values = generator.integers(1, classes + 1, (height, width), np.uint8)
    values[generator.random((height, width)) < empty] = 0
    return values


def spiral(side: int, background: int) -> np.ndarray:
    """A path of value 1 that winds inwards, a pixel wide and a pixel apart."""
    values = np.full((side, side), background, np.uint8)
    y, x, dy, dx, turns = 0, 0, 0, 1, 0
    while turns < 2:
        values[y, x] = 1
        ahead, beyond = ((y + step * dy, x + step * dx) for step in (1, 2))
        free = min(ahead) >= 0 and max(ahead) < side
        if free and (min(beyond) < 0 or max(beyond) >= side or values[beyond] != 1):
            (y, x), turns = ahead, 0
        else:
            dy, dx, turns = dx, -dy, turns + 1
    return values


def checkerboard(height: int, width: int) -> np.ndarray:
    return (np.add.outer(np.arange(height), np.arange(width)) % 2 + 1).astype(np.uint8)


SHAPES = {
    "one pixel": np.ones((1, 1), np.uint8),
    "one pixel of nothing": np.zeros((1, 1), np.uint8),
    "row": noise(1, 75, 2, 0.2),
    "column": noise(75, 1, 2, 0.2),
    "one class all over": np.full((67, 71), 3, np.uint8),
    "nothing": np.zeros((5, 6), np.uint8),
    "checkerboard": checkerboard(35, 41),
    "half a checkerboard": checkerboard(35, 41) // 2,
    "spiral": spiral(39, 0),
    "two spirals": spiral(39, 2),
    "comb": np.where(np.arange(37) % 2 | (np.arange(70) == 69)[:, None], 1, 0).astype(np.uint8),
    "comb upside down": np.where(np.arange(37) % 2 | (np.arange(70) == 0)[:, None], 1, 0).astype(np.uint8),
    "ignore is not 255": noise(33, 31, 2, 0.5).astype(np.uint16) * 128,
    "columns first": np.asfortranarray(noise(33, 31, 2, 0.3)),
} | {
    f"noise of {classes}, {empty:.0%} empty": noise(45, 53, classes, empty)
    for classes in (1, 2, 5, 200)
    for empty in (0.0, 0.3, 0.6, 0.9)
}


@pytest.mark.usefixtures("shuffled")
class TestOneThreadAfterTheOther:
    @pytest.mark.parametrize("values", SHAPES.values(), ids=SHAPES)
    def test_shapes(self, values):
        assert_like_cc3d(values)

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.integers(0, 3)))
    def test_anything(self, values):
        assert_like_cc3d(values)

    @pytest.mark.parametrize("size", [(1, 100_000), (100_000, 1), (360, 480)])
    def test_sums_beyond_32_bits_and_a_whole_image(self, size):
        assert_like_cc3d(np.ones(size, np.uint8))

    @pytest.mark.parametrize("point", ["centroid", "random"])
    @pytest.mark.parametrize("ignore", [255, 0])
    @pytest.mark.parametrize("instance_classes", [(), (1, 2), (9,)])
    def test_the_very_same_clicks(self, point, ignore, instance_classes):
        labels, instances = street()
        options = {"instances": instances, "instance_classes": instance_classes, "ignore": ignore}
        both = [
            clicks_from_labels(labels, **options, min_pixels=5, seed=4, point=point, device=device)
            for device in ("cpu", "cuda")
        ]
        assert len(both[0]) > 20
        np.testing.assert_array_equal(*both)


@pytest.mark.usefixtures("at_once")
class TestThreadsAtOnce:
    """The races between the threads of a block, as far as a CPU has them."""

    @pytest.mark.parametrize("values", SHAPES.values(), ids=SHAPES)
    def test_shapes(self, values):
        assert_like_cc3d(values)

    @pytest.mark.parametrize("seed", range(20))
    def test_noise(self, seed):
        assert_like_cc3d(noise(11, 23, 1 + seed % 2, 0.4, seed))


def street() -> tuple[np.ndarray, np.ndarray]:
    """Labels of four classes in blobs, and instances of which some are groups; ignored pixels are 255."""
    generator = np.random.default_rng(1)
    labels = np.kron(generator.integers(0, 4, (13, 17)), np.ones((7, 5))).astype(np.uint8)
    instances = np.kron(generator.integers(998, 1004, (13, 17)), np.ones((7, 5))).astype(np.int32)
    labels[generator.random(labels.shape) < 0.1] = 255
    return labels, instances


def test_nvidias_compiler_takes_it():
    status, log = nvrtc_log(SOURCE)
    assert status == 0, log


@pytest.mark.gpu
@pytest.mark.skipif(
    not (torch.cuda.is_available() and find_spec("cupy")), reason="no CUDA device, or no CuPy (extra gpu)"
)
@pytest.mark.parametrize("size", [(1, 1), (3, 1000), (360, 480), (1024, 2048)])
@pytest.mark.parametrize("empty", [0.0, 0.4, 0.8])
def test_on_a_gpu(size, empty):
    assert_like_cc3d(noise(*size, 2, empty))
    assert_like_cc3d(np.ones(size, np.uint8))
    labels, (street_labels, instances) = noise(*size, 2, empty), street()
    for own_labels, options in (
        (labels, {}),
        (street_labels, {"instances": instances, "instance_classes": (1, 2)}),
    ):
        both = [
            clicks_from_labels(own_labels, **options, min_pixels=50, seed=4, device=device)
            for device in ("cpu", "cuda")
        ]
        np.testing.assert_array_equal(*both)


class TestErrors:
    labels = np.zeros((2, 2), np.uint8)

    def test_without_cupy(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "cupy", None)
        with pytest.raises(ValueError, match=r"CuPy is not installed; pip install 'weclick\[gpu\]'"):
            clicks_from_labels(self.labels, seed=0, device="cuda")

    def test_without_a_gpu(self, monkeypatch):
        cupy = ModuleType("cupy")
        cupy.cuda = SimpleNamespace(is_available=lambda: False)
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        with pytest.raises(ValueError, match="CuPy finds no GPU here; set device: cpu"):
            clicks_from_labels(self.labels, seed=0, device="cuda")

    def test_another_device(self):
        with pytest.raises(ValueError, match="device is 'tpu', expected cpu or cuda"):
            clicks_from_labels(self.labels, seed=0, device="tpu")


class TestVerb:
    @pytest.fixture
    def run(self, tmp_path, monkeypatch):
        """Runs `weclick clicks` on one frame; gives its clicks."""
        Image.fromarray(street()[0]).save(tmp_path / "a.png")
        frames = (Frame("f0", 0, "-", digest="0" * 64, label="a.png"),)
        clip = Clip("a", frames, targets=(0,), height_px=91, width_px=85)
        classes = Classes(tuple("abcd"), ((0, 0, 0),) * 4)
        manifest, table = tmp_path / "0.json", tmp_path / "clicks.h5"
        write_manifest(Manifest("made_up", str(tmp_path), "train", 0, 1, classes, (clip,)), manifest)

        def call(*words):
            words = [
                "--config",
                "{clicks: {min_pixels: 4}}",
                "--manifest",
                manifest,
                "--output",
                table,
                *words,
            ]
            monkeypatch.setattr(sys, "argv", ["weclick", "clicks", *map(str, words)])
            with pytest.raises(SystemExit) as ended:
                cli.main()
            return read_clicks(table).of("a", "f0") if not ended.value.code else ended.value.code

        return call

    def test_auto_stays_on_the_cpu(self, run, monkeypatch):
        monkeypatch.setattr(stages, "choose_device", None)
        monkeypatch.setattr(components_cuda, "find_objects", None)
        assert len(run()) > 20
        np.testing.assert_array_equal(run(), run("--device", "auto"))

    def test_cuda_is_taken_when_asked_for(self, run, shuffled, monkeypatch):
        expected = run("--device", "cpu")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        np.testing.assert_array_equal(run("--device", "cuda"), expected)
        monkeypatch.setattr(sys.modules["cupy"].cuda, "is_available", lambda: False)
        assert run("--device", "cuda") == 1
