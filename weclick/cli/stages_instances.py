"""Verbs of the stages that find instances, of which no person drew one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weclick.cli.app import (
    DEFAULT,
    Config,
    Device,
    Devices,
    FrameIndex,
    Manifests,
    OneManifest,
    OutputFile,
    OutputFolder,
    Set,
    ValManifests,
    app,
    choose_device,
    load,
    load_watch,
    open_store,
)
from weclick.cli.training import TrainingFiles, train_network

if TYPE_CHECKING:  # importing the store takes longer than printing help
    from weclick.store import Store

AllowVal = Annotated[
    bool, typer.Option("--allow-val", help="Also make labels of clips whose frames are scored.")
]


@app.command("confident-labels")
def confident_labels(
    output: OutputFile,
    manifest: OneManifest,
    tags: Annotated[Path, typer.Option(help="Table of tags (HDF5) of the training split.")],
    cams: Annotated[Path, typer.Option(help="Index of the shard's class activation maps.")],
    flow: Annotated[
        Path | None, typer.Option(help="Index of the shard's flow; none with fcam.motion none.")
    ] = None,
    allow_val: AllowVal = False,
    config: Config = DEFAULT,
    change: Set = None,
) -> None:
    """Store class maps of the pixels of which class activation maps are sure, for the relation network.

    Example:

        weclick confident-labels --manifest results/manifest/train/0.json --tags results/tags/train.h5
        --cams results/cams/train/0.json --flow results/flow/train/0.json
        --output results/confident_labels/train/0.json
    """
    from weclick.manifest import read_manifest
    from weclick.proxy_labels.confident import make_confident_labels
    from weclick.runs.instance_source import map_source
    from weclick.runs.metered import make_index

    chosen = load(config, change, "confident_labels")
    listed = read_manifest(manifest)

    def make(store: Store) -> dict[str, str]:
        maps = map_source(chosen, listed, tags, [cams], [flow] if flow else [], store)
        return make_confident_labels(
            listed,
            maps.tags,
            cams=maps.cams,
            flow=maps.flow,
            options=chosen["confident_labels"],
            fcam=chosen["fcam"],
            store=store,
            allow_val=allow_val,
        )

    make_index("confident_labels", output, open_store(chosen), make)


@app.command()
def relation(
    output: OutputFolder,
    manifest: Manifests,
    frames: FrameIndex,
    confident_labels: Annotated[
        list[Path], typer.Option(help="Index of the confident-labels stage; one per shard.")
    ],
    val_manifest: ValManifests,
    flow: Annotated[
        list[Path] | None,
        typer.Option(help="Index of the flow stage; one per shard; with flow_boundary.weight."),
    ] = None,
    config: Config = DEFAULT,
    change: Set = None,
    device: Device = "auto",
    devices: Devices = 1,
) -> None:
    """Train the network that tells which cells belong together, and where their object's centre is.

    Example:

        weclick relation --manifest results/manifest/train/0.json --frames results/frames/train/0.json
        --confident-labels results/confident_labels/train/0.json --val-manifest results/manifest/val/0.json
        --output results/relation
    """
    chosen = load(config, change, "relation")
    indexes = {"frames": frames, "confident_labels": confident_labels, "flow": flow or []}
    files = TrainingFiles(manifest, val_manifest, indexes)
    train_network("relation", chosen, output, files, device, devices, load_watch(config, change))


@app.command()
def instances(
    output: OutputFile,
    manifest: OneManifest,
    tags: Annotated[
        Path | None, typer.Option(help="Table of tags (HDF5) of the training split; with source relation.")
    ] = None,
    cams: Annotated[
        Path | None, typer.Option(help="Index of the shard's class activation maps; with source relation.")
    ] = None,
    flow: Annotated[
        Path | None,
        typer.Option(help="Index of the shard's flow; with source relation, none with fcam.motion none."),
    ] = None,
    relation: Annotated[
        Path | None,
        typer.Option(help="The relation network's model.safetensors; with sources relation and clicks."),
    ] = None,
    clicks: Annotated[
        Path | None, typer.Option(help="Clicks on the training split (HDF5); with source clicks.")
    ] = None,
    allow_val: AllowVal = False,
    config: Config = DEFAULT,
    change: Set = None,
    device: Device = "auto",
) -> None:
    """Store masks of single objects, each with a class and a score, for every frame of a shard.

    Where frames have true instances, a line for each class tells how good they are, in <shard>.quality.jsonl.

    Examples:

        weclick instances --manifest results/manifest/train/0.json --tags results/tags/train.h5
        --cams results/cams/train/0.json --flow results/flow/train/0.json
        --relation results/relation/model.safetensors --output results/instances/train/0.json

        weclick instances --manifest results/manifest/train/0.json --output results/instances/train/0.json
        --set instances.source=network --set instances.network.path=round1/detector/model.safetensors

        weclick instances --manifest results/manifest/train/0.json --output results/instances/train/0.json
        --set instances.source=masks
    """
    from weclick.evaluate.instances.quality import instance_quality, write_instance_quality
    from weclick.manifest import read_manifest
    from weclick.proxy_labels.instances import make_instances
    from weclick.runs.instance_source import GivenToInstances, instance_source
    from weclick.runs.metered import make_index

    chosen = load(config, change, "instances")
    listed, store = read_manifest(manifest), open_store(chosen)
    given = GivenToInstances(tags, [cams] if cams else [], [flow] if flow else [], relation, clicks)

    def make(store: Store) -> dict[str, str]:
        source = instance_source(chosen, listed, given, store=store, device=choose_device(device))
        return make_instances(listed, source, store=store, allow_val=allow_val)

    made = make_index("instances", output, store, make)
    write_instance_quality(output, instance_quality(listed, made, store))


@app.command()
def detector(
    output: OutputFolder,
    manifest: Manifests,
    frames: FrameIndex,
    instances: Annotated[list[Path], typer.Option(help="Index of the instances stage; one per shard.")],
    val_manifest: ValManifests,
    flow: Annotated[
        list[Path] | None,
        typer.Option(help="Index of the flow stage; one per shard; with maskconsist.weight."),
    ] = None,
    config: Config = DEFAULT,
    change: Set = None,
    device: Device = "auto",
    devices: Devices = 1,
) -> None:
    """Train Mask R-CNN on the instances of pairs of frames, whose labels complete each other (MaskConsist).

    Example:

        weclick detector --manifest results/manifest/train/0.json --frames results/frames/train/0.json
        --instances results/instances/train/0.json --flow results/flow/train/0.json
        --val-manifest results/manifest/val/0.json --output results/detector
    """
    chosen = load(config, change, "detector")
    indexes = {"frames": frames, "instances": instances, "flow": flow or []}
    files = TrainingFiles(manifest, val_manifest, indexes)
    train_network("detector", chosen, output, files, device, devices, load_watch(config, change))
