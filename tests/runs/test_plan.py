import json

import pytest
from typer.testing import CliRunner

from weclick import cli
from weclick.cli.plan import spell_seconds
from weclick.runs.plan.plan import make_plan
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


def test_the_probe_gives_every_stage_a_time(config, tmp_path):
    plan = make_plan(config, Store([tmp_path / "store"]), probe_s=0.1)
    stages = by_stage(plan)
    assert stages.keys() >= {"clicks", "flow", "teacher", "soft_labels", "student"}
    assert all(stage.seconds > 0 for name, stage in stages.items() if name != "evaluate")
    assert plan.fits


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


def test_the_verb_prints_a_table(config, tmp_path):
    text = json.dumps({**config, "cache": {"roots": [str(tmp_path / "store")]}})
    done = CliRunner().invoke(cli.app, ["plan", "--config", text, "--no-probe", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert "soft_labels" in done.output
    assert "will be written" in done.output


def test_durations_for_people():
    assert [spell_seconds(s) for s in (2, 120, 7200)] == ["2.0 s", "2 min", "2.0 h"]
