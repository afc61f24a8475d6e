import pytest
import torch

from weclick.batch import Batch
from weclick.config import complete_config
from weclick.losses import knowledge_distillation, partial_cross_entropy
from weclick.objective import Objective

K, H, W = 3, 8, 10


def make_batch(flow=0.0, targets=2, neighbours=2, inside=True):
    torch.manual_seed(0)
    frames = targets + neighbours
    return Batch(
        images=torch.randn(frames, 3, 4 * H, 4 * W),
        inside=torch.full((frames, 1, H, W), inside),
        points=torch.tensor([[0.0, 5.0, 6.0], [1.0, 20.0, 30.0]]),
        classes=torch.tensor([1, 2]),
        target_of=torch.arange(neighbours) % targets,
        flow=torch.full((neighbours, 2, H, W), flow),
        flow_valid=torch.ones(neighbours, 1, H, W, dtype=torch.bool),
        teacher=torch.randn(frames, K, H, W).softmax(1),
    )


def make_objective(class_weights=None, **sections):
    config = complete_config(sections)
    return Objective(config, steps=100, class_weights=class_weights)


def logits(batch):
    return torch.randn(batch.images.shape[0], K, H, W, generator=torch.Generator().manual_seed(1))


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


def test_distillation_is_a_mean_over_pixels_summed_over_the_frames_of_a_sample():
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
