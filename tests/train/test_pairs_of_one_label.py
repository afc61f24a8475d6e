"""Cityscapes in small: one frame of a snippet has a label, and both frames of a pair get instances.

The real stages make them. The networks are not trained: what they find does not matter here, only where
somebody looks for something.
"""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image

from weclick.clicks.tags import SourcedTags, make_tags, read_tags
from weclick.common.config import complete_config, select
from weclick.datasets import build_manifest, open_dataset
from weclick.datasets.frames import pack_frames
from weclick.datasets.toy.draw import generate
from weclick.flow.stage import compute_needs
from weclick.manifest import Manifest, write_manifest
from weclick.manifest.click_table import ClickTable
from weclick.manifest.needs import Needs
from weclick.models import build_classifier, build_relation
from weclick.proxy_labels.cam_classifier import OfClassifier
from weclick.proxy_labels.cams import compute_cams
from weclick.proxy_labels.confident import make_confident_labels
from weclick.proxy_labels.instances import make_instances
from weclick.proxy_labels.instances_from_relation import FromRelation
from weclick.runs.consist import Consist
from weclick.store import Store
from weclick.store.model_file import model_bytes
from weclick.train.build import begin
from weclick.train.data.instances import InstanceReader
from weclick.train.data.proxied import with_confident_targets, with_instance_targets
from weclick.train.data.stream import Caches
from weclick.train.devices import make_fabric
from weclick.train.recipe import Recipe

LABELLED, DELTA = 5, 3
"""The frame of a snippet that has a label, and the gap of a pair."""

VALUES = np.array([7, 8, 11, 23, 21, 17, 20, 24, 26], np.uint16)
"""What the label files of Cityscapes say for the classes of the toy street."""

DETECTOR = {
    "backbone": "mobilenetv2_compact",
    "pretrained": None,
    "channels": 16,
    "proposals": [50, 20],
    "anchors_px": [8, 16, 32],
    "rois": 16,
    "batch_size": 2,
    "crop": [64, 96],
    "scale": [1.0, 1.0],
    "flip": False,
}


def write_snippets(drawn, root):
    """The toy street as Cityscapes lays out its files, with the labels of one frame of each clip."""
    generate(drawn, seed=3, height=64, width=96, frames=11, clips={"train": 2, "val": 1})
    for image in sorted(drawn.glob("leftImg8bit/*/*/*.png")):
        split, clip, stem = *image.parts[-3:-1], image.name.removesuffix("_leftImg8bit.png")
        folders = [root / kind / split / "street" for kind in ("leftImg8bit_sequence", "gtFine")]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        image.rename(folders[0] / image.name)
        if int(stem[-6:]) == LABELLED:
            names = [f"{stem}_gtFine_{kind}.png" for kind in ("labelIds", "instanceIds")]
            label, objects = (np.array(Image.open(drawn / "gtFine" / split / clip / name)) for name in names)
            numbers = VALUES[objects // 1000] * 1000 + objects % 1000
            Image.fromarray(VALUES[label].astype(np.uint8)).save(folders[1] / names[0])
            Image.fromarray(np.where(objects < 1000, 0, numbers).astype(np.uint16)).save(
                folders[1] / names[1]
            )


@dataclass(frozen=True)
class City:
    """The small Cityscapes, with all that does not depend on tags."""

    config: dict
    train: Manifest
    val: Manifest
    store: Store
    flow: dict
    classifier: OfClassifier
    relation: object

    def flow_of(self, need):
        return {clip: keys[need] for clip, keys in self.flow.items()}

    def tags(self, reach_frames):
        return make_tags(self.train, {**self.config["tags"], "reach_frames": reach_frames})

    def caches(self, tags: SourcedTags):
        """Frames, flow, confident labels and instances of these tags, by their own stages."""
        cams = compute_cams(self.train, self.classifier, tags, options=self.config["cams"], store=self.store)
        maps = {"cams": cams, "flow": self.flow_of("step"), "fcam": self.config["fcam"], "store": self.store}
        labels = make_confident_labels(self.train, tags, options=self.config["confident_labels"], **maps)
        source = FromRelation(self.train, self.config["instances"], tags=tags, relation=self.relation, **maps)
        keys = {
            "frames": pack_frames(self.train, chunk_px=64, store=self.store),
            "flow": self.flow_of("pair"),
            "confident_labels": labels,
            "instances": make_instances(self.train, source, store=self.store),
        }
        return Caches.of(self.store, keys)

    def pairs(self, caches):
        """Offset of each target from the labelled frame, with that of its partner -> their instances."""
        manifest = with_instance_targets(self.train, caches)
        clicks = ClickTable("train", manifest.classes.names, {})
        recipe = Recipe(
            "detector",
            select(self.config, "detector"),
            manifest,
            clicks,
            caches,
            self.val,
            Consist.of(self.config),
        )
        stream, found = begin(recipe, make_fabric("cpu", "32", 1)).stream, {}
        reader = InstanceReader(self.store, manifest.classes.names)
        for step in range(40):
            for sample in stream.plan(step):
                at = (sample.target, *sample.neighbours)
                told = reader.read(sample.clip, caches.instances[sample.clip.id], at)
                offsets = tuple(sample.clip.frames[t].number - LABELLED for t in at)
                found.setdefault(offsets, set()).add(tuple(bool(len(each.classes)) for each in told))
        batch = next(stream.batches(0, 1, torch.device("cpu")))
        assert len(batch.instances) == 2 * batch.targets, "each target has a partner"
        return found


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    root = tmp_path_factory.mktemp("pairs")
    write_snippets(root / "drawn", root / "city")
    config = complete_config(
        {
            "method": "maskconsist",
            "data": {"name": "cityscapes", "root": str(root / "city")},
            "pair": {"delta_frames": DELTA},
            "cams": {"scales": [1.0], "flip": False},
            "confident_labels": {"crf": None, "grid_px": 4},
            "instances": {"min_share": 0.0, "background": 0.0, "exp_times": 2},
            "detector": DETECTOR,
            "maskconsist": {"weight": 1},
        }
    )
    dataset, needs = open_dataset(config["data"], tags=config["tags"]), Needs.of(config)
    train, val = (
        build_manifest(dataset, split, 0, 1, reach_frames=needs.reach_frames) for split in ("train", "val")
    )
    torch.manual_seed(1)
    classifier = build_classifier("mobilenetv2_compact", train.num_classes, output_stride=8)
    for name, network in (("classifier", classifier), ("relation", build_relation("mobilenetv2_compact"))):
        (root / f"{name}.safetensors").write_bytes(model_bytes(network, train.classes))
    store = Store([root / "store"])
    flow = compute_needs(train, needs.functions, options=config["flow"], store=store)
    made_by = OfClassifier.of(root / "classifier.safetensors")
    return City(config, train, val, store, flow, made_by, root / "relation.safetensors")


def offsets(manifest):
    """How far each target is from the labelled frame, of each clip."""
    return [[clip.frames[t].number - LABELLED for t in clip.targets] for clip in manifest.clips]


def test_a_snippet_has_one_frame_with_tags(city):
    assert offsets(city.train) == [[0], [0]]
    assert [len(clip.frames) for clip in city.train.clips] == [9, 9], "4 before, 4 after"
    names = [f"street_{clip:04d}_{LABELLED:06d}" for clip in range(2)]
    assert sorted(frame for _, frame in city.tags(0).rows) == names


def test_without_a_reach_the_other_frame_of_each_pair_has_no_instance(city):
    caches = city.caches(city.tags(0))
    assert offsets(with_confident_targets(city.train, caches)) == [[0], [0]]
    assert offsets(with_instance_targets(city.train, caches)) == [[0], [0]]
    assert city.pairs(caches) == {(0, -DELTA): {(True, False)}, (0, DELTA): {(True, False)}}


@pytest.mark.parametrize("reach_frames", [3, 4])
def test_with_a_reach_both_frames_of_a_pair_have_instances(city, reach_frames):
    tags = city.tags(reach_frames)
    near = list(range(-reach_frames, reach_frames + 1))
    for clip in city.train.clips:
        told = {frame.number - LABELLED: tags.of(clip.id, frame.name) for frame in clip.frames}
        assert [offset for offset, ids in told.items() if ids] == near
        assert {told[offset] for offset in near} == {tags.of_clip(clip.id)}
    caches = city.caches(tags)
    assert offsets(with_confident_targets(city.train, caches)) == [near, near]
    assert offsets(with_instance_targets(city.train, caches)) == [near, near]
    pairs = city.pairs(caches)
    assert {(0, -DELTA), (0, DELTA), (-DELTA, 0), (DELTA, 0)} <= pairs.keys()
    assert pairs == {pair: {(True, abs(pair[1]) <= reach_frames)} for pair in pairs}
    beyond = {pair for pair in pairs if abs(pair[1]) > reach_frames}
    assert beyond == ({(-1, -4), (1, 4)} if reach_frames == 3 else set())


def test_maps_and_the_labelled_frame_stay_as_they_are(city):
    near, far = city.caches(city.tags(0)), city.caches(city.tags(3))
    assert len(list((city.store.local.path / "cams").rglob("entry.json"))) == len(city.train.clips)
    assert not set(near.instances.values()) & set(far.instances.values())
    reader = InstanceReader(city.store, city.train.classes.names)
    for clip in city.train.clips:
        (before,), (after,) = (
            reader.read(clip, keys.instances[clip.id], clip.targets) for keys in (near, far)
        )
        assert np.array_equal(before.masks, after.masks)
        assert np.array_equal(before.scores, after.scores)


def test_the_verb_tags_takes_the_key_and_tells_a_wrong_one_in_one_line(city, tmp_path, verb):
    write_manifest(city.train, tmp_path / "0.json")
    words = ["tags", "--manifest", tmp_path / "0.json", "--output", tmp_path / "train.h5"]
    status, told = verb(*words, "--set", "tags.reach_frames=3")
    assert status == 0, told.err
    assert read_tags(tmp_path / "train.h5") == city.tags(3)
    status, told = verb(*words, "--set", "tags.reach_frames=-1")
    assert status == 1
    error, _ = told.err.splitlines()  # the second line tells how to see the traceback
    assert "tags.reach_frames: -1 is less than the minimum of 0" in error
