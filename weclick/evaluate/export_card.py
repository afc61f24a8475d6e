"""MODEL_CARD.md beside an export: what the network is, how each file runs, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weclick import __version__
from weclick.common import words
from weclick.common.digest import file_digest
from weclick.common.files import read_json
from weclick.common.stages import CARD, SCORES, STEPS
from weclick.evaluate.export_formats import FILES
from weclick.evaluate.export_frames import Scores, Size
from weclick.evaluate.export_inputs import SMALLEST_PX
from weclick.store.model_file import ModelCard

MODEL_CARD = "MODEL_CARD.md"
"""Name of the card in the folder of an export."""

REPORT_CARD = "report.json"
"""What the report of a run leaves in its results."""

TOLD = ("role", "steps", "kept_step", "seed", "parameters")
"""What the card tells of model.json."""

KINDS = {
    "onnx": "ONNX, float32",
    "torch": "torch.export program, float32",
    "openvino": "OpenVINO, float32; the .bin beside it holds the weights",
    "int8": "ONNX, convolutions in int8 (QDQ)",
}


@dataclass(frozen=True)
class Origin:
    """What lies beside a checkpoint in the results of its run.

    Attributes:
        weights_sha256: of the checkpoint itself.
        training: its model.json; None if there is none, or if it tells of other weights.
        config: of the run, as its report tells; None without a report.
        metrics: the network's figures of the run's evaluation; None without one.
    """

    weights_sha256: str
    training: Mapping[str, Any] | None = None
    config: Mapping[str, Any] | None = None
    metrics: Mapping[str, Any] | None = None


def origin_of(checkpoint: Path) -> Origin:
    """What the results of a run tell of a checkpoint, which lies in `<results>/<role>/`.

    Raises:
        InputError: a file there is not what its stage writes.
    """
    digest, beside = file_digest(checkpoint), checkpoint.parent / CARD
    results = checkpoint.absolute().parent.parent
    training = read_json(beside, "training", CARD) if beside.is_file() else {}
    if training.get("weights_sha256") != digest:
        return Origin(digest)
    report = results / REPORT_CARD
    config = read_json(report, "report", REPORT_CARD)["config"] if report.is_file() else None
    return Origin(digest, training, config, _figures(results, training.get("role")))


def _figures(results: Path, role: Any) -> Mapping[str, Any] | None:
    folder = next(step.folder for step in STEPS if step.name == "evaluate")
    path = results / folder / SCORES
    if not path.is_file() or role not in ("student", "teacher"):
        return None
    metrics = read_json(path, "evaluate", SCORES)
    return metrics if role == "student" else metrics.get("teacher")


def model_card(
    card: ModelCard,
    origin: Origin,
    *,
    formats: Sequence[str],
    size: Size | None,
    tolerance: float,
    agreement: tuple[float, int] | None = None,
    scores: Scores | None = None,
) -> str:
    """The card as plain Markdown. The same inputs give the same text.

    Args:
        card: of the checkpoint.
        origin: see `origin_of`.
        formats: that were written, of `FILES`.
        size: (H, W) px that the files take; None: any.
        tolerance: that files in float32 keep.
        agreement: of the int8 file with the network on calibration frames, 0..1, and their number.
        scores: of the network, and of the int8 file, on the frames of a split.
    """
    options = card.options
    sections = (
        [f"# {options['architecture']} on {options['backbone']}"],
        [
            f"A network that gives each pixel of an image one of {len(card.classes.names)} classes.",
            f"weclick {__version__} wrote its files.",
        ],
        ["## Files", "", *_files(formats, tolerance)],
        ["## Classes", "", *_classes(card)],
        ["## Input and output", "", *_inputs(card, size)],
        ["## How to run it", "", *_snippets(card, formats, size)],
        ["## Training", "", *_training(card, origin)],
        ["## Scores", "", *_scores(origin, agreement, scores)],
        ["## Licences", "", *_licences(origin)],
    )
    return "\n\n".join("\n".join(lines) for lines in sections) + "\n"


def _files(formats: Sequence[str], tolerance: float) -> Iterator[str]:
    yield from ("| file | what it is | checked |", "|---|---|---|")
    near = f"logits differ from the network's by at most {tolerance:g} of the largest"
    for name in formats:
        checked = "not as exact, see the scores" if name == "int8" else near
        yield f"| `{FILES[name][-1]}` | {KINDS[name]} | {checked} |"


def _classes(card: ModelCard) -> Iterator[str]:
    yield from ("| id | class | colour (RGB) |", "|---|---|---|")
    for class_id, (name, colour) in enumerate(zip(card.classes.names, card.classes.palette, strict=True)):
        yield f"| {class_id} | {_cell(name)} | {', '.join(map(str, colour))} |"


def _inputs(card: ModelCard, size: Size | None) -> Iterator[str]:
    height, width = size or ("H", "W")
    length = card.options.get("stack_length", 0)
    yield from ("| name | shape | what it holds |", "|---|---|---|")
    yield f"| `rgb` | float32 (B, 3, {height}, {width}) | RGB, 0..255; the network normalises it |"
    if length:
        yield (
            f"| `stack` | float32 (B, {2 * length}, {height}, {width}) | u and v of {length} flows around "
            "the frame, in the order and scale of the training |"
        )
    yield (
        f"| `logits` (output) | float32 (B, {len(card.classes.names)}, {height}, {width}) | the arg-max over "
        "axis 1 gives the class ids |"
    )
    yield ""
    yield (
        f"Images have {height}x{width} px (HxW)."
        if size
        else f"B, H and W are free; images have at least {SMALLEST_PX} px a side."
    )
    if card.shrink > 1:
        yield (
            f"The network has learned from frames at 1/{card.shrink} of their size, by means over areas. "
            "Bring images to that size first."
        )


def _snippets(card: ModelCard, formats: Sequence[str], size: Size | None) -> Iterator[str]:
    seen = 'Image.open("street.png").convert("RGB")'
    seen += f".reduce({card.shrink})" if card.shrink > 1 else ""
    seen += f".resize(({size[1]}, {size[0]}))" if size else ""
    length = card.options.get("stack_length", 0)
    if length:
        yield "`stack` is zero here: nothing moves. Put the frame's flow there.\n"
    for place, name in enumerate(formats):
        yield from ("",) if place else ()
        yield f"`{FILES[name][-1]}`:"
        yield from ("", "```python", *_lines(name, seen, length), "```")


def _lines(name: str, seen: str, length: int) -> list[str]:
    """How a file runs, in five lines; one more makes the stack of a network that looks at flow."""
    file, package = FILES[name][-1], name if name in ("torch", "openvino") else "onnxruntime"
    read = f"rgb = np.asarray({seen}, np.float32).transpose(2, 0, 1)[None]"
    stack = [f"stack = np.zeros((1, {2 * length}, *rgb.shape[2:]), np.float32)"] if length else []
    names = ["rgb", "stack"] if length else ["rgb"]
    if name == "torch":
        loaded = f'network = torch.export.load("{file}").module()'
        run = f"network({', '.join(f'torch.tensor({each})' for each in names)})"
        ids = f"class_ids = {run}.argmax(1)[0]"
    elif name == "openvino":
        loaded = f'network = openvino.compile_model("{file}", "CPU", {{"INFERENCE_PRECISION_HINT": "f32"}})'
        ids = f'class_ids = network([{", ".join(names)}])["logits"].argmax(1)[0]'
    else:
        loaded = f'session = onnxruntime.InferenceSession("{file}", providers=["CPUExecutionProvider"])'
        given = ", ".join(f'"{each}": {each}' for each in names)
        ids = f'class_ids = session.run(["logits"], {{{given}}})[0].argmax(1)[0]'
    return [f"import numpy as np, {package}", "from PIL import Image", read, *stack, loaded, ids]


def _training(card: ModelCard, origin: Origin) -> Iterator[str]:
    yield from ("| what | value |", "|---|---|")
    told = {
        "architecture": card.options["architecture"],
        "backbone": card.options["backbone"],
        "weights (SHA-256 of model.safetensors)": origin.weights_sha256,
    }
    training, config = origin.training or {}, origin.config or {}
    told |= {key: training[key] for key in TOLD if key in training}
    told |= {key: config[key] for key in ("method", "supervision") if isinstance(config.get(key), str)}
    if dataset := _inside(config, "data", "name"):
        told["data set"] = dataset
    if begun := _pretrained(origin):
        told["first weights of the backbone"] = begun
    for key, value in told.items():
        yield f"| {key.replace('_', ' ')} | {_cell(str(value))} |"
    if not origin.training:
        yield from (
            "",
            "No model.json of these weights lay beside them, so their training is not known.",
        )
    elif not origin.config:
        yield from ("", "No report of the run lay in its results, so method and supervision are not known.")


def _scores(origin: Origin, agreement: tuple[float, int] | None, scores: Scores | None) -> Iterator[str]:
    if scores:
        yield f"Measured with the export, on {scores.told}:"
        yield from ("", "| file | mIoU, % | pixels of the network's class, % |", "|---|---|---|")
        for name, score in scores.of.items():
            file = "the network, float32" if name == "torch" else f"`{FILES[name][-1]}`"
            yield f"| {file} | {100 * score.miou:.1f} | {100 * score.agreement:.1f} |"
    elif agreement:
        share, frames = agreement
        yield (
            f"`{FILES['int8'][-1]}` gives the network's class to {100 * share:.1f} % of the pixels of the "
            f"{words.plural(frames, 'frame')} on which it was calibrated. Other frames may agree less."
        )
    if origin.metrics:
        yield from ("",) if scores or agreement else ()
        yield "The evaluation of its run, by torch:"
        yield from ("", "| score | value, % |", "|---|---|")
        for key, label in (
            ("miou", "mIoU"),
            ("mean_accuracy", "mean accuracy"),
            ("pixel_accuracy", "pixel accuracy"),
            ("temporal_consistency", "temporal consistency"),
        ):
            if isinstance(value := origin.metrics.get(key), int | float):
                yield f"| {label} | {100 * value:.1f} |"
        yield from _clicks_hit(origin.metrics)
        scored = origin.metrics.get("per_class_iou") if words.known(origin.metrics.get("miou")) else None
        for name, value in (scored or {}).items():
            yield f"| IoU of {_cell(name)} | {'absent' if value is None else f'{100 * value:.1f}'} |"
    if not (scores or agreement or origin.metrics):
        yield "None were measured here, and no evaluation lay in the results."
    yield from ("", "Speed depends on the machine and on the runtime, so no figure is given.")


def _clicks_hit(metrics: Mapping[str, Any]) -> Iterator[str]:
    """Rows of held-out clicks, all and of each class, with 95 % intervals; none without such clicks."""
    found = metrics.get("held_out_clicks") or {}
    named = {"": found, **{f" on {name}": part for name, part in found.get("per_class", {}).items()}}
    for where, part in named.items():
        if part.get("clicks"):
            share, low, high = (f"{100 * part[key]:.1f}" for key in ("accuracy", "low", "high"))
            clicks = words.plural(part["clicks"], "held-out click")
            yield f"| {clicks}{_cell(where)}: hit | {share} ({low} to {high}) |"


def _licences(origin: Origin) -> Iterator[str]:
    begun = _pretrained(origin)
    if begun == "none":
        yield "- The network began with random weights."
    elif begun is None or begun == "imagenet":
        start = "The backbone began" if begun else "If the backbone began"
        yield (
            f"- {start} with weights that were trained on ImageNet (`pretrained: imagenet`)"
            f"{'. Those' if begun else ', those'} are torchvision's or timm's. ImageNet's terms speak of "
            "research; ask a lawyer if you sell networks. Weights of timm each have a licence of their own."
        )
    else:
        yield f"- The backbone began with the weights of `{begun}`, whose licence holds."
    yield "- The owners of the images that the network learned from may set terms of their own."
    yield "- weclick itself is under the Apache License 2.0."


def _pretrained(origin: Origin) -> str | None:
    """What the backbone began with: imagenet, the name of a file, or none; None if nobody tells."""
    part = (origin.config or {}).get((origin.training or {}).get("role", ""))
    if not isinstance(part, Mapping) or "pretrained" not in part:
        return None
    given = part["pretrained"]
    return "none" if given is None else Path(str(given)).name


def _inside(config: Mapping[str, Any], section: str, key: str) -> Any:
    part = config.get(section)
    return part.get(key) if isinstance(part, Mapping) else None


def _cell(text: str) -> str:
    """A text in a cell of a table."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
