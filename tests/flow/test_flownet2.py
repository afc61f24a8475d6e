"""FlowNet2 and its parts: the published names, the wiring, numbers, weights from files, any image size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from helpers.places import SHARED
from helpers.plain_correlation import correlation_plain
from weclick.datasets.toy import draw as toy
from weclick.flow import build_estimator, estimator_digest
from weclick.flow.flownet2 import estimator as flownet2_estimator
from weclick.flow.flownet2.estimator import load_network
from weclick.flow.flownet2.loss import endpoint_error, multiscale_loss
from weclick.flow.flownet2.networks import VARIANTS, channel_norm, normalize_pair
from weclick.geometry import backward_warp
from weclick.store import file_digest

REFERENCE = SHARED / "reference"


def reference(name: str) -> Path:
    if not (REFERENCE / name).is_file():
        pytest.skip("the reference values are not beside this checkout")
    return REFERENCE / name


def unit_scale(variant: str, seed: int = 0) -> nn.Module:
    """With random weights that keep activations near 1, and so flows near 20 px."""
    with torch.device("meta"):
        network = VARIANTS[variant]()
    network.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        transposed = "deconv" in name or "upsampled" in name
        inputs = parameter.shape[0] * 4 if transposed else parameter[0].numel()
        gain = 1.0 if "predict" in name or "upsampled" in name or "inter" in name else 2.0
        scale = (gain / inputs) ** 0.5 if parameter.ndim == 4 else 0.05
        nn.init.normal_(parameter, std=scale, generator=generator)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def whole() -> nn.Module:
    return unit_scale("FlowNet2")


def part(variant: str, whole: nn.Module) -> nn.Module:
    """A variant that `whole` contains, with its very weights."""
    with torch.device("meta"):
        network = VARIANTS[variant]()
    state, prefix = whole.state_dict(), "flownetc." if variant == "FlowNet2C" else ""
    network.load_state_dict({key: state[prefix + key] for key in network.state_dict()}, assign=True)
    return network.eval().requires_grad_(False)


def frames(batch: int, height: int, width: int, seed: int = 0) -> Tensor:
    """(B, 3, 2, H, W): smooth noise, 0..255."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((batch * 2, 3, height // 8, width // 8), generator=generator) * 255
    fine = F.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 255)
    return fine.unflatten(0, (batch, 2)).transpose(1, 2).contiguous()


class Written:
    """The networks once more, layer by layer, by the keys of a state dict: slow and plain."""

    def __init__(self, state: dict[str, Tensor]):
        self.state = state

    def conv(self, key: str, x: Tensor, stride: int = 1, *, act: bool = True) -> Tensor:
        name = f"{key}.0" if f"{key}.0.weight" in self.state else key
        weight = self.state[f"{name}.weight"]
        x = F.conv2d(x, weight, self.state[f"{name}.bias"], stride, weight.shape[-1] // 2)
        return F.leaky_relu(x, 0.1) if act else x

    def deconv(self, key: str, x: Tensor) -> Tensor:
        name = f"{key}.0"
        x = F.conv_transpose2d(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"], 2, 1)
        return F.leaky_relu(x, 0.1)

    def widen(self, key: str, flow: Tensor) -> Tensor:
        return F.conv_transpose2d(flow, self.state[f"{key}.weight"], self.state.get(f"{key}.bias"), 2, 1)

    def tail(self, p: str, c2: Tensor, c3: Tensor, *, inter: bool = False) -> Tensor:
        c4 = self.conv(p + "conv4_1", self.conv(p + "conv4", c3, 2))
        c5 = self.conv(p + "conv5_1", self.conv(p + "conv5", c4, 2))
        x = self.conv(p + "conv6_1", self.conv(p + "conv6", c5, 2))
        flow = self.conv(p + "predict_flow6", x, act=False)
        for level, skip in ((5, c5), (4, c4), (3, c3), (2, c2)):
            up = self.widen(f"{p}upsampled_flow{level + 1}_to_{level}", flow)
            x = torch.cat((skip, self.deconv(f"{p}deconv{level}", x), up), 1)
            seen = self.conv(f"{p}inter_conv{level}", x, act=False) if inter else x
            flow = self.conv(f"{p}predict_flow{level}", seen, act=False)
        return flow

    def c(self, p: str, x: Tensor) -> Tensor:
        c2, other = (self.conv(p + "conv2", self.conv(p + "conv1", i, 2), 2) for i in (x[:, :3], x[:, 3:]))
        a, b = (self.conv(p + "conv3", i, 2) for i in (c2, other))
        alike = F.leaky_relu(correlation_plain(a, b), 0.1)
        return self.tail(
            p, c2, self.conv(p + "conv3_1", torch.cat((self.conv(p + "conv_redir", a), alike), 1))
        )

    def s(self, p: str, x: Tensor) -> Tensor:
        c2 = self.conv(p + "conv2", self.conv(p + "conv1", x, 2), 2)
        return self.tail(p, c2, self.conv(p + "conv3_1", self.conv(p + "conv3", c2, 2)))

    def sd(self, p: str, x: Tensor) -> Tensor:
        x = self.conv(p + "conv1_1", self.conv(p + "conv1", self.conv(p + "conv0", x), 2))
        c2 = self.conv(p + "conv2_1", self.conv(p + "conv2", x, 2))
        return self.tail(p, c2, self.conv(p + "conv3_1", self.conv(p + "conv3", c2, 2)), inter=True)

    def fusion(self, p: str, x: Tensor) -> Tensor:
        c0 = self.conv(p + "conv0", x)
        c1 = self.conv(p + "conv1_1", self.conv(p + "conv1", c0, 2))
        x = self.conv(p + "conv2_1", self.conv(p + "conv2", c1, 2))
        flow = self.conv(p + "predict_flow2", x, act=False)
        for level, skip in ((1, c1), (0, c0)):
            up = self.widen(f"{p}upsampled_flow{level + 1}_to_{level}", flow)
            x = torch.cat((skip, self.deconv(f"{p}deconv{level}", x), up), 1)
            inter = self.conv(f"{p}inter_conv{level}", x, act=False)
            flow = self.conv(f"{p}predict_flow{level}", inter, act=False)
        return flow

    def __call__(self, variant: str, pair: Tensor) -> Tensor:
        def up(flow: Tensor, mode: str = "bilinear") -> Tensor:
            return F.interpolate(flow, scale_factor=4, mode=mode)

        x = (pair - pair.flatten(2).mean(2)[..., None, None, None]) / 255
        x = torch.cat((x[:, :, 0], x[:, :, 1]), 1)
        alone = {"FlowNet2C": self.c, "FlowNet2S": self.s, "FlowNet2SD": self.sd}
        if variant in alone:
            return up(alone[variant]("", x) * 20)
        flow = up(self.c("flownetc.", x) * 20)
        flow = up(self.s("flownets_1.", self.stacked(x, flow)) * 20)
        if variant == "FlowNet2CS":
            return flow
        flow = up(self.s("flownets_2.", self.stacked(x, flow)) * 20, "nearest")
        if variant == "FlowNet2CSS":
            return flow
        small = up(self.sd("flownets_d.", x) / 20, "nearest")
        wrong = [self.length(x[:, :3] - self.warp(x[:, 3:], each)) for each in (small, flow)]
        lengths = [self.length(each) for each in (small, flow)]
        return self.fusion("flownetfusion.", torch.cat((x[:, :3], small, flow, *lengths, *wrong), 1))

    def stacked(self, x: Tensor, flow: Tensor) -> Tensor:
        warped = self.warp(x[:, 3:], flow)
        return torch.cat((x, warped, flow / 20, self.length(x[:, :3] - warped)), 1)

    def length(self, x: Tensor) -> Tensor:
        return x.square().sum(1, keepdim=True).sqrt()

    def warp(self, image: Tensor, flow: Tensor) -> Tensor:
        height, width = image.shape[2:]
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        at = torch.stack(((x + flow[:, 0]) / (width - 1), (y + flow[:, 1]) / (height - 1)), -1) * 2 - 1
        return F.grid_sample(image, at, "bilinear", "border", align_corners=True)


class TestNetworks:
    @pytest.mark.parametrize("variant", VARIANTS)
    def test_keys_shapes_and_count_are_the_published_ones(self, variant):
        published = json.loads(reference("flownet2_keys.json").read_text(encoding="utf-8"))[variant]
        with torch.device("meta"):
            network = VARIANTS[variant]()
        found = {key: list(value.shape) for key, value in network.state_dict().items()}
        assert list(found.items()) == list(published["state_dict"].items())
        assert sum(p.numel() for p in network.parameters()) == published["parameters"]

    @pytest.mark.parametrize("variant", ["FlowNet2S", "FlowNet2SD"])
    def test_wiring_of_the_nets_alone(self, variant):
        network = unit_scale(variant).double()
        pair = frames(1, 64, 128).double()
        flow, expected = network(pair), Written(network.state_dict())(variant, pair)
        assert flow.shape == (1, 2, 64, 128)
        assert flow.std() > 0.1
        torch.testing.assert_close(flow, expected, atol=1e-9, rtol=1e-9)

    @pytest.mark.parametrize("variant", ["FlowNet2C", "FlowNet2CS", "FlowNet2CSS"])
    def test_wiring_of_the_parts(self, variant, whole):
        network, pair = part(variant, whole), frames(1, 64, 128)
        flow, expected = network(pair), Written(network.state_dict())(variant, pair)
        assert flow.shape == (1, 2, 64, 128)
        assert flow.std() > 0.1
        torch.testing.assert_close(flow, expected, atol=2e-3, rtol=0)

    def test_wiring_and_precision_of_the_whole(self, whole):
        """In float64 as written out layer by layer; and float32 within a thousandth of a pixel of it."""
        pair = frames(1, 64, 128)
        flow = whole(pair)
        state = {key: value.double() for key, value in whole.state_dict().items()}
        exact = Written(state)("FlowNet2", pair.double())
        assert 1 < exact.abs().mean() < 100
        assert (flow - exact).abs().max() < 1e-3
        again = torch.func.functional_call(whole, state, (pair.double(),))
        torch.testing.assert_close(again, exact, atol=1e-9, rtol=1e-9)

    @pytest.mark.parametrize("variant", ["FlowNet2C", "FlowNet2"])
    def test_both_ways_at_once_are_the_two_ways(self, variant, whole):
        network = part(variant, whole)
        pair = frames(2, 64, 64)
        there, back = network(pair, both=True).chunk(2)
        torch.testing.assert_close(there, network(pair), atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(back, network(pair.flip(2)), atol=1e-3, rtol=1e-4)

    def test_brightness_is_taken_out_over_both_frames(self):
        pair = torch.zeros(1, 3, 2, 64, 64)
        pair[:, 0, 0], pair[:, 0, 1] = 255.0, 51.0
        images = normalize_pair(pair)
        assert images[0, :, 0, 0].tolist() == pytest.approx([0.4, 0, 0, -0.4, 0, 0])

    @pytest.mark.parametrize("shape", [(1, 3, 2, 64, 65), (1, 6, 64, 64), (1, 2, 3, 64, 64)])
    def test_other_shapes_are_refused(self, shape):
        with pytest.raises(ValueError, match=r"expected \(B, 3, 2, H, W\) with H and W multiples of 64"):
            VARIANTS["FlowNet2S"]()(torch.zeros(shape))


class TestOperations:
    def test_resampling_has_the_published_values(self):
        values = np.load(reference("flow_ops_reference.npz"))
        image, flow = (
            torch.from_numpy(values[f"resample2d/{n}"]).requires_grad_() for n in ("image", "flow")
        )
        output = backward_warp(image, flow)[0]
        output.backward(torch.from_numpy(values["resample2d/grad_output"]))
        for found, name in ((output, "output"), (image.grad, "grad_image_true"), (flow.grad, "grad_flow")):
            np.testing.assert_allclose(found.detach(), values[f"resample2d/{name}"], atol=1e-5)

    def test_channel_norm_has_the_published_values(self):
        values = np.load(reference("flow_ops_reference.npz"))
        given = torch.from_numpy(values["channelnorm/input"]).requires_grad_()
        output = channel_norm(given)
        output.backward(torch.from_numpy(values["channelnorm/grad_output"]))
        np.testing.assert_allclose(output.detach(), values["channelnorm/output"], atol=1e-5)
        np.testing.assert_allclose(given.grad, values["channelnorm/grad_input_kernel"], atol=1e-5)

    def test_channel_norm_has_no_gradient_at_zero(self):
        zero = torch.zeros(1, 3, 2, 2, requires_grad=True)
        channel_norm(zero).sum().backward()
        assert zero.grad.abs().max() == 0


class TestTraining:
    def test_loss_by_hand(self):
        truth = torch.full((1, 2, 64, 64), 20.0)
        flows = [torch.ones(1, 2, 16, 16), torch.ones(1, 2, 8, 8), torch.ones(1, 2, 4, 4)]
        assert multiscale_loss(flows, truth) == 0
        flows[1] = flows[1] + torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
        assert multiscale_loss(flows, truth) == pytest.approx(0.16 * 5)

    def test_unknown_pixels_do_not_count(self):
        truth, valid = torch.full((1, 2, 8, 8), 20.0), torch.ones(1, 1, 8, 8)
        truth[..., 3:], valid[..., 3:] = torch.nan, 0
        assert multiscale_loss([torch.ones(1, 2, 2, 2)], truth, valid) == 0
        assert endpoint_error(truth + 2, truth.nan_to_num(), valid) == pytest.approx(8**0.5)
        assert endpoint_error(truth, truth, valid * 0) == 0

    def test_a_flow_of_another_size_is_refused(self):
        with pytest.raises(ValueError, match=r"flow 1 is \(1, 2, 4, 4\), expected \(2, 2\) cells of 8 px"):
            multiscale_loss([torch.zeros(1, 2, 4, 4)] * 2, torch.zeros(1, 2, 16, 16))

    def test_flownet2s_learns_the_street(self):
        clip = toy.render_clip(seed=3, split="train", clip_index=0, height=64, width=128, frames=2)
        pair = torch.from_numpy(clip.images).permute(3, 0, 1, 2)[None].float()
        flow, visible = clip.flow(0, 1)
        truth, valid = torch.from_numpy(flow).permute(2, 0, 1)[None], torch.from_numpy(visible)[None, None]
        torch.manual_seed(0)
        network = VARIANTS["FlowNet2S"]()
        optimizer = torch.optim.Adam(network.parameters(), lr=2e-4)

        def error() -> float:
            with torch.no_grad():
                return float(endpoint_error(network.eval()(pair), truth, valid))

        before = error()
        for _ in range(10):
            optimizer.zero_grad()
            multiscale_loss(network.train()(pair), truth, valid).backward()
            optimizer.step()
        assert error() < 0.5 * before

    def test_gradients_pass_through_the_whole_net(self, whole):
        whole.requires_grad_()
        whole(frames(1, 64, 64)).square().mean().backward()
        grads = {name: parameter.grad for name, parameter in whole.named_parameters()}
        whole.zero_grad()
        whole.requires_grad_(False)
        # A coarse flow reaches the answer through what widens it, so every layer takes part.
        assert not [name for name, grad in grads.items() if grad is None or not grad.any()]
        assert all(grad.isfinite().all() for grad in grads.values())


class Positions(nn.Module):
    """Answers with every pixel's own position, and with the first frame's red."""

    def forward(self, pair: Tensor, both: bool = False) -> Tensor:
        batch, _, _, height, width = pair.shape
        assert height % 64 == width % 64 == 0
        column = torch.arange(width).expand(batch, 1, height, width)
        return torch.cat((column, pair[:, 0, :1]), 1).repeat(1 + both, 1, 1, 1)


@pytest.fixture
def stand_in(monkeypatch, tmp_path):
    monkeypatch.setattr(flownet2_estimator, "load_network", lambda variant, path: Positions())
    (tmp_path / "weights.pth").write_bytes(b"whatever")
    return build_estimator("flownet2", weights=str(tmp_path / "weights.pth"))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return unit_scale("FlowNet2S")


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "flownet2s.safetensors"
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    return path


class TestEstimator:
    @pytest.mark.parametrize("size", [(360, 480), (375, 1242), (1024, 2048), (97, 131), (1, 1), (64, 128)])
    def test_padding_and_cropping_shift_and_scale_nothing(self, stand_in, size):
        target = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8)
        neighbour = torch.zeros_like(target)
        for flow in (stand_in.estimate(target, neighbour), stand_in.estimate_both(target, neighbour)[1]):
            assert (flow.shape, flow.dtype) == ((1, 2, *size), torch.float32)
            assert torch.equal(flow[0, 0], torch.arange(size[1]).expand(size).float())
            assert torch.equal(flow[0, 1], target[0, 0].float())

    def test_borders_are_repeated(self, stand_in):
        target = torch.arange(6, dtype=torch.uint8).view(1, 1, 2, 3).repeat(1, 3, 1, 1)
        padded = stand_in._prepare(target, target)
        assert padded.shape == (1, 3, 2, 64, 64)
        assert padded[0, 0, 0, 2:, 3:].unique().tolist() == [5]

    def test_real_frames_of_an_odd_size_go_through_the_network(self, network, weights):
        target, neighbour = frames(1, 97, 131).to(torch.uint8).unbind(2)
        estimator = build_estimator("flownet2", variant="FlowNet2S", weights=str(weights))
        flow = estimator.estimate(target, neighbour)
        padded = [F.pad(each.float(), (0, 61, 0, 31), mode="replicate") for each in (target, neighbour)]
        expected = network(torch.stack(padded, 2))[:, :, :97, :131]
        torch.testing.assert_close(flow, expected, atol=1e-4, rtol=1e-4)
        there, back = estimator.estimate_both(target, neighbour)
        torch.testing.assert_close(there, flow)
        torch.testing.assert_close(back, estimator.estimate(neighbour, target))

    def test_bfloat16_stays_near(self, weights):
        target, neighbour = frames(1, 64, 128).to(torch.uint8).unbind(2)
        flows = [
            build_estimator("flownet2", variant="FlowNet2S", weights=str(weights), precision=p).estimate(
                target, neighbour
            )
            for p in ("fp32", "bf16")
        ]
        assert flows[1].dtype == torch.float32
        difference = (flows[0] - flows[1]).abs().mean() / flows[0].abs().mean()
        assert 0 < difference < 0.05

    @pytest.mark.slow
    def test_compiled_it_finds_the_same(self, weights):
        target, neighbour = frames(1, 97, 131).to(torch.uint8).unbind(2)
        given = {"variant": "FlowNet2S", "weights": str(weights)}
        flows = [
            build_estimator("flownet2", **given, compile=each).estimate(target, neighbour)
            for each in (False, True)
        ]
        torch.testing.assert_close(flows[0], flows[1], atol=1e-3, rtol=1e-4)

    def test_the_digest_names_what_decides(self, weights):
        given = {"variant": "FlowNet2S", "weights": str(weights)}
        digest = estimator_digest("flownet2", **given)
        assert digest["weights_sha256"] == file_digest(weights)
        assert digest == estimator_digest("flownet2", **given, sha256=file_digest(weights)[:8].upper())
        assert digest == estimator_digest("flownet2", **given, compile=True)
        assert digest != estimator_digest("flownet2", **given, precision="bf16")

    def test_the_licence_notice_speaks_of_research(self, stand_in):
        assert "research use only" in stand_in.licence


class TestWeights:
    @pytest.fixture
    def tiny(self, monkeypatch) -> nn.Module:
        """In place of a variant: two parameters instead of 38 million."""
        monkeypatch.setitem(VARIANTS, "FlowNet2S", lambda: nn.Conv2d(1, 2, 3))
        return nn.Conv2d(1, 2, 3)

    @pytest.mark.parametrize("zipped", [True, False])
    @pytest.mark.parametrize("bare", [True, False])
    def test_checkpoints_old_and_new(self, tiny, tmp_path, bare, zipped):
        path, state = tmp_path / "FlowNet2-S_checkpoint.pth.tar", tiny.state_dict()
        beside = {"arch": "FlowNet2S", "epoch": 7, "best_EPE": np.float64(2.5), "state_dict": state}
        torch.save(state if bare else beside, path, _use_new_zipfile_serialization=zipped)
        loaded = load_network("FlowNet2S", path)
        assert torch.equal(loaded.weight, tiny.weight)
        assert not loaded.training
        assert not loaded.weight.requires_grad

    def test_the_first_differing_keys_are_told(self, tiny, tmp_path):
        path = tmp_path / "weights.pth"
        torch.save({"weight": torch.zeros(2, 1, 5, 5), "offset": torch.zeros(2)}, path)
        text = (
            r"3 entries are not as in FlowNet2S, such as weight: found \(2, 1, 5, 5\), expected "
            r"\(2, 1, 3, 3\); bias: found None.*flow\.options\.variant"
        )
        with pytest.raises(ValueError, match=text):
            load_network("FlowNet2S", path)

    def test_nothing_in_a_file_is_run(self, tmp_path):
        class Harm:
            def __reduce__(self):
                return (Path(tmp_path / "harm").mkdir, ())

        torch.save({"state_dict": {}, "extra": Harm()}, tmp_path / "weights.pth")
        with pytest.raises(ValueError, match="cannot be read as weights"):
            load_network("FlowNet2S", tmp_path / "weights.pth")
        assert not (tmp_path / "harm").exists()

    def test_no_file_tells_where_to_get_it(self):
        with pytest.raises(FileNotFoundError, match=r"FlowNet2_checkpoint.pth.tar .*NVIDIA/flownet2-pytorch"):
            estimator_digest("flownet2")

    def test_another_digest_is_refused(self, tmp_path):
        (tmp_path / "weights.pth").write_bytes(b"cut short")
        with pytest.raises(ValueError, match=r"SHA-256 is [0-9a-f]{64}, but flow.options.sha256 is abcd"):
            estimator_digest("flownet2", weights=str(tmp_path / "weights.pth"), sha256="abcd")

    @pytest.mark.parametrize(
        ("given", "text"),
        [
            ({"variant": "FlowNet3"}, "variant is 'FlowNet3', expected one of FlowNet2, FlowNet2C"),
            ({"precision": "int8"}, "precision is 'int8', expected one of fp32, tf32, bf16, fp16"),
        ],
    )
    def test_unknown_values_are_answered_with_the_known_ones(self, given, text):
        with pytest.raises(ValueError, match=text):
            estimator_digest("flownet2", **given)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
class TestGpu:
    @pytest.mark.parametrize(
        ("precision", "largest_px"), [("fp32", 1e-2), ("tf32", 1), ("bf16", 5), ("fp16", 2)]
    )
    def test_the_gpu_finds_the_same(self, precision, largest_px, whole, tmp_path):
        path = tmp_path / "flownet2.safetensors"
        save_file({key: value.contiguous() for key, value in whole.state_dict().items()}, path)
        target, neighbour = frames(1, 97, 131).to(torch.uint8).unbind(2)
        expected = build_estimator("flownet2", weights=str(path)).estimate(target, neighbour)
        estimator = build_estimator("flownet2", weights=str(path), precision=precision, device="cuda")
        flow = estimator.estimate(target, neighbour)
        assert flow.is_cuda
        assert (flow.cpu() - expected).abs().mean() < largest_px
