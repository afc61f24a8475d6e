"""`weclick <verb>`: one verb for each stage, the same code that the Snakemake rules call."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from weclick.config import load_config, select
from weclick.manifest import write_text

app = typer.Typer(
    name="weclick",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train compact video segmentation networks from one click per object. "
    "The verbs are the stages in the order of the data; `snakemake --cores 8 all` runs them all.",
)

Config = Annotated[
    str, typer.Option("--config", help="Configuration: a YAML file, or JSON text beginning with '{'.")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one value, e.g. --set student.steps=500. May be repeated."),
]
Manifests = Annotated[
    list[Path], typer.Option("--manifest", help="Manifest of a shard; repeat for all shards of a split.")
]
OneManifest = Annotated[Path, typer.Option("--manifest", help="Manifest of one shard.")]
ValManifests = Annotated[list[Path], typer.Option("--val-manifest", help="Manifests of the split to score.")]
Clicks = Annotated[Path, typer.Option("--clicks", help="Click table (HDF5) of the training split.")]
FrameIndex = Annotated[list[Path], typer.Option("--frames", help="Index of the frames stage; one per shard.")]
OutputFile = Annotated[Path, typer.Option("--output", help="File to write.")]
OutputFolder = Annotated[Path, typer.Option("--output", help="Folder to write into.")]
Device = Annotated[str, typer.Option("--device", help="auto (a GPU when there is one), cpu or cuda.")]
Devices = Annotated[int, typer.Option("--devices", help="GPUs or CPU processes to train with, by DDP.")]
DEFAULT = "config/demo.yaml"


@app.command()
def toy(config: Config = DEFAULT, change: Set = None) -> None:
    """Draw the toy data set: a procedural street with exact labels, instances and flow."""
    from weclick.datasets.toy import generate

    data = _load(config, change, "toy")["data"]
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
    from weclick.datasets import build_manifest, open_dataset
    from weclick.manifest import write_manifest
    from weclick.window import Window

    chosen = _load(config, change, "manifest")
    reach = max(Window(**chosen["window"]).reach_frames, chosen["evaluate"]["max_gap_frames"])
    made = build_manifest(
        open_dataset(chosen["data"]),
        split,
        shard,
        chosen["data"]["shards"],
        reach_frames=reach,
        remember=output.parent.parent / "digests.sqlite",
    )
    write_manifest(made, output)


@app.command()
def clicks(
    output: OutputFile,
    manifest: Manifests,
    json_output: Annotated[Path | None, typer.Option("--json", help="Also write the clicks as JSON.")] = None,
    config: Config = DEFAULT,
    change: Set = None,
) -> None:
    """Put one click on every object of every target frame: components, or instance masks."""
    from weclick.clicks import generate_clicks, write_clicks, write_json
    from weclick.manifest import read_manifests

    chosen = _load(config, change, "clicks")
    table = generate_clicks(read_manifests(manifest), options=chosen["clicks"], seed=chosen["seed"])
    write_clicks(table, output)
    if json_output:
        write_json(table, json_output)


@app.command()
def frames(output: OutputFile, manifest: OneManifest, config: Config = DEFAULT, change: Set = None) -> None:
    """Decode the frames of a shard once, into chunks that training reads by crops."""
    from weclick.frames import pack_frames
    from weclick.manifest import read_manifest
    from weclick.store import write_index

    chosen = _load(config, change, "frames")
    made = pack_frames(read_manifest(manifest), store=_store(chosen), **chosen["frames"])
    write_index(output, "frames", made)


@app.command()
def flow(
    output: OutputFile,
    manifest: OneManifest,
    config: Config = DEFAULT,
    change: Set = None,
    device: Device = "auto",
) -> None:
    """Estimate optical flow from every target to its possible neighbours; cached pairs are kept."""
    from weclick.flow.stage import compute_flow
    from weclick.manifest import Clip, read_manifest
    from weclick.store import write_index
    from weclick.window import Window, consistency_pairs

    chosen = _load(config, change, "flow")
    window = Window(**chosen["window"])

    def pairs_of(clip: Clip) -> tuple[tuple[int, int], ...]:
        scored = consistency_pairs(clip, chosen["evaluate"]["max_gap_frames"])
        return tuple(dict.fromkeys((*window.pairs(clip), *scored)))

    made = compute_flow(
        read_manifest(manifest),
        pairs_of,
        options=chosen["flow"],
        store=_store(chosen),
        device=_device(device),
    )
    write_index(output, "flow", made)


@app.command()
def teacher(
    output: OutputFolder,
    manifest: Manifests,
    clicks: Clicks,
    frames: FrameIndex,
    val_manifest: ValManifests,
    config: Config = DEFAULT,
    change: Set = None,
    device: Device = "auto",
    devices: Devices = 1,
) -> None:
    """Train the large net on clicks alone: partial cross-entropy and Gated CRF."""
    chosen = _load(config, change, "teacher")
    inputs = {"manifest": manifest, "clicks": clicks, "frames": frames, "val_manifest": val_manifest}
    _train("teacher", chosen, output, inputs, _device(device), devices)


@app.command("soft-labels")
def soft_labels(
    output: OutputFile,
    manifest: OneManifest,
    teacher: Annotated[Path, typer.Option(help="The teacher's model.safetensors.")],
    config: Config = DEFAULT,
    change: Set = None,
    device: Device = "auto",
) -> None:
    """Store the teacher's predictions on every frame of a shard, at its stride, quantised."""
    from weclick.manifest import read_manifest
    from weclick.soft_labels import compute_soft_labels
    from weclick.store import write_index

    chosen = _load(config, change, "soft_labels")
    made = compute_soft_labels(
        read_manifest(manifest),
        teacher,
        store=_store(chosen),
        device=_device(device),
        **chosen["soft_labels"],
    )
    write_index(output, "soft_labels", made)


@app.command()
def student(
    output: OutputFolder,
    manifest: Manifests,
    clicks: Clicks,
    frames: FrameIndex,
    flow: Annotated[list[Path], typer.Option(help="Index of the flow stage; one per shard.")],
    soft_labels: Annotated[list[Path], typer.Option(help="Index of the soft-labels stage; one per shard.")],
    val_manifest: ValManifests,
    variant: Annotated[str, typer.Option(help="Variant of the ablation; kd_mfd is the whole of Eq. 5.")] = "",
    pace: Annotated[Path | None, typer.Option(help="model.json whose steps a second set the pace.")] = None,
    same_time_as: Annotated[Path | None, typer.Option(help="model.json whose wall time to spend.")] = None,
    config: Config = DEFAULT,
    change: Set = None,
    device: Device = "auto",
    devices: Devices = 1,
) -> None:
    """Train the small net from the caches: clicks, Gated CRF, soft labels and memory-flow distillation."""
    from weclick.ablation import steps_for_seconds, variant_config

    chosen = _load(config, change, "student")
    if variant:
        chosen = variant_config(chosen, variant)
    if pace and same_time_as:
        seconds = json.loads(same_time_as.read_text())["train_seconds"]
        chosen["student"]["steps"] = steps_for_seconds(json.loads(pace.read_text()), seconds)
    inputs = {"manifest": manifest, "clicks": clicks, "frames": frames, "val_manifest": val_manifest}
    caches = {"flow": flow, "soft_labels": soft_labels}
    _train("student", chosen, output, {**inputs, **caches}, _device(device), devices)


@app.command()
def evaluate(
    output: OutputFolder,
    manifest: Manifests,
    flow: Annotated[list[Path], typer.Option(help="Index of the split's flow; one per shard.")],
    student: Annotated[Path, typer.Option(help="The student's model.safetensors.")],
    teacher: Annotated[Path | None, typer.Option(help="The teacher's, to score beside it.")] = None,
    config: Config = DEFAULT,
    change: Set = None,
    device: Device = "auto",
) -> None:
    """Score student and teacher on a split: mIoU, mPA, per class, temporal consistency, speed."""
    from weclick.evaluate import evaluate_models
    from weclick.manifest import read_manifests
    from weclick.store import read_index

    chosen = _load(config, change, "evaluate")
    evaluate_models(
        {"student": student, **({"teacher": teacher} if teacher else {})},
        read_manifests(manifest),
        store=_store(chosen),
        flow=read_index(flow, "flow"),
        device=_device(device),
        folder=output,
        examples=chosen["evaluate"]["examples"],
        write_predictions=chosen["evaluate"]["write_predictions"],
    )


@app.command()
def ablation(
    folder: Annotated[Path, typer.Option(help="Holds <variant>/<seed>/ of every training.")],
    config: Config = DEFAULT,
    change: Set = None,
) -> None:
    """Sum up the ablation: mean and spread of every variant over its seeds."""
    from weclick.ablation import summarise

    summary = summarise(folder, _load(config, change, "ablation")["ablation"]["seeds"])
    for name, scores in summary["variants"].items():
        write_text(folder / name / "metrics.json", json.dumps(scores, indent=1) + "\n")
    write_text(folder / "summary.json", json.dumps(summary, indent=1) + "\n")


@app.command()
def report(
    output: OutputFile,
    results: Annotated[Path, typer.Option(help="Folder of the run's results.")] = Path("results"),
    config: Config = DEFAULT,
    change: Set = None,
) -> None:
    """Make one self-contained page of the run: clicks, flow, predictions, curves and scores."""
    from weclick.report import write_report

    complete = load_config(config, change or ())
    write_report(output, results=results, config=complete, store=_store(complete))


def main() -> None:
    """Run a verb; what a user can mend ends in one line and exit status 1."""
    try:
        app()
    except (ValueError, LookupError, ArithmeticError, OSError) as error:
        if os.environ.get("WECLICK_TRACEBACK"):
            raise
        print(f"weclick: error: {error}", file=sys.stderr)
        print("weclick: WECLICK_TRACEBACK=1 shows where in the code", file=sys.stderr)
        raise SystemExit(1) from error


def _train(
    role: str, chosen: dict[str, Any], output: Path, inputs: dict[str, Any], device: str, devices: int
) -> None:
    from weclick.clicks import read_clicks
    from weclick.manifest import read_manifests
    from weclick.recipe import Recipe, train_recipe
    from weclick.store import read_index
    from weclick.stream import Caches

    caches = Caches(
        store=_store(chosen),
        frames=read_index(inputs["frames"], "frames"),
        flow=read_index(inputs.get("flow", []), "flow"),
        soft_labels=read_index(inputs.get("soft_labels", []), "soft_labels"),
    )
    recipe = Recipe(
        role=role,
        config=chosen,
        manifest=read_manifests(inputs["manifest"]),
        clicks=read_clicks(inputs["clicks"]),
        caches=caches,
        validation=read_manifests(inputs["val_manifest"]),
    )
    train_recipe(recipe, output, device=device, devices=devices)


def _load(config: str, change: list[str] | None, stage: str) -> dict[str, Any]:
    return select(load_config(config, change or ()), stage)


def _store(chosen: dict[str, Any]) -> Any:
    from weclick.store import Store

    return Store.from_config(chosen["cache"]["roots"])


def _device(wanted: str) -> str:
    """The device to use; also keeps torch from starting more threads than there are cores."""
    import torch

    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(min(cores, int(os.environ.get("OMP_NUM_THREADS", cores))))
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, but torch finds no GPU here; set device: cpu or auto")
    return wanted
