"""EfficientNet-Lite0 without timm: the same numbers as timm's own, at every stride and size."""

from itertools import product

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from helpers.places import SHARED
from weclick.models import BACKBONES, build_model, normalize
from weclick.models.build import imagenet_source
from weclick.models.imagenet_classifier import imagenet_classifier
from weclick.models.inference import fused_for_inference
from weclick.models.same_padding import SameConv, same_padding
from weclick.models.weights import load_backbone_weights

NAME = "efficientnet_lite0"
LITE0 = SHARED / "weights" / "tf_efficientnet_lite0_imagenet.safetensors"
WITH_LITE0 = pytest.mark.skipif(
    not LITE0.is_file(), reason="the shared folder with EfficientNet-Lite0's weights is absent"
)


def images(*size: int) -> torch.Tensor:
    return torch.randint(0, 256, (1, 3, *size), generator=torch.Generator().manual_seed(0)).double()


def own_input(rgb: torch.Tensor) -> torch.Tensor:
    return (rgb - 127) / 128


@pytest.fixture(scope="module")
def timm():
    return pytest.importorskip("timm", reason="timm is not installed")


@torch.no_grad()
def trained(module: nn.Module) -> nn.Module:
    """Batch norms as after a training: far from the identity."""
    torch.manual_seed(0)
    for norm in (part for part in module.modules() if isinstance(part, nn.BatchNorm2d)):
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.normal_(0, 0.1)
    return module


@pytest.fixture(scope="module")
def weights(timm, tmp_path_factory):
    """A file as timm writes it, of a network with weights of its own."""
    path = tmp_path_factory.mktemp("weights") / "lite0.safetensors"
    torch.manual_seed(0)
    save_file(trained(timm.create_model("tf_efficientnet_lite0")).state_dict(), path)
    return path


@pytest.mark.parametrize("output_stride", [32, 16, 8])
@torch.no_grad()
def test_features_are_timms(timm, weights, output_stride):
    backbone = BACKBONES[NAME](output_stride).double().eval()
    load_backbone_weights(backbone, NAME, weights)
    whole = timm.create_model(
        "tf_efficientnet_lite0", output_stride=output_stride, checkpoint_path=str(weights)
    )
    whole.double().eval()
    for size in ((64, 96), (75, 101), (33, 40)):
        levels = whole.forward_intermediates(own_input(images(*size)), intermediates_only=True)
        expected = (levels[1], levels[3], whole.forward_features(own_input(images(*size))))
        for found, own in zip(backbone(normalize(images(*size))), expected, strict=True):
            torch.testing.assert_close(found, own, rtol=1e-9, atol=1e-9)
        assert len([*backbone.levels(normalize(images(*size)))]) == 5


@WITH_LITE0
@pytest.mark.parametrize("size", [(64, 96), (75, 101)])
@torch.no_grad()
def test_with_the_shared_weights_the_mean_of_a_map_is_timms_logit(timm, size):
    model = imagenet_classifier(NAME, LITE0).double()
    whole = timm.create_model("tf_efficientnet_lite0", checkpoint_path=str(LITE0)).double().eval()
    expected = whole(own_input(images(*size)))
    found = model(normalize(images(*size)))
    torch.testing.assert_close(found.mean((2, 3)), expected, rtol=1e-5, atol=1e-5)
    assert found.shape == (1, model.num_classes, *(-(-side // model.stride) for side in size))
    without_bias = model.class_maps(normalize(images(*size)))
    torch.testing.assert_close(found - without_bias, model.classifier.bias.view(1, -1, 1, 1).expand_as(found))


@WITH_LITE0
def test_the_shared_weights_fit_whole():
    backbone = BACKBONES[NAME](32)
    stored = load_file(LITE0)
    load_backbone_weights(backbone, NAME, LITE0)
    own = backbone.state_dict()
    assert own.keys() | {"classifier.weight", "classifier.bias"} == stored.keys() | {
        key for key in own if key.endswith("num_batches_tracked")
    }
    assert sum(value.numel() for value in backbone.parameters()) == 3_371_008


@pytest.mark.parametrize(("output_stride", "middle"), [(32, 16), (16, 16), (8, 8)])
def test_features_lie_at_stride_4_in_the_middle_and_at_the_output_stride(output_stride, middle):
    backbone = BACKBONES[NAME](output_stride).eval()
    assert (backbone.low_channels, backbone.middle_channels, backbone.channels) == (24, 112, 1280)
    assert backbone.stride == output_stride
    with torch.no_grad():
        found = backbone(torch.zeros(1, 3, 65, 96))
    for features, channels, stride in zip(found, (24, 112, 1280), (4, middle, output_stride), strict=True):
        assert features.shape == (1, channels, -(-65 // stride), 96 // stride)


def test_another_stride_is_told():
    with pytest.raises(ValueError, match=r"output_stride is 64, expected one of \[32, 16, 8, 4\]"):
        BACKBONES[NAME](64)


@torch.no_grad()
def test_traded_strides_keep_the_features(weights):
    """Every second cell of the finer grid is a cell of the coarser one."""
    coarse, fine = (BACKBONES[NAME](stride).eval() for stride in (32, 16))
    for backbone in (coarse, fine):
        load_backbone_weights(backbone, NAME, weights)
    image = torch.randn(1, 3, 48, 80)  # of odd sides at stride 16, where TensorFlow pads evenly
    torch.testing.assert_close(fine(image)[2][:, :, ::2, ::2], coarse(image)[2], rtol=1e-3, atol=1e-3)


def test_it_is_a_backbone_of_a_segmentation_network():
    model = build_model("deeplabv3plus", NAME, 3, channels=8, batch_norm="frozen")
    logits = model.train()(torch.randn(2, 3, 33, 48))
    assert logits.shape == (2, 3, 9, 12)
    logits.sum().backward()
    assert not model.backbone.bn1.training
    assert model.backbone.conv_stem.weight.grad is not None
    with torch.inference_mode():
        fused, own = fused_for_inference(trained(model)), model.eval()
        image = torch.randn(1, 3, 40, 56)
        torch.testing.assert_close(fused(image), own(image), rtol=1e-3, atol=1e-3)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in fused.backbone.modules())


@torch.no_grad()
def test_same_convolutions_pad_as_tensorflow():
    torch.manual_seed(0)
    for side, kernel, stride, dilation in product((5, 8, 9), (3, 5), (1, 2), (1, 2)):
        before, after = same_padding(side, kernel, stride, dilation)
        least = dilation * (kernel - 1) + 1
        assert (before + side + after - least) // stride + 1 == -(-side // stride)
        assert after - before in (0, 1)
        conv = SameConv(1, 1, kernel, stride=stride, dilation=dilation)
        x = torch.randn(1, 1, side, side)
        padded = nn.functional.pad(x, (before, after, before, after))
        expected = nn.functional.conv2d(padded, conv.weight, conv.bias, stride, 0, dilation)
        torch.testing.assert_close(conv(x), expected)


def test_its_weights_have_an_address():
    address, file = imagenet_source(NAME)
    assert address.endswith("/tf_efficientnet_lite0-0aa007d2.pth")
    assert file.name == "tf_efficientnet_lite0-0aa007d2.pth"


def test_weights_of_another_network_are_told(tmp_path):
    save_file({"features.0.0.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"backbone efficientnet_lite0.*expected timm's key names"):
        load_backbone_weights(BACKBONES[NAME](32), NAME, tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"classifier.weight": None, "classifier.bias": None}, "holds of a classifier nothing, expected one"),
        ({"classifier.bias": None}, r"classifier\.weight \(1000, 1280\), expected one layer of 1000 classes"),
        ({"classifier.weight": torch.zeros(21, 1280)}, r"\(21, 1280\), expected"),
    ],
)
def test_weights_without_the_last_layer_are_told(tmp_path, change, told):
    state = BACKBONES[NAME](32).state_dict()
    state |= {"classifier.weight": torch.zeros(1000, 1280), "classifier.bias": torch.zeros(1000)} | change
    path = tmp_path / "w.safetensors"
    save_file({key: value for key, value in state.items() if value is not None}, path)
    with pytest.raises(ValueError, match=told):
        imagenet_classifier(NAME, path)


@torch.no_grad()
def test_torchvisions_networks_serve_too(tmp_path):
    backbone = BACKBONES["resnet18"](32)
    last = {"fc.weight": torch.randn(1000, 512), "fc.bias": torch.randn(1000)}
    save_file(backbone.state_dict() | last, tmp_path / "w.safetensors")
    model = imagenet_classifier("resnet18", tmp_path / "w.safetensors").double()
    image = torch.randn(1, 3, 64, 64).double()
    features = backbone.double().eval()(image)[2].mean((2, 3))
    expected = features @ last["fc.weight"].double().T + last["fc.bias"].double()
    torch.testing.assert_close(model(image).mean((2, 3)), expected)


def test_an_unknown_network_is_told():
    with pytest.raises(ValueError, match="backbone is 'vgg', expected one of resnet18"):
        imagenet_classifier("vgg", "imagenet")
