"""A backbone's features of every stage, and VGG16."""

import itertools

import pytest
import timm
import torch
import torchvision.models as tv
from safetensors.torch import save_file
from torch import nn

from weclick.models import BACKBONES, build_model
from weclick.models.build import imagenet_source


def backbone_of(name: str, output_stride: int = 16, **options) -> nn.Module:
    return build_model("pspnet", name, 2, channels=8, output_stride=output_stride, **options).backbone.eval()


@pytest.fixture(scope="module")
def vgg_weights() -> dict[str, torch.Tensor]:
    """The tensors of torchvision's file, a classifier's among them, with random values."""
    torch.manual_seed(0)
    with torch.device("meta"):
        own = tv.vgg16().state_dict()
    features = {name: 0.05 * torch.randn(value.shape) for name, value in own.items() if "features" in name}
    return {**features, "classifier.6.bias": torch.zeros(1000)}


@pytest.mark.parametrize(
    ("name", "channels", "strides"),
    [
        ("resnet18", [64, 64, 128, 256, 512], [4, 4, 8, 16, 16]),
        ("resnet50", [64, 256, 512, 1024, 2048], [4, 4, 8, 16, 16]),
        ("mobilenetv2", [16, 24, 32, 96, 1280], [2, 4, 8, 16, 16]),
        ("mobilenetv2_compact", [16, 24, 32, 64], [2, 4, 8, 16]),
        ("vgg16", [64, 128, 256, 512, 512], [1, 2, 4, 8, 16]),
        ("timm/test_efficientnet", [16, 24, 32, 48, 64], [2, 4, 8, 16, 16]),
    ],
)
def test_levels_are_all_stages_from_low_to_deep(name, channels, strides):
    with torch.device("meta"):
        backbone = build_model("pspnet", name, 2, channels=8, output_stride=16).backbone
    levels = list(backbone.levels(torch.empty(1, 3, 97, 64, device="meta")))
    assert [level.shape[1] for level in levels] == channels
    assert [level.shape[-2:] for level in levels] == [(-(-97 // s), -(-64 // s)) for s in strides]


@pytest.mark.parametrize("name", [*BACKBONES, "timm/test_efficientnet"])
@torch.no_grad()
def test_the_three_depths_are_picked_from_the_levels(name):
    torch.manual_seed(0)
    backbone, images = backbone_of(name), torch.randn(1, 3, 33, 40)
    levels, depths = list(backbone.levels(images)), backbone(images)
    for i, features in zip(backbone.picked, depths, strict=True):
        assert torch.equal(levels[i], features)
    widths = [backbone.low_channels, backbone.middle_channels, backbone.channels]
    assert [features.shape[1] for features in depths] == widths


@torch.no_grad()
def test_the_levels_of_a_resnet_are_torchvisions():
    torch.manual_seed(0)
    backbone, whole = backbone_of("resnet18", 32), tv.resnet18().eval()
    whole.load_state_dict(backbone.state_dict(), strict=False)
    images = torch.randn(1, 3, 64, 96)
    expected = [whole.maxpool(whole.relu(whole.bn1(whole.conv1(images))))]
    for layer in (whole.layer1, whole.layer2, whole.layer3, whole.layer4):
        expected.append(layer(expected[-1]))
    for level, own in zip(backbone.levels(images), expected, strict=True):
        assert torch.equal(level, own)


def test_vgg16_is_torchvisions_up_to_its_last_convolution(vgg_weights):
    with torch.device("meta"):
        own = backbone_of("vgg16").state_dict()
    assert own.keys() == {name for name in vgg_weights if name.startswith("features.")}
    assert max(int(name.split(".")[1]) for name in own) == 28
    assert sum(tensor.numel() for tensor in own.values()) == 14_714_688
    address, file = imagenet_source("vgg16")
    assert address.endswith("/vgg16-397923af.pth")
    assert file.name == "vgg16-397923af.pth"


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_torchvisions_file_of_vgg16_is_loaded(tmp_path, vgg_weights, suffix):
    path = tmp_path / f"vgg16{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(vgg_weights, path)
    loaded = backbone_of("vgg16", pretrained=path).state_dict()
    assert all(torch.equal(value, vgg_weights[name]) for name, value in loaded.items())


@torch.no_grad()
def test_vgg16_gives_torchvisions_features(vgg_weights):
    backbone = backbone_of("vgg16")
    backbone.load_state_dict({name: v for name, v in vgg_weights.items() if name.startswith("features.")})
    whole = tv.vgg.make_layers(tv.vgg.cfgs["D"])
    whole.load_state_dict({name.removeprefix("features."): v for name, v in backbone.state_dict().items()})
    images = torch.randn(1, 3, 64, 96)
    assert torch.equal(backbone(images)[-1], whole[:-1](images))


@pytest.mark.parametrize("size", [(64, 96), (49, 70)])
@torch.no_grad()
def test_at_stride_8_every_second_cell_of_vgg16_is_that_of_stride_16(size):
    torch.manual_seed(0)
    coarse, fine = (backbone_of("vgg16", stride).double() for stride in (16, 8))
    fine.load_state_dict(coarse.state_dict())
    images = torch.randn(1, 3, *size, dtype=torch.float64)
    deep, dense = coarse(images)[-1], fine(images)[-1]
    assert dense.shape[-2:] == tuple(-(-side // 8) for side in size)
    torch.testing.assert_close(dense[..., ::2, ::2], deep)
    assert {conv.dilation for conv in fine.features[24:] if isinstance(conv, nn.Conv2d)} == {(2, 2)}
    assert {conv.dilation for conv in coarse.features if isinstance(conv, nn.Conv2d)} == {(1, 1)}


@pytest.mark.parametrize("output_stride", [4, 32])
def test_other_strides_of_vgg16_are_told(output_stride):
    with pytest.raises(ValueError, match=rf"output_stride is {output_stride}, expected one of \[16, 8\]"):
        backbone_of("vgg16", output_stride)


def test_each_level_of_timms_is_its_own():
    """Also where images are padded, which the levels are cut back from."""
    torch.manual_seed(0)
    for name, side in itertools.product(["test_convnext", "test_resnet"], [64, 50]):
        backbone = backbone_of(f"timm/{name}", 32)
        shapes = [level.shape[-1] for level in backbone.levels(torch.zeros(1, 3, side, side))]
        assert shapes == [-(-side // s) for s in backbone.strides]
        assert timm.is_model(name)
