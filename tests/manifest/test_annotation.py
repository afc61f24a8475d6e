"""What people annotate in a given time, on invented clicks."""

import dataclasses

import numpy as np
import pytest

from weclick.common.config import complete_config
from weclick.common.errors import InputError
from weclick.manifest import Classes, Clip, Frame, Manifest
from weclick.manifest.annotation import annotated, check_labelled, in_order
from weclick.manifest.click_table import POINT, ClickTable

NAMES = ("background", "car", "dog")


def make_clip(name, targets, frames=12):
    made = tuple(Frame(f"{t:03}", t, f"{name}/{t}.jpg", label=f"{name}/{t}.png") for t in range(frames))
    return Clip(name, made, targets=tuple(targets), height_px=8, width_px=8)


def bare(clip, *positions):
    return dataclasses.replace(
        clip,
        frames=tuple(
            dataclasses.replace(frame, label=None) if t in positions else frame
            for t, frame in enumerate(clip.frames)
        ),
    )


@pytest.fixture
def split():
    """Three clips of 4, 3 and 1 targets."""
    clips = (make_clip("a", (0, 3, 6, 9)), make_clip("b", (1, 2, 3)), make_clip("c", (5,)))
    classes = Classes(NAMES, ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
    return Manifest("folder", "/", "train", 0, 1, classes, clips)


@pytest.fixture
def clicks(split):
    """On every target: background, two cars and a dog: three first clicks and a further one."""
    points = np.zeros(4, POINT)
    points["class_id"] = [0, 1, 1, 2]
    frames = {(clip.id, clip.frames[t].name): points for clip in split.clips for t in clip.targets}
    return ClickTable("train", NAMES, frames)


CLICKS_S, MASK_S = 3 * 2.4 + 0.9, 3 * 79.2


def used(split, clicks, supervision="clicks", *, keep_targets=False, **options):
    section = complete_config({"annotation": options})["annotation"]
    return annotated(split, clicks, section, supervision, keep_targets=keep_targets)


def targets_of(manifest):
    return {(clip.id, t) for clip in manifest.clips for t in clip.targets}


def masked_in(manifest):
    return {(clip.id, t) for clip in manifest.clips for t in clip.targets if clip.frames[t].label}


@pytest.mark.parametrize("supervision", ["clicks", "masks"])
def test_without_a_budget_all_is_used(split, clicks, supervision):
    found = used(split, clicks, supervision)
    assert found.manifest is split
    assert found.clicks is clicks
    assert (found.supervision, found.seconds) == (supervision, 0)
    assert found.masked == (0 if supervision == "clicks" else 8)


def test_both_take_clicks_where_there_is_no_mask(split, clicks):
    some = dataclasses.replace(split, clips=(bare(split.clips[0], 3, 6), *split.clips[1:]))
    found = used(some, clicks, "both")
    assert found.manifest is some
    assert found.clicks.frames.keys() == {("a", "003"), ("a", "006")}
    assert (found.supervision, found.masked) == ("both", 6)
    found = used(split, clicks, "both")
    assert (found.supervision, found.masked, len(found.clicks)) == ("masks", 8, 0)


def test_the_order_spreads_over_clips_and_then_over_time(split):
    order = in_order(split.clips)
    assert len(order) == len({*order}) == 8
    assert {clip for clip, _ in order[:3]} == {"a", "b", "c"}
    assert {clip for clip, _ in order[3:5]} == {"a", "b"}
    assert [t for clip, t in order if clip == "a"] == [6, 3, 9, 0]
    assert [t for clip, t in order if clip == "b"] == [2, 1, 3]


def test_the_order_knows_no_shards_and_no_files(split):
    other = [dataclasses.replace(clip, height_px=99) for clip in reversed(split.clips)]
    assert in_order(other) == in_order(split.clips)
    assert in_order([]) == []


def test_clicks_cost_by_class_and_frame(split, clicks):
    found = used(split, clicks, minutes=(2 * CLICKS_S + 0.01) / 60)
    assert len(found.clicks) == 8
    assert found.seconds == pytest.approx(2 * CLICKS_S)
    slower = used(split, clicks, minutes=(2 * CLICKS_S + 0.01) / 60, frame_s=1.0)
    assert len(slower.clicks) == 4
    assert slower.seconds == pytest.approx(CLICKS_S + 1)


def test_only_annotated_frames_are_targets(split, clicks):
    found = used(split, clicks, minutes=(3 * CLICKS_S + 0.01) / 60)
    assert targets_of(found.manifest) == {*in_order(split.clips)[:3]}
    frames = {(clip.id, clip.frames[t].name) for clip in found.manifest.clips for t in clip.targets}
    assert found.clicks.frames.keys() == frames


def test_a_student_that_distils_keeps_all_targets(split, clicks):
    found = used(split, clicks, minutes=(CLICKS_S + 0.01) / 60, keep_targets=True)
    assert targets_of(found.manifest) == targets_of(split)
    assert len(found.clicks) == 4


def test_masks_cost_by_object_and_the_background_is_free(split, clicks):
    found = used(split, clicks, "masks", minutes=(2 * MASK_S + 1) / 60)
    assert masked_in(found.manifest) == targets_of(found.manifest) == {*in_order(split.clips)[:2]}
    assert (found.masked, found.supervision) == (2, "masks")
    assert found.seconds == pytest.approx(2 * MASK_S)
    distils = used(split, clicks, "masks", minutes=(2 * MASK_S + 1) / 60, keep_targets=True)
    assert masked_in(distils.manifest) == masked_in(found.manifest)
    assert targets_of(distils.manifest) == targets_of(split)


def test_both_spend_half_of_the_time_each_on_different_frames(split, clicks):
    found = used(split, clicks, "both", minutes=2 * (2 * MASK_S + 1) / 60)
    order = in_order(split.clips)
    assert masked_in(found.manifest) == {*order[:2]}
    names = {(clip.id, t): clip.frames[t].name for clip in split.clips for t in clip.targets}
    assert found.clicks.frames.keys() == {(clip, names[clip, t]) for clip, t in order[2:]}
    assert found.supervision == "both"


def test_what_a_half_does_not_pay_for_is_no_supervision(split, clicks):
    found = used(split, clicks, "both", minutes=2 * (MASK_S - 1) / 60)
    assert (found.supervision, found.masked) == ("clicks", 0)
    alone = used(split, clicks, "clicks", minutes=(MASK_S - 1) / 60)
    assert found.clicks == alone.clicks


@pytest.mark.parametrize("supervision", ["clicks", "masks", "both"])
def test_a_larger_budget_contains_a_smaller_one(split, clicks, supervision):
    before = set()
    for minutes in np.linspace(8.2, 60, 40):
        found = used(split, clicks, supervision, minutes=float(minutes))
        assert found.seconds <= 60 * minutes
        assert targets_of(found.manifest) >= before
        before = targets_of(found.manifest)
    assert before == targets_of(split)


def test_frames_without_a_label_get_no_mask(split, clicks):
    first = in_order(split.clips)[0]
    clips = [bare(clip, first[1]) if clip.id == first[0] else clip for clip in split.clips]
    some = dataclasses.replace(split, clips=tuple(clips))
    found = used(some, clicks, "both", minutes=2 * (MASK_S + 1) / 60)
    assert masked_in(found.manifest) == {in_order(split.clips)[1]}
    assert first in targets_of(found.manifest)


@pytest.mark.parametrize(
    ("supervision", "told"),
    [
        ("clicks", r"annotation\.minutes is 0\.1, but the clicks of the first frame take 8\.1 s; give more"),
        ("masks", r"annotation\.minutes is 0\.1, but the masks of the first frame take 237\.6 s"),
        ("both", r"annotation\.minutes is 0\.1, but the clicks of the first frame"),
    ],
)
def test_a_budget_that_pays_for_nothing_is_told(split, clicks, supervision, told):
    with pytest.raises(InputError, match=told):
        used(split, clicks, supervision, minutes=0.1)


def test_targets_that_lack_a_label_are_told():
    clips = [bare(make_clip("a", (0, 3)), 3, 4)]
    check_labelled("train", clips, "clicks")
    check_labelled("train", clips, "both")
    with pytest.raises(InputError, match=r"1 of 2 targets of split 'train' have no label, e\.g\. frame 003"):
        check_labelled("train", clips, "masks")
    with pytest.raises(InputError, match=r"set supervision: both, with which they learn from clicks"):
        check_labelled("train", clips, "masks")
    none = [bare(make_clip("a", (0, 3)), 0, 3)]
    with pytest.raises(InputError, match=r"'both', but 2 of 2 targets .* set supervision: clicks"):
        check_labelled("train", none, "both")


def test_frames_that_are_no_targets_need_no_label():
    check_labelled("train", [bare(make_clip("a", (0,)), 1, 2, 3)], "masks")
