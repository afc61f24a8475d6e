"""Networks: sizes as published, grids for any input, weights that fit or are refused."""

import itertools

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from helpers.places import SHARED
from weclick.models import ARCHITECTURES, BACKBONES, IMAGENET_MEAN, IMAGENET_STD, build_model, normalize
from weclick.models.inference import fused_for_inference

SHARED_WEIGHTS = SHARED / "weights" / "mobilenet_v2_imagenet.safetensors"


def build_on_meta(*arguments, **options):
    """A network without storage: its structure and shapes alone."""
    with torch.device("meta"):
        return build_model(*arguments, **options)


def compact(architecture="deeplabv3plus", **options):
    return build_model(architecture, "mobilenetv2_compact", 3, **{"channels": 16, **options})


def norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]


# --- structure --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("architecture", "backbone", "parameters"),
    [
        ("deeplabv3plus", "resnet101", 59_343_795),
        ("deeplabv3plus", "resnet34", 26_715_827),
        ("deeplabv3plus", "resnet18", 16_607_667),
        ("deeplabv3plus", "mobilenetv2", 13_354_739),
        ("pspnet", "resnet18", 13_804_371),
    ],
)
def test_sizes_are_the_papers(architecture, backbone, parameters):
    model = build_on_meta(architecture, backbone, 19)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters


@pytest.mark.parametrize(("backbone", "millions"), [("resnet101", 65.58), ("mobilenetv2", 9.77)])
def test_sizes_where_the_paper_prints_others_are_those_of_the_standard_structure(backbone, millions):
    model = build_on_meta("pspnet", backbone, 19)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(
        millions, abs=5e-3
    )


@pytest.mark.parametrize("size", [(64, 96), (97, 131), (33, 40)])
@pytest.mark.parametrize(("architecture", "backbone"), list(itertools.product(ARCHITECTURES, BACKBONES)))
def test_logits_lie_on_the_grid_of_the_stride(architecture, backbone, size):
    model = build_on_meta(architecture, backbone, 5, channels=16).eval()
    logits = model(torch.empty(2, 3, *size, device="meta"))
    grid = [-(-side // model.stride) for side in size]
    assert logits.shape == (2, 5, *grid)
    assert model.num_classes == 5


@pytest.mark.parametrize("size", [(768, 768), (97, 131), (375, 1242)])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("backbone", ["resnet101", "resnet18", "mobilenetv2"])
def test_the_papers_networks_take_its_crop_and_any_size(architecture, backbone, size):
    model = build_on_meta(architecture, backbone, 19).train()
    logits = model(torch.empty(2, 3, *size, device="meta"))
    assert logits.shape == (2, 19, *(-(-side // model.stride) for side in size))


@pytest.mark.parametrize("size", [(768, 768), (97, 131), (375, 1242)])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_of_any_size_are_numbers(architecture, size):
    torch.manual_seed(0)
    with torch.inference_mode():
        logits = compact(architecture).eval()(torch.randn(1, 3, *size))
    assert logits.isfinite().all()
    assert logits.std() > 0


@pytest.mark.parametrize(
    ("architecture", "backbone", "stride", "deep"),
    [
        ("deeplabv3plus", "resnet18", 4, 16),
        ("deeplabv3plus", "mobilenetv2_compact", 4, 16),
        ("pspnet", "resnet50", 8, 8),
        ("pspnet", "mobilenetv2", 16, 16),
    ],
)
def test_strides(architecture, backbone, stride, deep):
    model = build_on_meta(architecture, backbone, 2, channels=16)
    assert (model.stride, model.backbone.stride) == (stride, deep)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "mobilenetv2"])
def test_dilation_keeps_the_deep_features_at_the_output_stride(backbone, output_stride):
    model = build_on_meta("pspnet", backbone, 2, channels=16, output_stride=output_stride).eval()
    low, middle, deep = model.backbone(torch.empty(1, 3, 96, 64, device="meta"))
    assert low.shape[-2:] == (24, 16)
    assert middle.shape[-2:] == (96 // min(output_stride, 16), 64 // min(output_stride, 16))
    assert deep.shape[-2:] == (96 // output_stride, 64 // output_stride)
    rates = {conv.dilation[0] for conv in model.backbone.modules() if isinstance(conv, nn.Conv2d)}
    assert max(rates) == 32 // output_stride


@pytest.mark.parametrize(
    ("output_stride", "rates"), [(8, {1, 12, 24, 36}), (16, {1, 6, 12, 18}), (32, {1, 3, 6, 9})]
)
def test_the_pyramids_rates_follow_the_output_stride(output_stride, rates):
    model = build_on_meta("deeplabv3plus", "resnet18", 2, channels=16, output_stride=output_stride)
    assert {conv.dilation[0] for conv in model.aspp.modules() if isinstance(conv, nn.Conv2d)} == rates
    assert model(torch.empty(2, 3, 97, 131, device="meta")).shape == (2, 2, 25, 33)


def test_channels_narrow_the_head_alone():
    counts = [
        sum(parameter.numel() for parameter in model.parameters())
        for model in (
            build_on_meta("deeplabv3plus", "mobilenetv2_compact", 4, channels=c) for c in (256, 64, 32)
        )
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[2] < 0.23e6


def test_the_compact_backbone_is_the_beginning_of_mobilenet():
    whole = build_on_meta("deeplabv3plus", "mobilenetv2", 2).backbone.state_dict()
    part = build_on_meta("deeplabv3plus", "mobilenetv2_compact", 2).backbone.state_dict()
    assert {key: value.shape for key, value in part.items()}.items() <= {
        key: value.shape for key, value in whole.items()
    }.items()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_options_build_the_same_structure_again(architecture):
    model = compact(architecture, batch_norm="frozen", dropout=False)
    again = build_model(**model.options)
    again.load_state_dict(model.state_dict())
    images = torch.randn(2, 3, 40, 48)
    assert torch.equal(model.eval()(images), again.eval()(images))
    assert again.options == model.options
    assert "pretrained" not in model.options


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_heads_begin_with_xavier_weights_and_no_bias(architecture):
    torch.manual_seed(0)
    model = compact(architecture, channels=64, auxiliary_head=True)
    convs = [
        part
        for name, part in model.named_modules()
        if isinstance(part, nn.Conv2d) and not name.startswith("backbone.")
    ]
    assert len(convs) > 5
    for conv in convs:
        fan_in, fan_out = (side * conv.kernel_size[0] ** 2 for side in (conv.in_channels, conv.out_channels))
        expected = (2 / (fan_in + fan_out)) ** 0.5
        assert conv.weight.std().item() == pytest.approx(expected, rel=5 / conv.weight.numel() ** 0.5)
        assert conv.bias is None or not conv.bias.any()
    assert all((norm.weight == 1).all() and not norm.bias.any() for norm in norms(model))


# --- auxiliary head ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backbone", "channels", "stride"),
    [("resnet18", 256, 16), ("resnet50", 1024, 16), ("mobilenetv2", 96, 16), ("mobilenetv2_compact", 32, 8)],
)
def test_the_auxiliary_head_looks_at_the_middle_features(backbone, channels, stride):
    model = build_on_meta("deeplabv3plus", backbone, 5, channels=16, auxiliary_head=True).train()
    assert model.auxiliary[0][0].in_channels == channels
    logits, auxiliary = model(torch.empty(2, 3, 96, 64, device="meta"))
    assert logits.shape == (2, 5, 24, 16)
    assert auxiliary.shape == (2, 5, 96 // stride, 64 // stride)


@pytest.mark.parametrize("head_norm", ["batch", "group"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_auxiliary_head_is_nothing_but_an_addition(architecture, head_norm):
    models = []
    for auxiliary_head in (False, True):
        torch.manual_seed(3)
        models.append(compact(architecture, auxiliary_head=auxiliary_head, head_norm=head_norm))
    without, model = models
    own, plain = model.state_dict(), without.state_dict()
    added = own.keys() - plain.keys()
    assert added
    assert all(key.startswith("auxiliary.") for key in added)
    assert all(torch.equal(own[key], plain[key]) for key in plain)
    images = torch.randn(2, 3, 40, 48)
    assert torch.equal(model.eval()(images), without.eval()(images))
    again = build_model(**model.options)
    again.load_state_dict(own)
    model.drop_auxiliary()
    assert model.state_dict().keys() == plain.keys()
    assert model.options == without.options
    assert model.train()(images).shape == (2, 3, *without(images).shape[2:])


# --- training ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_parameter_learns(architecture):
    model = compact(architecture, auxiliary_head=True).train()
    sum(logits.square().sum() for logits in model(torch.randn(2, 3, 48, 64))).backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not without


def test_frozen_batch_norm_stays_as_it_is():
    model = compact(batch_norm="frozen").train()
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    model(torch.randn(2, 3, 48, 64)).sum().backward()
    assert not any(norm.training or norm.weight.requires_grad for norm in norms(model.backbone))
    assert all(torch.equal(before[name], value) for name, value in model.backbone.state_dict().items())
    assert all(norm.training for norm in norms(model) if norm not in norms(model.backbone))
    model.eval().train()
    assert not any(norm.training for norm in norms(model.backbone))


@pytest.mark.parametrize("batch_norm", ["train", "sync"])
def test_training_batch_norm_follows_the_data(batch_norm):
    model = compact(batch_norm=batch_norm).train()
    model(torch.randn(2, 3, 48, 64))
    assert all(norm.num_batches_tracked == 1 for norm in norms(model))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("channels", [16, 20])
def test_group_norm_sees_one_image_at_a_time(architecture, channels):
    model = compact(architecture, batch_norm="frozen", head_norm="group", channels=channels, dropout=False)
    images = torch.randn(3, 3, 48, 64)
    together = model.train()(images)
    alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.eval()(images), together)
    assert len(norms(model)) == len(norms(model.backbone))


@pytest.mark.parametrize("none", [False, 0, 0.0])
def test_dropout_can_be_left_out(none):
    images = torch.randn(2, 3, 48, 64)
    with_dropout, without = compact(), compact(dropout=none)
    assert not torch.equal(with_dropout(images), with_dropout(images))
    assert torch.equal(without(images), without(images))


@pytest.mark.parametrize(
    ("architecture", "published"), [("deeplabv3plus", [0.5, 0.5, 0.1, 0.1]), ("pspnet", [0.1, 0.1])]
)
def test_a_rate_of_dropout_stands_for_all_published_ones(architecture, published):
    def rates(**options):
        model = compact(architecture, auxiliary_head=True, **options)
        return [part.p for part in model.modules() if isinstance(part, nn.Dropout)]

    assert rates() == rates(dropout=None) == rates(dropout=True) == published
    assert rates(dropout=0.25) == [0.25] * len(published)
    assert rates(dropout=0) == [0.0] * len(published)


def test_equal_dropout_gives_equal_options():
    """The card is part of a checkpoint's digest; files of before say true."""
    assert compact(dropout=None).options == compact(dropout=True).options == compact().options
    assert compact().options["dropout"] is True
    assert str(compact(dropout=0).options) == str(compact(dropout=0.0).options)


# --- inference --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head_norm", ["batch", "group"])
@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "mobilenetv2", "mobilenetv2_compact"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_fused_networks_give_the_same_logits(architecture, backbone, head_norm):
    torch.manual_seed(0)
    model = build_model(architecture, backbone, 5, channels=16, head_norm=head_norm, auxiliary_head=True)
    for norm in norms(model):
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.normal_(0, 0.1)
    images, count = torch.randn(2, 3, 64, 75), len(norms(model))
    fused = fused_for_inference(model)
    assert not norms(fused)
    assert not any(part.training for part in fused.modules())
    assert model.training
    assert len(norms(model)) == count
    logits = model.eval()(images)
    for layout in (torch.contiguous_format, torch.channels_last):
        torch.testing.assert_close(
            fused.to(memory_format=layout)(images), logits, rtol=1e-4, atol=1e-4 * logits.abs().max().item()
        )
    exact = model.double()(images.double())
    torch.testing.assert_close(fused_for_inference(model)(images.double()), exact)


# --- weights ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mobilenet_weights() -> dict[str, torch.Tensor]:
    """Keys of the whole of torchvision's network, classifier included, with random values."""
    backbone = build_model("deeplabv3plus", "mobilenetv2", 2, channels=8).backbone
    return {**backbone.state_dict(), "classifier.1.weight": torch.zeros(1000, 1280)}


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("backbone", ["mobilenetv2", "mobilenetv2_compact"])
def test_a_file_of_torchvisions_keys_is_loaded(tmp_path, mobilenet_weights, suffix, backbone):
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(mobilenet_weights, path)
    model = build_model("deeplabv3plus", backbone, 2, channels=8, pretrained=path)
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, mobilenet_weights[key])


def test_counters_of_batch_norm_may_be_missing(tmp_path, mobilenet_weights):
    weights = {key: value for key, value in mobilenet_weights.items() if "num_batches" not in key}
    save_file(weights, tmp_path / "weights.safetensors")
    compact(pretrained=tmp_path / "weights.safetensors")


def test_missing_keys_are_told(tmp_path, mobilenet_weights):
    path = tmp_path / "weights.safetensors"
    save_file({f"module.{key}": value for key, value in mobilenet_weights.items()}, path)
    with pytest.raises(ValueError, match=r"weights\.safetensors.*keys missing.*features\.0\.0\.weight"):
        compact(pretrained=path)


def test_a_deeper_networks_file_is_told(tmp_path):
    deep, shallow = (build_model("deeplabv3plus", name, 3).backbone for name in ("resnet34", "resnet18"))
    save_file(deep.state_dict(), tmp_path / "deep.safetensors")
    with pytest.raises(ValueError, match=r"keys beyond backbone resnet18, first layer1\.2\."):
        build_model("deeplabv3plus", "resnet18", 3, pretrained=tmp_path / "deep.safetensors")
    save_file(shallow.state_dict(), tmp_path / "own.safetensors")
    build_model("deeplabv3plus", "resnet18", 3, pretrained=tmp_path / "own.safetensors")


def test_another_shape_is_told(tmp_path, mobilenet_weights):
    path = tmp_path / "weights.safetensors"
    save_file({**mobilenet_weights, "features.0.0.weight": torch.zeros(8, 3, 3, 3)}, path)
    with pytest.raises(ValueError, match=r"1 of another shape, first features\.0\.0\.weight \(32, 3, 3, 3\)"):
        compact(pretrained=path)


@pytest.mark.parametrize("name", ["absent.safetensors", "absent.pth", "broken.safetensors"])
def test_a_file_that_cannot_be_read_is_told(tmp_path, name):
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=rf"{name}: cannot be read"):
        compact(pretrained=tmp_path / name)


@pytest.mark.skipif(
    not SHARED_WEIGHTS.is_file(), reason="the shared folder with MobileNetV2's weights is absent"
)
@pytest.mark.parametrize("backbone", ["mobilenetv2", "mobilenetv2_compact"])
def test_the_shared_imagenet_weights_fit(backbone):
    model = build_model("deeplabv3plus", backbone, 4, channels=16, pretrained=SHARED_WEIGHTS).eval()
    stored = load_file(SHARED_WEIGHTS)
    own = model.backbone.state_dict()
    assert all(torch.equal(own[key], stored[key].to(own[key])) for key in own if key in stored)
    for features in model.backbone(normalize(torch.full((1, 3, 64, 64), 128.0))):
        assert features.isfinite().all()


# --- arguments and input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "unet"}, "architecture is 'unet', expected one of deeplabv3plus, pspnet"),
        ({"backbone": "vgg"}, "backbone is 'vgg', expected one of resnet18"),
        ({"output_stride": 32}, r"output_stride is 32, expected one of \[16, 8, 4\] for this backbone"),
        ({"batch_norm": "eval"}, "batch_norm is 'eval', expected one of train, frozen, sync"),
        ({"head_norm": "layer"}, "head_norm is 'layer', expected one of batch, group"),
        ({"dropout": 1.0}, "dropout is 1.0, expected a rate from 0 to below 1"),
        ({"dropout": -0.1}, "dropout is -0.1, expected a rate from 0 to below 1"),
    ],
)
def test_errors_teach(change, message):
    arguments = {"architecture": "deeplabv3plus", "backbone": "mobilenetv2_compact", "num_classes": 2}
    with pytest.raises(ValueError, match=message):
        build_model(**{**arguments, **change})


def test_normalize_is_imagenets():
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    rgb = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    expected = (rgb / 255 - mean) / std
    torch.testing.assert_close(normalize(rgb), expected)
    torch.testing.assert_close(normalize(rgb.double()), expected.double(), atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match=r"rgb has shape \(4, 5, 3\).*values 0\.\.255"):
        normalize(torch.zeros(4, 5, 3))
