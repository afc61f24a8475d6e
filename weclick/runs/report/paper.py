"""The run's scores beside those of the paper (WeClick, ACM MM 2021), where they can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from weclick.common import words
from weclick.common.sections import Config
from weclick.evaluate.scored import classes_words
from weclick.runs.report.results import Results
from weclick.runs.teachers import labels_words, trains_teacher


@dataclass(frozen=True)
class Printed:
    """Figures that the paper prints: shares in per cent, millions of parameters, speed on a V100."""

    name: str
    miou: float
    mean_accuracy: float | None = None
    parameters_million: float | None = None
    fps: float | None = None
    without: float | None = None
    """mIoU of the same network on clicks alone, without distillation."""


TEACHERS = {
    "deeplabv3plus": Printed("DeepLabV3+ ResNet-101, the teacher", 58.35, 67.24, 59.34, 8.41),
    "pspnet": Printed("PSPNet ResNet-101, the teacher", 54.42, 63.09, 69.31, 3.42),
}
STUDENTS = {
    ("cityscapes", "deeplabv3plus", "resnet18"): Printed(
        "DeepLabV3+ ResNet-18", 58.30, 66.39, 16.61, 22.06, 52.88
    ),
    ("cityscapes", "deeplabv3plus", "mobilenetv2"): Printed(
        "DeepLabV3+ MobileNetV2", 57.42, 66.89, 13.35, 25.97, 51.99
    ),
    ("cityscapes", "pspnet", "resnet18"): Printed("PSPNet ResNet-18", 55.25, 63.20, 13.80, 15.63, 50.53),
    ("cityscapes", "pspnet", "mobilenetv2"): Printed("PSPNet MobileNetV2", 52.44, 62.71, 10.31, 52.23, 42.20),
    ("camvid", "deeplabv3plus", "resnet18"): Printed("DeepLabV3+ ResNet-18", 48.7, None, 16.61, 128.3, 46.2),
}
TARGETS = {"cityscapes": 2975, "camvid": 367}
EPOCHS = {"cityscapes": 120, "camvid": 200}
ENOUGH = 0.95
"""Share of the paper's targets and epochs that counts as the same."""


def beside_paper(results: Results, config: Config) -> dict[str, Any]:
    """A table of the run's scores and the paper's, or why there is none.

    Returns:
        rows: name and cells of each line, none if the two cannot be compared; reasons: why not.
    """
    reasons = list(_obstacles(results, config))
    if reasons:
        return {"rows": [], "reasons": reasons}
    dataset, network = results.val.dataset, config["student"]
    printed = STUDENTS[dataset, network["architecture"], network["backbone"]]
    rows = [
        ("This run's student", _measured(results.scores("student"))),
        (f"Paper: {printed.name}, WeClick", _printed(printed)),
        (f"Paper: {printed.name}, clicks alone", [f"{printed.without:.2f}", *[words.DASH] * 3]),
    ]
    if results.scores("teacher"):
        rows.append(("This run's teacher", _measured(results.scores("teacher"))))
        if dataset == "cityscapes":
            teacher = TEACHERS[network["architecture"]]
            rows.append((f"Paper: {teacher.name}", _printed(teacher)))
    return {"rows": rows, "reasons": []}


def _obstacles(results: Results, config: Config) -> Iterator[str]:
    """Reasons why the two cannot be compared, each as the end of a sentence."""
    if limits := classes_words(results.scores("student")):
        yield f"this run is scored on {limits}"
    dataset = results.val.dataset
    if dataset not in TARGETS:
        name = "the drawn toy street" if dataset == "toy" else "a data set of your own"
        yield f"the paper scores Cityscapes and CamVid, this run {name}"
        return
    if config["method"] != "weclick":
        yield f"the paper's method is WeClick, this run's {config['method']}"
        return
    student, teacher = config["student"], config["teacher"]
    if (dataset, student["architecture"], student["backbone"]) not in STUDENTS:
        yield f"the paper has no {student['architecture']} with {student['backbone']} on this data set"
    if not trains_teacher(config) or config["soft_labels"]["fuse"]["neighbours"]:
        yield f"the paper's soft labels are those of one teacher, this run's come from {labels_words(config)}"
    elif (teacher["architecture"], teacher["backbone"]) != (student["architecture"], "resnet101"):
        yield f"the paper's teacher is a ResNet-101 of the student's kind, this run's {teacher['backbone']}"
    if config["data"]["shrink"] != 1:
        yield f"this run reads frames at 1/{config['data']['shrink']} of their size"
    if "imagenet" not in str(student["pretrained"]):
        yield "the paper's networks start from ImageNet weights"
    if dataset == "cityscapes" and student["channels"] != 256:
        yield f"this run's head is {student['channels']} channels wide, not 256"
    if config["supervision"] != "clicks":
        learned = "proxy labels" if config["supervision"] == "proxies" else "masks"
        yield f"the paper's networks learn from clicks alone, this run's from {learned}"
    if config["annotation"]["minutes"] is not None:
        yield "this run uses only a part of the annotation"
    if results.train.click_file:
        yield "the paper's clicks are made from labels, this run's by people"
    elif (config["clicks"]["min_pixels"], config["clicks"]["min_pixels_at"]) != (512, [1024, 2048]):
        yield "the paper clicks on objects of 512 pixels at 1024 × 2048 and more, this run on others"
    yield from _of_training(results, config, dataset)


def _of_training(results: Results, config: Config, dataset: str) -> Iterator[str]:
    targets = sum(len(clip.targets) for clip in results.train.clips)
    if targets < ENOUGH * TARGETS[dataset]:
        yield f"the paper learns from {TARGETS[dataset]:,} target frames, this run from {targets:,}"
    student = config["student"]
    epochs = student["steps"] * student["batch_size"] / max(targets, 1)
    if epochs < ENOUGH * EPOCHS[dataset]:
        yield f"the paper trains for {EPOCHS[dataset]} epochs, this run for {epochs:.3g}"
    if not (config["mfd"]["weight"] and config["kd"]["weight"]):
        yield "this run leaves out a part of the distillation"
    elif not results.flow.get(results.train.split):
        yield "no training frame here has a neighbour in reach, so memory-flow distillation did nothing"


def _measured(scores: Mapping[str, Any]) -> list[str]:
    return [
        words.percent(scores.get("miou")),
        words.percent(scores.get("mean_accuracy")),
        words.short_count(scores.get("parameters")),
        f"{words.rate(scores.get('fps'))} ({scores.get('device', words.DASH)})",
    ]


def _printed(row: Printed) -> list[str]:
    return [
        f"{row.miou:.2f}",
        words.DASH if row.mean_accuracy is None else f"{row.mean_accuracy:.2f}",
        words.DASH if row.parameters_million is None else f"{row.parameters_million:.2f} M",
        words.DASH if row.fps is None else f"{words.rate(row.fps)} (V100)",
    ]
