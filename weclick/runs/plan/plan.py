"""Plans a run: counts, bytes and time of every stage, and the entries that the store already holds."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import MappingProxyType

from weclick.clicks import ClickTable, generate_clicks
from weclick.common.config_checks import check_run
from weclick.common.progress import progress_bar
from weclick.common.sections import Config, Role
from weclick.common.stages import MODELS, SCORED, WEIGHTS, does_without_clicks, takes
from weclick.datasets import build_manifest, open_dataset
from weclick.datasets.frames import pack_frames, unpacked_key
from weclick.flow.stage import compute_flow
from weclick.manifest import Clip, Manifest
from weclick.manifest.window import consistency_pairs
from weclick.proxy_labels.masks import labelled_targets, pack_masks
from weclick.proxy_labels.soft_labels import compute_soft_labels
from weclick.proxy_labels.sources import Source
from weclick.runs.downloads import offline_words
from weclick.runs.experiment import plan as experiments
from weclick.runs.label_source import label_source, stored_as
from weclick.runs.layout import Layout
from weclick.runs.plan import trainings
from weclick.runs.plan.facts import Facts
from weclick.runs.plan.planned import Plan, StagePlan
from weclick.runs.plan.probe import (
    ENTRY_OVERHEAD_BYTES,
    Pace,
    Rate,
    flow_rate,
    frames_rate,
    masks_rate,
    piece_for_training,
    plausible_teacher,
    sample,
    soft_labels_rate,
    train_probe,
    untrained,
)
from weclick.runs.teachers import teachers_of, trained_seeds
from weclick.runs.wanted import Wanted
from weclick.store import Entry, Store, entry_key
from weclick.store.index import WINDOW
from weclick.train.data.stream import Caches

PROBES = ("frames", "flow", "networks", "student", "teacher", "soft_labels")

CLICKS_AT_MOST = 2000
"""A plan makes the clicks of at most this many targets. It needs them for the keys of the networks."""


def make_plan(
    config: Config, store: Store, *, device: str = "cpu", probe_s: float = 5.0, at_most_s: float = 60.0
) -> Plan:
    """Plan a run without writing to its store or results.

    The stages themselves run in a temporary folder: on samples of frames and flows, and for a few steps of
    both trainings.

    Args:
        config: complete.
        store: of the run.
        device: where the probes run.
        probe_s: seconds for each probe beyond its first item; 0 skips the trainings and all times.
        at_most_s: seconds for all probes; none begins later. What is not timed by then is named in the notes.

    Raises:
        ValueError, OSError: the configuration or the data set is not fit for a run; see `weclick doctor`.
    """
    check_run(config)
    asked = experiments.make_plan(config) if config["experiment"]["name"] else None
    began = time.perf_counter()
    train, val = (_manifest(config, split) for split in (config["data"]["train"], config["data"]["val"]))
    seconds = time.perf_counter() - began
    listed = [clip for manifest in (train, val) for clip in manifest.clips]
    frames = {(frame.image, frame.video_frame) for clip in listed for frame in clip.frames}
    counted = f"{len({_footage(clip) for clip in listed})} clips, {len(frames)} frames"
    first = StagePlan("manifest", counted, seconds=seconds if probe_s > 0 else None)
    with (
        tempfile.TemporaryDirectory(prefix="weclick-plan-") as folder,
        progress_bar("plan", len(PROBES), "probes") as bar,
    ):
        until = time.perf_counter() + at_most_s
        run = Facts(config, store, device, max(probe_s, 2.0), until, bar, probe_s > 0, train, val, asked)
        run.notes += offline_words(config)
        return _plan(run, first, Path(folder))


def _footage(clip: Clip) -> tuple[str, str]:
    """What a clip is cut from: its video or its folder. Two splits may hold parts of one."""
    first = clip.frames[0]
    return clip.id, first.image if first.video_frame is not None else str(Path(first.image).parent)


@contextmanager
def _probe(run: Facts, name: str) -> Iterator[None]:
    """Show what is probed. Stages that work on samples keep their bars and warnings to themselves."""
    run.bar.say(name)
    with redirect_stderr(StringIO()):
        yield
    run.bar.advance()


def _plan(run: Facts, first: StagePlan, folder: Path) -> Plan:
    scratch = Store([folder / "store"])
    part = sample(run.train, run.wanted.pairs)
    clicks, table = _clicks(run)
    with _probe(run, "frames"):
        frames, frame_keys = _frames(run, part, scratch)
        masks, mask_keys = _masks(run, part, scratch)
    with _probe(run, "flow"):
        flow, pair_keys = _flow(run, part, scratch)
    frames_alone = Caches(run.store, frame_keys, {}, {}, mask_keys)
    if not takes(run.config, "teacher"):
        return _plan_of_data(run, (first, clicks, frames, *masks, flow))
    teachers = {
        seed: _find(run, _model_key(run, "teacher", table, frames_alone, seed))
        for seed in trained_seeds(run.config)
    }
    source = _source(run, teachers)
    paces, weights = _paces(run, part, scratch, folder, teachers, guess=source is None)
    with _probe(run, "soft_labels"):
        labels, label_keys = _soft_labels(run, part, scratch, source, weights)
    caches = Caches(run.store, frame_keys, pair_keys, label_keys, mask_keys)
    key = _model_key(run, "student", table, caches, run.config["seed"]) if label_keys else None
    sizes = {role: len(untrained(run.config, role, run.train)) for role in SCORED}
    entries = {"teacher": list(teachers.values()), "student": [_find(run, key)]}
    networks = {
        role: [_network(run, role, entries[role], sizes[role], paces.get(role))] if entries[role] else []
        for role in SCORED
    }
    scored = sum(len(clip.scored) for clip in run.val.clips)
    pairs = sum(len(consistency_pairs(c, run.config["evaluate"]["max_gap_frames"])) for c in run.val.clips)
    last = StagePlan("evaluate", f"{scored} scored frames, {pairs} pairs")
    stages = (first, clicks, frames, *masks, flow, *networks["teacher"], labels, *networks["student"], last)
    root = run.store.local.path
    results_bytes = 4 * max(sizes.values()) + sum(len(entries[role]) * sizes[role] for role in SCORED)
    trained = trainings.plan_experiment(run.experiment, paces) if run.experiment else None
    return Plan(stages, results_bytes, str(root), free_bytes(root), (*run.notes,), trained)


def _plan_of_data(run: Facts, stages: tuple[StagePlan, ...]) -> Plan:
    """The plan of a method without a teacher: what its networks learn from is only known once it is made."""
    run.notes.append(f"stages of method {run.config['method']} after flow are neither counted nor timed")
    root = run.store.local.path
    trained = trainings.plan_experiment(run.experiment, {}) if run.experiment else None
    return Plan(stages, 0, str(root), free_bytes(root), (*run.notes,), trained, last="flow")


def free_bytes(root: Path) -> int:
    """Free space on the disk where a folder is, or would be made."""
    there = next(path for path in (root.absolute(), *root.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def _manifest(config: Config, split: str) -> Manifest:
    memory, needs = Layout(Path(config["results"])).digests, Wanted(config).needs
    remember = memory if memory.is_file() else None
    dataset = open_dataset(config["data"], config["clicks"]["mix"], config["tags"])
    return build_manifest(
        dataset, split, 0, 1, reach_frames=needs.reach_frames, whole=needs.whole, remember=remember
    )


def _clicks(run: Facts) -> tuple[StagePlan, ClickTable | None]:
    targets = sum(len(clip.targets) for clip in run.train.clips)
    if targets > CLICKS_AT_MOST:
        run.notes.append(f"{targets} targets are too many to make clicks here, so networks are not looked up")
        return StagePlan("clicks", f"{targets} targets"), None
    began = time.perf_counter()
    options, optional = run.config["clicks"], does_without_clicks(run.config)
    table = generate_clicks(run.train, options=options, seed=run.config["seed"], optional=optional)
    seconds = run.seconds(time.perf_counter() - began)
    return StagePlan("clicks", f"{targets} targets, {len(table)} clicks", seconds=seconds), table


def _frames(run: Facts, part: Manifest, scratch: Store) -> tuple[StagePlan, dict[str, str]]:
    keys = run.wanted.keys("frames", run.train.clips)
    missing = run.lacking("frames", keys)
    if not run.config["frames"]["pack"]:
        keys = {clip.id: unpacked_key(clip) for clip in run.train.clips}
    if missing and run.config["frames"]["pack"] and len(run.config["serves"]) > 1:
        run.notes.append(
            f"frames are packed for serves: [{', '.join(run.config['serves'])}]; another method may read "
            "other frames of a clip, which are another entry, so name all that you want before you pack"
        )
    rate = frames_rate(run.config, part, scratch, run.budget())
    counts = {clip.id: len(clip.frames) for clip in run.train.clips}
    taken = run.taken("frames", run.train.clips, missing)
    plan = _stored(run, "frames", "frames", run.train.clips, counts, missing, rate, taken)
    threads = min(os.cpu_count() or 1, max(len(missing), 1))
    return replace(plan, seconds=plan.seconds and plan.seconds / threads), keys


def _masks(run: Facts, part: Manifest, scratch: Store) -> tuple[list[StagePlan], dict[str, str]]:
    """The stage `masks`; nothing where a run learns from clicks."""
    if not takes(run.config, "masks"):
        return [], {}
    rate = masks_rate(run.config, part, scratch, run.budget())
    keys = run.wanted.keys("masks", run.train.clips, run.train.classes)
    clips = [clip for clip in run.train.clips if clip.id in keys]
    counts = {clip.id: len(labelled_targets(clip).frames) for clip in clips}
    return [_stored(run, "masks", "frames", clips, counts, run.lacking("masks", keys), rate)], keys


def _flow(run: Facts, part: Manifest, scratch: Store) -> tuple[StagePlan, dict[str, str]]:
    plans: list[StagePlan] = []  # of the needs that a split has
    train_keys: dict[str, str] = {}
    for manifest in {m.split: m for m in (run.train, run.val)}.values():
        cut = part if manifest is run.train else sample(manifest, run.wanted.pairs)
        rate = flow_rate(run.config, cut, run.wanted.pairs, scratch, run.device, run.budget())
        for need, pairs in run.wanted.needs.functions.items():
            keys = run.wanted.keys("flow", manifest.clips, need=need)
            counts = {clip.id: len(pairs(clip)) for clip in manifest.clips}
            clips = [clip for clip in manifest.clips if clip.id in keys]
            missing = run.lacking("flow", keys)
            taken = run.taken_pairs(clips, missing, need)
            if clips:
                unit = "pairs" if need == WINDOW else f"pairs ({need})"
                plans.append(_stored(run, "flow", unit, clips, counts, missing, rate, taken))
            train_keys = keys if manifest is run.train and need == WINDOW else train_keys
    both = StagePlan(
        "flow",
        " + ".join(plan.work for plan in plans) or "0 pairs",
        sum(plan.found for plan in plans),
        sum(plan.missing for plan in plans),
        sum(plan.store_bytes for plan in plans),
        run.seconds(sum(plan.seconds or 0 for plan in plans)),
    )
    return both, train_keys


def _soft_labels(
    run: Facts, part: Manifest, scratch: Store, source: Source | None, weights: Path
) -> tuple[StagePlan, dict[str, str]]:
    """Plan the stage by its source, or by the weights of one network in place of every teacher."""
    rate = soft_labels_rate(run.config, part, source or weights, scratch, run.device, run.budget())
    if rate and not source:
        rate = replace(rate, seconds_per_px=rate.seconds_per_px * len(teachers_of(run.config)))
    wanted = Wanted(run.config, source)
    keys = wanted.keys("soft_labels", run.train.clips)
    missing = run.lacking("soft_labels", keys) if source else {clip.id for clip in run.train.clips}
    counts = {clip.id: len(clip.frames) for clip in run.train.clips}
    taken = run.taken("soft_labels", run.train.clips, missing, wanted)
    return _stored(run, "soft_labels", "frames", run.train.clips, counts, missing, rate, taken), keys


def _stored(
    run: Facts,
    stage: str,
    unit: str,
    clips: Sequence[Clip],
    counts: Mapping[str, int],
    missing: set[str],
    rate: Rate | None,
    taken: Mapping[str, int] = MappingProxyType({}),
) -> StagePlan:
    """Plan a stage that writes one entry a clip. Size and time grow with the pixels of frames or pairs.

    What older entries hold takes room once more, but no time that counts.
    """
    lacking = [clip for clip in clips if clip.id in missing]
    pixels = sum(counts[clip.id] * clip.height_px * clip.width_px for clip in lacking)
    held = sum(taken.get(clip.id, 0) * clip.height_px * clip.width_px for clip in lacking)
    size = pixels * rate.bytes_per_px + ENTRY_OVERHEAD_BYTES * len(lacking) if rate else 0
    seconds = run.seconds((pixels - held) * rate.seconds_per_px) if rate else run.seconds(0)
    work = f"{sum(counts[clip.id] for clip in clips)} {unit} of {len(clips)} clips"
    if taken_over := sum(taken.values()):
        work += f", {taken_over} from older entries"
    return StagePlan(stage, work, len(clips) - len(lacking), len(lacking), round(size), seconds)


def _network(
    run: Facts, role: Role, entries: Sequence[Entry | None], size: int, pace: Pace | None
) -> StagePlan:
    """Plan one or several networks of a role."""
    steps, missing = run.config[role]["steps"], sum(entry is None for entry in entries)
    work = f"{steps} steps" if len(entries) == 1 else f"{len(entries)} networks, {steps} steps each"
    found = len(entries) - missing
    if not missing:
        return StagePlan(role, work, found, seconds=run.seconds(0))
    if pace is None:
        return StagePlan(role, work, found, missing, missing * size)
    seconds = missing * steps * pace.seconds
    return StagePlan(role, work, found, missing, missing * size, seconds, pace.estimated)


def _model_key(run: Facts, role: str, table: ClickTable | None, caches: Caches, seed: int) -> str | None:
    """The key of a network, or None where it cannot be known beforehand."""
    if table is None:
        return None
    wanted = Wanted({**run.config, "seed": seed})
    recipe = wanted.recipe(role, train=run.train, val=run.val, clicks=table, caches=caches)
    return entry_key(MODELS, recipe.inputs())


def _find(run: Facts, key: str | None) -> Entry | None:
    return run.store.find(MODELS, key) if key else None


def _found(teachers: Mapping[int, Entry | None]) -> list[Path]:
    """The weights of the teachers that the store has."""
    return [entry.path / WEIGHTS for entry in teachers.values() if entry]


def _source(run: Facts, teachers: Mapping[int, Entry | None]) -> Source | None:
    """What makes the soft labels; None while a teacher is missing."""
    if not all(teachers.values()):
        return None
    given = [Path(each) for each in teachers_of(run.config) if not isinstance(each, int)]
    memory = Layout(Path(run.config["results"])).label_digests
    remember = memory if memory.is_file() else None
    return label_source(run.config, run.train.classes.names, [*_found(teachers), *given], remember=remember)


def _paces(
    run: Facts,
    part: Manifest,
    scratch: Store,
    folder: Path,
    teachers: Mapping[int, Entry | None],
    *,
    guess: bool,
) -> tuple[dict[Role, Pace], Path]:
    """The pace of both trainings, and a teacher's weights: one of the run's own if the store has it."""
    weights = next(iter(_found(teachers)), folder / WEIGHTS)
    paces: dict[Role, Pace] = {}
    with _probe(run, "networks"):
        if guess and not weights.is_file():
            weights.write_bytes(plausible_teacher(run.config, part))
            run.notes.append(
                "random weights gave the size of soft labels; those of a trained teacher take less"
            )
    probes: dict[Role, Callable[[Facts, Manifest, Store, Path], Pace]]
    probes = {"student": _student_pace, "teacher": _teacher_pace}
    for role, probe in probes.items():
        with _probe(run, role):
            if role == "teacher" and all(teachers.values()) and not _tried_out(run, role):
                continue
            if run.timed and run.budget():
                paces[role] = probe(run, part, scratch, folder / role)
            elif run.timed and not run.budget():
                run.notes.append(f"no time was left to try {role}; --at-most gives the probes more")
    return paces, weights


def _tried_out(run: Facts, role: Role) -> bool:
    """Whether the experiment has still to train networks of a role."""
    return run.experiment is not None and bool(trainings.missing(run.experiment, role))


def _packed(run: Facts, small: Manifest, scratch: Store) -> dict[str, dict[str, str]]:
    """What teacher and student read of the data."""
    packed = {"frames": pack_frames(small, store=scratch, **run.config["frames"])}
    if takes(run.config, "masks"):
        packed["masks"] = pack_masks(small, store=scratch, **run.config["masks"])
    return packed


def _teacher_pace(run: Facts, part: Manifest, scratch: Store, folder: Path) -> Pace:
    small = piece_for_training(part, run.wanted.pairs)
    caches = _packed(run, small, scratch)
    return train_probe(run.config, "teacher", small, caches, scratch, folder, run.device, run.budget())


def _student_pace(run: Facts, part: Manifest, scratch: Store, folder: Path) -> Pace:
    """A network of the student's kind makes the soft labels: reading them takes as long."""
    small = piece_for_training(part, run.wanted.pairs)
    folder.mkdir()
    (folder / WEIGHTS).write_bytes(untrained(run.config, "student", part))
    caches = {
        **_packed(run, small, scratch),
        "flow": compute_flow(
            small,
            run.wanted.needs.functions[WINDOW],
            options=run.config["flow"],
            store=scratch,
            device=run.device,
        ),
        "soft_labels": compute_soft_labels(
            small, folder / WEIGHTS, store=scratch, device=run.device, **stored_as(run.config)
        ),
    }
    return train_probe(run.config, "student", small, caches, scratch, folder, run.device, run.budget())
