"""A network of relations learns from confident labels, by the one trainer."""

from dataclasses import replace

import pytest
import torch

from helpers.batches import H, W, make_batch
from helpers.consist_run import confident_labels, prepare
from helpers.training import StoppedError
from weclick.common.errors import InputError
from weclick.losses import affinity_displacement, flow_boundary
from weclick.models import normalize
from weclick.models.relation import Relation
from weclick.store import Store, entry_key
from weclick.store.model_file import load_model
from weclick.train.build import begin
from weclick.train.checkpoint import CHECKPOINT
from weclick.train.data.neighbours import NEXT
from weclick.train.data.stream import Caches
from weclick.train.devices import make_fabric
from weclick.train.log import read_metrics
from weclick.train.objective import Objective
from weclick.train.optimizer import make_optimizer, set_learning_rate
from weclick.train.settle import whole_targets
from weclick.train.stage import train_recipe

CPU = torch.device("cpu")
ON = {"weight": 0.5}
LOSSES = {
    "supervision": "confident_labels",
    "relation": {"weight": 1.0, "radius": 3},
    "flow_boundary": {
        "weight": 0.5,
        "lambda": 2.0,
        "components": 2,
        "unit": "image_px",
        "signal": "gradient",
        "occlusion": "none",
        "radius": 3,
    },
}


@pytest.fixture(scope="module")
def street(tiny_config, tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("relation"), tiny_config)


def key(recipe):
    return entry_key("models", recipe.inputs())


def lines_of(folder, part):
    return [line[part] for line in read_metrics(folder / "metrics.jsonl") if part in line]


def labelled_batch(targets=2, neighbours=2, seed=0):
    batch = make_batch(targets=targets, neighbours=neighbours)
    draw = torch.Generator().manual_seed(seed)
    return replace(
        batch,
        labels=torch.randint(0, 3, (targets, 4 * H, 4 * W), generator=draw).byte(),
        flow=torch.randn(neighbours, 2, H, W, generator=draw),
        teacher=None,
    )


def outputs(targets, seed=1):
    draw = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(targets, channels, H, W, generator=draw) for channels in (1, 2))


# --- its losses -------------------------------------------------------------------------------------------


def test_its_losses_are_means_over_images():
    batch, (edge, moved) = labelled_batch(), outputs(2)
    batch.inside[0, :, :, 7:] = False
    batch.flow_valid[1, :, 2] = False
    batch.labels[1, :8] = 255
    terms = Objective(LOSSES, steps=1, class_weights=None)((edge, moved), batch, 0)
    middle = batch.labels[:, 2::4, 2::4]
    each = [
        sum(affinity_displacement(edge[i : i + 1], moved[i : i + 1], middle[i : i + 1], radius=3).values())
        / 2
        for i in range(2)
    ]
    torch.testing.assert_close(terms["affinity_displacement"], sum(each) / 2)
    told = {"radius": 3, "weight_lambda": 2.0, "unit": "image_px", "stride": 4}
    valid = batch.flow_valid & batch.inside[batch.target_of]
    along = [
        flow_boundary(edge[i : i + 1], batch.flow[i : i + 1], valid=valid[i : i + 1], **told)
        for i in range(2)
    ]
    torch.testing.assert_close(terms["flow_boundary"], 0.5 * sum(along) / 2)


def test_the_parts_of_a_step_add_up_to_the_whole():
    """One part has a target without a next frame, another part has no next frame at all."""
    parts = [labelled_batch(2, 1), labelled_batch(1, 1, seed=2), labelled_batch(2, 0, seed=3)]
    given = [outputs(part.targets, seed) for seed, part in enumerate(parts)]
    starts = (0, 2, 3)
    whole = replace(
        parts[0],
        images=torch.cat(
            [part.images[: part.targets] for part in parts] + [part.images[part.targets :] for part in parts]
        ),
        inside=torch.cat(
            [part.inside[: part.targets] for part in parts] + [part.inside[part.targets :] for part in parts]
        ),
        labels=torch.cat([part.labels for part in parts]),
        target_of=torch.cat([part.target_of + start for part, start in zip(parts, starts, strict=True)]),
        flow=torch.cat([part.flow for part in parts]),
        flow_valid=torch.cat([part.flow_valid for part in parts]),
    )
    objective = Objective(LOSSES, steps=1, class_weights=None)
    expected = objective(tuple(torch.cat(each) for each in zip(*given, strict=True)), whole, 0)
    found = dict.fromkeys(expected, torch.tensor(0.0))
    for part, output, shares in zip(parts, given, objective.shares(parts), strict=True):
        for name, term in objective(output, part, 0).items():
            found[name] = found[name] + shares[name] * term
    assert expected.keys() == {"affinity_displacement", "flow_boundary"}
    torch.testing.assert_close(found, expected)


# --- its training -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learned(street, tmp_path_factory):
    folder = tmp_path_factory.mktemp("learned")
    store = Store([*street.store.roots, folder / "store"])
    recipe = street.recipe("relation", store=store, steps=20, flow_boundary=ON, learning_rate=3e-3)
    return recipe, folder, train_recipe(recipe, folder, device="cpu")


def test_it_learns(learned):
    recipe, folder, _ = learned
    terms = lines_of(folder, "terms")
    assert len(terms) == 20
    assert terms[0].keys() == {"affinity_displacement", "flow_boundary"}
    losses = [line["affinity_displacement"] for line in terms]
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])
    assert not lines_of(folder, "validation")
    model, card = load_model(folder / "model.safetensors", architectures=None)
    assert isinstance(model, Relation)
    assert card.classes.names == recipe.manifest.classes.names


def test_the_mean_displacement_is_measured_over_whole_targets(street, learned):
    """So the displacements of the training images have no drift any more."""
    recipe, folder, _ = learned
    model, _ = load_model(folder / "model.safetensors", architectures=None)
    assert model.mean_shift.abs().min() > 0
    with torch.no_grad():
        left = [
            model(normalize(image.float()))[1].mean((0, 2, 3))
            for image in whole_targets(recipe.manifest, recipe.caches)
        ]
    assert len(left) == sum(len(clip.targets) for clip in recipe.manifest.clips)
    torch.testing.assert_close(torch.stack(left).mean(0), torch.zeros(2), atol=1e-4, rtol=0)


def test_frames_in_files_give_the_same_whole_targets(street):
    from weclick.datasets.frames import unpacked_key

    packed = street.recipe("relation")
    files = {clip.id: unpacked_key(clip) for clip in street.train.clips}
    pairs = zip(
        whole_targets(packed.manifest, packed.caches),
        whole_targets(packed.manifest, Caches.of(street.store, {"frames": files})),
        strict=True,
    )
    assert all(torch.equal(one, other) for one, other in pairs)


def test_displacements_learn_faster(street):
    recipe = street.recipe("relation", head_learning_rate_factor=2.0)
    model = recipe.needs.build(recipe.options, 9, None)
    optimizer = make_optimizer(model, recipe.options)
    names = {id(value): name for name, value in model.named_parameters()}
    found = {
        names[id(value)].split(".")[0]: group["factor"]
        for group in optimizer.param_groups
        for value in group["params"]
    }
    assert found == {"edge": 2.0, "displacement": 20.0}


def test_the_network_sees_targets_alone(street):
    recipe = street.recipe("relation", flow_boundary=ON)
    begun = begin(recipe, make_fabric("cpu", "32", 1))
    batch = next(begun.stream.batches(0, 1, CPU))
    assert batch.neighbours
    (images,) = batch.select(begun.model.inputs)
    assert torch.equal(images, batch.images[: batch.targets])
    assert len(begun.model(images)[0]) == batch.targets


def test_the_neighbour_is_the_next_frame(street):
    recipe = street.recipe("relation", flow_boundary=ON)
    begun = begin(recipe, make_fabric("cpu", "32", 1))
    alone = 0
    for step in range(6):
        for sample in begun.stream.plan(step):
            last = sample.target + 1 == len(sample.clip.frames)
            assert sample.neighbours == (() if last else (sample.target + 1,))
            alone += last
    assert alone


@pytest.mark.parametrize("along", [{}, ON])
def test_a_resumed_training_is_the_very_same(street, tmp_path, monkeypatch, along):
    def train(name):
        store = Store([*street.store.roots, tmp_path / f"{name}_store"])
        return train_recipe(
            street.recipe("relation", store=store, flow_boundary=along), tmp_path / name, device="cpu"
        )

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
    assert lines_of(tmp_path / "parts", "loss") == lines_of(tmp_path / "whole", "loss")


# --- its key, and what it needs ---------------------------------------------------------------------------


def test_its_key_holds_what_it_reads(street):
    plain, along = street.recipe("relation"), street.recipe("relation", flow_boundary=ON)
    inputs = plain.inputs()
    assert inputs["confident_labels"] == street.keys["confident_labels"]
    assert not inputs["flow"]
    assert inputs["window"] is None
    assert not {"clicks", "tags", "instances"} & inputs.keys()
    assert along.inputs()["flow"] == street.keys["step"]
    assert along.inputs()["losses"]["flow_boundary"]["radius"] == 5
    assert along.window == NEXT
    keys = [
        plain,
        along,
        street.recipe("relation", radius=4),
        street.recipe("relation", displacement_learning_rate_factor=1.0),
    ]
    assert len({key(recipe) for recipe in keys}) == 4
    assert key(plain) == key(street.recipe("relation", flow_boundary={"lambda": 3.0}))


def test_targets_are_the_frames_that_have_labels(street, tmp_path):
    store = Store([*street.store.roots, tmp_path / "store"])
    some = confident_labels(street.train, store, lambda clip: [1, 3], name="some")
    made = street.recipe("relation", store=store, keys={"confident_labels": some})
    assert [clip.targets for clip in made.manifest.clips] == [(1, 3)] * 2
    none = confident_labels(street.train, store, lambda clip: [], name="none")
    with pytest.raises(InputError, match=r"none of the 2 clips .* has a frame with confident labels; lower"):
        street.recipe("relation", store=store, keys={"confident_labels": none})


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"keep": "best"}, "relation.keep is 'best', but a relation is not scored"),
        ({"keys": {"confident_labels": {}}}, "learns from confident labels, but there are none"),
        (
            {"keys": {"step": {}}, "flow_boundary": ON},
            "has no flow of the need 'step'.*flow_boundary.weight: 0",
        ),
    ],
)
def test_what_it_lacks_is_told(street, changed, told):
    with pytest.raises(InputError, match=told):
        begin(street.recipe("relation", **changed), make_fabric("cpu", "32", 1))


def test_masks_of_the_flow_that_are_not_there_are_told(street):
    recipe = street.recipe("relation", flow_boundary={**ON, "occlusion": "photometric"})
    begin(recipe, make_fabric("cpu", "32", 1))
    recipe = street.recipe("relation", flow_boundary={**ON, "occlusion": "forward_backward"})
    with pytest.raises(InputError, match=r"flow_boundary\.occlusion is 'forward_backward'"):
        begin(recipe, make_fabric("cpu", "32", 1))
