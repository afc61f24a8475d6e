"""Backbones from timm: their features are timm's own, whatever input they want and however weights come."""

import subprocess
import sys
from itertools import product

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers.padding import get_same_padding
from torch import nn

from helpers.places import SHARED
from weclick.common import sections
from weclick.common.errors import InputError
from weclick.manifest import Classes
from weclick.models import build_model, normalize
from weclick.models.build import TIMM, MissingPackageError, imagenet_source
from weclick.models.inference import fused_for_inference
from weclick.models.same_padding import same_padding
from weclick.store.model_file import load_model, model_bytes

LITE0 = SHARED / "weights" / "tf_efficientnet_lite0_imagenet.safetensors"
CLASSES = Classes(("road", "car", "sky"), ((128, 64, 128), (0, 0, 142), (70, 130, 180)))
SMALL = ("test_efficientnet", "test_resnet", "test_convnext", "tf_mobilenetv3_small_minimal_100")
"""Extractors that keep timm's names, have ReLU apart, flatten names and lose rows, and pad as TensorFlow."""


def small(name="test_efficientnet", **options):
    return build_model("deeplabv3plus", f"timm/{name}", 3, **{"channels": 8, **options})


def norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]


@torch.no_grad()
def trained(module: nn.Module) -> nn.Module:
    """Batch norms as after a training: far from the identity."""
    for norm in norms(module):
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.normal_(0, 0.1)
    return module


def timms_own(network: nn.Module, rgb: torch.Tensor) -> list[torch.Tensor]:
    """All features of a whole network of timm's, of images as that network wants them."""
    mean, std = (torch.tensor(network.default_cfg[name]).view(3, 1, 1) for name in ("mean", "std"))
    return network.forward_intermediates((rgb / 255 - mean) / std, intermediates_only=True)


# --- features ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_features_are_timms_own_from_a_file_of_its_keys(tmp_path, name, suffix):
    torch.manual_seed(0)
    whole = trained(timm.create_model(name)).eval()
    (save_file if suffix == ".safetensors" else torch.save)(whole.state_dict(), tmp_path / f"w{suffix}")
    backbone = small(name, pretrained=tmp_path / f"w{suffix}", output_stride=32).backbone.eval()
    size = (96, 64) if backbone.even else (97, 63)
    rgb = torch.randint(0, 256, (2, 3, *size)).float()
    own = timms_own(whole, rgb)
    low = next(i for i in (1, 0) if own[i].shape[-1] == 16)
    for features, expected in zip(backbone(normalize(rgb)), (own[low], *own[-2:]), strict=True):
        torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


@pytest.mark.skipif(
    not LITE0.is_file(), reason="the shared folder with EfficientNet-Lite0's weights is absent"
)
@pytest.mark.parametrize("size", [(64, 96), (75, 101)])
@torch.no_grad()
def test_the_shared_weights_give_timms_own_features(size):
    backbone = small("tf_efficientnet_lite0", pretrained=LITE0).backbone.eval()
    whole = timm.create_model("tf_efficientnet_lite0", output_stride=16, checkpoint_path=str(LITE0)).eval()
    rgb = torch.randint(0, 256, (1, 3, *size)).float()
    own = timms_own(whole, rgb)
    for features, expected in zip(backbone(normalize(rgb)), (own[1], own[3], own[4]), strict=True):
        torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize(("output_stride", "middle"), [(None, 16), (8, 8), (16, 16), (32, 16)])
def test_features_lie_at_stride_4_in_the_middle_and_at_the_output_stride(output_stride, middle):
    backbone = small("tf_efficientnet_lite0", output_stride=output_stride).backbone.eval()
    assert (backbone.low_channels, backbone.middle_channels, backbone.channels) == (24, 112, 320)
    assert backbone.stride == (output_stride or 16)
    for features, channels, stride in zip(
        backbone(torch.zeros(1, 3, 64, 96)), (24, 112, 320), (4, middle, backbone.stride), strict=True
    ):
        assert features.shape == (1, channels, 64 // stride, 96 // stride)


@pytest.mark.parametrize("size", [(64, 96), (97, 131), (33, 40)])
@pytest.mark.parametrize(("architecture", "name"), list(product(("deeplabv3plus", "pspnet"), SMALL)))
def test_logits_lie_on_the_grid_of_the_stride(architecture, name, size):
    model = build_model(architecture, f"timm/{name}", 5, channels=8).eval()
    with torch.inference_mode():
        logits = model(torch.randn(2, 3, *size))
    assert logits.shape == (2, 5, *(-(-side // model.stride) for side in size))
    assert logits.isfinite().all()


@torch.no_grad()
def test_what_lies_beyond_the_image_is_the_mean_colour():
    """A network that loses rows of odd sizes sees the image on a canvas of that colour."""
    backbone = small("test_convnext").backbone.eval()
    assert backbone.even
    image, canvas = torch.randn(1, 3, 61, 75), torch.zeros(1, 3, 64, 80)
    canvas[..., :61, :75] = image
    for features, whole in zip(backbone(image), backbone(canvas), strict=True):
        height, width = features.shape[-2:]
        assert torch.equal(features, whole[..., :height, :width])


def test_padding_is_tensorflows():
    for side, kernel, stride, dilation in product(
        (1, 2, 5, 8, 31, 32), (1, 2, 3, 5), (1, 2, 3, 4), (1, 2, 4)
    ):
        before, after = same_padding(side, kernel, stride, dilation)
        total = get_same_padding(side, kernel, stride, dilation)
        assert (before, after) == (total // 2, total - total // 2)


# --- training ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_learns_unless_batch_norm_is_frozen(name):
    model = small(name, batch_norm="frozen", auxiliary_head=True).train()
    before = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    sum(logits.square().sum() for logits in model(torch.randn(2, 3, 48, 64))).backward()
    frozen = {f"backbone.{key}.{what}" for key, part in model.backbone.named_modules()
              for what in ("weight", "bias") if isinstance(part, nn.BatchNorm2d)}  # fmt: skip
    without = {key for key, parameter in model.named_parameters() if parameter.grad is None}
    assert without == frozen
    assert all(torch.equal(before[key], value) for key, value in model.backbone.state_dict().items())
    model.eval().train()
    assert not any(norm.training for norm in norms(model.backbone))
    assert all(norm.training for norm in norms(model.aspp))


# --- inference --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_fused_networks_give_the_same_logits(name):
    torch.manual_seed(0)
    model, images = trained(small(name)).double().eval(), torch.randn(2, 3, 64, 75).double()
    fused = fused_for_inference(model)
    assert len(norms(fused)) <= len(norms(model)) // 10
    torch.testing.assert_close(fused(images), model(images))


@torch.no_grad()
def test_a_network_that_cannot_be_fused_stays_as_it_is():
    class OtherOrder(nn.Module):
        """Registered as convolution and norm, used the other way round."""

        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)

        def forward(self, images):
            return self.conv(self.norm(images))

    model = trained(OtherOrder()).eval()
    assert len(norms(fused_for_inference(model))) == 1
    assert torch.equal(fused_for_inference(model)(torch.ones(1, 3, 9, 9)), model(torch.ones(1, 3, 9, 9)))


@pytest.mark.parametrize("name", SMALL)
def test_a_checkpoint_brings_all_back(tmp_path, name):
    model = trained(small(name, batch_norm="frozen", head_norm="group")).eval()
    model.backbone.input_shift += 0.25  # as if a later timm normalised otherwise
    (tmp_path / "model.safetensors").write_bytes(model_bytes(model, CLASSES))
    again, card = load_model(tmp_path / "model.safetensors")
    assert card.options["backbone"] == f"timm/{name}"
    assert again.state_dict().keys() == model.state_dict().keys()
    images = torch.randn(1, 3, 50, 70)
    assert torch.equal(again(images), model(images))


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("tf_efficientnet_lit0", {}, r"timm/tf_efficientnet_lit0', but timm .* did you mean timm/tf_eff"),
        ("resnet18.none", {}, r"has no weights of that tag; expected resnet18\.a1_in1k"),
        ("hf-hub:timm/resnet18", {}, "has no such network"),
        ("test_vit", {}, "gives no features at stride 4 and deeper for images of any size"),
        ("densenet121", {}, "output_stride is 16, but timm/densenet121 offers 32; set output_stride to one"),
        (
            "test_resnet",
            {"output_stride": 64},
            "output_stride is 64, but timm/test_resnet offers 8 and 16 and 32",
        ),
    ],
)
def test_errors_teach(name, options, told):
    with pytest.raises(ValueError, match=told):
        small(name, **options)


def test_a_file_of_another_network_is_told(tmp_path):
    state = timm.create_model("test_resnet").state_dict()
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors: does not fit backbone timm/test_eff.*: "):
        small(pretrained=tmp_path / "other.safetensors")
    save_file({**state, "layer9.weight": torch.zeros(1)}, tmp_path / "deep.safetensors")
    with pytest.raises(ValueError, match=r"1 keys beyond backbone timm/test_resnet, first layer9\.weight"):
        small("test_resnet", pretrained=tmp_path / "deep.safetensors")
    headless = {key: value for key, value in state.items() if not key.startswith("fc.")}
    save_file(headless, tmp_path / "headless.safetensors")
    small("test_resnet", pretrained=tmp_path / "headless.safetensors")


def test_without_a_network_the_hubs_weights_are_told(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    address = "https://huggingface.co/timm/tf_efficientnet_lite0.in1k/resolve/main/model.safetensors"
    assert imagenet_source("timm/tf_efficientnet_lite0") == (address, None)
    with pytest.raises(
        ValueError,
        match=rf"{address} could not be fetched and loaded \(.*set pretrained to that file, or to null",
    ):
        small("tf_efficientnet_lite0", pretrained="imagenet")


def test_timm_is_loaded_only_where_it_is_asked_for():
    code = "import sys, weclick.models; print('timm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_without_timm_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "model.safetensors").write_bytes(model_bytes(small(), CLASSES))
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingPackageError, match=r"needs timm, but .* run `pip install 'weclick\[timm\]'`"):
        small()
    with pytest.raises(InputError, match=r"model\.safetensors: cannot be used here: .*weclick\[timm\]"):
        load_model(tmp_path / "model.safetensors")
    assert build_model("pspnet", "mobilenetv2_compact", 2, channels=8)


def test_the_prefix_is_spelled_alike_in_the_configuration():
    assert TIMM == sections.TIMM
