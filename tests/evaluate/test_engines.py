"""What turns frames into logits: torch in two precisions, and exported files in their runtimes."""

import importlib.util
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import weclick
from helpers.small_network import write_network
from weclick.cli import app
from weclick.common.errors import InputError, MissingFileError
from weclick.evaluate.answers import read_network
from weclick.evaluate.engines import exported_engine, torch_engine
from weclick.evaluate.export import export_model
from weclick.evaluate.export_formats import RT_INFO
from weclick.evaluate.segmenting import Segmenter
from weclick.geometry import StackOptions
from weclick.manifest import Classes
from weclick.manifest.images import read_ids
from weclick.models import build_detector, build_model
from weclick.store.model_file import Motion, load_model, model_bytes

CLASSES = Classes(("road", "car", "sky"), ((128, 64, 128), (0, 0, 142), (70, 130, 180)))
OPENVINO = importlib.util.find_spec("openvino") is not None
FORMATS = ["onnx", "int8", *(["openvino"] if OPENVINO else [])]
FILES = {"onnx": "model.onnx", "int8": "model.int8.onnx", "openvino": "model.xml"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint that has learned from frames of half their size, its exported files, and three frames."""
    pytest.importorskip("onnxscript", reason="ONNX needs the extra [export]")
    folder = tmp_path_factory.mktemp("engines")
    torch.manual_seed(1)
    model = build_model("deeplabv3plus", "mobilenetv2_compact", 3, channels=16)
    (folder / "model.safetensors").write_bytes(model_bytes(model, CLASSES, shrink=2))
    (folder / "frames").mkdir()
    for number, image in enumerate(smooth(3)):
        Image.fromarray(image).save(folder / "frames" / f"{number}.png")
    export_model(folder / "model.safetensors", folder, formats=FORMATS, calibrate=folder / "frames")
    return folder


def smooth(count, size=(90, 122)):
    """Pictures (H, W, 3) uint8 of coarse noise, enlarged: neighbours are alike, as in real frames."""
    rng = np.random.default_rng(0)
    coarse = (Image.fromarray(rng.integers(0, 256, (7, 9, 3), np.uint8)) for _ in range(count))
    return [np.asarray(each.resize(size[::-1], Image.Resampling.BICUBIC)) for each in coarse]


def run(*arguments):
    return CliRunner().invoke(app, ["predict", *map(str, arguments), "--device", "cpu"])


def masks(folder, checkpoint, output, *more):
    done = run(folder / "frames", "--checkpoint", checkpoint, "--output", output, "--save", "masks", *more)
    assert done.exit_code == 0, done.output
    return done.output, np.stack([read_ids(output / f"masks/{each}.png") for each in range(3)])


@pytest.mark.parametrize(
    ("file", "more", "told", "least"),
    [
        ("model.onnx", (), "cpu by ONNX Runtime", 0.99),
        ("model.int8.onnx", (), "cpu by ONNX Runtime", 0.6),
        pytest.param("model.xml", (), "cpu by OpenVINO in float32", 0.99, marks=pytest.mark.skipif(
            not OPENVINO, reason="needs openvino")),
        ("model.safetensors", ("--precision", "bfloat16"), "cpu in bfloat16", 0.9),
    ],
)  # fmt: skip
def test_each_engine_gives_the_networks_classes_at_the_size_of_the_frames(
    folder, tmp_path, file, more, told, least
):
    _, wanted = masks(folder, folder / "model.safetensors", tmp_path / "torch")
    output, found = masks(folder, folder / file, tmp_path / "other", *more, "--batch-size", 2)
    assert f" s on {told}: " in " ".join(output.split())
    assert found.shape == wanted.shape == (3, 90, 122)
    assert len(np.unique(wanted)) > 1
    assert (found == wanted).mean() >= least


@pytest.mark.parametrize("format", FORMATS)
def test_a_program_loads_exported_files_as_it_loads_checkpoints(folder, format):
    own = weclick.load(folder / "model.safetensors", device="cpu")
    other = weclick.load(folder / FILES[format])
    assert (other.classes, other.size, other.finds_objects) == (own.classes, own.size, False)
    (wanted,), (found,) = ([*each.predict(smooth(1))] for each in (own, other))
    assert (found.class_ids == wanted.class_ids).mean() >= (0.6 if format == "int8" else 0.99)
    with pytest.raises(InputError, match="runs on the processor, but device is 'cuda'; give auto or cpu"):
        weclick.load(folder / FILES[format], device="cuda")


def test_a_program_asks_for_a_precision(folder):
    image = smooth(1)[0]
    single, half = (
        weclick.load(folder / "model.safetensors", device="cpu", precision=each).predict(image)
        for each in ("float32", "bfloat16")
    )
    assert (single.probabilities() != half.probabilities()).any()
    assert (single.class_ids == half.class_ids).mean() > 0.9
    with pytest.raises(InputError, match="precision is 'int8', expected float32 or bfloat16"):
        weclick.load(folder / "model.safetensors", device="cpu", precision="int8")
    with pytest.raises(InputError, match="an ONNX file says itself what it computes in"):
        weclick.load(folder / "model.onnx", precision="bfloat16")


def test_an_exported_file_is_fed_at_the_size_that_the_network_has_learned_from(folder):
    """Its logits are those of torch at half the size; at the whole size they would be others."""
    image = smooth(1)[0]
    segmenter = Segmenter(exported_engine(folder / "model.onnx"), folder / "model.onnx", "cpu")
    (seen,) = segmenter([("0", image)])
    assert seen.coarse.shape == (3, 45, 61)
    model, card = load_model(folder / "model.safetensors")
    (own,) = Segmenter(torch_engine(model, card, folder, "cpu"), folder, "cpu")([("0", image)])
    grown = torch.nn.functional.interpolate(own.coarse[None], size=(45, 61), mode="bilinear")[0]
    torch.testing.assert_close(seen.coarse, grown, atol=1e-4, rtol=1e-4)


def test_bfloat16_rounds_and_float32_does_not(folder):
    model, card = load_model(folder / "model.safetensors")
    images = smooth(1, (45, 61))
    single = torch_engine(model, card, folder, "cpu", "float32").logits(images, [])
    half = torch_engine(model, card, folder, "cpu", "bfloat16").logits(images, [])
    assert half.dtype == single.dtype == torch.float32
    assert torch.equal(single, torch_engine(model, card, folder, "cpu").logits(images, []))
    assert 0 < (half - single).abs().max() < 0.05 * single.abs().max()


@pytest.mark.parametrize("format", [each for each in FORMATS if each != "int8"])
def test_a_network_that_looks_at_flow_runs_from_its_exported_file(tmp_path, format):
    pytest.importorskip("onnxscript", reason="ONNX needs the extra [export]")
    torch.manual_seed(1)
    motion = Motion(StackOptions(3, -1), {"name": "dis"}, 2)
    model = build_model("two_stream", "mobilenetv2_compact", 3, channels=16, stack_length=3)
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_bytes(model, CLASSES, motion=motion))
    export_model(path, tmp_path, formats=[format], size=(96, 128))
    clip = list(enumerate(smooth(4, (96, 128))))
    found = [read_network(tmp_path / file, "cpu")[0](clip) for file in ("model.safetensors", FILES[format])]
    for own, other in zip(*found, strict=True):
        assert (own.class_ids == other.class_ids).mean() > 0.99


def test_wrong_files_and_options_are_told(folder, tmp_path):
    with pytest.raises(MissingFileError, match=r"none\.onnx: cannot be read.*weclick export"):
        read_network(tmp_path / "none.onnx", "cpu")
    (tmp_path / "torn.onnx").write_bytes((folder / "model.onnx").read_bytes()[:1000])
    with pytest.raises(InputError, match=r"torn\.onnx: cannot be run \(.*export the network again"):
        read_network(tmp_path / "torn.onnx", "cpu")
    with pytest.raises(InputError, match=r"model\.onnx: an ONNX file says itself.*leave the precision out"):
        read_network(folder / "model.onnx", "cpu", precision="bfloat16")
    with pytest.raises(InputError, match=r"model\.onnx: its network looks at images alone; leave --flow out"):
        read_network(folder / "model.onnx", "cpu", flow=("dis", {}))
    detector = tmp_path / "model.safetensors"
    detector.write_bytes(model_bytes(build_detector("resnet18", 3, channels=16), CLASSES))
    with pytest.raises(InputError, match="is a detector, which runs in float32; leave the precision out"):
        read_network(detector, "cpu", precision="bfloat16")


def test_a_file_needs_its_runtime_alone(folder, monkeypatch):
    """Where networks run, what writes them need not be installed."""
    found = importlib.util.find_spec
    missing = {"onnx", "onnxscript"}
    monkeypatch.setattr(
        "weclick.evaluate.engines.find_spec", lambda name: None if name in missing else found(name)
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in missing else found(name))
    read_network(folder / "model.onnx", "cpu")
    missing.add("onnxruntime")
    with pytest.raises(InputError, match=r"model\.onnx: runs in onnxruntime, .*`pip install onnxruntime`"):
        read_network(folder / "model.onnx", "cpu")


def told_anew(source, target, told):
    """An ONNX file with another card."""
    import onnx

    model = onnx.load(source)
    del model.metadata_props[:]
    if told is not None:
        onnx.helper.set_model_props(model, {RT_INFO: told})
    onnx.save(model, target)
    return target


def test_cards_of_exported_files_are_checked_as_those_of_checkpoints(folder, tmp_path):
    import onnx

    (told,) = (each.value for each in onnx.load(folder / "model.onnx").metadata_props if each.key == RT_INFO)
    card = json.loads(told)
    wide = card | {"card": card["card"] | {"options": card["card"]["options"] | {"channels": 10**9}}}
    for text, fault in (
        (None, "has no card of weclick"),
        ("{", "its card cannot be read"),
        ("[]", "its card cannot be read"),
        ("{}", "its card cannot be read"),
        (json.dumps(wide), "describes no network of this version"),
        (json.dumps(card | {"card": card["card"] | {"shrink": -1}}), "describes no network of this version"),
    ):
        path = told_anew(folder / "model.onnx", tmp_path / "given.onnx", text)
        with pytest.raises(InputError, match=rf"given\.onnx: .*{fault}"):
            read_network(path, "cpu")


def test_a_file_of_a_fixed_size_says_so(tmp_path):
    pytest.importorskip("onnxscript", reason="ONNX needs the extra [export]")
    checkpoint = write_network(tmp_path / "model.safetensors", CLASSES)
    export_model(checkpoint, tmp_path, formats=["onnx"], size=(64, 96))
    network, _ = read_network(tmp_path / "model.onnx", "cpu")
    assert [each.class_ids.shape for each in network([("0", smooth(1, (64, 96))[0])])] == [(64, 96)]
    with pytest.raises(InputError, match=r"takes images of 64x96 px .* has 64x97 px .*--size 64x97"):
        list(network([("0", smooth(1, (64, 97))[0])]))


@pytest.mark.skipif(not OPENVINO, reason="needs openvino")
def test_openvino_without_its_weights_is_told(folder, tmp_path):
    shutil.copy(folder / "model.xml", tmp_path / "model.xml")
    with pytest.raises(InputError, match=r"model\.xml: cannot be run .*model\.bin is missing"):
        read_network(tmp_path / "model.xml", "cpu")
