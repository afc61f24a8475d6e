"""OpenVINO, int8 and the model card: real runtimes run what was written, and the card's own lines."""

import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from helpers.filmed import film
from helpers.places import ROOT
from weclick.common.errors import InputError, MissingFileError
from weclick.evaluate.export import FromPixels, export_model
from weclick.evaluate.export_card import model_card, origin_of
from weclick.evaluate.export_formats import import_openvino
from weclick.evaluate.export_frames import CALIBRATION_FRAMES, calibration_frames, score_runs
from weclick.evaluate.scores import score_frames
from weclick.geometry import StackOptions
from weclick.manifest.manifest_file import write_manifest
from weclick.manifest.read import read_clip, read_label
from weclick.metrics import ConfusionMatrix
from weclick.models import build_model
from weclick.models.inference import predict
from weclick.store import file_digest
from weclick.store.model_file import Motion, load_model, model_bytes

OPENVINO = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="OpenVINO needs the extra [openvino]"
)
FORMATS = ("onnx", "int8", *(("openvino",) if importlib.util.find_spec("openvino") else ()))


def write_checkpoint(folder, classes, **options):
    torch.manual_seed(1)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.safetensors"
    chosen = {"channels": 16, "head_norm": "group", **options}
    model = build_model("deeplabv3plus", "mobilenetv2_compact", len(classes.names), **chosen)
    path.write_bytes(model_bytes(model, classes))
    return path


def write_run(results, checkpoint, **training):
    """What stages leave in the results of a run."""
    told = {"role": "student", "steps": 7, "kept_step": 5, "train_seconds": 1.5, "seed": 3, **training}
    told = {"weights_sha256": file_digest(checkpoint)} | told
    (checkpoint.parent / "model.json").write_text(json.dumps(told), encoding="utf-8")
    config = {"method": "weclick", "supervision": "clicks", "student": {"pretrained": "imagenet"}}
    report = {"config": config | {"data": {"name": "camvid"}}, "versions": {}}
    (results / "report.json").write_text(json.dumps(report), encoding="utf-8")
    scores = {"miou": 0.512, "mean_accuracy": 0.6, "pixel_accuracy": 0.9, "temporal_consistency": None}
    (results / "evaluation").mkdir()
    scores["per_class_iou"] = {"road": 0.75, "car": None}
    (results / "evaluation/metrics.json").write_text(json.dumps(scores), encoding="utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory, street):
    """A small network of group norms in every format, calibrated and scored on the street."""
    pytest.importorskip("onnxscript", reason="ONNX needs the extra [export]")
    folder = tmp_path_factory.mktemp("formats")
    manifest = folder / "val.json"
    write_manifest(street.val, manifest)
    checkpoint = write_checkpoint(folder / "results/student", street.val.classes)
    write_run(folder / "results", checkpoint)
    done = export_model(checkpoint, folder / "out", formats=FORMATS, calibrate=manifest, score=[manifest])
    return checkpoint, {each.format: each for each in done}


@pytest.fixture(scope="module")
def frame(street):
    return next(read_clip(street.val, street.val.clips[0]))


def as_rgb(image):
    return np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)


def session_of(path):
    runtime = pytest.importorskip("onnxruntime")
    return runtime.InferenceSession(path, providers=["CPUExecutionProvider"])


@OPENVINO
def test_openvino_gives_the_networks_logits_at_any_size_and_holds_the_card(made, frame):
    checkpoint, files = made
    core = import_openvino().Core()
    model = core.read_model(str(files["openvino"].path))
    told = json.loads(model.get_rt_info(["weclick"]).astype(str))
    session = session_of(files["onnx"].path)
    assert told == json.loads(session.get_modelmeta().custom_metadata_map["weclick"])
    run = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    network = FromPixels(load_model(checkpoint)[0])
    for image in (frame, frame[:53, :71]):
        with torch.inference_mode():
            expected = network(torch.from_numpy(as_rgb(image))).numpy()
        np.testing.assert_allclose(run([as_rgb(image)])["logits"], expected, atol=1e-4 * abs(expected).max())
    assert files["openvino"].relative <= 1e-4


@OPENVINO
@pytest.mark.slow
def test_openvino_takes_a_pspnet_of_fixed_size_and_a_network_that_looks_at_flow(tmp_path, street):
    torch.manual_seed(1)
    path, classes = tmp_path / "model.safetensors", street.val.classes
    path.write_bytes(model_bytes(build_model("pspnet", "mobilenetv2_compact", len(classes.names)), classes))
    (done,) = export_model(path, tmp_path, formats=("openvino",), size=(61, 83))
    assert done.relative <= 1e-4
    (done,) = export_model(write_two_streams(path, classes), tmp_path, formats=("openvino",))
    assert done.relative <= 1e-4


def write_two_streams(path, classes):
    options = {"channels": 16, "stack_length": 2, "late_fusion": "concat_conv"}
    model = build_model("two_stream", "mobilenetv2_compact", len(classes.names), **options)
    motion = Motion(StackOptions(length=2, first=-1), {"name": "dis"}, 4)
    path.write_bytes(model_bytes(model, classes, motion=motion))
    return path


@OPENVINO
def test_openvino_reports_to_nobody_that_it_is_imported(tmp_path):
    (tmp_path / "openvino_telemetry.py").write_text("print('it reports')\n", encoding="utf-8")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from weclick.evaluate.export_formats import import_openvino\n"
        "print(import_openvino().Core().available_devices)\n"
        "import openvino_telemetry"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, last = done.stdout.splitlines()
    assert "CPU" in first
    assert last == "it reports", "the package is there, and only our import does not find it"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_tensorrt_gives_the_networks_class_ids(tmp_path, made, frame):
    trt = pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    checkpoint, files = made
    engine, (height, width) = tmp_path / "model.engine", frame.shape[:2]
    script = [sys.executable, ROOT / "deploy/tensorrt_engine.py", files["onnx"].path, engine]
    subprocess.run([*script, "--largest", "2", str(height), str(width)], check=True)
    runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
    context = runtime.deserialize_cuda_engine(engine.read_bytes()).create_execution_context()
    network, card = load_model(checkpoint)
    rgb = torch.from_numpy(as_rgb(frame)).cuda()
    logits = torch.empty(1, len(card.classes.names), height, width, device="cuda")
    context.set_input_shape("rgb", tuple(rgb.shape))
    context.set_tensor_address("rgb", rgb.data_ptr())
    context.set_tensor_address("logits", logits.data_ptr())
    assert context.execute_async_v3(torch.cuda.current_stream().cuda_stream)
    torch.cuda.synchronize()
    same = logits.argmax(1)[0].cpu().numpy() == predict(network, frame).numpy()
    assert same.mean() > 0.99


def test_int8_computes_convolutions_in_int8_and_the_rest_in_float(made):
    onnx = pytest.importorskip("onnx")
    _, files = made
    graph = onnx.load(files["int8"].path).graph
    maker = {name: node for node in graph.node for name in node.output}
    kinds = {name: {} for name in ("Conv", "InstanceNormalization", "Resize")}
    for node in graph.node:
        if node.op_type in kinds:
            of = [maker[name].op_type for name in node.input if name in maker]
            kinds[node.op_type][node.name] = of
    convolutions = list(kinds["Conv"].values())
    assert all(of.count("DequantizeLinear") >= 2 for of in convolutions[:-1])
    assert "DequantizeLinear" not in convolutions[-1], "the classifier"
    assert kinds["InstanceNormalization"]
    assert kinds["Resize"]
    scales = {each.name: onnx.numpy_helper.to_array(each).shape for each in graph.initializer}
    assert any(len(shape) == 1 and shape[0] > 1 for name, shape in scales.items() if name.endswith("_scale"))
    assert files["int8"].path.stat().st_size < 0.7 * files["onnx"].path.stat().st_size


def test_int8_tells_how_often_it_agrees_and_the_miou_of_both(made, street):
    checkpoint, files = made
    done, network = files["int8"], load_model(checkpoint)[0]
    session = session_of(done.path)
    assert json.loads(session.get_modelmeta().custom_metadata_map["weclick"])["classes"]
    frames = [image for clip in street.val.clips for image in read_clip(street.val, clip)]
    same = [
        session.run(None, {"rgb": as_rgb(image)})[0].argmax(1)[0] == predict(network, image).numpy()
        for image in frames
    ]
    assert done.frames == len(frames)
    assert done.agreement == pytest.approx(np.mean(same), abs=1e-3)
    assert done.agreement > 0.5, "chance is 1/K"
    assert set(done.scores.of) == {"torch", "int8"}
    miou = float(score_frames(network, street.val).miou())
    assert done.scores.of["torch"].miou == pytest.approx(miou, abs=1e-3)
    assert done.scores.of["torch"].agreement == 1
    assert done.scores.frames == sum(len(clip.scored) for clip in street.val.clips)


def test_files_of_a_fixed_size_are_scored_at_the_size_of_frames(tmp_path, street):
    network, size = FromPixels(load_model(write_checkpoint(tmp_path, street.val.classes))[0]), (40, 56)

    @torch.inference_mode()
    def run(rgb):
        assert rgb.shape[2:] == size
        return network(torch.from_numpy(rgb)).numpy()

    scores = score_runs({"torch": run}, street.val, shrink=1, size=size, source=tmp_path)
    matrix = ConfusionMatrix(street.val.num_classes)
    for clip in street.val.clips:
        for t, image in enumerate(read_clip(street.val, clip)):
            if t in clip.scored:
                small = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
                logits = torch.from_numpy(run(as_rgb(small)))
                logits = interpolate(logits, size=image.shape[:2], mode="bilinear")
                matrix.update(logits.argmax(1)[0].byte().numpy(), read_label(street.val, clip.frames[t]))
    assert scores.of["torch"].miou == pytest.approx(float(matrix.miou()), abs=1e-3)
    assert scores.of["torch"].agreement == 1


@pytest.mark.slow
def test_int8_of_a_fixed_size(tmp_path, street):
    torch.manual_seed(1)
    path, classes = tmp_path / "model.safetensors", street.val.classes
    path.write_bytes(model_bytes(build_model("pspnet", "mobilenetv2_compact", len(classes.names)), classes))
    write_manifest(street.train, tmp_path / "train.json")
    options = {"formats": ("int8",), "size": (61, 83), "calibrate": tmp_path / "train.json"}
    (done,) = export_model(path, tmp_path / "out", **options)
    assert session_of(done.path).get_inputs()[0].shape[2:] == [61, 83]
    assert done.agreement > 0.5, "chance is 1/K"
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["MODEL_CARD.md", "model.int8.onnx"]


def test_each_piece_of_the_model_card_runs(made, frame, monkeypatch):
    checkpoint, files = made
    folder = files["onnx"].path.parent
    text = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    pieces = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(pieces) == len(files)
    Image.fromarray(frame).save(folder / "street.png")
    monkeypatch.chdir(folder)
    expected = predict(load_model(checkpoint)[0], frame).numpy()
    for piece, done in zip(pieces, files.values(), strict=True):
        assert len(piece.splitlines()) == 5
        space = {}
        exec(piece, space)
        same = (np.asarray(space["class_ids"]) == expected).mean()
        assert same > (0.5 if done.format == "int8" else 0.999), done.path


def test_the_model_card_tells_of_training_scores_and_licences(made):
    checkpoint, files = made
    text = (files["onnx"].path.parent / "MODEL_CARD.md").read_text(encoding="utf-8")
    card, origin = load_model(checkpoint)[1], origin_of(checkpoint)
    for line in (
        f"| weights (SHA-256 of model.safetensors) | {file_digest(checkpoint)} |",
        "| steps | 7 |",
        "| seed | 3 |",
        "| method | weclick |",
        "| supervision | clicks |",
        "| data set | camvid |",
        "| first weights of the backbone | imagenet |",
        "| mIoU | 51.2 |",
        "| IoU of car | absent |",
        f"| 0 | {card.classes.names[0]} | {', '.join(map(str, card.classes.palette[0]))} |",
    ):
        assert line in text.splitlines(), line
    assert "ImageNet's terms speak of research" in text
    done = files["int8"]
    again = model_card(
        card,
        origin,
        formats=FORMATS,
        size=None,
        tolerance=1e-4,
        agreement=(done.agreement, done.frames),
        scores=done.scores,
    )
    assert again == text


def test_the_model_card_tells_nothing_of_another_networks_training(tmp_path, street):
    checkpoint = write_checkpoint(tmp_path / "results/student", street.val.classes)
    write_run(tmp_path / "results", checkpoint, weights_sha256="0" * 64)
    origin, card = origin_of(checkpoint), load_model(checkpoint)[1]
    text = model_card(card, origin, formats=["torch"], size=(48, 64), tolerance=1e-4)
    assert (origin.training, origin.metrics, origin.config) == (None, None, None)
    assert "their training is not known" in text
    assert "| seed |" not in text
    assert "None were measured here" in text
    assert "If the backbone began with weights that were trained on ImageNet" in text
    assert "Images have 48x64 px (HxW)." in text


def test_the_model_card_tells_of_held_out_clicks_where_there_is_no_mask(tmp_path, street):
    checkpoint = write_checkpoint(tmp_path / "results/student", street.val.classes)
    write_run(tmp_path / "results", checkpoint)
    share = {"clicks": 12, "accuracy": 0.75, "low": 0.4677, "high": 0.9111}
    car = {"clicks": 1, "accuracy": 1.0, "low": 0.2065, "high": 1.0}
    metrics = {
        "miou": None,
        "per_class_iou": {"road": None, "car": None},
        "held_out_clicks": {**share, "per_class": {"car": car}},
    }
    origin = replace(origin_of(checkpoint), metrics=metrics)
    text = model_card(load_model(checkpoint)[1], origin, formats=["torch"], size=None, tolerance=1e-4)
    assert "| 12 held-out clicks: hit | 75.0 (46.8 to 91.1) |" in text.splitlines()
    assert "| 1 held-out click on car: hit | 100.0 (20.6 to 100.0) |" in text.splitlines()
    assert "IoU" not in text


def test_the_model_card_names_what_the_backbone_began_with(tmp_path, street):
    checkpoint = write_checkpoint(tmp_path / "results/student", street.val.classes)
    write_run(tmp_path / "results", checkpoint)
    card, told = load_model(checkpoint)[1], origin_of(checkpoint)

    def text(given):
        origin = replace(told, config={"student": {"pretrained": given}})
        return model_card(card, origin, formats=["torch"], size=None, tolerance=1e-4)

    assert "began with random weights" in text(None)
    assert "ImageNet" not in text(None)
    assert "the weights of `their.pth`" in text("/home/me/their.pth")
    assert "/home/me" not in text("/home/me/their.pth")


def test_calibration_reads_images_and_videos_spread_evenly_and_shrunk(tmp_path):
    for number in range(100):
        image = np.full((64, 96, 3), number, np.uint8)
        (tmp_path / "stills").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / f"stills/{number:03}.png")
    frames = calibration_frames(tmp_path / "stills", shrink=2, size=None)
    assert {each.shape for each in frames} == {(32, 48, 3)}
    values = [int(each[0, 0, 0]) for each in frames]
    assert len(values) == CALIBRATION_FRAMES
    assert values == sorted(set(values))
    assert {1, 2} >= set(np.diff(values))
    film(tmp_path / "films/park.mp4", 0)
    frames = calibration_frames(tmp_path / "films", shrink=1, size=(40, 56))
    assert len(frames) == 12
    assert frames[0].shape == (40, 56, 3)
    bright = [each[20].max(axis=1) > 128 for each in frames]
    assert int(np.argmax(bright[11])) > int(np.argmax(bright[0])), "the car moves to the right"


def test_calibration_says_what_is_wrong_with_frames(tmp_path, street):
    with pytest.raises(MissingFileError, match="nowhere"):
        calibration_frames(tmp_path / "nowhere", shrink=1, size=None)
    Image.new("RGB", (64, 40)).save(tmp_path / "small.png")
    with pytest.raises(InputError, match=r"20x32 px \(HxW\) as the network takes it, expected at least 32"):
        calibration_frames(tmp_path, shrink=2, size=None)
    write_manifest(street.val, tmp_path / "val.json")
    with pytest.raises(InputError, match=r"1/1 of their size, but .* has learned from frames at 1/2"):
        calibration_frames(tmp_path / "val.json", shrink=2, size=None)


def test_what_cannot_be_exported_is_told_before_anything_is_written(tmp_path, street, verb, monkeypatch):
    checkpoint = write_checkpoint(tmp_path / "results/student", street.val.classes)
    given = ["export", "--checkpoint", checkpoint, "--output", tmp_path / "out"]
    status, said = verb(*given, "--format", "both", "--format", "int8")
    assert status == 1
    assert "add --calibrate with a folder of images" in said.err
    status, said = verb(*given, "--calibrate", tmp_path)
    assert "is for int8, which is not among the formats" in said.err
    two = write_two_streams(tmp_path / "two.safetensors", street.val.classes)
    with pytest.raises(InputError, match="this network also looks at the flow"):
        export_model(two, tmp_path / "out", formats=("int8",), calibrate=tmp_path)
    others = replace(street.val.classes, names=tuple("abcdefghijk"[: street.val.num_classes]))
    write_manifest(replace(street.val, classes=others), tmp_path / "v.json")
    with pytest.raises(InputError, match="was trained for the classes"):
        export_model(checkpoint, tmp_path / "out", formats=("torch",), score=[tmp_path / "v.json"])
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "openvino" else found(name))
    status, said = verb(*given, "--format", "openvino")
    assert status == 1
    assert "OpenVINO needs openvino, which is not installed" in said.err
    assert "run `pip install 'weclick[export,openvino]'`" in said.err
    assert not (tmp_path / "out").exists()
