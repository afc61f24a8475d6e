"""The dense CRF after the network: the lattice against the exact mean field, scores, predictions."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from helpers.oracle import Oracle
from weclick.cli import app
from weclick.cli.predict import CRF
from weclick.common.crf_package import crf_fault
from weclick.common.errors import InputError
from weclick.common.schemas import load_schema
from weclick.evaluate.dense_crf import refined_classes
from weclick.evaluate.stage import evaluate, evaluate_models
from weclick.losses import mean_field
from weclick.losses.mean_field import PRESETS
from weclick.manifest import Classes
from weclick.manifest.images import read_ids
from weclick.manifest.read import read_label
from weclick.models import build_model
from weclick.proxy_labels.lattice_crf import lattice_mean_field
from weclick.store.model_file import model_bytes

needs_lattice = pytest.mark.skipif(bool(crf_fault("a test")), reason="no pydensecrf2 (extra crf)")


@pytest.fixture
def absent(monkeypatch):
    """As if the package were not installed."""
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    monkeypatch.setitem(sys.modules, "pydensecrf", None)


def noisy_case(height=32, width=44, seed=0):
    """Three coloured fields with noise, probabilities that lean to their own class, and the true classes."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((height, width), np.int64)
    truth[:, width // 2 :] = 1
    truth[height // 3 : 2 * height // 3, width // 4 : 3 * width // 4] = 2
    colors = np.array([(60, 90, 60), (190, 180, 170), (200, 60, 50)])
    image = np.clip(colors[truth] + rng.normal(0, 12, (height, width, 3)), 0, 255).astype(np.uint8)
    logits = np.eye(3)[truth] + rng.normal(0, 1, (height, width, 3))
    probs = torch.from_numpy(logits.transpose(2, 0, 1)).float().softmax(0)
    return probs, image, truth


@needs_lattice
@pytest.mark.parametrize("preset", PRESETS)
def test_the_lattice_is_near_the_exact_mean_field(preset):
    probs, image, _ = noisy_case()
    exact = mean_field(probs, torch.from_numpy(image), preset).numpy()
    lattice = lattice_mean_field(probs, image, preset)
    assert lattice.dtype == np.float32
    np.testing.assert_allclose(lattice.sum(0), 1, atol=1e-4)
    assert (lattice.argmax(0) == exact.argmax(0)).mean() >= 0.9
    assert np.abs(lattice - exact).mean() < 0.1


@needs_lattice
def test_without_iterations_the_probabilities_stay():
    probs, image, _ = noisy_case(8, 9)
    np.testing.assert_allclose(lattice_mean_field(probs, image, "irn", iterations=0), probs, atol=1e-5)


@needs_lattice
def test_noise_goes_and_borders_stay():
    probs, image, truth = noisy_case()
    image.flags.writeable = False
    refined = refined_classes(probs.log(), image, "krahenbuhl_code")
    assert refined.dtype == np.uint8
    assert (probs.argmax(0).numpy() != truth).mean() > 0.1
    assert (refined != truth).mean() < 0.02


@needs_lattice
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 3)])
def test_single_pixels_and_sure_networks_are_finite(size):
    logits = torch.full((2, *size), -1e4)
    logits[1] = 1e4
    image = np.zeros((*size, 3), np.uint8)
    assert (refined_classes(logits, image, "deeplab_v1") == 1).all()
    assert np.isfinite(lattice_mean_field(logits.softmax(0), image, "sec")).all()


def test_presets_have_one_list():
    schema = load_schema("config")["properties"]["evaluate"]["properties"]["crf"]["enum"]
    assert schema[0] is None
    assert set(schema[1:]) == {*CRF} == set(PRESETS)


@needs_lattice
def test_refined_maps_are_scored_beside_the_others(street):
    truths = [read_label(street.val, frame) for clip in street.val.clips for frame in clip.frames]
    plain, figures = (
        evaluate(Oracle(truths), street.val, store=street.store, flow={}, crf=crf) for crf in (None, "irn")
    )
    assert "crf" not in plain
    assert figures["miou"] == plain["miou"] == 1.0
    found = figures["crf"]
    assert (found["preset"], found["iterations"]) == ("irn", 10)
    assert found["seconds_per_frame"] > 0
    assert 0.3 < found["miou"] < 1, "a one-hot class map gives soft logits, so a CRF moves its borders"
    assert found["per_class_iou"].keys() == plain["per_class_iou"].keys()
    assert 0 < found["mean_accuracy"] <= 1
    assert 0.5 < found["pixel_accuracy"] < 1


@needs_lattice
def test_each_role_has_its_own(street, tmp_path, capsys):
    path = tmp_path / "model.safetensors"
    path.write_bytes(
        model_bytes(build_model("deeplabv3plus", "mobilenetv2_compact", 9, channels=16), street.val.classes)
    )
    evaluate_models(
        {"student": path, "teacher": path},
        street.val,
        store=street.store,
        flow={},
        device="cpu",
        folder=tmp_path / "out",
        examples=0,
        write_predictions=False,
        crf="krahenbuhl_code",
    )
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["crf"]["miou"] == metrics["teacher"]["crf"]["miou"]
    told = capsys.readouterr().err
    assert "after a dense CRF mIoU" in told
    assert "(krahenbuhl_code, " in told


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(1)
    model = build_model("deeplabv3plus", "mobilenetv2_compact", 3, channels=16)
    path = tmp_path / "model.safetensors"
    classes = Classes(("road", "car", "sky"), ((128, 64, 128), (0, 0, 142), (70, 130, 180)))
    path.write_bytes(model_bytes(model, classes))
    return path


def run_predict(tmp_path, checkpoint, *arguments):
    Image.fromarray(noisy_case()[1]).save(tmp_path / "a.png")
    given = [tmp_path / "a.png", "--checkpoint", checkpoint, "--output", tmp_path / "out", *arguments]
    return CliRunner().invoke(app, ["predict", *map(str, given), "--save", "masks", "--device", "cpu"])


@needs_lattice
def test_predict_refines_what_it_writes(tmp_path, checkpoint):
    assert run_predict(tmp_path, checkpoint).exit_code == 0
    plain = read_ids(tmp_path / "out/masks/a.png")
    done = run_predict(tmp_path, checkpoint, "--crf", "krahenbuhl_code")
    assert done.exit_code == 0, done.output
    refined = read_ids(tmp_path / "out/masks/a.png")
    assert refined.shape == plain.shape
    assert (refined != plain).any()


def test_without_the_package_nothing_is_scored(absent, street, tmp_path):
    with pytest.raises(InputError, match=r"evaluate.crf is irn, which needs pydensecrf2, .* not installed"):
        evaluate_models(
            {"student": tmp_path / "none"},
            street.val,
            store=street.store,
            flow={},
            device="cpu",
            folder=tmp_path / "out",
            examples=0,
            write_predictions=False,
            crf="irn",
        )
    assert not (tmp_path / "out").exists()


def test_without_the_package_nothing_is_predicted(absent, tmp_path, checkpoint):
    done = run_predict(tmp_path, checkpoint, "--crf", "sec")
    assert isinstance(done.exception, InputError)
    text = str(done.exception)
    assert text.startswith("--crf is sec, which needs pydensecrf2, but that is not installed")
    assert "pip install 'weclick[crf]'` on a machine with a C++ compiler" in text
    assert not (tmp_path / "out").exists()


def test_of_a_python_that_cannot_build_it_nobody_is_sent_to_pip(absent, monkeypatch):
    monkeypatch.setattr("weclick.common.crf_package.TOO_NEW", (3, 11))
    text = crf_fault("--crf is sec")
    assert "is not installed, and cannot be built for Python 3.13 and newer; take Python 3.11 or 3.12" in text
    assert "pip install" not in text


def test_a_package_that_is_broken_says_why(monkeypatch, tmp_path):
    monkeypatch.delitem(sys.modules, "pydensecrf.densecrf", raising=False)
    monkeypatch.delitem(sys.modules, "pydensecrf", raising=False)
    (tmp_path / "pydensecrf").mkdir()
    (tmp_path / "pydensecrf" / "__init__.py").write_text("")
    (tmp_path / "pydensecrf" / "densecrf.py").write_text("raise ImportError('another numpy')")
    monkeypatch.syspath_prepend(tmp_path)
    assert "cannot be loaded (another numpy)" in crf_fault("--crf is sec")
    sys.modules.pop("pydensecrf")
