"""One short training."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from helpers.example_term import example_term
from weclick.manifest.window import Window
from weclick.models import build_model
from weclick.train import terms
from weclick.train.data.stream import Caches, Stream
from weclick.train.devices import make_fabric, micro_batch_size
from weclick.train.loop import fit
from weclick.train.objective import Objective
from weclick.train.terms import TERMS


def run(
    street,
    folder,
    *,
    key="r",
    stop_at=None,
    objective=None,
    validated=None,
    mious=(),
    eq_5=False,
    entropy=0.0,
    devices=1,
    read=None,
    **changed,
):
    """One training on the tiny street; `stop_at` stops it before that step.

    It fills `validated` with the weights that each validation sees, and `read` with the samples that are
    read. `mious` are the scores of the validations. With `eq_5` it has all terms, a made-up teacher and no
    dropout. With `entropy` the table has the row of docs/extending.md, at this weight.
    """
    options = {**street.config["student"], "steps": 5, **changed}
    fabric = make_fabric("cpu", "32", devices)
    torch.manual_seed(0)
    names = ("head_norm", "batch_norm")
    model = build_model(
        "deeplabv3plus",
        "mobilenetv2_compact",
        9,
        channels=16,
        dropout=not eq_5,
        **{name: options[name] for name in names},
    )
    stream = Stream(
        street.train,
        street.clicks,
        Caches(street.store, street.frames, street.flow, {}),
        window=Window(**street.config["window"]) if eq_5 else Window(frames=1),
        options={**options, "batch_size": micro_batch_size(options, devices)},
        stride_px=model.stride,
        occlusion="photometric" if eq_5 else "none",
        seed=0,
        rank=fabric.global_rank,
        world=fabric.world_size,
    )
    if read is not None:
        ahead = stream.read
        stream.read = lambda plan: (
            read.extend((s.clip.id, s.target, s.crop.top) for s in plan),
            ahead(plan),
        )[1]
    names = ("partial_cross_entropy", "gated_crf", *(("mfd", "kd") if eq_5 else ()))
    sections = {name: street.config[name] for name in names}
    weights = torch.linspace(0.5, 2.0, 9) if eq_5 else None
    if eq_5:
        sections["gated_crf"] = {**sections["gated_crf"], "warmup": 0.0}
    if entropy:
        terms.TERMS = (*TERMS, example_term())
        sections["entropy"] = {"weight": entropy}
    eq_5_terms = Objective(sections, steps=5, class_weights=weights)
    losses = objective or eq_5_terms

    def stopping(logits, batch, step):
        if step == stop_at:
            raise StoppedError
        return losses(logits, batch, step)

    def validate(network):
        assert not network.training
        if validated is not None:
            validated.append({name: value.clone() for name, value in network.state_dict().items()})
        miou = mious[len(validated) - 1] if mious else 0.5
        return {"miou": miou, "mean_accuracy": 0.5, "per_class_iou": {"road": None, "car": 0.5}}

    trained = fit(
        fabric,
        model,
        stream,
        stopping,
        shares=eq_5_terms.shares,
        options=options,
        seed=0,
        folder=folder,
        key=key,
        validate=validate,
        complete=with_teacher if eq_5 else None,
    )
    terms.TERMS = TERMS
    return model, trained


class StoppedError(Exception):
    """Plays the part of a kill in the middle of a training."""


def with_teacher(batch, step):
    """The batch with soft labels that depend only on each image."""
    small = nn.functional.avg_pool2d(batch.images, 4)
    return replace(batch, teacher=torch.cat([small, -small, small.roll(1, -1)], 1).softmax(1))
