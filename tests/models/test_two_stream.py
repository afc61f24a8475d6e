"""Networks of two streams: published sizes and names, how they look at flow, and how the streams meet."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision.models as tv
from safetensors.torch import save_file
from torch import nn

from weclick.common.errors import InputError
from weclick.geometry import StackOptions
from weclick.manifest import Classes
from weclick.models import BACKBONES, TwoStream, build_model, normalize, rebuild
from weclick.models.inference import fused_for_inference, predict
from weclick.models.two_stream import look_at_flow
from weclick.store.model_file import Motion, load_model, model_bytes

CLASSES = Classes(("road", "car", "sky"), ((128, 64, 128), (0, 0, 142), (70, 130, 180)))
MEETINGS = list(product(("early", "late"), ("sum", "concat_conv")))


def compact(**options):
    return build_model(
        "two_stream", "mobilenetv2_compact", 3, **{"channels": 16, "stack_length": 2, **options}
    )


def on_meta(backbone, **options):
    """A network without storage: its structure and shapes alone."""
    with torch.device("meta"):
        return build_model("two_stream", backbone, 5, **options)


def inputs(batch=2, size=(40, 48), length=2):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, channels, *size, generator=generator) for channels in (3, 2 * length)]


def norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# --- structure --------------------------------------------------------------------------------------------


def test_vgg16s_streams_have_its_size_and_its_names():
    model = on_meta("vgg16")
    assert parameters(model.backbone) == 14_714_688
    assert parameters(model.motion) == 14_714_688 + 64 * (20 - 3) * 3 * 3
    assert model.motion.features[0].weight.shape == (64, 20, 3, 3)
    with torch.device("meta"):
        published = tv.vgg16().features.state_dict().keys()
    for stream in (model.backbone, model.motion):
        assert stream.state_dict().keys() == {f"features.{key}" for key in published}
    assert (model.stride, model.stack_length, model.inputs) == (8, 10, ("images", "stack"))
    assert on_meta("vgg16", output_stride=16).stride == 16


@pytest.mark.parametrize("size", [(64, 96), (97, 131), (33, 40)])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_logits_lie_on_the_grid_of_the_stride(backbone, size):
    for (fusion, late), length in zip(MEETINGS, (1, 2, 5, 10), strict=True):
        options = {"channels": 16, "stack_length": length, "fusion": fusion, "late_fusion": late}
        model = on_meta(backbone, **options).eval()
        assert model.stride == 8
        stack = torch.empty(2, 2 * length, *size, device="meta")
        logits = model(torch.empty(2, 3, *size, device="meta"), stack)
        assert logits.shape == (2, 5, *(-(-side // 8) for side in size))


@pytest.mark.parametrize(("fusion", "late"), MEETINGS)
@torch.no_grad()
def test_streams_meet_as_asked(fusion, late):
    model = compact(fusion=fusion, late_fusion=late).eval()
    images, stack = inputs()
    seen, moved = model.backbone(images)[2], model.motion(stack)[2]
    if fusion == "early":
        assert list(model.heads) == ["appearance", "fused"]
        moved = model.fuse(torch.cat([seen, moved], 1))
        assert moved.shape == seen.shape
    else:
        assert list(model.heads) == ["appearance", "motion"]
        assert model.fuse is None
    first, second = (
        head(features) for head, features in zip(model.heads.values(), (seen, moved), strict=True)
    )
    expected = first + second if late == "sum" else model.merge(torch.cat([first, second], 1))
    assert torch.equal(model(images, stack), expected)
    assert not torch.equal(model(images, -stack), expected)


def test_options_build_the_same_structure_again():
    for fusion, late in MEETINGS:
        model = compact(fusion=fusion, late_fusion=late, batch_norm="frozen", auxiliary_head=True).eval()
        again = rebuild(model.options)
        again.load_state_dict(model.state_dict())
        assert torch.equal(again.eval()(*inputs()), model(*inputs()))
        assert again.options == model.options
    assert "pretrained" not in model.options
    assert model.options["stack_length"] == 2


def test_options_of_other_networks_stay_as_they_are():
    options = build_model("deeplabv3plus", "mobilenetv2_compact", 3, channels=8).options
    assert list(options) == [
        "architecture",
        "backbone",
        "num_classes",
        "channels",
        "batch_norm",
        "head_norm",
        "output_stride",
        "auxiliary_head",
        "dropout",
    ]


@torch.no_grad()
def test_a_checkpoint_brings_all_back(tmp_path):
    model, path = compact(fusion="late", late_fusion="concat_conv", head_norm="group").eval(), tmp_path / "m"
    motion = Motion(StackOptions(length=2, first=-1, motion="residual"), {"name": "dis"}, 4)
    path.write_bytes(model_bytes(model, CLASSES, motion=motion))
    again, card = load_model(path, with_motion=True)
    assert card.options == model.options
    assert card.motion == motion
    assert isinstance(again, TwoStream)
    assert again.stack_length == 2
    assert torch.equal(again(*inputs()), model(*inputs()))


def test_only_those_who_have_flow_load_a_network_that_looks_at_it(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_bytes(compact(), CLASSES, motion=Motion(StackOptions(2), {"name": "dis"}, 4)))
    with pytest.raises(InputError, match="looks at the flow around a frame"):
        load_model(path)


@pytest.mark.parametrize(
    "change",
    [
        {"stack": None},
        {"stack": {"length": 3}},
        {"stack": {"length": 2, "scale_px": 0}},
        {"stack": {"length": 2, "scale_px": "8"}},
        {"stack": {"length": 2, "edge": "mirror"}},
        {"stack": {"length": 2, "first": -1000}},
        {"stride_px": 0},
        {"estimator": 5},
    ],
)
def test_a_card_of_another_motion_is_refused(tmp_path, change):
    path = tmp_path / "model.safetensors"
    raw = {**Motion(StackOptions(2), {"name": "dis"}, 4).as_card(), **change}
    motion = SimpleNamespace(as_card=lambda: raw)
    path.write_bytes(model_bytes(compact(), CLASSES, motion=motion))
    with pytest.raises(InputError, match="describes no network of this version"):
        load_model(path, with_motion=True)


def test_without_fusion_it_looks_at_images_alone(tmp_path):
    model, path = compact(fusion="none").eval(), tmp_path / "model.safetensors"
    assert (model.inputs, model.stack_length) == (("images",), 0)
    assert model(inputs()[0]).shape == (2, 3, 5, 6)
    path.write_bytes(model_bytes(model, CLASSES))
    again, _ = load_model(path)
    assert torch.equal(again(inputs()[0]), model(inputs()[0]))


@pytest.mark.parametrize("length", [0, 1000, "2", None])
def test_a_card_of_no_length_of_a_stack_is_refused(tmp_path, length):
    model, path = compact(), tmp_path / "model.safetensors"
    model.options["stack_length"] = length
    path.write_bytes(model_bytes(model, CLASSES))
    with pytest.raises(InputError, match=r"describes no network of this version.*stack_length"):
        load_model(path)


# --- first weights ----------------------------------------------------------------------------------------


def test_both_streams_begin_with_the_published_weights(tmp_path):
    path = tmp_path / "weights.safetensors"
    weights = tv.mobilenet_v2().state_dict()
    save_file(weights, path)
    model = compact(stack_length=10, pretrained=path)
    first = "features.0.0.weight"
    for stream in (model.backbone, model.motion):
        own = stream.state_dict()
        assert all(torch.equal(own[key], weights[key]) for key in own if key != first)
    assert torch.equal(model.backbone.state_dict()[first], weights[first])
    expected = weights[first].mean(1, keepdim=True).expand(-1, 20, -1, -1) * (3 / 20)
    torch.testing.assert_close(model.motion.state_dict()[first], expected, rtol=1e-6, atol=1e-8)


@torch.no_grad()
def test_equal_flows_look_like_a_grey_image():
    images, flow = BACKBONES["vgg16"](8).double(), BACKBONES["vgg16"](8).double()
    images.features[0].bias.normal_()
    flow.load_state_dict(images.state_dict())
    look_at_flow(flow, 3)
    grey = inputs(1, (8, 9))[0][:, :1].double()
    expected = images.features[0](grey.expand(-1, 3, -1, -1))
    torch.testing.assert_close(flow.features[0](grey.expand(-1, 6, -1, -1)), expected)
    assert torch.equal(flow.features[0].bias, images.features[0].bias)
    assert flow.features[0].in_channels == 6


@pytest.mark.parametrize("backbone", ["mobilenetv2_compact", "efficientnet_lite0"])
@torch.no_grad()
def test_without_motion_the_first_convolution_gives_nothing(backbone):
    """A backbone that brings images to an input of its own must not do so to flow."""
    model = build_model("two_stream", backbone, 3, channels=8, stack_length=2).eval()
    first = next(part for part in model.motion.modules() if isinstance(part, nn.Conv2d))
    seen = []
    first.register_forward_hook(lambda _, given, found: seen.append(found))
    images, stack = inputs()
    logits = model(images, torch.zeros_like(stack))
    assert not seen[0].any()
    assert logits.isfinite().all()
    assert logits.std() > 0
    assert not torch.equal(model(images, stack), logits)


# --- training ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fusion", "late"), MEETINGS)
def test_every_parameter_learns(fusion, late):
    model = compact(fusion=fusion, late_fusion=late, auxiliary_head=True).train()
    logits, auxiliary = model(*inputs())
    assert auxiliary.shape == logits.shape
    (logits.square().sum() + auxiliary.square().sum()).backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]


def test_the_auxiliary_head_is_nothing_but_an_addition():
    models = []
    for auxiliary_head in (False, True):
        torch.manual_seed(3)
        models.append(compact(auxiliary_head=auxiliary_head))
    without, model = models
    assert torch.equal(model.eval()(*inputs()), without.eval()(*inputs()))
    model.drop_auxiliary()
    assert model.options == without.options
    assert model.state_dict().keys() == without.state_dict().keys()
    assert model.train()(*inputs()).shape == without(*inputs()).shape


def test_frozen_batch_norm_stays_as_it_is_in_both_streams():
    model = compact(batch_norm="frozen").train()
    model(*inputs()).sum().backward()
    for stream in (model.backbone, model.motion):
        assert norms(stream)
        assert not any(norm.training or norm.weight.requires_grad for norm in norms(stream))
        assert all(norm.num_batches_tracked == 0 for norm in norms(stream))
    assert all(norm.training for norm in [*norms(model.fuse), *norms(model.heads)])


def test_dropout_is_that_of_vgg16_unless_it_is_told():
    for dropout, rate in ((None, 0.5), (0.2, 0.2), (False, 0.0)):
        rates = [part.p for part in compact(dropout=dropout).heads.modules() if isinstance(part, nn.Dropout)]
        assert rates == [rate] * 4


# --- inference --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fusion", "late"), MEETINGS)
@torch.no_grad()
def test_a_fused_network_gives_the_same_logits(fusion, late):
    torch.manual_seed(0)
    model = compact(fusion=fusion, late_fusion=late, auxiliary_head=True)
    for norm in norms(model):
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
    fused = fused_for_inference(model)
    assert not norms(fused)
    logits = model.eval()(*inputs())
    torch.testing.assert_close(fused(*inputs()), logits, rtol=1e-4, atol=1e-4 * logits.abs().max().item())


def test_predict_looks_at_the_stack():
    torch.manual_seed(0)
    model, image = compact().eval(), np.random.default_rng(0).integers(0, 256, (37, 45, 3), np.uint8)
    stack = 2 * inputs(1, (37, 45))[1][0]
    found = predict(model, image, stack=stack)
    rgb = torch.from_numpy(image).permute(2, 0, 1)[None]
    with torch.inference_mode():
        logits = model(normalize(rgb.float()), stack[None])
    logits = nn.functional.interpolate(logits, size=(37, 45), mode="bilinear", align_corners=False)
    assert torch.equal(found, logits.argmax(1)[0].byte())
    assert torch.equal(predict(model, image, stack=stack.double()), found)
    assert predict(model, image, size=(74, 90), stack=stack).shape == (74, 90)


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stack", "found"),
    [(None, "missing"), (torch.zeros(4, 9, 8), r"of shape \(1, 4, 9, 8\)"),
     (torch.zeros(3, 8, 8), r"of shape \(1, 3, 8, 8\)")],
)  # fmt: skip
def test_a_stack_that_does_not_fit_is_told(stack, found):
    with pytest.raises(ValueError, match=rf"stack is {found}, expected \(1, 4, 8, 8\) \(B, 2L, H, W\)"):
        predict(compact().eval(), np.zeros((8, 8, 3), np.uint8), stack=stack)


def test_a_stack_for_a_network_of_images_is_told():
    model = build_model("pspnet", "mobilenetv2_compact", 3, channels=8).eval()
    assert (model.stack_length, model.inputs) == (0, ("images",))
    with pytest.raises(ValueError, match="looks at images alone; leave it out"):
        predict(model, np.zeros((8, 8, 3), np.uint8), stack=torch.zeros(4, 8, 8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fusion": "middle"}, "fusion is 'middle', expected one of early, late"),
        ({"late_fusion": "max"}, "late_fusion is 'max', expected one of sum, concat_conv"),
        ({"stack_length": 0}, "stack_length is 0, expected a number of flows from 1"),
        ({"stack_length": 2.0}, "stack_length is 2.0, expected a number of flows from 1"),
        ({"dropout": 1.0}, "dropout is 1.0, expected a rate from 0 to below 1"),
        ({"batch_norm": "eval"}, "batch_norm is 'eval', expected one of train, frozen, sync"),
        ({"backbone": "timm/resnet18"}, "backbone is 'timm/resnet18'.* take one of resnet18, "),
        (
            {"architecture": "unet"},
            "architecture is 'unet', expected one of deeplabv3plus, pspnet, two_stream",
        ),
        (
            {"architecture": "pspnet", "stack_length": 2},
            "stack_length is 2, but pspnet looks at images alone; leave it out",
        ),
        ({"architecture": "pspnet", "fusion": "late"}, "fusion is 'late', but pspnet looks at images alone"),
        (
            {"architecture": "pspnet", "late_fusion": "concat_conv"},
            "late_fusion is 'concat_conv', but pspnet looks at images alone",
        ),
    ],
)
def test_errors_teach(change, message):
    arguments = {"architecture": "two_stream", "backbone": "mobilenetv2_compact", "num_classes": 2}
    with pytest.raises(ValueError, match=message):
        build_model(**{**arguments, **change})
