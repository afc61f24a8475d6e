"""Detectors scored on the toy street: the truth itself, nothing, less than the truth, and what is written."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from helpers.found_instances import Knowing, make_street, teach_truth, untrained
from weclick.common.errors import InputError
from weclick.evaluate.instances import stage
from weclick.evaluate.instances.figures import FIGURES
from weclick.evaluate.instances.images import instance_ap
from weclick.evaluate.instances.stage import score, score_detector
from weclick.evaluate.instances.steps import earlier_flows
from weclick.evaluate.instances.truth import with_truth
from weclick.manifest.read import read_frame
from weclick.models import build_model
from weclick.store.model_file import ModelCard, model_bytes


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    return make_street(tmp_path_factory.mktemp("street"))


def scored(street, folder, change=None, *, manifest=None, flow=True, examples=0):
    """The scores of a detector that finds the truth, or what `change` makes of it."""
    manifest, model = manifest or street.manifest, Knowing()
    teach_truth(model, with_truth(manifest), lambda clip, t: read_frame(manifest, clip, t), change)
    flows = earlier_flows(manifest, street.flow, street.store) if flow else {}
    return score(model, with_truth(manifest), folder, flows=flows, examples=examples, device="cpu")


def nothing(masks, classes):
    return masks[:0], classes[:0]


@pytest.fixture(scope="module")
def of_truth(street, tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth")
    return scored(street, folder, examples=2), folder


def test_the_truth_is_found_whole(of_truth):
    figures, _ = of_truth
    found = figures["instances"]
    for name in ("AP", "AP50", "AP75", "AR100"):
        assert found[name] == pytest.approx(1), name
    assert found["per_class"] == {
        k: {"AP": pytest.approx(1), "AP50": pytest.approx(1)} for k in ("person", "car")
    }
    assert found["cityscapes"]["AP"] == found["cityscapes"]["AP50"] == pytest.approx(1)
    assert found["semantic_miou"] == pytest.approx(1)
    assert found["instances_a_frame"] == found["truth_a_frame"] + found["small_a_frame"]
    assert (found["sure_a_frame"], found["groups_a_frame"]) == (found["instances_a_frame"], 0)
    assert figures["frames"] == 12
    assert figures["clips"] == 2
    assert figures["fps"] > 0


def test_the_truth_is_consistent_but_for_what_is_hidden(of_truth):
    found = of_truth[0]["instances"]
    assert found["consistency_pairs"] == 10
    assert found["temporal_consistency"] >= 0.95


def test_true_masks_are_tracked(of_truth):
    video = of_truth[0]["instances"]["video"]
    assert (video["videos"], video["same_numbers"]) == (2, 1)
    assert video["AP"] >= 0.95
    assert video["true_tracks"] > 20


def test_files_are_read_by_cocos_own_evaluator(of_truth):
    figures, folder = of_truth
    coco = COCO(str(folder / "images.json"))
    found = coco.loadRes(str(folder / "instances.json"))
    evaluation = COCOeval(coco, found, "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(figures["instances"]["AP"])
    assert coco.loadImgs(1)[0]["file_name"] == "street_val_0000/street_val_0000_000000"
    assert {one["name"] for one in coco.loadCats([8, 9])} == {"person", "car"}


def test_examples_are_pictures_of_the_frames(of_truth, street):
    figures, folder = of_truth
    assert len(figures["examples"]) == 2
    example = figures["examples"][0]
    drawn = np.asarray(Image.open(folder / example["detector"]))
    assert example["detector"].endswith("detector.png")
    clip = next(each for each in street.manifest.clips if each.id == example["clip"])
    frame = read_frame(street.manifest, clip, clip.positions()[example["frame"]])
    changed = (drawn != frame).any(2)
    assert drawn.shape == frame.shape
    assert 0.02 < changed.mean() < 0.9


def test_nothing_found_scores_nothing(street, tmp_path):
    figures = scored(street, tmp_path, nothing)["instances"]
    assert figures["AP"] == figures["AP50"] == figures["AR100"] == figures["semantic_miou"] == 0
    assert figures["cityscapes"]["AP50"] == 0
    assert figures["temporal_consistency"] is None
    assert (figures["video"]["AP"], figures["video"]["tracks"]) == (0, 0)
    assert json.loads((tmp_path / "instances.json").read_text()) == []


def test_half_of_the_objects_costs_recall_alone(street, tmp_path):
    figures = scored(street, tmp_path, lambda masks, classes: (masks[::2], classes[::2]))["instances"]
    assert 0.3 < figures["AP50"] < 0.7
    assert figures["AP50"] == pytest.approx(figures["AP"], abs=1e-9)
    assert figures["cityscapes"]["AP50"] == pytest.approx(figures["AP50"], abs=0.1)


def test_the_mean_over_classes_is_cocos(street, tmp_path):
    """Persons are found, cars are called persons: the classes' figures average to those of all together."""
    scored(street, tmp_path, lambda masks, classes: (masks, np.full_like(classes, 7)))
    truth = json.loads((tmp_path / "images.json").read_text())
    found = json.loads((tmp_path / "instances.json").read_text())
    together = instance_ap(truth, found)
    figures = scored(street, tmp_path, lambda masks, classes: (masks, np.full_like(classes, 7)))["instances"]
    for name in FIGURES:
        assert figures[name] == pytest.approx(together[name], abs=1e-12), name


def test_without_flow_there_is_nothing_along_videos(street, tmp_path):
    figures = scored(street, tmp_path, flow=False)["instances"]
    assert figures["temporal_consistency"] is None
    assert figures["video"] == {
        "videos": 0,
        "left_out": "no flow leads from a scored frame to the scored frame before it",
    }


def renumbered(street, tmp_path):
    """The street with numbers that change from frame to frame, and one frame without an instance file."""
    root, rng = tmp_path / "renumbered", np.random.default_rng(0)

    def changed(frame):
        ids = np.asarray(Image.open(street.manifest.path(frame.instances))).astype(np.int32)
        new = ids.copy()
        for class_id in (7, 8):
            old = np.unique(ids[ids // 1000 == class_id])
            for value, other in zip(old, rng.permutation(old), strict=True):
                new[ids == value] = other
        path = root / f"{frame.name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(new.astype(np.uint16)).save(path)
        return dataclasses.replace(frame, instances=str(path), instances_digest=None)

    clip = street.manifest.clips[0]
    clip = dataclasses.replace(clip, frames=tuple(map(changed, clip.frames)))
    return dataclasses.replace(street.manifest, clips=(clip,))


def test_numbers_that_change_make_no_tracks(street, tmp_path):
    video = scored(street, tmp_path, manifest=renumbered(street, tmp_path))["instances"]["video"]
    assert video["left_out"] == "the numbers of objects change from frame to frame"
    assert video["same_numbers"] < 0.5
    assert "AP" not in video


def without_instances(manifest, positions):
    clip = manifest.clips[0]
    frames = tuple(
        dataclasses.replace(f, instances=None) if t in positions else f for t, f in enumerate(clip.frames)
    )
    return dataclasses.replace(
        manifest, clips=(dataclasses.replace(clip, frames=frames), *manifest.clips[1:])
    )


@pytest.fixture
def loads(monkeypatch):
    """`load_model` gives a detector that is taught by hand."""
    model = Knowing()

    def load(path, device, *, classes, architectures):
        return model, ModelCard({"architecture": "detector"}, None)

    monkeypatch.setattr(stage, "load_model", load)
    return model


def test_frames_without_an_instance_file_are_left_out_and_told(street, tmp_path, loads, capsys):
    manifest = without_instances(street.manifest, {1, 2})
    teach_truth(loads, with_truth(manifest), lambda clip, t: read_frame(manifest, clip, t))
    # frame 2 is the earlier one of frame 3, so the detector sees it
    teach_truth(loads, street.manifest, lambda clip, t: read_frame(manifest, clip, t))
    figures = score_detector(
        manifest, tmp_path, tmp_path / "out", store=street.store, flow=street.flow, examples=0, device="cpu"
    )
    told = capsys.readouterr().err
    assert "2 scored frames have no label or no instance file, so they are left out" in told
    assert "detector: AP50 100.0 %" in told
    assert (figures["frames"], figures["left_out"]) == (10, 2)
    assert figures["instances"]["consistency_pairs"] == 8
    assert figures["instances"]["video"]["videos"] == 2
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert written["instances"]["AP50"] == pytest.approx(1)


def test_a_split_without_objects_is_one_clear_error(street, tmp_path):
    given = {"store": street.store, "flow": {}, "examples": 0, "device": "cpu"}
    bare = dataclasses.replace(street.manifest, clips=street.manifest.clips[:1])
    with pytest.raises(InputError, match="has no scored frame with both a label and an instance file"):
        score_detector(without_instances(bare, set(range(6))), tmp_path, tmp_path / "out", **given)
    classes = dataclasses.replace(street.manifest.classes, instance_classes=())
    with pytest.raises(InputError, match="has no class whose objects are told apart"):
        score_detector(dataclasses.replace(bare, classes=classes), tmp_path, tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_a_real_detector_is_scored(street, tmp_path):
    path, folder = tmp_path / "model.safetensors", tmp_path / "out"
    path.write_bytes(model_bytes(untrained(9), street.manifest.classes))
    one = dataclasses.replace(street.manifest, clips=street.manifest.clips[:1])
    figures = score_detector(
        one, path, folder, store=street.store, flow=street.flow, examples=1, device="cpu"
    )
    assert figures["instances"]["instances_a_frame"] == 5
    assert 0 <= figures["instances"]["AP50"] < 0.1
    assert figures["parameters"] > 10**5
    assert sorted(p.name for p in folder.rglob("*.*")) == [
        "detector.png",
        "images.json",
        "instances.json",
        "metrics.json",
    ]
    results = json.loads((folder / "instances.json").read_text())
    assert len(results) == 30
    assert all(0 < one["score"] < 1 for one in results)


def test_a_network_that_is_no_detector_is_refused(street, tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "model.safetensors"
    model = build_model("deeplabv3plus", "mobilenetv2_compact", 9, channels=16)
    path.write_bytes(model_bytes(model, street.manifest.classes))
    with pytest.raises(InputError, match=r"of the architecture deeplabv3plus, expected detector; give the"):
        score_detector(
            street.manifest, path, tmp_path / "out", store=street.store, flow={}, examples=0, device="cpu"
        )
