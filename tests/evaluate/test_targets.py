"""Scores on the frames that networks learned from, and what they say of a teacher."""

from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

import weclick.evaluate.targets
from helpers.oracle import Oracle
from weclick.cli import app
from weclick.clicks import write_clicks
from weclick.common.errors import InputError
from weclick.common.files import read_json
from weclick.evaluate.scored import teacher_findings, told
from weclick.evaluate.targets import Targets, read_targets, score_targets
from weclick.manifest import write_manifest
from weclick.manifest.read import read_label
from weclick.models import build_model
from weclick.store import write_index
from weclick.store.model_file import model_bytes


def truths(manifest):
    return [read_label(manifest, clip.frames[t]) for clip in manifest.clips for t in clip.targets]


def without_labels(manifest):
    def bare(clip):
        return replace(clip, frames=tuple(replace(frame, label=None) for frame in clip.frames))

    return replace(manifest, clips=tuple(map(bare, manifest.clips)))


def test_the_truth_scores_one_on_targets_and_hits_every_click(street):
    labels = truths(street.train)
    figures = score_targets(Oracle(labels), Targets(street.train, street.clicks))
    assert figures["on_targets"]["miou"] == figures["on_targets"]["pixel_accuracy"] == 1.0
    assert figures["on_targets"]["frames"] == len(labels) > 2
    assert figures["on_targets"]["clips"] == sum(bool(clip.targets) for clip in street.train.clips)
    assert figures["on_targets"]["per_class_iou"]["road"] == 1.0
    assert figures["on_clicks"] == {"accuracy": 1.0, "clicks": len(street.clicks)}


def test_one_class_everywhere_hits_the_clicks_of_that_class(street):
    roads = [np.zeros_like(label) for label in truths(street.train)]
    figures = score_targets(Oracle(roads), Targets(street.train, street.clicks))
    share = street.clicks.counts()[0] / len(street.clicks)
    assert 0 < share < 1
    assert figures["on_clicks"]["accuracy"] == pytest.approx(share)
    labels = np.stack(truths(street.train))
    assert figures["on_targets"]["pixel_accuracy"] == pytest.approx((labels == 0).sum() / (labels < 9).sum())


def test_what_is_not_known_is_left_out(street):
    labels, bare = truths(street.train), without_labels(street.train)
    assert score_targets(Oracle(labels), Targets(street.train)).keys() == {"on_targets"}
    assert score_targets(Oracle(labels), Targets(bare, street.clicks)).keys() == {"on_clicks"}
    assert score_targets(Oracle(labels), Targets(bare)) == {}


def test_a_few_frames_stand_for_many(street, monkeypatch):
    monkeypatch.setattr(weclick.evaluate.targets, "AT_MOST", 2)
    first, *_, last = truths(street.train)
    figures = score_targets(Oracle([first, last]), Targets(street.train, street.clicks))
    assert (figures["on_targets"]["frames"], figures["on_targets"]["miou"]) == (2, 1.0)
    assert 0 < figures["on_clicks"]["clicks"] < len(street.clicks)


def test_the_verb_tells_of_targets_and_of_a_teacher_that_knows_no_more(street, tmp_path):
    for name, manifest in (("train", street.train), ("val", street.val)):
        write_manifest(manifest, tmp_path / f"{name}.json")
    write_clicks(street.clicks, tmp_path / "clicks.h5")
    write_index(tmp_path / "flow.json", "flow", {})
    network = model_bytes(
        build_model("deeplabv3plus", "mobilenetv2_compact", 9, channels=16), street.val.classes
    )
    (tmp_path / "model.safetensors").write_bytes(network)
    (tmp_path / "config.yaml").write_text(f"cache: {{roots: ['{tmp_path}/store']}}", encoding="utf-8")
    words = [
        "evaluate",
        "--config",
        "config.yaml",
        "--output",
        "out",
        "--device",
        "cpu",
        "--flow",
        "flow.json",
    ]
    words += ["--manifest", "val.json", "--student", "model.safetensors", "--teacher", "model.safetensors"]
    words += ["--clicks", "clicks.h5"]
    words = [str(tmp_path / word) if (tmp_path / word).exists() or word == "out" else word for word in words]
    refused = CliRunner().invoke(app, words)
    assert isinstance(refused.exception, InputError)
    assert "give its --target-manifest too" in str(refused.exception)
    done = CliRunner().invoke(app, [*words, "--target-manifest", str(tmp_path / "train.json")])
    assert done.exit_code == 0, done.output
    metrics = read_json(tmp_path / "out" / "metrics.json", "evaluate", "metrics.json")
    for part in ("on_targets", "on_clicks"):
        assert metrics[part] == metrics["teacher"][part]
    assert metrics["on_targets"]["frames"] == len(truths(street.train))
    assert metrics["on_clicks"]["clicks"] == len(street.clicks)
    assert "weclick: warning: teacher: is no better than the student on the frames" in done.output
    assert "take a larger teacher, or train it longer" in done.output
    assert told("student", metrics) in done.output
    assert "mIoU on target frames" in told("student", metrics)


def test_clicks_of_other_classes_are_refused(street, tmp_path):
    write_manifest(street.train, tmp_path / "train.json")
    other = replace(street.clicks, classes=("a", *street.clicks.classes[1:]))
    write_clicks(other, tmp_path / "clicks.h5")
    with pytest.raises(InputError, match=r"clicks\.h5: knows the classes a, .* but the targets are of road"):
        read_targets([tmp_path / "train.json"], tmp_path / "clicks.h5")


@pytest.mark.parametrize(
    ("student", "teacher", "told"),
    [
        ((0.6, 0.9), (0.6, 0.95), "mIoU on target frames: 60.0 % and 60.0 %"),
        ((0.6, 0.9), (0.55, 0.95), "mIoU on target frames: 55.0 % and 60.0 %"),
        ((0.6, 0.95), (0.61, 0.9), ""),
        ((None, 0.9), (None, 0.9), "clicks hit: 90.0 % and 90.0 %"),
        ((None, 0.9), (0.9, 0.91), ""),
        ((None, 1.0), (None, 1.0), ""),  # every click is hit, which tells no two networks apart
        ((0.6, None), (None, 0.9), ""),
        ((None, None), (None, None), ""),
    ],
)
def test_a_teacher_is_judged_by_masks_before_clicks(student, teacher, told):
    def figures(miou, accuracy):
        return {
            **({} if miou is None else {"on_targets": {"miou": miou}}),
            **({} if accuracy is None else {"on_clicks": {"accuracy": accuracy}}),
        }

    found = teacher_findings({**figures(*student), "teacher": figures(*teacher)})
    assert bool(found) == bool(told)
    assert not found or (f"({told}), so distillation has nothing more to give" in found[0].found)


def test_without_a_teacher_nothing_is_said():
    assert teacher_findings({"on_targets": {"miou": 0.5}}) == []
