"""The strip shows what the student's objective sees: the loss can be had from its parts."""

import numpy as np
import pytest
import torch

from helpers.report_run import H, W, make_run
from weclick.losses import memory_flow_distillation
from weclick.manifest.window import Window
from weclick.models import build_model
from weclick.proxy_labels.soft_labels import compute_soft_labels
from weclick.runs.report.results import read_results
from weclick.runs.report.strip_gallery import TRUST_RANGE, class_map, trust_to_rgb
from weclick.runs.report.strips import compute_strips, look_along_flow
from weclick.store.flow_entries import MASK_BITS
from weclick.store.model_file import model_bytes
from weclick.train.data.assemble import assemble
from weclick.train.data.stream import Caches, Stream
from weclick.train.objective import Objective


@pytest.fixture(scope="module")
def strip(tmp_path_factory):
    run = make_run(tmp_path_factory.mktemp("run"))
    (strip,) = compute_strips(read_results(run.folder, run.config), run.config, run.store, 4)
    return strip


@pytest.mark.parametrize("mode", ["exp_neg", "as_printed", "none"])
def test_the_parts_give_the_objective_its_loss(street, tmp_path, mode):
    torch.manual_seed(1)
    model = build_model("deeplabv3plus", "mobilenetv2_compact", street.train.num_classes, channels=16).eval()
    teacher = tmp_path / "model.safetensors"
    teacher.write_bytes(model_bytes(model, street.train.classes))
    soft_labels = compute_soft_labels(street.train, teacher, chunk_px=64, store=street.store)
    stream = Stream(
        street.train,
        street.clicks,
        Caches(street.store, street.frames, street.flow, soft_labels),
        window=Window(**street.config["window"]),
        options=street.config["student"],
        stride_px=model.stride,
        occlusion="photometric",
        seed=0,
    )
    with torch.no_grad():
        model.train()(torch.randn(2, 3, 64, 96))  # so that student and teacher differ
    model.eval()
    bits = MASK_BITS["photometric"]
    batch = assemble(
        stream.read(stream.plan(0)), stride_px=model.stride, mask_bits=bits, device=torch.device("cpu")
    )
    seen = look_along_flow(model, batch, mode=mode)
    sections = {**street.config, "mfd": {**street.config["mfd"], "consistency": mode, "weight": 1.0}}
    with torch.no_grad():
        terms = Objective(sections, steps=1, class_weights=None)(model(batch.images), batch, 0)

    error = (seen["trust"] * (seen["student"] - seen["warped"]).square()).sum(1, keepdim=True)
    mean = error[seen["valid"]].mean() * batch.neighbours / batch.targets
    assert 0 < seen["valid"].float().mean() < 1
    assert mean > 0
    assert mean == pytest.approx(terms["memory_flow"].item(), rel=1e-5)
    again = memory_flow_distillation(
        seen["student"], seen["warped"], seen["teacher"], seen["valid"], mode=mode
    )
    assert again * batch.neighbours / batch.targets == pytest.approx(mean.item(), rel=1e-5)


def test_a_strip_is_of_whole_frames_without_padding(strip):
    assert (strip.target, strip.neighbour, strip.stride_px) == (1, 0, 4)
    assert strip.flow.shape == (2, H // 4, W // 4)
    assert strip.student.shape == strip.teacher.shape == strip.warped.shape == (3, H // 4, W // 4)
    np.testing.assert_allclose(strip.student.sum(0), 1, atol=1e-5)
    np.testing.assert_allclose(strip.teacher.sum(0), 1, atol=0.02)  # quantised


def test_what_the_loss_leaves_out_is_left_out(strip):
    assert not strip.valid[:, :8].any()  # where the mask objects
    assert not strip.valid[-1].any()  # where the flow, 1.25 cells down, leaves the frame
    assert strip.valid[:6, 8:14].all()
    assert np.isnan(strip.flow[:, ~strip.valid]).all()
    np.testing.assert_allclose(strip.flow[:, strip.valid], 5.0)  # 1.25 cells of 4 px


def test_trust_is_that_of_the_class_in_dispute(strip):
    shown = strip.disputed_trust()
    assert np.isnan(shown[~strip.valid]).all()
    expected = np.exp(-np.abs(strip.warped - strip.teacher).max(0))
    np.testing.assert_allclose(shown[strip.valid], expected[strip.valid], rtol=1e-5)


def test_trust_is_dark_in_doubt_and_grey_where_it_does_not_count():
    low, high = TRUST_RANGE["exp_neg"]
    doubt, trust, nothing = trust_to_rgb(np.array([[low, high, np.nan]]), low, high)[0].astype(int)
    assert doubt.sum() < 200 < 400 < trust.sum()
    assert nothing.tolist() == [153, 153, 153]


def test_class_maps_have_the_size_of_the_frame(strip):
    certain = np.zeros((3, H // 4, W // 4), np.float32)
    certain[2] = 1
    whole, masked = class_map(certain, strip), class_map(certain, strip, strip.valid)
    assert whole.shape == (H, W)
    assert (whole == 2).all()
    assert (masked[:, :32] == 255).all()
    assert (masked[:24, 32:56] == 2).all()
