"""Videos as people bring them: turned, cut, of varying rate, with headers that lie, in many containers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import av
import numpy as np
import pytest

from helpers.phone import MATRICES, turn
from helpers.places import ROOT
from weclick.common.errors import InputError
from weclick.manifest.images import IMAGE_SUFFIXES
from weclick.manifest.upright import upright, upright_size
from weclick.manifest.video import VIDEO_SUFFIXES, decode_video, video_info, video_times, video_writer

H, W = 64, 96


def picture(t: int, height: int = H, width: int = W) -> np.ndarray:
    """Grey that grows with time; its upper left quarter is red, the upper right one green."""
    image = np.full((height, width, 3), 20 + 6 * t, np.uint8)
    image[: height // 2, : width // 2] = 220, 0, 0
    image[: height // 2, width // 2 :] = 0, 220, 0
    return image


def write(
    path: Path,
    frames: int = 20,
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    size: tuple[int, int] = (H, W),
    format: str | None = None,
    header: dict[str, str] | None = None,
    times: Sequence[Fraction] = (),
    key_every: int = 12,
    shift: int = 0,
) -> Path:
    with av.open(str(path), "w", format=format, options=header or {}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *size, pixels
        stream.codec_context.gop_size = key_every
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)

        def mux(packets: list[av.Packet]) -> None:
            for packet in packets:
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                container.mux(packet)

        for t in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(t, *size), format="rgb24")
            if times:
                frame.pts, frame.time_base = int(times[t] * 1000), Fraction(1, 1000)
            mux(stream.encode(frame))
        mux(stream.encode(None))
    return path


@pytest.mark.parametrize("orientation", MATRICES)
def test_a_video_is_turned_as_its_header_says(tmp_path, orientation):
    path = write(tmp_path / "a.mp4", 3)
    plain = next(decode_video(path))
    turn(path, MATRICES[orientation])
    info = video_info(path)
    assert info.orientation == orientation
    assert (info.height_px, info.width_px) == upright_size(H, W, orientation)
    np.testing.assert_array_equal(next(decode_video(path)), upright(plain, orientation))


def test_a_video_that_is_held_askew_is_refused(tmp_path):
    path = turn(write(tmp_path / "a.mp4", 3), (46341, 46341, -46341, 46341))
    for read in (video_info, lambda path: list(decode_video(path))):
        with pytest.raises(
            InputError, match=r"a\.mp4: is to be turned by -?45 degrees, expected a multiple of"
        ):
            read(path)


def times_of(images: Sequence[np.ndarray]) -> list[int]:
    """Which of the written pictures these are."""
    return [round((float(image[-8:, 8:-8].mean()) - 20) / 6) for image in images]


def test_what_an_edit_list_cuts_off_does_not_count(tmp_path):
    path = write(tmp_path / "a.mp4", 20, key_every=20, shift=8)
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 20
    shown = times_of(list(decode_video(path)))
    assert shown == list(range(8, 20))
    assert video_info(path).frames == len(shown) == len(video_times(path))


LAST = {".mp4": {"movflags": "faststart"}, ".mkv": {}, ".avi": {}, ".ts": {}, ".flv": {}}


@pytest.mark.parametrize("suffix", LAST)
def test_a_video_that_is_cut_short_ends_with_its_last_whole_frame(tmp_path, suffix, capsys):
    codec = "mpeg4" if suffix == ".avi" else "libx264"
    path = write(tmp_path / f"a{suffix}", 20, codec=codec, header=LAST[suffix], size=(256, 384), key_every=1)
    whole = list(decode_video(path))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 7 // 10])
    images = list(decode_video(path))
    assert 1 < len(images) < 20
    assert video_info(path).frames == len(images) == len(video_times(path))
    for image, expected in zip(images, whole, strict=False):
        np.testing.assert_array_equal(image, expected)
    if suffix == ".mp4":
        told = capsys.readouterr().err
        assert f"warning: {path}: is cut short; {len(images)} of its 20 frames are there" in told


@pytest.mark.parametrize(("suffix", "codec"), [(".mkv", "libx264"), (".webm", "libvpx"), (".flv", "flv1")])
def test_a_file_that_ends_long_before_its_header_says_is_told(tmp_path, capsys, suffix, codec):
    path = write(tmp_path / f"a{suffix}", 39, codec=codec)
    assert video_info(path).frames == 39
    assert capsys.readouterr().err == ""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    frames = video_info(path).frames
    assert 2 < frames < 27
    assert f"a{suffix}: may be cut short; its header says 1.6 s, but its last" in capsys.readouterr().err
    assert len(list(decode_video(path))) == frames


def test_a_last_frame_that_stands_for_long_is_no_cut(tmp_path, capsys):
    video_info(write(tmp_path / "a.mkv", 8, times=[Fraction(3 * t) for t in range(8)]))
    assert capsys.readouterr().err == ""


def test_an_empty_video_is_called_empty(tmp_path):
    (tmp_path / "a.mp4").touch()
    with pytest.raises(InputError, match=r"a\.mp4: is an empty file; copy the video again"):
        video_info(tmp_path / "a.mp4")


def test_a_video_without_its_end_is_told_where_the_end_holds_the_header(tmp_path):
    path = write(tmp_path / "a.mp4", 20)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 9 // 10])
    with pytest.raises(
        InputError, match=r"a\.mp4: (cannot be opened as a video|no frame of it can be decoded)"
    ):
        video_info(path)


def test_damage_in_the_middle_is_told(tmp_path, capsys):
    path = write(tmp_path / "a.mkv", 20, codec="mpeg4", key_every=1)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 300] = bytes(300)
    path.write_bytes(bytes(content))
    try:
        list(decode_video(path))
        told = capsys.readouterr().err
    except InputError as error:
        told = str(error)
    assert "a.mkv" in told
    assert "damaged" in told or "cut short" in told


def test_a_header_that_lies_about_the_number_of_frames(tmp_path):
    path = write(tmp_path / "a.avi", 20, codec="mpeg4")
    content = path.read_bytes()
    assert content.count(struct.pack("<I", 20)) > 1
    for told in (0, 7, 3000):
        path.write_bytes(content.replace(struct.pack("<I", 20), struct.pack("<I", told)))
        assert video_info(path).frames == len(list(decode_video(path))) == 20


CONTAINERS = {
    "a.mp4": {},
    "a.MOV": {},
    "a.m4v": {"format": "mp4"},
    "a.3gp": {},
    "a.mkv": {},
    "a.avi": {"codec": "mpeg4"},
    "a.webm": {"codec": "libvpx"},
    "b.webm": {"codec": "libvpx-vp9"},
    "a.mpg": {"codec": "mpeg2video", "format": "mpeg"},
    "a.vob": {"codec": "mpeg2video", "format": "vob"},
    "a.m2v": {"codec": "mpeg2video", "format": "mpeg2video"},
    "a.ts": {"format": "mpegts"},
    "a.MTS": {"format": "mpegts"},
    "a.m2ts": {"format": "mpegts", "header": {"mpegts_m2ts_mode": "1"}},
    "a.wmv": {"codec": "wmv2", "format": "asf"},
    "a.flv": {"codec": "flv"},
    "a.mxf": {"codec": "mpeg2video"},
    "a.mjpg": {"codec": "mjpeg", "pixels": "yuvj420p", "format": "mjpeg"},
    "a.gif": {"codec": "gif", "pixels": "rgb8"},
    "a.y4m": {"codec": "wrapped_avframe", "format": "yuv4mpegpipe"},
    "a.h264": {"format": "h264"},
    "fragments.mp4": {"header": {"movflags": "frag_keyframe+empty_moov"}},
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers(tmp_path, name):
    path = write(tmp_path / name, **CONTAINERS[name])
    assert path.suffix.lower() in VIDEO_SUFFIXES
    info, images = video_info(path), list(decode_video(path))
    assert info[:3] == (20, H, W)
    assert info.rate == 25
    tolerance = 20 if name == "a.gif" else 6
    assert len(images) == 20
    for t, image in enumerate(images):
        assert abs(float(image[-8:, 8:-8].mean()) - (20 + 6 * t)) < tolerance
        assert abs(image[4:24, 4:40].astype(float).mean((0, 1)) - (220, 0, 0)).max() < 45


PIXELS = {
    "10 bits": {"codec": "libx265", "pixels": "yuv420p10le"},
    "grey": {"codec": "ffv1", "pixels": "gray"},
    "grey of 16 bits": {"codec": "ffv1", "pixels": "gray16le"},
    "full range": {"pixels": "yuvj420p"},
    "every pixel's own colour": {"pixels": "yuv444p"},
    "alpha": {"codec": "ffv1", "pixels": "yuva420p"},
    "odd sides": {"pixels": "yuv444p", "size": (H - 1, W - 1)},
}


@pytest.mark.parametrize("kind", PIXELS)
def test_kinds_of_pixels(tmp_path, kind):
    path = write(tmp_path / "a.mkv", 4, **PIXELS[kind])
    for t, image in enumerate(decode_video(path)):
        expected = picture(t, *PIXELS[kind].get("size", (H, W))).astype(float)
        if "grey" in kind:
            expected = (expected @ np.array([0.299, 0.587, 0.114]))[..., None]
        away_from_edges = np.s_[4:24, 8:40]
        assert abs(image[away_from_edges] - expected[away_from_edges]).mean() < 6
        assert abs(image[-8:, 8:-8] - expected[-8:, 8:-8]).mean() < 6


@pytest.mark.parametrize("space", ["ITU601", "ITU709"])
def test_colours_are_those_of_the_files_colour_space(tmp_path, space):
    """PyAV before 17 took every video for BT.601: colours of HD videos were off by up to 29 of 255."""
    number = {"ITU709": 1, "ITU601": 6}[space]
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = H, W, "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = number, 1
        frame = av.VideoFrame.from_ndarray(picture(0), format="rgb24")
        told = frame.reformat(format="yuv444p", dst_colorspace=space, dst_color_range="MPEG")
        container.mux(stream.encode(told))
        container.mux(stream.encode(None))
    assert abs(next(decode_video(path)).astype(int) - picture(0)).max() <= 3


def other_streams(path: Path, *, cover: bool, moving: bool) -> Path:
    """A sound, and if wanted the cover of an album before the moving picture."""
    with av.open(str(path), "w") as container:
        if cover:
            still = container.add_stream("png", rate=25)
            still.height, still.width, still.pix_fmt = 16, 16, "rgb24"
            still.disposition = av.stream.Disposition.attached_pic
        sound = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        stream = container.add_stream("libx264", rate=25) if moving else None
        if stream:
            stream.height, stream.width, stream.pix_fmt = H, W, "yuv420p"
        if cover:
            container.mux(still.encode(av.VideoFrame.from_ndarray(picture(0, 16, 16), format="rgb24")))
            container.mux(still.encode(None))
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        samples.rate = 8000
        container.mux(sound.encode(samples))
        if stream:
            for t in range(5):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(t), format="rgb24")))
            container.mux(stream.encode(None))
        container.mux(sound.encode(None))
    return path


def test_a_file_of_sound_alone_is_told(tmp_path):
    with pytest.raises(InputError, match=r"a\.mkv: holds no moving picture that can be decoded \(audio\)"):
        video_info(other_streams(tmp_path / "a.mkv", cover=False, moving=False))


def test_sound_and_a_cover_are_no_frames(tmp_path):
    path = other_streams(tmp_path / "a.mov", cover=True, moving=True)
    assert video_info(path)[:3] == (5, H, W)
    assert times_of(list(decode_video(path))) == list(range(5))


def test_a_recording_that_begins_between_two_key_frames(tmp_path):
    path = write(tmp_path / "a.ts", 40, format="mpegts", key_every=10)
    content = path.read_bytes()
    path.write_bytes(content[len(content) // 3 // 188 * 188 :])
    images = list(decode_video(path))
    assert 5 < len(images) < 40
    assert video_info(path).frames == len(images) == len(video_times(path))
    assert times_of(images) == list(range(40 - len(images), 40))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_times_of_a_varying_rate_are_kept(tmp_path, suffix):
    gaps = [40, 40, 120, 40, 7, 200, 33, 40, 41]
    times = [Fraction(t, 1000) for t in accumulate([0, *gaps])]
    path = write(tmp_path / f"a{suffix}", 10, times=times)
    assert video_times(path) == times
    with video_writer(tmp_path / "out.mp4", video_info(path).rate, video_times(path)) as add:
        for image in decode_video(path):
            add(image)
    assert video_times(tmp_path / "out.mp4") == times


def test_times_that_do_not_rise_and_end_too_soon_still_make_a_video(tmp_path):
    with video_writer(tmp_path / "out.mp4", Fraction(10), [Fraction(0), Fraction(1), Fraction(1)]) as add:
        for t in range(5):
            add(picture(t))
    unit = Fraction(1, 90_000)
    assert video_times(tmp_path / "out.mp4") == [
        0,
        1,
        1 + unit,
        1 + unit + Fraction(1, 10),
        1 + unit + Fraction(2, 10),
    ]


@pytest.mark.parametrize("where", ["header", "picture"])
def test_a_video_is_measured_before_room_is_made_for_it(tmp_path, where):
    path = write(
        tmp_path / "a.avi",
        3,
        codec="mjpeg" if where == "picture" else "rawvideo",
        pixels="yuvj420p" if where == "picture" else "bgr24",
    )
    content = path.read_bytes()
    if where == "picture":
        small, large = b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", H, W), struct.pack(">HH", 30_760, 65_000)
        content = content.replace(small, small[:5] + large)
    content = content.replace(struct.pack("<ii", W, H), struct.pack("<ii", 65_000, 30_760))
    content = content.replace(struct.pack("<ii", W, -H), struct.pack("<ii", 65_000, -30_760))
    path.write_bytes(content)
    for read in (video_info, lambda path: list(decode_video(path))):
        with pytest.raises(InputError, match=r"a\.avi: "):
            read(path)


def test_the_page_on_own_data_tells_every_ending():
    page = (ROOT / "docs/own-data.md").read_text(encoding="utf-8")
    assert all(f"`{suffix}`" in page for suffix in (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES))
