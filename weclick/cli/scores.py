"""Verbs that score a run and show it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weclick.cli.app import (
    DEFAULT,
    Config,
    Device,
    Manifests,
    OutputFile,
    OutputFolder,
    Set,
    app,
    choose_device,
    load,
    open_store,
)
from weclick.common.config import load_config
from weclick.common.errors import InputError
from weclick.common.stages import SCORES
from weclick.runs.layout import DEFAULT as DEFAULT_RUN


@app.command()
def evaluate(
    output: OutputFolder,
    manifest: Manifests,
    flow: Annotated[list[Path], typer.Option(help="Index of the split's flow; one per shard.")],
    student: Annotated[Path | None, typer.Option(help="The student's model.safetensors.")] = None,
    detector: Annotated[
        Path | None, typer.Option(help="The detector's, in the place of a student: scores of instances.")
    ] = None,
    teacher: Annotated[Path | None, typer.Option(help="The teacher's, to score it too.")] = None,
    target_manifest: Annotated[
        list[Path] | None,
        typer.Option(help="Manifest of the training split, to score its targets too; one per shard."),
    ] = None,
    clicks: Annotated[
        Path | None, typer.Option(help="Clicks on these targets, to tell how many are hit.")
    ] = None,
    target_flow: Annotated[
        list[Path] | None,
        typer.Option(help="Index of the flow of these targets; one per shard; with two_stream."),
    ] = None,
    config: Config = DEFAULT,
    change: Set = None,
    device: Device = "auto",
) -> None:
    """Score student and teacher on a split: mIoU, mPA, per class, temporal consistency, speed.

    With --detector: average precision of instances on frames and along clips, and mIoU of their classes.

    With --target-manifest also on the frames that they learned from: to choose settings without a look at
    scored frames, and to see whether the teacher knows more than the student.
    """
    from weclick.evaluate.instances.stage import score_detector
    from weclick.evaluate.stage import evaluate_models
    from weclick.evaluate.targets import read_targets
    from weclick.manifest import read_manifests
    from weclick.runs.cost import stage_cost
    from weclick.store.index import STACK, read_index

    chosen = load(config, change, "evaluate")
    if clicks and not target_manifest:
        raise InputError("--clicks tells of the targets of a split; give its --target-manifest too")
    if (student is None) == (detector is None):
        raise InputError("give either --student or --detector: the model.safetensors of the network to score")
    with stage_cost(output / SCORES):
        if detector:
            score_detector(
                read_manifests(manifest),
                detector,
                output,
                store=open_store(chosen),
                flow=read_index(flow, "flow"),
                examples=chosen["evaluate"]["examples"],
                device=choose_device(device),
            )
            return
        assert student is not None, "which was seen above"
        evaluate_models(
            {"student": student, **({"teacher": teacher} if teacher else {})},
            read_manifests(manifest),
            store=open_store(chosen),
            flow=read_index(flow, "flow"),
            stacks=read_index(flow, "flow", need=STACK),
            device=choose_device(device),
            folder=output,
            examples=chosen["evaluate"]["examples"],
            write_predictions=chosen["evaluate"]["write_predictions"],
            targets=read_targets(target_manifest, clicks, target_flow or ()) if target_manifest else None,
            crf=chosen["evaluate"]["crf"],
        )


@app.command()
def report(
    output: OutputFile,
    results: Annotated[Path, typer.Option(help="Folder of the run's results.")] = DEFAULT_RUN.folder,
    config: Config = DEFAULT,
    change: Set = None,
) -> None:
    """Make one self-contained page of the run: clicks, flow, predictions, curves and scores."""
    from weclick.runs.report import command, write_report

    loaded = load_config(config, change or ())
    choose_device("cpu")  # this also limits torch to the cores there are
    write_report(output, results=results, config=loaded, store=open_store(loaded), command=command())
