"""One verb for each stage; the Snakemake rules call the same code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weclick.cli.app import (
    DEFAULT,
    Clicks,
    Config,
    Device,
    Devices,
    FrameIndex,
    Manifests,
    MaskIndex,
    OneManifest,
    OutputFile,
    OutputFolder,
    ProxyLabelIndex,
    Set,
    ValManifests,
    app,
    choose_device,
    choose_later,
    keep_freed_memory,
    load,
    load_watch,
    open_store,
)
from weclick.cli.training import TrainingFiles, train_network
from weclick.common.errors import InputError
from weclick.common.files import read_json, write_text
from weclick.common.stages import CARD
from weclick.runs.layout import DIGESTS

if TYPE_CHECKING:  # importing the store takes longer than printing help
    from weclick.store import Store


@app.command()
def toy(config: Config = DEFAULT, change: Set = None) -> None:
    """Draw the toy data set: a procedural street with exact labels, instances and flow."""
    from weclick.datasets.toy.draw import generate

    data = load(config, change, "toy")["data"]
    generate(Path(data["root"]), **data["toy"])
    write_text(Path(data["root"]) / "toy.json", json.dumps(data["toy"], indent=1) + "\n")


@app.command()
def manifest(
    output: OutputFile,
    split: Annotated[str, typer.Option(help="Split of the data set, e.g. train.")],
    shard: Annotated[int, typer.Option(help="Which of data.shards parts of the split.")] = 0,
    config: Config = DEFAULT,
    change: Set = None,
) -> None:
    """List clips, frames and targets of one shard of a split, with content digests."""
    from weclick.common.findings import tell
    from weclick.datasets import build_manifest, open_dataset
    from weclick.datasets.findings import split_findings
    from weclick.manifest import write_manifest
    from weclick.runs.cost import stage_cost
    from weclick.runs.wanted import Wanted

    chosen = load(config, change, "manifest")
    with stage_cost(output):
        dataset, wanted = (
            open_dataset(chosen["data"], chosen["clicks"]["mix"], chosen["tags"]),
            Wanted(chosen),
        )
        if shard == 0:  # it speaks for the whole split
            tell(split_findings(dataset, split, wanted.needs.window, wanted.needs.max_gap_frames))
        made = build_manifest(
            dataset,
            split,
            shard,
            chosen["data"]["shards"],
            reach_frames=wanted.reach_frames,
            whole=wanted.needs.whole,
            remember=output.parent.parent / DIGESTS,
        )
        write_manifest(made, output)


@app.command()
def clicks(
    output: OutputFile,
    manifest: Manifests,
    json_output: Annotated[Path | None, typer.Option("--json", help="Also write the clicks as JSON.")] = None,
    config: Config = DEFAULT,
    change: Set = None,
    device: Annotated[
        str, typer.Option(help="auto (the one that is known to be faster), cpu or cuda.")
    ] = "auto",
    optional: Annotated[
        bool,
        typer.Option(
            "--optional",
            help="Let targets without a label or click be, and write an empty table if there is no click: "
            "for networks that learn from tags or proxy labels. Others learn nothing without clicks.",
        ),
    ] = False,
) -> None:
    """Put one click on every object of every target frame: components, or instance masks."""
    from weclick.clicks import generate_clicks, write_clicks, write_json
    from weclick.clicks.components_cuda import AUTO_DEVICE
    from weclick.manifest import read_manifests
    from weclick.runs.cost import stage_cost

    chosen = load(config, change, "clicks")
    device = AUTO_DEVICE if device == "auto" else device
    if device != "cpu":  # torch takes seconds to load, and the CPU does without it
        device = choose_device(device)
    with stage_cost(output):
        table = generate_clicks(
            read_manifests(manifest),
            options=chosen["clicks"],
            seed=chosen["seed"],
            device=device,
            optional=optional,
        )
        write_clicks(table, output)
    if json_output:
        write_json(table, json_output)


@app.command()
def frames(output: OutputFile, manifest: OneManifest, config: Config = DEFAULT, change: Set = None) -> None:
    """Decode the frames of a shard once, into chunks that training reads by crops."""
    from weclick.datasets.frames import pack_frames
    from weclick.manifest import read_manifest
    from weclick.runs.metered import make_index

    chosen = load(config, change, "frames")

    def make(store: Store) -> dict[str, str]:
        return pack_frames(read_manifest(manifest), store=store, **chosen["frames"])

    make_index("frames", output, open_store(chosen), make)


@app.command()
def masks(output: OutputFile, manifest: OneManifest, config: Config = DEFAULT, change: Set = None) -> None:
    """Decode the labels of a shard's target frames once, for trainings whose supervision is masks or both."""
    from weclick.manifest import read_manifest
    from weclick.proxy_labels.masks import pack_masks
    from weclick.runs.metered import make_index

    chosen = load(config, change, "masks")

    def make(store: Store) -> dict[str, str]:
        return pack_masks(read_manifest(manifest), store=store, **chosen["masks"])

    make_index("masks", output, open_store(chosen), make)


@app.command()
def flow(
    output: OutputFile,
    manifest: OneManifest,
    config: Config = DEFAULT,
    change: Set = None,
    device: Device = "auto",
) -> None:
    """Estimate the optical flow that the served methods need; cached pairs are kept."""
    from weclick.flow.stage import compute_needs
    from weclick.manifest import read_manifest
    from weclick.runs.metered import make_index
    from weclick.runs.wanted import Wanted

    keep_freed_memory(of_threads=True)  # before a thread begins
    chosen = load(config, change, "flow")

    def make(store: Store) -> dict[str, dict[str, str]]:
        listed, needs = read_manifest(manifest), Wanted(chosen).needs
        where = choose_later(device)
        return compute_needs(listed, needs.functions, options=chosen["flow"], store=store, device=where)

    make_index("flow", output, open_store(chosen), make)


@app.command()
def teacher(
    output: OutputFolder,
    manifest: Manifests,
    clicks: Clicks,
    frames: FrameIndex,
    val_manifest: ValManifests,
    masks: MaskIndex = None,
    proxy_labels: ProxyLabelIndex = None,
    config: Config = DEFAULT,
    change: Set = None,
    device: Device = "auto",
    devices: Devices = 1,
) -> None:
    """Train the large net on clicks, masks, both, or proxy labels (supervision), with Gated CRF."""
    chosen = load(config, change, "teacher")
    indexes = {"frames": frames, "masks": masks or [], "proxy_labels": proxy_labels or []}
    files = TrainingFiles(manifest, val_manifest, indexes, clicks=clicks)
    train_network("teacher", chosen, output, files, device, devices, load_watch(config, change))


@app.command("soft-labels")
def soft_labels(
    output: OutputFile,
    manifest: OneManifest,
    teacher: Annotated[
        list[Path] | None, typer.Option(help="A teacher's model.safetensors; repeat for the mean of several.")
    ] = None,
    flow: Annotated[
        Path | None, typer.Option(help="Index of the shard's flow; needed with soft_labels.fuse.")
    ] = None,
    config: Config = DEFAULT,
    change: Set = None,
    device: Device = "auto",
) -> None:
    """Store the teacher's predictions on every frame of a shard, at its stride, quantised.

    Of several teachers it stores the mean of their probabilities, on the finest of their grids. With
    soft_labels.source onnx or folder, there is no teacher: the configuration names the file or folder.

    Examples:

        weclick soft-labels --manifest results/manifest/train/0.json --teacher one.safetensors
        --teacher other.safetensors --output results/soft_labels/train/0.json

        weclick soft-labels --manifest results/manifest/train/0.json --output results/soft_labels/train/0.json
        --set soft_labels.source=folder --set soft_labels.folder.path=masks
    """
    from weclick.manifest import read_manifest
    from weclick.proxy_labels.fuse import Fuse
    from weclick.proxy_labels.soft_labels import compute_soft_labels
    from weclick.runs.label_source import given_source, stored_as
    from weclick.runs.metered import make_index
    from weclick.store import read_index

    keep_freed_memory(of_threads=True)  # before a thread begins
    chosen = load(config, change, "soft_labels")
    fuse = chosen["soft_labels"]["fuse"]
    if fuse["neighbours"] and not flow:
        raise InputError("soft_labels.fuse is on, but no flow is given; name the shard's index with --flow")

    def make(store: Store) -> dict[str, str]:
        listed, where = read_manifest(manifest), choose_later(device)
        source = given_source(chosen, listed.classes.names, teacher or [], output.parent.parent / DIGESTS)
        along = Fuse(fuse, read_index([flow], "flow") if flow else {}, store)
        return compute_soft_labels(listed, source, store=store, device=where, fuse=along, **stored_as(chosen))

    make_index("soft_labels", output, open_store(chosen), make)


@app.command()
def student(
    output: OutputFolder,
    manifest: Manifests,
    clicks: Clicks,
    frames: FrameIndex,
    val_manifest: ValManifests,
    masks: MaskIndex = None,
    proxy_labels: ProxyLabelIndex = None,
    tags: Annotated[
        Path | None,
        typer.Option(help="Table of tags (HDF5) of the training split; with supervision tags."),
    ] = None,
    cams: Annotated[
        list[Path] | None,
        typer.Option(help="Index of the cams stage; one per shard; with heatmap_loss.weight."),
    ] = None,
    flow: Annotated[
        list[Path] | None, typer.Option(help="Index of the flow stage; one per shard; none if online.")
    ] = None,
    val_flow: Annotated[
        list[Path] | None,
        typer.Option(help="Index of the flow of the split to score on; one per shard; with two_stream."),
    ] = None,
    soft_labels: Annotated[
        list[Path] | None,
        typer.Option(help="Index of the soft-labels stage; one per shard; none if online."),
    ] = None,
    pace: Annotated[
        Path | None, typer.Option(help="model.json of a training; its steps a second set the pace.")
    ] = None,
    same_time_as: Annotated[
        Path | None, typer.Option(help="model.json of a training; this one takes as long.")
    ] = None,
    config: Config = DEFAULT,
    change: Set = None,
    device: Device = "auto",
    devices: Devices = 1,
) -> None:
    """Train the small net from the caches: clicks, masks, proxy labels or tags, Gated CRF, and distillation.

    With student.online.teacher, teacher and flow estimator run in the loop instead, and no index is needed.
    With student.architecture two_stream, the net also looks at flow, here and wherever it is used.
    """
    from weclick.runs.experiment.pace import steps_for_seconds

    chosen = load(config, change, "student")
    if pace and same_time_as:
        seconds = read_json(same_time_as, "student", CARD)["train_seconds"]
        chosen["student"]["steps"] = steps_for_seconds(read_json(pace, "student", CARD), seconds)
    indexes = {
        "frames": frames,
        "masks": masks or [],
        "proxy_labels": proxy_labels or [],
        "cams": cams or [],
        "flow": flow or [],
        "soft_labels": soft_labels or [],
    }
    files = TrainingFiles(
        manifest, val_manifest, indexes, clicks=clicks, tags=tags, scored_flow=val_flow or []
    )
    train_network("student", chosen, output, files, device, devices, load_watch(config, change))
