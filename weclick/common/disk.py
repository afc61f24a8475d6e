"""What a disk says of files: a hiccup is neither absence nor damage, and only plain files are opened."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from weclick.common.errors import NotPlainFileError, UnreadableError

T = TypeVar("T")

PAUSES_S = (0.01, 0.05, 0.2)
"""After an error that may pass, the system is asked again after each of these pauses."""

BLOCK_BYTES = 2**20

_ABSENT = (errno.ENOENT, errno.ENOTDIR)
_CERTAIN = (*_ABSENT, errno.ELOOP, errno.EISDIR, errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTEMPTY)
"""What the system says of the names themselves. All its other errors are of the disk, the share or rights."""

_HICCUPS = (
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.ENOMEM,
    errno.EACCES,
    errno.EPERM,
    errno.EINTR,
    errno.EAGAIN,
    errno.ENOTCONN,
    errno.EHOSTDOWN,
)
"""The commonest of the others, for libraries that only pass on the system's words."""

_NO_FILE = (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENODEV)
"""What `open` says of links that are not followed, of folders, of sockets, and of pipes without a reader."""


def surely(path: Path | str, ask: Callable[[], T]) -> T:
    """What `ask` returns. It is asked again after errors that may pass (EIO, EMFILE, ESTALE, EACCES, ...).

    Args:
        path: what is asked about, for the error.
        ask: reads and changes nothing, so that it may run several times.

    Raises:
        UnreadableError: the error did not pass. It says nothing about the file: do not take it for missing
            or damaged.
        OSError: there is no such file, or its name leads to none.
    """
    try:
        return patiently(ask)
    except OSError as error:
        if not may_pass(error):
            raise
        raise unreadable(path, error) from error


def patiently(act: Callable[[], T]) -> T:
    """What `act` returns. It runs again after errors that may pass; the last one is raised."""
    for pause_s in PAUSES_S:
        try:
            return act()
        except OSError as error:
            if not may_pass(error):
                raise
            time.sleep(pause_s)
    return act()


def may_pass(error: OSError) -> bool:
    """Whether an error says nothing about the file, so that the next try may succeed."""
    return error.errno is not None and error.errno not in _CERTAIN


def tells_hiccup(text: str) -> bool:
    """Whether a library's words hold the system's own for an error that may pass."""
    return any(os.strerror(number) in text for number in _HICCUPS)


def unreadable(path: Path | str, error: object) -> UnreadableError:
    """The error for what could not be read for the disk's, the share's or the process's sake."""
    return UnreadableError(
        f"{path}: could not be checked: the system does not let it be read ({error}); nothing was moved or "
        "deleted for that; look at the disk or share, the rights, and the limit of open files, and run again"
    )


def open_plain(path: Path | str, flags: int = os.O_RDONLY, mode: int = 0o666, *, links: bool = False) -> int:
    """Open a plain file. A pipe, device, socket or folder of that name is refused and never waited for.

    Args:
        path: of the file.
        flags, mode: as for `os.open`.
        links: follow a symbolic link at the end of the path. Never do so to write.

    Returns:
        A descriptor.

    Raises:
        NotPlainFileError: something else lies there.
        OSError: as from `os.open`.
    """
    try:
        file = os.open(path, flags | os.O_NONBLOCK | (0 if links else os.O_NOFOLLOW), mode)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise _not_plain(path, links=links) from error
        raise
    found = os.fstat(file).st_mode
    if not stat.S_ISREG(found):
        os.close(file)
        raise _not_plain(path, found)
    return file


def check_plain(path: Path | str) -> None:
    """Check what a library is about to open by its name, so that it waits for no pipe. Links are followed.

    Raises:
        NotPlainFileError: something lies there, but no plain file.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 (a Path for each of many images takes longer)
    except OSError:  # the library will say it
        return
    if not stat.S_ISREG(found.st_mode):
        raise _not_plain(path, links=True)


_SORTS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


def _not_plain(path: Path | str, mode: int | None = None, *, links: bool = True) -> NotPlainFileError:
    try:
        follow = links and Path(path).exists()  # a link in a circle leads to nothing
        mode = Path(path).stat(follow_symlinks=follow).st_mode if mode is None else mode
        sort = _SORTS.get(stat.S_IFMT(mode), "a device")
    except OSError:  # it has just gone
        sort = "something else"
    return NotPlainFileError(f"{path}: is {sort}, expected a plain file; remove it, or name another one")


def blocks_of(path: Path | str, *, links: bool = False) -> Iterator[bytes]:
    """The content of a plain file, block by block; a hiccup of the disk is retried where it happened.

    Raises:
        NotPlainFileError: as in `open_plain`.
        UnreadableError: as in `surely`.
        FileNotFoundError: there is no such file.
    """
    file = surely(path, partial(open_plain, path, links=links))
    try:
        at = 0
        while block := surely(path, partial(os.pread, file, BLOCK_BYTES, at)):
            yield block
            at += len(block)
    finally:
        os.close(file)


def read_plain(path: Path | str, *, at_most: int | None = None, links: bool = False) -> bytes:
    """The content of a plain file, as `blocks_of`.

    Args:
        path: of the file.
        at_most: bytes after which reading stops; at least so many come if the file has them.
        links: as in `open_plain`.
    """
    found, length = [], 0
    for block in blocks_of(path, links=links):
        found.append(block)
        length += len(block)
        if at_most is not None and length >= at_most:
            break
    return b"".join(found)


def is_file(path: Path) -> bool:
    """Whether there is a plain file. `Path.is_file` also says no where a share does not answer.

    Raises:
        UnreadableError: it cannot be known.
    """
    return stat.S_ISREG(_mode(path))


def is_folder(path: Path) -> bool:
    """Whether there is a folder, as `is_file`."""
    return stat.S_ISDIR(_mode(path))


def is_there(path: Path) -> bool:
    """Whether there is anything, also a link that leads nowhere, as `is_file`."""
    return _mode(path, follow_links=False) != 0


def _mode(path: Path, *, follow_links: bool = True) -> int:
    """Type and rights of what lies there; 0 if nothing does."""
    try:
        return surely(path, partial(path.stat, follow_symlinks=follow_links)).st_mode
    except OSError as error:
        if error.errno in _CERTAIN:
            return 0
        raise


def real_path(path: Path) -> Path:
    """Where symbolic links lead to. A link in a circle leads to itself; `Path.resolve` fails on it."""
    return Path(os.path.realpath(path))


def remove_tree(folder: Path) -> None:
    """Delete a folder with all that is in it. Of a symbolic link, only the link goes."""
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder)


def names_in(folder: Path) -> list[str]:
    """The names in a folder; none if there is no such folder. `Path.glob` passes over what it may not read.

    Raises:
        UnreadableError: they cannot be known.
    """
    try:
        return surely(folder, lambda: [path.name for path in folder.iterdir()])
    except OSError as error:
        if error.errno in _ABSENT:
            return []
        raise


def files_below(folder: Path) -> list[Path]:
    """All that lies below a folder and is no folder, links included, in order.

    Errors that may pass are waited for folder by folder: of a large tree, some folder fails in every try.

    Raises:
        UnreadableError: a part of it cannot be read.
    """
    found: list[Path] = []
    left = [folder]
    while left:
        here = left.pop()
        for entry in surely(here, partial(_entries, here)):
            path = Path(entry.path)
            inner = surely(path, partial(entry.is_dir, follow_symlinks=False))
            (left if inner else found).append(path)
    return sorted(found)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)
