"""Predictions of streams: a real pipe, a real server, Ctrl-C, and a network slower than the stream."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import weclick
from helpers.found_instances import untrained
from helpers.sent import grey_frames, noise_frames, send_video, served, stdin_of
from helpers.small_network import write_network
from weclick.cli import app
from weclick.common.schemas import schema_fault
from weclick.evaluate.apply import predict_files
from weclick.evaluate.instances.tracks import Linker
from weclick.evaluate.own_files import is_own
from weclick.evaluate.sources import find_sources
from weclick.manifest import Classes
from weclick.manifest.images import read_ids
from weclick.manifest.video import video_info, video_times
from weclick.store.model_file import model_bytes

CLASSES = Classes(("road", "car"), ((128, 64, 128), (0, 0, 142)))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_network(tmp_path_factory.mktemp("network") / "model.safetensors", CLASSES)


def predicted(given, checkpoint, out, **how):
    how = {"masks": True, "overlay": True, "json": True, "opacity": 0.5, "device": "cpu"} | how
    return predict_files(given, checkpoint, out, **how)


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def frames_in(path):
    head, *frames = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert not schema_fault(head, "predictions", "head")
    assert not [fault for frame in frames if (fault := schema_fault(frame, "predictions", "frame"))]
    return frames


@pytest.mark.parametrize("container", ["matroska", "mp4", "yuv4mpegpipe"])
def test_a_pipe_is_predicted_as_its_file_is(tmp_path, checkpoint, container):
    ending = {"matroska": "mkv", "mp4": "mp4", "yuv4mpegpipe": "y4m"}[container]
    sent = send_video(tmp_path / f"v.{ending}", noise_frames(5), container)
    of_file = predicted(sent, checkpoint, tmp_path / "file")
    with stdin_of(sent):
        of_pipe = predicted("-", checkpoint, tmp_path / "pipe")
    assert of_pipe.frames == of_file.frames == 5
    assert of_pipe.fault is None
    masks = [f"masks/stdin/0000{t}.png" for t in range(5)]
    assert files(tmp_path / "pipe") == ["json/stdin.jsonl", *masks, "overlay/stdin.mp4"]
    for t, name in enumerate(masks):
        of_frame = read_ids(tmp_path / f"file/masks/v/0000{t}.png")
        np.testing.assert_array_equal(read_ids(tmp_path / "pipe" / name), of_frame)
    assert video_times(tmp_path / "pipe/overlay/stdin.mp4") == video_times(tmp_path / "file/overlay/v.mp4")
    for one, other in zip(
        frames_in(tmp_path / "pipe/json/stdin.jsonl"), frames_in(tmp_path / "file/json/v.jsonl"), strict=True
    ):
        assert {**one, "name": ""} == {**other, "name": ""}


def test_an_address_is_predicted_with_times_and_rate(tmp_path, checkpoint):
    sent = send_video(tmp_path / "night.mkv", grey_frames(6), "matroska", times=[0, 1, 2, 10, 11, 12])
    with served(tmp_path) as address:
        given = [f"{address}/night.mkv", str(sent), "--checkpoint", str(checkpoint), "--device", "cpu"]
        done = CliRunner().invoke(app, ["predict", *given, "--json", "--output", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "12 frames to" in done.output
    name = address.partition("//")[2].replace(":", "_") + "_night"
    assert name in {path.stem for path in (tmp_path / "out/overlay").iterdir()}
    shown = video_times(tmp_path / f"out/overlay/{name}.mp4")
    assert shown == pytest.approx([0, 0.1, 0.2, 1.0, 1.1, 1.2])
    assert video_info(tmp_path / "out/overlay/night.mp4").frames == 6
    times = [frame["time_s"] for frame in frames_in(tmp_path / f"out/json/{name}.jsonl")]
    assert times == pytest.approx([0, 0.1, 0.2, 1.0, 1.1, 1.2])


def test_a_slow_network_drops_frames_of_a_stream_that_may(tmp_path, checkpoint):
    send_video(tmp_path / "v.mkv", noise_frames(40, 96, 160), "matroska")
    with served(tmp_path) as address:
        done = predicted(f"{address}/v.mkv", checkpoint, tmp_path / "out", drop=True, batch_size=2)
    assert done.pace.dropped > 0
    assert done.frames + done.pace.dropped == 40
    assert f"{done.pace.dropped} frames dropped" in str(done.pace)
    (path,) = (tmp_path / "out/json").iterdir()
    numbers = [frame["frame"] for frame in frames_in(path)]
    assert len(numbers) == done.frames
    assert numbers[-1] == 39
    assert [frame["time_s"] for frame in frames_in(path)] == pytest.approx([n / 10 for n in numbers])
    assert sorted(int(each.stem) for each in (tmp_path / "out/masks").rglob("*.png")) == numbers


def test_what_came_of_a_stream_that_breaks_off_is_finished(tmp_path, checkpoint):
    first = send_video(tmp_path / "first", grey_frames(4, 32, 48), "mjpeg").read_bytes()
    other = send_video(tmp_path / "other", grey_frames(4, 48, 48), "mjpeg").read_bytes()
    (tmp_path / "both").write_bytes(first + other)
    with stdin_of(tmp_path / "both"):
        done = predicted("-", checkpoint, tmp_path / "out")
    assert "standard input: its frames change" in str(done.fault)
    assert str(done.fault).endswith("it broke off behind 4 frames, which are predicted")
    assert done.frames == video_info(tmp_path / "out/overlay/stdin.mp4").frames == 4
    assert len(frames_in(tmp_path / "out/json/stdin.jsonl")) == 4


def test_ctrl_c_ends_a_stream_that_is_silent_and_its_output_is_finished(tmp_path, checkpoint):
    sent = send_video(tmp_path / "v", grey_frames(30), "mpegts").read_bytes()
    words = ["predict", "-", "--checkpoint", str(checkpoint), "--output", "out", "--json", "--device", "cpu"]
    code = "from weclick.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, *words],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=False,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(sent)
        process.stdin.flush()  # and stays open: more may come
        until = time.monotonic() + 240
        while len(list((tmp_path / "out/masks/stdin").glob("[0-9]*.png"))) < 5:
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < until
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=120)
        told = process.stdout.read().decode()
    assert process.returncode == 0, told
    frames = frames_in(tmp_path / "out/json/stdin.jsonl")
    assert f"{len(frames)} frames to out" in told
    assert video_info(tmp_path / "out/overlay/stdin.mp4").frames == len(frames) >= 5
    assert len(list((tmp_path / "out/masks/stdin").iterdir())) == len(frames)
    assert not [name for name in files(tmp_path / "out") if "/." in name]


def test_ctrl_c_in_a_stream_leaves_what_follows_and_says_so(tmp_path, checkpoint):
    send_video(tmp_path / "a.mkv", grey_frames(30), "matroska")
    before, calls = signal.getsignal(signal.SIGINT), []

    def interrupt(*_):
        if signal.getsignal(signal.SIGINT) is not before:  # a stream is read
            calls.append(0)
            if len(calls) == 200:  # modules, not frames: in the midst of one
                os.kill(os.getpid(), signal.SIGINT)

    hook = torch.nn.modules.module.register_module_forward_hook(interrupt)
    try:
        with served(tmp_path) as address, stdin_of(tmp_path / "a.mkv"):
            done = predicted(["-", f"{address}/a.mkv"], checkpoint, tmp_path / "out")
    finally:
        hook.remove()
    assert "a.mkv: not predicted, since the run was interrupted" in str(done.fault)
    assert 0 < done.frames < 30
    assert video_info(tmp_path / "out/overlay/stdin.mp4").frames == done.frames
    assert signal.getsignal(signal.SIGINT) is before


def test_a_missing_camera_is_told_and_the_rest_is_done(tmp_path, checkpoint):
    if Path("/dev/video97").exists():
        pytest.skip("there are very many cameras here")
    sent = send_video(tmp_path / "v.mkv", grey_frames(2), "matroska")
    given = ["camera:97", str(sent), "--checkpoint", str(checkpoint), "--device", "cpu"]
    done = CliRunner().invoke(app, ["predict", *given, "--output", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "camera:97: /dev/video97 cannot be opened as a camera" in str(done.exception)
    assert "2 frames to" in done.output
    assert files(tmp_path / "out") == ["masks/v/00000.png", "masks/v/00001.png", "overlay/v.mp4"]


def test_objects_of_a_stream_go_into_lines(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_bytes(untrained(2), CLASSES))
    sent = send_video(tmp_path / "v.mkv", noise_frames(4), "matroska")
    with stdin_of(sent):
        done = predicted("-", path, tmp_path / "pipe", overlay=False, json=False, min_score=0)
    assert files(tmp_path / "pipe") == ["json/stdin.jsonl"]
    predicted(sent, path, tmp_path / "file", overlay=False, min_score=0)
    of_pipe = [frame["objects"] for frame in frames_in(tmp_path / "pipe/json/stdin.jsonl")]
    assert of_pipe == [frame["objects"] for frame in frames_in(tmp_path / "file/json/v.jsonl")]
    assert done.instances.sum() == sum(map(len, of_pipe)) > 0


def test_numbers_of_tracks_need_not_keep_the_tracks():
    rng = np.random.default_rng(0)
    keeping, counting = Linker(), Linker(keep=False)
    for _ in range(5):
        masks = rng.random((3, 8, 8)) > 0.6
        given, flow = (masks, np.arange(3), rng.random(3)), np.zeros((2, 8, 8), np.float32)
        assert keeping.add(given, flow) == counting.add(given, flow)
    assert keeping.tracks()
    assert counting.tracks() == []


def test_names_tell_no_password():
    given = [
        "-",
        "camera:3",
        "rtsp://me:hush@10.0.0.5:554/live/ch0?token=hush",
        "http://cam.local/",
        "https://host/a%20b/night.m3u8",
    ]
    found = find_sources(given, is_own=is_own)
    assert [source.name for source in found] == [
        "stdin",
        "camera3",
        "10.0.0.5_554_live_ch0",
        "cam.local",
        "host_a_20b_night",
    ]
    assert "hush" not in " ".join(map(str, found))


def test_programs_predict_streams_with_the_same_code(tmp_path, checkpoint):
    sent = send_video(tmp_path / "v.mkv", noise_frames(4), "matroska")
    model = weclick.load(checkpoint, device="cpu")
    of_file = list(model.predict(sent, batch_size=3))
    with stdin_of(sent):
        of_pipe = list(model.predict("-", batch_size=3))
    assert [each.name for each in of_pipe] == [f"stdin/0000{t}" for t in range(4)]
    assert [each.time_s for each in of_pipe] == [each.time_s for each in of_file]
    for one, other in zip(of_pipe, of_file, strict=True):
        np.testing.assert_array_equal(one.class_ids, other.class_ids)
    with pytest.raises(weclick.InputError, match="cannot be opened as a camera"):
        list(model.predict("camera:97"))
    with pytest.raises(weclick.InputError, match="batch_size is 0, expected 1 or more"):
        model.predict(sent, batch_size=0)
