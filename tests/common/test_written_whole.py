"""Files appear whole or not at all, whoever else writes them, and whatever lies where they are written."""

import os
import signal
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np
import pytest
import torch
from PIL import Image

from weclick.common import files
from weclick.common.errors import DiskFullError, NotPlainFileError
from weclick.common.files import (
    file_inside,
    filled_whole,
    remove_unfinished,
    write_bytes,
    write_text,
    written_whole,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_nobody_sees_a_file_before_it_is_whole(tmp_path):
    path = tmp_path / "deep" / "a.json"
    with written_whole(path) as file:
        file.write(b"ab")
        file.flush()
        assert not path.exists()
        (hidden,) = path.parent.iterdir()
        assert (hidden.name[0], hidden.suffix, str(hidden)) == (".", ".tmp", file.name)
        assert not list(path.parent.glob("*.json")), "whoever looks for files of its kind does not find it"
    assert names(path.parent) == ["a.json"]
    assert path.read_bytes() == b"ab"


def test_it_serves_bytes_text_streams_and_encoders_that_want_a_path(tmp_path):
    write_bytes(tmp_path / "bytes", b"\0\xff")
    write_text(tmp_path / "text", "ä\n")
    assert (tmp_path / "bytes").read_bytes() == b"\0\xff"
    assert (tmp_path / "text").read_bytes() == "ä\n".encode()
    with written_whole(tmp_path / "state.pt") as file:
        torch.save({"step": 3}, file)
    assert torch.load(tmp_path / "state.pt", weights_only=True) == {"step": 3}
    with written_whole(tmp_path / "image.png") as file:
        Image.fromarray(np.full((2, 3), 7, np.uint8)).save(file, format="PNG")
    assert np.array(Image.open(tmp_path / "image.png")).tolist() == [[7] * 3] * 2
    with written_whole(tmp_path / "v.mp4") as file, av.open(file.name, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=5, width=16, height=16)
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with av.open(str(tmp_path / "v.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 1
    assert len(names(tmp_path)) == 5


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_a_failing_writer_leaves_the_old_file_and_nothing_else(tmp_path, error):
    def fail():
        with written_whole(tmp_path / "a") as file:
            file.write(b"new")
            raise error

    write_text(tmp_path / "a", "old")
    with pytest.raises(error):
        fail()
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text(encoding="utf-8") == "old"


def test_a_disk_that_is_full_only_when_the_file_is_closed_leaves_the_old_file(tmp_path, monkeypatch):
    """/dev/full refuses what is flushed into it; a short text is flushed when the file is closed."""
    write_text(tmp_path / "a", "old")
    opened = os.open

    def fill_up(path, flags, mode=0o777):
        os.close(opened(path, flags, mode))
        return opened("/dev/full", os.O_WRONLY)

    monkeypatch.setattr(os, "open", fill_up)
    with pytest.raises(DiskFullError, match="a: there is no room to write it"):
        write_text(tmp_path / "a", "new")
    monkeypatch.undo()
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text(encoding="utf-8") == "old"


def test_two_writers_at_once_lose_nothing(tmp_path):
    """With one name for both, the first to finish would rename what the second has half written."""
    both, path = threading.Barrier(2, timeout=10), tmp_path / "a"
    contents = [bytes([letter]) * 100_000 for letter in b"xy"]

    def write(content):
        with written_whole(path) as file:
            for part in (content[:50_000], content[50_000:]):
                both.wait()
                file.write(part)
                file.flush()
            both.wait()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, contents))
    assert names(tmp_path) == ["a"]
    assert path.read_bytes() in contents


def test_many_processes_write_one_file_and_a_reader_always_finds_a_whole_one(tmp_path):
    script = (
        "import sys; from pathlib import Path; from weclick.common.files import write_text\n"
        "for _ in range(150): write_text(Path(sys.argv[1]), sys.argv[2] * 30_000)"
    )
    path = tmp_path / "a"
    write_text(path, "0" * 30_000)
    running = [subprocess.Popen([sys.executable, "-c", script, path, letter]) for letter in "xy"]
    seen = set()
    while any(run.poll() is None for run in running):
        text = path.read_text(encoding="utf-8")
        assert len(text) == 30_000
        assert len(set(text)) == 1
        seen.add(text[0])
    assert [run.returncode for run in running] == [0, 0]
    assert seen >= {"x"} or seen >= {"y"}
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("kind", ["link", "dangling link", "file"])
def test_what_lies_at_the_hidden_name_is_neither_followed_nor_replaced(tmp_path, monkeypatch, kind):
    victim, path = tmp_path / "victim", tmp_path / "folder" / "a"
    victim.write_text("precious")
    path.parent.mkdir()
    monkeypatch.setattr(files, "token_hex", lambda _: "guessed")
    planted = path.with_name(".a.guessed.tmp")
    if kind == "file":
        planted.write_text("theirs")
    else:
        planted.symlink_to(victim if kind == "link" else tmp_path / "made by us")
    with pytest.raises(FileExistsError, match=r"\.a\.guessed\.tmp"):
        write_text(path, "mine")
    assert victim.read_text() == "precious"
    assert names(tmp_path) == ["folder", "victim"]
    assert names(path.parent) == [planted.name], "it is not ours, so it stays"
    assert planted.is_symlink() or planted.read_text() == "theirs"
    monkeypatch.undo()
    write_text(path, "mine")
    assert path.read_text() == "mine"


def test_a_link_at_the_file_s_own_place_is_replaced_and_not_written_through(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "a").symlink_to(tmp_path / "victim")
    write_text(tmp_path / "a", "mine")
    assert (tmp_path / "victim").read_text() == "precious"
    assert not (tmp_path / "a").is_symlink()


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_its_mode_is_that_of_any_new_file(tmp_path, umask):
    before = os.umask(umask)
    try:
        (tmp_path / "plain").write_text("")
        write_text(tmp_path / "whole", "")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "whole")]
    assert modes == [0o666 & ~umask] * 2


def test_a_killed_writer_s_leftover_is_in_nobody_s_way(tmp_path):
    script = (
        "import sys; from pathlib import Path; from weclick.common.files import written_whole\n"
        "with written_whole(Path(sys.argv[1])) as file:\n"
        "    file.write(b'half'); file.flush(); print('writing', flush=True); sys.stdin.read()"
    )
    path = tmp_path / "a[1].json"
    write_text(path, "old")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", script, path], **pipes) as writer:
        assert writer.stdout.readline() == "writing\n"
        writer.send_signal(signal.SIGKILL)
    assert path.read_text() == "old"
    assert len(names(tmp_path)) == 2
    write_text(path, "new")
    write_text(tmp_path / "b.json", "other")
    assert path.read_text() == "new"
    assert {found.name for found in tmp_path.glob("*.json")} == {"a[1].json", "b.json"}
    remove_unfinished(tmp_path / "b.json")
    assert len(names(tmp_path)) == 3, "it is another file's"
    remove_unfinished(path)
    assert names(tmp_path) == ["a[1].json", "b.json"]


def test_long_names_fit(tmp_path):
    for name in ("a" * 255, "\N{GRINNING FACE}" * 63):
        write_text(tmp_path / name, "x")
    assert len(names(tmp_path)) == 2


def test_a_folder_in_the_place_of_a_file_is_told(tmp_path):
    (tmp_path / "0.json").mkdir()
    with pytest.raises(NotPlainFileError, match=r"0\.json: is a folder, expected a plain file; remove it"):
        write_text(tmp_path / "0.json", "{}")
    assert names(tmp_path) == ["0.json"]


@pytest.mark.parametrize("path", [".", "/"])
def test_a_folder_without_a_name_is_told(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotPlainFileError, match=r"[./]: is a folder, expected a plain file"):
        write_text(path, "{}")
    assert names(tmp_path) == []


def test_a_link_in_a_circle_leads_nowhere_and_is_no_crash(tmp_path):
    (tmp_path / "a").symlink_to("a")
    assert file_inside(tmp_path, "a") == tmp_path / "a"
    with written_whole(tmp_path / "a") as file:
        file.write(b"x")
    assert (tmp_path / "a").read_bytes() == b"x"


def test_a_folder_is_filled_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "made" / "masks"
    with pytest.raises(RuntimeError, match="broken"), filled_whole(folder) as place:  # noqa: PT012
        (place / "a").write_text("half")
        raise RuntimeError("broken")
    assert [*folder.parent.iterdir()] == []
    with filled_whole(folder) as place:
        (place / "a").write_text("one")
        assert not folder.exists()
    (folder / "mine").write_text("stays")
    with filled_whole(folder) as place:
        (place / "a").write_text("two")
        (place / "b").write_text("new")
    found = {path.name: path.read_text() for path in folder.iterdir()}
    assert found == {"a": "two", "b": "new", "mine": "stays"}
    assert [*folder.parent.iterdir()] == [folder]
