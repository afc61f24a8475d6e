"""Predictions of images, folders and videos: real files in, real files out."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from helpers.small_network import write_network
from weclick.cli import app
from weclick.common.errors import InputError
from weclick.evaluate.apply import predict_files
from weclick.evaluate.overlay import overlay_classes
from weclick.manifest import Classes
from weclick.manifest.images import read_ids, read_image
from weclick.manifest.video import decode_video, video_info, video_writer
from weclick.models import build_classifier
from weclick.models.inference import batch_logits, fused_for_inference, predict
from weclick.store.model_file import load_model, model_bytes

CLASSES = Classes(("road", "car", "sky"), ((128, 64, 128), (0, 0, 142), (70, 130, 180)))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_network(tmp_path_factory.mktemp("network") / "model.safetensors", CLASSES)


def images(count, height=45, width=61):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (height, width, 3), np.uint8) for _ in range(count)]


def write_video(path, count, **size):
    with video_writer(path, Fraction(12)) as write:
        for image in images(count, **size):
            write(image)
    return path


def run(*arguments):
    return CliRunner().invoke(app, ["predict", *map(str, arguments), "--device", "cpu"])


def test_fused_networks_give_the_same_logits(checkpoint):
    model, _ = load_model(checkpoint)
    image = torch.from_numpy(images(1)[0]).permute(2, 0, 1)[None].float() / 64 - 2
    with torch.inference_mode():
        for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
            norm.running_mean.normal_(std=0.1)
            norm.running_var.uniform_(0.5, 2.0)
        fused = fused_for_inference(model).to(memory_format=torch.channels_last)
        assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in fused.modules())
        torch.testing.assert_close(fused(image), model(image), atol=1e-4, rtol=1e-4)


def test_files_are_predicted_by_the_fused_network(tmp_path, checkpoint, monkeypatch):
    used = []
    monkeypatch.setattr(
        "weclick.evaluate.engines.batch_logits",
        lambda model, *given, **how: (used.append(model), batch_logits(model, *given, **how))[1],
    )
    Image.fromarray(images(1)[0]).save(tmp_path / "a.png")
    predict_files(
        tmp_path / "a.png", checkpoint, tmp_path / "out", masks=True, overlay=False, opacity=0.5, device="cpu"
    )
    assert used
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in used[0].modules())


def test_masks_of_a_folder_are_the_networks(tmp_path, checkpoint):
    folder = tmp_path / "meine Bilder ü" / "clip 1"
    folder.mkdir(parents=True)
    for i, image in enumerate(images(3)):
        Image.fromarray(image).save(folder / f"{i}.png")
    done = run(folder.parent, "--checkpoint", checkpoint, "--output", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "3 frames" in done.output
    assert "car" in done.output
    model, _ = load_model(checkpoint)
    for i, image in enumerate(images(3)):
        mask = tmp_path / "out/masks/clip 1" / f"{i}.png"
        np.testing.assert_array_equal(read_ids(mask), predict(model, image).numpy())
        assert Image.open(mask).getpalette()[:9] == [128, 64, 128, 0, 0, 142, 70, 130, 180]
        shown = read_image(tmp_path / "out/overlay/clip 1" / f"{i}.jpg")
        expected = overlay_classes(image, read_ids(mask), np.array(CLASSES.palette, np.uint8), 0.5)
        assert shown.shape == image.shape
        assert np.abs(shown.astype(int) - expected).mean() < 25  # JPEG of noise
    assert not list((tmp_path / "out").rglob(".*"))


def test_a_video_becomes_a_video_of_the_same_length_and_rate(tmp_path, checkpoint):
    source = write_video(tmp_path / "a b.mp4", 7, height=45, width=61)
    done = run(source, "--checkpoint", checkpoint, "--output", tmp_path / "out")
    assert done.exit_code == 0, done.output
    info = video_info(tmp_path / "out/overlay/a b.mp4")
    assert info[:4] == (7, 46, 62, Fraction(12)), "yuv420p has even sides"
    assert len(list((tmp_path / "out/masks/a b").glob("*.png"))) == 7
    frame = next(decode_video(source))
    np.testing.assert_array_equal(
        read_ids(tmp_path / "out/masks/a b/00000.png"), predict(load_model(checkpoint)[0], frame).numpy()
    )


def test_only_what_is_asked_for_is_written(tmp_path, checkpoint):
    Image.fromarray(images(1)[0]).save(tmp_path / "one.png")
    assert run(
        tmp_path / "one.png", "--checkpoint", checkpoint, "--output", tmp_path / "m", "--save", "masks"
    )
    assert [path.name for path in (tmp_path / "m").rglob("*.*")] == ["one.png"]
    run(tmp_path / "one.png", "--checkpoint", checkpoint, "--output", tmp_path / "o", "--save", "overlay")
    assert [path.name for path in (tmp_path / "o").rglob("*.*")] == ["one.jpg"]


def test_frames_are_shrunk_as_in_training(tmp_path, checkpoint):
    model, _ = load_model(checkpoint)
    (tmp_path / "half.safetensors").write_bytes(model_bytes(model, CLASSES, shrink=2))
    assert load_model(tmp_path / "half.safetensors")[1].shrink == 2
    image = images(1, 64, 96)[0]
    Image.fromarray(image).save(tmp_path / "one.png")
    run(tmp_path / "one.png", "--checkpoint", tmp_path / "half.safetensors", "--output", tmp_path / "out")
    small = np.asarray(Image.fromarray(image).resize((48, 32), Image.Resampling.BOX))
    expected = predict(model, small, size=(64, 96)).numpy()
    np.testing.assert_array_equal(read_ids(tmp_path / "out/masks/one.png"), expected)
    assert (expected != predict(model, image).numpy()).any()


PALETTE = np.array([[0, 0, 0], [200, 100, 0]], np.uint8)


def test_opacity_mixes_frame_and_class_colour():
    image, ids = (
        np.full((3, 8, 3), 100, np.uint8),
        np.repeat([[0, 1]], 4, axis=1).repeat(3, 0).astype(np.uint8),
    )
    inside = np.s_[:, [0, 1, 2, 5, 6, 7]]  # away from the line
    for opacity, expected in ((0.0, image), (1.0, PALETTE[ids])):
        drawn = overlay_classes(image, ids, PALETTE, opacity)
        np.testing.assert_array_equal(drawn[inside], expected[inside])
    np.testing.assert_array_equal(overlay_classes(image, ids, PALETTE, 0.5)[0, 7], [150, 100, 50])


@pytest.mark.parametrize("opacity", [0.0, 0.5, 1.0])
def test_a_line_in_a_light_tone_runs_along_both_sides_of_an_edge(opacity):
    image, ids = np.zeros((4, 8, 3), np.uint8), np.zeros((4, 8), np.uint8)
    ids[:, 4:] = 1
    drawn = overlay_classes(image, ids, PALETTE, opacity)
    assert (drawn[:, 3] == [153, 153, 153]).all()
    assert (drawn[:, 4] == [233, 193, 153]).all()
    assert not drawn[:, :3].any()
    one_class = overlay_classes(image, np.ones_like(ids), PALETTE, opacity)
    assert (one_class == one_class[0, 0]).all()


def test_what_is_no_class_stays_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    ids = np.full((6, 6), 255, np.uint8)
    ids[2:4, 2:4] = 1
    drawn = overlay_classes(image, ids, PALETTE, 0.5)
    np.testing.assert_array_equal(drawn[ids == 255], image[ids == 255])
    assert (drawn[ids == 1] == [233, 193, 153]).all()


def test_a_broken_video_leaves_no_half_video(tmp_path, checkpoint):
    whole = write_video(tmp_path / "whole.mp4", 6).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut\.mp4: cannot be"):
        predict_files(
            tmp_path / "cut.mp4",
            checkpoint,
            tmp_path / "out",
            masks=False,
            overlay=True,
            opacity=0.5,
            device="cpu",
        )
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_a_video_keeps_its_size(tmp_path):
    with (  # noqa: PT012  (the file is closed inside)
        pytest.raises(ValueError, match=r"a frame is 16x16 px \(HxW\), but the video began with 32x32"),
        video_writer(tmp_path / "v.mp4", Fraction(5)) as write,
    ):
        write(images(1, 32, 32)[0])
        write(images(1, 16, 16)[0])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: None, r"source: there is no such file or folder; give an image"),
        (lambda path: path.mkdir(), r"source: holds no image \(\.png"),
        (lambda path: path.write_text("no video"), r"source: cannot be opened as a video"),
    ],
)
def test_sources_without_frames_are_told(tmp_path, checkpoint, make, told):
    make(tmp_path / "source")
    with pytest.raises((ValueError, FileNotFoundError), match=told):
        predict_files(
            tmp_path / "source",
            checkpoint,
            tmp_path / "out",
            masks=True,
            overlay=True,
            opacity=0.5,
            device="cpu",
        )
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_that_is_none_is_told(tmp_path):
    Image.fromarray(images(1)[0]).save(tmp_path / "one.png")
    done = run(tmp_path / "one.png", "--checkpoint", tmp_path / "one.png", "--output", tmp_path / "out")
    assert "cannot be read as a .safetensors checkpoint" in str(done.exception)


def test_frames_that_differ_only_in_suffix_keep_apart(tmp_path, checkpoint):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "a.jpg"):
        Image.fromarray(images(1)[0]).save(tmp_path / "in" / name)
    run(tmp_path / "in", "--checkpoint", checkpoint, "--output", tmp_path / "out", "--save", "masks")
    assert sorted(path.name for path in (tmp_path / "out/masks").iterdir()) == ["a.jpg.png", "a.png.png"]


def test_a_classifier_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    net = build_classifier("mobilenetv2_compact", 2)
    path.write_bytes(model_bytes(net, Classes(("ground", "car"), ((0, 0, 0), (9, 9, 9)))))
    Image.new("RGB", (32, 32)).save(tmp_path / "frame.png")
    wanted = {"masks": True, "overlay": False, "opacity": 0.5, "device": "cpu"}
    with pytest.raises(InputError, match=r"whose maps are no class maps; give .*, student or detector"):
        predict_files(tmp_path / "frame.png", path, tmp_path / "out", **wanted)


def test_the_help_names_the_extra_in_brackets():
    told = " ".join(CliRunner().invoke(app, ["predict", "--help"], env={"COLUMNS": "200"}).output.split())
    assert "needs the extra [crf]." in told
