"""One training loop for teacher and student, blind to which losses it sums."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from weclick.batch import Batch
from weclick.errors import InputError
from weclick.means import Means
from weclick.metrics_log import MetricsLog
from weclick.objective import Losses
from weclick.optimizer import averaged, make_optimizer, set_learning_rate
from weclick.progress import progress_bar
from weclick.stopwatch import Stopwatch, traced
from weclick.stream import Stream
from weclick.training_state import BEST, CHECKPOINT, Trained, load_best, load_checkpoint, save_checkpoint


class NonFiniteLossError(ArithmeticError):
    """The loss became NaN or infinite; the checkpoint holds the last good state."""


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


def micro_batch_size(options: Mapping[str, Any], processes: int) -> int:
    """Targets of a micro-batch over all processes: batch_size / accumulate.

    Raises:
        InputError: a step's batch does not divide among its micro-batches and the processes.
    """
    targets, parts = options["batch_size"], options["accumulate"]
    if targets % (parts * processes):
        raise InputError(
            f"batch_size is {targets}, which does not divide into {parts} micro-batches (accumulate) "
            f"on each of {processes} processes (devices); set a multiple of {parts * processes}"
        )
    return targets // parts


def fit(
    fabric: Fabric,
    model: nn.Module,
    stream: Stream,
    objective: Losses,
    *,
    means: Means,
    options: Mapping[str, Any],
    seed: int,
    folder: Path,
    recipe: str,
    validate: Callable[[nn.Module], Mapping[str, Any]],
    complete: Callable[[Batch], Batch] | None = None,
) -> Trained:
    """Train a network to the end, going on from the folder's checkpoint if it is of the same recipe.

    Random numbers of a step follow from (seed, step), so a resumed run equals one that never stopped. The
    loss is looked at when a line is logged or a checkpoint written: in between, no GPU is waited for.

    Args:
        fabric: launched, see `make_fabric`.
        model: trained in place; with `ema` it ends with the averaged weights, which are also validated; with
            `keep: best` it ends as it scored best (in the first process, the only one that validates).
        stream: gives the micro-batches, `accumulate` in every step, of `micro_batch_size`.
        objective: gives the named losses of a micro-batch; with an auxiliary head, see `with_auxiliary`.
        means: what the losses are means over, so that those of micro-batches and processes add up rightly.
        options: the network's section of the configuration.
        seed: of dropout.
        folder: gets metrics.jsonl, tensorboard/, checkpoint.pt, and if asked best.pt and trace.json.
        recipe: key of the training; a checkpoint of another one is not used.
        validate: called with the network in eval mode, gives scores.
        complete: adds to a batch what the stream has not read; see `weclick.online`.

    Raises:
        NonFiniteLossError: with the step and its terms.
        InputError: batch norm gets one value per channel; or best.pt is lost.
    """
    model.to(memory_format=torch.channels_last)  # a fifth faster than the default, on CPUs and GPUs alike
    if options["batch_norm"] == "sync":
        share_statistics(model, fabric)
    average = averaged(model, options["ema"], fabric.device) if options["ema"] else None
    network, optimizer = fabric.setup(model, make_optimizer(model, options))
    now = load_checkpoint(folder / CHECKPOINT, model, optimizer, recipe, average)
    log = MetricsLog(folder, after_step=now.step) if fabric.is_global_zero else None
    watch = Stopwatch(fabric.device, now.seconds)
    unseen: list[tuple[int, dict[str, Tensor]]] = []

    network.train()
    parts, last = options["accumulate"], options["steps"]
    batches = stream.batches(now.step * parts, last * parts, fabric.device)
    with (
        deterministic(options["deterministic"]),
        traced(options["profile"] if log else None, folder, done=now.step) as trace,
        progress_bar(f"train {folder.name}", last, "steps", done=now.step) as bar,
    ):
        for step in range(now.step, last):
            set_learning_rate(optimizer, options, step)
            torch.manual_seed(seed * 1_000_003 + step + fabric.global_rank * 2**40)
            with watch.part("batch"):
                micro = [next(batches) for _ in range(parts)]
            with watch.part("online"):
                micro = [complete(batch) for batch in micro] if complete else micro

            optimizer.zero_grad(set_to_none=True)
            with watch.part("losses"):
                weights = _weights(fabric, means, micro)
            unseen.append(
                (step, _add_gradients(fabric, network, objective, micro, weights, step, options, watch))
            )
            with watch.part("optimizer"):
                if options["clip_gradient_norm"]:
                    limit = options["clip_gradient_norm"]
                    fabric.clip_gradients(network, optimizer, max_norm=limit, error_if_nonfinite=False)
                optimizer.step()
                if average:
                    average.update_parameters(model)

            log_it, validate_it, save_it = (
                _due(step + 1, options[f"{what}_every"], last) for what in ("log", "validate", "checkpoint")
            )
            if log_it or validate_it or save_it:
                terms = _look(fabric, unseen, folder)
            now = replace(now, step=step + 1, seconds=watch.seconds())
            bar.advance()
            trace()
            if log_it:
                shares = watch.shares(stream.wait_s)
                if log:
                    log.training(_line(now, optimizer, terms, shares))
                    bar.say(log.summary())
            if log and validate_it:
                with watch.paused():
                    scores = _validated(average.module if average else model, validate)
                    log.validation(now.step, now.seconds, scores)
                    if options["keep"] == "best" and scores["miou"] > now.best_miou:
                        now = replace(now, best_step=now.step, best_miou=scores["miou"])
                        save_checkpoint(folder / BEST, model, optimizer, recipe, now, average)
            if log and save_it and now.step < last:
                save_checkpoint(folder / CHECKPOINT, model, optimizer, recipe, now, average)
    if log:
        log.close()
    if options["keep"] == "best" and now.best_step:
        load_best(folder / BEST, model, optimizer, recipe, average, now)
    if average:
        model.load_state_dict(average.module.state_dict())
    return now


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Let torch use only algorithms that give the same bits every time; it raises where it has none."""
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which torch asks for on GPUs
    torch.use_deterministic_algorithms(wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def share_statistics(model: nn.Module, fabric: Fabric) -> None:
    """Let batch norm, of backbone and head, see the batch of all GPUs; in place, under the same keys.

    On one GPU, and on CPUs, for which torch has no such layer, it stays as it is: a process sees its share.
    """
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)


def _add_gradients(
    fabric: Fabric,
    network: Any,
    objective: Losses,
    micro: Sequence[Batch],
    weights: Sequence[Mapping[str, Tensor]],
    step: int,
    options: Mapping[str, Any],
    watch: Stopwatch,
) -> dict[str, Tensor]:
    """Forward and backward of a step's micro-batches; the terms of the step on this process, detached."""
    total: dict[str, Tensor] = {}
    for i, (batch, weight) in enumerate(zip(micro, weights, strict=True)):
        _check_batch_norm(batch, options, fabric)
        with fabric.no_backward_sync(network, enabled=i + 1 < len(micro)):
            with watch.part("forward"):
                outputs = network(batch.images.contiguous(memory_format=torch.channels_last))
            with watch.part("losses"):
                terms = objective(outputs, batch, step)
                terms = {name: term * weight.get(name, 1.0) for name, term in terms.items()}
                loss = torch.stack(list(terms.values())).sum()
            with watch.part("backward"):
                fabric.backward(loss)
        for name, term in terms.items():
            total[name] = total[name] + term.detach() if name in total else term.detach()
    return total


def _weights(fabric: Fabric, means: Means, micro: Sequence[Batch]) -> list[dict[str, Tensor]]:
    """What each micro-batch's terms count in the step's; DDP divides gradients by the number of processes."""
    processes = fabric.world_size
    if len(micro) == processes == 1:
        return [{}]

    def add_up(counts: Tensor) -> Tensor:
        return cast("Tensor", fabric.all_reduce(counts, reduce_op="sum"))

    weights = means.weights(micro, add_up)
    return [{name: weight * processes for name, weight in part.items()} for part in weights]


def _check_batch_norm(batch: Batch, options: Mapping[str, Any], fabric: Fabric) -> None:
    """The heads pool an image to one value per channel, which has no variance by itself."""
    shared = options["batch_norm"] == "sync" and fabric.world_size > 1 and fabric.device.type == "cuda"
    if len(batch.images) == 1 and options["head_norm"] == "batch" and not shared:
        raise InputError(
            "a micro-batch holds a single image, of which batch norm would see one value per channel; set "
            "head_norm: group, or a batch_size of two targets for each of the micro-batches (accumulate) on "
            "each of the devices"
        )


def _look(fabric: Fabric, unseen: list[tuple[int, dict[str, Tensor]]], folder: Path) -> dict[str, float]:
    """Take the steps since the last look off the device, and check them; the terms of the last one.

    Raises:
        NonFiniteLossError: the loss of a step is NaN or infinite, on any process.
    """
    seen = [(step, {name: term.item() for name, term in terms.items()}) for step, terms in unseen]
    unseen.clear()
    gathered = [seen] * fabric.world_size
    if fabric.world_size > 1:
        torch.distributed.all_gather_object(gathered, seen)
    for shares in zip(*gathered, strict=True):
        names = dict.fromkeys(name for _, share in shares for name in share)
        terms = {name: sum(share.get(name, 0.0) for _, share in shares) / len(shares) for name in names}
        if not math.isfinite(sum(terms.values())):
            raise _non_finite(shares[0][0], terms, folder)
    return terms


def _due(step: int, every: int, last: int) -> bool:
    return step == last or (every > 0 and step % every == 0)


def _line(
    now: Trained,
    optimizer: torch.optim.Optimizer,
    terms: Mapping[str, float],
    shares: Mapping[str, float],
) -> dict[str, Any]:
    return {
        "step": now.step,
        "seconds": round(now.seconds, 3),
        "lr": optimizer.param_groups[0]["lr"],
        "loss": sum(terms.values()),
        "terms": dict(terms),
        "data_wait_share": shares["wait"],
        "time_shares": dict(shares),
    }


def _validated(model: nn.Module, validate: Callable[[nn.Module], Mapping[str, Any]]) -> Mapping[str, Any]:
    model.eval()
    scores = validate(model)
    model.train()
    return scores


def _non_finite(step: int, terms: Mapping[str, float], folder: Path) -> NonFiniteLossError:
    told = ", ".join(f"{name} {term:.4g}" for name, term in terms.items())
    kept = f"the state of the last checkpoint is kept in {folder / CHECKPOINT}"
    if not (folder / CHECKPOINT).is_file():
        kept = "there was no checkpoint yet"
    return NonFiniteLossError(
        f"the loss of step {step} is not finite ({told}); {kept}; lower the learning rate, "
        "or set precision: '32'"
    )
