"""A training of two streams that was stopped goes on to the very network of one that was not."""

import pytest

from helpers.training import StoppedError
from helpers.two_stream_run import make_two_stream_run, two_stream_config
from weclick.runs.report.results import read_results
from weclick.runs.wanted import Wanted
from weclick.store import Store
from weclick.train.checkpoint import CHECKPOINT
from weclick.train.data.stream import Caches
from weclick.train.optimizer import set_learning_rate
from weclick.train.stage import train_recipe

STUDENT = {
    "architecture": "two_stream",
    "backbone": "mobilenetv2_compact",
    "pretrained": None,
    "channels": 8,
    "steps": 3,
    "batch_size": 2,
    "crop": [32, 48],
    "checkpoint_every": 1,
    "validate_every": 0,
    "precision": "32",
}


def test_a_stopped_training_goes_on_to_the_same_key_and_weights(tmp_path, monkeypatch):
    run = make_two_stream_run(tmp_path)
    config = two_stream_config(tmp_path, student=STUDENT, constrain_loss={"weight": 1, "iterations": 2})
    results = read_results(run.folder, config)
    keys = {"frames": results.frames, "cams": results.cams, "stack": results.stack["train"]}

    def train(name):
        store = Store([*run.store.roots, tmp_path / f"{name}_store"])
        recipe = Wanted(config).recipe(
            "student",
            train=results.train,
            val=results.train,  # the run has stored no flow of its other split
            val_stacks=keys["stack"],
            clicks=results.clicks,
            tags=results.tags,
            caches=Caches.of(store, keys),
        )
        return train_recipe(recipe, tmp_path / name, device="cpu")

    def stop_at_2(optimizer, section, step):
        if step == 2:
            raise StoppedError
        set_learning_rate(optimizer, section, step)

    whole = train("whole")
    monkeypatch.setattr("weclick.train.loop.set_learning_rate", stop_at_2)
    with pytest.raises(StoppedError):
        train("parts")
    monkeypatch.undo()
    assert (tmp_path / "parts" / CHECKPOINT).is_file()
    again = train("parts")
    assert again.key == whole.key
    assert (again.path / "model.safetensors").read_bytes() == (whole.path / "model.safetensors").read_bytes()
