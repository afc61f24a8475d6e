"""Without a mask, people's clicks on held-out frames score the networks."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from helpers.oracle import Oracle
from weclick.evaluate.agreement import Agreement
from weclick.evaluate.held_out import ClickTally, held_out_clicks, score_clicks
from weclick.evaluate.scored import check_scored_pixels, classes_words, labelled_part, told
from weclick.evaluate.shares import wilson
from weclick.evaluate.stage import evaluate, evaluate_models
from weclick.manifest.click_table import POINT
from weclick.manifest.read import read_label
from weclick.models import build_model
from weclick.store.model_file import model_bytes


@pytest.fixture
def clicked(street, tmp_path):
    """The validation split without labels, with two clicks on each scored frame, one right, one wrong."""
    rows = ["clip,frame,y,x,class,source,who"]
    clips = []
    for clip in street.val.clips:
        for t in clip.scored:
            label = read_label(street.val, clip.frames[t])
            for y, wrong in ((10, 0), (50, 1)):
                class_id = (int(label[y, 20]) + wrong) % street.val.num_classes
                rows.append(f"{clip.id},{clip.frames[t].name},{y},20,{class_id},import,anna")
        clips.append(
            replace(clip, frames=tuple(replace(f, label=None, label_digest=None) for f in clip.frames))
        )
    (tmp_path / "clicks.csv").write_text("\n".join(rows), encoding="utf-8")
    return replace(street.val, clips=tuple(clips), click_file=str(tmp_path / "clicks.csv"))


def truths(manifest):
    return [read_label(manifest, frame) for clip in manifest.clips for frame in clip.frames]


@pytest.mark.parametrize(
    ("hits", "tries", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_the_interval_is_wilsons(hits, tries, low, high):
    """Values of Wilson's interval without correction, among them that of Newcombe (1998), 81 of 263."""
    assert wilson(hits, tries) == (pytest.approx(low, abs=6e-5), pytest.approx(high, abs=6e-5))


def test_a_tally_by_hand():
    points = np.array([(0, 0, 0, 0), (0, 1, 1, 0), (1, 1, 1, 0)], POINT)
    tally = ClickTally({("a", "0"): points}, ("road", "car", "sky"))
    tally.add("a", "1", np.zeros((2, 2), np.uint8))
    assert tally.figures() == {}
    tally.add("a", "0", np.array([[0, 1], [0, 0]], np.uint8))
    told = tally.figures()
    assert told["click_accuracy"] == pytest.approx(2 / 3)
    assert (told["held_out_clicks"]["clicks"], told["held_out_clicks"]["frames"]) == (3, 1)
    car = told["held_out_clicks"]["per_class"]["car"]
    assert (car["clicks"], car["accuracy"]) == (2, 0.5)
    assert (car["low"], car["high"]) == wilson(1, 2)
    assert set(told["held_out_clicks"]["per_class"]) == {"road", "car"}


def test_without_a_mask_clicks_score_and_consistency_stays(street, clicked):
    check_scored_pixels(clicked)
    clicks = held_out_clicks(clicked)
    figures = evaluate(
        Oracle(truths(street.val)), clicked, store=street.store, flow=street.val_flow, clicks=clicks
    )
    assert figures["click_accuracy"] == 0.5
    assert figures["held_out_clicks"]["clicks"] == 2 * figures["frames"]
    assert np.isnan(figures["miou"])
    assert figures["temporal_consistency"] > 0.8
    seen = {int(class_id) for points in clicks.values() for class_id in points["class_id"]}
    assert figures["classes_scored"] == len(seen)
    assert "(not in the held-out clicks: " in classes_words(figures)
    assert told("student", figures).startswith("student: 50.0 % (")
    assert f"of {figures['held_out_clicks']['clicks']} held-out clicks hit over" in told("student", figures)


def test_frames_with_a_mask_keep_their_scores_beside_clicks(street, clicked):
    both = replace(street.val, click_file=clicked.click_file)
    figures = evaluate(
        Oracle(truths(street.val)), both, store=street.store, flow={}, clicks=held_out_clicks(both)
    )
    assert (figures["miou"], figures["click_accuracy"]) == (1.0, 0.5)
    assert (
        figures["classes_absent"]
        == evaluate(Oracle(truths(street.val)), street.val, store=street.store, flow={})["classes_absent"]
    )


def test_validation_takes_labelled_frames_and_clicked_ones_apart(street, clicked):
    assert not any(clip.scored for clip in labelled_part(clicked).clips)
    assert labelled_part(street.val) == street.val
    clicks = held_out_clicks(clicked)
    oracle = Oracle(truths(street.val))
    assert score_clicks(oracle, clicked, clicks, at_most=99) == {"click_accuracy": 0.5}
    assert score_clicks(Oracle(truths(street.val)), clicked, clicks, at_most=1) == {"click_accuracy": 0.5}
    assert score_clicks(oracle, clicked, {}, at_most=1) == {}


def test_metrics_tell_of_clicks_and_of_agreement(street, clicked, tmp_path):
    model = build_model("deeplabv3plus", "mobilenetv2_compact", 9, channels=16)
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_bytes(model, clicked.classes))
    evaluate_models(
        {"student": path, "teacher": path},
        clicked,
        store=street.store,
        flow=street.val_flow,
        device="cpu",
        folder=tmp_path / "out",
        examples=1,
        write_predictions=False,
    )
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["miou"] is metrics["mean_accuracy"] is None
    assert metrics["agreement"] == {"pixels": 1.0, "miou": 1.0, "frames": metrics["frames"]}
    assert metrics["held_out_clicks"] == metrics["teacher"]["held_out_clicks"]
    assert len(metrics["examples"]) == 1


def test_agreement_by_hand():
    agreement = Agreement(3)
    assert agreement.figures("teacher") == {}
    ours, theirs = np.array([[0, 1], [1, 1]], np.uint8), np.array([[0, 1], [1, 0]], np.uint8)
    agreement.add("student", ("a", "0"), ours)
    agreement.add("teacher", ("a", "0"), theirs)
    found = agreement.figures("teacher")["agreement"]
    assert (found["pixels"], found["frames"]) == (0.75, 1)
    assert found["miou"] == pytest.approx((1 / 2 + 2 / 3) / 2)
