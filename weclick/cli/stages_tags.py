"""Verbs of the stages that learn from tags."""

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
from weclick.common.errors import InputError
from weclick.runs.layout import DIGESTS

if TYPE_CHECKING:  # importing the store takes longer than printing help
    from weclick.store import Store


@app.command()
def tags(
    output: OutputFile,
    manifest: Manifests,
    json_output: Annotated[Path | None, typer.Option("--json", help="Also write the tags as JSON.")] = None,
    config: Config = DEFAULT,
    change: Set = None,
) -> None:
    """Tell which classes occur in each frame or clip: by labels, a table, folders' names or VOC XML.

    Examples:

        weclick tags --manifest results/manifest/train/0.json --output results/tags/train.h5

        weclick tags --manifest results/manifest/train/0.json --output results/tags/train.h5
        --set tags.source=file --set tags.file=data/mine/tags.csv
    """
    from weclick.clicks.tags import make_tags, write_tags, write_tags_json
    from weclick.manifest import read_manifests
    from weclick.runs.cost import stage_cost
    from weclick.runs.tag_listing import remember_tag_files

    options = load(config, change, "tags")["tags"]
    with stage_cost(output):
        listed = read_manifests(manifest)
        remember_tag_files(options, Path(listed.root), output.parent / DIGESTS)
        table = make_tags(listed, options)
        write_tags(table, output)
    if json_output:
        write_tags_json(table, json_output)


@app.command()
def classifier(
    output: OutputFolder,
    manifest: Manifests,
    tags: Annotated[Path, typer.Option(help="Table of tags (HDF5) of the training split.")],
    frames: FrameIndex,
    val_manifest: ValManifests,
    config: Config = DEFAULT,
    change: Set = None,
    device: Device = "auto",
    devices: Devices = 1,
) -> None:
    """Train the network that tells which classes a frame shows, and by its maps where, from tags.

    Example:

        weclick classifier --manifest results/manifest/train/0.json --tags results/tags/train.h5
        --frames results/frames/train/0.json --val-manifest results/manifest/val/0.json
        --output results/classifier
    """
    chosen = load(config, change, "classifier")
    files = TrainingFiles(manifest, val_manifest, {"frames": frames}, tags=tags)
    train_network("classifier", chosen, output, files, device, devices, load_watch(config, change))


@app.command()
def cams(
    output: OutputFile,
    manifest: OneManifest,
    tags: Annotated[Path, typer.Option(help="Table of tags (HDF5) of the training split.")],
    classifier: Annotated[
        Path | None,
        typer.Option(help="The classifier's model.safetensors; none if no maps come from tags."),
    ] = None,
    allow_val: Annotated[
        bool, typer.Option("--allow-val", help="Make maps of another split than that of the training, too.")
    ] = False,
    config: Config = DEFAULT,
    change: Set = None,
    device: Device = "auto",
) -> None:
    """Store where a classifier sees the classes of a shard, on every frame, from several scales.

    The classes are those of the tags. So labels that are made of these maps know tags, which no network is
    given where it is used. That is why only the training split has maps.

    Examples:

        weclick cams --manifest results/manifest/train/0.json --tags results/tags/train.h5
        --classifier results/classifier/model.safetensors --output results/cams/train/0.json

        weclick cams --manifest results/manifest/train/0.json --tags results/tags/train.h5
        --output results/cams/train/0.json --set cams.source=imagenet --set 'cams.mapping={swan: [99, 100]}'

        weclick cams --manifest results/manifest/train/0.json --tags results/tags/train.h5
        --output results/cams/train/0.json --set cams.source=iconic --set cams.iconic=data/iconic
    """
    from weclick.clicks.tags import read_tags
    from weclick.manifest import read_manifest
    from weclick.proxy_labels.cams import compute_cams
    from weclick.runs.cam_source import cam_source
    from weclick.runs.metered import make_index

    chosen = load(config, change, "cams")
    listed, train = read_manifest(manifest), chosen["data"]["train"]
    if listed.split != train and not allow_val:
        raise InputError(
            f"{manifest}: is of split {listed.split!r}, but maps know tags, and belong to the training split "
            f"alone (data.train is {train!r}); give its manifest, or add --allow-val to look at such maps"
        )

    def make(store: Store) -> dict[str, str]:
        remember, where = output.parent.parent / DIGESTS, choose_device(device)
        source = cam_source(chosen, listed.classes.names, classifier, remember=remember)
        return compute_cams(
            listed, source, read_tags(tags), options=chosen["cams"], store=store, device=where
        )

    make_index("cams", output, open_store(chosen), make)


@app.command("proxy-labels")
def proxy_labels(
    output: OutputFile,
    manifest: OneManifest,
    tags: Annotated[
        Path | None, typer.Option(help="Table of tags (HDF5) of the training split; with source f2f.")
    ] = None,
    cams: Annotated[
        Path | None, typer.Option(help="Index of the shard's class activation maps; with source f2f.")
    ] = None,
    flow: Annotated[Path | None, typer.Option(help="Index of the shard's flow; with source f2f.")] = None,
    clicks: Annotated[
        Path | None, typer.Option(help="Clicks on the training split (HDF5); with source sam2.")
    ] = None,
    allow_val: Annotated[
        bool, typer.Option("--allow-val", help="Also make labels of clips whose frames are scored.")
    ] = False,
    config: Config = DEFAULT,
    change: Set = None,
    device: Device = "auto",
) -> None:
    """Store class maps of a shard's frames that no person drew, for trainings whose supervision is proxies.

    Where frames have a true label, a line for each class tells how good they are, in <shard>.quality.jsonl.

    Examples:

        weclick proxy-labels --manifest results/manifest/train/0.json --tags results/tags/train.h5
        --cams results/cams/train/0.json --flow results/flow/train/0.json
        --output results/proxy_labels/train/0.json --set method=f2f

        weclick proxy-labels --manifest results/manifest/train/0.json
        --output results/proxy_labels/train/0.json --set proxy_labels.source=folder
        --set proxy_labels.folder.path=masks
    """
    from weclick.clicks.tags import read_tags
    from weclick.common.findings import tell
    from weclick.evaluate.proxy_quality import proxy_quality, write_quality
    from weclick.manifest import read_manifest
    from weclick.proxy_labels.proxy_labels import make_proxy_labels
    from weclick.proxy_labels.unlabelled import unlabelled
    from weclick.runs.metered import make_index
    from weclick.runs.proxy_source import Given, proxy_source

    chosen = load(config, change, "proxy_labels")
    given = Given(tags, [cams] if cams else [], [flow] if flow else [], clicks)
    listed, store = read_manifest(manifest), open_store(chosen)

    def make(store: Store) -> dict[str, str]:
        remember, chunk_px = output.parent.parent / DIGESTS, chosen["proxy_labels"]["chunk_px"]
        where = choose_device(device)
        source = proxy_source(chosen, listed, given, store=store, remember=remember, device=where)
        return make_proxy_labels(listed, source, chunk_px=chunk_px, store=store, allow_val=allow_val)

    made = make_index("proxy_labels", output, store, make)
    write_quality(output, proxy_quality(listed, made, store))
    if tags:
        tell(unlabelled(listed, made, read_tags(tags), chosen["proxy_labels"], store))
