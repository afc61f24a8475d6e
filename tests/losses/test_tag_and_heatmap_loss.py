"""The losses of tags and heatmaps against their formulas in loops, and every empty case."""

from math import log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import reference_tags as reference
from helpers.reference_losses import value_and_gradients
from weclick.losses import heatmap_loss, tag_loss

CASES = {
    "batch": st.integers(1, 3),
    "grid": st.tuples(st.integers(1, 4), st.integers(1, 4)),
    "num_classes": st.integers(1, 4),
    "tagged": st.sampled_from([0.0, 0.5, 1.0]),
    "hot": st.sampled_from([0.0, 0.3, 1.0]),
    "shown": st.sampled_from([None, 0.0, 0.6]),
    "sharpness": st.sampled_from([0.5, 3.0]),
    "seed": st.integers(0, 2**31),
}
USUAL = {
    "batch": 2,
    "grid": (3, 4),
    "num_classes": 3,
    "tagged": 0.5,
    "hot": 0.4,
    "shown": 0.6,
    "sharpness": 1.0,
    "seed": 4,
}
VARIANTS = {
    "lse": {"pooling": "lse"},
    "sharp lse": {"pooling": "lse", "r": 40.0},
    "max": {"pooling": "max"},
    "mean": {"pooling": "mean"},
    "heat by tags": {"divisor": "tags"},
    "heat by present": {"divisor": "present"},
}


def random_case(batch, grid, num_classes, tagged, hot, shown, sharpness, seed):
    """Logits, masks of heat, tags, and the cells that show the image."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, num_classes, *grid)
    logits = sharpness * torch.randn(shape, generator=generator, dtype=torch.float64)
    masks = torch.rand(shape, generator=generator) < hot
    present = torch.rand(shape[:2], generator=generator) < tagged
    cells = torch.rand((batch, 1, *grid), generator=generator)
    return logits, masks, present, None if shown is None else cells < shown


def ours(variant, case):
    """A loss as a function of the logits alone."""
    _, masks, present, valid = case
    options = {**VARIANTS[variant], "valid": valid}
    if "divisor" in options:
        return lambda z: heatmap_loss(z, masks, present, **options)
    return lambda z: tag_loss(z, present, **options)


def theirs(variant, case):
    logits, masks, present, valid = (None if part is None else part.numpy() for part in case)
    options = {**VARIANTS[variant], "valid": valid}
    if "divisor" in options:
        return reference.heatmap_loss(logits, masks, present, **options)
    return reference.tag_loss(logits, present, **options)


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=25, deadline=None)
@given(options=st.fixed_dictionaries(CASES))
def test_equals_its_formula(variant, options):
    case = random_case(**options)
    found = ours(variant, case)(case[0])
    assert found.dtype == torch.float64
    assert float(found) == pytest.approx(theirs(variant, case), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient(variant):
    case = random_case(**USUAL)
    assert torch.autograd.gradcheck(ours(variant, case), case[0].requires_grad_())


@pytest.mark.parametrize("variant", VARIANTS)
def test_half_precision_is_counted_in_single(variant):
    case = random_case(**USUAL)
    half = case[0].bfloat16()
    value, gradient = value_and_gradients(ours(variant, case), half)
    assert (value.dtype, gradient.dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(value, ours(variant, case)(half.float()))


EMPTY = {
    "no_tag": {"tagged": 0.0},
    "all_tags": {"tagged": 1.0},
    "no_heat": {"hot": 0.0},
    "all_padding": {"shown": 0.0},
    "one_pixel": {"grid": (1, 1), "shown": None},
    "one_class": {"num_classes": 1, "tagged": 1.0},
    "uniform_logits": {"sharpness": 0.0},
    "huge_logits": {"sharpness": 1e30},
    "no_image": {"batch": 0},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("empty", EMPTY)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_empty_case_is_finite(variant, empty, dtype):
    case = random_case(**{**USUAL, **EMPTY[empty]})
    value, gradient = value_and_gradients(ours(variant, case), case[0].to(dtype))
    assert value.dtype == dtype
    assert value.isfinite()
    assert value >= 0
    assert gradient.isfinite().all()
    nothing = empty in ("no_tag", "no_heat") and "heat" in variant
    if nothing or empty in ("all_padding", "no_image"):
        assert value == 0
        assert not gradient.any()


@pytest.mark.parametrize("variant", VARIANTS)
def test_cells_outside_the_image_count_for_nothing(variant):
    case = random_case(**{**USUAL, "shown": None, "tagged": 1.0, "hot": 1.0})
    cut = case[0][..., :2], case[1][..., :2], case[2], None
    valid = torch.zeros(2, 1, 3, 4, dtype=torch.bool)
    valid[..., :2] = True
    value, gradient = value_and_gradients(ours(variant, (*case[:3], valid)), case[0])
    torch.testing.assert_close(value, ours(variant, cut)(cut[0]))
    assert not gradient[..., 2:].any()


def test_values_by_hand():
    logits = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64).log().view(1, 3, 1, 1).expand(1, 3, 1, 2)
    present = torch.tensor([[True, True, False]])
    for pooling in ("lse", "max", "mean"):  # all pool equal cells to their value
        expected = -(log(0.6) + log(0.3)) / 2 - log(0.9)
        assert tag_loss(logits, present, pooling=pooling).item() == pytest.approx(expected)
    masks = torch.zeros(1, 3, 1, 2, dtype=torch.bool)
    masks[0, 1, 0, 1] = masks[0, 2, 0, 0] = True  # class 2 has no tag
    assert heatmap_loss(logits, masks, present).item() == pytest.approx(-log(0.3) / 2)
    assert heatmap_loss(logits, masks, present, divisor="present").item() == pytest.approx(-log(0.3))


def test_background_has_to_be_flagged():
    logits = torch.zeros(1, 2, 1, 1)
    masks = torch.ones(1, 2, 1, 1, dtype=torch.bool)
    foreground, both = torch.tensor([[False, True]]), torch.tensor([[True, True]])
    assert tag_loss(logits, foreground).item() == pytest.approx(2 * log(2))
    assert tag_loss(logits, both).item() == pytest.approx(log(2))
    assert heatmap_loss(logits, masks, foreground).item() == pytest.approx(log(2))


def test_an_image_without_tags_is_one_of_the_mean():
    logits, masks, present, _ = random_case(**{**USUAL, "tagged": 1.0})
    present[1] = False
    alone = heatmap_loss(logits[:1], masks[:1], present[:1])
    torch.testing.assert_close(heatmap_loss(logits, masks, present), alone / 2)


def test_incomplete_tags_say_nothing_of_other_classes():
    logits, _, present, _ = random_case(**USUAL)
    alone = tag_loss(logits, present, complete=False)
    assert 0 < alone < tag_loss(logits, present)
    none = torch.zeros_like(present)
    value, gradient = value_and_gradients(lambda z: tag_loss(z, none, complete=False), logits)
    assert value == 0
    assert not gradient.any()


@pytest.mark.parametrize("r", [1e-7, 1e-5, 1e5])
def test_log_sum_exp_lies_between_mean_and_maximum_in_single_precision_too(r):
    logits, _, present, _ = random_case(**USUAL)
    near = tag_loss(logits.float(), present, pooling="mean" if r < 1 else "max")
    torch.testing.assert_close(tag_loss(logits.float(), present, r=r), near, atol=1e-3, rtol=0)


def test_no_tag_says_that_every_class_is_absent():
    absent = torch.zeros(1, 2, dtype=torch.bool)
    assert tag_loss(torch.zeros(1, 2, 2, 2), absent).item() == pytest.approx(log(2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda z, masks, present: tag_loss(z[0], present),
            r"logits has shape \(3, 3, 4\), expected four axes \(B, K, h, w\)",
        ),
        (
            lambda z, masks, present: tag_loss(z, present[:, 1:]),
            r"present has shape \(2, 2\), expected \(2, 3\): one flag for each image and class",
        ),
        (
            lambda z, masks, present: tag_loss(z, present, valid=masks),
            r"valid has shape \(2, 3, 3, 4\), expected \(2, 1, 3, 4\): one flag for each image and cell",
        ),
        (
            lambda z, masks, present: heatmap_loss(z, masks[:1], present),
            r"masks has shape \(1, 3, 3, 4\), expected \(2, 3, 3, 4\): one flag for each class and cell",
        ),
        (
            lambda z, masks, present: tag_loss(z, present, pooling="sum"),
            r"pooling is 'sum', expected one of 'lse', 'max', 'mean'",
        ),
        (lambda z, masks, present: tag_loss(z, present, r=0), r"r is 0, expected a number above 0"),
        (
            lambda z, masks, present: heatmap_loss(z, masks, present, divisor="all"),
            r"divisor is 'all', expected one of 'tags', 'present'",
        ),
    ],
)
def test_errors_teach(call, message):
    logits, masks, present, _ = random_case(**USUAL)
    with pytest.raises(ValueError, match=message):
        call(logits, masks, present)
