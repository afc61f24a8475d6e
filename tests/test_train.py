import json
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from weclick.metrics_log import MetricsLog, read_metrics
from weclick.models import build_model
from weclick.objective import Objective
from weclick.stream import Caches, Stream
from weclick.train import (
    CHECKPOINT,
    NonFiniteLossError,
    averaged,
    fit,
    make_fabric,
    make_optimizer,
    set_learning_rate,
    share_statistics,
    with_auxiliary,
)
from weclick.window import Window


class StoppedError(Exception):
    """Stands for a kill in the middle of a training."""


def run(street, folder, *, recipe="r", stop_at=None, objective=None, validated=None, **changed):
    """One training on the tiny street; `stop_at` breaks it off before that step.

    Fills `validated` with the weights that each validation sees.
    """
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
        if validated is not None:
            validated.append({name: value.clone() for name, value in network.state_dict().items()})
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


@pytest.mark.parametrize("ema", [None, 0.75])
def test_a_resumed_run_is_the_very_same_run(street, tmp_path, ema):
    whole, trained = run(street, tmp_path / "whole", ema=ema)
    with pytest.raises(StoppedError):
        run(street, tmp_path / "parts", stop_at=3, ema=ema)
    resumed, _ = run(street, tmp_path / "parts", ema=ema)
    assert trained.step == 5
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    losses = [
        [line["loss"] for line in read_metrics(tmp_path / p / "metrics.jsonl") if "loss" in line]
        for p in ("whole", "parts")
    ]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 5


def test_the_average_is_validated_and_kept_and_does_not_steer(street, tmp_path):
    seen = {ema: [] for ema in (None, 0.75)}
    models = {
        ema: run(street, tmp_path / str(ema), ema=ema, validate_every=1, validated=seen[ema])[0]
        for ema in seen
    }
    assert losses_in(tmp_path / "None") == losses_in(tmp_path / "0.75")
    expected = seen[None][0]
    for plain, mean in zip(seen[None], seen[0.75], strict=True):
        expected = {
            name: 0.75 * expected[name] + 0.25 * plain[name] if value.is_floating_point() else mean[name]
            for name, value in plain.items()
        }
        for name, value in expected.items():
            torch.testing.assert_close(mean[name], value, rtol=1e-5, atol=1e-6, msg=name)
    for name, value in models[0.75].state_dict().items():
        assert torch.equal(value, seen[0.75][-1][name]), name
    assert not torch.equal(models[0.75].classifier.weight, models[None].classifier.weight)


def test_an_average_takes_the_statistics_of_batch_norm_along():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    average = averaged(model, 0.9, torch.device("cpu"))
    average.update_parameters(model)
    first = [value.clone() for value in (model[0].weight, model[1].running_mean, model[1].running_var)]
    with torch.no_grad():
        model[0].weight.add_(1.0)
    model(torch.randn(2, 3, 4, 4))
    average.update_parameters(model)
    mean = average.module
    for before, now, then in zip(
        first,
        (model[0].weight, model[1].running_mean, model[1].running_var),
        (mean[0].weight, mean[1].running_mean, mean[1].running_var),
        strict=True,
    ):
        assert not torch.equal(before, now)
        torch.testing.assert_close(then, 0.9 * before + 0.1 * now)


def test_synchronised_batch_norm_is_ordinary_in_one_process(street, tmp_path):
    models = [run(street, tmp_path / how, batch_norm=how)[0].state_dict() for how in ("train", "sync")]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


@pytest.mark.parametrize(
    ("processes", "device", "shared"), [(2, "cuda", True), (1, "cuda", False), (2, "cpu", False)]
)
@torch.no_grad()
def test_gpus_share_the_statistics_of_batch_norm(processes, device, shared):
    model = build_model("pspnet", "mobilenetv2_compact", 3, channels=16, batch_norm="sync").eval()
    images, keys = torch.randn(1, 3, 40, 48), list(model.state_dict())
    before, count = model(images), sum(isinstance(part, nn.BatchNorm2d) for part in model.modules())
    share_statistics(model, SimpleNamespace(world_size=processes, device=torch.device(device)))
    assert sum(isinstance(part, nn.SyncBatchNorm) for part in model.modules()) == shared * count
    assert list(model.state_dict()) == keys
    torch.testing.assert_close(model(images), before)


def test_an_auxiliary_head_adds_its_terms():
    def terms(logits, batch, step):
        return {"clicks": logits.sum() + batch + step}

    both = with_auxiliary(terms, terms, 0.4)((torch.tensor(2.0), torch.tensor(5.0)), 10, 100)
    assert both == {"clicks": 112, "auxiliary_clicks": pytest.approx(0.4 * 115)}


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
