import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from weclick import cli
from weclick.cli.plan import hints, spell_seconds
from weclick.common.config import ConfigError, complete_config
from weclick.datasets.frames import pack_frames
from weclick.proxy_labels.masks import pack_masks
from weclick.proxy_labels.soft_labels import compute_soft_labels
from weclick.runs.label_source import label_source, stored_as
from weclick.runs.plan import plan as plan_module
from weclick.runs.plan import probe
from weclick.runs.plan.plan import make_plan
from weclick.runs.plan.planned import Plan, StagePlan
from weclick.store import Store


@pytest.fixture(scope="module")
def config(street, tmp_path_factory):
    return {**street.config, "results": str(tmp_path_factory.mktemp("results"))}


def by_stage(plan):
    return {stage.stage: stage for stage in plan.stages}


def test_what_the_store_has_is_not_planned_again(street, config):
    config = {**config, "frames": {**config["frames"], "chunk_px": 32}}
    stages = by_stage(make_plan(config, street.store, probe_s=0))
    assert (stages["frames"].found, stages["frames"].missing, stages["frames"].store_bytes) == (2, 0, 0)
    assert stages["teacher"].missing == 1
    assert all(stage.seconds is None for stage in stages.values())


def test_predicted_bytes_are_those_that_are_written(street, config, tmp_path):
    config = {**config, "frames": {**config["frames"], "chunk_px": 32}}
    frames = by_stage(make_plan(config, Store([tmp_path / "store"]), probe_s=0))["frames"]
    entries = [street.store.get("frames", key).meta["entry_bytes"] for key in street.frames.values()]
    assert frames.missing == 2
    assert frames.store_bytes == pytest.approx(sum(entries), rel=0.1)
    assert not (tmp_path / "store").exists()


def test_what_older_entries_hold_takes_room_and_no_time(street, config, tmp_path):
    """As after further clicks: the store has some frames and pairs of each clip."""
    store, options = Store([tmp_path / "store"]), {**config["frames"], "chunk_px": 32}
    config = {**config, "frames": options}
    clips = tuple(clip.restrict([0, 1]) for clip in street.train.clips)
    pack_frames(replace(street.train, clips=clips), store=store, **options)
    whole = by_stage(make_plan(config, Store([tmp_path / "other"]), probe_s=0))["frames"]
    frames = by_stage(make_plan(config, store, probe_s=0))["frames"]
    assert (whole.work, frames.work) == ("8 frames of 2 clips", "8 frames of 2 clips, 4 from older entries")
    assert (frames.missing, frames.store_bytes) == (2, pytest.approx(whole.store_bytes, rel=0.1))
    run = SimpleNamespace(seconds=lambda value: value)
    rate, counts = probe.Rate(1.0, 2.0), {clip.id: 4 for clip in street.train.clips}
    lacking = {street.train.clips[0].id}
    planned = [
        plan_module._stored(run, "frames", "frames", street.train.clips, counts, lacking, rate, taken)
        for taken in ({}, dict.fromkeys(lacking, 3))
    ]
    assert planned[1].seconds == pytest.approx(planned[0].seconds / 4)
    assert planned[1].store_bytes == planned[0].store_bytes


def test_the_probe_gives_every_stage_a_time(config, tmp_path):
    plan = make_plan(config, Store([tmp_path / "store"]), probe_s=0.1)
    stages = by_stage(plan)
    assert stages.keys() >= {"clicks", "flow", "teacher", "soft_labels", "student"}
    assert all(stage.seconds > 0 for name, stage in stages.items() if name != "evaluate")
    assert plan.fits


def test_a_clip_of_which_both_splits_have_frames_counts_once(tmp_path):
    for kind, shape in (("frames", (32, 32, 3)), ("labels", (32, 32))):
        (tmp_path / kind / "park").mkdir(parents=True)
        for i in range(10):
            image = Image.fromarray(np.full(shape, i % 2, np.uint8))
            image.save(tmp_path / kind / "park" / f"{i}.png")
    classes = "classes: [{name: ground, color: [0, 0, 0]}, {name: car, color: [9, 9, 9]}]"
    (tmp_path / "classes.yaml").write_text(classes)
    data = {"name": "folder", "root": str(tmp_path), "held_out": "other_frames", "target_every": 2}
    config = complete_config({"data": data})
    plan = make_plan(config, Store([tmp_path / "store"]), probe_s=0)
    assert by_stage(plan)["manifest"].work == "1 clips, 10 frames"


def test_every_need_of_flow_is_planned(street, config, tmp_path):
    """Pairs that an earlier need has are made once."""
    ours = {**config, "method": "f2f", "serves": ["weclick", "f2f"], "supervision": "proxies"}
    plan = make_plan(ours, Store([tmp_path / "store"]), probe_s=0)
    stages = by_stage(plan)
    assert stages.keys() == {"manifest", "clicks", "frames", "flow"}
    chain, scored = "6 pairs (chain) of 2 clips, 2 from older entries", "3 pairs of 1 clips"
    assert stages["flow"].work == f"10 pairs of 2 clips + {chain} + {scored}"
    assert any("stages of method f2f after flow are neither counted nor timed" in note for note in plan.notes)
    assert any("frames are packed for serves: [weclick, f2f]; another" in note for note in plan.notes)
    with pytest.raises(ConfigError, match="serves"):
        make_plan({**ours, "serves": ["weclick"]}, street.store, probe_s=0)


def test_of_flow_only_pairs_that_somebody_needs_are_named(street, config, tmp_path):
    objects = {**config, "method": "maskconsist", "serves": ["maskconsist"], "supervision": "tags"}
    objects["pair"] = {"delta_frames": 1}
    work = by_stage(make_plan(objects, Store([tmp_path / "store"]), probe_s=0))["flow"].work
    assert "pairs (step) of 2 clips + " in work
    assert not re.search(r"\b0 pairs", work)


def test_masks_are_planned_where_they_are_learned_from(street, config, tmp_path):
    masks = {**config, "supervision": "masks"}
    store = Store([tmp_path / "store"])
    stages = by_stage(make_plan(masks, store, probe_s=0.1))
    assert (stages["masks"].found, stages["masks"].missing) == (0, 2)
    assert stages["masks"].work == "4 frames of 2 clips"
    assert all(stages[name].seconds > 0 for name in ("masks", "teacher", "student"))
    assert "masks" not in by_stage(make_plan(config, store, probe_s=0))
    keys = pack_masks(street.train, store=store, **config["masks"])
    written = sum(store.get("masks", key).meta["entry_bytes"] for key in keys.values())
    assert stages["masks"].store_bytes == pytest.approx(written, rel=0.5)  # descriptions are most of it
    assert by_stage(make_plan(masks, store, probe_s=0))["masks"].found == 2


def test_clicks_without_a_mask_are_planned(config, tmp_path):
    from PIL import Image

    root = tmp_path / "mine"
    for clip in ("a", "val"):
        (root / "frames" / clip).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (64, 48), (9 * i, 0, 0)).save(root / "frames" / clip / f"{i}.png")
    (root / "classes.yaml").write_text("classes: [{name: all, color: [0, 0, 0]}]")
    (root / "clicks.csv").write_text("clip,frame,y,x,class\na,0,3,4,all\na,2,3,4,all\n")
    data = {"name": "folder", "root": str(root), "val_clips": ["val"], "clicks": str(root / "clicks.csv")}
    mine = {**config, "data": {"train": "train", "val": "val", "shards": 1, "shrink": 1, **data}}
    stages = by_stage(make_plan(mine, Store([tmp_path / "store"]), probe_s=0.1))
    assert stages["student"].seconds > 0
    assert stages["evaluate"].work.startswith("0 scored frames")


def test_several_teachers_are_planned_together(config, tmp_path):
    several = {**config, "soft_labels": {**config["soft_labels"], "teachers": [0, 3, 4]}}
    plan = make_plan(several, Store([tmp_path / "store"]), probe_s=0)
    teacher = by_stage(plan)["teacher"]
    assert (teacher.work, teacher.found, teacher.missing) == ("3 networks, 3 steps each", 0, 3)
    one = by_stage(make_plan(config, Store([tmp_path / "store"]), probe_s=0))["teacher"]
    assert (one.work, one.missing, 3 * one.store_bytes) == ("3 steps", 1, teacher.store_bytes)


def test_where_files_make_the_soft_labels_no_teacher_is_planned(config, street, tmp_path):
    from PIL import Image

    for clip in street.train.clips:
        (tmp_path / "masks" / clip.id).mkdir(parents=True)
        for frame in clip.frames:
            Image.new("L", (96, 64), 3).save(tmp_path / "masks" / clip.id / f"{frame.name}.png")
    section = {"source": "folder", "folder": {"path": str(tmp_path / "masks")}}
    given = complete_config({**config, "soft_labels": section})
    store = Store([tmp_path / "store"])
    plan = make_plan(given, store, probe_s=0.1)
    stages = by_stage(plan)
    assert "teacher" not in stages
    assert (stages["soft_labels"].found, stages["soft_labels"].missing) == (0, 2)
    assert stages["student"].seconds > 0
    assert not any("random weights" in note for note in plan.notes)
    source = label_source(given, street.train.classes.names, ())
    compute_soft_labels(street.train, source, store=store, **stored_as(given))
    assert by_stage(make_plan(given, store, probe_s=0))["soft_labels"].found == 2


def test_the_verb_prints_a_table(config, tmp_path):
    text = json.dumps({**config, "cache": {"roots": [str(tmp_path / "store")]}})
    done = CliRunner().invoke(cli.app, ["plan", "--config", text, "--no-probe", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert "soft_labels" in done.output
    assert "will be written" in done.output


def test_durations_for_people():
    assert [spell_seconds(s) for s in (2, 120, 7200, 9e6)] == ["2.0 s", "2 min", "2.0 h", "104 days"]


LARGE = {"batch_size": 16, "crop": [512, 512]}


@pytest.fixture
def large(config):
    """The same run with batches that take far longer than a probe may."""
    return {**config, "teacher": {**config["teacher"], **LARGE}, "student": {**config["student"], **LARGE}}


def test_steps_that_are_too_long_to_try_are_estimated_and_marked(large, tmp_path, monkeypatch, capsys):
    trained = []
    whole = probe._train
    monkeypatch.setattr(probe, "_train", lambda *given: (trained.append(given[-1]), whole(*given))[1])
    plan = make_plan(large, Store([tmp_path / "store"]), probe_s=0.1)
    stages = by_stage(plan)
    assert [size["batch_size"] for size in trained] == [2, 2]
    for role in ("teacher", "student"):
        assert stages[role].estimated
        assert stages[role].seconds > 0
    assert not stages["flow"].estimated
    assert any(hint.startswith("≈ is scaled up") for hint in hints(plan, "cpu", probed=True))
    assert capsys.readouterr().err.count("no click of") <= 1


def test_no_probe_begins_after_the_bound(config, tmp_path):
    plan = make_plan(config, Store([tmp_path / "store"]), probe_s=1, at_most_s=0)
    stages = by_stage(plan)
    assert stages["teacher"].seconds is None
    assert stages["soft_labels"].store_bytes > 0
    assert {"teacher", "student", "evaluate"} <= set(plan.untimed)
    assert [note for note in plan.notes if "no time was left to try" in note] == [
        f"no time was left to try {role}; --at-most gives the probes more" for role in ("student", "teacher")
    ]


def test_the_total_says_what_it_holds_and_what_takes_longest():
    stages = (StagePlan("flow", "", seconds=100.0), StagePlan("teacher", "", seconds=5000.0, estimated=True))
    plan = Plan((*stages, StagePlan("evaluate", "")), 0, "store", 10)
    assert plan.seconds == 5100.0
    told = hints(plan, "cpu", probed=True)
    assert "the total is without evaluate" in told
    assert told[-1].startswith(
        "most of the total is teacher; a GPU shortens it, and so do fewer teacher.steps"
    )
    assert "a GPU" not in hints(plan, "cuda", probed=True)[-1]


def test_the_verb_ends_with_a_total(config, tmp_path):
    text = json.dumps({**config, "cache": {"roots": [str(tmp_path / "store")]}})
    words = ["plan", "--config", text, "--probe-seconds", "0.1", "--device", "cpu"]
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.output
    assert "total" in done.output
    assert "note: the total is without evaluate" in done.output


def test_weights_that_cannot_be_fetched_are_told_first(config, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    asked = {**config, "teacher": {**config["teacher"], "pretrained": "imagenet"}}
    plan = make_plan(asked, Store([tmp_path / "store"]), probe_s=0)
    assert plan.notes[0].startswith("teacher.pretrained: the weights are not on this machine")
