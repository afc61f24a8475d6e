"""Maps of heads on iconic images, and maps of which each class has a source of its own."""

import dataclasses
import shutil
from unicodedata import normalize as normalize_name

import numpy as np
import pytest
import torch
from jsonschema import validate
from PIL import Image
from safetensors.torch import save_file

from helpers.colours import CLASSES, COLOURS, make_colours
from weclick.common.config import complete_config
from weclick.common.errors import InputError
from weclick.common.schemas import load_schema
from weclick.datasets.digests import file_digests
from weclick.models import BACKBONES, build_classifier, normalize
from weclick.models.backbones import Backbone
from weclick.proxy_labels.cam_iconic import SHORTER_PX, OfIconic
from weclick.proxy_labels.cam_per_class import OfSeveral, cam_source_of, source_of_each
from weclick.proxy_labels.cams import compute_cams, read_maps
from weclick.proxy_labels.one_vs_all import L2, one_vs_all
from weclick.runs.cam_source import cam_source
from weclick.store import Store, entry_key, verify_entry
from weclick.store.model_file import model_bytes

RED, BLUE = 1, 2


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    return make_colours(tmp_path_factory.mktemp("colours"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of a ResNet-18 that nobody trained."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    last = {"fc.weight": torch.randn(1000, 512), "fc.bias": torch.randn(1000)}
    save_file(BACKBONES["resnet18"](32).state_dict() | last, path)
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of plain images: six of each colour, and four greys of no class."""
    folder, rng = tmp_path_factory.mktemp("iconic"), np.random.default_rng(0)
    for name, colour, count in (*((k, c, 6) for k, c in COLOURS.items()), ("background", (128,) * 3, 4)):
        (folder / name).mkdir()
        for number in range(count):
            pixels = np.clip(rng.normal(colour, 12, (40 + number, 48, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture
def copy(images, tmp_path):
    """The folder again, to be changed."""
    return shutil.copytree(images, tmp_path / "iconic")


@pytest.fixture(scope="module")
def section(images, weights):
    """Makes the section `cams`."""

    def make(**changes):
        given = {
            "source": "iconic",
            "iconic": str(images),
            "backbone": "resnet18",
            "scales": [1],
            "flip": False,
        }
        return complete_config({"cams": {**given, "pretrained": str(weights), **changes}})["cams"]

    return make


def iconic(section, names=CLASSES, class_ids=(RED, BLUE)):
    return OfIconic.of(section, names, class_ids, file_digests)


def red_and_blue(colours):
    """The manifest of the one clip that is tagged with both."""
    clips = [clip for clip in colours.train.clips if clip.id == "red_blue"]
    return dataclasses.replace(colours.train, clips=clips)


class TestHeads:
    def test_their_gradient_vanishes_and_classes_weigh_the_same(self):
        torch.manual_seed(0)
        features, ids = torch.rand(40, 5) * 3, [0] * 30 + [1] * 6 + [2] * 4
        weights, biases = one_vs_all(features, ids, [1, 2])
        given = features.double()
        scale = (given - given.mean(0)).square().sum(1).mean().sqrt()
        for weight, bias, k in zip(weights, biases, [1, 2], strict=True):
            own = torch.tensor([i == k for i in ids])
            at, offset = (weight * scale).requires_grad_(), bias.clone().requires_grad_()
            logits = given @ (at / scale) + offset
            likely = torch.where(own, logits, -logits).sigmoid().log()
            loss = -(likely[own].mean() + likely[~own].mean()) / 2 + L2 / 2 * at.square().sum()
            assert all(g.abs().max() < 1e-5 for g in torch.autograd.grad(loss, (at, offset)))

    def test_equal_features_give_equal_weights_to_the_bit(self):
        torch.manual_seed(0)
        features, ids = torch.rand(9, 4), [0, 1, 2] * 3
        first, second = (one_vs_all(features, ids, [0, 2]) for _ in range(2))
        assert all(torch.equal(*both) for both in zip(first, second, strict=True))

    def test_features_that_do_not_differ_are_no_fault(self):
        weights, biases = one_vs_all(torch.ones(4, 3), [0, 0, 1, 1], [0])
        assert (weights.tolist(), biases.tolist()) == ([[0, 0, 0]], [0])


class TestMaps:
    def test_their_entries_say_what_made_them(self, colours, section, tmp_path):
        options, store = section(), Store([tmp_path])
        source = cam_source({"cams": options}, CLASSES, None)
        (key,) = compute_cams(
            red_and_blue(colours), source, colours.tags, options=options, store=store
        ).values()
        entry = store.get("cams", key)
        validate(dict(entry.attributes), load_schema("cams"))
        assert verify_entry(entry.path) == []
        assert entry.attributes["class_ids"] == [RED, BLUE]
        assert (entry.array("scores")[0][0], read_maps(entry, 0)[0].shape) == (0, (2, 12, 16))

    def test_they_are_the_weights_times_the_features(self, colours, section):
        source = iconic(section())
        mapper = source.load(colours.train, "cpu")
        model, plain = mapper.model, torch.full((1, 3, 64, 64), 0.5)
        with torch.no_grad():
            deep = model.backbone(plain)[2]
            weight, bias = model.classifier.weight[:, :, 0, 0], model.classifier.bias
            expected = torch.einsum("kc,bchw->bkhw", weight, deep).relu()[:, [BLUE]]
            torch.testing.assert_close(mapper.maps(plain, [BLUE]), expected)
            scores = (weight @ deep.mean((2, 3))[0] + bias).sigmoid()
            torch.testing.assert_close(mapper.scores(plain)[0, 1:], scores[1:])
        assert not weight[0].any()
        again = source.load(colours.train, "cpu").model.state_dict()
        assert all(torch.equal(again[name], value) for name, value in model.state_dict().items())

    def test_each_image_is_told_from_those_of_other_classes(self, colours, section, images):
        mapper = iconic(section()).load(colours.train, "cpu")
        for name, k in (("red", RED), ("blue", BLUE)):
            for file in (images / name).iterdir():
                image = torch.tensor(np.asarray(Image.open(file))).permute(2, 0, 1)[None].float()
                with torch.no_grad():
                    scores = mapper.scores(normalize(image))[0]
                assert scores[k] > 0.5 > scores[3 - k]


class TestKeys:
    def test_they_follow_the_images_and_not_their_names(self, section, copy, images):
        def key(folder=images, **changes):
            return entry_key("cams", iconic(section(iconic=str(folder), **changes)).key_inputs())

        first = key()
        assert first == key(copy)
        (copy / "red/0.png").rename(copy / "red/z.PNG")
        (copy / "red/readme.txt").write_text("no image")
        (copy / ".hidden").mkdir()
        assert first == key(copy), "these change no head"
        (copy / "red/z.PNG").rename(copy / "blue/z.png")
        moved = key(copy)
        (copy / "blue/z.png").unlink()
        assert len({first, moved, key(copy), key(backbone="resnet34")}) == 4

    @pytest.mark.parametrize("form", ["NFC", "NFD"])
    def test_a_folder_may_spell_its_accents_as_a_mac_does(self, section, copy, form):
        named = ("background", "gr\u00fcn", "blue")
        first = iconic(section(iconic=str(copy))).key_inputs()
        (copy / "red").rename(copy / normalize_name(form, named[RED]))
        for names in (named, [normalize_name("NFD", name) for name in named]):
            assert iconic(section(iconic=str(copy)), names).key_inputs() == first

    def test_only_what_is_used_goes_into_them(self, section, weights):
        names, options = CLASSES, section(source="imagenet", mapping={"red": [1], "blue": [2]})
        alone = cam_source({"cams": options}, names, None).key_inputs()
        same = section(source="imagenet", mapping={"red": [1], "blue": [2]}, sources={"red": "imagenet"})
        assert cam_source({"cams": same}, names, None).key_inputs() == alone
        assert "sources" not in alone
        none = section(source="imagenet", mapping={"red": [1], "blue": [2]}, sources={"red": "none"})
        told = cam_source({"cams": none}, names, None).key_inputs()
        assert told["sources"] == ["none", "none", "imagenet"]
        assert told["imagenet"]["mapping"] == {str(BLUE): [2]}
        all_other = section(source="tags", sources=dict.fromkeys(("red", "blue"), "iconic"))
        found = cam_source({"cams": all_other}, names, weights)
        assert found.key_inputs() == iconic(section()).key_inputs()


class TestSeveral:
    def test_each_class_has_the_maps_of_its_own_source(self, colours, section, tmp_path):
        torch.manual_seed(1)
        path = tmp_path / "model.safetensors"
        model = build_classifier("mobilenetv2_compact", len(CLASSES), output_stride=8)
        path.write_bytes(model_bytes(model, colours.train.classes))
        store = Store([tmp_path / "store"])
        part = red_and_blue(colours)

        def made(**changes):
            options = section(mapping={"red": [3]}, **changes)
            needs = "tags" in {options["source"], *options["sources"].values()}
            source = cam_source({"cams": options}, CLASSES, path if needs else None)
            (key,) = compute_cams(part, source, colours.tags, options=options, store=store).values()
            entry = store.get("cams", key)
            validate(dict(entry.attributes), load_schema("cams"))
            return read_maps(entry, 0)[0], entry.array("scores")[0], entry

        tags, iconic, both = made(source="tags"), made(), made(sources={"red": "tags"})
        np.testing.assert_array_equal(both[0][0], tags[0][0])
        np.testing.assert_allclose(both[1][RED], tags[1][RED], atol=1e-6)
        np.testing.assert_array_equal(both[0][1], iconic[0][1])
        np.testing.assert_allclose(both[1][BLUE], iconic[1][BLUE], atol=1e-6)
        assert both[2].attributes["sources"] == ["none", "tags", "iconic"]
        empty = made(sources={"red": "none"})
        assert not empty[0][0].any()
        assert (empty[1][RED], empty[2].attributes["class_ids"]) == (0, [RED, BLUE])
        np.testing.assert_array_equal(empty[0][1], iconic[0][1])

    def test_a_class_zero_without_maps_is_no_background(self, section):
        names, made = ("road", "car"), lambda name, ids: (name, ids)
        assert cam_source_of(section(), names, made) == ("iconic", [0, 1])
        several = cam_source_of(section(sources={"road": "none"}), names, made)
        assert several == OfSeveral(("none", "iconic"), {"iconic": ("iconic", [1])})

    @pytest.mark.parametrize(
        ("sources", "told"),
        [
            ({"swan": "tags"}, "cams.sources names 'swan', expected some of red, blue"),
            ({"background": "tags"}, "'background', expected .* without the background"),
            ({"red": "none", "blue": "none"}, "none for every class"),
        ],
    )
    def test_sources_that_do_not_fit_the_classes_are_told(self, section, sources, told):
        with pytest.raises(InputError, match=told):
            source_of_each(section(sources=sources), CLASSES)


class TestFaults:
    @pytest.mark.parametrize(
        ("change", "told"),
        [
            (
                lambda folder: (folder / "swan").mkdir(),
                "has a folder 'swan', expected some of backgr",
            ),
            (lambda folder: shutil.rmtree(folder / "blue"), "has no folder 'blue', whose maps iconic images"),
            (
                lambda folder: [file.unlink() for file in (folder / "background").iterdir()],
                "background: holds no image, expected files that end in .png",
            ),
        ],
    )
    def test_a_folder_that_does_not_fit_the_classes_is_told(self, section, copy, change, told):
        change(copy)
        with pytest.raises(InputError, match=told):
            iconic(section(iconic=str(copy)))

    def test_two_folders_of_one_class_are_told(self, section, copy):
        named = ("background", "gr\u00fcn", "blue")
        for form in ("NFC", "NFD"):
            shutil.copytree(copy / "red", copy / normalize_name(form, named[RED]))
        shutil.rmtree(copy / "red")
        with pytest.raises(InputError, match="both are named as the class 'gr\u00fcn', in two forms of Uni"):
            iconic(section(iconic=str(copy)), named)

    def test_one_class_alone_cannot_be_told(self, section, copy):
        for name in ("background", "blue"):
            shutil.rmtree(copy / name)
        with pytest.raises(InputError, match="images of 'red' alone, so there is nothing to tell it from"):
            iconic(section(iconic=str(copy)), class_ids=[RED])

    def test_a_damaged_image_is_told(self, colours, section, copy):
        (copy / "red/3.png").write_bytes(b"no image")
        source = iconic(section(iconic=str(copy)))
        with pytest.raises(InputError, match=r"of class 'red': .*3\.png: cannot be read as an image"):
            source.load(colours.train, "cpu")

    def test_an_image_that_changed_meanwhile_is_told(self, colours, section, copy):
        source = iconic(section(iconic=str(copy)))
        shutil.copy(copy / "blue/1.png", copy / "red/3.png")
        with pytest.raises(InputError, match="changed since its digest was taken"):
            source.load(colours.train, "cpu")


def test_images_are_turned_as_they_say_and_shrunk(colours, section, copy, monkeypatch):
    """An image of EXIF orientation 6 lies on its side in the file."""
    turned = Image.fromarray(np.full((SHORTER_PX + 60, SHORTER_PX * 2, 3), 200, np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(copy / "red/0.jpg", exif=exif)
    for name in ("red", "blue", "background"):
        for file in list((copy / name).glob("*.png"))[1:]:
            file.unlink()
    seen, forward = [], Backbone.forward

    def watch(self, images):
        seen.append(tuple(images.shape[-2:]))
        return forward(self, images)

    monkeypatch.setattr(Backbone, "forward", watch)
    iconic(section(iconic=str(copy))).load(colours.train, "cpu")
    assert (round(SHORTER_PX * 2 * SHORTER_PX / (SHORTER_PX + 60)), SHORTER_PX) in seen
