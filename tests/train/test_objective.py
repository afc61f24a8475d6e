"""What a training sums: which terms, how they are weighted, and that they are the losses of the formulas."""

from dataclasses import replace

import pytest
import torch

from helpers import reference_losses as reference
from helpers.batches import W, logits, make_batch
from helpers.reference_losses import assert_agree, value_and_gradients
from weclick.common.config import complete_config
from weclick.geometry import backward_warp
from weclick.losses import gated_crf, knowledge_distillation, partial_cross_entropy
from weclick.train.data.batch import Batch
from weclick.train.objective import Objective


def make_objective(class_weights=None, **sections):
    config = complete_config(sections)
    return Objective(config, steps=100, class_weights=class_weights)


def test_a_student_sums_all_terms_of_eq_5():
    batch = make_batch()
    terms = make_objective()(logits(batch), batch, step=50)
    assert list(terms) == ["partial_cross_entropy", "gated_crf", "knowledge_distillation", "memory_flow"]
    assert all(term.ndim == 0 and term > 0 for term in terms.values())


def test_a_teacher_sums_clicks_and_colours_alone():
    batch = make_batch(neighbours=0)
    config = complete_config({})
    del config["kd"], config["mfd"]
    terms = Objective(config, steps=100, class_weights=None)(logits(batch), batch, step=50)
    assert list(terms) == ["partial_cross_entropy", "gated_crf"]


def test_weights_scale_and_zero_switches_off():
    batch = make_batch()
    once = make_objective()(logits(batch), batch, step=50)
    changed = make_objective(kd={"weight": 2.0}, mfd={"weight": 0.0})(logits(batch), batch, step=50)
    assert "memory_flow" not in changed
    torch.testing.assert_close(changed["knowledge_distillation"], 2 * once["knowledge_distillation"])


def test_the_gated_crf_begins_after_its_warmup():
    batch = make_batch()
    objective = make_objective(gated_crf={"warmup": 0.3})
    assert "gated_crf" not in objective(logits(batch), batch, step=29)
    assert "gated_crf" in objective(logits(batch), batch, step=30)


def test_knowledge_distillation_is_a_mean_over_pixels_summed_over_the_frames_of_a_sample():
    batch = make_batch()
    value = make_objective()(logits(batch), batch, step=50)["knowledge_distillation"]
    mean = knowledge_distillation(logits(batch), batch.teacher)
    torch.testing.assert_close(value, 2 * mean)


def test_class_weights_reach_the_clicks():
    batch, weights = make_batch(), torch.tensor([1.0, 5.0, 1.0])
    value = make_objective(weights)(logits(batch), batch, step=0)["partial_cross_entropy"]
    expected = partial_cross_entropy(
        logits(batch)[:2], batch.points, batch.classes, input_size=batch.input_size, class_weights=weights
    )
    torch.testing.assert_close(value, expected)


def test_memory_flow_is_zero_where_neighbour_and_target_agree():
    batch = make_batch()
    same = logits(batch)
    same[2:] = same[:2]
    assert make_objective()(same, batch, step=50)["memory_flow"] < 1e-12


@pytest.mark.parametrize("change", [{"flow": 100.0}, {"inside": False}])
def test_invalid_pixels_do_not_count(change):
    batch = make_batch(**change)
    assert make_objective(gated_crf={"weight": 0.0})(logits(batch), batch, step=50)["memory_flow"] == 0


def test_padding_of_the_neighbour_is_not_warped_in():
    batch = make_batch()
    batch.inside[2:, :, :, : W // 2] = False
    values = logits(batch).requires_grad_()
    make_objective(mfd={"stop_gradient": False})(values, batch, step=50)["memory_flow"].backward()
    assert (values.grad[:2, :, :, : W // 2] == 0).all()
    assert (values.grad[:2, :, :, W // 2 :] != 0).any()


def test_by_default_no_gradient_enters_the_neighbour():
    batch = make_batch()
    values = logits(batch).requires_grad_()
    make_objective()(values, batch, step=50)["memory_flow"].backward()
    assert (values.grad[2:] == 0).all()
    assert (values.grad[:2] != 0).any()


def by_the_formulas(values, batch, sections):
    """Eq. 5 term by term, out of loops; Gated CRF has its own test against its formula."""
    probs, targets, per_target = values.softmax(1), batch.targets, batch.neighbours / batch.targets
    inside = batch.inside[targets:].to(values)
    warped, valid = backward_warp(torch.cat([probs[targets:], inside], 1), batch.flow)
    valid = valid & (warped[:, -1:] > 0.999) & batch.inside[batch.target_of] & batch.flow_valid
    warped = warped[:, :-1].detach() if sections["mfd"]["stop_gradient"] else warped[:, :-1]
    rgb = torch.nn.functional.adaptive_avg_pool2d(batch.images[:targets], values.shape[-2:])
    summed = sections["mfd"]["reduction"] == "sum"
    return (
        reference.partial_cross_entropy(values[:targets], batch.points, batch.classes, batch.input_size)
        + 0.1 * gated_crf(probs[:targets], rgb, valid=batch.inside[:targets])
        + (1 + per_target)
        * reference.knowledge_distillation(
            values, batch.teacher, sections["kd"]["direction"], sections["kd"]["temperature"], batch.inside
        )
        + (1 / targets if summed else per_target)
        * reference.memory_flow_distillation(
            probs[:targets],
            warped,
            batch.teacher[:targets],
            valid,
            batch.target_of,
            sections["mfd"]["consistency"],
            sections["mfd"]["reduction"],
        )
    )


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"kd": {"direction": "student_teacher", "temperature": 2.0}, "mfd": {"stop_gradient": False}},
        {"kd": {"temperature": 0.5}, "mfd": {"consistency": "as_printed", "reduction": "sum"}},
        {"mfd": {"consistency": "none", "stop_gradient": False, "reduction": "sum"}},
    ],
)
def test_eq_5_equals_the_formulas_in_value_and_gradient(sections):
    generator = torch.Generator().manual_seed(2)
    batch = make_batch(neighbours=4)
    batch = replace(
        batch,
        flow=2 * torch.randn(batch.flow.shape, generator=generator),
        flow_valid=torch.rand(batch.flow_valid.shape, generator=generator) > 0.3,
        inside=torch.rand(batch.inside.shape, generator=generator) > 0.1,
    )
    config = complete_config(sections)
    found, expected = (
        value_and_gradients(loss, logits(batch).contiguous(memory_format=torch.channels_last))
        for loss in (
            lambda z: sum(Objective(config, steps=100, class_weights=None)(z, batch, 50).values()),
            lambda z: by_the_formulas(z, batch, config),
        )
    )
    assert_agree(found, expected, 1e-5)


def test_half_precision_logits_are_counted_in_single():
    batch = make_batch()
    half = logits(batch).bfloat16()
    found = make_objective()(half, batch, step=50)
    expected = make_objective()(half.float(), batch, step=50)
    assert {name: term.dtype for name, term in found.items()} == dict.fromkeys(expected, torch.float32)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_a_batch_where_nothing_counts_gives_zeros_and_zero_gradients(stop_gradient):
    batch = make_batch(inside=False)
    batch = replace(batch, points=torch.zeros(0, 3), classes=torch.zeros(0, dtype=torch.int64))
    objective = make_objective(mfd={"stop_gradient": stop_gradient})
    value, gradient = value_and_gradients(lambda z: sum(objective(z, batch, 50).values()), logits(batch))
    assert value == 0
    assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("class_weights", [None, torch.tensor([1.0, 2.0, 0.5])])
def test_micro_batches_count_by_their_clicks_and_scribbles(class_weights):
    whole = replace(
        make_batch(neighbours=0),
        points=torch.tensor([[0.0, 5, 6], [1, 20, 30], [1, 20, 31], [1, 20, 32], [1, 2, 2]]),
        classes=torch.tensor([1, 2, 2, 2, 0]),
        point_weights=torch.tensor([1, 1 / 3, 1 / 3, 1 / 3, 1]),
    )
    parts = []
    for i in range(2):
        mine = whole.points[:, 0] == i
        points = whole.points[mine] * torch.tensor([0.0, 1, 1])
        part = {name: getattr(whole, name)[i : i + 1] for name in ("images", "inside", "teacher")}
        clicks = {"classes": whole.classes[mine], "point_weights": whole.point_weights[mine]}
        parts.append(replace(whole, points=points, **part, **clicks))
    objective = Objective({"partial_cross_entropy": {"weight": 1.0}}, steps=1, class_weights=class_weights)
    given = logits(whole)
    together = objective(given, whole, 0)["partial_cross_entropy"]
    shares = objective.shares(parts)
    apart = [
        objective(given[i : i + 1], part, 0)["partial_cross_entropy"] * share["partial_cross_entropy"]
        for i, (part, share) in enumerate(zip(parts, shares, strict=True))
    ]
    torch.testing.assert_close(sum(apart), together)
    if class_weights is None:
        assert [round(float(share["partial_cross_entropy"]), 5) for share in shares] == [0.33333, 0.66667]


def test_targets_without_neighbours_have_no_memory_flow():
    batch = make_batch(neighbours=0)
    terms = make_objective()(logits(batch), batch, step=50)
    assert list(terms) == ["partial_cross_entropy", "gated_crf", "knowledge_distillation"]


def test_the_targets_softmax_is_made_once():
    batch = make_batch()
    with torch.profiler.profile() as profile:
        make_objective()(logits(batch), batch, step=50)
    softmaxes = [event for event in profile.events() if event.name == "aten::_softmax"]
    assert len(softmaxes) == 1 + batch.neighbours


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("stop_gradient", [True, False])
def test_a_gpu_gives_what_the_cpu_gives_and_waits_for_nothing(stop_gradient):
    batch = make_batch(flow=0.7, neighbours=4)
    objective = make_objective(mfd={"stop_gradient": stop_gradient})
    on_gpu = Batch(**{name: value.cuda() for name, value in vars(batch).items() if value is not None})
    values = logits(batch).cuda()
    sum(objective(values, on_gpu, 50).values())  # Triton compiles, which waits

    def eq_5(z, given):
        return value_and_gradients(lambda z: sum(objective(z, given, 50).values()), z)

    torch.cuda.set_sync_debug_mode("error")
    try:
        found = eq_5(values, on_gpu)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert_agree(found, eq_5(logits(batch), batch), 1e-5)
