"""A root of the store in a folder, on a disk of this machine or on a share."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from weclick.common.disk import (
    blocks_of,
    is_file,
    is_folder,
    names_in,
    open_plain,
    patiently,
    read_plain,
    remove_tree,
)
from weclick.common.errors import InputError, NotPlainFileError, room_to_write, unwritable
from weclick.common.files import write_bytes
from weclick.store.arrays import is_plain
from weclick.store.entries import read_meta_file
from weclick.store.leases.heart import hold, let_go
from weclick.store.leases.holder import is_dead_here, process_space
from weclick.store.meta import KINDS, LAYOUT, META, damaged, entry_name, is_key, parse_meta
from weclick.store.signatures import SIGNATURE_BYTES, SIGNERS, signature_name
from weclick.store.verify import verify_entry

QUARANTINE = "quarantine"
ABANDONED_S = 7 * 86400
"""Another machine's temporary folder counts as abandoned after this many seconds without a sign of life."""

USE_EVERY_S = 86400
"""The use of an entry is marked at most this often."""

_FOLDER_RIGHTS, _FILE_RIGHTS = 0o3775, 0o664
"""What a new folder or file may have of its root's rights: nobody but owner and group writes."""

_HIDDEN = re.compile(r"\.[0-9a-f]{64}\.[^.]*\.[^.]*\.[^.]*\.tmp")


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
            UnreadableError: the disk or share does not let it be read now.
        """
        folder = self.folder(kind, key)
        return parse_meta(read_meta_file(folder), folder, kind, key) if is_file(folder / META) else None

    def keys(self, kind: str) -> Iterator[str]:
        """Keys of all folders of a kind, in order, including damaged ones without entry.json."""
        yield from sorted(folder.name for folder in self._folders(kind) if is_key(folder.name))

    def _folders(self, kind: str) -> Iterator[Path]:
        """All folders where entries of a kind lie, also hidden ones.

        Raises:
            UnreadableError: they cannot be listed.
        """
        top = self.path / kind / LAYOUT
        for part in (top / name for name in names_in(top) if len(name) == 2):
            yield from (part / name for name in names_in(part))

    def export(self, meta: Mapping[str, Any], folder: Path) -> None:
        """Copy an entry's files, and no others, into an empty folder.

        Raises:
            DamagedEntryError: a file is missing, or is not a plain file.
            UnreadableError: the disk or share does not let it be read now.
        """
        source = self.folder(meta["kind"], meta["key"])
        for name in (*meta["files"], META):
            if not is_plain(source, name):
                raise damaged(source, f"{name} is missing or no plain file; symbolic links are refused")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with (folder / name).open("xb") as copy:
                for block in blocks_of(source / name):
                    copy.write(block)

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
            make_folders(final.parent, self.path)
            self._device = self.path.stat().st_dev if self._device is None else self._device
            patiently(partial(temporary.mkdir, 0o775))
            self._open[temporary] = os.open(temporary, os.O_RDONLY)
            _sweep_abandoned(temporary, final)
            hold(temporary)
            try:
                yield temporary
            except Exception:
                self._check_same(temporary)
                raise
            finally:
                let_go(temporary)
                os.close(self._open.pop(temporary))
                shutil.rmtree(temporary, ignore_errors=True)

    def commit(self, folder: Path, kind: str, key: str) -> bool:
        """Sync a workspace to the disk and rename it into place.

        Returns:
            False if somebody committed the same key meanwhile: theirs stays.
        """
        self._check_same(folder)
        _settle(folder, self.path)
        final = self.folder(kind, key)
        while folder.exists():
            try:
                folder.rename(final)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                if is_file(final / META):
                    return False
                with suppress(FileNotFoundError):  # deleted meanwhile
                    self.quarantine(kind, key)  # remains of an entry that lost its entry.json
        _fsync(final.parent)
        return True

    def _check_present(self) -> None:
        """Raises UnwritableError if the root has gone since the first write."""
        known = self._device  # read before the check: another thread may be making the root
        found = self.path.stat().st_dev if is_folder(self.path) else None
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
        for path in named or self._signed(name)[:SIGNERS]:
            with suppress(FileNotFoundError, NotPlainFileError):  # gone meanwhile, or no signature
                found.append(read_plain(path, at_most=SIGNATURE_BYTES)[:SIGNATURE_BYTES])
        return found

    def _signed(self, name: Path) -> list[Path]:
        found = sorted(names_in(name.parent))
        return [name.parent / each for each in found if each.startswith(f"{name.name}.")]

    def add_signature(self, kind: str, key: str, signer: str, data: bytes) -> None:
        """Put a signature of an entry there. It replaces an earlier one of that signer.

        Raises:
            DiskFullError, UnwritableError: as in `room_to_write`.
        """
        name = self.path / signature_name(kind, key)
        with room_to_write(name):
            self._check_present()
            make_folders(name.parent, self.path)
        path = name.with_name(f"{name.name}.{signer}")
        write_bytes(path, data)
        with suppress(FileNotFoundError):  # somebody replaced it, and gave it rights
            give_rights(path, self.path)

    def quarantine(self, kind: str, key: str) -> Path:
        """Move an entry to where nobody reads it and a person can look at it.

        Returns:
            Its new folder, `<root>/quarantine/<kind>/<key>.<nanoseconds>`.
        """
        target = self.path / QUARANTINE / kind / f"{key}.{time.time_ns()}"
        patiently(lambda: make_folders(target.parent, self.path))
        moved = patiently(lambda: self.folder(kind, key).rename(target))
        with suppress(OSError):  # another user's
            os.utime(moved)  # it lies there since now
        return moved

    def mark_used(self, kind: str, key: str) -> None:
        """Mark the day of an entry's last use as the time of its entry.json, if that can be set.

        Call it for one's own root only: in a team's root, marks would be writes.
        """
        meta = self.folder(kind, key) / META
        with suppress(OSError):  # read-only, or another user's
            if (
                abs(time.time() - meta.stat().st_mtime) > USE_EVERY_S
            ):  # whose clock goes wrong, marks more often
                os.utime(meta)

    def now(self) -> float:
        """The time by the clock that dates this root's files, in Unix seconds: clocks of machines may differ.

        Raises:
            UnwritableError: no file can be made in it.
        """
        if not is_folder(self.path):
            return time.time()
        probe = self.path / f".clock.{uuid4().hex}.tmp"
        with room_to_write(probe):
            descriptor = open_plain(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                os.utime(descriptor)
                return os.fstat(descriptor).st_mtime
            finally:
                os.close(descriptor)
                probe.unlink(missing_ok=True)

    def last_use(self, kind: str, key: str) -> int:
        """When an entry was last used, in Unix seconds, to a day (see `mark_used`), or made if never used."""
        return int((self.folder(kind, key) / META).stat().st_mtime)

    def remove(self, kind: str, key: str) -> None:
        """Delete an entry. First hide it, so that nobody finds half of it. Readers learn that it is gone.

        Raises:
            FileNotFoundError: there is no such entry; another process was faster.
        """
        leaving = self.folder(kind, key).rename(_hidden(self.folder(kind, key)))
        remove_tree(leaving)

    def abandoned(self, now: float) -> Iterator[Path]:
        """Hidden folders that killed writers left behind, as seen at a time by the root's clock."""
        for kind in KINDS:
            found = (folder for folder in self._folders(kind) if _HIDDEN.fullmatch(folder.name))
            yield from (folder for folder in found if _is_abandoned(folder, now))


def list_entries(root: Path, kind: str) -> Iterator[Path]:
    """Folders of all committed entries of a kind below one root."""
    if kind not in KINDS:
        raise InputError(f"unknown kind of entry {kind!r}, expected one of {', '.join(KINDS)}")
    local = LocalRoot(Path(root))
    folders = (local.folder(kind, key) for key in local.keys(kind))
    return (folder for folder in folders if is_file(folder / META))


def make_folders(folder: Path, root: Path) -> None:
    """As mkdir with parents, for a folder in a root.

    What weclick makes in a root takes the rights of the root's own folder, whatever the umask: its owner or
    group may not write what the root does not let them write, and everybody whom it lets in may read. Nothing
    becomes writable by everybody. The root itself, if it is new, takes the umask.
    """
    for each in (*reversed(folder.parents), folder):
        if not is_folder(each):
            patiently(partial(each.mkdir, 0o775, exist_ok=True))  # others may give rights to its parent
            if each != root and each.is_relative_to(root):
                give_rights(each, root)


def give_rights(made: Path | int, root: Path) -> None:
    """Give a new file or folder, by path or descriptor, the rights and the group of the root it lies in."""
    like, found = root.stat(), os.stat(made)  # noqa: PTH116 (a descriptor has no path)
    mode = (like.st_mode & _FOLDER_RIGHTS) | 0o700
    mode = mode if stat.S_ISDIR(found.st_mode) else mode & _FILE_RIGHTS
    if found.st_gid != like.st_gid:
        with suppress(OSError):  # this user is not of that group
            os.chown(made, -1, like.st_gid)
    if stat.S_IMODE(found.st_mode) != mode:
        os.chmod(made, mode)  # noqa: PTH101


def _settle(folder: Path, root: Path) -> None:
    """Give all of a workspace the rights of its root, and wait until all is on the disk."""
    for path in (*folder.rglob("*"), folder):
        give_rights(path, root)
        if path == folder or path.is_file():
            _fsync(path)


def _hidden(final: Path) -> Path:
    """A name beside an entry's place. Readers ignore it, and it tells whose it is."""
    return final.with_name(f".{final.name}.{process_space()}.{os.getpid()}.{uuid4().hex[:8]}.tmp")


def _sweep_abandoned(own: Path, final: Path) -> None:
    """Remove what killed writers of the same entry left behind, as seen from a workspace just made."""
    now = own.stat().st_mtime
    hidden = (name for name in names_in(final.parent) if name.startswith(f".{final.name}."))
    others = (final.parent / name for name in hidden if _HIDDEN.fullmatch(name) and name != own.name)
    for leftover in others:
        if _is_abandoned(leftover, now):
            shutil.rmtree(leftover, ignore_errors=True)


def _is_abandoned(leftover: Path, now: float) -> bool:
    """Whether a hidden folder is of a dead process of this machine, or has shown no sign of life for long."""
    if is_dead_here(*leftover.name.split(".")[2:4]):
        return True
    try:
        return now - leftover.stat().st_mtime > ABANDONED_S
    except FileNotFoundError:  # its writer has just finished
        return False


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
