"""What people name for `weclick predict`, and what it must not read or replace."""

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from helpers.small_network import write_network
from weclick.cli import app
from weclick.common.errors import InputError, MissingFileError
from weclick.evaluate.own_files import is_own
from weclick.evaluate.sources import find_sources
from weclick.manifest import Classes
from weclick.manifest.video import video_writer

CLASSES = Classes(("road", "car"), ((128, 64, 128), (0, 0, 142)))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_network(tmp_path_factory.mktemp("network") / "model.safetensors", CLASSES)


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(path)


def video(path, frames=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    with video_writer(path, Fraction(5)) as write:
        for _ in range(frames):
            write(np.zeros((32, 32, 3), np.uint8))


def names(*given, **options):
    options = {"is_own": is_own, **options}
    return [source.name for source in find_sources([Path(each) for each in given], **options)]


def run(*arguments):
    return CliRunner().invoke(app, ["predict", *map(str, arguments), "--device", "cpu"])


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("output", ["predictions", ".", "..", "deep/er", "masks"])
def test_a_second_time_finds_the_same_frames(tmp_path, checkpoint, monkeypatch, output):
    for name in ("00000.png", "00001.png"):
        image(tmp_path / "in/clip" / name)
    monkeypatch.chdir(tmp_path / "in/clip")
    seen = []
    for _ in range(3):
        done = run(".", "--checkpoint", checkpoint, "--output", output)
        assert done.exit_code == 0, done.output
        seen.append(files(tmp_path))
        assert "2 frames to" in done.output
    assert seen[0] == seen[1] == seen[2]


def test_what_another_call_wrote_elsewhere_is_left_out_and_told(tmp_path, checkpoint):
    image(tmp_path / "in/a.png")
    video(tmp_path / "in/v.mp4")
    for output in ("first", "second", "third"):
        done = run(tmp_path / "in", "--checkpoint", checkpoint, "--output", tmp_path / "in" / output)
        assert "3 frames to" in done.output
    assert "left out 10 files that predict wrote" in done.stderr


def test_links_to_what_was_written_are_left_out(tmp_path, checkpoint):
    image(tmp_path / "in/a.png")
    run(tmp_path / "in", "--checkpoint", checkpoint, "--output", tmp_path / "out")
    (tmp_path / "in/latest").symlink_to(tmp_path / "out")
    (tmp_path / "in/newest.png").symlink_to(tmp_path / "out/masks/a.png")
    assert names(tmp_path / "in") == ["a"]
    (tmp_path / "out link").symlink_to(tmp_path / "out")
    done = run(tmp_path / "in", "--checkpoint", checkpoint, "--output", tmp_path / "out link")
    assert "1 frames to" in done.output


def test_a_prediction_that_is_named_is_told(tmp_path, checkpoint):
    image(tmp_path / "a.png")
    run(tmp_path / "a.png", "--checkpoint", checkpoint, "--output", tmp_path / "out")
    with pytest.raises(InputError, match=r"masks/a\.png: predict wrote it"):
        names(tmp_path / "out/masks/a.png")
    with pytest.raises(InputError, match=r"out: holds no image .* besides 2 files that predict wrote"):
        names(tmp_path / "out")


def test_files_of_somebody_else_are_not_replaced(tmp_path, checkpoint):
    image(tmp_path / "images/a.png")
    image(tmp_path / "masks/a.png")  # drawn by a person
    before = (tmp_path / "masks/a.png").read_bytes()
    done = run(tmp_path / "images", "--checkpoint", checkpoint, "--output", tmp_path)
    assert "masks/a.png: would be replaced, but predict did not write it" in str(done.exception)
    assert (tmp_path / "masks/a.png").read_bytes() == before
    assert (
        run(
            tmp_path / "images", "--checkpoint", checkpoint, "--output", tmp_path, "--save", "overlay"
        ).exit_code
        == 0
    )


def test_folders_of_videos_and_images_are_taken_whole(tmp_path, checkpoint):
    video(tmp_path / "in/monday/a.mp4", 3)
    video(tmp_path / "in/tuesday/a.mp4", 2)
    image(tmp_path / "in/tuesday/deep/b.jpg")
    image(tmp_path / "in/.hidden/c.png")
    image(tmp_path / "in/.d.png")
    (tmp_path / "in/notes.txt").write_text("no image")
    done = run(tmp_path / "in", "--checkpoint", checkpoint, "--output", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert files(tmp_path / "out") == [
        *(f"masks/monday/a/0000{i}.png" for i in range(3)),
        *(f"masks/tuesday/a/0000{i}.png" for i in range(2)),
        "masks/tuesday/deep/b.png",
        "overlay/monday/a.mp4",
        "overlay/tuesday/a.mp4",
        "overlay/tuesday/deep/b.jpg",
    ]


def test_several_sources_of_one_name_keep_apart(tmp_path, checkpoint):
    for place in ("monday", "tuesday"):
        image(tmp_path / place / "cam/1.png")
        video(tmp_path / place / "v.mp4", 1)
    given = [tmp_path / "monday/cam", tmp_path / "tuesday/cam", tmp_path / "monday/v.mp4"]
    done = run(*given, tmp_path / "tuesday/v.mp4", "--checkpoint", checkpoint, "--output", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert files(tmp_path / "out") == [
        *(f"masks/{day}/{name}" for day in ("monday", "tuesday") for name in ("cam/1.png", "v/00000.png")),
        *(f"overlay/{day}/{name}" for day in ("monday", "tuesday") for name in ("cam/1.jpg", "v.mp4")),
    ]


def test_names_that_meet_keep_their_endings(tmp_path):
    video(tmp_path / "a.mp4")
    video(tmp_path / "a.avi.mp4")
    Path(tmp_path / "a.avi.mp4").rename(tmp_path / "a.avi")
    image(tmp_path / "b.png")
    assert names(tmp_path) == ["a.avi", "a.mp4", "b"]
    video(tmp_path / "c/a.mp4")
    image(tmp_path / "c/a/00000.png")
    assert names(tmp_path / "c") == ["a.mp4", "a/00000"]


def test_names_that_cannot_be_kept_apart_are_one_error(tmp_path):
    for name in ("a.png", "a.jpg", "a.png.bmp"):
        image(tmp_path / name)
    with pytest.raises(InputError, match=r"a\.png, .*a\.png\.bmp: the results of these files would have one"):
        names(tmp_path)


def test_the_same_file_is_taken_once(tmp_path):
    image(tmp_path / "in/a.png")
    image(tmp_path / "in/b.png")
    assert names(tmp_path / "in", tmp_path / "in/a.png", tmp_path / "in/../in/b.png") == ["in/a", "in/b"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("in/*.png", ["1", "2"]),
        ("in/?.png", ["1", "2"]),
        ("in/[2-3].png", ["2"]),
        ("*", ["clip1/x", "clip[1]/y", "in/1", "in/2", "in/deep/3"]),
        ("**/*.png", ["clip1/x", "clip[1]/y", "in/1", "in/2", "in/deep/3"]),
        ("clip[1]", ["y"]),
        ("clip[1]/*", ["y"]),
        ("clip[12]", ["clip1/x"]),
    ],
)
def test_patterns_and_names_that_look_like_them(tmp_path, monkeypatch, pattern, found):
    for name in ("in/1.png", "in/2.png", "in/deep/3.png", "clip1/x.png", "clip[1]/y.png"):
        image(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert sorted(names(pattern)) == found


@pytest.mark.parametrize("given", ["nothing/*.png", "in/*.mp4", "in/[9].png", "none"])
def test_a_pattern_that_matches_nothing_is_an_error(tmp_path, monkeypatch, given):
    image(tmp_path / "in/1.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingFileError, match="there is no such file or folder"):
        names(given)


def test_links_are_followed_and_circles_end(tmp_path):
    image(tmp_path / "real/a.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/clip").symlink_to(tmp_path / "real")
    (tmp_path / "real/again").symlink_to(tmp_path / "in")
    assert names(tmp_path / "in") == ["clip/a"]


def test_pipes_are_told_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(InputError, match="is no regular file"):
        names(tmp_path / "pipe.png")
    image(tmp_path / "a.png")
    assert names(tmp_path) == ["a"]


def test_names_as_long_as_the_file_system_takes(tmp_path, checkpoint):
    video(tmp_path / "v.mp4", 1)
    Path(tmp_path / "v.mp4").rename(tmp_path / ("v" * 252 + ".ts"))
    image(tmp_path / ("i" * 251 + ".png"))
    given = [*tmp_path.iterdir()]
    done = run(*given, "--checkpoint", checkpoint, "--output", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert len(files(tmp_path / "out")) == 4


def test_files_beside_sources_that_nobody_reads_are_named(tmp_path, capsys):
    """Phones write .heic; a folder without a single source, and notes, are no matter."""
    image(tmp_path / "in/a.png")
    for name in ("in/b.HEIC", "in/notes.txt", "in/deeper/model.bin"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert names(tmp_path / "in") == ["a"]
    told = capsys.readouterr().err
    assert told.count("warning") == 1
    assert f"{tmp_path}/in: b.HEIC: not read, since the ending is none of .png" in told
