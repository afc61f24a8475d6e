"""Soft labels from an ONNX file: weclick's own export, and networks of other tools."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from weclick.common.config import complete_config
from weclick.common.errors import InputError, MissingFileError
from weclick.common.schemas import schema_fault
from weclick.evaluate.export import export_model
from weclick.manifest.read import read_clip
from weclick.proxy_labels import onnx_graph
from weclick.proxy_labels.soft_labels import compute_soft_labels
from weclick.runs.label_source import label_source
from weclick.runs.plan.probe import plausible_teacher
from weclick.store import Store, decode_soft_labels

onnx = pytest.importorskip("onnx", reason="ONNX needs the extra [export]")
pytest.importorskip("onnxruntime", reason="ONNX needs the extra [export]")
pytest.importorskip("onnxscript", reason="ONNX needs the extra [export]")


@pytest.fixture(scope="module")
def exported(street, tmp_path_factory) -> Path:
    """A folder with a teacher, and the ONNX file that weclick makes of it."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "teacher.safetensors").write_bytes(plausible_teacher(street.config, street.train))
    export_model(folder / "teacher.safetensors", folder, formats=("onnx",))
    return folder


def source_of(street, path: Path, **options):
    config = complete_config({"soft_labels": {"source": "onnx", "onnx": {"path": str(path), **options}}})
    return label_source(config, street.train.classes.names, ())


def stored_by(street, source, store: Store, codec: str = "root6"):
    """Entry and stored values (T, C, h, w) of the first clip."""
    keys = compute_soft_labels(street.train, source, chunk_px=16, store=store, codec=codec)
    entry = store.get("soft_labels", keys[street.train.clips[0].id])
    array = entry.array("probabilities")
    return entry, np.stack([array[t] for t in range(len(array))])


def write_net(path: Path, *, channels: int = 9, stride: int = 4, size=None, tail=()) -> Path:
    """A network of one convolution; `tail` are nodes that change "cells" to "out"."""
    make = onnx.helper
    rng = np.random.default_rng(0)
    weights = rng.normal(0, 0.05, (channels, 3, stride, stride)).astype(np.float32)
    nodes = [make.make_node("Conv", ["rgb", "w"], ["cells" if tail else "out"], strides=[stride, stride])]
    height, width = size or ("height", "width")
    graph = make.make_graph(
        [*nodes, *tail],
        "net",
        [make.make_tensor_value_info("rgb", onnx.TensorProto.FLOAT, [1, 3, height, width])],
        [make.make_empty_tensor_value_info("out")],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def test_weclick_s_own_export_gives_the_labels_of_its_network_within_a_step(street, exported, tmp_path):
    store = Store([tmp_path])
    _, own = stored_by(street, exported / "teacher.safetensors", store)
    entry, told = stored_by(street, source_of(street, exported / "model.onnx"), store)
    off = np.abs(own.astype(int) - told)
    assert off.max() <= 1
    assert (off > 0).mean() < 0.001, "logits differ by rounding alone"
    assert entry.attributes["stride_px"] == 4
    assert "partial" not in entry.attributes
    assert not schema_fault(dict(entry.attributes), "soft_labels")


def test_mean_and_size_are_applied_and_channels_of_one_class_add_up(street, tmp_path):
    path = write_net(tmp_path / "net.onnx", channels=10)
    names = street.train.classes.names
    source = source_of(
        street,
        path,
        classes=[*names, names[3]],
        mean=[100, 110, 120],
        std=[50, 60, 70],
        size=[128, 192],
    )
    entry, stored = stored_by(street, source, Store([tmp_path / "store"]), "float16")
    found = decode_soft_labels(torch.from_numpy(stored), entry.attributes)
    clip = street.train.clips[0]
    image = Image.fromarray(next(iter(read_clip(street.train, clip)))).resize((192, 128), 2)
    rgb = torch.tensor(np.asarray(image)).permute(2, 0, 1)[None].float()
    normal = (rgb - torch.tensor([100, 110, 120.0]).view(3, 1, 1)) / torch.tensor([50, 60, 70.0]).view(
        3, 1, 1
    )
    weights = torch.from_numpy(onnx.numpy_helper.to_array(onnx.load(path).graph.initializer[0]).copy())
    expected = torch.nn.functional.conv2d(normal, weights, stride=4).softmax(1)
    expected[:, 3] += expected[:, 9]
    whole = torch.nn.functional.interpolate(expected[:, :9], (64, 96), mode="bilinear", antialias=True)
    expected = torch.nn.functional.avg_pool2d(whole, 4)[0]
    assert found.shape[1:] == expected.shape
    torch.testing.assert_close(found[0], expected / expected.sum(0), atol=2e-3, rtol=0)


def test_where_the_network_sees_none_of_the_classes_nothing_is_taught(street, tmp_path):
    path = write_net(tmp_path / "net.onnx", channels=12)
    classes = {str(2 + i): name for i, name in enumerate(street.train.classes.names)}
    entry, stored = stored_by(street, source_of(street, path, classes=classes), Store([tmp_path / "store"]))
    assert entry.attributes["partial"]
    found = decode_soft_labels(torch.from_numpy(stored), entry.attributes)
    clip = street.train.clips[0]
    rgb = torch.tensor(next(iter(read_clip(street.train, clip)))).permute(2, 0, 1)[None].float()
    weights = torch.from_numpy(onnx.numpy_helper.to_array(onnx.load(path).graph.initializer[0]).copy())
    mass = torch.nn.functional.conv2d(rgb, weights, stride=4).softmax(1)[0, 2:11].sum(0)
    sure = (mass - 0.5).abs() > 0.01
    assert 0.02 < (mass < 0.5).float().mean() < 0.98
    assert torch.equal((found[0].sum(0) == 0)[sure], (mass < 0.5)[sure])


def test_weights_beside_the_file_are_read_and_count_in_the_key(street, exported, tmp_path):
    model = onnx.load(str(exported / "model.onnx"))
    path = tmp_path / "big.onnx"
    onnx.save_model(
        model, str(path), save_as_external_data=True, location="big.onnx.data", size_threshold=1024
    )
    clip, store = street.train.clips[0], Store([tmp_path / "store"])
    _, told = stored_by(street, source_of(street, path), store)
    _, own = stored_by(street, source_of(street, exported / "model.onnx"), store)
    np.testing.assert_array_equal(told, own)
    before = source_of(street, path).key_inputs(clip)
    assert len(before["onnx"]["sha256"]) == 2
    data = bytearray((tmp_path / "big.onnx.data").read_bytes())
    data[0] ^= 1
    (tmp_path / "big.onnx.data").write_bytes(data)
    assert source_of(street, path).key_inputs(clip) != before


def test_what_changes_the_labels_changes_the_key_and_places_do_not(street, exported, tmp_path):
    path, clip = exported / "model.onnx", street.train.clips[0]
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(path.read_bytes())
    names = list(street.train.classes.names)
    told = [
        source_of(street, path).key_inputs(clip),
        source_of(street, path, mean=[1, 0, 0]).key_inputs(clip),
        source_of(street, path, std=[1, 2, 1]).key_inputs(clip),
        source_of(street, path, size=[64, 64]).key_inputs(clip),
        source_of(street, path, classes=names[::-1]).key_inputs(clip),
        source_of(street, path, output="probabilities").key_inputs(clip),
    ]
    assert len({str(each) for each in told}) == len(told)
    assert (
        source_of(street, copy).key_inputs(clip)
        == source_of(street, path, classes=names).key_inputs(clip)
        == told[0]
    )


def resize(mode: str) -> list:
    scales = onnx.helper.make_node("Constant", [], ["s"], value_floats=[1.0, 1.0, 4.0, 4.0])
    enlarge = onnx.helper.make_node(
        "Resize", ["cells", "", "s"], ["out"], mode="linear", coordinate_transformation_mode=mode
    )
    return [scales, enlarge]


def test_only_what_is_enlarged_by_our_convention_is_taken_before(tmp_path):
    ours = onnx.load(write_net(tmp_path / "a.onnx", tail=resize("half_pixel")))
    other = onnx.load(write_net(tmp_path / "b.onnx", tail=resize("align_corners")))
    plain = onnx.load(write_net(tmp_path / "c.onnx"))
    assert [onnx_graph._before_enlarging(each) for each in (ours, other, plain)] == ["cells", None, None]


SOFTMAX = [onnx.helper.make_node("Softmax", ["cells"], ["out"], axis=1)]
ARGMAX = [onnx.helper.make_node("ArgMax", ["cells"], ["out"], axis=1, keepdims=1)]
NARROW = [onnx.helper.make_node("MaxPool", ["cells"], ["out"], kernel_shape=[1, 4], strides=[1, 4])]
SEQUENCE = [onnx.helper.make_node("SequenceConstruct", ["cells"], ["out"])]
NAN = [onnx.helper.make_node("Sqrt", ["cells"], ["out"])]


ALL = "every class"


@pytest.mark.parametrize(
    ("made", "options", "told"),
    [
        ({}, {}, "does not say what its 9 channels are; name the class of each in soft_labels"),
        ({}, {"classes": ["road"]}, "names 1 channels, but the file gives 9"),
        (
            {},
            {"classes": ["raod", *8 * [None]]},
            "names 'raod', .*; did you mean 'road'",
        ),
        ({}, {"classes": {"9": "road"}}, "names the channel '9', expected 0..8"),
        ({}, {"classes": {"0": "road"}}, "no channel stands for "),
        ({}, {"classes": ALL, "output": "probabilities"}, "which are no probabilities; set soft_labels"),
        ({"size": (64, 64)}, {"classes": ALL, "size": [32, 32]}, "size is 32x32, but .* takes 64x64 px"),
        ({"tail": ARGMAX}, {"classes": ALL}, "gives int64 of shape .* without its arg-max"),
        ({"tail": NARROW}, {"classes": ALL}, "gives 16x6 cells of an image of 64x96 px"),
        ({"tail": NAN}, {"classes": ALL}, "gives values that are not finite"),
        ({"stride": 80}, {"classes": ALL}, "cannot be run on an image of 64x96 px"),
        ({"tail": SOFTMAX}, {"classes": ALL}, "are probabilities and no logits; set soft_labels"),
        ({"tail": SEQUENCE}, {"classes": ALL}, "gives a list, expected float"),
        ({"size": (0, -1), "stride": 80}, {"classes": ALL}, "cannot be run on an image of 64x96 px"),
        ({}, {"classes": {"0": "road", "00": "car"}}, "names the channel 0 twice, the second time as '00'"),
    ],
)
def test_what_does_not_fit_is_told(street, tmp_path, made, options, told):
    if options.get("classes") == ALL:
        options = {**options, "classes": list(street.train.classes.names)}
    path = write_net(tmp_path / "net.onnx", **made)
    with pytest.raises(InputError, match=told) as error:
        stored_by(street, source_of(street, path, **options), Store([tmp_path / "store"]))
    assert "net.onnx" in str(error.value)
    assert "\n" not in str(error.value)


def test_probabilities_are_taken_as_they_are(street, tmp_path):
    names = list(street.train.classes.names)
    logits = write_net(tmp_path / "logits.onnx")
    soft = write_net(tmp_path / "soft.onnx", tail=SOFTMAX)
    _, one = stored_by(street, source_of(street, logits, classes=names), Store([tmp_path / "store"]))
    source = source_of(street, soft, classes=names, output="probabilities")
    _, other = stored_by(street, source, Store([tmp_path / "store"]))
    assert np.abs(one.astype(int) - other).max() <= 1


def test_files_that_are_no_network_are_told(street, tmp_path):
    (tmp_path / "text.onnx").write_text("hello")
    (tmp_path / "empty.onnx").write_bytes(b"")
    for name in ("text", "empty"):
        with pytest.raises(InputError, match=rf"{name}\.onnx: is no ONNX file"):
            source_of(street, tmp_path / f"{name}.onnx").key_inputs(street.train.clips[0])
    for path in (tmp_path / "gone.onnx", tmp_path):
        with pytest.raises(InputError, match=r"onnx\.path is '.*', and there is no such \.onnx file"):
            source_of(street, path)
    gone = source_of(street, tmp_path / "text.onnx")
    (tmp_path / "text.onnx").unlink()
    with pytest.raises(MissingFileError, match=r"text\.onnx: there is no such ONNX file"):
        gone.key_inputs(street.train.clips[0])


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "link.bin", "gone.bin"])
def test_weights_outside_of_the_folder_are_never_read(street, tmp_path, location):
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(9 * 3 * 16 * 4))
    (inside / "link.bin").symlink_to(tmp_path / "secret.bin")
    path = write_net(inside / "net.onnx")
    model = onnx.load(path)
    (weights,) = model.graph.initializer
    onnx.external_data_helper.set_external_data(weights, location)
    weights.ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    told = "there is no such file" if location == "gone.bin" else "outside of its folder"
    with pytest.raises(InputError, match=told):
        source_of(street, path, classes=list(street.train.classes.names)).key_inputs(street.train.clips[0])


def test_without_the_extra_it_is_named(street, exported, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else found(name)
    )
    with pytest.raises(InputError, match=r"needs onnxruntime; run `pip install 'weclick\[export\]'`"):
        source_of(street, exported / "model.onnx").key_inputs(street.train.clips[0])
