"""One training loop for teacher and student, blind to which losses it sums."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from weclick.batch import Batch
from weclick.errors import full_disk
from weclick.metrics_log import MetricsLog
from weclick.progress import progress_bar
from weclick.stream import Stream

CHECKPOINT = "checkpoint.pt"

Losses = Callable[[Any, Batch, int], dict[str, Tensor]]
"""What the network gives in training mode, the batch and the step -> named terms, whose sum is the loss."""


class NonFiniteLossError(ArithmeticError):
    """The loss became NaN or infinite; the checkpoint holds the last good state."""


@dataclass(frozen=True)
class Trained:
    """How far a training is, and the seconds it took over all its sessions, validation left out."""

    step: int = 0
    seconds: float = 0.0


def make_fabric(device: str, precision: str, devices: int = 1) -> Fabric:
    """The device side of a training, launched.

    Args:
        device: cpu or cuda.
        precision: auto (bf16 autocast on a GPU, float32 else), 32 or bf16.
        devices: how many; more than one trains with DDP.
    """
    bf16 = precision == "bf16" or (precision == "auto" and device == "cuda")
    fabric = Fabric(accelerator=device, devices=devices, precision="bf16-mixed" if bf16 else "32-true")
    fabric.launch()
    return fabric


def fit(
    fabric: Fabric,
    model: nn.Module,
    stream: Stream,
    objective: Losses,
    *,
    options: Mapping[str, Any],
    seed: int,
    folder: Path,
    recipe: str,
    validate: Callable[[nn.Module], Mapping[str, Any]],
) -> Trained:
    """Train a network to the end, going on from the folder's checkpoint if it is of the same recipe.

    Random numbers of a step follow from (seed, step), so a resumed run equals one that never stopped.

    Args:
        fabric: launched, see `make_fabric`.
        model: trained in place; with `ema` it ends with the averaged weights, which are also validated.
        stream: gives the batch of every step.
        objective: gives the named losses of a step; with an auxiliary head, see `with_auxiliary`.
        options: the network's section of the configuration.
        seed: of dropout.
        folder: gets metrics.jsonl, tensorboard/ and checkpoint.pt.
        recipe: key of the training; a checkpoint of another one is not used.
        validate: called with the network in eval mode, gives scores.

    Raises:
        NonFiniteLossError: with the step and its terms.
    """
    model.to(memory_format=torch.channels_last)  # a fifth faster than the default, on CPUs and GPUs alike
    if options["batch_norm"] == "sync":
        share_statistics(model, fabric)
    average = averaged(model, options["ema"], fabric.device) if options["ema"] else None
    network, optimizer = fabric.setup(model, make_optimizer(model, options))
    done = load_checkpoint(folder / CHECKPOINT, model, optimizer, recipe, average)
    log = MetricsLog(folder, after_step=done.step) if fabric.is_global_zero else None
    clock = _Clock(done.seconds)

    network.train()
    batches = stream.batches(done.step, options["steps"], fabric.device)
    with progress_bar(f"train {folder.name}", options["steps"], "steps", done=done.step) as bar:
        for step, batch in enumerate(batches, start=done.step):
            set_learning_rate(optimizer, options, step)
            torch.manual_seed(seed * 1_000_003 + step)

            images = batch.images.contiguous(memory_format=torch.channels_last)
            terms = objective(network(images), batch, step)
            loss = torch.stack(list(terms.values())).sum()
            if not torch.isfinite(loss):
                raise _non_finite(step, terms, folder)
            optimizer.zero_grad(set_to_none=True)
            fabric.backward(loss)
            optimizer.step()
            if average:
                average.update_parameters(model)

            now = Trained(step + 1, clock.seconds())
            bar.advance()
            if not log:
                continue
            if _due(now.step, options["log_every"], options):
                share = clock.share(stream.wait_s)
                log.training(_line(now, optimizer, loss, terms, share))
                bar.say(f"{log.summary()}  wait {share:.0%}")
            if _due(now.step, options["validate_every"], options):
                with clock.paused():
                    scores = _validated(average.module if average else model, validate)
                    log.validation(now.step, now.seconds, scores)
            if now.step < options["steps"] and _due(now.step, options["checkpoint_every"], options):
                save_checkpoint(folder / CHECKPOINT, model, optimizer, recipe, now, average)
    if average:
        model.load_state_dict(average.module.state_dict())
    if log:
        log.close()
    return Trained(options["steps"], clock.seconds())


def make_optimizer(model: nn.Module, options: Mapping[str, Any]) -> torch.optim.Optimizer:
    """SGD or AdamW over the trainable parameters, the head's learning rate scaled by its factor."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            factor = 1.0 if name.startswith("backbone.") else options["head_learning_rate_factor"]
            groups.setdefault(factor, []).append(parameter)
    parameters = [{"params": params, "factor": factor} for factor, params in groups.items()]
    rate, decay = options["learning_rate"], options["weight_decay"]
    if options["optimizer"] == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
    return torch.optim.SGD(parameters, lr=rate, momentum=options["momentum"], weight_decay=decay)


def set_learning_rate(optimizer: torch.optim.Optimizer, options: Mapping[str, Any], step: int) -> None:
    """The poly schedule: rate * (1 - step / steps) ^ poly_power."""
    rate = options["learning_rate"] * (1 - step / options["steps"]) ** options["poly_power"]
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def share_statistics(model: nn.Module, fabric: Fabric) -> None:
    """Let batch norm, of backbone and head, see the batch of all GPUs; in place, under the same keys.

    On one GPU, and on CPUs, for which torch has no such layer, it stays as it is: a process sees its share.
    """
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)


def averaged(model: nn.Module, decay: float, device: torch.device) -> AveragedModel:
    """An exponential moving average of a network; `update_parameters` after each step.

    average = decay * average + (1 - decay) * network, from the first step's network on: about the mean of the
    last 1 / (1 - decay) steps. Means and variances of batch norm are averaged alike, since they belong to the
    weights. (So is `num_batches_tracked`, in whole numbers; nothing reads it.)

    Args:
        model: copied.
        decay: 0..1.
        device: where the average is kept.
    """
    rule = get_ema_multi_avg_fn(decay)
    return AveragedModel(model, device=device, multi_avg_fn=rule, use_buffers=True)


def with_auxiliary(objective: Losses, auxiliary: Losses, weight: float) -> Losses:
    """The objective of a network with an auxiliary head, which gives (logits, auxiliary logits).

    Args:
        objective: of the logits.
        auxiliary: of the auxiliary logits, on their own grid.
        weight: of each of its terms, which are named auxiliary_<term>; 0.4 in PSPNet (Zhao et al. 2017).
    """

    def terms(outputs: tuple[Tensor, Tensor], batch: Batch, step: int) -> dict[str, Tensor]:
        extra = auxiliary(outputs[1], batch, step)
        named = {f"auxiliary_{name}": weight * term for name, term in extra.items()}
        return objective(outputs[0], batch, step) | named

    return terms


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    recipe: str,
    done: Trained,
    average: AveragedModel | None = None,
) -> None:
    """Write all that a training needs to go on; readers see the old file or the new one.

    Raises:
        DiskFullError: there is no room; the old file stays.
    """
    state = {
        "recipe": recipe,
        "step": done.step,
        "seconds": done.seconds,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "ema": average.state_dict() if average else None,
    }
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        torch.save(state, temporary)
        temporary.replace(path)
    except RuntimeError as error:  # torch's word for a file that cannot be written to its end
        raise full_disk(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def load_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    recipe: str,
    average: AveragedModel | None = None,
) -> Trained:
    """Go on from a checkpoint; step 0 where there is none of this recipe."""
    if not path.is_file():
        return Trained()
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state["recipe"] != recipe:
        return Trained()
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    if average:
        average.load_state_dict(state["ema"])
    return Trained(state["step"], state["seconds"])


class _Clock:
    """Seconds of training: goes on from earlier sessions, stands still during validation."""

    def __init__(self, seconds: float):
        self._began = time.perf_counter() - seconds
        self._mark, self._waited = self._began + seconds, 0.0

    def seconds(self) -> float:
        return time.perf_counter() - self._began

    def share(self, waited_s: float) -> float:
        """Part of the time since the last call that went into waiting for data."""
        now = time.perf_counter()
        share = (waited_s - self._waited) / max(now - self._mark, 1e-9)
        self._mark, self._waited = now, waited_s
        return share

    @contextmanager
    def paused(self) -> Iterator[None]:
        stopped = time.perf_counter()
        yield
        away = time.perf_counter() - stopped
        self._began += away
        self._mark += away


def _due(step: int, every: int, options: Mapping[str, Any]) -> bool:
    return step == options["steps"] or (every > 0 and step % every == 0)


def _line(
    now: Trained, optimizer: torch.optim.Optimizer, loss: Tensor, terms: Mapping[str, Tensor], share: float
) -> dict[str, Any]:
    return {
        "step": now.step,
        "seconds": round(now.seconds, 3),
        "lr": optimizer.param_groups[0]["lr"],
        "loss": loss.item(),
        "terms": {name: term.item() for name, term in terms.items()},
        "data_wait_share": round(share, 4),
    }


def _validated(model: nn.Module, validate: Callable[[nn.Module], Mapping[str, Any]]) -> Mapping[str, Any]:
    model.eval()
    scores = validate(model)
    model.train()
    return scores


def _non_finite(step: int, terms: Mapping[str, Tensor], folder: Path) -> NonFiniteLossError:
    told = ", ".join(f"{name} {term.item():.4g}" for name, term in terms.items())
    kept = f"the state of the last checkpoint is kept in {folder / CHECKPOINT}"
    if not (folder / CHECKPOINT).is_file():
        kept = "there was no checkpoint yet"
    return NonFiniteLossError(
        f"the loss of step {step} is not finite ({told}); {kept}; lower the learning rate, "
        "or set precision: '32'"
    )
