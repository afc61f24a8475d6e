"""SEC's and DSRG's losses against their formulas in loops, and every empty case."""

from math import log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import reference_seeds as reference
from helpers.reference_losses import assert_agree, value_and_gradients
from weclick.losses import balanced_seed_loss, constrain_loss, expand_loss, seed_loss

CASES = {
    "batch": st.integers(1, 3),
    "grid": st.tuples(st.integers(1, 4), st.integers(1, 4)),
    "num_classes": st.integers(1, 4),
    "cued": st.sampled_from([0.0, 0.3, 1.0]),
    "tagged": st.sampled_from([0.0, 0.5, 1.0]),
    "sharpness": st.sampled_from([0.5, 3.0, 30.0]),
    "seed": st.integers(0, 2**31),
}
NAMES = ["seed", "balanced_seed", "expand", "constrain"]


def random_case(batch, grid, num_classes, cued, tagged, sharpness, seed):
    """Logits, a cue of one class on a share of the pixels, tags, and what a CRF might say."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, num_classes, *grid)
    logits = sharpness * torch.randn(shape, generator=generator, dtype=torch.float64)
    of = torch.randint(0, num_classes, (batch, 1, *grid), generator=generator)
    cues = torch.zeros(shape, dtype=torch.bool).scatter_(1, of, 1)
    cues &= torch.rand((batch, 1, *grid), generator=generator) < cued
    present = torch.rand((batch, num_classes), generator=generator) < tagged
    crf = torch.softmax(sharpness * torch.randn(shape, generator=generator, dtype=torch.float64), 1)
    return logits, cues, present, crf


def losses(found_in, case):
    """Each loss as a function of the logits alone."""
    _, cues, present, crf = case
    return {
        "seed": lambda z: found_in.seed_loss(z, cues, present),
        "balanced_seed": lambda z: found_in.balanced_seed_loss(z, cues, present),
        "expand": lambda z: found_in.expand_loss(z, present),
        "constrain": lambda z: found_in.constrain_loss(z, crf),
    }


class Ours:
    seed_loss = staticmethod(seed_loss)
    balanced_seed_loss = staticmethod(balanced_seed_loss)
    expand_loss = staticmethod(expand_loss)
    constrain_loss = staticmethod(constrain_loss)


def both(name, case, dtype):
    logits = case[0].to(dtype)
    return (
        value_and_gradients(losses(Ours, case)[name], logits),
        value_and_gradients(losses(reference, case)[name], logits.double()),
    )


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=25, deadline=None)
@given(options=st.fixed_dictionaries(CASES))
def test_equals_its_formula(name, options):
    assert_agree(*both(name, random_case(**options), torch.float64), 1e-10)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=10, deadline=None)
@given(options=st.fixed_dictionaries({**CASES, "sharpness": st.just(1.0)}))
def test_single_and_half_precision_are_counted_in_single(name, options):
    case = random_case(**options)
    assert_agree(*both(name, case, torch.float32), 1e-5)
    (value, gradient), expected = both(name, case, torch.bfloat16)
    assert (value.dtype, gradient.dtype) == (torch.float32, torch.bfloat16)
    assert_agree([value], expected[:1], 1e-5)
    assert_agree([gradient], expected[1:], 2**-8, atol=2**-8)


@pytest.mark.parametrize("name", NAMES)
def test_gradient(name):
    case = random_case(2, (3, 4), 4, 0.5, 0.5, 1.0, seed=0)
    assert torch.autograd.gradcheck(losses(Ours, case)[name], case[0].requires_grad_())


def test_values_by_hand():
    cues = torch.tensor([[[[1, 1, 0]], [[0, 0, 1]], [[0, 0, 0]]]]).bool()
    logits = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64).log().view(1, 3, 1, 1).expand(1, 3, 1, 3)
    present = torch.tensor([[True, True, False]])
    p = [(value + 1e-4) / 1.0003 for value in (0.6, 0.3, 0.1)]
    assert seed_loss(logits, cues, present).item() == pytest.approx(-(2 * log(p[0]) + log(p[1])) / 3)
    assert balanced_seed_loss(logits, cues, present).item() == pytest.approx(-log(0.6) - log(0.3))
    expected = -log(p[1]) - log(1 - p[2]) - log(p[0])
    assert expand_loss(logits, present).item() == pytest.approx(expected)


def test_decays_pool_between_the_maximum_and_the_mean():
    logits, _, present, _ = random_case(1, (3, 3), 2, 0.0, 1.0, 1.0, seed=3)
    p = (torch.softmax(logits, 1) + 1e-4) / 1.0002
    for decay, pooled in ((0.0, p.amax((2, 3))), (1.0, p.mean((2, 3)))):
        found = expand_loss(logits, present, foreground=decay, background=decay)
        torch.testing.assert_close(found, -pooled.log().sum())


@pytest.mark.parametrize("name", NAMES)
def test_background_counts_as_present_whatever_its_flag(name):
    logits, cues, present, crf = random_case(2, (3, 3), 3, 0.8, 0.5, 1.0, seed=5)
    on, off = present.clone(), present.clone()
    on[:, 0], off[:, 0] = True, False
    found = [losses(Ours, (logits, cues, flags, crf))[name](logits) for flags in (on, off)]
    assert torch.equal(*found)


@pytest.mark.parametrize("name", ["seed", "balanced_seed"])
def test_cues_of_absent_classes_do_not_count(name):
    logits, cues, _, crf = random_case(1, (3, 3), 3, 1.0, 1.0, 1.0, seed=2)
    present = torch.tensor([[True, True, False]])
    without = cues.clone()
    without[:, 2] = False
    found = [losses(Ours, (logits, c, present, crf))[name](logits) for c in (cues, without)]
    assert torch.equal(*found)


def test_an_image_without_cues_is_one_of_the_mean():
    logits, cues, present, _ = random_case(2, (2, 2), 2, 1.0, 1.0, 1.0, seed=7)
    cues[1] = False
    half = seed_loss(logits, cues, present)
    torch.testing.assert_close(half, seed_loss(logits[:1], cues[:1], present[:1]) / 2)


USUAL = {
    "batch": 2,
    "grid": (3, 3),
    "num_classes": 3,
    "cued": 0.5,
    "tagged": 0.5,
    "sharpness": 1.0,
    "seed": 0,
}
EMPTY = {
    "no_cue": {"cued": 0.0},
    "all_classes_present": {"tagged": 1.0},
    "background_alone": {"tagged": 0.0},
    "one_pixel": {"grid": (1, 1)},
    "background_is_the_only_class": {"num_classes": 1},
    "uniform_logits": {"sharpness": 0.0},
    "huge_logits": {"sharpness": 1e30},
    "no_image": {"batch": 0},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", EMPTY)
@pytest.mark.parametrize("name", NAMES)
def test_every_empty_case_is_finite(name, case, dtype):
    sources = random_case(**{**USUAL, **EMPTY[case]})
    value, gradient = value_and_gradients(losses(Ours, sources)[name], sources[0].to(dtype))
    assert value.dtype == dtype
    assert value.isfinite()
    assert value >= 0
    assert gradient.isfinite().all()


@pytest.mark.parametrize("loss", [seed_loss, balanced_seed_loss])
def test_no_cue_costs_nothing(loss):
    logits, cues, present, _ = random_case(2, (3, 3), 3, 0.0, 0.5, 1.0, seed=0)
    value, gradient = value_and_gradients(lambda z: loss(z, cues, present), logits)
    assert value == 0
    assert not gradient.any()


def test_the_crf_receives_no_gradient():
    logits, _, _, crf = random_case(1, (2, 2), 3, 0.0, 0.5, 1.0, seed=0)
    constrain_loss(logits.requires_grad_(), crf.requires_grad_()).backward()
    assert crf.grad is None
    same = (torch.softmax(logits.detach(), 1) + 1e-4) / 1.0003
    assert constrain_loss(same.log(), same).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda z, cues, present: seed_loss(z[0], cues, present),
            r"logits has shape \(3, 2, 2\), expected four axes \(B, K, h, w\)",
        ),
        (
            lambda z, cues, present: seed_loss(z, cues[:, :2], present),
            r"cues has shape \(1, 2, 2, 2\), expected \(1, 3, 2, 2\): one flag for each class and pixel",
        ),
        (
            lambda z, cues, present: balanced_seed_loss(z, cues, present[0]),
            r"present has shape \(3,\), expected \(1, 3\): one flag for each image and class",
        ),
        (
            lambda z, cues, present: expand_loss(z, present, foreground=1.5),
            r"foreground is 1.5, expected a decay in 0\.\.1",
        ),
        (
            lambda z, cues, present: constrain_loss(z, cues[0].double()),
            r"crf has shape \(3, 2, 2\), expected \(1, 3, 2, 2\): as the logits",
        ),
    ],
)
def test_errors_teach(call, message):
    logits, cues, present, _ = random_case(1, (2, 2), 3, 0.5, 0.5, 1.0, seed=0)
    with pytest.raises(ValueError, match=message):
        call(logits, cues, present)
