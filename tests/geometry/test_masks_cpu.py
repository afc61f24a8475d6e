"""On a CPU, masks are made row by row, with OpenCV. They equal those of the formulas in torch to the bit."""

from __future__ import annotations

import pytest
import torch

from weclick.geometry import forward_backward_valid, masks_cpu, photometric_valid, photometric_valid_among
from weclick.geometry.thresholds import GREY_LEVELS

SIZES = [(1, 1), (1, 9), (6, 1), (2, 3), (40, 33), (37, 1200), (150, 213)]


def in_torch(monkeypatch, mask, *given):
    """The mask by the formulas in torch, which GPUs and gradients take."""
    with monkeypatch.context() as patch:
        patch.setattr(masks_cpu, "takes", lambda *flows, images=(): False)
        return mask(*given)


def drawn(size: tuple[int, int], scale_px: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Target, neighbour and flow of three pairs."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 256, (3, 3, *size), dtype=torch.uint8, generator=generator)
    noise = 25 * torch.randn(target.shape, generator=generator)
    neighbour = (target.float() + noise).round().clamp(0, 255).byte()
    return target, neighbour, scale_px * torch.randn(3, 2, *size, generator=generator)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale_px", [0.0, 0.4, 4.0, 500.0])
def test_photometric_masks_are_equal(size, scale_px, monkeypatch):
    target, neighbour, flow = drawn(size, scale_px)
    assert masks_cpu.takes(flow, images=(target, neighbour))
    for given in ((target, neighbour, flow), (target, neighbour, flow, 35.0, 7), (target, target, flow / 8)):
        assert torch.equal(photometric_valid(*given), in_torch(monkeypatch, photometric_valid, *given))


@pytest.mark.parametrize("window", [1, 9])
def test_pairs_that_share_frames_get_the_masks_that_they_get_alone(window, monkeypatch):
    target, neighbour, flow = drawn((40, 33), 1.0)
    frames = torch.cat([target, neighbour])
    pairs = [(0, 3), (3, 0), (4, 4)]
    found = photometric_valid_among(frames, pairs, flow, 45.0, window)
    for mask, (first, second), there in zip(found, pairs, flow, strict=True):
        given = (frames[first, None], frames[second, None], there[None], 45.0, window)
        assert torch.equal(mask[None], in_torch(monkeypatch, photometric_valid, *given))
    once = [photometric_valid_among(frames.float(), pairs, flow, 45.0, window), found]
    assert torch.equal(*once)
    assert 0.01 < found.float().mean() < 0.99


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale_px", [0.0, 0.4, 4.0, 500.0])
def test_forward_backward_masks_are_equal(size, scale_px, monkeypatch):
    flow = drawn(size, scale_px)[2]
    for back in (-flow, flow.flip(0), -flow + 0.3):
        expected = in_torch(monkeypatch, forward_backward_valid, flow, back)
        assert torch.equal(forward_backward_valid(flow, back), expected)


def test_a_flow_that_is_not_finite_is_believed_nowhere(monkeypatch):
    target, neighbour, flow = drawn((40, 33), 1.0)
    for i, value in enumerate((float("nan"), float("inf"), -float("inf"))):
        flow.view(-1)[i::9] = value
    for mask, given in (
        (photometric_valid, (target, neighbour, flow, 255.0)),
        (forward_backward_valid, (flow, -flow)),
    ):
        found = mask(*given)
        assert torch.equal(found, in_torch(monkeypatch, mask, *given))
        assert not found[:, 0][~flow.isfinite().all(1)].any()


def test_where_a_mean_lies_at_the_threshold_the_order_of_its_sum_decides(monkeypatch):
    """Every mean is 12 here, up to the rounding of three products."""
    target = (
        torch.randint(0, 243, (1, 1, 64, 80), generator=torch.Generator().manual_seed(0))
        .byte()
        .expand(-1, 3, -1, -1)
    )
    given = (target.contiguous(), (target + int(GREY_LEVELS)).contiguous(), torch.zeros(1, 2, 64, 80))
    found = photometric_valid(*given)
    assert torch.equal(found, in_torch(monkeypatch, photometric_valid, *given))
    assert 0.01 < found.float().mean() < 0.99


def test_what_it_does_not_take_goes_through_torch():
    target, neighbour, flow = drawn((8, 9), 1.0)
    for given in (flow.double(), flow.clone().requires_grad_(), flow[:0], flow[:, :1], flow[0]):
        assert not masks_cpu.takes(given)
    assert not masks_cpu.takes(flow, flow[:, :, 1:])
    assert not masks_cpu.takes(flow, images=(target.float(), neighbour))
    assert masks_cpu.takes(flow, images=[torch.cat([target, neighbour])])
    expected = photometric_valid(target, neighbour, flow)
    assert torch.equal(photometric_valid(target.float(), neighbour, flow.double()), expected)
