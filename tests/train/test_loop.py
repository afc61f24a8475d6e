"""The loop: the same run however it is stopped, cut into parts or shared, and what it tells of itself."""

import json
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from helpers.places import TESTS
from helpers.training import StoppedError, run
from weclick.common.errors import InputError
from weclick.models import build_model
from weclick.train.checkpoint import BEST, CHECKPOINT
from weclick.train.devices import micro_batch_size, share_statistics
from weclick.train.log import MetricsLog, read_metrics
from weclick.train.objective import with_auxiliary
from weclick.train.optimizer import averaged, make_optimizer, set_learning_rate
from weclick.train.step import NonFiniteLossError
from weclick.train.stopwatch import PARTS, Stopwatch

EXACT = {"head_norm": "group", "batch_norm": "frozen", "optimizer": "sgd", "learning_rate": 0.1}
"""What makes a batch the sum of its parts: no statistics over images, and no steps of the gradient's sign."""


def same_weights(one, two):
    for (name, a), b in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def losses_in(folder):
    return [line["loss"] for line in read_metrics(folder / "metrics.jsonl") if "loss" in line]


ALL = {"head_norm": "group", "accumulate": 2, "ema": 0.75, "clip_gradient_norm": 1.0}


@pytest.mark.parametrize(
    ("steps", "stop_at", "options"),
    [
        (5, 3, {}),
        (5, 3, ALL),
        pytest.param(40, 37, ALL | {"checkpoint_every": 10}, marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_is_the_very_same_run(street, tmp_path, steps, stop_at, options):
    options = {"steps": steps, **options}
    whole, trained = run(street, tmp_path / "whole", **options)
    with pytest.raises(StoppedError):
        run(street, tmp_path / "parts", stop_at=stop_at, **options)
    resumed, _ = run(street, tmp_path / "parts", **options)
    assert trained.step == steps
    same_weights(whole, resumed)
    assert losses_in(tmp_path / "whole") == losses_in(tmp_path / "parts")
    assert len(losses_in(tmp_path / "whole")) == steps


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_micro_batches_add_up_to_the_batch(street, tmp_path, reduction):
    street = replace(
        street, config={**street.config, "mfd": {**street.config["mfd"], "reduction": reduction}}
    )
    if reduction == "sum":
        street.config["mfd"]["weight"] = 1e-3
    options = {**EXACT, "eq_5": True, "steps": 3, "batch_size": 4}
    (whole, _), (parts, _), (fours, _) = (
        run(street, tmp_path / str(parts), accumulate=parts, **options) for parts in (1, 2, 4)
    )
    lines = [list(read_metrics(tmp_path / name / "metrics.jsonl"))[:3] for name in "124"]
    for one, two, four in zip(*lines, strict=True):
        assert len(one["terms"]) == 4
        assert two["terms"] == pytest.approx(one["terms"], rel=1e-4)
        assert four["terms"] == pytest.approx(one["terms"], rel=1e-4)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], value, rtol=1e-3, atol=2e-5, msg=name)
        torch.testing.assert_close(fours.state_dict()[name], value, rtol=1e-3, atol=2e-5, msg=name)


def test_batches_that_do_not_divide_and_single_images_under_batch_norm_are_refused(street, tmp_path):
    with pytest.raises(
        InputError, match=r"batch_size is 4, .* 2 micro-batches .* 3 processes.* multiple of 6"
    ):
        micro_batch_size({"batch_size": 4, "accumulate": 2}, 3)
    with pytest.raises(InputError, match=r"single image.*one value per channel; set head_norm: group"):
        run(street, tmp_path, accumulate=2)


def test_long_gradients_are_shortened(street, tmp_path):
    plain = {**EXACT, "steps": 1, "learning_rate": 1.0, "weight_decay": 0.0}
    moved = {}
    for limit in (None, 0.01, 1e6):
        model, _ = run(street, tmp_path / str(limit), clip_gradient_norm=limit, **plain)
        torch.manual_seed(0)
        start = build_model("deeplabv3plus", "mobilenetv2_compact", 9, channels=16, head_norm="group")
        pairs = zip(model.parameters(), start.parameters(), strict=True)
        moved[limit] = torch.cat([(a - b).detach().flatten() for a, b in pairs])
    assert moved[None].norm() > 0.1
    assert moved[0.01].norm() == pytest.approx(0.01, rel=1e-3)
    torch.testing.assert_close(moved[1e6], moved[None])
    assert torch.cosine_similarity(moved[0.01], moved[None], dim=0) > 0.9999


def test_deterministic_runs_are_the_same_to_the_bit(street, tmp_path):
    asked = []

    def losses(logits, batch, step):
        asked.append(torch.are_deterministic_algorithms_enabled())
        return {"clicks": logits.square().mean()}

    one, two = (run(street, tmp_path / name, objective=losses, deterministic=True)[0] for name in "ab")
    same_weights(one, two)
    assert all(asked)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("ema", [None, 0.75])
def test_the_best_weights_are_kept_also_over_a_stop(street, tmp_path, ema):
    options = {"keep": "best", "validate_every": 1, "ema": ema}
    mious, seen = [0.1, 0.5, 0.3, 0.5, 0.4], []
    best, trained = run(street, tmp_path / "whole", mious=mious, validated=seen, **options)
    assert (trained.step, trained.best_step, trained.best_miou) == (5, 2, 0.5)
    assert all(torch.equal(value, seen[1][name]) for name, value in best.state_dict().items())
    with pytest.raises(StoppedError):
        run(street, tmp_path / "parts", mious=mious, validated=[], stop_at=4, **options)
    again, _ = run(street, tmp_path / "parts", mious=mious[4:], validated=[], **options)
    same_weights(best, again)
    on, _ = run(street, tmp_path / "last", mious=mious, validated=[], **{**options, "keep": "last"})
    assert not (tmp_path / "last" / BEST).exists()
    (tmp_path / "last" / CHECKPOINT).write_bytes((tmp_path / "whole" / BEST).read_bytes())
    after, _ = run(street, tmp_path / "last", mious=mious[2:], validated=[], **{**options, "keep": "last"})
    same_weights(on, after)


def test_a_lost_best_checkpoint_is_told(street, tmp_path):
    options = {"keep": "best", "validate_every": 1, "mious": [0.5, 0.1, 0.1, 0.1, 0.1]}
    with pytest.raises(StoppedError):
        run(street, tmp_path, validated=[], stop_at=4, **options)
    (tmp_path / BEST).unlink()
    with pytest.raises(InputError, match=r"best\.pt: is missing.*step 1; restore"):
        run(street, tmp_path, validated=[], **{**options, "mious": [0.1]})


def test_a_trace_of_some_steps_is_written(street, tmp_path):
    run(street, tmp_path, profile=[2, 3])
    events = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    names = [event["name"] for event in events if event.get("cat") == "user_annotation"]
    assert names.count("forward") == names.count("optimizer") == 2
    assert any("conv" in event.get("name", "") for event in events)
    with pytest.raises(InputError, match=r"profile is \[3, 2\], expected \[first, last\] step"):
        run(street, tmp_path / "wrong", profile=[3, 2])


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
@pytest.mark.parametrize("backbone", ["mobilenetv2_compact", "timm/test_efficientnet"])
@torch.no_grad()
def test_gpus_share_the_statistics_of_batch_norm(backbone, processes, device, shared):
    model = build_model("pspnet", backbone, 3, channels=16, batch_norm="sync").eval()
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
        run(street, tmp_path, stop_at=3, key="one")
    run(street, tmp_path, key="two")
    steps = [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl") if "loss" in line]
    assert steps == [1, 2, 3, 4, 5]


def test_metrics_tell_terms_scores_and_waiting(street, tmp_path):
    run(street, tmp_path, validate_every=2)
    lines = list(read_metrics(tmp_path / "metrics.jsonl"))
    training = [line for line in lines if "loss" in line]
    assert {"step", "seconds", "lr", "loss", "terms", "data_wait_share", "time_shares"} == set(training[0])
    assert training[0]["loss"] == pytest.approx(sum(training[0]["terms"].values()), rel=1e-5)
    for line in training:
        assert list(line["time_shares"]) == list(PARTS)
        assert line["data_wait_share"] == line["time_shares"]["wait"]
        assert all(0 <= share <= 1 for share in line["time_shares"].values())
        assert sum(line["time_shares"].values()) < 1.001, "parts overlap, or count time of another step"
        assert line["time_shares"]["backward"] > 0
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


def test_a_loss_that_is_not_finite_is_found_at_the_next_look(street, tmp_path):
    def broken(logits, batch, step):
        return {"clicks": logits.square().mean() * (float("inf") if step == 1 else 1.0)}

    with pytest.raises(NonFiniteLossError, match=r"step 1 is not finite.*no checkpoint yet"):
        run(street, tmp_path, objective=broken, log_every=100, checkpoint_every=3)
    assert not (tmp_path / CHECKPOINT).exists()


class Clock:
    """Stands still until it is told."""

    def __init__(self, monkeypatch):
        self.now_s = 100.0
        monkeypatch.setattr("weclick.train.stopwatch.time.perf_counter", lambda: self.now_s)

    def run(self, seconds):
        self.now_s += seconds


def test_the_stopwatch_divides_the_time_among_the_parts(monkeypatch):
    clock = Clock(monkeypatch)
    watch = Stopwatch(torch.device("cpu"), seconds=20.0)
    clock.run(1)  # the rest: in no part
    for name, seconds in (("batch", 3), ("forward", 2), ("backward", 4), ("forward", 1), ("optimizer", 0.5)):
        with watch.part(name):
            clock.run(seconds)
    clock.run(1)
    expected = dict.fromkeys(PARTS, 0.0)
    expected |= {"wait": 0.16, "assemble": 0.08, "forward": 0.24, "backward": 0.32, "optimizer": 0.04}
    assert watch.shares(waited_s=2.0) == expected  # of 12.5 s
    assert watch.seconds() == 32.5

    with watch.part("batch"):
        clock.run(1)
    with watch.paused():
        clock.run(50)
    clock.run(1)
    assert watch.shares(waited_s=2.5) == dict.fromkeys(PARTS, 0.0) | {"wait": 0.25, "assemble": 0.25}
    assert watch.seconds() == 34.5


def test_waiting_is_no_longer_than_the_batch_took(monkeypatch):
    """The reads of a batch that is asked for later may have kept the stream waiting too."""
    clock = Clock(monkeypatch)
    watch = Stopwatch(torch.device("cpu"))
    with watch.part("batch"):
        clock.run(2)
    clock.run(2)
    assert watch.shares(waited_s=3.0) == dict.fromkeys(PARTS, 0.0) | {"wait": 0.5}


def test_a_gpu_is_waited_for_when_shares_are_asked_alone(monkeypatch):
    clock, waited = iter(range(100)), []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.at_ms = next(clock)

        def elapsed_time(self, later):
            return float(later.at_ms - self.at_ms)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waited.append(True))
    watch = Stopwatch(torch.device("cuda"))
    for name in ("batch", "forward", "backward"):
        with watch.part(name):
            assert not waited
    monkeypatch.setattr("weclick.train.stopwatch.time.perf_counter", lambda: watch._since + 0.010)
    shares = watch.shares(waited_s=123.0)
    assert waited == [True]
    assert shares == {name: 0.1 if name in ("wait", "forward", "backward") else 0.0 for name in PARTS}


@pytest.mark.slow
def test_two_processes_train_as_one(street, tmp_path):
    """Each reads its own samples; the curve is that of one process; and one goes on where two stopped."""
    options = {**EXACT, "eq_5": True, "entropy": 0.5, "batch_size": 4, "accumulate": 2}
    own, both = [], tmp_path / "both"
    whole, _ = run(street, tmp_path / "one", read=own, **options)
    (tmp_path / "street").write_bytes(pickle.dumps(street))
    script = TESTS / "helpers" / "train_in_processes.py"

    def train(folder, launcher=(), **changed):
        given = json.dumps({**options, "devices": 2, **changed})
        command = [sys.executable, *launcher, script, tmp_path / "street", folder, given]
        environment = {**os.environ, "PYTHONPATH": str(TESTS)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)

    def check(done, folder):
        assert done.returncode == 0, done.stderr
        assert losses_in(folder) == pytest.approx(losses_in(tmp_path / "one"), rel=1e-4)
        state = torch.load(folder / "weights.pt", weights_only=True)
        for name, value in whole.state_dict().items():
            torch.testing.assert_close(state[name], value, rtol=1e-3, atol=2e-4, msg=name)

    check(train(both), both)
    first, second = (json.loads((both / f"read_{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1))
    assert len(first) == len(second) == len(own) / 2
    assert sorted(first + second) == sorted(list(sample) for sample in own)

    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    check(train(tmp_path / "torchrun", torchrun), tmp_path / "torchrun")

    assert "StoppedError" in train(tmp_path / "stopped", stop_at=3).stderr
    resumed, _ = run(street, tmp_path / "stopped", **options)
    assert losses_in(tmp_path / "stopped") == pytest.approx(losses_in(tmp_path / "one"), rel=1e-4)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=1e-3, atol=2e-4, msg=name)


@pytest.mark.slow
def test_memory_stays_flat_over_many_steps(street, tmp_path):
    held = {}

    def losses(logits, batch, step):
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        held[step] = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
        return {"clicks": logits.square().mean()}

    run(street, tmp_path, steps=2000, objective=losses, crop=[32, 32], log_every=10, checkpoint_every=100)
    quarters = [max(held[step] for step in range(at, at + 500)) for at in range(0, 2000, 500)]
    assert max(quarters[2:]) - max(quarters[:2]) < 4096, quarters  # KiB; what other tests left may go


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
        return {
            "step": self.step,
            "loss": 1.0,
            "lr": 0.1,
            "terms": {},
            "data_wait_share": 0.0,
            "time_shares": {},
        }


def test_a_log_drops_lines_beyond_the_checkpoint_and_half_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(Line(step)()) + "\n" for step in (1, 2, 3)) + '{"step": 4, "lo')
    log = MetricsLog(tmp_path, after_step=2)
    log.training(Line(3)())
    log.close()
    assert [line["step"] for line in read_metrics(path)] == [1, 2, 3]
    assert list(read_metrics(tmp_path / "none.jsonl")) == []


def test_a_training_that_was_not_scored_tells_no_score(tmp_path):
    log = MetricsLog(tmp_path, after_step=0)
    log.training(Line(1)() | {"time_shares": {"wait": 0.01, "forward": 0.4}})
    assert log.summary() == "loss 1.000  wait 1 fwd 40 %"
    log.validation(1, 2.0, {"miou": 0.5, "click_accuracy": 0.9})
    assert log.summary() == "loss 1.000  mIoU 0.500  wait 1 fwd 40 %"
    log.close()
