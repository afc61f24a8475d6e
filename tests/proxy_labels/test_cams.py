"""The cams stage: what its entries hold, what their keys depend on, and that nothing is done twice."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from jsonschema import validate
from safetensors.torch import save_file

from helpers.damage import forge
from helpers.places import SHARED
from weclick.common.config import complete_config
from weclick.common.errors import InputError
from weclick.common.schemas import load_schema
from weclick.datasets.toy.classes import CLASSES
from weclick.geometry import grid_size
from weclick.manifest import write_manifest
from weclick.manifest.read import read_clip
from weclick.manifest.tag_table import TagTable
from weclick.models import BACKBONES, build_classifier, build_model, normalize
from weclick.proxy_labels import cams, merge_maps
from weclick.proxy_labels.cam_classifier import OfClassifier
from weclick.proxy_labels.cam_frames import STRIDE_PX
from weclick.proxy_labels.cam_imagenet import OfImageNet
from weclick.proxy_labels.cams import cams_inputs, compute_cams, mapped_classes, quantised, read_maps
from weclick.proxy_labels.merging import merged_values
from weclick.store import DamagedEntryError, Store, entry_key, read_index, verify_entry
from weclick.store.model_file import model_bytes

OPTIONS = complete_config({"cams": {"scales": [1, 0.5], "min_score": 1}})["cams"]
CAR, PERSON = CLASSES.index("car"), CLASSES.index("person")


def options(**changes):
    return {**OPTIONS, **changes}


@pytest.fixture(scope="module")
def classifier(street, tmp_path_factory):
    """A classifier of the street's classes, with weights that nobody trained."""
    torch.manual_seed(1)
    model = build_classifier("mobilenetv2_compact", len(street.train.classes.names), output_stride=8)
    path = tmp_path_factory.mktemp("classifier") / "model.safetensors"
    path.write_bytes(model_bytes(model, street.train.classes))
    return model.eval(), path


@pytest.fixture(scope="module")
def tags(street):
    """Cars in the first clip, and none in the second."""
    first, second = (clip.id for clip in street.train.clips)
    rows = {(first, ""): frozenset({CAR}), (second, ""): frozenset()}
    return TagTable(street.train.classes.names, True, rows)


@pytest.fixture(scope="module")
def made(street, classifier, tags, tmp_path_factory):
    """The street's maps, in a store of their own."""
    store = Store([tmp_path_factory.mktemp("store")])
    source = OfClassifier.of(classifier[1])
    return store, compute_cams(street.train, source, tags, options=OPTIONS, store=store)


@pytest.fixture
def refused(monkeypatch):
    """From now on, whoever loads a network or reads a frame fails."""

    def refuse(*_, **__):
        raise AssertionError("read again")

    monkeypatch.setattr("weclick.proxy_labels.cam_classifier.load_model", refuse)
    monkeypatch.setattr(cams, "read_clip", refuse)


class TestEntries:
    def test_they_hold_the_merged_maps_of_every_frame(self, street, classifier, made):
        (store, keys), (model, _) = made, classifier
        clip = street.train.clips[0]
        entry = store.get("cams", keys[clip.id])
        validate(dict(entry.attributes), load_schema("cams"))
        assert verify_entry(entry.path) == []
        assert entry.attributes["frames"] == [frame.name for frame in clip.frames]
        assert entry.attributes["class_ids"] == [CAR]
        assert entry.attributes["scales"] == [0.5, 1]
        for t, image in enumerate(read_clip(street.train, clip)):
            rgb = torch.tensor(image).permute(2, 0, 1)[None].float()
            half = torch.nn.functional.interpolate(rgb, (32, 48), mode="bilinear", antialias=True)
            with torch.no_grad():
                each = [
                    model.class_maps(normalize(torch.cat([x, x.flip(-1)])))[:, [CAR]].relu()
                    for x in (half, rgb)
                ]
                score = model(normalize(rgb)).mean((2, 3)).sigmoid()[0]
            expected = merge_maps(each, (16, 24), "maximum")
            found, class_ids = read_maps(entry, t)
            assert (class_ids, found.shape, found.dtype) == ([CAR], (1, 16, 24), np.float32)
            np.testing.assert_allclose(found, expected.numpy(), atol=0.501 / 255)
            np.testing.assert_allclose(entry.array("scores")[t], score, atol=1e-5)
            assert entry.array("peaks")[t][0] == pytest.approx(float(_merged(each).max()), rel=1e-4)

    def test_a_clip_without_a_tag_has_the_class_of_the_best_score(self, street, made):
        store, keys = made
        entry = store.get("cams", keys[street.train.clips[1].id])
        scores = np.stack([entry.array("scores")[t] for t in range(len(street.train.clips[1].frames))])
        assert entry.attributes["class_ids"] == [int(scores.max(0).argmax())]

    def test_a_frame_and_class_of_240x432_px_takes_at_most_40_kb(self, street, made):
        height, width = grid_size((240, 432), STRIDE_PX)
        assert (height, width) == (60, 108)
        assert height * width + 4096 < 40_000, "uint8, were it not compressed"
        store, keys = made
        for clip in street.train.clips:
            meta = store.get("cams", keys[clip.id]).meta
            stored = sum(f["bytes"] for name, f in meta["files"].items() if "/c/" in name)
            assert stored < len(clip.frames) * (16 * 24 + 400)


def _merged(each):
    return merged_values(each, (16, 24), "maximum")


def test_classes_are_those_of_tags_and_of_high_scores():
    scores = np.array([[0.99, 0.1, 0.6, 0.2], [0, 0.3, 0.1, 0.2]], np.float32)
    shown = range(1, 4)
    assert mapped_classes(scores, [3], 0.5, shown) == [2, 3]
    assert mapped_classes(scores, [], 0.5, shown) == [2]
    assert mapped_classes(scores, [], 0.9, shown) == [2], "the best one where none is high"
    assert mapped_classes(scores, [1], 0.6, shown) == [1], "exceeds, and is not equal"
    assert mapped_classes(scores, [1], 0.6, range(4)) == [0, 1], "class 0 is no background"
    assert mapped_classes(scores[1:], [], 0.6, range(4)) == [1]


def test_maps_are_steps_of_their_own_maxima():
    maps = torch.tensor([[[0.0, 0.5]], [[2.0, 8.0]], [[0.0, 0.0]]])
    stored, peaks = quantised(maps)
    assert stored.tolist() == [[[0, 255]], [[64, 255]], [[0, 0]]]
    assert (stored.dtype, peaks.tolist()) == (np.uint8, [0.5, 8.0, 0.0])


class TestKeys:
    def test_a_second_run_loads_nothing(self, street, classifier, made, tags, refused):
        store, keys = made
        source = OfClassifier.of(classifier[1])
        moved = dataclasses.replace(street.train, root=street.train.root + "/.")
        turned = options(scales=[0.5, 1.0])
        assert compute_cams(moved, source, tags, options=turned, store=store) == keys

    def test_they_follow_all_that_decides_the_maps(self, street):
        clip, made_from = street.train.clips[0], {"classifier_sha256": "0" * 64}

        def key(*, of=clip, ids=(CAR,), source=made_from, names=CLASSES, **changes):
            return entry_key("cams", cams_inputs(of, ids, source, options(**changes), names=names))

        frames = (dataclasses.replace(clip.frames[0], digest="1" * 64), *clip.frames[1:])
        others = {
            key(of=dataclasses.replace(clip, frames=frames)),
            key(ids=(CAR, PERSON)),
            key(ids=(0, CAR)),
            key(names=("background", *CLASSES[1:])),
            key(source={"classifier_sha256": "1" * 64}),
            key(scales=[1]),
            key(flip=False),
            key(merge="sum"),
            key(min_score=0.5),
        }
        assert len({key(), *others}) == 10
        renamed = dataclasses.replace(clip, id="other")
        assert key() == key(of=renamed) == key(scales=[0.5, 1]), "these change no map"

    def test_a_tag_of_the_background_changes_no_key(self, street):
        clip, names = street.train.clips[0], ("background", *CLASSES[1:])
        given = [cams_inputs(clip, ids, {}, OPTIONS, names=names) for ids in ((CAR,), (0, CAR))]
        assert given[0] == given[1]
        assert "background" not in given[0], "keys of earlier entries stay"

    def test_what_imagenet_needs_is_in_them(self, street, tmp_path):
        names = street.train.classes.names
        files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
        for number, file in enumerate(files):
            file.write_bytes(bytes([number]))

        def inputs(**changes):
            given = {"mapping": {"car": [817, 468]}, "pretrained": str(files[0]), **changes}
            return OfImageNet.of(options(**given), names).key_inputs()

        others = [
            inputs(pretrained=str(files[1])),
            inputs(mapping={"car": [817]}),
            inputs(mapping={"person": [817, 468]}),
            inputs(combine="sum"),
            inputs(pretrained="imagenet"),
        ]
        assert inputs() == inputs(mapping={"car": [468, 817]})
        assert all(inputs() != other for other in others)
        assert others[-1]["imagenet"]["weights"].startswith("https://")


class TestFaults:
    def test_a_stage_that_was_stopped_leaves_whole_clips_alone(
        self, street, classifier, made, tags, tmp_path, monkeypatch
    ):
        store, source = Store([tmp_path]), OfClassifier.of(classifier[1])
        first, second = street.train.clips

        def cut(manifest, clip):
            frames = read_clip(manifest, clip)
            yield next(frames)
            if clip.id == second.id:
                raise KeyboardInterrupt
            yield from frames

        with monkeypatch.context() as patch:
            patch.setattr(cams, "read_clip", cut)
            with pytest.raises(KeyboardInterrupt):
                compute_cams(street.train, source, tags, options=OPTIONS, store=store)
        assert store.find("cams", made[1][first.id])
        assert not store.find("cams", made[1][second.id])
        assert compute_cams(street.train, source, tags, options=OPTIONS, store=store) == made[1]
        for key in made[1].values():
            whole, other = (each.get("cams", key).meta["files"] for each in (store, made[0]))
            assert whole == other

    @pytest.fixture
    def entry(self, street, classifier, tags, tmp_path):
        """The entry of one clip, to be damaged."""
        store, source = Store([tmp_path]), OfClassifier.of(classifier[1])
        part = dataclasses.replace(street.train, clips=street.train.clips[:1])
        (key,) = compute_cams(part, source, tags, options=OPTIONS, store=store).values()
        return store.get("cams", key)

    def test_an_altered_file_is_refused(self, entry):
        path = entry.path / "maps/c/1/0/0/0"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 255
        path.write_bytes(bytes(data))
        read_maps(entry, 0)
        with pytest.raises(DamagedEntryError, match="maps/c/1"):
            read_maps(entry, 1)

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"class_ids": [CAR, PERSON]}, r"maps is of shape \(4, 1, 16, 24\), expected \(4, 2, 16, 24\)"),
            ({"image_size": [640, 96]}, r"expected \(4, 1, 160, 24\)"),
            ({"stride_px": 8}, "stride_px"),
        ],
    )
    def test_attributes_that_do_not_fit_the_maps_are_refused(self, entry, street, change, told):
        forge(entry.path, lambda meta: meta["attributes"].update(change))
        with pytest.raises(DamagedEntryError, match=told):
            read_maps(Store([entry.path.parents[3]]).get("cams", entry.key), 0)

    def test_tags_of_other_classes_are_told(self, street, classifier, tmp_path):
        source, other = OfClassifier.of(classifier[1]), TagTable(("ground", "swan"), True)
        with pytest.raises(InputError, match="tags are of the classes ground, swan, but the data set has"):
            compute_cams(street.train, source, other, options=OPTIONS, store=Store([tmp_path]))

    def test_a_segmentation_network_is_no_classifier(self, street, tags, tmp_path):
        model = build_model("deeplabv3plus", "mobilenetv2_compact", len(tags.classes), channels=8)
        path = tmp_path / "model.safetensors"
        path.write_bytes(model_bytes(model, street.train.classes))
        with pytest.raises(InputError, match="is a segmentation network, expected a classifier"):
            compute_cams(
                street.train, OfClassifier.of(path), tags, options=OPTIONS, store=Store([tmp_path / "store"])
            )


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of a network of ImageNet's classes, with weights that nobody trained."""
    torch.manual_seed(0)
    last = {"fc.weight": torch.randn(1000, 512), "fc.bias": torch.randn(1000)}
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    save_file(BACKBONES["resnet18"](32).state_dict() | last, path)
    return path


class TestImageNet:
    @pytest.mark.parametrize("combine", ["maximum", "sum"])
    def test_a_class_is_that_of_its_indices(self, street, weights, combine, capsys):
        names = street.train.classes.names
        section = options(
            backbone="resnet18",
            pretrained=str(weights),
            mapping={"car": [817, 468], "person": [3]},
            combine=combine,
        )
        mapper = OfImageNet.of(section, names).load(street.train, "cpu")
        said = capsys.readouterr().err
        left = "road, sidewalk, building, sky, vegetation, pole, traffic sign"
        assert f"cams.mapping: {left} stand for none" in said
        image = torch.randn(1, 3, 64, 96)
        with torch.no_grad():
            z = mapper.model.class_maps(image).relu()
            likely = mapper.model(image).mean((2, 3)).softmax(1)
            maps, scores = mapper.maps(image, [CAR, PERSON, 1]), mapper.scores(image)
        both = z[:, [468, 817]]
        torch.testing.assert_close(maps[:, 0], both.sum(1) if combine == "sum" else both.amax(1))
        torch.testing.assert_close(maps[:, 1], z[:, 3])
        assert not maps[:, 2].any()
        expected = torch.zeros(1, len(names))
        expected[0, CAR], expected[0, PERSON] = likely[0, [468, 817]].sum(), likely[0, 3]
        torch.testing.assert_close(scores, expected)

    def test_its_entries_say_what_made_them(self, street, weights, tags, tmp_path):
        section = options(backbone="resnet18", pretrained=str(weights), mapping={"car": [817]}, scales=[1])
        source, store = OfImageNet.of(section, tags.classes), Store([tmp_path])
        part = dataclasses.replace(street.train, clips=street.train.clips[:1])
        (key,) = compute_cams(part, source, tags, options=section, store=store).values()
        entry = store.get("cams", key)
        validate(dict(entry.attributes), load_schema("cams"))
        assert entry.attributes["imagenet"]["mapping"] == {str(CAR): [817]}
        assert verify_entry(entry.path) == []

    @pytest.mark.parametrize(
        ("mapping", "told"),
        [
            ({}, r"cams\.mapping is empty; say which of them stand for those of the data set"),
            ({"swan": [100]}, r"cams\.mapping names 'swan', expected some of"),
        ],
    )
    def test_a_mapping_that_does_not_fit_is_told(self, street, mapping, told):
        with pytest.raises(InputError, match=told):
            OfImageNet.of(options(mapping=mapping), street.train.classes.names)

    def test_a_background_has_no_index(self):
        section = options(mapping={"background": [1]})
        with pytest.raises(InputError, match=r"'background', expected some of car, the classes .* without"):
            OfImageNet.of(section, ("background", "car"))

    def test_a_first_class_of_another_name_is_like_any_other(self, street, weights):
        section = options(backbone="resnet18", pretrained=str(weights), mapping={"road": [1]})
        mapper = OfImageNet.of(section, street.train.classes.names).load(street.train, "cpu")
        image = torch.randn(1, 3, 64, 96)
        with torch.no_grad():
            assert mapper.scores(image)[0, 0] > 0
            expected = mapper.model.class_maps(image)[:, 1].relu()
            torch.testing.assert_close(mapper.maps(image, [0])[:, 0], expected)


class TestVerb:
    @pytest.fixture
    def run(self, street, verb, classifier, tmp_path):
        """Runs the verb on a split, in a folder with the table of tags of the training split."""
        pytest.importorskip("weclick.clicks.tags", reason="nothing makes tables of tags here")
        config = {"cache": {"roots": [str(tmp_path / "store")]}, "cams": {"scales": [1]}}
        for split, manifest in (("train", street.train), ("val", street.val)):
            write_manifest(manifest, tmp_path / f"manifest/{split}/0.json")
        train = tmp_path / "manifest/train/0.json"
        assert verb("tags", "--manifest", train, "--output", tmp_path / "tags/train.h5")[0] == 0

        def call(*words, split="train", network=True):
            given = (
                "--manifest",
                tmp_path / f"manifest/{split}/0.json",
                "--tags",
                tmp_path / "tags/train.h5",
            )
            output = ("--output", tmp_path / f"cams/{split}/0.json", "--config", json.dumps(config))
            return verb(
                "cams", *given, *output, *(("--classifier", classifier[1]) if network else ()), *words
            )

        return call

    def test_it_makes_an_index(self, run, street, tmp_path):
        status, said = run()
        assert status == 0, said.err
        keys, store = read_index([tmp_path / "cams/train/0.json"], "cams"), Store([tmp_path / "store"])
        assert keys.keys() == {clip.id for clip in street.train.clips}
        assert all(verify_entry(store.get("cams", key).path) == [] for key in keys.values())

    def test_another_split_is_refused_unless_it_is_allowed(self, run, tmp_path):
        status, said = run(split="val")
        assert status == 1
        assert "is of split 'val', but maps know tags, and belong to the training split alone" in said.err
        assert not (tmp_path / "cams").exists()
        assert run("--allow-val", split="val")[0] == 0

    def test_the_network_is_what_the_configuration_says(self, run):
        assert "but no classifier is given; name its model.safetensors" in run(network=False)[1].err
        status, said = run("--set", "cams.source=imagenet")
        assert status == 1
        assert "is given as a classifier; leave --classifier out" in said.err
        assert "cams.mapping is empty" in run("--set", "cams.source=imagenet", network=False)[1].err


@pytest.mark.slow
@pytest.mark.skipif(
    not (SHARED / "weights/tf_efficientnet_lite0_imagenet.safetensors").is_file()
    or not (SHARED / "data/davis/frames").is_dir(),
    reason="the shared folder with EfficientNet-Lite0's weights and the five clips is absent",
)
def test_maps_of_real_clips_show_their_objects(repository, tmp_path):
    """ImageNet's own classes, and a head that learnt from the tags of five clips alone."""
    words = ["benchmarks/cam_iou.py", "--every", "20", "--output", str(tmp_path / "iou.json")]
    subprocess.run([sys.executable, *words], cwd=repository, check=True)
    found = json.loads((tmp_path / "iou.json").read_text(encoding="utf-8"))["sources"]
    assert found.keys() == {"imagenet", "tags"}
    for source in found.values():
        assert source["maximum"]["best"]["iou"] >= 38
        assert source["sum"]["best"]["iou"] > source["maximum"]["best"]["iou"]
