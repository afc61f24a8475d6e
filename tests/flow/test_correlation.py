"""The correlation layer: published values, its fast forms against the definition, gradients, errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.cuda_on_cpu import compile_for_cpu, launch, nvrtc_log
from helpers.places import SHARED
from helpers.plain_correlation import correlation_plain
from weclick.flow.flownet2.correlation import correlation, correlation_banded
from weclick.flow.flownet2.correlation_cuda import (
    LANES,
    LOAD,
    TILE,
    correlation_cupy,
    grid_of,
    has_cupy,
    source,
)

REFERENCE = SHARED / "reference" / "flow_ops_reference.npz"
CALL = (
    "correlate((const VALUE*)pointers[0], (const VALUE*)pointers[1], (float*)pointers[2], "
    "numbers[0], numbers[1], numbers[2], numbers[3])"
)


def maps(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, *shape, generator=generator, dtype=torch.float64).to(dtype)
    return first, second


def published(name: str) -> Tensor:
    if not REFERENCE.is_file():
        pytest.skip("the reference values are not beside this checkout")
    return torch.from_numpy(np.load(REFERENCE)[name].copy())


class TestPublishedValues:
    @pytest.mark.parametrize("form", [correlation, correlation_banded, correlation_plain])
    @pytest.mark.parametrize(
        ("case", "max_displacement", "stride"), [("corr20", 20, 2), ("corr4", 4, 2), ("corr4_s1", 4, 1)]
    )
    def test_output_and_gradients(self, form, case, max_displacement, stride):
        inputs = [published(f"{case}/input{i}").requires_grad_() for i in (1, 2)]
        output = form(*inputs, max_displacement=max_displacement, stride=stride)
        output.backward(published(f"{case}/grad_output"))
        torch.testing.assert_close(output, published(f"{case}/output"), atol=1e-5, rtol=0)
        for i, each in enumerate(inputs, 1):
            torch.testing.assert_close(each.grad, published(f"{case}/grad_input{i}"), atol=1e-5, rtol=0)

    def test_patches_and_steps(self):
        inputs = [published(f"corr_k3_s1_2/input{i}") for i in (1, 2)]
        output = correlation_plain(
            *inputs, max_displacement=4, stride=2, padding=4, kernel_size=3, first_stride=2
        )
        torch.testing.assert_close(output, published("corr_k3_s1_2/output"), atol=1e-5, rtol=0)


class TestAgainstTheDefinition:
    def test_by_hand(self):
        first, second = torch.zeros(2, 1, 2, 3, 4)
        first[0, :, 1, 1], second[0, :, 2, 2] = torch.tensor([2.0, 4.0]), torch.tensor([3.0, 1.0])
        output = correlation(first, second, max_displacement=1, stride=1)
        assert output[0, 8, 1, 1] == (2 * 3 + 4 * 1) / 2  # dy = dx = 1: the last of nine channels
        assert output.count_nonzero() == 1

    @pytest.mark.parametrize("shape", [(1, 3, 1, 1), (2, 5, 7, 33), (1, 8, 3, 70), (3, 1, 20, 4)])
    @pytest.mark.parametrize(("max_displacement", "stride"), [(20, 2), (3, 1), (7, 3), (0, 1)])
    def test_banded(self, shape, max_displacement, stride):
        window = {"max_displacement": max_displacement, "stride": stride}
        pair = maps(*shape, dtype=torch.float64)
        torch.testing.assert_close(
            correlation_banded(*pair, **window), correlation_plain(*pair, **window), atol=1e-12, rtol=0
        )

    def test_channels_last(self):
        pair = maps(2, 16, 9, 13)
        last = [each.to(memory_format=torch.channels_last) for each in pair]
        torch.testing.assert_close(correlation(*last), correlation_plain(*pair))

    def test_gradcheck(self):
        pair = [each.requires_grad_() for each in maps(1, 2, 4, 5, dtype=torch.float64)]
        assert torch.autograd.gradcheck(lambda a, b: correlation(a, b, max_displacement=2, stride=1), pair)

    def test_a_shifted_map_answers_at_its_shift(self):
        first = maps(1, 64, 20, 24)[0]
        second = first.roll((4, -6), (2, 3))  # what was at (y, x) is at (y + 4, x - 6)
        answer = correlation(first, second)[0, :, 6:14, 8:16].mean((1, 2)).argmax()
        assert divmod(int(answer), 21) == (10 + 4 // 2, 10 - 6 // 2)


class TestKernel:
    """The CUDA source, its threads played by those of the CPU; and on a GPU where there is one."""

    @pytest.mark.parametrize("channels_last", [False, True])
    @pytest.mark.parametrize(
        ("shape", "max_displacement", "stride"),
        [((2, 19, 3, 70), 20, 2), ((1, 16, 5, 7), 4, 1), ((2, 5, 4, 40), 6, 3)],
    )
    def test_on_the_cpu(self, shape, max_displacement, stride, channels_last, tmp_path):
        self.compare(torch.float32, shape, max_displacement, stride, channels_last, tmp_path)

    def test_bfloat16_on_the_cpu(self, tmp_path):
        self.compare(torch.bfloat16, (1, 20, 3, 70), 20, 2, True, tmp_path)

    def compare(self, dtype, shape, max_displacement, stride, channels_last, folder):
        window = {"max_displacement": max_displacement, "stride": stride}
        layout = torch.channels_last if channels_last else torch.contiguous_format
        pair = [each.contiguous(memory_format=layout) for each in maps(*shape, dtype=dtype)]
        batch, channels, height, width = shape
        output = torch.full((batch, (2 * (max_displacement // stride) + 1) ** 2, height, width), torch.nan)
        launch(
            compile_for_cpu(source(dtype, **window), CALL, folder),
            grid_of(batch, height, width, **window),
            (TILE, LANES, 1),
            [each.data_ptr() for each in (*pair, output)],
            [channels, height, width, int(channels_last)],
        )
        expected = correlation_plain(*(each.float() for each in pair), **window)
        torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("dtype", list(LOAD))
    def test_nvidias_compiler_takes_it(self, dtype):
        status, log = nvrtc_log(source(dtype, max_displacement=20, stride=2))
        assert status == 0, log

    def test_other_types_are_refused(self):
        with pytest.raises(ValueError, match=r"maps are of torch.float64, expected one of torch.float32"):
            correlation_cupy(*maps(1, 2, 3, 4, dtype=torch.float64), max_displacement=2, stride=1)

    @pytest.mark.gpu
    @pytest.mark.skipif(
        not (torch.cuda.is_available() and has_cupy()), reason="no CUDA device, or no CuPy (extra gpu)"
    )
    @pytest.mark.parametrize("channels_last", [False, True])
    @pytest.mark.parametrize("dtype", list(LOAD))
    def test_on_a_gpu(self, dtype, channels_last):
        layout = torch.channels_last if channels_last else torch.contiguous_format
        pair = [each.cuda().contiguous(memory_format=layout) for each in maps(2, 256, 30, 67, dtype=dtype)]
        expected = correlation_plain(*(each.double() for each in pair))
        output = correlation(*pair)
        torch.testing.assert_close(output.double(), expected, atol=1e-5, rtol=1e-5)
        asking = [each.float().requires_grad_() for each in pair]
        torch.testing.assert_close(correlation(*asking).double(), expected, atol=1e-5, rtol=1e-5)


class TestErrors:
    def test_maps_of_different_shapes(self):
        with pytest.raises(ValueError, match=r"first has shape \(1, 2, 3, 4\) and second \(1, 2, 3, 5\)"):
            correlation(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 5))

    def test_no_window(self):
        with pytest.raises(ValueError, match="max_displacement is -1 and stride 2"):
            correlation(*maps(1, 2, 3, 4), max_displacement=-1)
