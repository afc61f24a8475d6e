"""What a run asks the store for is what its stages make."""

from dataclasses import replace
from pathlib import Path

import pytest

from weclick.clicks import generate_clicks
from weclick.common.config import complete_config
from weclick.datasets.frames import pack_frames
from weclick.flow.stage import compute_flow
from weclick.proxy_labels.masks import pack_masks
from weclick.proxy_labels.teachers import Teachers
from weclick.runs.wanted import Wanted
from weclick.store import Store, entry_key
from weclick.train.data.stream import Caches


@pytest.fixture
def config(street):
    return {**street.config, "frames": {**street.config["frames"], "chunk_px": 32}}


def test_a_clip_is_read_as_far_as_training_or_scores_reach(config):
    assert Wanted({**config, "evaluate": {"max_gap_frames": 1}}).reach_frames == 2
    assert Wanted({**config, "evaluate": {"max_gap_frames": 7}}).reach_frames == 7


def test_pairs_are_those_of_training_and_then_those_that_are_scored(street, config):
    near = Wanted({**config, "window": {"frames": 2, "max_gap_frames": 1}, "evaluate": {"max_gap_frames": 1}})
    clip = replace(street.train.clips[0], scored=(1, 2, 3))
    assert clip.targets == (0, 2)
    assert near.pairs(clip) == ((2, 1), (1, 0), (3, 2))


def test_keys_are_those_of_the_stages(street, config, tmp_path):
    wanted = Wanted(config)
    frames = pack_frames(street.train, store=street.store, **config["frames"])
    assert wanted.keys("frames", street.train.clips) == frames
    flow = compute_flow(street.train, wanted.pairs, options=config["flow"], store=street.store)
    assert wanted.keys("flow", street.train.clips) == flow
    masks = pack_masks(street.train, store=Store([tmp_path]), **config["masks"])
    assert wanted.keys("masks", street.train.clips, street.train.classes) == masks


def test_what_no_run_asks_for_has_no_key(street, config):
    clips = street.train.clips
    files = Wanted({**config, "frames": {**config["frames"], "pack": False}})
    alone = Wanted({**config, "window": {"frames": 1}, "evaluate": {"max_gap_frames": 0}})
    assert files.keys("frames", clips) == alone.keys("flow", clips) == {}
    assert Wanted(config).keys("soft_labels", clips) == {}
    seven, eight, both = (
        Wanted(config, Teachers(dict.fromkeys(digests, Path()))).keys("soft_labels", clips)
        for digests in (["7" * 64], ["8" * 64], ["7" * 64, "8" * 64])
    )
    assert seven.keys() == {clip.id for clip in clips}
    assert len({*seven.values(), *eight.values(), *both.values()}) == 3 * len(clips)
    bare = [replace(clip, targets=()) for clip in clips]
    assert Wanted(config).keys("masks", bare, street.train.classes) == {}


def test_soft_labels_and_flow_are_read_by_a_student_that_trains_from_caches(config):
    online = {**config["student"], "online": {**config["student"]["online"], "teacher": "t.safetensors"}}
    assert Wanted(config).caches_of("student") == ("frames", "flow", "soft_labels")
    assert Wanted({**config, "student": online}).caches_of("student") == ("frames",)
    assert Wanted({**config, "student": online}).caches_of("teacher") == ("frames",)


def test_masks_are_read_where_they_are_learned_from(config):
    online = {**config["student"], "online": {**config["student"]["online"], "teacher": "t.safetensors"}}
    both = Wanted({**config, "supervision": "both"})
    assert both.caches_of("teacher") == ("frames", "masks")
    assert both.caches_of("student") == ("frames", "masks", "flow", "soft_labels")
    assert Wanted({**both.config, "student": online}).caches_of("student") == ("frames", "masks")


def test_a_classifier_reads_frames_alone(config):
    for supervision in ("clicks", "both"):
        assert Wanted({**config, "supervision": supervision}).caches_of("classifier") == ("frames",)


def test_a_network_is_wanted_by_all_that_determines_it(street):
    config = complete_config(street.config)
    clicks = generate_clicks(street.train, options=config["clicks"], seed=config["seed"])
    caches = Caches(street.store, street.frames, street.flow, {})

    def key(role, **changes):
        recipe = Wanted({**config, **changes}).recipe(
            role, train=street.train, val=street.val, clicks=clicks, caches=caches
        )
        assert recipe.config.keys() <= {*config}
        return entry_key("models", recipe.inputs())

    assert key("teacher") == key("teacher", window={"frames": 1}, results="elsewhere")
    assert key("teacher") != key("teacher", seed=5)
    assert (
        len({key("teacher"), key("student"), key("student", window={**config["window"], "frames": 2})}) == 3
    )
