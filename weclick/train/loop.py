"""One training loop for all networks. It does not know which losses it sums."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from weclick.common.progress import progress_bar
from weclick.common.sections import TrainingSection
from weclick.train.checkpoint import BEST, CHECKPOINT, Trained, load_best, load_checkpoint, save_checkpoint
from weclick.train.data.batch import Batch
from weclick.train.data.stream import Stream
from weclick.train.devices import deterministic, share_statistics
from weclick.train.log import MetricsLog
from weclick.train.objective import Losses, Shares
from weclick.train.optimizer import averaged, make_optimizer, set_learning_rate
from weclick.train.step import add_gradients, look_at_losses, part_weights
from weclick.train.stopwatch import Stopwatch, traced


def fit(
    fabric: Fabric,
    model: nn.Module,
    stream: Stream,
    losses: Losses,
    *,
    shares: Shares,
    options: TrainingSection,
    seed: int,
    folder: Path,
    key: str,
    validate: Callable[[nn.Module], Mapping[str, Any]] | None,
    complete: Callable[[Batch, int], Batch] | None = None,
    figures: Callable[[], Mapping[str, float]] | None = None,
    figure: str = "miou",
) -> Trained:
    """Train a network to the end. Goes on from the folder's checkpoint if that has the same key.

    Random numbers of a step follow from (seed, step), so a resumed run equals one that never stopped. The
    loop reads the losses only to log a line or write a checkpoint. In between it does not wait for the GPU.

    Args:
        fabric: launched, see `make_fabric`.
        model: trained in place. With `ema` it ends with the averaged weights, which are also validated. With
            `keep: best` it ends with its best-scoring weights (in the first process, the only one that
            validates).
        stream: gives `accumulate` micro-batches of `micro_batch_size` for every step.
        losses: gives the named terms of a micro-batch; for an auxiliary head see `with_auxiliary`.
        shares: gives the weight of each micro-batch's terms in the step, see `Objective.shares`.
        options: the network's section of the configuration.
        seed: of dropout.
        folder: for metrics.jsonl, tensorboard/, checkpoint.pt, and on demand best.pt and trace.json.
        key: of the network in the store; a checkpoint with another key is not used.
        validate: scores the network, which it gets in eval mode; None: it is not scored.
        complete: adds the parts of a batch that the stream does not read, from the batch and the step; see
            `weclick.train.online`.
        figures: tells more of the last step, for its line of metrics.jsonl.
        figure: name of the score that `keep: best` goes by.

    Raises:
        NonFiniteLossError: a loss is NaN or infinite; the text names the step and its terms.
        InputError: batch norm gets one value per channel, or best.pt is lost.
    """
    # Long because a reader should follow the whole training from top to bottom, paragraph by paragraph.

    # Set up the network, its average and its optimizer.
    model.to(memory_format=torch.channels_last)  # a fifth faster than the default, on CPUs and GPUs alike
    if options["batch_norm"] == "sync":
        share_statistics(model, fabric)
    average = averaged(model, options["ema"], fabric.device) if options["ema"] else None
    network, optimizer = fabric.setup(model, make_optimizer(model, options))

    # Go on where an earlier session stopped.
    now = load_checkpoint(folder / CHECKPOINT, model, optimizer, key, average)
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
            # Draw the step's learning rate, random numbers and micro-batches.
            set_learning_rate(optimizer, options, step)
            torch.manual_seed(seed * 1_000_003 + step + fabric.global_rank * 2**40)
            with watch.part("batch"):
                micro = [next(batches) for _ in range(parts)]
            with watch.part("online"):
                micro = [complete(batch, step) for batch in micro] if complete else micro

            # Add up the gradients, each micro-batch by its share.
            optimizer.zero_grad(set_to_none=True)
            with watch.part("losses"):
                weights = part_weights(fabric, shares, micro)
            terms = add_gradients(fabric, network, losses, micro, weights, step, options, watch)
            unseen.append((step, terms))

            # Change the weights.
            with watch.part("optimizer"):
                if options["clip_gradient_norm"]:
                    limit = options["clip_gradient_norm"]
                    fabric.clip_gradients(network, optimizer, max_norm=limit, error_if_nonfinite=False)
                optimizer.step()
                if average:
                    average.update_parameters(model)

            # Read the losses if they are to be logged or saved.
            log_it, validate_it, save_it = (
                _due(step + 1, every, last)
                for every in (options["log_every"], options["validate_every"], options["checkpoint_every"])
            )
            if log_it or validate_it or save_it:
                seen = look_at_losses(fabric, unseen, folder)
            now = replace(now, step=step + 1, seconds=watch.seconds())
            bar.advance()
            trace()

            # Log them and where the time went, which all processes measure together.
            if log_it:
                spent = watch.shares(stream.wait_s)
                if log:
                    log.training(_line(now, optimizer, seen, spent) | dict(figures() if figures else {}))
                    bar.say(log.summary())

            # Score the network, and keep it if it is the best so far.
            if log and validate_it and validate:
                with watch.paused():
                    scores = _validated(average.module if average else model, validate)
                    log.validation(now.step, now.seconds, scores)
                    if options["keep"] == "best" and scores[figure] > now.best_miou:
                        now = replace(now, best_step=now.step, best_miou=scores[figure])
                        save_checkpoint(folder / BEST, model, optimizer, key, now, average)

            # Save all that the next session needs.
            if log and save_it and now.step < last:
                save_checkpoint(folder / CHECKPOINT, model, optimizer, key, now, average)

    # Leave the wanted weights in the model: the best, the averaged or the last ones.
    if log:
        log.close()
    if options["keep"] == "best" and now.best_step:
        load_best(folder / BEST, model, optimizer, key, average, now)
    if average:
        model.load_state_dict(average.module.state_dict())
    return now


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
