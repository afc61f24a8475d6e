"""A root of the store in a folder, on a disk of this machine or on a share."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from weclick.common.errors import InputError, room_to_write, unwritable
from weclick.common.files import write_bytes
from weclick.store.arrays import is_plain
from weclick.store.entries import read_meta_file
from weclick.store.leases.holder import is_gone, process_space
from weclick.store.meta import KINDS, LAYOUT, META, damaged, entry_name, parse_meta
from weclick.store.signatures import SIGNATURE_BYTES, SIGNERS, signature_name
from weclick.store.verify import verify_entry

QUARANTINE = "quarantine"
ABANDONED_S = 7 * 86400
"""Another machine's temporary folder counts as abandoned after this many seconds without a change."""

USE_EVERY_S = 86400
"""The use of an entry is marked at most this often."""

_OTHERS_MAY_READ = {False: 0o664, True: 0o2775}
"""Modes of files and folders, before the umask: only owner and group may write, and no file is executable."""


class LocalRoot:
    """A folder of entries.

    Args:
        path: of the folder; the first write makes it.
    """

    def __init__(self, path: Path):
        self.path = path
        self._device: int | None = None
        """Its file system at the first write: an unmounted share leaves an empty folder on another one."""
        self._open: dict[Path, int] = {}
        """Open descriptors of the workspaces: they tell a workspace from a new folder of the same name."""

    def __str__(self) -> str:
        return str(self.path)

    def folder(self, kind: str, key: str) -> Path:
        """Where an entry lies, or would lie.

        Raises:
            InputError: the kind is unknown, or the key is not one.
        """
        return self.path / entry_name(kind, key)

    def find_meta(self, kind: str, key: str) -> dict[str, Any] | None:
        """The entry.json of an entry, or None if there is no such entry.

        Raises:
            DamagedEntryError: it is not what was committed.
        """
        folder = self.folder(kind, key)
        return parse_meta(read_meta_file(folder), folder, kind, key) if (folder / META).is_file() else None

    def keys(self, kind: str) -> Iterator[str]:
        """Keys of all folders of a kind, in order, including damaged ones without entry.json."""
        folders = (self.path / kind / LAYOUT).glob(f"??/{'[0-9a-f]' * 64}")
        yield from sorted(folder.name for folder in folders)

    def export(self, meta: Mapping[str, Any], folder: Path) -> None:
        """Copy an entry's files, and no others, into an empty folder.

        Raises:
            DamagedEntryError: a file is missing, or is not a plain file.
        """
        source = self.folder(meta["kind"], meta["key"])
        for name in (*meta["files"], META):
            if not is_plain(source, name):
                raise damaged(source, f"{name} is missing or no plain file; symbolic links are refused")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, folder / name)

    @contextmanager
    def workspace(self, kind: str, key: str) -> Iterator[Path]:
        """A hidden empty folder beside an entry's place, to fill and commit. It is removed after the block.

        Raises:
            DiskFullError: there is no room.
            UnwritableError: the root is read-only, or has gone since the first write.
        """
        final = self.folder(kind, key)
        temporary = _hidden(final)
        with room_to_write(final):
            self._check_present()
            make_folders(final.parent)
            self._device = self.path.stat().st_dev if self._device is None else self._device
            _sweep_abandoned(final)
            temporary.mkdir(0o775)
            self._open[temporary] = os.open(temporary, os.O_RDONLY)
            try:
                yield temporary
            except Exception:
                self._check_same(temporary)
                raise
            finally:
                os.close(self._open.pop(temporary))
                shutil.rmtree(temporary, ignore_errors=True)

    def commit(self, folder: Path, kind: str, key: str) -> bool:
        """Sync a workspace to the disk and rename it into place.

        Returns:
            False if somebody committed the same key meanwhile: theirs stays.
        """
        self._check_same(folder)
        _settle(folder)
        final = self.folder(kind, key)
        while folder.exists():
            try:
                folder.rename(final)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                if (final / META).is_file():
                    return False
                with suppress(FileNotFoundError):  # deleted meanwhile
                    self.quarantine(kind, key)  # remains of an entry that lost its entry.json
        _fsync(final.parent)
        return True

    def _check_present(self) -> None:
        """Raises UnwritableError if the root has gone since the first write."""
        known = self._device  # read before the check: another thread may be making the root
        found = self.path.stat().st_dev if self.path.is_dir() else None
        if known is not None and known != found:
            raise unwritable(self.path, "this root was there and is gone", "mount it again")

    def _check_same(self, workspace: Path) -> None:
        """Raises UnwritableError if a workspace is no longer the folder that was made."""
        if not workspace.is_dir() or not os.path.samestat(workspace.stat(), os.fstat(self._open[workspace])):
            self._device = -1  # no file system has it: other threads stop, too
            raise unwritable(self.path, "this root was there and is gone", "mount it again")

    def faults(self, kind: str, key: str) -> list[str]:
        """As `verify_entry`."""
        return verify_entry(self.folder(kind, key), kind, key)

    def signatures(self, kind: str, key: str, signers: Collection[str] = ()) -> list[bytes]:
        """The signatures of an entry by some signers, or by all: small plain files, no symbolic links."""
        name = self.path / signature_name(kind, key)
        named = [name.with_name(f"{name.name}.{signer}") for signer in signers]
        found = []
        for path in named or sorted(name.parent.glob(f"{name.name}.*"))[:SIGNERS]:
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
                    raise
                continue  # gone meanwhile, a link or a socket: no signature
            with os.fdopen(descriptor, "rb") as file:
                if stat.S_ISREG(os.fstat(descriptor).st_mode):
                    found.append(file.read(SIGNATURE_BYTES))
        return found

    def add_signature(self, kind: str, key: str, signer: str, data: bytes) -> None:
        """Put a signature of an entry there. It replaces an earlier one of that signer.

        Raises:
            DiskFullError, UnwritableError: as in `room_to_write`.
        """
        name = self.path / signature_name(kind, key)
        with room_to_write(name):
            self._check_present()
            make_folders(name.parent)
        write_bytes(name.with_name(f"{name.name}.{signer}"), data)

    def quarantine(self, kind: str, key: str) -> Path:
        """Move an entry to where nobody reads it and a person can look at it.

        Returns:
            Its new folder, `<root>/quarantine/<kind>/<key>.<nanoseconds>`.
        """
        target = self.path / QUARANTINE / kind / f"{key}.{time.time_ns()}"
        make_folders(target.parent)
        return self.folder(kind, key).rename(target)

    def mark_used(self, kind: str, key: str) -> None:
        """Mark the day of an entry's last use as the time of its entry.json, if that can be set.

        Call it for one's own root only: in a team's root, marks would be writes.
        """
        meta = self.folder(kind, key) / META
        with suppress(OSError):  # read-only, or another user's
            if meta.stat().st_mtime < time.time() - USE_EVERY_S:
                os.utime(meta)

    def last_use(self, kind: str, key: str) -> int:
        """When an entry was last used, in Unix seconds, to a day (see `mark_used`), or made if never used."""
        return int((self.folder(kind, key) / META).stat().st_mtime)

    def remove(self, kind: str, key: str) -> None:
        """Delete an entry. First hide it, so that nobody finds half of it. Readers learn that it is gone.

        Raises:
            FileNotFoundError: there is no such entry; another process was faster.
        """
        leaving = self.folder(kind, key).rename(_hidden(self.folder(kind, key)))
        shutil.rmtree(leaving)

    def abandoned(self) -> Iterator[Path]:
        """Hidden folders that killed writers left behind."""
        for kind in KINDS:
            found = (self.path / kind / LAYOUT).glob(f"??/.{'[0-9a-f]' * 64}.*.*.*.tmp")
            yield from (folder for folder in found if _is_abandoned(folder))


def list_entries(root: Path, kind: str) -> Iterator[Path]:
    """Folders of all committed entries of a kind below one root."""
    if kind not in KINDS:
        raise InputError(f"unknown kind of entry {kind!r}, expected one of {', '.join(KINDS)}")
    local = LocalRoot(Path(root))
    folders = (local.folder(kind, key) for key in local.keys(kind))
    return (folder for folder in folders if (folder / META).is_file())


def make_folders(folder: Path) -> None:
    """As mkdir with parents. Whatever the umask, no new folder becomes writable by everybody."""
    for each in (*reversed(folder.parents), folder):
        if not each.exists():
            each.mkdir(0o775, exist_ok=True)


def _settle(folder: Path) -> None:
    """Remove the rights that nobody needs, and wait until all is on the disk."""
    for path in (*folder.rglob("*"), folder):
        found = path.lstat().st_mode
        allowed = _OTHERS_MAY_READ[stat.S_ISDIR(found)] & found
        if allowed != stat.S_IMODE(found):
            path.chmod(allowed)
        if not stat.S_ISDIR(found) or path == folder:
            _fsync(path)


def _hidden(final: Path) -> Path:
    """A name beside an entry's place. Readers ignore it, and it tells whose it is."""
    return final.with_name(f".{final.name}.{process_space()}.{os.getpid()}.{uuid4().hex[:8]}.tmp")


def _sweep_abandoned(final: Path) -> None:
    """Remove what killed writers of the same entry left behind."""
    for leftover in filter(_is_abandoned, final.parent.glob(f".{final.name}.*.tmp")):
        shutil.rmtree(leftover, ignore_errors=True)


def _is_abandoned(leftover: Path) -> bool:
    """Whether a hidden folder is of a dead process of this machine, or of another machine and old."""
    host, pid = leftover.name.split(".")[2:4]
    if host == process_space() and pid.isdigit() and is_gone(int(pid)):
        return True
    try:
        return leftover.stat().st_mtime < time.time() - ABANDONED_S
    except FileNotFoundError:  # its writer has just finished
        return False


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
