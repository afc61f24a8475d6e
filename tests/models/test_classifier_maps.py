"""Classifiers: maps whose means are scores, with a backbone that learns or does not."""

import pytest
import torch
from torch import nn

from weclick.common.errors import InputError
from weclick.manifest import Classes
from weclick.models import Classifier, build_classifier, rebuild
from weclick.models.inference import fused_for_inference
from weclick.store.model_file import load_model, model_bytes

CLASSES = Classes(("background", "swan", "dog"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
SIZES = [(64, 96), (50, 33)]


def small(**options) -> Classifier:
    torch.manual_seed(0)
    return build_classifier("mobilenetv2_compact", 3, **options)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("hidden", [0, 8])
@torch.no_grad()
def test_maps_lie_on_the_grid_of_the_stride_and_their_means_are_the_scores(hidden, size):
    model, images = small(hidden=hidden).eval(), torch.randn(2, 3, *size)
    nn.init.normal_(model.classifier.bias)
    maps = model(images)
    assert maps.shape == (2, 3, *(-(-side // model.stride) for side in size))
    bare = model.class_maps(images)
    torch.testing.assert_close(bare + model.classifier.bias[:, None, None], maps)
    pooled = model.hidden(model.backbone(images)[-1]).mean((2, 3))  # pooled first, as others write it
    torch.testing.assert_close(model.classifier(pooled[..., None, None])[..., 0, 0], maps.mean((2, 3)))


@pytest.mark.parametrize(
    ("backbone", "stride"), [("vgg16", 8), ("resnet50", 16), ("mobilenetv2", 16), ("timm/test_resnet", 16)]
)
def test_the_stride_is_the_published_one(backbone, stride):
    with torch.device("meta"):
        model = build_classifier(backbone, 3)
    assert model.stride == model.options["output_stride"] == stride


def test_f2fs_head_has_two_convolutions_of_1024_channels():
    with torch.device("meta"):
        model = build_classifier("vgg16", 21, hidden=1024)
    convs = [part for part in model.hidden.modules() if isinstance(part, nn.Conv2d)]
    assert [conv.weight.shape for conv in convs] == [(1024, 512, 3, 3), (1024, 1024, 3, 3)]
    assert [part.p for part in model.hidden.modules() if isinstance(part, nn.Dropout2d)] == [0.5, 0.5]
    assert model.classifier.weight.shape == (21, 1024, 1, 1)


@pytest.mark.parametrize("hidden", [0, 8])
def test_a_frozen_backbone_has_no_gradient_and_stays_in_eval_mode(hidden):
    model = small(freeze=True, hidden=hidden, batch_norm="train").train()
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    model(torch.randn(2, 3, 48, 64)).square().mean().backward()
    learned = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert learned == {name for name, _ in model.named_parameters() if not name.startswith("backbone.")}
    assert not any(part.training for part in model.backbone.modules())
    assert all(part.training for part in model.hidden.modules())
    assert all(torch.equal(before[name], value) for name, value in model.backbone.state_dict().items())


def test_a_backbone_that_is_not_frozen_learns():
    model = small().train()
    model(torch.randn(2, 3, 48, 64)).square().mean().backward()
    norms = {id(p) for m in model.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()}
    assert all((p.grad is None) == (id(p) in norms) for p in model.parameters())  # these are frozen


@pytest.mark.parametrize("hidden", [0, 8])
def test_dropout_is_of_training_alone(hidden):
    model, images = small(hidden=hidden, freeze=True), torch.randn(1, 3, 48, 64)
    assert not torch.equal(model.train()(images), model(images))
    assert torch.equal(model.eval()(images), model(images))
    none = small(hidden=hidden, freeze=True, dropout=0).train()
    assert torch.equal(none(images), none(images))


@pytest.mark.parametrize("options", [{}, {"hidden": 8, "freeze": True, "output_stride": 8, "dropout": 0}])
def test_options_build_the_same_structure_again(options):
    model = small(**options)
    again = rebuild(model.options)
    again.load_state_dict(model.state_dict())
    images = torch.randn(2, 3, 40, 48)
    assert torch.equal(model.eval()(images), again.eval()(images))
    assert again.options == model.options


@pytest.mark.parametrize("hidden", [0, 8])
@torch.no_grad()
def test_a_file_of_a_classifier_is_one_again(tmp_path, hidden):
    model = small(hidden=hidden, freeze=True).eval()
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_bytes(model, CLASSES))
    loaded, card = load_model(path, classes=CLASSES.names)
    assert isinstance(loaded, Classifier)
    assert not loaded.training
    assert card.options == model.options
    images = torch.randn(1, 3, 40, 48)
    assert torch.equal(loaded.class_maps(images), model.class_maps(images))
    fused = fused_for_inference(loaded)
    torch.testing.assert_close(fused(images), model(images), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fused.class_maps(images), model.class_maps(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"hidden": 10**6}, "channels 1000000 is out of range"),
        ({"hidden": "8"}, "hidden"),
        ({"dropout": 2.0}, "dropout"),
        ({"layers": 3}, "layers"),
    ],
)
def test_a_card_that_describes_no_classifier_is_told(tmp_path, changed, told):
    model = small(hidden=8)
    model.options = {**model.options, **changed}
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_bytes(model, CLASSES))
    with pytest.raises(InputError, match=rf"describes no network of this version .*{told}"):
        load_model(path)
