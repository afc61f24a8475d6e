import dataclasses
import json

import numpy as np
import pytest
import torch

from weclick.clicks import ClickTable
from weclick.common.code_digest import imported_modules
from weclick.common.config import ConfigError, complete_config
from weclick.common.errors import InputError
from weclick.evaluate.scores import score_frames, scores
from weclick.manifest.read import read_clip
from weclick.models import normalize
from weclick.proxy_labels.soft_labels import compute_soft_labels
from weclick.runs.plan.probe import LOGIT_SPREAD, plausible_teacher, untrained
from weclick.store import Store, entry_key, verify_entry
from weclick.store.model_file import load_model
from weclick.train.build import class_weights
from weclick.train.data.stream import Caches
from weclick.train.log import read_metrics
from weclick.train.network_code import LEFT_OUT
from weclick.train.recipe import Recipe
from weclick.train.stage import train_recipe


@pytest.fixture(scope="module")
def store(street, tmp_path_factory):
    """Reads the street's caches, keeps what this module trains to itself."""
    return Store([*street.store.roots, tmp_path_factory.mktemp("models")])


def make_recipe(street, store, role, soft_labels=None, **changed):
    config = {**street.config, **changed}
    if role == "teacher":
        config = {name: config[name] for name in ("seed", "teacher", "partial_cross_entropy", "gated_crf")}
    return Recipe(
        role=role,
        config=config,
        manifest=street.train,
        clicks=street.clicks,
        caches=Caches(store, street.frames, street.flow, soft_labels or {}),
        validation=street.val,
    )


@pytest.fixture(scope="module")
def taught(street, store, tmp_path_factory):
    """A trained teacher and its soft labels."""
    folder = tmp_path_factory.mktemp("teacher")
    train_recipe(make_recipe(street, store, "teacher"), folder, device="cpu")
    labels = compute_soft_labels(
        street.train, folder / "model.safetensors", chunk_px=16, store=store, codec="root8"
    )
    return folder, labels


def test_a_student_is_trained_once_and_then_found(street, store, taught, tmp_path, monkeypatch):
    recipe = make_recipe(street, store, "student", taught[1])
    leftover = tmp_path / "mine" / ".checkpoint.pt.0123456789abcdef.tmp"
    leftover.parent.mkdir()
    leftover.write_bytes(b"what a killed training left")
    entry = train_recipe(recipe, tmp_path / "mine", device="cpu")
    assert not leftover.exists()
    assert verify_entry(entry.path) == []
    monkeypatch.setattr("weclick.train.stage.fit", None)
    again = train_recipe(recipe, tmp_path / "colleague", device="cpu")
    assert again.key == entry.key
    for name in ("model.safetensors", "metrics.jsonl", "model.json"):
        assert (tmp_path / "mine" / name).read_bytes() == (tmp_path / "colleague" / name).read_bytes()
    assert not (tmp_path / "mine" / "checkpoint.pt").exists()


def test_the_card_tells_what_was_trained(street, taught):
    card = json.loads((taught[0] / "model.json").read_text(encoding="utf-8"))
    assert card["role"] == "teacher"
    assert card["steps"] == 3
    assert card["parameters"] > 10_000
    assert card["options"]["backbone"] == "mobilenetv2_compact"
    model, loaded = load_model(taught[0] / "model.safetensors")
    assert loaded.classes == street.train.classes
    assert model(torch.zeros(1, 3, 33, 50)).shape[1] == 9


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"student.log_every": 7}, True),
        ({"student.checkpoint_every": 7}, True),
        ({"student.validate_every": 7}, True),
        ({"student.profile": [1, 2]}, True),
        ({"student.online.estimator": "raft"}, True),
        ({"student.keep": "best"}, False),
        ({"student.accumulate": 2}, False),
        ({"student.clip_gradient_norm": 1.0}, False),
        ({"student.deterministic": True}, False),
        ({"student.steps": 7}, False),
        ({"student.auxiliary_weight": 0.1}, True),
        ({"student.auxiliary_head": True}, False),
        ({"student.output_stride": 8}, False),
        ({"student.batch_norm": "sync"}, False),
        ({"student.ema": 0.9}, False),
        ({"student.dropout": None}, True),
        ({"student.dropout": 0.5}, False),
        ({"mfd.weight": 0.5}, False),
        ({"window.max_gap_frames": 1}, False),
        ({"seed": 1}, False),
    ],
)
def test_the_key_follows_what_changes_the_weights(street, store, changed, same):
    base = make_recipe(street, store, "student", {"clip": "key"})
    config = json.loads(json.dumps(base.config))
    for path, value in changed.items():
        *sections, key = path.split(".")
        inner = config
        for section in sections:
            inner = inner[section]
        inner[key] = value
    other = dataclasses.replace(base, config=config)
    assert (entry_key("models", base.inputs()) == entry_key("models", other.inputs())) == same


def test_two_spellings_of_no_dropout_are_one_network(street, store):
    keys = {
        entry_key("models", make_recipe(street, store, "teacher", teacher=teacher).inputs())
        for teacher in ({**street.config["teacher"], "dropout": rate} for rate in (0, 0.0))
    }
    assert len(keys) == 1


def test_the_key_of_the_best_weights_counts_their_validation(street, store):
    student = {**street.config["student"], "keep": "best"}
    base = make_recipe(street, store, "student", {"clip": "key"}, student=student)
    others = [
        make_recipe(street, store, "student", {"clip": "key"}, student={**student, "validate_every": 7}),
        dataclasses.replace(base, validation=street.train),
    ]
    assert base.inputs()["validation"][street.val.clips[0].id]
    assert len({entry_key("models", recipe.inputs()) for recipe in (base, *others)}) == 3


def test_the_best_weights_are_in_the_store(street, store, tmp_path):
    teacher = {**street.config["teacher"], "keep": "best", "validate_every": 1, "seed": 3}
    entry = train_recipe(make_recipe(street, store, "teacher", teacher=teacher), tmp_path, device="cpu")
    lines = [line for line in read_metrics(tmp_path / "metrics.jsonl") if "validation" in line]
    best = max(lines, key=lambda line: (line["validation"]["miou"], -line["step"]))
    assert entry.attributes["kept_step"] == best["step"]
    model, _ = load_model(tmp_path / "model.safetensors")
    assert scores(score_frames(model, street.val), street.val)["miou"] == pytest.approx(
        best["validation"]["miou"]
    )
    assert not list(tmp_path.glob("*.pt"))


def test_the_key_counts_the_code_of_timms_backbones_where_it_is_used(street, store, monkeypatch):
    def key_of(**options):
        named = []
        with monkeypatch.context() as patched:
            patched.setattr("weclick.train.recipe.network_code", lambda *modules: named.extend(modules))
            teacher = {**street.config["teacher"], **options}
            inputs = make_recipe(street, store, "teacher", teacher=teacher).inputs()
        counted = imported_modules(*named, without=LEFT_OUT)
        return inputs["options"]["pretrained"], "weclick.models.timm_backbones" in counted

    assert key_of(pretrained="imagenet") == ("imagenet", False)
    weights = "https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors"
    assert key_of(pretrained="imagenet", backbone="timm/resnet18") == (weights, True)
    assert key_of(backbone="timm/resnet18") == (None, True)


def test_the_key_counts_the_code_of_training_and_not_of_inference(street, store, monkeypatch):
    named = []
    monkeypatch.setattr("weclick.train.recipe.network_code", lambda *modules: named.extend(modules))
    make_recipe(street, store, "student", {"clip": "key"}).inputs()
    counted = imported_modules(*named, without=LEFT_OUT)
    assert counted >= {
        "weclick.train.objective",
        "weclick.losses.gated_crf",
        "weclick.train.data.stream",
        "weclick.train.loop",
    }
    assert counted >= {"weclick.models.network", "weclick.models.layers"}
    stored = {name for name in counted if name.startswith("weclick.store")}
    assert stored == {"weclick.store.codecs", "weclick.store.flow_entries"}
    assert not counted & {
        "weclick.models.inference",
        "weclick.evaluate.export",
        "weclick.evaluate.bench.student",
    }
    assert not any(
        name.startswith(("weclick.clicks", "weclick.datasets", "weclick.common.errors")) for name in counted
    )


def test_the_options_of_a_network_reach_it_and_inference_has_no_auxiliary_head(street, store, tmp_path):
    options = {
        "output_stride": 8,
        "auxiliary_head": True,
        "auxiliary_weight": 0.5,
        "ema": 0.5,
        "dropout": 0.25,
    }
    teacher = {**street.config["teacher"], **options, "batch_norm": "sync", "architecture": "pspnet"}
    entry = train_recipe(make_recipe(street, store, "teacher", teacher=teacher), tmp_path, device="cpu")
    model, card = load_model(tmp_path / "model.safetensors")
    assert model.stride == card.options["output_stride"] == 8
    assert model.auxiliary is None
    assert not card.options["auxiliary_head"]
    assert model.dropout.p == 0.25
    assert entry.attributes["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert entry.meta["inputs"]["options"].items() >= options.items()
    terms = [line["terms"] for line in read_metrics(tmp_path / "metrics.jsonl") if "terms" in line]
    assert all(line["auxiliary_partial_cross_entropy"] > 0 for line in terms)


def test_an_auxiliary_head_without_a_loss_at_clicks_is_refused(street, store, tmp_path):
    changed = {
        "teacher": {**street.config["teacher"], "auxiliary_head": True},
        "partial_cross_entropy": {**street.config["partial_cross_entropy"], "weight": 0.0},
    }
    with pytest.raises(InputError, match=r"teacher\.auxiliary_head is true, but .*weight is 0.*set a weight"):
        train_recipe(make_recipe(street, store, "teacher", **changed), tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"output_stride": 12}, r"student\.output_stride: 12 is not one of \[None, 8, 16, 32\]"),
        ({"auxiliary_head": "perhaps"}, r"student\.auxiliary_head: 'perhaps' is not of type 'boolean'"),
        ({"auxiliary_weight": 0}, r"student\.auxiliary_weight: 0 is less than or equal to the minimum of 0"),
        ({"batch_norm": "half"}, r"student\.batch_norm: 'half' is not one of"),
        ({"keep": "worst"}, r"student\.keep: 'worst' is not one of \['last', 'best'\]"),
        ({"profile": [3]}, r"student\.profile: \[3\] is too short"),
        ({"clip_gradient_norm": 0}, r"student\.clip_gradient_norm: 0 is less than or equal to the minimum"),
        ({"accumulate": 0}, r"student\.accumulate: 0 is less than the minimum of 1 \(Micro-batches"),
        ({"online": {"estimator": "eyes"}}, r"student\.online\.estimator: 'eyes' is not one of"),
        (
            {"dropout": 1},
            r"student\.dropout: 1 is greater than or equal to the maximum of 1 \(Rate of the head",
        ),
        ({"ema": 1.0}, r"student\.ema: 1\.0 is greater than or equal to the maximum of 1 \(Decay"),
    ],
)
def test_wrong_options_of_a_network_are_told(options, told):
    with pytest.raises(ConfigError, match=told):
        complete_config({"student": options})


def test_losses_that_are_off_read_no_caches(street, store):
    off = {"kd": {**street.config["kd"], "weight": 0.0}, "mfd": {**street.config["mfd"], "weight": 0.0}}
    weak = make_recipe(street, store, "student", {"clip": "key"}, **off)
    assert weak.window.frames == 1
    assert not weak.used_caches().flow
    assert not weak.used_caches().soft_labels
    kd = make_recipe(street, store, "student", {"clip": "key"}, mfd=off["mfd"])
    assert kd.used_caches().soft_labels
    assert not kd.used_caches().flow


def test_a_student_without_soft_labels_is_told(street, store, tmp_path):
    with pytest.raises(
        InputError, match=r"distils .*but has no soft labels; give .*student\.online\.teacher"
    ):
        train_recipe(make_recipe(street, store, "student"), tmp_path, device="cpu")


def test_probes_are_the_configured_network_without_its_auxiliary_head(street, tmp_path):
    teacher = {"architecture": "pspnet", "output_stride": 8, "auxiliary_head": True}
    config = {**street.config, "teacher": {**street.config["teacher"], **teacher}}
    path = tmp_path / "teacher.safetensors"
    path.write_bytes(plausible_teacher(config, street.train))
    model, card = load_model(path)
    assert (model.stride, card.options["auxiliary_head"]) == (8, False)
    image = torch.from_numpy(next(read_clip(street.train, street.train.clips[0].restrict([0]))).copy())
    logits = model(normalize(image.permute(2, 0, 1)[None].float()))
    spread = float((logits - logits.mean((0, 2, 3), keepdim=True)).detach().std())
    assert spread == pytest.approx(LOGIT_SPREAD, rel=0.05)
    assert len(untrained(config, "teacher", street.train)) == pytest.approx(path.stat().st_size, rel=0.01)


def test_pretrained_weights_count_by_content(street, store, tmp_path):
    keys = []
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(b"weights")
        student = {**street.config["student"], "pretrained": str(tmp_path / name)}
        keys.append(entry_key("models", make_recipe(street, store, "student", student=student).inputs()))
    assert keys[0] == keys[1]


def test_class_weights(street):
    points = {("c", "f"): np.array([(0, 0, 0, 1)] * 4 + [(1, 1, 1, 1)], street.clicks.of("", "").dtype)}
    table = ClickTable(split="train", classes=("a", "b"), frames=points)
    assert class_weights(None, table, 2) is None
    torch.testing.assert_close(class_weights([1, 2], table, 2), torch.tensor([1.0, 2.0]))
    balanced = class_weights("balanced", table, 2)
    assert balanced[1] == pytest.approx(2 * balanced[0])
    assert (balanced * torch.tensor([4, 1])).sum() == pytest.approx(5)
    with pytest.raises(ValueError, match="expected balanced or 2 numbers"):
        class_weights([1.0], table, 2)
