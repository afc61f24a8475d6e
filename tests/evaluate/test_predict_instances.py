"""Predictions of detectors: files that readers of COCO and YouTube-VIS take, overlays, and tracks."""

import json
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from typer.testing import CliRunner

from helpers.found_instances import Bright, untrained
from weclick.cli import app
from weclick.common.bounded_json import parse_json
from weclick.common.errors import InputError
from weclick.evaluate import answers
from weclick.evaluate.apply import predict_files
from weclick.evaluate.instances.detecting import detect
from weclick.manifest import Classes
from weclick.manifest.images import read_image
from weclick.manifest.video import decode_video, video_info, video_writer
from weclick.proxy_labels import read_coco_json, read_youtube_vis_json
from weclick.store.model_file import ModelCard, load_model, model_bytes

CLASSES = Classes(("road", "person", "car"), ((128, 64, 128), (220, 20, 60), (0, 0, 142)))
SIZE = (64, 96)


def frame(*squares):
    """Squares (channel, y, x) of 20 px on textured grey."""
    image = np.random.default_rng(0).integers(20, 60, (*SIZE, 3), np.uint8)
    for channel, y, x in squares:
        image[y : y + 20, x : x + 20, channel] = 255
    return image


@pytest.fixture
def bright(monkeypatch):
    """Checkpoints hold a detector that calls each channel's bright pixels an object."""

    def load(path, device, **how):
        return Bright().eval(), ModelCard({"architecture": "detector"}, CLASSES)

    monkeypatch.setattr(answers, "load_model", load)


def predicted(source, folder, **how):
    how = {"masks": True, "overlay": True, "opacity": 0.5, "device": "cpu"} | how
    return predict_files(source, source, folder, **how)


def read(path):
    return parse_json(path.read_bytes())


@pytest.mark.usefixtures("bright")
def test_images_become_annotations_with_scores(tmp_path):
    (tmp_path / "in").mkdir()
    Image.fromarray(frame((0, 4, 4), (1, 30, 50))).save(tmp_path / "in/a.png")
    Image.fromarray(frame((2, 10, 10))).save(tmp_path / "in/b.png")
    done = predicted(tmp_path / "in", tmp_path / "out")
    assert done.frames == 2
    assert done.instances.tolist() == [1, 1, 0], "the third has a score of 0.3"
    assert done.share[1] == pytest.approx(400 / (2 * 64 * 96))
    images, names = read_coco_json(read(tmp_path / "out/instances.json"))
    assert names == CLASSES.names
    first, second = images
    assert (first.file_name, first.class_ids, second.class_ids) == ("a", (0, 1), (2,))
    assert first.scores == pytest.approx((0.9, 0.7))
    assert first.masks()[1, 30:50, 50:70].all()
    coco = COCO(str(tmp_path / "out/instances.json"))
    assert coco.loadAnns([2])[0]["bbox"] == [50, 30, 20, 20]
    assert coco.loadCats([2])[0]["name"] == "person"
    assert not (tmp_path / "out/tracks.json").exists()
    assert not (tmp_path / "out/masks").exists()
    drawn = read_image(tmp_path / "out/overlay/a.jpg").astype(int)
    assert (
        np.abs(drawn[45, 55] - (0.5 * frame((1, 30, 50))[45, 55] + 0.5 * np.array([86, 180, 233]))).max() < 40
    )
    assert np.abs(read_image(tmp_path / "out/overlay/b.jpg").astype(int) - frame((2, 10, 10))).mean() < 12


@pytest.mark.usefixtures("bright")
def test_a_video_has_tracks(tmp_path):
    source = tmp_path / "street.mp4"
    with video_writer(source, Fraction(10)) as write:
        for t in range(6):
            write(frame((0, 4, 2 + 6 * t), (1, 40, 60 - 3 * t)))
    done = predicted(source, tmp_path / "out")
    assert done.frames == 6
    (video,), names = read_youtube_vis_json(read(tmp_path / "out/tracks.json"))
    assert names == CLASSES.names
    assert video.file_names[0] == "street/00000"
    assert sorted(track.class_id for track in video.tracks) == [0, 1]
    assert all(None not in track.codes for track in video.tracks)
    info = video_info(tmp_path / "out/overlay/street.mp4")
    assert (info.frames, info.rate) == (6, 10)
    shown = list(decode_video(tmp_path / "out/overlay/street.mp4"))
    assert np.abs(shown[5].astype(int) - shown[5][0, 0]).max() > 60
    assert len(read(tmp_path / "out/instances.json")["images"]) == 6


@pytest.mark.usefixtures("bright")
def test_a_folder_of_frames_has_tracks_if_flow_is_named(tmp_path):
    (tmp_path / "in").mkdir()
    for t in (2, 10, 1):
        Image.fromarray(frame((0, 4, 4 * t))).save(tmp_path / f"in/{t}.png")
    predicted(tmp_path / "in", tmp_path / "plain")
    assert not (tmp_path / "plain/tracks.json").exists()
    predicted(tmp_path / "in", tmp_path / "out", flow=("dis", {}))
    (video,), _ = read_youtube_vis_json(read(tmp_path / "out/tracks.json"))
    assert video.file_names == ("1", "2", "10")


@pytest.mark.usefixtures("bright")
def test_what_is_asked_for_is_written_and_ones_own_is_replaced(tmp_path):
    Image.fromarray(frame((0, 4, 4))).save(tmp_path / "a.png")
    predicted(tmp_path / "a.png", tmp_path / "m", overlay=False)
    assert [path.name for path in (tmp_path / "m").rglob("*.*")] == ["instances.json"]
    predicted(tmp_path / "a.png", tmp_path / "m", overlay=False)
    predicted(tmp_path / "a.png", tmp_path / "o", masks=False)
    assert [path.name for path in (tmp_path / "o").rglob("*.*")] == ["a.jpg"]
    (tmp_path / "o/instances.json").write_text('{"images": []}')
    with pytest.raises(InputError, match=r"instances\.json: would be replaced, but predict did not write it"):
        predicted(tmp_path / "a.png", tmp_path / "o")


@pytest.mark.usefixtures("bright")
def test_nothing_found_is_written_too(tmp_path):
    Image.fromarray(frame()).save(tmp_path / "a.png")
    done = predicted(tmp_path / "a.png", tmp_path / "out", min_score=0.99)
    assert done.instances.tolist() == [0, 0, 0]
    assert done.share.tolist() == [0, 0, 0]
    assert read(tmp_path / "out/instances.json")["annotations"] == []


@pytest.mark.usefixtures("bright")
def test_a_crf_is_refused(tmp_path):
    pytest.importorskip("pydensecrf")
    Image.fromarray(frame()).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="is a detector, whose masks get no CRF; leave --crf out"):
        predicted(tmp_path / "a.png", tmp_path / "out", crf="irn")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "model.safetensors"
    path.write_bytes(model_bytes(untrained(3), CLASSES, shrink=2))
    return path


def test_a_checkpoint_predicts_from_the_shell(tmp_path, checkpoint):
    Image.fromarray(frame((0, 4, 4))).save(tmp_path / "a.png")
    given = ["predict", tmp_path / "a.png", "--checkpoint", checkpoint, "--output", tmp_path / "out"]
    done = CliRunner().invoke(app, [*map(str, given), "--device", "cpu", "--min-score", "0"])
    assert done.exit_code == 0, done.output
    assert "objects" in done.output
    (image,), _ = read_coco_json(read(tmp_path / "out/instances.json"))
    model, card = load_model(checkpoint, architectures=None)
    small = np.asarray(Image.fromarray(frame((0, 4, 4))).resize((48, 32), Image.Resampling.BOX))
    expected = detect(model, small, size=SIZE)
    assert card.shrink == 2
    assert image.size == SIZE
    assert len(image.codes) == len(expected.masks) == 5
    np.testing.assert_array_equal(image.masks(), expected.masks)
    assert image.scores == pytest.approx(tuple(expected.scores))


def test_written_json_has_the_mark_first(tmp_path, checkpoint):
    Image.fromarray(frame()).save(tmp_path / "a.png")
    predict_files(
        tmp_path / "a.png", checkpoint, tmp_path / "out", masks=True, overlay=False, opacity=0.5, device="cpu"
    )
    text = (tmp_path / "out/instances.json").read_text()
    assert text.startswith('{"info": {"description": "made by weclick predict"}')
    assert json.loads(text)["categories"][0] == {"id": 1, "name": "road"}
