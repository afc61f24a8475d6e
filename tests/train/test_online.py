"""Teacher and flow in the loop: what they give beside the caches, and a training with them."""

import dataclasses
import json

import pytest
import torch

from weclick.common.config import complete_config
from weclick.common.errors import InputError, MissingFileError
from weclick.manifest.window import Window
from weclick.proxy_labels.soft_labels import compute_soft_labels
from weclick.store import Store, entry_key
from weclick.train import stage
from weclick.train.build import begin
from weclick.train.data.stream import Caches, Stream
from weclick.train.log import read_metrics
from weclick.train.objective import Objective
from weclick.train.online import Online, OnlineSection, to_rgb
from weclick.train.recipe import Recipe
from weclick.train.stage import train_recipe

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(street, tmp_path_factory):
    """Reads the street's caches, keeps what this module makes to itself."""
    return Store([*street.store.roots, tmp_path_factory.mktemp("models")])


@pytest.fixture(scope="module")
def teacher(street, store, tmp_path_factory):
    """A teacher's file, trained for some steps."""
    folder = tmp_path_factory.mktemp("teacher")
    config = {name: street.config[name] for name in ("seed", "teacher", "partial_cross_entropy", "gated_crf")}
    caches = Caches(store, street.frames, {}, {})
    train_recipe(
        Recipe("teacher", config, street.train, street.clicks, caches, street.val), folder, device="cpu"
    )
    return folder / "model.safetensors"


def batches(street, caches, occlusion="none", **options):
    """Two steps of whole frames, unscaled and unflipped, unless told otherwise."""
    whole = {"crop": [64, 96], "scale": [1.0, 1.0], "flip": False}
    stream = Stream(
        street.train,
        street.clicks,
        caches,
        window=Window(**street.config["window"]),
        options={**street.config["student"], **whole, **options},
        stride_px=4,
        occlusion=occlusion,
        seed=5,
    )
    return list(stream.batches(0, 2, CPU))


def make_online(street, teacher, occlusion="photometric", **section):
    section = {**street.config["student"]["online"], "teacher": str(teacher), **section}
    return Online(section, classes=street.train.classes.names, stride_px=4, occlusion=occlusion)


@pytest.mark.parametrize("occlusion", ["none", "photometric"])
def test_whole_frames_get_what_is_stored(street, store, teacher, occlusion):
    """But for the steps in which soft labels and flow are stored; so do the terms of the loss."""
    labels = compute_soft_labels(street.train, teacher, chunk_px=16, store=store, codec="root8")
    stored = batches(street, Caches(store, street.frames, street.flow, labels), occlusion)
    bare = batches(street, Caches(store, street.frames, {}, {}))
    online = make_online(street, teacher, occlusion)
    config = {**street.config, "gated_crf": {**street.config["gated_crf"], "warmup": 0.0}}
    objective = Objective(config, steps=1, class_weights=None)
    for cached, batch in zip(stored, bare, strict=True):
        assert batch.teacher is None
        assert not len(batch.flow)
        made = online(batch)
        torch.testing.assert_close(made.teacher, cached.teacher, atol=2 / 255, rtol=0)
        torch.testing.assert_close(made.flow, cached.flow, atol=0.5 / 64 + 1e-5, rtol=0)
        assert torch.equal(made.flow_valid, cached.flow_valid)
        logits = torch.randn(len(batch.images), 9, 16, 24, generator=torch.Generator().manual_seed(0))
        ours, theirs = (objective(logits, each, step=0) for each in (made, cached))
        assert len(ours) == 4
        for name, term in ours.items():
            torch.testing.assert_close(term, theirs[name], rtol=5e-3, atol=1e-6, msg=name)
        weights = objective.shares([made])[0]
        assert all(weight == pytest.approx(1.0) for weight in weights.values())


def test_frames_are_seen_as_they_were(street, store):
    (batch, _) = batches(street, Caches(store, street.frames, {}, {}), crop=[96, 128])
    rgb = to_rgb(batch.images)
    assert rgb.dtype == "uint8"
    assert rgb.shape == (len(batch.images), 96, 128, 3)
    outside = ~torch.nn.functional.interpolate(batch.inside.float(), scale_factor=4).bool()[:, 0]
    deep = torch.nn.functional.max_pool2d((~outside).float(), 9, 1, 4) == 0
    assert deep.any()
    assert set(rgb[deep.numpy()].ravel().tolist()) == {124, 116, 104}


def test_a_teacher_of_another_stride_is_brought_to_the_students_grid(street, store, teacher):
    (batch, _) = batches(street, Caches(store, street.frames, {}, {}))
    coarse = dataclasses.replace(batch, inside=batch.inside[..., ::2, ::2])
    made = make_online(street, teacher, occlusion=None)(coarse)
    assert made.teacher.shape == (len(batch.images), 9, 8, 12)
    torch.testing.assert_close(made.teacher.sum(1), torch.ones(len(batch.images), 8, 12))
    assert not len(made.flow)


def student(street, store, teacher, **changed):
    section = {
        **street.config["student"],
        "online": {**street.config["student"]["online"], "teacher": teacher},
    }
    config = {**street.config, "student": {**section, **changed}}
    caches = Caches(store, street.frames, {}, {})
    in_loop = OnlineSection.of(config)
    return Recipe("student", config, street.train, street.clicks, caches, street.val, in_loop)


def test_a_student_learns_without_caches(street, store, teacher, tmp_path):
    recipe = student(street, store, str(teacher))
    entry = train_recipe(recipe, tmp_path, device="cpu")
    inputs = entry.meta["inputs"]
    assert not inputs["flow"]
    assert not inputs["soft_labels"]
    assert inputs["online"]["flow"]["name"] == "dis"
    line = next(read_metrics(tmp_path / "metrics.jsonl"))
    assert {"knowledge_distillation", "memory_flow"} <= set(line["terms"])
    assert line["time_shares"]["online"] > 0


def test_the_key_counts_teacher_and_estimator_by_content(street, store, teacher, tmp_path):
    def key(recipe):
        return entry_key("models", recipe.inputs())

    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(teacher.read_bytes())
    recipe = student(street, store, str(teacher))
    assert key(recipe) == key(student(street, store, str(copy)))
    config = json.loads(json.dumps(recipe.config))
    config["student"]["online"]["options"] = {"preset": "fast"}
    changed = dataclasses.replace(recipe, config=config, in_loop=OnlineSection.of(config))
    assert key(recipe) != key(changed)
    assert key(recipe) != key(student(street, store, None))


def test_wrong_teachers_are_told(street, store, teacher, tmp_path):
    with pytest.raises(MissingFileError, match=r"student\.online\.teacher is 'gone', which is no file; give"):
        student(street, store, "gone").inputs()
    with pytest.raises(InputError, match=r"was trained for the classes .*name a network of these classes"):
        Online(
            {"teacher": teacher, "estimator": "dis", "options": {}}, classes="ab", stride_px=4, occlusion=None
        )


def test_it_is_off_by_default():
    assert complete_config({})["student"]["online"]["teacher"] is None


def test_a_teacher_that_changes_while_it_is_loaded_trains_nobody(
    street, store, teacher, tmp_path, monkeypatch
):
    """The key holds the teacher's digest, which was taken before the network was loaded."""
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(teacher.read_bytes())

    def exchange(*given):
        begun = begin(*given)
        mine.write_bytes(teacher.read_bytes() + b"\0")
        return begun

    monkeypatch.setattr(stage, "begin", exchange)
    recipe = student(street, store, str(mine), steps=2)
    with pytest.raises(InputError, match=r"student\.online names changed while it was loaded"):
        train_recipe(recipe, tmp_path / "student", device="cpu")
    assert not (tmp_path / "student" / "model.safetensors").exists()
