"""Runs the stages themselves on samples, into a separate store, to measure what they write and how fast."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from weclick.clicks import generate_clicks
from weclick.common.config import select
from weclick.common.sections import Config, Role
from weclick.common.spread import spread_over
from weclick.common.stages import METRICS, does_without_clicks
from weclick.datasets.frames import pack_frames
from weclick.flow.stage import compute_flow
from weclick.manifest import Clip, Manifest
from weclick.manifest.read import read_clip
from weclick.models import normalize
from weclick.proxy_labels.masks import labelled_targets, pack_masks
from weclick.proxy_labels.soft_labels import compute_soft_labels
from weclick.proxy_labels.sources import Source
from weclick.proxy_labels.teachers import Teachers
from weclick.runs.label_source import computed_as, stored_as
from weclick.store import Store
from weclick.store.model_file import model_bytes
from weclick.train.data.stream import Caches
from weclick.train.log import read_metrics
from weclick.train.recipe import Recipe
from weclick.train.roles import ROLE_NEEDS, build_network
from weclick.train.stage import train_recipe

AT_MOST_CLIPS, AT_MOST_NEIGHBOURS, AT_MOST_STEPS = 24, 4, 20
SMALL_PX, SMALL_BATCH, WORTH_A_TRY = 128, 2, 4
"""Side of the crop and size of the batch that are tried first, if the configured ones have so many times the
pixels."""

ENTRY_OVERHEAD_BYTES = 2048
"""Size of the array descriptions in an entry. It does not grow with the frames."""

LOGIT_SPREAD = 6.0
"""Standard deviation of the logits of the plausible teacher. Its soft labels take more bytes than those that
trained teachers wrote: a quarter more for the demo, four times as many for config/davis.yaml."""

WantedPairs = Callable[[Clip], tuple[tuple[int, int], ...]]


@dataclass(frozen=True)
class Rate:
    """The rates of a stage, measured on a sample.

    Attributes:
        bytes_per_px: stored, per pixel of a frame or of a pair's target.
        seconds_per_px: of work.
    """

    bytes_per_px: float
    seconds_per_px: float


@dataclass(frozen=True)
class Pace:
    """The pace of a training.

    Attributes:
        seconds: a step.
        estimated: it was not measured at the configured size, but scaled up from a smaller batch.
    """

    seconds: float
    estimated: bool


def sample(manifest: Manifest, wanted_pairs: WantedPairs) -> Manifest:
    """Some clips, spread over the split, each cut to a few targets or scored frames and their neighbours."""
    usable = [clip for clip in manifest.clips if clip.targets or clip.scored]
    chosen = spread_over(usable, AT_MOST_CLIPS)
    per_clip = max(1, AT_MOST_CLIPS // max(len(chosen), 1))
    return replace(manifest, clips=tuple(_cut(clip, wanted_pairs, per_clip) for clip in chosen))


def rate_of(
    kind: str, clips: Sequence[Clip], count: Callable[[Clip], int], make: Any, store: Store, budget_s: float
) -> Rate | None:
    """Make the entries of sample clips: of a piece of the first one, then of as many as the time allows.

    Args:
        kind: of the entries.
        clips: of the sample.
        count: frames or pairs of a clip.
        make: the stage itself; clips -> (clip id -> key).
        store: of the sample.
        budget_s: seconds; two frames of the first clip are done however long they take.

    Returns:
        The rate; None if no clip has a frame or pair.
    """
    clips = [clip for clip in clips if count(clip)]
    if not clips:
        return None
    made = [_piece(clips[0], count)]
    began = time.perf_counter()
    keys = [*make(made).values()]
    seconds, timed = time.perf_counter() - began, made
    room = int(max(budget_s - seconds, 0) / max(seconds, 1e-3) * _pixels(made, count))
    others = clips if made[0] is not clips[0] else clips[1:]
    rest = [clip for i, clip in enumerate(others) if _pixels(others[: i + 1], count) <= room]
    if rest:
        began = time.perf_counter()
        keys += make(rest).values()
        seconds, timed = time.perf_counter() - began, rest
        made = [*made, *rest]
    stored = sum(store.get(kind, key).meta["entry_bytes"] - _overhead(store, kind, key) for key in keys)
    return Rate(stored / _pixels(made, count), seconds / _pixels(timed, count))


def _piece(clip: Clip, count: Callable[[Clip], int]) -> Clip:
    """The first two frames of a clip between which there is anything to do, or else the whole clip."""
    places = range(len(clip.frames))
    pieces = (clip.restrict([i, j]) for i in places for j in places[i + 1 : i + 9])
    return next((piece for piece in pieces if 0 < count(piece) < count(clip)), clip)


def piece_for_training(part: Manifest, wanted_pairs: WantedPairs) -> Manifest:
    """One target and its neighbours of each of two clips: enough to train some steps on."""
    clips = [clip for clip in part.clips if clip.targets][:2]
    return replace(part, clips=tuple(_cut(clip, wanted_pairs, 1) for clip in clips))


def frames_rate(config: Config, part: Manifest, store: Store, budget_s: float) -> Rate | None:
    """The rate of the stage `frames`, in seconds of one thread; None if frames stay in their files."""
    if not config["frames"]["pack"]:
        return None

    def make(clips: Sequence[Clip]) -> dict[str, str]:
        return pack_frames(replace(part, clips=tuple(clips)), store=store, **config["frames"])

    rate = rate_of("frames", part.clips, lambda clip: len(clip.frames), make, store, budget_s)
    threads = min(os.cpu_count() or 1, max(len(part.clips) - 1, 1))
    return rate and replace(rate, seconds_per_px=rate.seconds_per_px * threads)


def masks_rate(config: Config, part: Manifest, store: Store, budget_s: float) -> Rate | None:
    """The rate of the stage `masks`."""

    def make(clips: Sequence[Clip]) -> dict[str, str]:
        return pack_masks(replace(part, clips=tuple(clips)), store=store, **config["masks"])

    return rate_of(
        "masks", part.clips, lambda clip: len(labelled_targets(clip).frames), make, store, budget_s
    )


def flow_rate(
    config: Config,
    part: Manifest,
    wanted_pairs: WantedPairs,
    store: Store,
    device: str,
    budget_s: float,
) -> Rate | None:
    """The rate of the stage `flow`."""

    def make(clips: Sequence[Clip]) -> dict[str, str]:
        cut = replace(part, clips=tuple(clips))
        return compute_flow(cut, wanted_pairs, options=config["flow"], store=store, device=device)

    return rate_of("flow", part.clips, lambda clip: len(wanted_pairs(clip)), make, store, budget_s)


def soft_labels_rate(
    config: Config, part: Manifest, source: Source | Path, store: Store, device: str, budget_s: float
) -> Rate | None:
    """The rate of the stage `soft_labels`, with its source or some teacher of the configured kind."""
    made_by = Teachers.of([source], **computed_as(config)) if isinstance(source, Path) else source

    def make(clips: Sequence[Clip]) -> dict[str, str]:
        cut = replace(part, clips=tuple(clips))
        return compute_soft_labels(cut, made_by, store=store, device=device, **stored_as(config))

    return rate_of("soft_labels", part.clips, lambda clip: len(clip.frames), make, store, budget_s)


def untrained(config: Config, role: Role, manifest: Manifest) -> bytes:
    """A network of the configured kind, with random weights, as the file that its training would write."""
    model = ROLE_NEEDS[role].build(config[role], manifest.num_classes, None)
    model.drop_auxiliary()
    return model_bytes(model, manifest.classes)


def plausible_teacher(config: Config, part: Manifest) -> bytes:
    """A network with random weights whose soft labels compress as those of a trained teacher.

    Its classes are wrong. But its output varies over the image and over the quantised range, and the size of
    compressed soft labels depends on that.
    """
    options = config["teacher"]
    torch.manual_seed(0)
    model = build_network(options, part.num_classes).eval()
    model.drop_auxiliary()  # otherwise its last layer would be taken for the head's
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.out_channels == part.num_classes]
    clip = next(clip for clip in part.clips if clip.frames)
    rgb = torch.from_numpy(next(iter(read_clip(part, clip.restrict([0])))).copy())
    with torch.inference_mode():
        logits = model(normalize(rgb.permute(2, 0, 1)[None].float()))
        logits = logits - logits.mean((0, 2, 3), keepdim=True)
    factor = LOGIT_SPREAD / float(logits.std())
    with torch.no_grad():
        for parameter in layers[-1].parameters():
            parameter.mul_(factor)
    return model_bytes(model, part.classes)


def train_probe(
    config: Config,
    role: Role,
    part: Manifest,
    caches: Mapping[str, Mapping[str, str]],
    store: Store,
    folder: Path,
    device: str,
    budget_s: float,
) -> Pace:
    """Train a few steps at the configured size, from random weights and with every loss switched on.

    A large batch is tried small first. If its steps would take longer than the budget, their time is scaled
    up from the small ones by the number of pixels.
    """
    options = config[role]
    whole_px = options["batch_size"] * options["crop"][0] * options["crop"][1]
    crop = [min(side, SMALL_PX) for side in options["crop"]]
    small: dict[str, Any] = {
        "batch_size": min(SMALL_BATCH, options["batch_size"]),
        "crop": crop,
        "accumulate": 1,
    }
    small_px = small["batch_size"] * crop[0] * crop[1]
    data = (part, caches, store)
    if whole_px >= WORTH_A_TRY * small_px:
        scaled = _train(config, role, *data, folder / "small", device, 3, small) * whole_px / small_px
        if 2 * scaled > budget_s:
            return Pace(scaled, estimated=True)
    few = _train(config, role, *data, folder / "first", device, 2, {})
    steps = min(AT_MOST_STEPS, int(budget_s / max(few, 1e-3)))
    if steps <= 2:
        return Pace(few, estimated=False)
    return Pace(_train(config, role, *data, folder / "more", device, steps, {}), estimated=False)


def _train(
    config: Config,
    role: Role,
    part: Manifest,
    caches: Mapping[str, Mapping[str, str]],
    store: Store,
    folder: Path,
    device: str,
    steps: int,
    smaller: Mapping[str, Any],
) -> float:
    chosen = deepcopy(select(config, role))
    cast("dict[str, Any]", chosen[role]).update(
        {
            "pretrained": None,
            "steps": steps,
            "log_every": 1,
            "validate_every": 0,
            "validate_frames": 1,
            "checkpoint_every": 10**9,
            **smaller,
        }
    )
    chosen["gated_crf"]["warmup"] = 0
    recipe = Recipe(
        role=role,
        config=chosen,
        manifest=part,
        clicks=generate_clicks(
            part,
            options=config["clicks"],
            seed=config["seed"],
            optional=does_without_clicks(config),
        ),
        caches=Caches.of(store, caches),
        validation=replace(part, clips=tuple(_scored(clip) for clip in part.clips[:1])),
    )
    train_recipe(recipe, folder, device=device)
    ends = [line["seconds"] for line in read_metrics(folder / METRICS) if "loss" in line]
    return statistics.median(np.diff(ends)) if len(ends) > 1 else ends[0]


def _scored(clip: Clip) -> Clip:
    """The clip with one scored frame, if a target has a label: people's clicks need none."""
    labelled = tuple(t for t in clip.targets if clip.frames[t].label)
    return replace(clip, scored=labelled[:1])


def _cut(clip: Clip, wanted_pairs: WantedPairs, anchors: int) -> Clip:
    all_pairs = wanted_pairs(clip)
    wanted = clip.targets or clip.scored
    keep: set[int] = set()
    for anchor in spread_over(wanted, anchors):
        others = [other for target, other in all_pairs if target == anchor]
        keep |= {anchor, *spread_over(others, AT_MOST_NEIGHBOURS)}
    return clip.restrict(keep)


def _pixels(clips: Sequence[Clip], count: Callable[[Clip], int]) -> int:
    return sum(count(clip) * clip.height_px * clip.width_px for clip in clips)


def _overhead(store: Store, kind: str, key: str) -> int:
    files = store.get(kind, key).meta["files"]
    return sum(file["bytes"] for name, file in files.items() if name.endswith("zarr.json"))
