"""All arms and seeds on one data set."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weclick.common.errors import InputError
from weclick.common.load import watched_load
from weclick.common.progress import progress_bar
from weclick.runs.click_bench.arms import ARMS
from weclick.runs.click_bench.features import (
    WARM_STEPS,
    Features,
    frozen_features,
    pretrained_backbone,
    warmed_backbone,
)
from weclick.runs.click_bench.oracle import Oracle
from weclick.runs.click_bench.pool import Pool, read_pool
from weclick.runs.click_bench.result import AXES, compare
from weclick.runs.click_bench.simulate import (
    Clicked,
    Curve,
    Rules,
    first_clicks,
    simulate,
)
from weclick.runs.experiment.charts import write_charts
from weclick.runs.report import figures


def bench_clicks(
    config: Mapping[str, Any],
    *,
    seeds: int,
    start: int,
    budget: int,
    per_round: int,
    frames: int,
    score_frames: int,
    shuffle_oracle: bool,
) -> dict[str, Any]:
    """Let every arm click with every seed, and compare them.

    Args:
        config: the whole configuration. Of it count data, clicks, annotation, student and seed.
        seeds: how many; each has first clicks of its own, which all arms share.
        start, budget, per_round: clicks, as in `Rules`.
        frames, score_frames: at most, of the pool and of those that score.
        shuffle_oracle: let answers say nothing.

    Returns:
        What `compare` gives, with all that it depends on, and what it cost.

    Raises:
        InputError: there are no masks, or too few clicks.
    """
    if budget <= start:
        raise InputError(f"--clicks is {budget} and --start {start}; give more clicks than the start has")
    began, cpu = time.monotonic(), time.process_time()
    rules = Rules(start, budget, per_round, config["clicks"], config["annotation"])
    with watched_load(1) as load:
        pool = read_pool(config, frames, score_frames)
        curves = _curves(config, pool, rules, seeds, shuffle_oracle)
        compared = compare(curves, pool.classes.names)
    return {
        "data": pool.name,
        "classes": list(pool.classes.names),
        "frames": len(pool.shots),
        "scored_frames": len(pool.held_out),
        "frame_px": list(pool.shots[0].size),
        "oracle": "shuffled" if shuffle_oracle else "masks",
        "backbone": config["student"]["backbone"],
        "features": _features_words(config["student"]),
        "seeds": seeds,
        "start_clicks": start,
        "clicks": budget,
        "clicks_per_round": per_round,
        "seconds_of_clicks": {
            "first_of_class_on_frame": rules.annotation["click_first_s"],
            "further": rules.annotation["click_next_s"],
        },
        **compared,
        "cost": {
            "wall_s": round(time.monotonic() - began, 1),
            "cpu_s": round(time.process_time() - cpu, 1),
            "load": load,
        },
    }


def _features_words(student: Mapping[str, Any]) -> str:
    if student["pretrained"]:
        return "frozen pretrained backbone"
    return f"backbone that learned for {WARM_STEPS} steps from the first clicks, then frozen"


def _curves(
    config: Mapping[str, Any], pool: Pool, rules: Rules, seeds: int, shuffled: bool
) -> dict[str, list[Curve]]:
    student, classes = config["student"], pool.classes
    shots, curves = (*pool.shots, *pool.held_out), {arm.name: list[Curve]() for arm in ARMS}
    features = None
    if student["pretrained"]:
        backbone = pretrained_backbone(student, len(classes.names))
        features = frozen_features(backbone, shots, len(pool.shots))
    with progress_bar("arms", seeds * len(ARMS), "arms") as bar:
        for seed in range(config["seed"], config["seed"] + seeds):
            oracle = Oracle(pool.shots, classes.instance_classes, seed, shuffled=shuffled)
            begun = _begun(pool, oracle, rules, seed)
            own = features or _warmed(config, pool, begun, seed)
            baseline = None
            for arm in ARMS:
                curve = simulate(arm, pool, own, oracle, begun, rules, seed, baseline)
                baseline = curve.miou[0]
                curves[arm.name].append(curve)
                bar.advance()
    return curves


def _begun(pool: Pool, oracle: Oracle, rules: Rules, seed: int) -> Clicked:
    begun = first_clicks(pool, oracle, rules, seed)
    if begun.count < rules.start or not begun.points:
        raise InputError(
            f"the pool has {begun.count} objects to begin with, expected --start {rules.start}; lower it, or "
            "clicks.min_pixels, or take more frames"
        )
    return begun


def _warmed(config: Mapping[str, Any], pool: Pool, begun: Clicked, seed: int) -> Features:
    backbone = warmed_backbone(config["student"], len(pool.classes.names), pool.shots, begun.points, seed)
    return frozen_features(backbone, (*pool.shots, *pool.held_out), len(pool.shots))


def write_bench_charts(result: Mapping[str, Any], folder: Path, name: str) -> list[Path]:
    """Draw mIoU over clicks and over seconds, a line for each arm.

    Args:
        result: of `bench_clicks`.
        folder: gets `<name>-clicks.svg` and `<name>-seconds.svg`.
        name: begins the names of the files.
    """
    told = {"clicks": "clicks", "seconds": "seconds of a person"}
    drawn = {
        axis: figures.lines_chart(
            {
                arm: {round(point[axis]): point for point in each[f"over_{axis}"]}
                for arm, each in result["arms"].items()
            },
            name=f"click-bench-{axis}",
            alt=f"{name}: mean mIoU over {told[axis]}, a line for each arm, with 95 % intervals",
            axis=told[axis],
        )
        for axis in AXES
    }
    write_charts(folder, {name: drawn})
    return [folder / f"{name}-{axis}.svg" for axis in AXES]
