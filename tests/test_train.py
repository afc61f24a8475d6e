import json
from dataclasses import dataclass

import pytest
import torch

from weclick.metrics_log import MetricsLog, read_metrics
from weclick.models import build_model
from weclick.objective import Objective
from weclick.stream import Caches, Stream
from weclick.train import CHECKPOINT, NonFiniteLossError, fit, make_fabric, make_optimizer, set_learning_rate
from weclick.window import Window


class StoppedError(Exception):
    """Stands for a kill in the middle of a training."""


def run(street, folder, *, recipe="r", stop_at=None, objective=None, **changed):
    """One training on the tiny street; `stop_at` breaks it off before that step."""
    options = {**street.config["student"], "steps": 5, **changed}
    torch.manual_seed(0)
    model = build_model("deeplabv3plus", "mobilenetv2_compact", 9, channels=16)
    stream = Stream(
        street.train,
        street.clicks,
        Caches(street.store, street.frames, street.flow, {}),
        window=Window(frames=1),
        options=options,
        stride_px=model.stride,
        occlusion="none",
        seed=0,
    )
    losses = objective or Objective(
        {name: street.config[name] for name in ("partial_cross_entropy", "gated_crf")},
        steps=5,
        class_weights=None,
    )

    def stopping(logits, batch, step):
        if step == stop_at:
            raise StoppedError
        return losses(logits, batch, step)

    def validate(network):
        assert not network.training
        return {"miou": 0.5, "mean_accuracy": 0.5, "per_class_iou": {"road": None, "car": 0.5}}

    trained = fit(
        make_fabric("cpu", "32"),
        model,
        stream,
        stopping,
        options=options,
        seed=0,
        folder=folder,
        recipe=recipe,
        validate=validate,
    )
    return model, trained


def losses_in(folder):
    return [line["loss"] for line in read_metrics(folder / "metrics.jsonl") if "loss" in line]


def test_a_resumed_run_is_the_very_same_run(street, tmp_path):
    whole, trained = run(street, tmp_path / "whole")
    with pytest.raises(StoppedError):
        run(street, tmp_path / "parts", stop_at=3)
    resumed, _ = run(street, tmp_path / "parts")
    assert trained.step == 5
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    losses = [
        [line["loss"] for line in read_metrics(tmp_path / p / "metrics.jsonl") if "loss" in line]
        for p in ("whole", "parts")
    ]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 5


def test_a_checkpoint_of_another_recipe_is_not_gone_on_from(street, tmp_path):
    with pytest.raises(StoppedError):
        run(street, tmp_path, stop_at=3, recipe="one")
    run(street, tmp_path, recipe="two")
    steps = [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl") if "loss" in line]
    assert steps == [1, 2, 3, 4, 5]


def test_metrics_tell_terms_scores_and_waiting(street, tmp_path):
    run(street, tmp_path, validate_every=2)
    lines = list(read_metrics(tmp_path / "metrics.jsonl"))
    training = [line for line in lines if "loss" in line]
    assert {"step", "seconds", "lr", "loss", "terms", "data_wait_share"} == set(training[0])
    assert training[0]["loss"] == pytest.approx(sum(training[0]["terms"].values()), rel=1e-5)
    assert 0 <= training[-1]["data_wait_share"] <= 1
    assert [line["step"] for line in lines if "validation" in line] == [2, 4, 5]
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(street, tmp_path):
    def broken(logits, batch, step):
        loss = logits.square().mean()
        return {"clicks": loss, "colours": loss * (float("nan") if step == 3 else 1.0)}

    with pytest.raises(
        NonFiniteLossError, match=r"step 3 is not finite \(clicks .*colours nan\).*checkpoint\.pt"
    ):
        run(street, tmp_path, objective=broken)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert state["step"] == 2
    assert all(torch.isfinite(tensor).all() for tensor in state["model"].values())


def test_training_lowers_the_loss(street, tmp_path):
    run(street, tmp_path, steps=40, learning_rate=5e-3, scale=[1.0, 1.0])
    losses = losses_in(tmp_path)
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_learning_rates_follow_poly_and_the_head_factor():
    model = build_model("deeplabv3plus", "mobilenetv2_compact", 3, channels=16)
    options = {
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "head_learning_rate_factor": 10.0,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "steps": 100,
        "poly_power": 0.9,
    }
    optimizer = make_optimizer(model, options)
    set_learning_rate(optimizer, options, 50)
    rates = {round(group["lr"], 6) for group in optimizer.param_groups}
    assert rates == {round(0.1 * 0.5**0.9, 6), round(1.0 * 0.5**0.9, 6)}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))
    assert {"momentum": 0.9, "weight_decay": 1e-4}.items() <= optimizer.param_groups[0].items()


@dataclass
class Line:
    step: int

    def __call__(self):
        return {"step": self.step, "loss": 1.0, "lr": 0.1, "terms": {}, "data_wait_share": 0.0}


def test_a_log_drops_lines_beyond_the_checkpoint_and_half_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(Line(step)()) + "\n" for step in (1, 2, 3)) + '{"step": 4, "lo')
    log = MetricsLog(tmp_path, after_step=2)
    log.training(Line(3)())
    log.close()
    assert [line["step"] for line in read_metrics(path)] == [1, 2, 3]
    assert list(read_metrics(tmp_path / "none.jsonl")) == []
