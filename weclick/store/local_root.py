"""A root of the store that is a folder, on a disk of this machine or on a share."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from weclick.errors import InputError, room_to_write
from weclick.store.arrays import is_plain
from weclick.store.entries import read_meta_file
from weclick.store.meta import KINDS, LAYOUT, META, damaged, entry_name, parse_meta
from weclick.store.verify import verify_entry

QUARANTINE = "quarantine"
ABANDONED_S = 7 * 86400
"""After so many seconds untouched, a temporary folder of another machine counts as abandoned."""

_HOST = re.sub(r"\W", "-", socket.gethostname())
_OTHERS_MAY_READ = {False: 0o664, True: 0o2775}
"""Modes of files and of folders, before the umask: nobody but owner and group writes, nothing is executed."""


class LocalRoot:
    """A folder of entries.

    Args:
        path: of the folder; made when something is written.
    """

    def __init__(self, path: Path):
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def folder(self, kind: str, key: str) -> Path:
        """Where an entry lies, or would lie.

        Raises:
            InputError: an unknown kind, or no key.
        """
        return self.path / entry_name(kind, key)

    def find_meta(self, kind: str, key: str) -> dict[str, Any] | None:
        """The entry.json of an entry, or None where there is no such entry.

        Raises:
            DamagedEntryError: it is not what was committed.
        """
        folder = self.folder(kind, key)
        return parse_meta(read_meta_file(folder), folder, kind, key) if (folder / META).is_file() else None

    def keys(self, kind: str) -> Iterator[str]:
        """Keys of all folders of a kind, in order, also of damaged ones without entry.json."""
        for folder in sorted((self.path / kind / LAYOUT).glob(f"??/{'[0-9a-f]' * 64}")):
            yield folder.name

    def export(self, meta: Mapping[str, Any], folder: Path) -> None:
        """Copy an entry's files, and no others, into an empty folder.

        Raises:
            DamagedEntryError: one is missing, or no plain file.
        """
        source = self.folder(meta["kind"], meta["key"])
        for name in (*meta["files"], META):
            if not is_plain(source, name):
                raise damaged(source, f"{name} is missing or no plain file; symbolic links are refused")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, folder / name)

    @contextmanager
    def workspace(self, kind: str, key: str) -> Iterator[Path]:
        """A hidden empty folder beside an entry's place, to be filled and committed; gone after the block.

        Raises:
            DiskFullError: there is no room.
        """
        final = self.folder(kind, key)
        temporary = final.parent / f".{key}.{_HOST}.{os.getpid()}.{uuid4().hex[:8]}.tmp"
        with room_to_write(final):
            try:
                _make_folders(final.parent)
                _sweep_abandoned(final)
                temporary.mkdir(0o775)
                yield temporary
            finally:
                shutil.rmtree(temporary, ignore_errors=True)

    def commit(self, folder: Path, kind: str, key: str) -> bool:
        """Bring a workspace to the disk and rename it into place.

        Returns:
            False where somebody committed the same key meanwhile: theirs stays.
        """
        _settle(folder)
        final = self.folder(kind, key)
        try:
            folder.rename(final)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            if (final / META).is_file():
                return False
            self.quarantine(kind, key)  # remains of an entry, whose entry.json was lost
            folder.rename(final)
        _fsync(final.parent)
        return True

    def faults(self, kind: str, key: str) -> list[str]:
        """As `verify_entry`."""
        return verify_entry(self.folder(kind, key), kind, key)

    def quarantine(self, kind: str, key: str) -> Path:
        """Move an entry out of the way, where nobody reads it and a person may look at it.

        Returns:
            Its new folder, `<root>/quarantine/<kind>/<key>.<nanoseconds>`.
        """
        target = self.path / QUARANTINE / kind / f"{key}.{time.time_ns()}"
        _make_folders(target.parent)
        return self.folder(kind, key).rename(target)


def list_entries(root: Path, kind: str) -> Iterator[Path]:
    """Folders of all committed entries of a kind below one root."""
    if kind not in KINDS:
        raise InputError(f"unknown kind of entry {kind!r}, expected one of {', '.join(KINDS)}")
    local = LocalRoot(Path(root))
    folders = (local.folder(kind, key) for key in local.keys(kind))
    return (folder for folder in folders if (folder / META).is_file())


def _make_folders(folder: Path) -> None:
    """As mkdir with parents, of which none becomes writable by everybody, whatever the umask."""
    for each in (*reversed(folder.parents), folder):
        if not each.exists():
            each.mkdir(0o775, exist_ok=True)


def _settle(folder: Path) -> None:
    """Take away the rights that nobody needs, and wait until the disk has it all."""
    for path in (*folder.rglob("*"), folder):
        found = path.lstat().st_mode
        allowed = _OTHERS_MAY_READ[stat.S_ISDIR(found)] & found
        if allowed != stat.S_IMODE(found):
            path.chmod(allowed)
        if not stat.S_ISDIR(found) or path == folder:
            _fsync(path)


def _sweep_abandoned(final: Path) -> None:
    """Remove what a killed process of this machine, or long ago of another one, left of the same entry."""
    for leftover in final.parent.glob(f".{final.name}.*.tmp"):
        host, pid = leftover.name.split(".")[2:4]
        dead = host == _HOST and pid.isdigit() and not Path(f"/proc/{pid}").exists()
        if dead or leftover.stat().st_mtime < time.time() - ABANDONED_S:
            shutil.rmtree(leftover, ignore_errors=True)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
