"""Scores of nothing, of some classes, and of one class everywhere."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from helpers.oracle import Oracle
from weclick.common.errors import InputError
from weclick.evaluate.scored import check_scored_pixels, told
from weclick.evaluate.stage import evaluate, evaluate_models
from weclick.manifest import Classes, Clip, Frame, Manifest
from weclick.manifest.images import read_ids
from weclick.manifest.read import read_label
from weclick.models import build_model
from weclick.store import Store
from weclick.store.model_file import model_bytes

CLASSES = Classes(("road", "car"), ((128, 64, 128), (0, 0, 142)))
SIZE = (32, 48)


def write_split(root, labels, clips=("val",), frames=("00000",)):
    """A split whose scored frames have these labels, all the same in each clip."""
    made = []
    for clip in clips:
        (root / clip).mkdir(parents=True)
        listed = []
        for name, value in zip(frames, labels, strict=True):
            Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(root / clip / f"{name}.jpg")
            Image.fromarray(np.broadcast_to(value, SIZE).astype(np.uint8)).save(root / clip / f"{name}.png")
            listed.append(Frame(name, len(listed), f"{clip}/{name}.jpg", label=f"{clip}/{name}.png"))
        scored = tuple(range(len(frames)))
        made.append(Clip(clip, tuple(listed), scored=scored, height_px=SIZE[0], width_px=SIZE[1]))
    return Manifest("folder", str(root), "val", 0, 1, CLASSES, tuple(made))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "model.safetensors"
    path.write_bytes(
        model_bytes(build_model("deeplabv3plus", "mobilenetv2_compact", 2, channels=16), CLASSES)
    )
    return path


def score(manifest, checkpoint, folder, **options):
    options = {"examples": 9, "write_predictions": False, **options}
    evaluate_models(
        {"student": checkpoint},
        manifest,
        store=Store([folder / "store"]),
        flow={},
        device="cpu",
        folder=folder,
        **options,
    )
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("labels", [[255, 255], [np.full(SIZE, 255), 255]])
def test_labels_without_a_scored_pixel_are_an_error(tmp_path, checkpoint, labels):
    manifest = write_split(tmp_path / "data", labels, frames=("a", "b"))
    with pytest.raises(InputError, match=r"val/a\.png: not one pixel of the 2 scored labels of split 'val'"):
        score(manifest, checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_single_scored_pixel_is_enough(tmp_path):
    label = np.full(SIZE, 255)
    label[-1, -1] = 1
    check_scored_pixels(write_split(tmp_path, [255, label], frames=("a", "b")))


def test_a_split_without_labels_is_an_error(tmp_path):
    manifest = write_split(tmp_path, [0])
    bare = replace(manifest, clips=tuple(replace(clip, scored=()) for clip in manifest.clips))
    with pytest.raises(InputError, match=r"split 'val' of .* has no labelled or clicked frame"):
        check_scored_pixels(bare)


def test_classes_that_no_label_has_are_told(tmp_path, checkpoint, capsys):
    metrics = score(write_split(tmp_path / "data", [0]), checkpoint, tmp_path / "out")
    assert (metrics["classes"], metrics["classes_scored"], metrics["classes_absent"]) == (2, 1, ["car"])
    assert "over 1 of 2 classes (not in the labels: car)" in capsys.readouterr().err
    assert metrics["speed"].keys() == {"cores", "threads", "load_average", "waited_share", "busy"}


def test_all_classes_are_passed_over_in_silence(tmp_path, checkpoint, capsys):
    label = np.zeros(SIZE)
    label[4:] = 1
    metrics = score(write_split(tmp_path / "data", [label]), checkpoint, tmp_path / "out")
    assert metrics["classes_absent"] == []
    assert "of 2 classes" not in capsys.readouterr().err


def test_one_class_everywhere_is_not_called_consistent(street):
    roads = [np.zeros((64, 96), np.uint8)] * sum(len(clip.frames) for clip in street.val.clips)
    figures = evaluate(Oracle(roads), street.val, store=street.store, flow=street.val_flow)
    assert figures["temporal_consistency"] is None
    assert figures["consistency_of_one_class"] == "road"
    assert "no temporal consistency: every pixel compared is road" in told("student", figures)


def test_one_class_in_each_clip_is_not_called_consistent(street):
    again = replace(street.val.clips[0], id="again")
    twice = replace(street.val, clips=(street.val.clips[0], again))
    (key,) = street.val_flow.values()
    count = len(again.frames)
    maps = [np.full((64, 96), i // count, np.uint8) for i in range(2 * count)]
    flow = {clip.id: key for clip in twice.clips}
    figures = evaluate(Oracle(maps), twice, store=street.store, flow=flow)
    assert figures["temporal_consistency"] is None
    assert figures["consistency_of_one_class"] == " / ".join(twice.classes.names[:2])


def test_two_classes_have_their_consistency(street):
    truth = [read_label(street.val, frame) for clip in street.val.clips for frame in clip.frames]
    figures = evaluate(Oracle(truth), street.val, store=street.store, flow=street.val_flow)
    assert figures["temporal_consistency"] > 0.8
    assert figures["consistency_of_one_class"] is None


def test_examples_of_clips_and_frames_with_like_names_keep_apart(tmp_path, checkpoint):
    first = write_split(tmp_path / "data", [0, 0], clips=("val",), frames=("1_0", "0"))
    second = write_split(tmp_path / "data", [0, 0], clips=("val_1",), frames=("0", "1_0"))
    both = replace(first, clips=first.clips + second.clips)
    metrics = score(both, checkpoint, tmp_path / "out", write_predictions=True)
    files = [item["student"] for item in metrics["examples"]]
    assert len(set(files)) == 4
    assert "examples/val/1_0/student.png" in files
    for name in files:
        assert read_ids(tmp_path / "out" / name).shape == SIZE
    assert len(list((tmp_path / "out/predictions/student").rglob("*.png"))) == 4


def test_names_as_long_as_the_file_system_takes(tmp_path, checkpoint):
    clips = ("c" * 255, "映" * 80)
    manifest = write_split(tmp_path / "data", [0, 1], clips=clips, frames=("f" * 251, "g" * 250))
    metrics = score(manifest, checkpoint, tmp_path / "out", write_predictions=True)
    assert all((tmp_path / "out" / item["student"]).is_file() for item in metrics["examples"])
    assert len(list((tmp_path / "out/predictions").rglob("*.png"))) == 4


def test_names_that_lead_elsewhere_are_refused(tmp_path, checkpoint):
    manifest = write_split(tmp_path / "data", [0])
    away = replace(manifest, clips=(replace(manifest.clips[0], id="../../away"),))
    with pytest.raises(InputError, match="leads out of"):
        score(away, checkpoint, tmp_path / "out")
