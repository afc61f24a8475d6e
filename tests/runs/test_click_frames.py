"""Frames for the page to click on: which come when, from images and videos, ahead and asked for; ghosts."""

import threading
import time

import cv2
import numpy as np
import pytest
import torch

from helpers.click_server import CLASSES, scene, write_classes, write_images, write_video
from weclick.common.errors import InputError, MissingFileError
from weclick.manifest import Classes
from weclick.manifest.video import decode_video
from weclick.manifest.video_seek import Dropped
from weclick.models import build_model
from weclick.runs.click import frames as frames_module
from weclick.runs.click.frames import AROUND, Frames
from weclick.runs.click.ghosts import ERROR_PX, REACH, Ghosts
from weclick.runs.click.media import Media, spread
from weclick.runs.click.present_net import PresentNet
from weclick.store.model_file import model_bytes

H, W = 90, 160
VIDEO, STILLS = 0, 1


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    write_classes(folder)
    write_video(folder / "videos" / "film.mp4", 40, H, W)
    write_images(folder / "frames" / "stills", [scene(t, H, W) for t in range(8)])
    return folder


@pytest.fixture
def media(root):
    return Media(root, per_clip=4)


def image_of(jpeg):
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_BGR)[..., ::-1].astype(int)


@pytest.mark.parametrize(("length", "count"), [(250, 12), (100, 8), (5, 12), (1, 3), (7, 1), (16, 16)])
def test_frames_are_spread_evenly_and_halve_the_widest_gap(length, count):
    found = spread(length, count)
    assert len(found) == len(set(found)) == min(length, count)
    assert all(0 <= at < length for at in found)
    assert abs(found[0] - length / 2) <= length / (2 * len(found)) + 1
    for taken in range(1, len(found) + 1):
        edges = [-1, *sorted(found[:taken]), length]
        gaps = np.diff(edges)
        assert gaps.max() <= 2.2 * length / taken**0.9 + 2


def test_the_queue_takes_turns_and_names_become_indexes(media):
    assert [place[0] for place in media.queue] == [VIDEO, STILLS] * 4
    assert media.names((VIDEO, 7)) == ("film", "00007")
    assert media.place("film", "00007") == (VIDEO, 7)
    assert media.place("film", "7") is media.place("x", "00007") is None
    assert media.size((VIDEO, 0)) == media.size((STILLS, 0)) == (H, W)
    for place in ((0, 40), (0, -1), (2, 0), (-1, 0)):
        assert not media.has(place)


def test_the_digest_of_names_tells_that_something_was_added(root, tmp_path):
    first = Media(root, per_clip=4).digest
    assert Media(root, per_clip=9).digest == first
    write_classes(tmp_path / "other", {"one": (0, 0, 0)})
    assert Media(root, classes=tmp_path / "other" / "classes.yaml", per_clip=4).digest != first


def test_frames_of_videos_and_images_are_those_of_the_stages(media, root):
    frames = Frames(media)
    expected = list(decode_video(root / "videos" / "film.mp4"))
    for at in (39, 0, 20):
        assert np.abs(image_of(frames.jpeg((VIDEO, at))) - expected[at]).mean() < 3
    assert np.abs(image_of(frames.jpeg((STILLS, 5))) - scene(5, H, W)).mean() < 3
    assert frames.image((STILLS, 5)).shape == (H, W, 3)


def test_frames_around_and_of_the_queue_are_kept_on_the_way(media):
    frames = Frames(media)
    frames.jpeg((VIDEO, 30))
    kept = {at for at in range(40) if frames.cached((VIDEO, at))}
    assert kept == set(range(30 - AROUND, 31)) | {at for c, at in media.queue if c == VIDEO and at < 30}


def test_the_queue_is_decoded_ahead(media):
    frames = Frames(media)
    frames.start()
    end = time.monotonic() + 20
    while not all(map(frames.cached, media.queue)) and time.monotonic() < end:
        time.sleep(0.01)
    frames.close()
    assert all(map(frames.cached, media.queue))


def test_what_nobody_waits_for_is_dropped(media):
    with pytest.raises(Dropped):
        Frames(media).jpeg((VIDEO, 30), lambda: True)


def test_threads_decode_a_frame_once(media, monkeypatch):
    frames, made = Frames(media), []
    jpeg = frames_module._jpeg
    monkeypatch.setattr(frames_module, "_jpeg", lambda image: made.append(1) or jpeg(image))
    threads = [threading.Thread(target=frames.jpeg, args=((STILLS, 3),)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_the_cache_has_a_limit_and_drops_what_was_not_looked_at(media, monkeypatch):
    frames = Frames(media)
    size = len(frames.jpeg((STILLS, 0)))
    monkeypatch.setattr(frames_module, "CACHE_BYTES", int(3.5 * size))
    for at in (1, 2):
        frames.jpeg((STILLS, at))
    frames.cached((STILLS, 0))
    frames.jpeg((STILLS, 3))
    assert [at for at in range(4) if frames.cached((STILLS, at))] == [0, 2, 3]


def test_few_videos_are_open_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(frames_module, "OPEN_VIDEOS", 2)
    write_classes(tmp_path)
    for name in "abcd":
        write_video(tmp_path / "videos" / f"{name}.mp4", 3, 48, 64)
    frames = Frames(Media(tmp_path, per_clip=1))
    for clip in (0, 1, 2, 3, 0):
        frames.jpeg((clip, 0))
        assert len(frames._asked._videos) <= 2


def test_a_frame_that_cannot_be_read_is_an_error_and_stops_no_other(tmp_path):
    write_classes(tmp_path)
    write_images(tmp_path / "frames" / "a", [scene(t, H, W) for t in range(3)])
    (tmp_path / "frames" / "a" / "00001.png").write_bytes(b"no image")
    frames = Frames(Media(tmp_path, per_clip=3))
    with pytest.raises(InputError, match=r"00001\.png"):
        frames.jpeg((0, 1))
    frames.start()
    end = time.monotonic() + 20
    while not (frames.cached((0, 0)) and frames.cached((0, 2))) and time.monotonic() < end:
        time.sleep(0.01)
    frames.close()
    assert frames.cached((0, 0))
    assert frames.cached((0, 2))


def click(frame, y, x, **change):
    return {"id": f"{frame} {y} {x}", "clip": STILLS, "frame": frame, "y": y, "x": x, "class": 1} | change


def test_ghosts_follow_the_flow(media):
    """The scene moves by 3 px a frame to the right."""
    ghosts = Ghosts(Frames(media))
    (forth,) = ghosts.at((STILLS, 4), [click(2, 30, 70)])
    (back,) = ghosts.at((STILLS, 2), [click(4, 30, 76)])
    assert (forth["of"], forth["class"]) == ("2 30 70", 1)
    assert (abs(forth["x"] - 76) <= 1, abs(forth["y"] - 30) <= 1) == (True, True)
    assert abs(back["x"] - 70) <= 1


def test_no_ghost_where_a_click_is_or_the_frame_ends_or_time_is_long(media):
    ghosts = Ghosts(Frames(media))
    source = click(2, 30, 70)
    assert ghosts.at((STILLS, 4), [source, click(4, 30, 76)]) == []
    assert len(ghosts.at((STILLS, 4), [source, click(4, 30, 76, **{"class": 2})])) == 1
    assert ghosts.at((STILLS, 2 + REACH + 1), [click(1, 30, 70)]) == []
    assert ghosts.at((STILLS, 5), [click(0, 30, W - 2)]) == []
    assert ghosts.at((STILLS, 2), [source]) == []
    scribble = {"id": "s", "clip": STILLS, "frame": 2, "points": [[1, 2], [3, 4]], "class": 1}
    assert ghosts.at((STILLS, 4), [scribble]) == []
    nearest = ghosts.at((STILLS, 4), [click(1, 30, 67), click(3, 30, 73)])
    assert [each["of"] for each in nearest] == ["3 30 73"]


def test_a_point_that_does_not_come_back_has_no_ghost(media, monkeypatch):
    ghosts = Ghosts(Frames(media))
    there = np.zeros((H, W, 2), np.float32)
    back = np.full((H, W, 2), 0.9 * ERROR_PX, np.float32)
    back[..., 1] = 0
    monkeypatch.setattr(ghosts, "_both", lambda source, target: (there, back))
    assert len(ghosts.at((STILLS, 3), [click(2, 30, 70)])) == 1
    back[..., 0] = 1.1 * ERROR_PX
    assert ghosts.at((STILLS, 3), [click(2, 30, 70)]) == []


def student(names=tuple(CLASSES)):
    torch.manual_seed(0)
    model = build_model("deeplabv3plus", "mobilenetv2_compact", len(names), channels=16)
    return model_bytes(model, Classes(names, ((0, 0, 0),) * len(names)))


def test_the_net_is_loaded_when_asked_and_again_when_replaced(media, tmp_path):
    path = tmp_path / "model.safetensors"
    net = PresentNet(path, Frames(media))
    assert not net.is_there
    with pytest.raises(MissingFileError, match="no student yet"):
        net.picture((STILLS, 0))
    path.write_bytes(student())
    assert net.is_there
    picture = net.picture((STILLS, 0))
    shown = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR_BGR)[..., ::-1]
    assert shown.shape == (H, W, 3)
    assert {tuple(map(int, color)) for color in np.unique(shown.reshape(-1, 3), axis=0)} <= set(
        CLASSES.values()
    )
    path.unlink()
    path.write_bytes(student(("one", "two", "three", "four")))
    with pytest.raises(InputError, match="was trained for the classes one"):
        net.picture((STILLS, 0))
