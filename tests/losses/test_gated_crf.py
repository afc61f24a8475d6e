"""The Gated CRF loss against its definition, pair by pair, and against the published unfolding."""

import sys
from math import exp

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from weclick.losses import GatedCRFKernel, gated_crf


def by_pairs(probs, rgb, kernels, radius, valid=None, destination=None):
    """sum_ij d_i v_j k_ij (1 - <p_i, p_j>) / denom over ordered pairs inside the image."""
    batch, _, height, width = probs.shape
    total = 0.0
    for b, y, x in np.ndindex(batch, height, width):
        for dy, dx in np.ndindex(2 * radius + 1, 2 * radius + 1):
            v, u = y + dy - radius, x + dx - radius
            if (v, u) == (y, x) or not (0 <= v < height and 0 <= u < width):
                continue
            gate = (1 if destination is None else destination[b, 0, y, x].item()) * (
                1 if valid is None else valid[b, 0, v, u].item()
            )
            squared_px = (y - v) ** 2 + (x - u) ** 2
            squared_rgb = (rgb[b, :, y, x] - rgb[b, :, v, u]).square().sum().item()
            for kernel in kernels:
                colour = 0 if kernel.sigma_rgb is None else squared_rgb / kernel.sigma_rgb**2
                k = kernel.weight * exp(-0.5 * (squared_px / kernel.sigma_xy**2 + colour))
                total += gate * k * (1 - (probs[b, :, y, x] * probs[b, :, v, u]).sum().item())
    masks = [mask.sum().item() for mask in (destination, valid) if mask is not None]
    return total / (max(masks[0], 1) if masks else batch * height * width)


def by_unfolding(probs, rgb, kernel, radius, destination=None, *, padding_pays=False):
    """The published form: features and probabilities unfolded with zero padding, which pays there."""
    batch, _, height, width = probs.shape
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    position = torch.stack([x, y])[None].expand(batch, -1, -1, -1) / kernel.sigma_xy
    features = torch.cat([position, rgb / kernel.sigma_rgb], 1).to(probs)
    side = 2 * radius + 1

    def unfold(values):
        columns = F.unfold(values, side, padding=radius)
        return columns.view(batch, values.shape[1], side**2, height, width)

    k = kernel.weight * torch.exp(-0.5 * (unfold(features) - features[:, :, None]).square().sum(1))
    k[:, side**2 // 2] = 0
    if not padding_pays:
        k = k * unfold(torch.ones_like(probs[:, :1]))[:, 0]
    denom = batch * height * width
    if destination is not None:
        k, denom = k * destination, destination.sum().clamp(min=1)
    return (k.sum() - (k[:, None] * unfold(probs) * probs[:, :, None]).sum()) / denom


def random_case(seed, size, classes=3, batch=2):
    generator = torch.Generator().manual_seed(seed)
    probs = torch.randn(batch, classes, *size, generator=generator, dtype=torch.float64).softmax(1)
    rgb = torch.rand(batch, 3, *size, generator=generator, dtype=torch.float64)
    masks = [torch.rand(batch, 1, *size, generator=generator) > 0.4 for _ in range(2)]
    return probs, rgb, *masks


def value_and_gradient(probs, rgb, **options):
    probs = probs.detach().requires_grad_()
    loss = gated_crf(probs, rgb, **options)
    return loss.detach(), torch.autograd.grad(loss, probs)[0]


KERNELS = (GatedCRFKernel(1.0, 2.0, 0.4), GatedCRFKernel(0.5, 3.0, None))


@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    radius=st.integers(1, 4),
    gated=st.tuples(st.booleans(), st.booleans()),
    seed=st.integers(0, 2**31),
)
def test_equals_the_sum_over_pairs(size, radius, gated, seed):
    probs, rgb, valid, destination = random_case(seed, size)
    masks = {"valid": valid if gated[0] else None, "destination": destination if gated[1] else None}
    loss = gated_crf(probs, rgb, kernels=KERNELS, radius=radius, **masks)
    assert loss.item() == pytest.approx(by_pairs(probs, rgb, KERNELS, radius, **masks), abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(st.integers(2, 5), st.integers(1, 5)),
    radius=st.integers(1, 4),
    gated=st.tuples(st.booleans(), st.booleans()),
    seed=st.integers(0, 2**31),
)
def test_single_precision_loses_little(size, radius, gated, seed):
    probs, rgb, valid, destination = random_case(seed, size)
    options = {
        "kernels": KERNELS,
        "radius": radius,
        "valid": valid if gated[0] else None,
        "destination": destination if gated[1] else None,
    }
    (loss, gradient), (double, double_gradient) = (
        value_and_gradient(each, rgb, **options) for each in (probs.float(), probs)
    )
    torch.testing.assert_close(loss.double(), double, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(
        gradient.double(), double_gradient, rtol=1e-5, atol=1e-6 * double_gradient.abs().max().item()
    )


@pytest.mark.parametrize("cached_values", [1, 2 * 3 * 5, 3 * 4 * 7 * 2])
def test_blocks_of_rows_and_images_add_up(cached_values, monkeypatch):
    probs, rgb, valid, destination = random_case(9, (7, 5), batch=4)
    options = {"kernels": KERNELS, "radius": 3, "valid": valid, "destination": destination}
    whole = value_and_gradient(probs, rgb, **options)
    monkeypatch.setattr(sys.modules["weclick.losses.gated_crf"], "CACHED_CELLS", cached_values)
    torch.testing.assert_close(value_and_gradient(probs, rgb, **options), whole)


def test_colours_far_apart_are_nothing_even_beside_a_double():
    kernel = GatedCRFKernel(1.0, 6.0, 0.1)
    squared_rgb = torch.tensor([0.0, 1.0, 50.0, 1e4, torch.inf], dtype=torch.float64)
    k = kernel(1.0, squared_rgb)
    torch.testing.assert_close(k, torch.exp(-0.5 * (1 / 36 + squared_rgb / 0.01)), rtol=1e-12, atol=1e-27)
    assert (kernel(1.0, squared_rgb.float()) >= torch.finfo(torch.float32).tiny).all()


@pytest.mark.parametrize("with_valid", [False, True])
@pytest.mark.parametrize("with_destination", [False, True])
def test_gradient_with_any_masks(with_valid, with_destination):
    probs, rgb, valid, destination = random_case(1, (4, 5))
    masks = {
        "valid": valid if with_valid else None,
        "destination": destination if with_destination else None,
    }
    probs.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: gated_crf(p, rgb, kernels=KERNELS, radius=2, **masks), probs)


@pytest.mark.parametrize("with_destination", [False, True])
def test_equals_the_published_code_without_its_padding(with_destination):
    probs, rgb, _, destination = random_case(2, (6, 4))
    destination = destination if with_destination else None
    kernel = GatedCRFKernel(1.0, 6.0, 0.4)
    loss = gated_crf(probs, rgb, kernels=(kernel,), radius=3, destination=destination)
    torch.testing.assert_close(loss, by_unfolding(probs, rgb, kernel, 3, destination))


def test_the_published_padding_is_a_constant():
    probs, rgb, _, _ = random_case(3, (4, 4))
    kernel = GatedCRFKernel()
    loss, gradient = value_and_gradient(probs, rgb, kernels=(kernel,), radius=3)
    probs.requires_grad_()
    published = by_unfolding(probs, rgb, kernel, 3, padding_pays=True)
    assert published > loss
    torch.testing.assert_close(torch.autograd.grad(published, probs)[0], gradient)


def test_value_by_hand():
    probs = torch.tensor([[[[1.0, 0.25]], [[0.0, 0.75]]]])  # two pixels side by side
    rgb = torch.zeros(1, 3, 1, 2)
    rgb[0, 0, 0, 1] = 0.1
    pair = exp(-0.5 * (1 / 36 + 1)) * (1 - 0.25)
    assert gated_crf(probs, rgb).item() == pytest.approx(2 * pair / 2)  # counted twice, over two pixels
    left = torch.tensor([[[[1.0, 0.0]]]])
    assert gated_crf(probs, rgb, destination=left).item() == pytest.approx(pair)  # one centre, over one
    assert gated_crf(probs, rgb, valid=left).item() == pytest.approx(pair)  # one neighbour, over one


def test_agreement_costs_nothing():
    probs = torch.zeros(1, 4, 6, 6)
    probs[:, 2] = 1
    assert gated_crf(probs, torch.rand(1, 3, 6, 6)).item() == pytest.approx(0, abs=1e-5)


def test_pixels_outside_the_mask_neither_pay_nor_learn():
    probs, rgb, _, _ = random_case(4, (5, 6))
    probs.requires_grad_()
    valid = torch.ones(2, 1, 5, 6, dtype=torch.bool)
    valid[..., 4:] = False
    loss = gated_crf(probs, rgb, radius=2, valid=valid, destination=valid)
    gradient = torch.autograd.grad(loss, probs)[0]
    assert torch.equal(gradient[..., 4:], torch.zeros_like(gradient[..., 4:]))
    torch.testing.assert_close(loss, gated_crf(probs[..., :4], rgb[..., :4], radius=2))


@pytest.mark.parametrize("name", ["valid", "destination"])
def test_an_empty_mask_gives_zero(name):
    probs, rgb, _, _ = random_case(5, (4, 4))
    probs.requires_grad_()
    loss = gated_crf(probs, rgb, **{name: torch.zeros(2, 1, 4, 4)})
    loss.backward()
    assert loss == 0
    assert not probs.grad.any()


def test_the_image_learns_nothing():
    probs, rgb, _, _ = random_case(6, (4, 4))
    rgb.requires_grad_()
    gated_crf(probs.requires_grad_(), rgb).backward()
    assert rgb.grad is None


def test_half_precision_is_summed_in_single():
    probs, rgb, _, _ = random_case(7, (6, 6))
    half = probs.bfloat16().requires_grad_()
    loss = gated_crf(half, rgb)
    loss.backward()
    assert loss.dtype == torch.float32
    assert half.grad.dtype == torch.bfloat16
    torch.testing.assert_close(loss, gated_crf(half.detach().float(), rgb.float()))


@pytest.mark.parametrize("classes", [2, 11, 19])
def test_what_bfloat16_costs(classes):
    probs, rgb, valid, _ = random_case(10, (16, 16), classes)
    options = {"kernels": KERNELS, "valid": valid}
    loss, gradient = value_and_gradient(probs.bfloat16(), rgb, **options)
    exact, exact_gradient = value_and_gradient(probs, rgb, **options)
    assert loss.item() == pytest.approx(exact.item(), rel=5e-4)
    torch.testing.assert_close(gradient.double(), exact_gradient, rtol=0.01, atol=0)


def test_only_one_tensor_of_the_size_of_the_probabilities_is_kept():
    probs = torch.rand(1, 7, 20, 20).softmax(1).requires_grad_()
    kept = []

    def pack(tensor):
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        gated_crf(probs, torch.rand(1, 3, 20, 20), radius=5)
    assert sum(kept) <= probs.numel() + 1


def test_a_second_derivative_is_refused_with_a_way_out():
    probs, rgb, _, _ = random_case(8, (3, 3))
    loss = gated_crf(probs.requires_grad_(), rgb)
    with pytest.raises(RuntimeError, match=r"no second derivative.*without create_graph=True"):
        torch.autograd.grad(loss, probs, create_graph=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probs": torch.zeros(4, 4)}, r"probs has shape \(4, 4\), expected four axes \(B, K, h, w\)"),
        ({"rgb": torch.zeros(1, 3, 16, 16)}, r"rgb has shape .* expected \(1, 3, 4, 4\): average-pool"),
        ({"valid": torch.ones(1, 4, 4)}, r"valid has shape \(1, 4, 4\), expected \(1, 1, 4, 4\)"),
        ({"destination": torch.ones(1, 2, 4, 4)}, r"destination has shape"),
        ({"radius": 0}, "radius is 0"),
        ({"kernels": ()}, "there are 0 kernels"),
        ({"kernels": (GatedCRFKernel(1.0, 6.0, 0.0),)}, r"sigma_rgb=0.0.* sigma_rgb=None leaves colour out"),
    ],
)
def test_errors_teach(change, message):
    arguments = {"probs": torch.zeros(1, 2, 4, 4), "rgb": torch.zeros(1, 3, 4, 4)}
    with pytest.raises(ValueError, match=message):
        gated_crf(**{**arguments, **change})
