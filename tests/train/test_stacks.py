"""Trainings that look at stacks of flow and learn from tags and heatmaps: what a batch holds, and the key."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.flow_clips import SIZE, STEP_PX, manifest_of, options, write_clip
from weclick.common.config import complete_config
from weclick.common.errors import InputError
from weclick.datasets.frames import pack_frames
from weclick.flow.stage import compute_needs
from weclick.geometry import Crop, StackOptions, backward_warp, sample_flow_crop
from weclick.manifest import Classes
from weclick.manifest.click_table import ClickTable
from weclick.manifest.needs import Needs
from weclick.manifest.tag_table import TagTable
from weclick.manifest.window import Window
from weclick.proxy_labels.cams import compute_cams
from weclick.runs.wanted import Wanted
from weclick.store import Store, entry_key
from weclick.store.cam_entries import check_maps
from weclick.store.flow_entries import read_flow
from weclick.store.model_file import load_model
from weclick.store.stacks import StackPlan
from weclick.train.build import make_losses, make_objective
from weclick.train.data.assemble import assemble
from weclick.train.data.sample import Sample
from weclick.train.data.stream import Caches, Stream
from weclick.train.log import read_metrics
from weclick.train.stage import train_recipe
from weclick.train.view import View

CPU = torch.device("cpu")
NAMES = ("background", "thing", "other")
FRAMES = 5
SCALE_PX = 8.0


class Moving:
    """Two clips of noise that moves by STEP_PX a frame, their flow and frames, and made-up maps."""

    def __init__(self, root):
        clips = [
            replace(write_clip(root / "data", name, seed=seed, frames=FRAMES), targets=(0, 2, FRAMES - 1))
            for seed, name in enumerate(("left", "right"))
        ]
        palette = ((0, 0, 0), (9, 9, 9), (0, 9, 0))
        self.manifest = replace(manifest_of(root / "data", *clips), classes=Classes(NAMES, palette))
        self.store = Store([root / "store"])
        self.config = complete_config(
            {
                "method": "two_stream",
                "stack": {"length": 4, "first": -2},
                "data": {"name": "folder", "root": str(root / "data")},
                "student": {
                    "architecture": "two_stream",
                    "backbone": "mobilenetv2_compact",
                    "pretrained": None,
                    "channels": 8,
                    "head_norm": "group",
                    "steps": 2,
                    "batch_size": 2,
                    "crop": [32, 48],
                    "scale": [1.0, 1.0],
                    "precision": "32",
                },
                "cams": {"scales": [1.0], "flip": False},
                "constrain_loss": {"weight": 1, "iterations": 2},
                "gated_crf": {"weight": 0},
            }
        )
        needs = Needs.of(self.config)
        made = compute_needs(self.manifest, needs.functions, options=options(masks=[]), store=self.store)
        self.stack = {clip: keys["stack"] for clip, keys in made.items()}
        self.frames = pack_frames(self.manifest, chunk_px=32, store=self.store)
        self.tags = TagTable(NAMES, True, {("left", ""): frozenset({1}), ("right", ""): frozenset({2})})
        self.cams = compute_cams(
            self.manifest, Stripes(), self.tags, options=self.config["cams"], store=self.store
        )

    def caches(self, **changed):
        own = {"frames": self.frames, "stack": self.stack, "cams": self.cams}
        return Caches.of(self.store, {**own, **changed})

    def stream(self, stack=None, stored=None):
        return Stream(
            self.manifest,
            ClickTable("train", NAMES, {}),
            self.caches(**({} if stored is None else {"stack": stored})),
            window=Window(frames=1),
            options=self.config["student"],
            stride_px=8,
            occlusion="none",
            seed=0,
            tags=self.tags,
            stack=stack or StackOptions(length=4, first=-2, scale_px=SCALE_PX),
        )

    def batch(self, target, crop, *, clip=0, stack=None):
        stream = self.stream(stack)
        none = np.zeros(0, [("y", "f4"), ("x", "f4"), ("class_id", "i4")])
        tags = np.array([True, clip == 0, clip == 1])
        sample = Sample(self.manifest.clips[clip], target, (), crop, none, tags=tags)
        return assemble(
            stream.read([sample]),
            stride_px=8,
            mask_bits=0,
            device=CPU,
            stack=stack or StackOptions(length=4, first=-2, scale_px=SCALE_PX),
            mapped=len(NAMES),
        )

    def recipe(self, config=None, **changed):
        given = {"tags": self.tags, "caches": self.caches(), "train": self.manifest, **changed}
        return Wanted(config or self.config).recipe("student", val=self.manifest, **given)


class Stripes:
    """A source of maps: class 1 is in the left half of every frame, class 2 in the right one."""

    def key_inputs(self):
        return {"classifier_sha256": "1" * 64}

    def load(self, manifest, device):
        return self

    def scores(self, images):
        return torch.tensor([[0.0, 0.9, 0.9]]).repeat(len(images), 1)

    def maps(self, images, class_ids):
        columns = torch.arange(images.shape[-1] // 4) < images.shape[-1] // 8
        both = torch.stack([torch.zeros_like(columns), columns, ~columns]).float()[:, None]
        return both[list(class_ids)].repeat(1, images.shape[-2] // 4, 1).repeat(len(images), 1, 1, 1)


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    return Moving(tmp_path_factory.mktemp("moving"))


# --- stacks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("scale", "top", "left"), [(1.0, 8.0, 16.0), (1.5, 20.5, 10.25)])
def test_warping_the_next_frame_by_a_cropped_stack_gives_the_cropped_frame(moving, flip, scale, top, left):
    crop = Crop(top, left, scale, flip, (32, 48))
    now, following = moving.batch(2, crop), moving.batch(3, crop)
    flow = now.stack[:, 4:6] * SCALE_PX  # of the third step, which begins at the target
    warped, valid = backward_warp(following.images, flow)
    inner = (slice(None), slice(None), slice(8, -8), slice(10, -10))
    still = (following.images - now.images)[inner].abs().mean()
    assert valid[:, :, 8:-8, 10:-10].all()
    assert (warped - now.images)[inner].abs().mean() < 0.25 * still


def test_a_flipped_crop_has_u_negated_and_is_cut_as_the_image_is(moving):
    plain, flipped = (moving.batch(2, Crop(8, 16, 1.0, flip, (32, 48))) for flip in (False, True))
    torch.testing.assert_close(flipped.images, plain.images.flip(-1))
    mirrored = plain.stack.flip(-1)
    mirrored[:, 0::2] *= -1
    torch.testing.assert_close(flipped.stack, mirrored)


@pytest.mark.parametrize("target", range(FRAMES))
def test_every_frame_has_all_channels_in_order(moving, target):
    crop = Crop(0, 0, 1.0, False, (64, 112))
    stack = moving.batch(target, crop).stack
    assert stack.shape == (1, 8, 64, 112)
    clip = moving.manifest.clips[0]
    entry = moving.store.get("flow", moving.stack["left"])
    listed = entry.meta["inputs"]["pairs"]
    for slot, step in enumerate(range(target - 2, target + 2)):
        start = min(max(step, 0), FRAMES - 2)
        pair = [clip.frames[start].digest, clip.frames[start + 1].digest]
        flow = torch.from_numpy(read_flow(entry, listed.index(pair))[0])[None]
        full, inside = sample_flow_crop(flow, [crop], image_size=SIZE, source_stride=4)
        expected = (full / SCALE_PX).clamp(-2.5, 2.5) * inside
        torch.testing.assert_close(stack[:, 2 * slot : 2 * slot + 2], expected)


def test_the_flow_is_that_of_the_pixels(moving):
    stack = moving.batch(2, Crop(0, 0, 1.0, False, (62, 98))).stack[0] * SCALE_PX
    for u, v in stack[:, 20:-20, 30:-30].flatten(1).mean(1).view(-1, 2).tolist():
        assert (u, v) == pytest.approx(STEP_PX, abs=0.3)


def test_zeros_stand_for_missing_flows_if_asked(moving):
    stack = StackOptions(length=4, first=-2, edge="zero", scale_px=SCALE_PX)
    first = moving.batch(0, Crop(0, 0, 1.0, False, (62, 98)), stack=stack).stack[0]
    assert not first[:4].any()
    assert first[4:].any()


def test_residual_motion_is_what_the_camera_does_not_explain(moving):
    crop = Crop(4, 9, 1.2, True, (32, 48))
    stack = StackOptions(length=4, first=-2, scale_px=SCALE_PX, motion="residual")
    raw, residual = moving.batch(2, crop).stack, moving.batch(2, crop, stack=stack).stack
    assert residual.abs().mean() * SCALE_PX < 0.2 < raw.abs().mean() * SCALE_PX


def test_flow_that_is_missing_is_told(moving):
    left = {"left": moving.stack["left"]}
    with pytest.raises(InputError, match="clip 'right' has no flow in the index for the stack of frame"):
        list(moving.stream(stored=left).batches(0, 4, CPU))


def apart(clip):
    """The same frames, every second one of a video."""
    return replace(clip, frames=tuple(replace(each, number=2 * each.number) for each in clip.frames))


def test_frames_that_do_not_follow_each_other_stand_still(moving):
    plan, clip = StackPlan(StackOptions(length=4, first=-2)), moving.manifest.clips[0]
    entry = moving.store.get("flow", moving.stack["left"])
    other = replace(apart(clip), id="other")  # of the same content, so of the same entry
    assert plan.slots(entry, clip, 2) != [None] * 4
    assert plan.slots(entry, other, 2) == [None] * 4
    plan.check_none(other)
    with pytest.raises(InputError, match="though frames follow each other there"):
        plan.check_none(clip)


def test_a_flow_that_an_entry_lacks_is_told(moving):
    clip, entry = moving.manifest.clips[0], moving.store.get("flow", moving.stack["left"])
    longer = replace(clip, frames=(*clip.frames, replace(clip.frames[0], number=5, name="00005")))
    with pytest.raises(InputError, match=r"lacks the flow from frame 4 of clip 'left' to the next"):
        StackPlan(StackOptions(length=4, first=-2)).slots(entry, longer, 4)


def test_numbers_of_frames_are_in_the_key(moving):
    clips = tuple(map(apart, moving.manifest.clips))
    keys = [
        entry_key("models", moving.recipe(train=manifest).inputs())
        for manifest in (moving.manifest, replace(moving.manifest, clips=clips))
    ]
    assert keys[0] != keys[1]


def test_tags_that_are_not_complete_say_nothing_of_other_classes(moving):
    some = replace(moving.tags, complete=False)
    assert moving.recipe(tags=some).losses["tag_loss"]["complete"] is False
    keys = [entry_key("models", moving.recipe(tags=tags).inputs()) for tags in (moving.tags, some)]
    assert keys[0] != keys[1]


def test_an_auxiliary_head_does_not_learn_from_tags(moving):
    student = {**moving.config["student"], "auxiliary_head": True}
    recipe = moving.recipe(complete_config({**moving.config, "student": student}))
    with pytest.raises(InputError, match="supervision is 'tags', and that head learns from clicks, masks"):
        make_losses(recipe, make_objective(recipe))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ["background", "other", "thing"]}, "holds maps of the classes background, other, thing"),
        ({"class_ids": [1, 9]}, r"class_ids is \[1, 9\]"),
        ({"class_ids": [-1, 1]}, r"class_ids is \[-1, 1\]"),
        ({"stride_px": 8}, "maps is uint8 of shape"),
        ({"stride_px": 0}, "stride_px 0"),
    ],
)
def test_maps_that_do_not_fit_are_refused(moving, change, message):
    entry = moving.store.get("cams", moving.cams["left"])
    forged = replace(entry, meta={**entry.meta, "attributes": {**entry.attributes, **change}})
    check_maps(entry, SIZE, NAMES)
    with pytest.raises(ValueError, match=message):
        check_maps(forged, SIZE, NAMES)


# --- heat -------------------------------------------------------------------------------------------------


def view_of(moving, clip):
    batch = moving.batch(2, Crop(0, 0, 1.0, False, (64, 96)), clip=clip)
    return View(torch.zeros(1, 3, 8, 12), batch, None)


@pytest.mark.parametrize("clip", [0, 1])
def test_heat_of_the_clips_class_is_where_its_map_is_high(moving, clip):
    view = view_of(moving, clip)
    seen = view.heated(0.2, "complement")[0]
    left = torch.arange(12) < 6
    assert (seen[1 + clip] == (left if clip == 0 else ~left)).float().mean() > 0.9
    assert not seen[2 - clip].any()  # the other class is seen too, but has no tag
    assert torch.equal(seen[0], ~seen[1 + clip])


def test_without_a_complement_class_0_is_where_its_own_map_is_high(moving):
    assert not view_of(moving, 0).heated(0.2, "none")[0, 0].any()


def test_background_occurs_in_every_image(moving):
    batch = next(moving.stream().batches(0, 1, CPU))
    assert batch.tags[:, 0].all()
    assert (batch.tags[:, 1:].sum(1) == 1).all()


# --- trainings --------------------------------------------------------------------------------------------


def test_it_trains_and_its_card_tells_the_motion(moving, tmp_path):
    recipe = replace(moving.recipe(), validation_stacks=moving.stack)
    assert {"tag", "heatmap", "constrain"} <= set(first_losses(recipe, tmp_path))
    model, card = load_model(tmp_path / "model.safetensors", with_motion=True)
    assert model.stack_length == 4
    assert card.motion.stack == StackOptions(length=4, first=-2)
    assert card.motion.estimator["name"] == "dis"
    assert card.motion.stride_px == 4


def first_losses(recipe, folder):
    train_recipe(recipe, folder, device="cpu")
    return next(line["terms"] for line in read_metrics(folder / "metrics.jsonl") if "terms" in line)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"stack": {"first": -1, "length": 4}}, False),
        ({"stack": {"first": -2, "length": 4, "scale_px": 4}}, False),
        ({"flow": {"motion": "residual"}}, False),
        ({"student": {"fusion": "late"}}, False),
        ({"tag_loss": {"r": 4}}, False),
        ({"heatmap_loss": {"threshold": 0.3}}, False),
        ({"heatmap_loss": {"background": "none"}}, False),
        ({"kd": {"weight": 3}}, True),
        ({"flow": {"masks": []}}, True),
    ],
)
def test_the_key_holds_what_changes_the_weights(moving, change, same):
    merged = {name: {**moving.config[name], **part} for name, part in change.items()}
    changed = complete_config({**moving.config, **merged})
    keys = [entry_key("models", moving.recipe(config).inputs()) for config in (moving.config, changed)]
    assert (keys[0] == keys[1]) == same


@pytest.mark.parametrize(
    ("given", "unread"),
    [
        ({"student": {"fusion": "none"}}, {"student": {"late_fusion": "concat_conv"}}),
        ({"tag_loss": {"pooling": "max"}}, {"tag_loss": {"r": 4}}),
    ],
)
def test_the_key_leaves_out_what_is_not_read(moving, given, unread):
    def key(*changes):
        merged = {**moving.config}
        for change in changes:
            merged |= {name: {**merged[name], **part} for name, part in change.items()}
        return entry_key("models", moving.recipe(complete_config(merged)).inputs())

    assert key(given) == key(given, unread)
    assert key() != key(given)


def test_a_network_of_one_stream_reads_no_flow(moving):
    student = {**moving.config["student"], "fusion": "none"}
    recipe = moving.recipe(complete_config({**moving.config, "student": student}))
    assert recipe.stack is None
    assert not recipe.used_caches().stack
    assert "stack" not in recipe.inputs()


def test_without_a_background_there_is_no_complement(moving):
    classes = replace(moving.manifest.classes, names=("road", *NAMES[1:]))
    road = replace(moving.manifest, classes=classes)
    tags = replace(moving.tags, classes=classes.names)
    assert moving.recipe(train=road, tags=tags).losses["heatmap_loss"]["background"] == "none"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tags": None}, "supervision is 'tags', but the student has no tags"),
        ({"kind": "cams"}, "heatmap_loss.weight is not 0, but the student has no class activation maps"),
        ({"kind": "stack"}, "there are no flows of stacks; give the index of the flow stage"),
    ],
)
def test_what_is_missing_is_told(moving, given, message):
    if "kind" in given:
        given = {"caches": moving.caches(**{given["kind"]: {}})}
    with pytest.raises(InputError, match=message):
        moving.recipe(**given).check_needs()
