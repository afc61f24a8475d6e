import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.oracle import Oracle
from weclick.common.errors import InputError
from weclick.evaluate.scores import score_frames, scores
from weclick.evaluate.speed import frames_per_second
from weclick.evaluate.stage import evaluate, evaluate_models
from weclick.manifest.images import read_ids
from weclick.manifest.read import read_label
from weclick.models import build_model
from weclick.models.inference import predict
from weclick.store.model_file import load_model, model_bytes


def truths(manifest):
    return [read_label(manifest, frame) for clip in manifest.clips for frame in clip.frames]


def test_the_truth_scores_one_and_is_consistent_along_the_flow(street):
    figures = evaluate(Oracle(truths(street.val)), street.val, store=street.store, flow=street.val_flow)
    assert figures["miou"] == figures["mean_accuracy"] == figures["pixel_accuracy"] == 1.0
    assert figures["temporal_consistency"] > 0.8
    assert figures["frames"] == sum(len(clip.scored) for clip in street.val.clips)
    assert np.array(figures["confusion_matrix"]).sum() == figures["frames"] * 64 * 96


def test_flickering_predictions_are_not_consistent(street):
    flicker = [np.full((64, 96), i % 2, np.uint8) for i in range(len(truths(street.val)))]
    figures = evaluate(Oracle(flicker), street.val, store=street.store, flow=street.val_flow)
    assert figures["temporal_consistency"] == 0.0


def test_without_flow_there_is_no_temporal_consistency(street):
    figures = evaluate(Oracle(truths(street.val)), street.val, store=street.store, flow={})
    assert figures["temporal_consistency"] is None


def test_one_class_everywhere_scores_by_hand(street):
    labels = np.stack(truths(street.val))
    roads = [np.zeros((64, 96), np.uint8)] * len(labels)
    figures = scores(score_frames(Oracle(roads), street.val), street.val)
    assert figures["pixel_accuracy"] == pytest.approx((labels == 0).mean())
    assert figures["per_class_iou"]["road"] == pytest.approx((labels == 0).mean())
    present = [c for c in range(9) if (labels == c).any()]
    assert figures["miou"] == pytest.approx((labels == 0).mean() / len(present))


def test_a_validation_may_take_fewer_frames(street):
    oracle = Oracle(truths(street.val))
    score_frames(oracle, street.val, at_most=2)
    assert oracle.turn == 2


def test_predictions_have_the_size_of_the_frame():
    model = build_model("deeplabv3plus", "mobilenetv2_compact", 3, channels=16).eval()
    image = np.random.default_rng(0).integers(0, 256, (37, 51, 3), dtype=np.uint8)
    prediction = predict(model, image)
    assert prediction.shape == (37, 51)
    assert prediction.dtype == torch.uint8
    assert frames_per_second(model, (37, 51), "cpu", runs=1) > 0


def test_checkpoints_are_scored_and_their_pictures_kept(street, tmp_path):
    model = build_model("deeplabv3plus", "mobilenetv2_compact", 9, channels=16)
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_bytes(model, street.val.classes))
    evaluate_models(
        {"student": path, "teacher": path},
        street.val,
        store=street.store,
        flow=street.val_flow,
        device="cpu",
        folder=tmp_path / "out",
        examples=2,
        write_predictions=True,
    )
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["miou"] == metrics["teacher"]["miou"]
    assert metrics["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    plain = scores(score_frames(model.eval(), street.val), street.val)
    assert metrics["miou"] == pytest.approx(plain["miou"], abs=1e-3)
    assert len(metrics["examples"]) == 2
    example = tmp_path / "out" / metrics["examples"][0]["student"]
    assert read_ids(example).shape == (64, 96)
    assert len(list((tmp_path / "out" / "predictions" / "student").rglob("*.png"))) == metrics["frames"]


def test_a_network_of_other_classes_is_not_scored(street, tmp_path):
    model = build_model("deeplabv3plus", "mobilenetv2_compact", 9, channels=16)
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_bytes(model, replace(street.val.classes, names=tuple("abcdefghi"))))
    with pytest.raises(InputError, match=r"was trained for the classes a, b, .* data set has road"):
        evaluate_models(
            {"student": path},
            street.val,
            store=street.store,
            flow={},
            device="cpu",
            folder=tmp_path / "out",
            examples=0,
            write_predictions=False,
        )
    assert not (tmp_path / "out").exists()


def test_files_that_are_no_checkpoint_are_refused(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(ValueError, match=r"none\.safetensors: cannot be read"):
        load_model(tmp_path / "none.safetensors")
    (tmp_path / "text").write_text("no weights")
    with pytest.raises(ValueError, match="cannot be read as a"):
        load_model(tmp_path / "text")
    save_file({"x": torch.zeros(1)}, tmp_path / "bare.safetensors")
    with pytest.raises(ValueError, match="without weclick's model card"):
        load_model(tmp_path / "bare.safetensors")


@pytest.mark.parametrize("kind", ["image", "label"])
def test_what_changed_since_the_manifest_is_not_scored(street, tmp_path, kind):
    shutil.copytree(street.val.root, tmp_path / "data")
    moved = replace(street.val, root=str(tmp_path / "data"))
    clip = moved.clips[0]
    path = moved.path(getattr(clip.frames[clip.scored[-1]], kind))
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(InputError, match=rf"{path.name}: changed since its digest was taken"):
        evaluate(Oracle(truths(street.val)), moved, store=street.store, flow={})
