"""`weclick click-bench`: simulates which click to make next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weclick.cli.app import DEFAULT, Config, Set, app, choose_device
from weclick.common.config import load_config
from weclick.common.files import write_text
from weclick.common.load import busy_words
from weclick.common.strict_json import strict_json


@app.command("click-bench")
def click_bench(
    config: Config = DEFAULT,
    change: Set = None,
    seeds: Annotated[int, typer.Option("--seeds", min=2, help="Repetitions; intervals are over them.")] = 5,
    clicks: Annotated[int, typer.Option("--clicks", min=2, help="Clicks that each arm may spend.")] = 300,
    start: Annotated[
        int,
        typer.Option("--start", min=1, help="First clicks, objects of whole frames, which all arms share."),
    ] = 30,
    per_round: Annotated[int, typer.Option("--per-round", min=1, help="Clicks between two trainings.")] = 30,
    frames: Annotated[int, typer.Option("--frames", min=1, help="Frames to click on, evenly chosen.")] = 120,
    score_frames: Annotated[
        int, typer.Option("--score-frames", min=1, help="Held-out frames that score, evenly chosen.")
    ] = 40,
    shuffle_oracle: Annotated[
        bool, typer.Option("--shuffle-oracle", help="Answers say nothing; then no arm may win.")
    ] = False,
    output: Annotated[Path | None, typer.Option("--json", help="Also write the figures here.")] = None,
    charts: Annotated[
        Path | None,
        typer.Option("--charts", help="Folder for charts (SVG): mIoU over clicks, over seconds."),
    ] = None,
) -> None:
    """Compare ways to choose clicks, on a data set whose masks answer in a person's place.

    Arms: random points; whole frames, evenly spaced, one click on the centroid of each object; margin, as
    `weclick ask` proposes places; margin with the predicted classes in turn; and whole frames with a random
    pixel of each object, or without slivers. All begin with the same clicks and spend as many. An answer
    where the mask is void costs a click. Frames that score are never clicked on.

    It is a simulation: the student's backbone is frozen, and a small head is trained anew each round. A
    student without pretrained weights first learns shortly from the first clicks. A person's time is that of
    annotation.click_first_s for the first click of a class on a frame, and click_next_s for further ones.

        weclick click-bench
        weclick click-bench --config config/davis.yaml --set data.target_every=3 --json davis.json
        weclick click-bench --shuffle-oracle
    """
    choose_device("cpu")
    from weclick.runs.click_bench.bench import bench_clicks, write_bench_charts
    from weclick.runs.click_bench.result import lines_of

    loaded = load_config(config, change or ())
    result = bench_clicks(
        loaded,
        seeds=seeds,
        start=start,
        budget=clicks,
        per_round=per_round,
        frames=frames,
        score_frames=score_frames,
        shuffle_oracle=shuffle_oracle,
    )
    print(
        f"{result['frames']} frames to click on, {result['scored_frames']} held-out ones that score; "
        f"{result['seeds']} seeds; answers: {result['oracle']}; {result['features']}"
    )
    for line in lines_of(result):
        print(line)
    cost = result["cost"]
    print(f"took {cost['wall_s']:.0f} s, {cost['cpu_s']:.0f} s of one core")
    if busy := busy_words(cost["load"]):
        print(busy)
    if output:
        write_text(output, strict_json(result, indent=1) + "\n")
        print(f"figures in {output}")
    if charts:
        for path in write_bench_charts(result, charts, output.stem if output else "click_bench"):
            print(f"chart in {path}")
