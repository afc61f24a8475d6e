"""A detector learns from instances of pairs of frames, by the one trainer, with and without MaskConsist."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.batches import make_batch
from helpers.consist_run import DELTA, instances, prepare, true_instances
from helpers.training import StoppedError
from weclick.common.errors import InputError
from weclick.geometry import Crop, backward_warp, crop_window
from weclick.manifest import Clip, Frame
from weclick.manifest.click_table import POINT
from weclick.models.detector import Detector
from weclick.store import Store, entry_key
from weclick.store.codecs import FLOW_SCALE
from weclick.store.instance_entries import FrameInstances, no_instances
from weclick.store.model_file import load_model
from weclick.train.build import begin
from weclick.train.checkpoint import CHECKPOINT
from weclick.train.data.assemble import Part, Read, assemble
from weclick.train.data.instances import MIN_SIDE_PX, InstanceReader, cut_instances
from weclick.train.data.neighbours import OneApart
from weclick.train.data.sample import Sample
from weclick.train.devices import make_fabric
from weclick.train.log import read_metrics
from weclick.train.objective import Objective
from weclick.train.optimizer import set_learning_rate
from weclick.train.roles import ROLE_NEEDS
from weclick.train.stage import train_recipe

CPU = torch.device("cpu")
SIZE = (64, 96)
NAMES = ("objectness", "rpn_box", "classifier", "box", "mask")


@pytest.fixture(scope="module")
def street(tiny_config, tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("detector"), tiny_config)


def key(recipe):
    return entry_key("models", recipe.inputs())


def begun(recipe):
    return begin(recipe, make_fabric("cpu", "32", 1))


def lines_of(folder, part):
    return [line[part] for line in read_metrics(folder / "metrics.jsonl") if part in line]


# --- its batches ------------------------------------------------------------------------------------------


def square(y, x, side=20):
    mask = np.zeros((1, *SIZE), bool)
    mask[0, y : y + side, x : x + side] = True
    return FrameInstances(mask, np.array([3]), np.ones(1, np.float32))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1.5])
def test_flow_and_masks_of_a_crop_agree(flip, scale):
    """A square moves by 8 px to the right and 4 px down. Each frame's mask, warped, is the other's."""
    frames = tuple(Frame(name, t, name, digest=name * 64) for t, name in enumerate("ab"))
    clip = Clip("park", frames, targets=(0,), height_px=SIZE[0], width_px=SIZE[1])
    crop = Crop(top=6.0, left=10.0, scale=scale, flip=flip, size=(64, 96))
    y, x, rows, columns = crop_window(crop, SIZE)
    gy, gx, grid_rows, grid_columns = crop_window(crop, SIZE, source_stride=4)

    def flow(dx, dy):
        steps = torch.tensor([dx, dy]) / 4 * FLOW_SCALE
        whole = steps.round().to(torch.int16).view(1, 2, 1, 1).expand(1, 2, grid_rows, grid_columns)
        return Part(whole.contiguous(), (gy, gx), 4, {})

    read = Read(
        Sample(clip, 0, (1,), crop, np.empty(0, POINT)),
        {
            "frames": Part(torch.zeros(2, rows, columns, 3, dtype=torch.uint8), (y, x), 1, {}),
            "flow": flow(8.0, 4.0),
            "flow_back": flow(-8.0, -4.0),
        },
        [square(20, 30), square(24, 38)],
    )
    batch = assemble([read], stride_px=4, mask_bits=0, device=CPU)
    assert batch.flow_back.shape == batch.flow.shape == (1, 2, 16, 24)
    small = [masks[None].float() for masks, _ in batch.instances]
    at_4 = [torch.nn.functional.avg_pool2d(mask, 4) for mask in small]
    for own, other, way in ((0, 1, batch.flow), (1, 0, batch.flow_back)):
        warped, _ = backward_warp(at_4[other], way)
        assert (warped - at_4[own]).abs().max() < 0.2
        assert (at_4[other] - at_4[own]).abs().max() == 1  # without the flow they differ
    assert [classes.tolist() for _, classes in batch.instances] == [[3], [3]]


def test_instances_that_a_crop_leaves_a_sliver_of_are_dropped():
    found = FrameInstances(
        np.concatenate([square(20, 30).masks, square(20, 60).masks, square(0, 0, 3).masks]),
        np.array([1, 2, 3]),
        np.ones(3, np.float32),
    )
    for left, kept in ((30.0, [1, 2]), (46.0, [1, 2]), (47.0, [2]), (0.0, [1, 2]), (81.0, [])):
        crop = Crop(top=0.0, left=left, scale=1.0, flip=False, size=(64, 64))
        masks, classes = cut_instances(found, crop, SIZE, CPU)
        assert classes.tolist() == kept
        assert masks.shape == (len(kept), 64, 64)
    assert MIN_SIDE_PX == 4
    masks, classes = cut_instances(no_instances(SIZE), crop, SIZE, CPU)
    assert masks.shape == (0, 64, 64)
    assert masks.dtype == torch.bool
    assert classes.dtype == torch.int64


def test_masks_end_where_the_image_does():
    crop = Crop(top=-10.0, left=80.0, scale=1.0, flip=False, size=(64, 64))
    masks, _ = cut_instances(square(0, 76), crop, SIZE, CPU)
    assert masks[0, :10].sum() == 0
    assert masks[0, 10:30, :16].all()
    assert masks.sum() == 20 * 16


def test_a_batch_has_both_frames_of_each_pair(street):
    stream = begun(street.recipe("detector", crop=list(SIZE), scale=[1.0, 1.0], flip=False)).stream
    reader = InstanceReader(street.store, street.train.classes.names)
    sides = set()
    for step, batch in enumerate(stream.batches(0, 4, CPU)):
        plan = stream.plan(step)
        frames = [(each.clip, each.target) for each in plan]
        frames += [(each.clip, t) for each in plan for t in each.neighbours]
        assert len(batch.instances) == len(batch.images) == len(frames)
        assert len(batch.flow) == len(batch.flow_back) == batch.neighbours
        for (masks, classes), (clip, t) in zip(batch.instances, frames, strict=True):
            (found,) = reader.read(clip, street.keys["instances"][clip.id], [t])
            rows, columns = found.masks.any(2).sum(1), found.masks.any(1).sum(1)
            assert len(classes) >= ((rows >= MIN_SIDE_PX) & (columns >= MIN_SIDE_PX)).sum()
            assert all((found.masks == mask.numpy()).all((1, 2)).any() for mask in masks)
        for each in plan:
            numbers = [each.clip.frames[t].number for t in (each.target, *each.neighbours)]
            sides.update(number - numbers[0] for number in numbers[1:])
    assert sides == {-DELTA, DELTA}


def test_a_target_without_a_partner_is_alone(street):
    gaps = OneApart(99)
    clip = street.train.clips[0]
    assert gaps.draw(clip, 0, np.random.default_rng(0)) == ()
    recipe = street.recipe("detector")
    recipe.config["pair"]["delta_frames"] = 99
    made = begun(recipe)
    batch = next(made.stream.batches(0, 1, CPU))
    assert batch.neighbours == 0
    assert len(batch.instances) == batch.targets
    assert made.complete(batch, 0).relabel is None
    assert made.complete.figures()["labels_given"] == made.complete.figures()["labels_used"] > 0


def test_frames_without_an_instance_are_no_targets(street, tmp_path):
    store = Store([*street.store.roots, tmp_path / "store"])

    def odd(manifest, clip, t):
        return true_instances(manifest, clip, t) if t % 2 else no_instances(clip.size)

    some = instances(street.train, store, odd, name="odd")
    made = street.recipe("detector", store=store, keys={"instances": some})
    assert [clip.targets for clip in made.manifest.clips] == [(1, 3)] * 2
    none = instances(street.train, store, lambda m, clip, t: no_instances(clip.size), name="none")
    with pytest.raises(InputError, match=r"none of the 2 clips .* has an instance; lower"):
        street.recipe("detector", store=store, keys={"instances": none})


# --- its losses -------------------------------------------------------------------------------------------


def test_its_losses_are_the_networks_and_count_by_frames():
    objective = Objective(
        {"supervision": "instances", "detector": {"weight": 1.0}}, steps=1, class_weights=None
    )
    batch, other = make_batch(targets=2, neighbours=2), make_batch(targets=1, neighbours=0)
    given = {name: torch.tensor(float(i)) for i, name in enumerate(NAMES)}
    terms = objective(given, batch, 0)
    assert terms == given
    shares = objective.shares([batch, other])
    for name in NAMES:
        torch.testing.assert_close(torch.stack([part[name] for part in shares]), torch.tensor([0.8, 0.2]))


@pytest.mark.parametrize("emptied", [[0], [1], [0, 1], [0, 1, 2, 3]])
def test_empty_labels_are_finite(street, emptied):
    made = begun(street.recipe("detector"))
    batch = made.complete(next(made.stream.batches(0, 1, CPU)), 0)
    empty = torch.zeros((0, *SIZE), dtype=torch.bool), torch.zeros(0, dtype=torch.int64)
    labels = tuple(empty if i in emptied else own for i, own in enumerate(batch.instances))
    for each in (
        made.complete(replace(batch, instances=labels), 0),
        replace(batch, instances=labels, relabel=None),
    ):
        terms = made.losses(made.model.train()(*each.select(made.model.inputs)), each, 0)
        assert terms.keys() == set(NAMES)
        assert all(torch.isfinite(term) for term in terms.values())
        sum(terms.values()).backward()


# --- its training -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_it_trains_and_shows_how_many_labels_it_used(street, tmp_path, weight):
    store = Store([*street.store.roots, tmp_path / "store"])
    recipe = street.recipe(
        "detector", store=store, steps=6, learning_rate=2e-3, maskconsist={"weight": weight}
    )
    passes = []
    build = recipe.needs.build

    def counted(*given, **more):
        model = build(*given, **more)
        first = next(module for module in model.backbone.modules() if isinstance(module, torch.nn.Conv2d))
        first.register_forward_hook(lambda *_: passes.append(1))
        return model

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ROLE_NEEDS, "detector", replace(recipe.needs, build=counted))
        train_recipe(recipe, tmp_path / "run", device="cpu")
    assert len(passes) == 6, "one pass of the backbone a step"
    losses, given, used = (
        lines_of(tmp_path / "run", part) for part in ("loss", "labels_given", "labels_used")
    )
    assert losses[-1] < losses[0]
    assert np.isfinite(losses).all()
    assert bool(given) == bool(used) == bool(weight)
    assert all(number > 0 for number in (*given, *used))
    model, card = load_model(tmp_path / "run" / "model.safetensors", architectures=None)
    assert isinstance(model, Detector)
    assert card.classes.names == street.train.classes.names
    with torch.no_grad():
        assert len(model(torch.zeros(1, 3, *SIZE))) == 1


@pytest.mark.parametrize("options", [{}, {"maskconsist": {"weight": 0.0}}, {"accumulate": 2, "ema": 0.75}])
def test_a_resumed_training_is_the_very_same(street, tmp_path, monkeypatch, options):
    def train(name):
        store = Store([*street.store.roots, tmp_path / f"{name}_store"])
        return train_recipe(street.recipe("detector", store=store, **options), tmp_path / name, device="cpu")

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
    for part in ("loss", "labels_given", "labels_used"):
        assert lines_of(tmp_path / "parts", part) == lines_of(tmp_path / "whole", part)


# --- its key, and what it needs ---------------------------------------------------------------------------


def test_its_key_holds_what_it_reads(street):
    consist, plain = street.recipe("detector"), street.recipe("detector", maskconsist={"weight": 0.0})
    inputs = consist.inputs()
    assert inputs["instances"] == street.keys["instances"]
    assert inputs["flow"] == street.keys["pair"]
    assert inputs["window"] == {"delta_frames": DELTA, "frames": 2}
    assert not {"clicks", "tags", "confident_labels"} & inputs.keys()
    assert inputs["online"]["maskconsist"]["overlap"] == "box"
    assert "online" not in plain.inputs()
    assert not plain.inputs()["flow"]
    assert plain.inputs()["window"] == inputs["window"]
    changes = [{"min_iou": 0.1}, {"warmup": 0.5}, {"iom": False}, {"grid_px": 2}, {"matching": "shared"}]
    keys = {key(street.recipe("detector", maskconsist=change)) for change in changes}
    assert len(keys | {key(consist), key(plain)}) == len(changes) + 2
    assert key(street.recipe("detector", maskconsist={"weight": 2.0, "min_score": 0})) == key(consist)
    assert key(street.recipe("detector", maskconsist={"weight": 0.0, "warmup": 0.5})) == key(plain)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"keep": "best"}, r"detector\.keep is 'best', but a detector is not scored"),
        (
            {"keys": {"instances": {}}},
            "learns from instances, but there are none; give the index of the inst",
        ),
        ({"keys": {"pair": {}}}, r"has no flow of the need 'pair'.* set maskconsist\.weight: 0"),
    ],
)
def test_what_it_lacks_is_told(street, changed, told):
    with pytest.raises(InputError, match=told):
        begun(street.recipe("detector", **changed))
