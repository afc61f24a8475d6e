"""Content that a digest pins down, however cleverly it was exchanged."""

import os
import time
from hashlib import sha256
from pathlib import Path

import pytest

from weclick.common import content
from weclick.common.content import ChangedFileError, check_content, content_digest, read_content
from weclick.common.errors import InputError


def write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return sha256(data).hexdigest()


def wait_until_old(path: Path) -> None:
    while content.is_young(path.stat(), time.time_ns()):
        time.sleep(0.1)


def test_bytes_are_those_of_the_digest(tmp_path):
    path = tmp_path / "a"
    digest = write(path, b"one")
    assert read_content(path, digest) == b"one" == read_content(path)
    write(path, b"two")
    with pytest.raises(ChangedFileError, match=r"a: changed .* expected 7692c3ad3540….*`weclick manifest`"):
        read_content(path, digest)
    assert read_content(path) == b"two"


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(InputError, match=rf"{path.name}: is a (pipe|device), expected a plain file"):
            read_content(path)
    (tmp_path / "long").write_bytes(b"12345")
    with pytest.raises(InputError, match=r"long: has 5 B, expected at most 4 B"):
        read_content(tmp_path / "long", limit_bytes=4)


def test_a_young_file_is_read_again(tmp_path):
    path = tmp_path / "a"
    digest = write(path, b"one")
    check_content(path, digest)
    assert str(path) not in content._KNOWN
    other = write(path, b"two")
    with pytest.raises(ChangedFileError, match="a: changed"):
        check_content(path, digest)
    check_content(path, other)


def test_an_old_file_is_read_once_and_again_when_it_was_touched(tmp_path, monkeypatch):
    path = tmp_path / "a"
    digest = write(path, b"one")
    before = path.stat()
    wait_until_old(path)
    assert content_digest(path) == digest
    read = []
    monkeypatch.setattr(content.hashlib, "file_digest", lambda *_: read.append(path) or sha256(b"seen"))
    assert content_digest(path) == digest
    assert not read
    monkeypatch.undo()
    write(path, b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_size == before.st_size
    with pytest.raises(ChangedFileError, match="a: changed"):
        check_content(path, digest)


def test_a_file_renamed_over_another_is_seen(tmp_path):
    path, other = tmp_path / "a", tmp_path / "b"
    digest, _ = write(path, b"one"), write(other, b"two")
    times = (1, path.stat().st_mtime_ns)
    os.utime(other, ns=times)
    wait_until_old(path)
    check_content(path, digest)
    other.replace(path)
    with pytest.raises(ChangedFileError, match="a: changed"):
        check_content(path, digest)
