"""Masks as supervision: what a batch holds, what the term counts, what a key says."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, interpolate

from helpers.batches import H, K, W, logits, make_batch
from weclick.clicks import generate_clicks
from weclick.common.config import complete_config
from weclick.common.errors import InputError
from weclick.geometry import crop_sampling_positions
from weclick.manifest.read import read_label
from weclick.manifest.window import Window
from weclick.proxy_labels.masks import pack_masks
from weclick.runs.wanted import Wanted
from weclick.store import DamagedEntryError, Store, entry_key
from weclick.train.data.stream import Caches, Stream
from weclick.train.log import read_metrics
from weclick.train.objective import Objective
from weclick.train.stage import train_recipe

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(street, tmp_path_factory):
    """Reads the street's caches, and keeps what this module makes to itself."""
    return Store([*street.store.roots, tmp_path_factory.mktemp("masks")])


@pytest.fixture(scope="module")
def masks(street, store):
    return pack_masks(street.train, chunk_px=32, store=store)


@pytest.fixture
def caches(street, store, masks):
    return Caches(store, street.frames, street.flow, {}, masks)


def half_labelled(street):
    """The split whose first clip has no labels."""
    first, *others = street.train.clips
    frames = tuple(dataclasses.replace(frame, label=None, label_digest=None) for frame in first.frames)
    return dataclasses.replace(street.train, clips=(dataclasses.replace(first, frames=frames), *others))


def make_stream(street, caches, **options):
    return Stream(
        options.pop("manifest", street.train),
        street.clicks,
        caches,
        window=Window(**street.config["window"]),
        options={**street.config["student"], "batch_size": 3, **options},
        stride_px=4,
        occlusion="none",
        seed=3,
    )


def nearest(label, crop):
    """The class map through a crop, pixel by pixel: its nearest pixel, or 255 outside the image."""
    y, x = (np.floor(position + 0.5).astype(int) for position in crop_sampling_positions(crop))
    inside = ((y >= 0) & (y < label.shape[0]))[:, None] & ((x >= 0) & (x < label.shape[1]))
    read = label[y.clip(0, label.shape[0] - 1)[:, None], x.clip(0, label.shape[1] - 1)]
    return np.where(inside, read, 255)


def test_a_batch_shows_its_targets_classes_through_their_crops(street, caches):
    stream = make_stream(street, caches, scale=[0.5, 2.0], flip=True, crop=[70, 90])
    unlike = 0
    for step in range(6):
        plan, batch = stream.plan(step), next(stream.batches(step, step + 1, CPU))
        assert (batch.labels.shape, batch.labels.dtype) == ((3, *batch.input_size), torch.uint8)
        for sample, found in zip(plan, batch.labels, strict=True):
            label = read_label(street.train, sample.clip.frames[sample.target])
            unlike += (found.numpy() != nearest(label, sample.crop)).mean()
    assert unlike / 18 < 1e-3  # where a pixel lies half way between two


def test_labels_lie_where_the_clicks_say(street, caches):
    stream = make_stream(street, caches, scale=[2.0, 2.0])
    right = []
    for batch in stream.batches(0, 4, CPU):
        target, y, x = batch.points.round().long().clamp(min=0).unbind(1)
        y, x = y.clamp(max=batch.input_size[0] - 1), x.clamp(max=batch.input_size[1] - 1)
        right += (batch.labels[target, y, x] == batch.classes).tolist()
    assert np.mean(right) > 0.95  # a centroid may lie on the border of a thin thing


def test_targets_without_a_label_are_ignored_whole(street, caches):
    first, some = street.train.clips[0], half_labelled(street)
    stream = make_stream(street, caches, manifest=some)
    seen = set()
    for step in range(6):
        plan, batch = stream.plan(step), next(stream.batches(step, step + 1, CPU))
        for sample, labels in zip(plan, batch.labels, strict=True):
            seen.add(sample.clip.id)
            assert (labels == 255).all() == (sample.clip.id == first.id)
    assert len(seen) == 2


def test_a_run_that_learns_from_clicks_reads_no_masks(street, caches):
    batch = next(make_stream(street, dataclasses.replace(caches, masks={})).batches(0, 1, CPU))
    assert batch.labels is None


def test_a_clip_that_the_index_lacks_is_told(street, caches, masks):
    one = dict([next(iter(masks.items()))])
    stream = make_stream(street, dataclasses.replace(caches, masks=one))
    with pytest.raises(InputError, match=r"in the manifest, but not in the masks index of 1"):
        list(stream.batches(0, 4, CPU))


def test_a_class_that_is_none_is_told(street, caches):
    few = dataclasses.replace(street.train.classes, names=("road", "car"))
    stream = make_stream(street, caches, manifest=dataclasses.replace(street.train, classes=few))
    with pytest.raises(
        DamagedEntryError, match=r"classes holds \d of torch\.uint8, expected uint8 in 0\.\.1 or"
    ):
        list(stream.batches(0, 4, CPU))


def with_labels(batch, ignored=0.3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, K, (batch.targets, 4 * H, 4 * W), generator=generator, dtype=torch.uint8)
    labels[torch.rand(labels.shape, generator=generator) < ignored] = 255
    return dataclasses.replace(batch, labels=labels)


def make_objective(supervision, **sections):
    off = {"gated_crf": {"weight": 0.0}, "kd": {"weight": 0.0}, "mfd": {"weight": 0.0}}
    config = complete_config({**off, "supervision": supervision, **sections})
    return Objective(config, steps=1, class_weights=None)


@pytest.mark.parametrize(
    ("supervision", "terms"),
    [
        ("clicks", ["partial_cross_entropy"]),
        ("masks", ["cross_entropy"]),
        ("both", ["partial_cross_entropy", "cross_entropy"]),
    ],
)
def test_supervision_says_which_terms_are_on(supervision, terms):
    batch = with_labels(make_batch())
    assert list(make_objective(supervision)(logits(batch), batch, 0)) == terms


def test_the_term_is_the_mean_over_the_labelled_pixels_of_the_targets():
    batch = with_labels(make_batch())
    found = make_objective("masks", cross_entropy={"weight": 2.0})(logits(batch), batch, 0)
    full = interpolate(logits(batch)[: batch.targets], scale_factor=4, mode="bilinear")
    expected = cross_entropy(full, batch.labels.long(), ignore_index=255)
    torch.testing.assert_close(found["cross_entropy"], 2 * expected)


def test_micro_batches_count_by_their_labelled_pixels():
    parts = [with_labels(make_batch(neighbours=0), ignored, seed) for seed, ignored in enumerate((0.1, 0.9))]
    whole = dataclasses.replace(
        parts[0],
        images=torch.cat([part.images for part in parts]),
        inside=torch.cat([part.inside for part in parts]),
        labels=torch.cat([part.labels for part in parts]),
    )
    objective = make_objective("masks")
    values = [torch.randn(2, K, H, W, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    terms = [objective(value, part, 0)["cross_entropy"] for value, part in zip(values, parts, strict=True)]
    expected = objective(torch.cat(values), whole, 0)["cross_entropy"]
    shares = [share["cross_entropy"] for share in objective.shares(parts)]
    torch.testing.assert_close(sum(s * term for s, term in zip(shares, terms, strict=True)), expected)
    assert abs(sum(terms) / 2 - expected) > 1e-3


def make_recipe(street, store, role, masks, train=None, **changes):
    config = complete_config(street.config)
    for path, value in changes.items():
        if isinstance(value, dict):
            config[path].update(value)
        else:
            config[path] = value
    if role == "student":
        config["kd"]["weight"] = config["mfd"]["weight"] = 0.0
    clicks = generate_clicks(street.train, options=config["clicks"], seed=0)
    caches = Caches(store, street.frames, street.flow, {}, masks)
    return Wanted(config).recipe(
        role, train=train or street.train, val=street.val, clicks=clicks, caches=caches
    )


def test_a_key_without_masks_is_what_it_was(street, store, masks):
    plain = make_recipe(street, store, "student", {}).inputs()
    given = make_recipe(street, store, "student", masks, cross_entropy={"weight": 3.0}).inputs()
    assert given == plain
    assert not {"masks", "masked", "supervision"} & plain.keys()
    assert "cross_entropy" not in plain["losses"]


def test_a_key_holds_the_masks_and_no_clicks_if_these_teach_nothing(street, store, masks):
    some = half_labelled(street)
    both = make_recipe(street, store, "student", masks, supervision="both", train=some).inputs()
    alone = make_recipe(street, store, "student", masks, supervision="masks").inputs()
    assert alone["masks"] == masks
    assert alone["masked"] == {clip.id: list(clip.targets) for clip in street.train.clips}
    assert both["masks"].items() < masks.items()
    assert both["masked"].items() < alone["masked"].items()
    assert "clicks" in both
    assert "clicks" not in alone
    assert alone["losses"].keys() == both["losses"].keys() - {"partial_cross_entropy"}
    other = make_recipe(street, store, "student", masks, supervision="masks", clicks={"min_pixels": 40})
    assert entry_key("models", other.inputs()) == entry_key("models", alone)
    same = make_recipe(street, store, "student", masks, supervision="both").inputs()
    assert same == alone, "every target has a mask"


def test_a_budget_is_in_the_key_by_what_it_leaves(street, store, masks):
    def key(supervision, minutes):
        found = make_recipe(
            street, store, "teacher", masks, supervision=supervision, annotation={"minutes": minutes}
        )
        return entry_key("models", found.inputs())

    assert key("clicks", None) == key("clicks", 1e6)
    keys = {key(each, minutes) for each in ("clicks", "masks", "both") for minutes in (150, None)}
    assert len(keys) == 4  # that pays for the clicks of all targets, and all of them have a label
    assert key("clicks", 1.0) != key("clicks", 1e6)
    assert key("both", 2.0) == key("clicks", 1.0)  # a minute pays for no mask


def test_a_training_with_masks_needs_their_index(street, store, tmp_path):
    recipe = make_recipe(street, store, "teacher", {}, supervision="masks")
    with pytest.raises(InputError, match="supervision is 'masks', but the teacher has no masks; give the"):
        train_recipe(recipe, tmp_path, device="cpu")


def test_targets_without_a_label_are_told_before_a_training(street, store, masks):
    some, others = half_labelled(street), street.train.clips[1:]
    with pytest.raises(InputError, match=r"supervision is 'masks', but 2 of 4 targets"):
        make_recipe(street, store, "teacher", masks, supervision="masks", train=some)
    both = make_recipe(street, store, "teacher", masks, supervision="both", train=some)
    assert both.masked.keys() == {clip.id for clip in others}
    assert both.used_caches().masks.keys() == both.masked.keys()


@pytest.mark.parametrize("supervision", ["masks", "both"])
def test_masks_train_a_network_with_an_auxiliary_head(street, store, masks, tmp_path, supervision):
    recipe = make_recipe(
        street,
        store,
        "teacher",
        masks,
        train=half_labelled(street) if supervision == "both" else None,
        supervision=supervision,
        teacher={"auxiliary_head": True, "batch_size": 4, "accumulate": 2},
    )
    entry = train_recipe(recipe, tmp_path, device="cpu")
    assert entry.meta["inputs"]["masks"].keys() == recipe.masked.keys()
    lines = [line["terms"] for line in read_metrics(tmp_path / "metrics.jsonl") if "terms" in line]
    on = {"masks": ["cross_entropy"], "both": ["partial_cross_entropy", "cross_entropy"]}[supervision]
    expected = {"gated_crf", *on, *(f"auxiliary_{name}" for name in on)}
    assert set().union(*lines) == expected
    assert all(line["cross_entropy"] > 0 for line in lines)


def test_an_auxiliary_head_that_nothing_teaches_is_refused(street, store, masks, tmp_path):
    recipe = make_recipe(
        street,
        store,
        "teacher",
        masks,
        supervision="masks",
        teacher={"auxiliary_head": True},
        cross_entropy={"weight": 0.0},
    )
    with pytest.raises(
        InputError, match=r"auxiliary_head is true, but cross_entropy\.weight is 0 and seed_loss"
    ):
        train_recipe(recipe, tmp_path, device="cpu")
