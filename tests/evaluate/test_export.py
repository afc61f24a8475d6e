"""Exported networks: what other runtimes compute is what the network computes."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import weclick.evaluate.export
from weclick.cli import app
from weclick.common.errors import InputError
from weclick.evaluate.export import FromPixels, export_model
from weclick.geometry import StackOptions
from weclick.manifest import Classes
from weclick.models import build_model
from weclick.models.inference import predict
from weclick.store.model_file import Motion, load_model, model_bytes

CLASSES = Classes(("road", "car", "sky"), ((128, 64, 128), (0, 0, 142), (70, 130, 180)))


def write_checkpoint(folder, architecture, backbone):
    torch.manual_seed(1)
    path = folder / "model.safetensors"
    path.write_bytes(model_bytes(build_model(architecture, backbone, 3, channels=16), CLASSES))
    return path


def test_onnx_explains_itself_and_gives_the_networks_class_ids(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    path = write_checkpoint(tmp_path, "deeplabv3plus", "mobilenetv2_compact")
    image = np.random.default_rng(0).integers(0, 256, (75, 103, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "ü 1.png")
    options = ["--checkpoint", path, "--output", tmp_path / "out", "--check", tmp_path / "ü 1.png"]
    done = CliRunner().invoke(app, ["export", *map(str, options)])
    assert done.exit_code == 0, done.output
    assert "largest difference of logits" in done.output
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["MODEL_CARD.md", "model.onnx"]
    session = onnxruntime.InferenceSession(tmp_path / "out/model.onnx", providers=["CPUExecutionProvider"])
    told = json.loads(session.get_modelmeta().custom_metadata_map["weclick"])
    assert told["classes"] == ["road", "car", "sky"]
    assert told["palette"][1] == [0, 0, 142]
    (logits,) = session.run(None, {"rgb": image.transpose(2, 0, 1)[None].astype(np.float32)})
    same = logits.argmax(1)[0] == predict(load_model(path)[0], image).numpy()
    assert same.mean() > 0.999, "all but ties"


def test_a_video_is_no_image_to_check_on(tmp_path):
    path = write_checkpoint(tmp_path, "deeplabv3plus", "mobilenetv2_compact")
    options = [
        "--checkpoint",
        path,
        "--output",
        tmp_path / "out",
        "--check",
        "street.MP4",
        "--format",
        "torch",
    ]
    done = CliRunner().invoke(app, ["export", *map(str, options)])
    assert "street.MP4: is a video, but outputs are compared on one image; give an image" in str(
        done.exception
    )


@pytest.mark.parametrize(
    ("architecture", "backbone"),
    [
        pytest.param("deeplabv3plus", "resnet18", marks=pytest.mark.slow),
        pytest.param("deeplabv3plus", "mobilenetv2", marks=pytest.mark.slow),
        pytest.param("pspnet", "resnet18", marks=pytest.mark.slow),
        ("pspnet", "mobilenetv2"),
    ],
)
def test_students_give_the_same_logits_as_onnx(tmp_path, architecture, backbone):
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX needs the extra [export]")
    pytest.importorskip("onnxscript", reason="ONNX needs the extra [export]")
    torch.manual_seed(1)
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_bytes(build_model(architecture, backbone, 3), CLASSES))
    (done,) = export_model(path, tmp_path, formats=("onnx",), size=(64, 83))
    session = onnxruntime.InferenceSession(done.path, providers=["CPUExecutionProvider"])
    rgb = np.random.default_rng(0).uniform(0, 255, (2, 3, 64, 83)).astype(np.float32)
    with torch.inference_mode():
        expected = FromPixels(load_model(path)[0]).eval()(torch.from_numpy(rgb)).numpy()
    (logits,) = session.run(["logits"], {"rgb": rgb})
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("form", ["torch", "onnx"])
def test_a_network_that_looks_at_flow_takes_two_inputs(tmp_path, form):
    torch.manual_seed(1)
    path = tmp_path / "model.safetensors"
    options = {"channels": 16, "stack_length": 2, "late_fusion": "concat_conv"}
    model = build_model("two_stream", "mobilenetv2_compact", 3, **options)
    motion = Motion(StackOptions(length=2, first=-1), {"name": "dis"}, 4)
    path.write_bytes(model_bytes(model, CLASSES, motion=motion))
    if form == "onnx":
        pytest.importorskip("onnxscript", reason="ONNX needs the extra [export]")
    (done,) = export_model(path, tmp_path / "out", formats=(form,))  # compared at sizes odd and even
    assert done.relative <= 1e-4
    network = FromPixels(load_model(path, with_motion=True)[0])
    rng, size = np.random.default_rng(0), (2, 61, 83)
    rgb, stack = (rng.uniform(0, 1, (size[0], n, *size[1:])).astype(np.float32) for n in (3, 4))
    with torch.inference_mode():
        expected = network(torch.from_numpy(rgb), torch.from_numpy(stack)).numpy()
    if form == "onnx":
        onnxruntime = pytest.importorskip("onnxruntime")
        session = onnxruntime.InferenceSession(done.path, providers=["CPUExecutionProvider"])
        (logits,) = session.run(["logits"], {"rgb": rgb, "stack": stack})
        told = json.loads(session.get_modelmeta().custom_metadata_map["weclick"])
    else:
        extra = {"weclick.json": ""}
        module = torch.export.load(done.path, extra_files=extra).module()
        logits = module(torch.from_numpy(rgb), torch.from_numpy(stack)).detach().numpy()
        told = json.loads(extra["weclick.json"])
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert told["input"]["shape"] == ["batch", 3, "height", "width"]
    assert told["stack"]["shape"] == ["batch", 4, "height", "width"]


@pytest.mark.parametrize("backbone", ["mobilenetv2_compact", "resnet18"])
def test_a_torch_program_of_a_pspnet_has_a_fixed_size(tmp_path, backbone):
    path = write_checkpoint(tmp_path, "pspnet", backbone)
    with pytest.raises(InputError, match="give --size HxW"):
        export_model(path, tmp_path / "out", formats=("torch",))
    (done,) = export_model(path, tmp_path / "out", formats=("torch",), size=(61, 83))
    assert done.relative <= 1e-4
    extra = {"weclick.json": ""}
    torch.export.load(done.path, extra_files=extra)
    assert json.loads(extra["weclick.json"])["input"]["shape"] == ["batch", 3, 61, 83]


@pytest.mark.slow
def test_a_program_of_timms_backbone_pads_as_tensorflow_at_any_size(tmp_path):
    path = write_checkpoint(tmp_path, "deeplabv3plus", "timm/tf_mobilenetv3_small_minimal_100")
    (done,) = export_model(path, tmp_path / "out", formats=("torch",))  # compared at two sizes, odd and even
    assert done.relative <= 1e-4
    extra = {"weclick.json": ""}
    torch.export.load(done.path, extra_files=extra)
    assert json.loads(extra["weclick.json"])["input"]["shape"] == ["batch", 3, "height", "width"]


@pytest.mark.slow
def test_a_backbone_that_is_padded_has_a_fixed_size(tmp_path):
    path = write_checkpoint(tmp_path, "deeplabv3plus", "timm/test_convnext")
    with pytest.raises(InputError, match=r"timm/test_convnext gives no graph of free size; give --size HxW"):
        export_model(path, tmp_path / "out", formats=("torch",))
    pytest.importorskip("onnxscript", reason="ONNX needs the extra [export]")
    (done,) = export_model(path, tmp_path / "out", formats=("onnx",), size=(61, 83))
    assert done.relative <= 1e-4


def test_a_file_that_differs_is_not_kept(tmp_path, monkeypatch):
    path = write_checkpoint(tmp_path, "pspnet", "mobilenetv2_compact")
    monkeypatch.setattr(weclick.evaluate.export, "TOLERANCE", -1.0)
    with pytest.raises(InputError, match="was not kept"):
        export_model(path, tmp_path / "out", formats=("torch",), size=(61, 83))
    assert list((tmp_path / "out").iterdir()) == []
