"""The Python interface on a run of the tiny street, and the pages that show it."""

import doctest
import importlib
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import weclick
from helpers.api_run import make_api_run
from helpers.found_instances import untrained
from helpers.places import ROOT
from weclick.common.bounded_json import parse_json
from weclick.evaluate.apply import predict_files
from weclick.geometry import StackOptions
from weclick.manifest import Classes
from weclick.manifest.images import read_ids, read_image
from weclick.manifest.video import video_info
from weclick.manifest.video_stream import timed_frames
from weclick.models import build_classifier, build_model
from weclick.proxy_labels import read_coco_json
from weclick.store.model_file import Motion, load_model, model_bytes

CLASSES = Classes(("road", "person", "car"), ((128, 64, 128), (220, 20, 60), (0, 0, 142)))
STUDENT = "results/student/model.safetensors"


@pytest.fixture(scope="module")
def folder(street, tmp_path_factory):
    return make_api_run(street, tmp_path_factory.mktemp("user"))


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="module")
def student(folder):
    return weclick.load(folder / "results/student", device="cpu")


@pytest.fixture(scope="module")
def frames(folder):
    return [read_image(path) for path in sorted((folder / "frames").iterdir())]


def predicted(checkpoint, source, out, **how):
    """What `weclick predict` writes for a source."""
    how = {"masks": True, "overlay": False, "opacity": 0.5, "device": "cpu"} | how
    predict_files(source, checkpoint, out, **how)
    return [read_ids(path) for path in sorted((out / "masks").rglob("*.png"))]


def test_nothing_heavy_is_loaded_by_the_import():
    code = (
        "import sys, weclick; before = set(sys.modules); shown = dir(weclick); "
        "print(*sys.modules); assert 'load' in shown"
    )
    loaded = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True).stdout
    assert not {"torch", "numpy", "zarr", "av", "cv2", "scipy"} & set(loaded.split())


def test_all_names_are_there_and_no_other():
    for name in weclick.__all__:
        assert getattr(weclick, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        weclick.lod  # noqa: B018


def test_a_student_tells_what_it_is(student, folder):
    model, card = load_model(folder / STUDENT)
    assert student.classes == card.classes.names
    assert student.palette.tolist() == [list(color) for color in card.classes.palette]
    assert student.size == (sum(p.numel() for p in model.parameters()), 1, model.stride)
    assert not student.finds_objects
    assert repr(student) == f"<weclick.Model deeplabv3plus, 9 classes, {student.size.parameters} parameters>"


def test_a_folder_is_predicted_as_the_verb_does(student, folder, tmp_path):
    written = predicted(folder / STUDENT, folder / "frames", tmp_path)
    seen = list(student.predict(folder / "frames"))
    assert [each.name for each in seen] == ["00000", "00001", "00002", "00003"]
    for each, ids in zip(seen, written, strict=True):
        np.testing.assert_array_equal(each.class_ids, ids)
    assert len(np.unique(written)) > 1, "else any network would do"


def test_a_video_is_predicted_as_the_verb_does_and_frame_by_frame(student, folder, tmp_path, monkeypatch):
    written = predicted(folder / STUDENT, folder / "street.mp4", tmp_path)
    rate = float(video_info(folder / "street.mp4").rate)
    decoded = []

    def watched(path):
        for frame in timed_frames(path):
            decoded.append(path)
            yield frame

    monkeypatch.setattr("weclick.evaluate.reading.timed_frames", watched)
    seen = student.predict(str(folder / "street.mp4"))
    assert not decoded, "nothing is read before it is asked for"
    for t, each in enumerate(seen):
        assert len(decoded) == t + 1
        assert (each.name, each.time_s) == (f"street/{t:05d}", pytest.approx(t / rate))
        np.testing.assert_array_equal(each.class_ids, written[t])
    assert len(decoded) == len(written) == 4


def test_arrays_tensors_and_generators_give_the_same(student, frames):
    one = student.predict(frames[0])
    assert (one.name, one.class_ids.dtype, one.class_ids.shape) == ("00000", np.uint8, (64, 96))
    several = student.predict(frames)
    assert isinstance(several, list)
    tensors = student.predict(tuple(torch.tensor(image).permute(2, 0, 1) for image in frames))
    taken = []
    streamed = student.predict(taken.append(t) or torch.tensor(image) for t, image in enumerate(frames))
    for t, each in enumerate(streamed):
        assert taken == [*range(t + 1)]
        for other in (several[t], tensors[t]):
            assert other.name == each.name == f"{t:05d}"
            np.testing.assert_array_equal(other.class_ids, each.class_ids)
            np.testing.assert_array_equal(other.image, frames[t])
    np.testing.assert_array_equal(several[0].class_ids, one.class_ids)


def test_a_buffer_may_be_filled_again(student, frames):
    def filled():
        buffer = np.empty_like(frames[0])
        for image in frames:
            buffer[:] = image
            yield buffer

    for each, image in zip(list(student.predict(filled())), frames, strict=True):
        np.testing.assert_array_equal(each.image, image)


def test_probabilities_and_overlay_come_when_asked_for(student, frames, folder, tmp_path):
    seen = student.predict(frames[0])
    probabilities = seen.probabilities()
    assert (probabilities.shape, probabilities.dtype) == ((9, 64, 96), np.float32)
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(0), seen.class_ids)
    assert seen.objects == ()
    predicted(folder / STUDENT, folder / "frames/00000.png", tmp_path, overlay=True)
    drawn = read_image(tmp_path / "overlay/00000.jpg").astype(int)
    assert np.abs(seen.overlay() - drawn).mean() < 8, "but for JPEG"
    assert (seen.overlay(1.0) != seen.overlay(0.0)).any()
    with pytest.raises(weclick.InputError, match=r"opacity is 2, expected 0 to 1"):
        seen.overlay(2)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (np.zeros((4, 6, 3)), r"the image: is float64 of shape \(4, 6, 3\), expected uint8.*255 \* image"),
        (np.zeros((4, 6), np.uint8), r"of shape \(4, 6\), expected uint8 .*numpy\.repeat"),
        (np.zeros((4, 6, 4), np.uint8), r"of shape \(4, 6, 4\), .*leave alpha out"),
        (np.zeros((2, 4, 6, 3), np.uint8), r"of shape \(2, 4, 6, 3\), .*give list\(frames\)"),
        (np.zeros((0, 6, 3), np.uint8), r"of shape \(0, 6, 3\)"),
        (np.broadcast_to(np.uint8(0), (9000, 9000, 3)), r"the image: its header says 9000x9000 px"),
        (torch.zeros(3, 4, 6), r"is float32 of shape \(4, 6, 3\)"),
        ([Image.new("RGB", (6, 4))], r"frame 0: is a Image, .*numpy\.asarray"),
        ([np.zeros((4, 6, 3), np.uint8), None], r"frame 1: is a NoneType, expected an array"),
        (7, r"a int cannot be predicted; expected an image"),
        ("no_such.mp4", r"no_such\.mp4: there is no such file or folder"),
    ],
)
def test_what_is_no_image_gives_one_clear_error(student, given, told):
    with pytest.raises(weclick.InputError, match=told):
        student.predict(given)


def test_what_does_not_fit_the_network_is_told(student, frames):
    with pytest.raises(weclick.InputError, match="min_score is of detectors"):
        student.predict(frames[0], min_score=0.3)
    for device, told in (("gpu", "device is 'gpu', expected auto"), ("cuda:99", "torch finds . GPUs")):
        with pytest.raises(weclick.InputError, match=told):
            weclick.load(student.path, device=device)
    with pytest.raises(weclick.InputError, match="looks at images alone"):
        weclick.load(student.path, device="cpu", flow="dis")


def test_other_files_are_no_networks(folder, tmp_path):
    with pytest.raises(weclick.InputError, match=r"nothing\.safetensors: .*no such"):
        weclick.load(tmp_path / "nothing.safetensors")
    with pytest.raises(weclick.InputError, match=r"00000\.png: cannot be read as a \.safetensors"):
        weclick.load(folder / "frames/00000.png", device="cpu")
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_bytes(build_classifier("mobilenetv2_compact", 3), CLASSES))
    with pytest.raises(weclick.InputError, match="architecture classifier, expected deeplabv3plus or"):
        weclick.load(tmp_path, device="cpu")


def test_a_network_of_two_streams_sees_the_motion_between_frames(folder, frames, tmp_path):
    torch.manual_seed(0)
    model = build_model(
        "two_stream", "mobilenetv2_compact", 3, channels=8, head_norm="group", stack_length=2, dropout=0
    )
    motion = Motion(StackOptions(length=2, first=-1, scale_px=4), {"name": "dis"}, 4)
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_bytes(model, CLASSES, motion=motion))
    two = weclick.load(path, device="cpu")
    written = predicted(path, folder / "frames", tmp_path / "out")
    for given in (folder / "frames", frames, iter(frames)):
        for each, ids in zip(two.predict(given), written, strict=True):
            np.testing.assert_array_equal(each.class_ids, ids)
    still = two.predict(frames[1])
    assert np.abs(still.probabilities() - two.predict(frames)[1].probabilities()).max() > 0
    with pytest.raises(
        weclick.InputError, match=r"frame 1: is 32x96 px \(HxW\), but the clip began with 64x96"
    ):
        two.predict([frames[0], frames[1][:32]])


def test_a_detector_gives_objects_as_the_verb_does(folder, frames, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_bytes(untrained(3), CLASSES, shrink=2))
    detector = weclick.load(path, device="cpu")
    assert detector.finds_objects
    assert (detector.size.shrink, detector.size.stride_px) == (2, 8)
    predict_files(
        folder / "frames", path, tmp_path / "out", masks=True, overlay=False, opacity=0.5, device="cpu"
    )
    images, _ = read_coco_json(parse_json((tmp_path / "out/instances.json").read_bytes()))
    seen = list(detector.predict(folder / "frames", min_score=0))
    for each, written in zip(seen, images, strict=True):
        assert each.name == written.file_name
        assert [o.class_id for o in each.objects] == list(written.class_ids)
        assert [o.class_name for o in each.objects] == [CLASSES.names[k] for k in written.class_ids]
        np.testing.assert_array_equal([o.mask for o in each.objects], written.masks())
        surest = each.objects[0]
        assert (each.class_ids[surest.mask] == surest.class_id).all()
        assert (each.overlay() != each.image).any()
    assert not detector.predict(frames[0], min_score=1).objects
    assert (detector.predict(frames[0], min_score=1).class_ids == 255).all()
    with pytest.raises(weclick.InputError, match="a detector gives no probabilities"):
        seen[0].probabilities()
    with pytest.raises(weclick.InputError, match="min_score is 2, expected 0 to 1"):
        detector.predict(frames[0], min_score=2)
    with pytest.raises(weclick.InputError, match=r"is a detector, .* leave flow out"):
        weclick.load(path, device="cpu", flow="dis")


def test_a_clip_of_the_cache_is_predicted(here, student):
    clips = weclick.open_cache("store").clips("results/frames/train")
    frames = next(iter(clips.values()))
    seen = student.predict(frames)
    assert len(seen) == 4
    np.testing.assert_array_equal(seen[2].class_ids, student.predict(frames[2]).class_ids)


@pytest.mark.usefixtures("here")
def test_experiments_are_records(folder):
    found = weclick.experiments()
    assert len(found.trials) == 2 * 4 * 3
    (row,) = [r for r in found.trials if (r["data"], r["arm"], r["seed"]) == ("davis", "clicks_same_time", 1)]
    assert (row["experiment"], row["miou"], row["clicks"], row["steps"]) == ("invented", None, 56, 160)
    raw = json.loads((folder / "results/experiment/invented/summary.json").read_text(encoding="utf-8"))
    told = raw["results"]["streets"]["differences"][0]
    (row,) = [
        r
        for r in found.differences
        if (r["data"], r["of"], r["minus"], r["score"]) == ("streets", "kd", "clicks", "miou")
    ][:1]
    assert {name: row[name] for name in ("n", "mean", "spread", "low", "high")} == {
        name: told["miou"][name] for name in ("n", "mean", "spread", "low", "high")
    }
    assert row["seeds_needed"] == told["seeds_needed"]
    scores = {"click_accuracy", "miou", "temporal_consistency"}
    assert {r["score"] for r in found.differences} == scores
    assert weclick.experiments("results/experiment/invented/summary.json") == found
    with pytest.raises(weclick.InputError, match=r"store: holds no experiment"):
        weclick.experiments("store")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", ["cache", "entries", "images", "network", "prediction", "records"])
def test_examples_in_docstrings_hold(name):
    module = importlib.import_module(f"weclick.runs.api.{name}")
    found = [test for test in doctest.DocTestFinder(exclude_empty=True).find(module) if test.examples]
    assert found or name in ("entries", "prediction")
    told: list[str] = []
    runner = doctest.DocTestRunner(verbose=False)
    for test in found:
        runner.run(test, out=told.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(told)


@pytest.mark.usefixtures("here")
def test_the_examples_of_the_page_run():
    text = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(blocks) >= 4
    space: dict[str, object] = {}
    for block in blocks:
        exec(block, space)
    assert isinstance(space["model"], weclick.Model)
    assert isinstance(space["cache"], weclick.Cache)


@pytest.mark.usefixtures("here")
def test_the_notebook_runs_cell_by_cell(capsys):
    book = json.loads((ROOT / "docs/python.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]
    assert book["nbformat"] == 4
    assert all(not cell.get("outputs") for cell in book["cells"])
    space: dict[str, object] = {}
    for cell in cells:
        exec(cell, space)
    assert "road" in capsys.readouterr().out
    assert space["overlay"].shape == (64, 96, 3)
