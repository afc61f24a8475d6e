"""A classifier learns from tags, by the one trainer: what it learns, its key, and what it needs."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.batches import H, K, W, make_batch
from helpers.colours import CLASSES, COLOURS, make_colours
from helpers.places import ROOT, SHARED
from helpers.training import StoppedError
from weclick.clicks.tags import make_tags
from weclick.common.config import complete_config, select
from weclick.common.errors import InputError
from weclick.common.schemas import schema_fault
from weclick.common.sections import Role
from weclick.common.stages import ROLES
from weclick.datasets import build_manifest, open_dataset
from weclick.datasets.frames import pack_frames
from weclick.evaluate.tagged import score_tags
from weclick.manifest import write_manifest
from weclick.manifest.click_table import POINT, ClickTable
from weclick.manifest.read import read_clip, read_label
from weclick.manifest.tag_table import TagTable, tags_digest
from weclick.manifest.tagged import tagged
from weclick.manifest.window import Window
from weclick.models import Classifier, normalize
from weclick.runs.wanted import Wanted
from weclick.store import Store, entry_key, verify_entry, write_index
from weclick.store.model_file import load_model
from weclick.train.checkpoint import CHECKPOINT
from weclick.train.data.stream import Caches, Stream
from weclick.train.log import read_metrics
from weclick.train.objective import Objective
from weclick.train.optimizer import set_learning_rate
from weclick.train.roles import ROLE_NEEDS
from weclick.train.stage import train_recipe

CPU = torch.device("cpu")
LITE0 = SHARED / "weights" / "tf_efficientnet_lite0_imagenet.safetensors"


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    return make_colours(tmp_path_factory.mktemp("colours"))


def key(recipe) -> str:
    return entry_key("models", recipe.inputs())


def with_tags(colours, rows, *, complete=True) -> TagTable:
    return TagTable(colours.tags.classes, complete, {place: frozenset(ids) for place, ids in rows.items()})


def lines_of(folder, part):
    return [line[part] for line in read_metrics(folder / "metrics.jsonl") if part in line]


# --- what it learns ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learned(colours, tmp_path_factory):
    """A head on a frozen random ResNet, which learned from the clips' tags."""
    folder = tmp_path_factory.mktemp("learned")
    recipe = colours.recipe(backbone="resnet18", steps=30, batch_size=12, dropout=0)
    return folder, train_recipe(recipe, folder, device="cpu")


def test_it_tells_two_colours_apart_by_tags(colours, learned):
    folder, entry = learned
    losses, (validation,) = lines_of(folder, "loss"), lines_of(folder, "validation")
    assert losses[-1] < losses[0] - 0.1
    assert validation == {"mean_average_precision": 1.0, "per_class_ap": {"red": 1.0, "blue": 1.0}}
    assert verify_entry(entry.path) == []
    model, card = load_model(folder / "model.safetensors")
    assert isinstance(model, Classifier)
    assert card.classes.names == CLASSES
    assert score_tags(model, colours.val)["mean_average_precision"] == 1.0


@torch.no_grad()
def test_its_maps_tell_where(colours, learned):
    """The cell where a class's map is highest has that class's colour, though tags tell no place."""
    model, _ = load_model(learned[0] / "model.safetensors")
    for clip, name in ((clip, name) for clip in colours.val.clips for name in COLOURS if name in clip.id):
        for image in read_clip(colours.val, clip):
            rgb = torch.tensor(image).permute(2, 0, 1)[None].float()
            cam = model.class_maps(normalize(rgb))[0, CLASSES.index(name)]
            y, x = np.unravel_index(int(cam.argmax()), cam.shape)
            near = image[y * 16 : y * 16 + 16, x * 16 : x * 16 + 16].reshape(-1, 3)
            assert (near == COLOURS[name]).all(1).any()


def test_the_card_says_what_it_is(learned):
    card = json.loads((learned[0] / "model.json").read_text(encoding="utf-8"))
    assert card["role"] == "classifier"
    assert card["options"]["architecture"] == "classifier"
    attributes = {name: value for name, value in card.items() if name not in ("kind", "key")}
    assert not schema_fault(attributes, "models")


def test_only_the_head_of_a_frozen_one_learns(colours, tmp_path):
    first, last = {}, {}
    for freeze, found in ((True, first), (False, last)):
        folder = tmp_path / str(freeze)
        store = Store([*colours.store.roots, folder / "store"])
        recipe = colours.recipe(freeze=freeze, steps=2, batch_norm="train", store=store)
        train_recipe(recipe, folder, device="cpu")
        model, _ = load_model(folder / "model.safetensors")
        torch.manual_seed(0)
        begun = recipe.needs.build(recipe.options, 3, None).state_dict()
        changed = {name for name, value in model.state_dict().items() if not torch.equal(value, begun[name])}
        found["backbone"] = {name for name in changed if name.startswith("backbone.")}
        found["head"] = changed - found["backbone"]
    assert not first["backbone"]
    assert last["backbone"]
    assert first["head"] == last["head"] == {"classifier.weight", "classifier.bias"}


@pytest.mark.parametrize("options", [{}, {"freeze": False, "hidden": 8, "accumulate": 2, "ema": 0.75}])
def test_a_resumed_training_is_the_very_same(colours, tmp_path, monkeypatch, options):
    def train(name):
        store = Store([*colours.store.roots, tmp_path / f"{name}_store"])
        return train_recipe(colours.recipe(**options, store=store), tmp_path / name, device="cpu")

    def stop_at_3(optimizer, section, step):
        if step == 3:
            raise StoppedError
        set_learning_rate(optimizer, section, step)

    whole = train("whole")
    monkeypatch.setattr("weclick.train.loop.set_learning_rate", stop_at_3)
    with pytest.raises(StoppedError):
        train("parts")
    monkeypatch.undo()
    assert (tmp_path / "parts" / CHECKPOINT).is_file()
    again = train("parts")
    assert (again.path / "model.safetensors").read_bytes() == (whole.path / "model.safetensors").read_bytes()
    losses = lines_of(tmp_path / "parts", "loss")
    assert losses == lines_of(tmp_path / "whole", "loss")
    assert len(losses) == 4


def test_the_best_weights_by_average_precision_are_kept(colours, tmp_path):
    store = Store([*colours.store.roots, tmp_path / "store"])
    recipe = colours.recipe(keep="best", validate_every=1, store=store)
    entry = train_recipe(recipe, tmp_path, device="cpu")
    found = [line["mean_average_precision"] for line in lines_of(tmp_path, "validation")]
    assert entry.attributes["kept_step"] == 1 + found.index(max(found))
    assert recipe.inputs()["validation"].keys() == {clip.id for clip in colours.val.clips}
    model, _ = load_model(tmp_path / "model.safetensors")
    assert score_tags(model, colours.val)["mean_average_precision"] == pytest.approx(max(found))


def test_it_trains_where_nothing_can_be_scored(colours, tmp_path, capsys):
    store = Store([*colours.store.roots, tmp_path / "store"])
    nothing = replace(colours.val, clips=())
    recipe = replace(colours.recipe(store=store, keep="best"), validation=nothing)
    train_recipe(recipe, tmp_path, device="cpu")
    assert lines_of(tmp_path, "validation")[0]["mean_average_precision"] is None
    assert "classifier.keep: is best, but no scored frame" in capsys.readouterr().err


def test_its_verb_trains_it_from_the_files_of_the_stages(colours, tmp_path, verb):
    """The rule gives it the part of the configuration that the stage reads."""
    store = {"cache": {**colours.config["cache"], "roots": [*map(str, colours.store.roots), str(tmp_path)]}}
    config = json.dumps({**select(colours.config, "classifier"), **store})
    write_manifest(colours.train, tmp_path / "train.json")
    write_manifest(colours.val, tmp_path / "val.json")
    write_index(tmp_path / "frames.json", "frames", colours.frames)
    words = ("--config", "{}", "--manifest", tmp_path / "train.json", "--output", tmp_path / "tags.h5")
    assert verb("tags", *words)[0] == 0
    words = ("--config", config, "--manifest", tmp_path / "train.json", "--tags", tmp_path / "tags.h5")
    files = ("--frames", tmp_path / "frames.json", "--val-manifest", tmp_path / "val.json")
    status, told = verb("classifier", *words, *files, "--output", tmp_path / "made", "--device", "cpu")
    assert status == 0, told.err
    card = json.loads((tmp_path / "made" / "model.json").read_text(encoding="utf-8"))
    assert (card["role"], card["steps"]) == ("classifier", 4)


# --- batches and the loss ---------------------------------------------------------------------------------


def stream_of(colours, recipe, **changed):
    options = {**recipe.options, **changed}
    return Stream(
        recipe.manifest,
        recipe.clicks,
        recipe.used_caches(),
        window=recipe.window,
        options=options,
        stride_px=16,
        occlusion="none",
        seed=0,
        tags=recipe.tags,
    )


def test_a_batch_has_the_tags_of_its_targets(colours):
    own = with_tags(colours, {**colours.tags.rows, ("red_blue", "001"): [2]})
    recipe = colours.recipe(tags=own)
    stream = stream_of(colours, recipe, batch_size=12)
    plan, batch = stream.plan(0), next(stream.batches(0, 1, CPU))
    assert batch.neighbours == 0
    for sample, row in zip(plan, batch.tags, strict=True):
        name = sample.clip.frames[sample.target].name
        expected = own.of(sample.clip.id, name)
        assert {i for i, there in enumerate(row.tolist()) if there} == expected | {0}
    assert {tuple(row) for row in batch.tags.tolist()} >= {(True, False, True), (True, True, True)}


def test_other_roles_ask_for_no_tags(street):
    caches = Caches(street.store, street.frames, {}, {})
    stream = Stream(
        street.train,
        street.clicks,
        caches,
        window=Window(frames=1),
        options=street.config["student"],
        stride_px=4,
        occlusion="none",
        seed=0,
    )
    assert next(stream.batches(0, 1, CPU)).tags is None


def test_a_network_gets_the_fields_that_it_names():
    batch = replace(make_batch(), tags=torch.ones(2, K, dtype=torch.bool))
    images, tags = batch.select(("images", "tags"))
    assert torch.equal(images, batch.images)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert tags is batch.tags


@pytest.mark.parametrize("complete", [True, False])
def test_shares_of_unequal_parts_sum_to_the_whole(complete):
    rows = torch.tensor([[[1, 1, 0], [0, 1, 1]], [[1, 0, 1], [1, 0, 0]]]).bool()
    parts = [replace(make_batch(neighbours=0), tags=tags) for tags in rows]
    parts[1].inside[:, :, :, 5:] = False
    whole = replace(
        parts[0],
        images=torch.cat([part.images for part in parts]),
        inside=torch.cat([part.inside for part in parts]),
        tags=rows.flatten(0, 1),
    )
    sections = {"supervision": "tags", "classifier": {"weight": 1.0, "complete": complete}}
    objective = Objective(sections, steps=1, class_weights=None)
    values = [torch.randn(2, K, H, W, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    (name,) = objective(values[0], parts[0], 0)
    terms = [objective(value, part, 0)[name] for value, part in zip(values, parts, strict=True)]
    shares = [share[name] for share in objective.shares(parts)]
    expected = objective(torch.cat(values), whole, 0)[name]
    torch.testing.assert_close(sum(s * term for s, term in zip(shares, terms, strict=True)), expected)
    assert (shares[0] == shares[1]) == complete  # three tags are in the first part, one in the second


def test_a_configuration_that_holds_the_section_trains_no_segmentation_network_with_it(street):
    sections = {**street.config, "supervision": "both"}
    objective = Objective(sections, steps=1, class_weights=None)
    assert "multilabel_soft_margin" not in {term.name for term, _, _ in objective._on}


# --- the recipe -------------------------------------------------------------------------------------------


def test_the_key_holds_tags_frames_and_targets_and_no_clicks(colours):
    inputs = colours.recipe().inputs()
    assert inputs["tags"] == tags_digest(colours.tags)
    assert inputs["frames"] == colours.frames
    assert inputs["targets"] == {clip.id: list(clip.targets) for clip in colours.train.clips}
    assert not {"clicks", "masks", "masked", "supervision"} & inputs.keys()
    assert inputs["window"] is None
    assert inputs["options"]["freeze"] is True


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"log_every": 7}, True),
        ({"validate_every": 7}, True),
        ({"checkpoint_every": 7}, True),
        ({"hidden": 8}, False),
        ({"freeze": False}, False),
        ({"dropout": 0.1}, False),
        ({"steps": 7}, False),
        ({"seed": 1}, False),
    ],
)
def test_the_key_follows_what_changes_the_weights(colours, changed, same):
    assert (key(colours.recipe(**changed)) == key(colours.recipe())) == same


def test_the_key_follows_the_tags_and_not_the_clicks(colours):
    rows = dict(colours.tags.rows)
    keys = {
        key(colours.recipe(tags=tags))
        for tags in (
            colours.tags,
            with_tags(colours, {**rows, ("red", "000"): [0, 2]}),
            with_tags(colours, rows, complete=False),
        )
    }
    assert len(keys) == 3
    base = colours.recipe()
    other = ClickTable("train", CLASSES, {("red", "000"): np.array([(1, 1, 1, 0)], POINT)})
    assert key(replace(base, clicks=other)) == key(base)


def test_a_role_reads_what_its_row_says(colours):
    assert set(ROLE_NEEDS) == set(ROLES) == set(Role.__args__)
    recipe = colours.recipe()
    assert recipe.window.frames == 1
    assert not recipe.masked
    assert not recipe.uses_flow
    assert len(recipe.clicks) == 0


# --- what it needs ----------------------------------------------------------------------------------------


def test_targets_without_a_tag_are_left_out(colours):
    some = with_tags(colours, {("red", ""): [1], ("blue", "001"): [2], ("none", ""): [0]})
    kept = {clip.id: list(clip.targets) for clip in tagged(colours.train, some).clips}
    assert kept == {"red": [0, 1, 2], "blue": [1], "none": [0, 1, 2], "red_blue": []}
    positives = with_tags(colours, some.rows, complete=False)
    kept = {clip.id: list(clip.targets) for clip in tagged(colours.train, positives).clips}
    assert kept == {"red": [0, 1, 2], "blue": [1], "none": [], "red_blue": []}


@pytest.mark.parametrize("rows", [{}, {("none", ""): [0]}, {("elsewhere", ""): [1]}])
def test_a_split_without_tags_is_told(colours, rows):
    told = "none of the 12 targets of split 'train' has a tag of a class beside 'background'"
    with pytest.raises(InputError, match=told):
        colours.recipe(tags=with_tags(colours, rows))


def test_tags_of_other_classes_are_told(colours):
    others = TagTable(("background", "cat"), True, {("red", ""): frozenset({1})})
    with pytest.raises(InputError, match="name the classes background, cat, but split 'train' has backgr"):
        colours.recipe(tags=others)


# --- real clips -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(
    not ((SHARED / "data" / "davis").is_dir() and LITE0.is_file()),
    reason="the shared folder with the DAVIS clips and EfficientNet-Lite0's weights is absent",
)
def test_a_head_on_imagenets_features_tells_the_classes_of_real_clips(tmp_path):
    """Trained on every tenth frame, scored on the frames between."""
    config = complete_config(
        {
            "method": "f2f",
            "data": {
                "name": "folder",
                "root": str(SHARED / "data" / "davis"),
                "classes": str(ROOT / "config" / "davis_classes.yaml"),
                "shrink": 4,
                "target_every": 10,
                "held_out": "other_frames",
            },
            "classifier": {
                "backbone": "timm/tf_efficientnet_lite0",
                "pretrained": str(LITE0),
                "steps": 40,
                "crop": [128, 224],
                "validate_frames": 30,
            },
        }
    )
    dataset = open_dataset(config["data"], tags=config["tags"])
    train, val = (
        build_manifest(dataset, split, 0, 1, reach_frames=0, remember=None) for split in ("train", "val")
    )
    store = Store([tmp_path / "store"])
    caches = Caches(store, pack_frames(train, chunk_px=128, store=store), {}, {})
    tags = make_tags(train, config["tags"])
    recipe = Wanted(config).recipe("classifier", train=train, val=val, tags=tags, caches=caches)
    train_recipe(recipe, tmp_path / "made", device="cpu")
    (found,) = lines_of(tmp_path / "made", "validation")
    assert found["mean_average_precision"] > 0.9
    assert found["per_class_ap"].keys() == {"car", "dog", "swan"}


# --- its scores -------------------------------------------------------------------------------------------


def test_scores_are_those_of_the_labels(colours):
    """A classifier that reads the colours off is perfect, and one that mixes them up is not."""

    class Reader(torch.nn.Module):
        def __init__(self, order):
            super().__init__()
            self.order = order

        def forward(self, images):
            red, blue = (images[:, 0] - images[:, 2]).unsqueeze(1), (images[:, 2] - images[:, 0]).unsqueeze(1)
            return torch.cat([torch.zeros_like(red), red, blue], 1)[:, self.order]

    right = score_tags(Reader([0, 1, 2]), colours.val)
    wrong = score_tags(Reader([0, 2, 1]), colours.val)
    assert right["mean_average_precision"] == 1.0
    assert wrong["mean_average_precision"] < 0.5
    assert list(right["per_class_ap"]) == ["red", "blue"]
    assert None in score_tags(Reader([0, 1, 2]), colours.val, at_most=1)["per_class_ap"].values()
    shown = {
        int(i) for clip in colours.val.clips for f in clip.frames for i in read_label(colours.val, f).flat
    }
    assert shown == {0, 1, 2}
