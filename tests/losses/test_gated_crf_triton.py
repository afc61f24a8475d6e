"""Gated CRF's GPU kernel: Triton's interpreter runs it on a CPU, Triton's compiler takes it for real GPUs.

This file is also the program that the interpreter runs, in a process of its own: it must be asked for before
Triton is imported.
"""

import json
import os
import subprocess
import sys

import pytest
import torch

from weclick.losses import GatedCRFKernel, gated_crf

pytest.importorskip("triton", reason="Triton comes with torch on Linux only")

KERNELS = (GatedCRFKernel(1.0, 2.0, 0.4), GatedCRFKernel(0.5, 3.0, None))
CASES = [  # (B, K, h, w), radius, kernels, dtype, valid?, destination?
    ((1, 1, 1, 1), 1, 1, torch.float32, False, False),
    ((1, 5, 2, 35), 15, 2, torch.float32, True, False),
    ((2, 19, 6, 9), 2, 1, torch.bfloat16, True, True),
    ((1, 17, 1, 34), 3, 2, torch.float32, False, True),
    ((2, 3, 4, 33), 3, 1, torch.float16, True, False),
    ((1, 35, 5, 3), 6, 2, torch.float32, True, True),
    ((2, 16, 9, 2), 1, 1, torch.float32, False, False),
]


def random_case(case):
    """Probabilities, image, and how to call the loss."""
    (batch, classes, *size), radius, kernels, dtype, with_valid, with_destination = CASES[case]
    generator = torch.Generator().manual_seed(case)
    probs = torch.randn(batch, classes, *size, generator=generator).softmax(1).to(dtype)
    rgb = torch.rand(batch, 3, *size, generator=generator)
    valid, destination = (torch.rand(batch, 1, *size, generator=generator) > 0.3 for _ in range(2))
    options = {
        "kernels": KERNELS[:kernels],
        "radius": radius,
        "valid": valid if with_valid else None,
        "destination": destination if with_destination else None,
    }
    return probs, rgb, options


def tolerance(dtype):
    """Of the gradient: two roundings to half precision, or what single precision's sums differ by."""
    return max(1e-5, 0.0 if dtype == torch.float32 else 2 * torch.finfo(dtype).eps)


def value_and_gradient(probs, rgb, options):
    probs = probs.detach().requires_grad_()
    loss = gated_crf(probs, rgb, **options)
    return loss.detach(), torch.autograd.grad(loss, probs)[0]


def interpret():
    """Prints, for every case, by how much the kernel and the torch form differ."""
    module = sys.modules["weclick.losses.gated_crf"]
    rows = []
    for case in range(len(CASES)):
        plain = value_and_gradient(*random_case(case))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "_has_kernel", lambda probs: True)
            patch.setattr(module, "_pull_and_cost", None)
            fused = value_and_gradient(*random_case(case))
        rows.append(
            {
                "loss": (fused[0] - plain[0]).abs().item() / max(plain[0].item(), 1e-3),
                "gradient": ((fused[1] - plain[1]).abs().max() / plain[1].abs().max().clamp(min=1e-3)).item(),
                "same_type": fused[1].dtype == plain[1].dtype and fused[0].dtype == plain[0].dtype,
            }
        )
    print(json.dumps(rows))


@pytest.fixture(scope="module")
def interpreted():
    run = subprocess.run(
        [sys.executable, __file__],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", range(len(CASES)))
def test_the_kernel_gives_what_the_torch_form_gives(interpreted, case):
    off = interpreted[case]
    assert off["loss"] < 1e-5
    assert off["gradient"] < tolerance(CASES[case][3])
    assert off["same_type"]


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_it_compiles_for_real_gpus_without_spilling(capability, dtype, tmp_path, monkeypatch):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from weclick.losses.gated_crf_triton import CLASSES_AT_ONCE, TILE_PX, _walk_window

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    constants = {
        "destination": None,
        "KERNELS": ((1.0, 0.5 / 36, 50.0), (0.5, 0.1, 0.0)),
        "ROWS": TILE_PX[0],
        "COLUMNS": TILE_PX[1],
        "CLASSES": CLASSES_AT_ONCE,
    }
    types = {"probs": f"*{dtype}", **dict.fromkeys(("rgb", "valid", "pull", "cost"), "*fp32")}
    names = _walk_window.arg_names
    source = ASTSource(
        fn=_walk_window,
        signature={name: "constexpr" if name in constants else types.get(name, "i32") for name in names},
        constexprs={(names.index(name),): value for name, value in constants.items()},
    )
    compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
    assert compiled.asm["cubin"]
    assert ".local" not in compiled.asm["ptx"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="Triton runs here")
def test_where_triton_cannot_run_it_says_so_once_and_the_torch_form_is_taken():
    from weclick.losses.gated_crf_triton import runs_on

    runs_on.cache_clear()
    with pytest.warns(UserWarning, match=r"Triton does not run on cpu .*slower form.*C compiler"):
        assert not runs_on(torch.device("cpu"))
    assert not runs_on(torch.device("cpu"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
class TestOnAGpu:
    @pytest.mark.parametrize("case", range(len(CASES)))
    def test_value_and_gradient_are_those_of_the_cpu(self, case):
        probs, rgb, options = random_case(case)
        on_gpu = {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in options.items()}
        loss, gradient = value_and_gradient(probs.cuda(), rgb.cuda(), on_gpu)
        expected_loss, expected = value_and_gradient(probs, rgb, options)
        assert loss.is_cuda
        torch.testing.assert_close(loss.cpu(), expected_loss, rtol=1e-5, atol=1e-7)
        may = tolerance(probs.dtype)
        torch.testing.assert_close(gradient.cpu(), expected, rtol=may, atol=0.1 * may)

    def test_triton_is_what_runs_and_double_precision_does_without(self):
        from weclick.losses.gated_crf_triton import runs_on

        assert runs_on(torch.device("cuda", torch.cuda.current_device()))
        probs, rgb, options = random_case(3)
        double = gated_crf(probs.double().cuda(), rgb.cuda(), kernels=options["kernels"])
        assert double.dtype == torch.float64

    def test_a_second_derivative_is_refused(self):
        probs = torch.rand(1, 2, 8, 8, device="cuda", requires_grad=True)
        loss = gated_crf(probs, torch.rand(1, 3, 8, 8, device="cuda"))
        with pytest.raises(RuntimeError, match="no second derivative"):
            torch.autograd.grad(loss, probs, create_graph=True)


if __name__ == "__main__":
    interpret()
