"""What a disk says: a hiccup is neither absence nor damage, and only plain files are opened."""

import errno
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from weclick.common import disk
from weclick.common.disk import (
    blocks_of,
    files_below,
    is_file,
    is_folder,
    is_there,
    names_in,
    open_plain,
    read_plain,
    surely,
    tells_hiccup,
)
from weclick.common.errors import InputError, NotPlainFileError, UnreadableError
from weclick.common.files import open_to_change, read_json, read_lines

PASSING = (
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.ENOMEM,
    errno.EACCES,
    errno.EINTR,
    errno.EAGAIN,
    errno.EREMOTEIO,
    errno.EUCLEAN,
)
SORTS = ("pipe", "socket", "folder", "link", "link to nothing", "device")


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(disk, "PAUSES_S", (0, 0, 0))


def put(sort, path):
    """Something that is no plain file."""
    if sort == "pipe":
        os.mkfifo(path)
    elif sort == "folder":
        path.mkdir()
    elif sort == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            old = Path.cwd()
            os.chdir(path.parent)  # names of sockets are short
            bound.bind(path.name)
            os.chdir(old)
    elif sort == "device":
        if os.getuid():
            pytest.skip("only root makes devices")
        os.mknod(path, 0o20666, os.makedev(1, 3))
    else:
        target = path.with_name("target")
        if sort == "link":
            target.write_bytes(b"precious")
        path.symlink_to(target)


def open_files():
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("only Linux lists a process's open files")
    return len(list(Path("/proc/self/fd").iterdir()))


class Fails:
    """Raises an error so many times, and then says how often it was asked."""

    def __init__(self, times, number):
        self.times, self.number, self.asked = times, number, 0

    def __call__(self):
        self.asked += 1
        if self.asked <= self.times:
            raise OSError(self.number, os.strerror(self.number))
        return self.asked


@pytest.mark.parametrize("number", PASSING)
def test_what_may_pass_is_tried_again_and_then_told(quick, number):
    assert surely("a", Fails(3, number)) == 4
    with pytest.raises(UnreadableError, match=r"a: could not be checked: .*nothing was moved or deleted"):
        surely("a", Fails(4, number))


def test_an_unreadable_file_is_no_value_error():
    """So whoever takes a ValueError for damage does not take this one."""
    assert not issubclass(UnreadableError, ValueError)
    assert issubclass(NotPlainFileError, InputError)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG])
def test_what_is_certain_is_asked_once(number):
    asked = Fails(9, number)
    with pytest.raises(OSError, match=os.strerror(number)) as told:
        surely("a", asked)
    assert (asked.asked, told.type is UnreadableError) == (1, False)


def test_absence_is_only_what_the_system_calls_so(tmp_path, quick, monkeypatch):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "gone").symlink_to("nowhere")
    assert (is_file(tmp_path / "a"), is_folder(tmp_path), is_there(tmp_path / "gone")) == (True,) * 3
    assert not any((is_file(tmp_path), is_folder(tmp_path / "a"), is_file(tmp_path / "gone")))
    assert not any(ask(tmp_path / "a" / "b") for ask in (is_file, is_folder, is_there, names_in))
    assert names_in(tmp_path / "b") == []

    def stat(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.stat", stat)
    for ask in (is_file, is_folder, is_there):
        with pytest.raises(UnreadableError, match="Permission denied"):
            ask(tmp_path / "a")


def test_too_many_open_files_are_a_hiccup(tmp_path, quick):
    (tmp_path / "a.json").write_text("{}", encoding="utf-8")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files() + 20, hard))
    held = []

    def open_all():
        while True:
            held.append(os.open(tmp_path, os.O_RDONLY))

    try:
        with pytest.raises(OSError, match="Too many open files"):
            open_all()
        for ask in (read_plain, lambda path: read_json(path, "a"), lambda path: names_in(path.parent)):
            with pytest.raises(UnreadableError, match="Too many open files"):
                ask(tmp_path / "a.json")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for file in held:
            os.close(file)
    assert read_json(tmp_path / "a.json", "a") == {}


@pytest.mark.skipif(os.getuid() == 0, reason="root may read every file")
def test_a_forbidden_file_is_not_called_broken(tmp_path, quick):
    (tmp_path / "a.json").write_text("{}", encoding="utf-8")
    (tmp_path / "a.json").chmod(0)
    with pytest.raises(UnreadableError, match="Permission denied"):
        read_json(tmp_path / "a.json", "a")


@pytest.mark.parametrize("sort", SORTS)
def test_only_plain_files_are_opened_and_nothing_is_waited_for(tmp_path, sort):
    put(sort, path := tmp_path / "x")
    opened = open_files()
    for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR | os.O_CREAT | os.O_APPEND):
        with pytest.raises(NotPlainFileError, match=r"is a .*, expected a plain file"):
            os.close(open_plain(path, flags))
    with pytest.raises(NotPlainFileError):
        read_plain(path)
    with pytest.raises(NotPlainFileError):
        open_to_change(path)
    assert open_files() == opened
    if sort == "link":
        assert path.read_bytes() == b"precious"
        assert read_plain(path, links=True) == b"precious"
    if sort == "link to nothing":
        assert not path.exists()


@pytest.mark.parametrize("sort", ["pipe", "folder", "socket"])
def test_results_that_are_no_files_are_told(tmp_path, sort):
    put(sort, tmp_path / "x")
    for read in (lambda: read_json(tmp_path / "x", "a"), lambda: read_lines(tmp_path / "x", "a", "cost")):
        with pytest.raises(NotPlainFileError, match=f"x: is a {sort}, expected a plain file"):
            read()


@pytest.mark.parametrize("sort", ["pipe", "folder", "socket", "device"])
def test_images_and_videos_that_are_no_files_are_told(tmp_path, sort):
    from weclick.manifest.images import read_image
    from weclick.manifest.video import decode_video, video_info

    put(sort, tmp_path / "x")
    (tmp_path / "link").symlink_to(tmp_path / "x")
    for read in (read_image, video_info, lambda path: next(decode_video(path))):
        for path in (tmp_path / "x", tmp_path / "link"):
            with pytest.raises(InputError, match=rf"{path.name}: is a {sort}, expected a plain file"):
                read(path)


def test_a_file_that_is_changed_in_place_is_never_cut(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    with open_to_change(tmp_path / "a") as file:
        file.write(b"2")
    with open_to_change(tmp_path / "deep/b") as file:
        file.write(b"3")
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "deep/b").read_bytes()) == (b"12", b"3")


def test_files_come_in_blocks_and_up_to_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "BLOCK_BYTES", 10)
    (tmp_path / "a").write_bytes(bytes(range(25)))
    assert [len(block) for block in blocks_of(tmp_path / "a")] == [10, 10, 5]
    assert read_plain(tmp_path / "a") == bytes(range(25))
    assert 12 <= len(read_plain(tmp_path / "a", at_most=12)) < 25


def test_all_that_lies_below_is_listed_and_links_are_not_followed(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").touch()
    (tmp_path / "a/loop").symlink_to(tmp_path)
    assert files_below(tmp_path) == [tmp_path / "a/b/c", tmp_path / "a/loop"]


def test_hiccups_in_every_folder_of_a_large_tree_are_waited_for(tmp_path, quick, monkeypatch):
    for number in range(40):
        (tmp_path / f"a/{number:02}").mkdir(parents=True)
        (tmp_path / f"a/{number:02}/c").touch()
    asked: dict[str, int] = {}
    scandir = os.scandir

    def failing(folder):
        asked[str(folder)] = asked.get(str(folder), 0) + 1
        if asked[str(folder)] < 3:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", failing)
    assert files_below(tmp_path) == [tmp_path / f"a/{number:02}/c" for number in range(40)]
    assert set(asked.values()) == {3}


def test_libraries_words_for_hiccups_are_known():
    assert tells_hiccup('UNKNOWN: Failed to open: "/a": Input/output error')
    assert not tells_hiccup("DATA_LOSS: Error decoding chunk")


def test_one_process_is_alone_until_it_ends(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom weclick.common.files import alone\n"
        "with alone(Path(sys.argv[1]), 'waiting'):\n    print('in', flush=True)\n    time.sleep(60)\n"
    )
    words = [sys.executable, "-c", code, tmp_path / ".lock"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "in\n"
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(words, **pipes) as second:
            assert second.stderr.readline() == "waiting\n"
            assert second.poll() is None
            first.kill()
            assert second.stdout.readline() == "in\n"
            second.kill()
