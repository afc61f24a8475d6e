"""Reading of images, labels, videos and click files: what comes out, and what is said when it cannot."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from weclick.manifest import Classes, Clip, Frame, Manifest
from weclick.manifest.click_file import read_click_file
from weclick.manifest.images import read_ids, read_image, shrunk_size
from weclick.manifest.read import read_clip, read_instances, read_label
from weclick.manifest.video import decode_video

PALETTE = ((0, 0, 0), (64, 0, 128))


def manifest_of(root: Path, label_map: dict | None = None) -> Manifest:
    classes = Classes(("background", "car"), PALETTE, label_map=label_map)
    return Manifest("made_up", str(root), "train", 0, 1, classes, ())


def save_label(root: Path, values, mode: str | None = None) -> Frame:
    image = Image.fromarray(np.asarray(values, np.uint8))
    if mode == "P":
        image.putpalette([7 * i % 256 for i in range(768)])
    image.save(root / "label.png")
    return Frame("0", 0, "0.png", label="label.png")


class TestLabels:
    @pytest.mark.parametrize("mode", [None, "P"])
    def test_values_are_ids_whatever_the_palette(self, tmp_path, mode):
        frame = save_label(tmp_path, [[0, 1], [255, 1]], mode)
        label = read_label(manifest_of(tmp_path), frame)
        assert label.dtype == np.uint8
        assert label.tolist() == [[0, 1], [255, 1]]

    def test_ids_are_mapped_and_unlisted_ones_ignored(self, tmp_path):
        frame = save_label(tmp_path, [[7, 26], [0, 254]])
        label = read_label(manifest_of(tmp_path, {"ids": {"7": 0, "26": 1}}), frame)
        assert label.tolist() == [[0, 1], [255, 255]]

    @pytest.mark.parametrize("label_map", [None, {"ids": {"0": 0, "1": 1}}])
    def test_the_values_of_a_sound_label_are_not_sorted_out(self, tmp_path, label_map, monkeypatch):
        """That takes several times as long as all other checks, at 1024x2048 px."""
        frame = save_label(tmp_path, [[0, 1], [255, 1]])
        for slow in ("unique", "setdiff1d", "bincount"):
            monkeypatch.setattr(np, slow, None)
        assert read_label(manifest_of(tmp_path, label_map), frame).tolist() == [[0, 1], [255, 1]]

    def test_ids_of_16_bits_are_mapped_or_refused(self, tmp_path):
        frame = Frame("0", 0, "0.png", label="label.png")
        manifest = manifest_of(tmp_path, {"ids": {"700": 1}})
        Image.fromarray(np.array([[700, 65535]], np.uint16)).save(tmp_path / "label.png")
        assert read_label(manifest, frame).tolist() == [[1, 255]]
        Image.fromarray(np.array([[701, 0]], np.uint16)).save(tmp_path / "label.png")
        with pytest.raises(
            ValueError, match=r"holds values \[701\], and none of the data set's \(700\.\.700\)"
        ):
            read_label(manifest, frame)

    def test_colours_are_mapped(self, tmp_path):
        frame = save_label(tmp_path, [[[0, 0, 0], [64, 0, 128]], [[64, 0, 129], [64, 0, 128]]])
        label = read_label(manifest_of(tmp_path, {"colors": {"0,0,0": 0, "64,0,128": 1}}), frame)
        assert label.tolist() == [[0, 1], [255, 1]]

    def test_instances_keep_16_bits(self, tmp_path):
        Image.fromarray(np.array([[26001, 7]], np.uint16)).save(tmp_path / "i.png")
        frame = Frame("0", 0, "0.png", instances="i.png")
        instances = read_instances(manifest_of(tmp_path), frame)
        assert (instances.dtype, instances.tolist()) == (np.int32, [[26001, 7]])
        assert read_instances(manifest_of(tmp_path), Frame("0", 0, "0.png")) is None

    def test_strange_values_are_named(self, tmp_path):
        frame = save_label(tmp_path, [[0, 1], [2, 77]])
        with pytest.raises(
            ValueError, match=r"label.png: holds values \[2, 77\], expected class ids 0..1 or 255"
        ):
            read_label(manifest_of(tmp_path), frame)

    def test_colours_where_ids_are_expected(self, tmp_path):
        frame = save_label(tmp_path, np.zeros((2, 2, 3)))
        with pytest.raises(ValueError, match="holds RGB colours, but labels of made_up are class ids"):
            read_label(manifest_of(tmp_path, {"ids": {"0": 0}}), frame)

    def test_ids_where_colours_are_expected(self, tmp_path):
        frame = save_label(tmp_path, np.zeros((2, 2)))
        with pytest.raises(
            ValueError, match="holds grey or palette values, but labels of made_up are colours"
        ):
            read_label(manifest_of(tmp_path, {"colors": {"0,0,0": 0}}), frame)

    def test_a_jpeg_is_no_label_whatever_its_ending(self, tmp_path):
        Image.fromarray(np.ones((8, 8), np.uint8)).save(tmp_path / "label.png", "JPEG")
        with pytest.raises(ValueError, match="it is a JPEG whatever its ending, which changes values"):
            read_ids(tmp_path / "label.png")

    def test_a_frame_without_label(self, tmp_path):
        with pytest.raises(ValueError, match="frame 0 of train has no label file"):
            read_label(manifest_of(tmp_path), Frame("0", 0, "0.png"))


class TestImages:
    def test_grey_becomes_rgb(self, tmp_path):
        Image.fromarray(np.full((2, 3), 9, np.uint8)).save(tmp_path / "0.png")
        image = read_image(tmp_path / "0.png")
        assert (image.shape, image.dtype, image.max()) == ((2, 3, 3), np.uint8, 9)

    def test_a_missing_or_broken_file_is_named(self, tmp_path):
        with pytest.raises(ValueError, match=r"0.png: cannot be read as an image .* restore the file"):
            read_image(tmp_path / "0.png")
        noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "1.png")
        whole = (tmp_path / "1.png").read_bytes()
        (tmp_path / "1.png").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ValueError, match=r"1.png: cannot be read as an image .* restore the file"):
            read_image(tmp_path / "1.png")

    def test_frames_of_a_clip_have_one_size(self, tmp_path):
        for name, size in (("0", (4, 6)), ("1", (4, 7))):
            Image.fromarray(np.zeros((*size, 3), np.uint8)).save(tmp_path / f"{name}.png")
        frames = tuple(Frame(name, int(name), f"{name}.png") for name in "01")
        with pytest.raises(
            ValueError, match=r"1.png: frame 1 is 4x7 px \(HxW\), but its clip c began with 4x6"
        ):
            list(read_clip(manifest_of(tmp_path), Clip("c", frames, height_px=4, width_px=6)))


class TestVideo:
    @pytest.fixture
    def video(self, tmp_path) -> Path:
        path = tmp_path / "clip.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=24)
            stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
            for i in range(8):
                image = np.full((32, 48, 3), 30 * i, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
        return path

    def clip(self, *positions: int) -> Clip:
        frames = tuple(Frame(f"{i:05d}", i, "clip.mp4", video_frame=i) for i in positions)
        return Clip("clip", frames, height_px=32, width_px=48)

    def test_decodes_in_order(self, video):
        grey = [image.mean() for image in decode_video(video)]
        np.testing.assert_allclose(grey, np.arange(8) * 30, atol=3)

    def test_gives_only_the_frames_of_the_clip(self, video):
        images = list(read_clip(manifest_of(video.parent), self.clip(1, 2, 6)))
        assert all(image.shape == (32, 48, 3) and image.dtype == np.uint8 for image in images)
        np.testing.assert_allclose([image.mean() for image in images], [30, 60, 180], atol=3)

    def test_a_video_that_ends_too_soon(self, video):
        with pytest.raises(ValueError, match=r"clip.mp4: ends before frame 9"):
            list(read_clip(manifest_of(video.parent), self.clip(6, 9)))

    def test_what_is_no_video(self, tmp_path):
        (tmp_path / "clip.mp4").write_bytes(b"no video")
        with pytest.raises(ValueError, match=r"clip.mp4: cannot be opened as a video .* re-encode it"):
            list(decode_video(tmp_path / "clip.mp4"))


class TestClickFile:
    def test_rows_carry_their_lines(self, tmp_path):
        path = tmp_path / "clicks.csv"
        path.write_text(
            "\ufeffx,y,class,clip,frame,who\n3, 4,car,c,7,ann\n\n5,6.5,0,c,8,bob\n", encoding="utf-8"
        )
        assert read_click_file(path) == [
            (2, {"clip": "c", "frame": "7", "y": "4", "x": "3", "class": "car", "who": "ann"}),
            (4, {"clip": "c", "frame": "8", "y": "6.5", "x": "5", "class": "0", "who": "bob"}),
        ]

    def test_a_missing_column_or_value(self, tmp_path):
        path = tmp_path / "clicks.csv"
        path.write_text("clip,frame,row,x\n")
        with pytest.raises(ValueError, match="lacks y, class; the first line should be clip,frame,y,x,class"):
            read_click_file(path)
        path.write_text("clip,frame,y,x,class\nc,1,2,3,car\nc,1,2\n")
        with pytest.raises(ValueError, match="line 3: a value is missing"):
            read_click_file(path)


class TestShrinking:
    def test_colours_are_area_means_and_ids_stay_ids(self, tmp_path):
        image = np.zeros((4, 6, 3), np.uint8)
        image[:2, :3] = 90
        Image.fromarray(image).save(tmp_path / "0.png")
        frame = save_label(tmp_path, np.kron([[0, 1, 0], [1, 255, 1]], np.ones((2, 2))))
        manifest = dataclasses.replace(manifest_of(tmp_path), shrink=2)
        (shown,) = read_clip(manifest, Clip("c", (frame,), height_px=2, width_px=3))
        assert shown[..., 0].tolist() == [[90, 45, 0], [0, 0, 0]]
        assert read_label(manifest, frame).tolist() == [[0, 1, 0], [1, 255, 1]]

    @pytest.mark.parametrize(
        ("size", "shrink", "shrunk"), [((480, 854), 3, (160, 285)), ((5, 7), 2, (3, 4)), ((5, 7), 1, (5, 7))]
    )
    def test_sizes_round_half_up(self, size, shrink, shrunk):
        assert shrunk_size(size, shrink) == shrunk
