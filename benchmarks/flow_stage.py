"""What does the stage `flow` cost beside a bare loop over DIS, on the CPU?

`bare` is the least that one writes: decode each frame once, make it grey, let as many threads as the stage
has run OpenCV's DIS over the pairs, judge each flow by OpenCV's bilinear `remap`, and shrink flow and mask to
the stride grid. It keeps them in memory. The stage also encodes them, and writes, checks and commits an entry
for each clip. Its masks are exact, which `remap` by 32nds of a pixel is not. Both run in one process in turn,
on the same pairs of whole DAVIS frames (480x854), the stage into an empty store each time. Rounds alternate
their order. Ratios are bare over ours: of the time on the wall, and of processor time, which other work
lengthens less.

    python benchmarks/flow_stage.py --data ../shared/data/davis
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from f2f_union import HERE, SHARED
from rich.console import Console
from rich.table import Table

from weclick.cli.app import keep_freed_memory
from weclick.common.config import load_config
from weclick.common.machine import machine, versions
from weclick.datasets import build_manifest, open_dataset
from weclick.flow import compute_flow
from weclick.flow.dis import PRESETS
from weclick.flow.pairs import match_pairs
from weclick.geometry.thresholds import ABSOLUTE_PX2, GREY_LEVELS, RELATIVE, WINDOW_PX
from weclick.manifest import Clip, Manifest
from weclick.manifest.read import read_clip
from weclick.store import Store

STRIDE_PX = 4
GAPS = (-2, -1, 1, 2)
MASKS = {"no mask": [], "photometric": ["photometric"], "both masks": ["forward_backward", "photometric"]}


def main() -> None:
    if "GOMP_SPINCOUNT" not in os.environ:  # the verbs set it before they load torch
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "GOMP_SPINCOUNT": "10000"})
    options, load = parse_options(), os.getloadavg()[0]
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    keep_freed_memory(of_threads=True)  # as the verb does
    manifest = some_frames(options.data, options.frames)
    rows = [compared(manifest, name, options) for name in MASKS]
    report = {
        "machine": machine() | {"load_before": round(load, 2), "threads_used": options.threads},
        "versions": versions("torch", "numpy", "opencv-python-headless"),
        "size_px": list(manifest.clips[0].size),
        "pairs": sum(len(pairs_of(clip)) for clip in manifest.clips),
        "rounds": options.rounds,
        "table": rows,
    }
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    show(rows)
    print(f"written to {options.output}")


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, default=SHARED / "data" / "davis", help="folder with frames/ and labels/")
    add("--frames", type=int, default=9, help="of each clip (default 9)")
    add("--rounds", type=int, default=5, help="runs of each (default 5)")
    add("--threads", type=int, default=os.cpu_count(), help="CPU threads of both (default: all)")
    add("--output", type=Path, default=HERE / "results" / "flow_stage.json", help="JSON to write")
    return parser.parse_args()


def some_frames(data: Path, count: int) -> Manifest:
    """The first frames of each clip, at their whole size."""
    config = load_config(str(HERE.parent / "config" / "davis.yaml"), [f"data.root={data}", "data.shrink=1"])
    manifest = build_manifest(open_dataset(config["data"]), "train", 0, 1, reach_frames=100)
    clips = (clip.restrict(range(min(count, len(clip.frames)))) for clip in manifest.clips)
    return replace(manifest, clips=tuple(clips))


def pairs_of(clip: Clip) -> tuple[tuple[int, int], ...]:
    frames = range(len(clip.frames))
    return tuple((t, t + gap) for t in frames for gap in GAPS if t + gap in frames)


def compared(manifest: Manifest, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """The bare loop and the stage with these masks, in turn."""
    config = load_config(str(HERE.parent / "config" / "davis.yaml"), [f"flow.masks={MASKS[name]}"])["flow"]
    both_ways = "forward_backward" in MASKS[name]

    def stage() -> None:
        with tempfile.TemporaryDirectory() as folder:
            compute_flow(manifest, pairs_of, options=config, store=Store([Path(folder)]))

    def loop() -> None:
        bare(manifest, options.threads, MASKS[name])

    took: dict[str, list[tuple[float, float]]] = {"bare": [], "ours": []}
    ways: list[tuple[str, Callable[[], None]]] = [("bare", loop), ("ours", stage)]
    for number in range(options.rounds + 1):  # the first warms up
        for way, work in ways if number % 2 else reversed(ways):
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            if number:
                took[way].append((time.perf_counter() - wall, time.process_time() - cpu))
    count = sum(len(pairs_of(clip)) for clip in manifest.clips)
    row: dict[str, Any] = {"masks": name, "flows_a_pair": 1 + both_ways}
    for at, clock in enumerate(("wall", "cpu")):
        row |= {f"{way}_{clock}_ms_a_pair": milliseconds(took[way], at, count) for way in took}
        ratios = [a[at] / b[at] for a, b in zip(took["bare"], took["ours"], strict=True)]
        row[f"bare_over_ours_{clock}"] = round(statistics.median(ratios), 3)
        row[f"bare_over_ours_{clock}_runs"] = [round(ratio, 3) for ratio in ratios]
    return row


def milliseconds(took: Sequence[tuple[float, float]], at: int, pairs: int) -> float:
    return round(1000 * statistics.median(each[at] for each in took) / pairs, 2)


def bare(manifest: Manifest, threads: int, masks: Sequence[str]) -> list[tuple[np.ndarray, ...]]:
    """Flow and masks of all pairs on the stride grid, by OpenCV alone."""
    height, width = manifest.clips[0].size
    cells = (-(-width // STRIDE_PX), -(-height // STRIDE_PX))
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))

    def shrunk(values: np.ndarray) -> np.ndarray:
        return cv2.resize(values, cells, interpolation=cv2.INTER_AREA)

    def one(target: np.ndarray, neighbour: np.ndarray) -> tuple[np.ndarray, ...]:
        engine = cv2.DISOpticalFlow.create(PRESETS["medium"])
        flow = engine.calc(target, neighbour, None)
        there_x, there_y = x + flow[..., 0], y + flow[..., 1]
        inside = (there_x >= 0) & (there_x <= width - 1) & (there_y >= 0) & (there_y <= height - 1)
        found = [shrunk(flow) / STRIDE_PX]
        if "photometric" in masks:
            warped = cv2.remap(neighbour, there_x, there_y, cv2.INTER_LINEAR)
            error = cv2.blur(cv2.absdiff(target, warped).astype(np.float32), (WINDOW_PX, WINDOW_PX))
            found.append(shrunk((inside & (error < GREY_LEVELS)).astype(np.float32)) >= 0.5)
        if "forward_backward" in masks:
            back = cv2.remap(engine.calc(neighbour, target, None), there_x, there_y, cv2.INTER_LINEAR)
            gap, motion = np.square(flow + back).sum(-1), (np.square(flow) + np.square(back)).sum(-1)
            agree = inside & (gap < RELATIVE * motion + ABSOLUTE_PX2)
            found.append(shrunk(agree.astype(np.float32)) >= 0.5)
        return tuple(found)

    made = []
    with ThreadPoolExecutor(threads) as pool:
        for clip in manifest.clips:
            greys = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in read_clip(manifest, clip))
            pairs = match_pairs(greys, pairs_of(clip))
            made += [pool.submit(one, pair.target, pair.neighbour) for pair in pairs]
        return [each.result() for each in made]


def show(rows: Sequence[dict[str, Any]]) -> None:
    table = Table(title="the stage flow by DIS, beside a bare loop", title_justify="left")
    columns = [name for name in rows[0] if not name.endswith("_runs")]
    for name in columns:
        table.add_column(name.replace("_", " "), justify="left" if name == "masks" else "right")
    for row in rows:
        table.add_row(*(str(row[name]) for name in columns))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
