"""Exact mean field against its formula in loops, and in blocks against whole."""

import importlib

import numpy as np
import pytest
import torch

from helpers import reference_seeds as reference
from weclick.losses import mean_field

MODULE = importlib.import_module("weclick.losses.mean_field")  # the package's attribute is the function


def random_case(height=5, width=6, classes=3, seed=0, dtype=torch.float64):
    """An image that is bright on one side, and noisy probabilities that lean to class 1 there."""
    rng = np.random.default_rng(seed)
    side = np.arange(width)[None, :, None] >= width // 2
    image = np.where(side, 190, 60) + rng.integers(-20, 20, (height, width, 3))
    probs = rng.dirichlet([1.0] * classes, (height, width)).transpose(2, 0, 1)
    probs[0] += 0.5 * ~side[..., 0]
    probs[1] += 0.5 * side[..., 0]
    return torch.from_numpy(probs / probs.sum(0)).to(dtype), torch.from_numpy(image.astype(np.uint8))


@pytest.mark.parametrize("preset", reference.CRF)
def test_equals_its_formula(preset):
    probs, image = random_case()
    expected = torch.from_numpy(reference.mean_field(probs.numpy(), image.numpy(), preset))
    torch.testing.assert_close(mean_field(probs, image, preset), expected, rtol=1e-10, atol=1e-11)


def test_presets_are_those_of_the_reference():
    assert set(MODULE.PRESETS) == set(reference.CRF)


@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_iterations(iterations):
    probs, image = random_case()
    expected = torch.from_numpy(reference.mean_field(probs.numpy(), image.numpy(), "sec", iterations))
    found = mean_field(probs, image, "sec", iterations=iterations)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(
    ("dtype", "wide"),
    [(torch.float32, torch.float32), (torch.bfloat16, torch.float32), (torch.float64, torch.float64)],
)
def test_single_precision_stays_within_a_ten_thousandth(dtype, wide):
    probs, image = random_case(12, 13, 5, dtype=dtype)
    found = mean_field(probs, image, "krahenbuhl_code")
    assert found.dtype == wide
    double = mean_field(probs.double(), image, "krahenbuhl_code")
    torch.testing.assert_close(found.double(), double, rtol=0, atol=1e-4)


def test_blocks_give_what_the_whole_kernel_gives(monkeypatch):
    probs, image = random_case(7, 9)
    whole = mean_field(probs, image, "irn")
    monkeypatch.setattr(MODULE, "BLOCK_VALUES", 4 * 63 + 1)  # blocks of 4 rows, the last of 3
    kept = mean_field(probs, image, "irn")
    monkeypatch.setattr(MODULE, "KEPT_VALUES", 0)
    anew = mean_field(probs, image, "irn")
    torch.testing.assert_close(kept, whole, rtol=1e-12, atol=1e-13)
    assert torch.equal(anew, kept)


def test_smooths_noise_but_not_over_an_edge():
    probs, image = random_case(16, 16, 2)
    sides = torch.arange(16).ge(8).long().expand(16, 16)
    assert (probs.argmax(0) != sides).sum() > 10
    assert torch.equal(mean_field(probs, image, "krahenbuhl_code").argmax(0), sides)


def test_mirrored_images_give_mirrored_maps():
    probs, image = random_case()
    found = mean_field(probs.flip(2), image.flip(1), "sec")
    torch.testing.assert_close(found.flip(2), mean_field(probs, image, "sec"), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 3)])
def test_zeros_single_pixels_and_single_classes_are_finite(size, dtype):
    sure = torch.zeros(3, *size, dtype=dtype)
    sure[1] = 1
    image = torch.zeros(*size, 3, dtype=torch.uint8)
    assert torch.equal(mean_field(sure, image, "deeplab_v1").argmax(0), torch.ones(size).long())
    assert torch.equal(mean_field(sure[1:2], image, "deeplab_v1"), torch.ones(1, *size, dtype=dtype))
    assert mean_field(sure, image, "deeplab_v1").isfinite().all()


def test_receives_no_gradient():
    probs, image = random_case()
    assert not mean_field(probs.requires_grad_(), image, "sec").requires_grad


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preset": "best"}, "preset is 'best', expected one of 'krahenbuhl_code', 'nips2011_text'"),
        ({"probs": torch.zeros(1, 1, 2, 3, 3)}, r"probs has shape \(1, 1, 2, 3, 3\), expected three axes"),
        (
            {"image": torch.zeros(3, 3, 3).byte()},
            r"image has shape \(3, 3, 3\), expected \(3, 4, 3\): \(h, w, 3\)",
        ),
        ({"image": torch.zeros(3, 4, 3)}, r"image is torch\.float32, expected uint8"),
        ({"iterations": -1}, "iterations is -1, expected 0 or more"),
    ],
)
def test_errors_teach(change, message):
    arguments = {"probs": torch.ones(2, 3, 4), "image": torch.zeros(3, 4, 3).byte(), "preset": "sec"}
    with pytest.raises(ValueError, match=message):
        mean_field(**{**arguments, **change})


def test_several_fields_of_an_image_are_counted_at_once_as_each_alone():
    torch.manual_seed(0)
    probs = torch.rand(3, 2, 5, 7, dtype=torch.float64)
    image = torch.randint(256, (5, 7, 3), dtype=torch.uint8)
    together = mean_field(probs, image, "sec")
    for each, alone in zip(together, probs, strict=True):
        torch.testing.assert_close(each, mean_field(alone, image, "sec"))


def test_kernels_may_be_given_by_their_sizes_on_a_grid():
    torch.manual_seed(0)
    probs, image = torch.rand(2, 5, 7), torch.randint(256, (5, 7, 3), dtype=torch.uint8)
    kernels = MODULE.PRESETS["irn"].on_grid(4)
    assert (kernels.position_px, kernels.smooth_px, kernels.color) == (12.5, 0.75, 5)
    same = mean_field(probs, image, MODULE.PRESETS["irn"])
    torch.testing.assert_close(same, mean_field(probs, image, "irn"))
    assert not torch.allclose(mean_field(probs, image, kernels), same)
