"""One short training."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from weclick.manifest.window import Window
from weclick.models import build_model
from weclick.train.data.stream import Caches, Stream
from weclick.train.devices import make_fabric, micro_batch_size
from weclick.train.loop import fit
from weclick.train.means import Means
from weclick.train.objective import Objective


def run(
    street,
    folder,
    *,
    recipe="r",
    stop_at=None,
    objective=None,
    validated=None,
    mious=(),
    eq_5=False,
    devices=1,
    read=None,
    **changed,
):
    """One training on the tiny street; `stop_at` breaks it off before that step.

    Fills `validated` with the weights that each validation sees, which scores them by `mious`, and `read`
    with the samples that are read. With `eq_5` it has all terms, a made-up teacher and no dropout.
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
    losses = objective or Objective(sections, steps=5, class_weights=weights)

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
        means=Means(
            class_weights=weights, flow_reduction=street.config["mfd"]["reduction"] if eq_5 else "mean"
        ),
        options=options,
        seed=0,
        folder=folder,
        recipe=recipe,
        validate=validate,
        complete=with_teacher if eq_5 else None,
    )
    return model, trained


class StoppedError(Exception):
    """Stands for a kill in the middle of a training."""


def with_teacher(batch):
    """The batch with soft labels that follow from each image alone."""
    small = nn.functional.avg_pool2d(batch.images, 4)
    return replace(batch, teacher=torch.cat([small, -small, small.roll(1, -1)], 1).softmax(1))
