"""Streams: real pipes and a real server, frames with their times, and what happens where they end."""

import os
import threading
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from helpers.sent import FORMATS, grey_frames, noise_frames, send_video, served, stdin_of
from weclick.common.errors import InputError
from weclick.manifest.video import decode_video, video_times, video_writer
from weclick.manifest.video_stream import VideoStream, drops_by_itself, is_stream, timed_frames


def brightness(frames):
    return [float(frame.image.mean()) for frame in frames]


@pytest.mark.parametrize(
    ("address", "stream", "drops"),
    [
        ("-", True, False),
        ("camera:0", True, True),
        ("rtsp://user:secret@10.0.0.5/live", True, True),
        ("http://host/a.mp4", True, False),
        ("camera:front", False, None),
        ("clips/a.mp4", False, None),
        ("file:///a.mp4", False, None),
    ],
)
def test_addresses_of_streams_are_told_from_files(address, stream, drops):
    assert is_stream(address) is stream
    assert drops is None or drops_by_itself(address) is drops


@pytest.mark.parametrize("container", FORMATS)
def test_a_pipe_gives_all_frames_with_their_times(tmp_path, container):
    images = grey_frames(12)
    sent = send_video(tmp_path / "video", images, container)
    with stdin_of(sent):
        stream = VideoStream("-", drop=False)
        found = list(stream)
    assert [frame.number for frame in found] == list(range(12))
    assert brightness(found) == pytest.approx([image.mean() for image in images], abs=6)
    assert stream.fault is None
    assert stream.dropped == 0
    assert stream.seconds > 0
    rate = 25 if container == "mjpeg" else 10  # nothing in plain JPEGs tells the rate
    assert stream.rate == rate
    assert [float(frame.time_s) for frame in found] == pytest.approx([t / rate for t in range(12)], abs=2e-3)


def test_times_that_are_uneven_stay_so(tmp_path):
    times = [0, 1, 2, 10, 11, 30]
    sent = send_video(tmp_path / "video.mkv", grey_frames(6), "matroska", times=times)
    with stdin_of(sent):
        found = list(VideoStream("-", drop=False))
    assert [float(frame.time_s) for frame in found] == pytest.approx([t / 10 for t in times], abs=2e-3)


def test_a_server_gives_the_frames_of_the_file(tmp_path):
    send_video(tmp_path / "video.mp4", grey_frames(8), "mp4")
    with served(tmp_path) as address:
        found = list(VideoStream(f"{address}/video.mp4", drop=False))
    for frame, image in zip(found, decode_video(tmp_path / "video.mp4"), strict=True):
        np.testing.assert_array_equal(frame.image, image)


def test_whoever_is_slow_loses_frames_only_if_the_stream_drops(tmp_path):
    send_video(tmp_path / "video.mkv", grey_frames(40), "matroska")
    with served(tmp_path) as address:
        for drop in (True, False):
            stream = VideoStream(f"{address}/video.mkv", drop=drop, waiting=3)
            numbers = []
            for frame in stream:
                numbers.append(frame.number)
                time.sleep(0.2 if len(numbers) == 1 else 0.01)
                assert len(stream._frames) <= 3, "memory is bounded"
            assert numbers == sorted(set(numbers))
            assert len(numbers) + stream.dropped == 40
            assert (stream.dropped > 0) == drop
            assert numbers[-1] == 39


def test_a_stream_that_is_stopped_ends(tmp_path):
    sent = send_video(tmp_path / "video.mkv", grey_frames(40), "matroska")
    stop = threading.Event()
    with stdin_of(sent):
        found = []
        for frame in VideoStream("-", drop=False, stop=stop):
            found.append(frame)
            if len(found) == 5:
                stop.set()
    assert len(found) == 5
    assert not [each for each in threading.enumerate() if each.name.startswith("reads ")]


def test_a_part_that_is_broken_is_left_out_and_told_once(tmp_path, capsys):
    images = noise_frames(30)
    sent = send_video(tmp_path / "video.ts", images, "mpegts")
    content = bytearray(sent.read_bytes())
    for at in (len(content) // 2, len(content) * 3 // 4):
        content[at : at + 2000] = bytes(2000)
    (tmp_path / "broken.ts").write_bytes(content)
    with stdin_of(tmp_path / "broken.ts"):
        stream = VideoStream("-", drop=False)
        found = list(stream)
    assert 15 < len(found) <= 30
    assert np.abs(found[0].image - images[0].astype(int)).mean() < 60, "other noise is 85 away"
    assert stream.fault is None
    assert capsys.readouterr().err.count("cannot be decoded") <= 1


def test_a_frame_of_another_size_ends_the_stream(tmp_path):
    first = send_video(tmp_path / "first", grey_frames(4, 32, 48), "mjpeg").read_bytes()
    other = send_video(tmp_path / "other", grey_frames(4, 48, 48), "mjpeg").read_bytes()
    (tmp_path / "both").write_bytes(first + other)
    with stdin_of(tmp_path / "both"):
        stream = VideoStream("-", drop=False)
        found = list(stream)
    assert len(found) == 4
    assert "its frames change from 32x48 px (HxW) to 48x48" in str(stream.fault)


def test_a_camera_that_is_missing_is_told():
    if Path("/dev/video97").exists():
        pytest.skip("there are very many cameras here")
    with pytest.raises(InputError, match=r"camera:97: /dev/video97 cannot be opened as a camera \(No such"):
        list(VideoStream("camera:97", drop=True))


@pytest.mark.parametrize("scheme", ["rtsp", "http", "tcp"])
def test_a_sender_that_is_away_is_told_without_its_password(scheme):
    with pytest.raises(InputError, match=r"cannot be read as a stream \(Connection refused\)") as told:
        list(VideoStream(f"{scheme}://me:hush@127.0.0.1:9/live", drop=True))
    assert "hush" not in str(told.value)
    assert f"{scheme}://***@127.0.0.1:9/live" in str(told.value)


def test_what_a_server_has_not_is_told(tmp_path):
    (tmp_path / "page.html").write_text("<p>no video")
    with served(tmp_path) as address:
        with pytest.raises(InputError, match=r"none\.mp4: cannot be read as a stream \(.*404 Not Found"):
            list(VideoStream(f"{address}/none.mp4", drop=False))
        with pytest.raises(InputError, match=r"page\.html: cannot be read as a stream"):
            list(VideoStream(f"{address}/page.html", drop=False))


def test_what_cannot_come_through_a_pipe_is_told(tmp_path):
    with video_writer(tmp_path / "plain.mp4", Fraction(10)) as write:  # its index stands at the end
        for image in noise_frames(30, 160, 160):
            write(image)
    (tmp_path / "empty").touch()
    for name in ("plain.mp4", "empty"):
        with (
            stdin_of(tmp_path / name),
            pytest.raises(InputError, match="an MP4 must have its index in front"),
        ):
            list(VideoStream("-", drop=False))


def test_a_terminal_is_no_pipe():
    here, away = os.openpty()
    before = os.dup(0)
    os.dup2(away, 0)
    try:
        with pytest.raises(InputError, match="standard input: is no pipe; pipe a video into it"):
            list(VideoStream("-", drop=False))
    finally:
        os.dup2(before, 0)
        for descriptor in (here, away, before):
            os.close(descriptor)


def test_times_of_a_file_are_those_of_its_list(tmp_path):
    path = send_video(tmp_path / "video.mkv", grey_frames(6), "matroska", times=[0, 1, 2, 10, 11, 30])
    found = list(timed_frames(path))
    assert [frame.time_s for frame in found] == video_times(path)
    for frame, image in zip(found, decode_video(path), strict=True):
        np.testing.assert_array_equal(frame.image, image)


def test_a_file_without_times_has_those_of_its_rate(tmp_path):
    path = send_video(tmp_path / "video.mjpeg", grey_frames(4), "mjpeg")
    assert [frame.time_s for frame in timed_frames(path)] == [Fraction(t, 25) for t in range(4)]
